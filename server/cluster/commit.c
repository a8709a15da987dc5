/*
 * The step commit. commit(t) is made when every server has prepared t and every rank that takes
 * part in t has ended it, by the report of its present incarnation. It goes to the servers through
 * the log and to the workers with the totals.
 */
#include "common/base/alloc.h"
#include "common/base/mutant.h"
#include "server/cluster/coordinator.h"

#include <stdio.h>
#include <string.h>

/* A server that acknowledges nothing for so many entries is beyond help: steps cannot go on without
 * it. */
enum { LOG_ENTRIES_MAX = 65536 };

uint64_t commit_grant(const struct coordinator *coordinator)
{
    if (coordinator->committed_plus_1 == 0)
        return 0;
    return coordinator->committed_plus_1 + 1 + (MUTANT(GRANT_TOO_FAR) ? 1 : 0);
}

/* The same name adds up; a new one is appended (beyond the limit it is left out, which the sender
 * was told). */
void metric_list_add(struct metric_list *list, const struct metric *metric)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i].name, metric->name) == 0) {
            list->items[i].sum += metric->sum;
            list->items[i].count += metric->count;
            return;
        }
    }
    if (list->count < LIMIT_METRICS)
        list->items[list->count++] = *metric;
}

enum status metric_list_from_message(size_t count, Pmd__Metric *const *metrics,
                                     struct metric_list *ret_list, struct error *err)
{
    if (count > LIMIT_METRICS)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%zu metrics, at most %d are possible",
                         count, LIMIT_METRICS);
    ret_list->count = count;
    for (size_t i = 0; i < count; i++) {
        struct metric *metric = &ret_list->items[i];
        if (strlen(metrics[i]->name) > LIMIT_METRIC_NAME_BYTES)
            return error_set(err, STATUS_INVALID_ARGUMENT, "the metric name '%.64s...' is too long",
                             metrics[i]->name);
        snprintf(metric->name, sizeof metric->name, "%s", metrics[i]->name);
        metric->sum = metrics[i]->sum;
        metric->count = metrics[i]->count;
    }
    return STATUS_OK;
}

void metric_list_to_messages(const struct metric_list *list, struct metric_messages *ret_messages)
{
    for (size_t i = 0; i < list->count; i++) {
        pmd__metric__init(&ret_messages->items[i]);
        ret_messages->items[i].name = (char *)list->items[i].name;
        ret_messages->items[i].sum = list->items[i].sum;
        ret_messages->items[i].count = list->items[i].count;
        ret_messages->pointers[i] = &ret_messages->items[i];
    }
}

static void entry_to_message(const struct log_entry *entry, Pmd__LogEntry *ret_message)
{
    pmd__log_entry__init(ret_message);
    ret_message->index = entry->index;
    ret_message->kind = entry->kind;
    ret_message->step = entry->step;
    ret_message->grant = entry->grant;
    ret_message->hold = entry->hold;
    ret_message->hold_slots = entry->hold_slots;
    ret_message->learning_rate = entry->learning_rate;
    ret_message->optimizer = entry->optimizer;
    ret_message->rank = entry->rank;
}

/* The frame names the commit before: a server leaves nothing in its socket for an entry that brings
 * the commit itself. */
static void send_entry(struct coordinator *coordinator, struct member *member,
                       const struct log_entry *entry)
{
    Pmd__LogEntry message;
    struct link_frame frame = {.type = FRAME_LOG_ENTRY, .message = &message.base};

    entry_to_message(entry, &message);
    if (!member->link || member->closing)
        return;
    if (coordinator->io->send(coordinator->io->context, member->link, &frame))
        coordinator_drop_member(coordinator, member, false, STATUS_RESOURCE_EXHAUSTED,
                                "a log entry could not be queued");
}

void commit_log_send_after(struct coordinator *coordinator, struct member *member, uint64_t index)
{
    for (size_t i = 0; i < coordinator->log_count; i++) {
        if (coordinator->log[i].index > index)
            send_entry(coordinator, member, &coordinator->log[i]);
    }
}

void commit_hold_past_log(struct coordinator *coordinator, struct member *member)
{
    struct log_entry entry = {.kind = PMD__LOG_KIND__LOG_KIND_HOLD,
                              .step = coordinator->hold_step,
                              .hold = coordinator->hold,
                              .hold_slots = coordinator->hold_slots};
    Pmd__LogEntry message;

    for (uint32_t i = 0; i < coordinator->settings.servers; i++) {
        if (coordinator->servers[i].member && (!member || coordinator->servers[i].member == member))
            send_entry(coordinator, coordinator->servers[i].member, &entry);
    }
    entry_to_message(&entry, &message);
    if (!member)
        coordinator->local.on_log(coordinator->local.context, &message);
}

/*
 * Entries that every server has applied are forgotten. The local server applies them as they are
 * made. Until the registry is closed another process may still take a server's place, and starts at
 * the first entry.
 */
