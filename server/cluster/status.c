/* What the coordinator says of the job: for `paramctl status`, for the log, and in messages about
 * what is waited for. */
#include "common/base/alloc.h"
#include "common/base/version.h"
#include "server/cluster/coordinator.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const state_names[] = {
    [JOB_FORMING] = "forming",   [JOB_CREATING] = "creating", [JOB_TRAINING] = "training",
    [JOB_FINISHED] = "finished", [JOB_ENDED] = "ended",
};

static double seconds(uint64_t ns)
{
    return (double)ns / 1e9;
}

static void name_missing(const struct coordinator *coordinator, char *ret_text, size_t capacity)
{
    uint32_t servers = coordinator->settings.servers - roster_servers_present(coordinator);
    uint32_t workers = coordinator->settings.workers - roster_workers_present(coordinator);
    size_t used = (size_t)snprintf(ret_text, capacity, "waiting for ");

    if (servers)
        used += (size_t)snprintf(ret_text + used, capacity - used, "%u of %u server%s%s", servers,
                                 coordinator->settings.servers,
                                 coordinator->settings.servers == 1 ? "" : "s",
                                 workers ? " and " : "");
    if (workers)
        snprintf(ret_text + used, capacity - used, "%u of %u worker%s", workers,
                 coordinator->settings.workers, coordinator->settings.workers == 1 ? "" : "s");
}

/* The first rank that has not ended the next step, or the first server that has not prepared it. */
static void name_slowest(const struct coordinator *coordinator, char *ret_text, size_t capacity)
{
    uint64_t step = coordinator->committed_plus_1;

    for (uint32_t rank = 0; step > 0 && rank < coordinator->settings.workers; rank++) {
        const struct coordinator_worker *worker = &coordinator->workers[rank];
        const struct step_report *end = &worker->ends[step % 2];
        if (step <= worker->last_step && (!end->valid || end->step != step)) {
            snprintf(ret_text, capacity, "step %llu waits for worker %u%s",
                     (unsigned long long)step, rank, worker->member ? "" : ", which is lost");
            return;
        }
    }
    for (uint32_t i = 0; i < coordinator->settings.servers; i++) {
        const struct coordinator_server *server = &coordinator->servers[i];
        if (server->prepared_plus_1 <= step) {
            snprintf(ret_text, capacity, "step %llu waits for server %u%s",
                     (unsigned long long)step, i, server->member ? "" : ", which is lost");
            return;
        }
    }
}

void coordinator_waiting_for(const struct coordinator *coordinator, char *ret_text, size_t capacity)
{
    ret_text[0] = '\0';
    if (coordinator->state == JOB_FINISHED || coordinator->state == JOB_ENDED)
        return;
    if (roster_servers_present(coordinator) < coordinator->settings.servers ||
        roster_workers_present(coordinator) < coordinator->settings.workers) {
        name_missing(coordinator, ret_text, capacity);
        return;
    }
    for (uint32_t rank = 0; !coordinator->registry_closed && rank < coordinator->settings.workers;
         rank++) {
        if (!coordinator->workers[rank].started && !coordinator->workers[rank].finished) {
            snprintf(ret_text, capacity,
                     "worker %u has not said that it has created all its variables", rank);
            return;
        }
    }
    if (coordinator->registry_closed)
        name_slowest(coordinator, ret_text, capacity);
}

static const char *worker_state(const struct coordinator_worker *worker)
{
    return worker->finished ? "finished"
           : worker->member ? "present"
           : worker->known  ? "lost"
                            : "absent";
}

static uint64_t silent_ns(const struct member *member, uint64_t lost_ns, uint64_t now)
{
    if (member)
        return member->link ? now - member->last_heard_ns : 0;
    return lost_ns ? now - lost_ns : 0;
}

static void fill_worker(const struct coordinator_worker *worker, uint32_t rank, uint64_t now,
                        Pmd__WorkerStatus *ret_status)
{
    pmd__worker_status__init(ret_status);
    ret_status->rank = rank;
    ret_status->state = (char *)worker_state(worker);
    ret_status->clock = worker->clock;
    ret_status->incarnation = worker->incarnation;
    ret_status->peer = (char *)worker->program;
    ret_status->silent_s = seconds(silent_ns(worker->member, worker->lost_ns, now));
}