static void trim_log(struct coordinator *coordinator)
{
    uint64_t acked = UINT64_MAX;

    if (!coordinator->registry_closed)
        return;
    for (uint32_t i = 0; i < coordinator->settings.servers; i++) {
        const struct coordinator_server *server = &coordinator->servers[i];
        if (!server->local && server->log_acked < acked)
            acked = server->log_acked;
    }
    size_t drop = 0;
    while (drop < coordinator->log_count && coordinator->log[drop].index <= acked)
        drop++;
    if (drop == 0)
        return;
    coordinator->log_count -= drop;
    coordinator->log_first += drop;
    memmove(coordinator->log, coordinator->log + drop,
            coordinator->log_count * sizeof coordinator->log[0]);
}

static bool log_grow(struct coordinator *coordinator)
{
    size_t capacity = coordinator->log_capacity ? coordinator->log_capacity * 2 : 64;

    if (coordinator->log_count < coordinator->log_capacity)
        return true;
    if (coordinator->log_count >= LOG_ENTRIES_MAX)
        return false;
    struct log_entry *grown = alloc_resize(coordinator->log, capacity, sizeof *grown);
    if (!grown)
        return false;
    coordinator->log = grown;
    coordinator->log_capacity = capacity;
    return true;
}

void commit_log_append(struct coordinator *coordinator, const struct log_entry *entry)
{
    Pmd__LogEntry message;

    if (!log_grow(coordinator)) {
        coordinator_end(coordinator, STATUS_RESOURCE_EXHAUSTED, EXIT_CODE_FAILED,
                        "the coordinator's log cannot grow beyond %zu entries",
                        coordinator->log_count);
        return;
    }
    struct log_entry stored = *entry;
    stored.index = coordinator->log_first + coordinator->log_count;
    coordinator->log[coordinator->log_count++] = stored;
    for (uint32_t i = 0; i < coordinator->settings.servers; i++) {
        if (coordinator->servers[i].member)
            send_entry(coordinator, coordinator->servers[i].member, &stored);
    }
    trim_log(coordinator);
    entry_to_message(&stored, &message);
    coordinator->local.on_log(coordinator->local.context, &message);
}

void commit_log_acked(struct coordinator *coordinator, struct member *member, uint64_t index)
{
    struct coordinator_server *server = &coordinator->servers[member->index];

    if (server->member != member || index <= server->log_acked ||
        index >= coordinator->log_first + coordinator->log_count)
        return;
    server->log_acked = index;
    trim_log(coordinator);
}

static bool takes_part(const struct coordinator_worker *worker, uint64_t step)
{
    return step <= worker->last_step;
}

static bool step_complete(const struct coordinator *coordinator, uint64_t step)
{
    bool anybody = step == 0;

    for (uint32_t i = 0; i < coordinator->settings.servers; i++) {
        if (coordinator->servers[i].prepared_plus_1 <= step)
            return false;
    }
    for (uint32_t rank = 0; step > 0 && rank < coordinator->settings.workers; rank++) {
        const struct coordinator_worker *worker = &coordinator->workers[rank];
        const struct step_report *end = &worker->ends[step % 2];
        if (!takes_part(worker, step))
            continue;
        anybody = true;
        if ((!end->valid || end->step != step) && !MUTANT(STEP_END_NOT_AWAITED))
            return false;
    }
    return anybody; /* when all have finished there is no further step */
}

static void add_totals(struct coordinator *coordinator, uint64_t step)
{
    struct metric_list *totals = &coordinator->totals[step % 2];
    struct metric_list *running = &coordinator->running[step % 2];
    bool restart = step <= 1;

    totals->count = 0;
    for (uint32_t rank = 0; rank < coordinator->settings.workers; rank++) {
        const struct coordinator_worker *worker = &coordinator->workers[rank];
        const struct step_report *end = &worker->ends[step % 2];
        if (step == 0 || !takes_part(worker, step))
            continue;
        restart = restart || end->restart_totals;
        for (size_t i = 0; i < end->metrics.count; i++)
            metric_list_add(totals, &end->metrics.items[i]);
    }
    if (restart)
        running->count = 0;
    else
        *running = coordinator->running[(step - 1) % 2];
    for (size_t i = 0; i < totals->count; i++)
        metric_list_add(running, &totals->items[i]);
}

static void tell_workers(struct coordinator *coordinator, uint64_t step)
{
    Pmd__Commit commit = PMD__COMMIT__INIT;
    struct metric_messages totals, running;

    metric_list_to_messages(&coordinator->totals[step % 2], &totals);
    metric_list_to_messages(&coordinator->running[step % 2], &running);
    commit.step = step;
    commit.grant = commit_grant(coordinator);
    commit.n_totals = coordinator->totals[step % 2].count;
    commit.totals = totals.pointers;
    commit.n_running = coordinator->running[step % 2].count;
    commit.running = running.pointers;
    for (uint32_t rank = 0; rank < coordinator->settings.workers; rank++) {
        if (coordinator->workers[rank].member)
            coordinator_send(coordinator, coordinator->workers[rank].member, FRAME_COMMIT,
                             &commit.base, 0);
    }
}

static void check_finished(struct coordinator *coordinator)
{
    uint64_t committed = coordinator->committed_plus_1 ? coordinator->committed_plus_1 - 1 : 0;

    /* Ranks that finish without having created anything leave the registry open. */
    if (coordinator->state != JOB_TRAINING && coordinator->state != JOB_CREATING)
        return;
    for (uint32_t rank = 0; rank < coordinator->settings.workers; rank++) {
        const struct coordinator_worker *worker = &coordinator->workers[rank];
        if (!worker->finished || worker->last_step > committed)
            return;
    }
    coordinator->state = JOB_FINISHED;
    if (coordinator->committed_plus_1 > 0)
        /* a reader that waits for a further commit waits in vain */
        snapshot_after_commit(coordinator);
}

void commit_try(struct coordinator *coordinator)
{
    uint64_t step = coordinator->committed_plus_1;
    struct log_entry entry = {.kind = PMD__LOG_KIND__LOG_KIND_COMMIT, .step = step};

    if (!coordinator->registry_closed || coordinator->state == JOB_ENDED ||
        !step_complete(coordinator, step))
        return;
    add_totals(coordinator, step);
    coordinator->committed_plus_1 = step + 1;
    coordinator->committed_ns = coordinator->io->now_ns(coordinator->io->context);
    entry.grant = commit_grant(coordinator);
    snapshot_on_commit(coordinator, &entry);
    commit_log_append(coordinator, &entry);
    tell_workers(coordinator, step);
    snapshot_after_commit(coordinator);
    check_finished(coordinator);
}

enum status commit_step_end(struct coordinator *coordinator, struct member *member,
                            const Pmd__StepEnd *message, struct error *err)
{
    struct coordinator_worker *worker = &coordinator->workers[member->index];
    struct step_report *end = &worker->ends[message->step % 2];

    if (worker->member != member || message->step < coordinator->committed_plus_1)
        return STATUS_OK; /* of a replaced connection, or counted already */
    if (message->step > coordinator->committed_plus_1 + 1 || coordinator->committed_plus_1 == 0 ||
        !takes_part(worker, message->step))
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "rank %u ends step %llu; the last committed step is %lld", member->index,
                         (unsigned long long)message->step,
                         (long long)coordinator->committed_plus_1 - 1);
    if (end->valid && end->step == message->step && !MUTANT(STEP_END_TWICE))
        return STATUS_OK;
    if (end->valid && end->step == message->step) {
        for (size_t i = 0; i < end->metrics.count; i++)
            metric_list_add(&end->metrics, &end->metrics.items[i]);
        return STATUS_OK;
    }
    enum status status = metric_list_from_message(message->n_metrics, message->metrics,
                                                  &end->metrics, err);
    if (status)
        return status;
    end->step = message->step;
    end->valid = true;
    end->restart_totals = message->restart_totals;
    if (message->step > worker->clock)
        worker->clock = message->step;
    commit_try(coordinator);
    return STATUS_OK;
}

void commit_report(struct coordinator *coordinator, struct member *member,
                   const Pmd__Report *report)
{
    struct coordinator_server *server = &coordinator->servers[member->index];

    if (server->member != member)
        return;
    server->duplicates = report->duplicates;
    server->value_bytes = report->value_bytes;
    server->resident_bytes = report->resident_bytes;
    server->blocks = report->blocks;
    if (report->prepared_plus_1 > server->prepared_plus_1)
        server->prepared_plus_1 = report->prepared_plus_1;
    commit_try(coordinator);
}

enum status commit_finish(struct coordinator *coordinator, struct member *member,
                          const Pmd__Finish *message, struct error *err)
{
    struct coordinator_worker *worker = &coordinator->workers[member->index];
    uint64_t committed = coordinator->committed_plus_1 ? coordinator->committed_plus_1 - 1 : 0;

    if (worker->finished)
        return STATUS_OK;
    if (message->step > committed + 2)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "rank %u finishes after step %llu; the last committed step is %llu",
                         member->index, (unsigned long long)message->step,
                         (unsigned long long)committed);
    /* The process before this one may have finished, and died before its last steps were committed.
     */
    if (message->step > worker->last_step && message->step > committed)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "rank %u finishes after step %llu; it has finished after step %llu before",
                         member->index, (unsigned long long)message->step,
                         (unsigned long long)worker->last_step);
    worker->finished = true;
    worker->last_step = message->step > committed ? message->step : committed;
    struct log_entry entry = {
        .kind = PMD__LOG_KIND__LOG_KIND_FINISH, .step = worker->last_step, .rank = member->index};
    commit_log_append(coordinator, &entry);
    coordinator_close_registry_if_ready(coordinator);
    barrier_check_all(coordinator);
    commit_try(coordinator);
    check_finished(coordinator);
    return STATUS_OK;
}