static void fill_server(const struct coordinator_server *server, uint32_t index, uint64_t now,
                        Pmd__ServerStatus *ret_status)
{
    pmd__server_status__init(ret_status);
    ret_status->server = index;
    ret_status->address = (char *)server->address;
    ret_status->prepared_plus_1 = server->prepared_plus_1;
    ret_status->duplicates = server->duplicates;
    ret_status->value_bytes = server->value_bytes;
    ret_status->resident_bytes = server->resident_bytes;
    ret_status->blocks = server->blocks;
    ret_status->present = server->member != NULL;
    ret_status->silent_s = seconds(silent_ns(server->member, server->lost_ns, now));
}

/* Header space is bounded: of a very large job the first members are listed. */
enum { LISTED_MAX = 64 };

struct lists {
    Pmd__WorkerStatus workers[LISTED_MAX];
    Pmd__WorkerStatus *worker_pointers[LISTED_MAX];
    Pmd__ServerStatus servers[LISTED_MAX];
    Pmd__ServerStatus *server_pointers[LISTED_MAX];
};

static void fill_lists(const struct coordinator *coordinator, uint64_t now, struct lists *lists,
                       Pmd__StatusReply *reply)
{
    for (uint32_t i = 0; i < coordinator->settings.workers && i < LISTED_MAX; i++) {
        fill_worker(&coordinator->workers[i], i, now, &lists->workers[i]);
        lists->worker_pointers[reply->n_workers++] = &lists->workers[i];
    }
    for (uint32_t i = 0; i < coordinator->settings.servers && i < LISTED_MAX; i++) {
        fill_server(&coordinator->servers[i], i, now, &lists->servers[i]);
        lists->server_pointers[reply->n_servers++] = &lists->servers[i];
    }
    reply->workers = lists->worker_pointers;
    reply->servers = lists->server_pointers;
}

/* The rate as it was set last, not as it was configured. */
static void show_learning_rate(struct coordinator *coordinator)
{
    const struct registry *registry = &coordinator->registry;

    for (size_t i = 0; !isnan(coordinator->learning_rate) && i < registry->optimizer_count; i++) {
        for (size_t k = 0; k < registry->optimizers[i].setting_count; k++) {
            if (strcmp(registry->optimizers[i].settings[k].key, "learning_rate") == 0)
                coordinator->page->values[i][k] = coordinator->learning_rate;
        }
    }
}

void status_reply(struct coordinator *coordinator, struct member *member, uint64_t request)
{
    uint64_t now = coordinator->io->now_ns(coordinator->io->context);
    Pmd__StatusReply reply = PMD__STATUS_REPLY__INIT;
    struct lists *lists = alloc_zero(sizeof *lists);
    struct error err;
    char waiting_for[300];

    if (!lists) {
        error_no_memory(&err, "a status");
        coordinator_fail_request(coordinator, member, request, &err);
        return;
    }
    coordinator_waiting_for(coordinator, waiting_for, sizeof waiting_for);
    registry_page_fill(&coordinator->registry, 0, coordinator->settings.servers, coordinator->page);
    show_learning_rate(coordinator);
    reply.job = (char *)coordinator->settings.job;
    reply.state = (char *)state_names[coordinator->state];
    reply.committed_plus_1 = coordinator->committed_plus_1;
    reply.variables = (uint32_t)coordinator->registry.variable_count;
    for (size_t i = 0; i < coordinator->registry.variable_count; i++)
        reply.parameters += coordinator->registry.variables[i].elements;
    fill_lists(coordinator, now, lists, &reply);
    if (coordinator->committed_plus_1 > 1 && now > coordinator->training_ns)
        reply.steps_per_s = (double)(coordinator->committed_plus_1 - 1) /
                            seconds(now - coordinator->training_ns);
    reply.uptime_s = seconds(now - coordinator->started_ns);
    reply.waiting_for = waiting_for;
    reply.protocol_major = PROTOCOL_MAJOR;
    reply.protocol_minor = PROTOCOL_MINOR;
    reply.version = (char *)PARAMD_VERSION;
    reply.n_optimizers = coordinator->page->message.n_optimizers;
    reply.optimizers = coordinator->page->message.optimizers;
    coordinator_send(coordinator, member, FRAME_STATUS_REPLY, &reply.base, request);
    alloc_free(lists);
}
