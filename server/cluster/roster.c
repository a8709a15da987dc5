/*
 * Who holds which rank. A rank's holder is told apart by its process number: the same process keeps
 * its incarnation over all its connections; another one gets the next incarnation and the older
 * holder is fenced, wherever it is in its work.
 */
#include "common/base/alloc.h"
#include "common/base/mutant.h"
#include "server/cluster/coordinator.h"

#include <stdio.h>
#include <string.h>

#define NS_PER_MS ((uint64_t)1000000)

static struct member *member_new(struct coordinator *coordinator, struct link *link, int kind,
                                 uint32_t index)
{
    struct member *member = alloc_zero(sizeof *member);

    if (!member)
        return NULL;
    member->coordinator = coordinator;
    member->link = link;
    member->kind = kind;
    member->index = index;
    member->last_heard_ns = coordinator->io->now_ns(coordinator->io->context);
    member->next = coordinator->members;
    if (member->next)
        member->next->previous = member;
    coordinator->members = member;
    return member;
}

uint32_t roster_servers_present(const struct coordinator *coordinator)
{
    uint32_t present = 0;

    for (uint32_t i = 0; i < coordinator->settings.servers; i++)
        present += coordinator->servers[i].member != NULL;
    return present;
}

uint32_t roster_workers_present(const struct coordinator *coordinator)
{
    uint32_t present = 0;

    for (uint32_t i = 0; i < coordinator->settings.workers; i++)
        present += coordinator->workers[i].member != NULL || coordinator->workers[i].finished;
    return present;
}

static void fill_members(const struct coordinator *coordinator, Pmd__Members *members,
                         char **addresses)
{
    bool all_known = true;

    members->servers = coordinator->settings.servers;
    members->workers = coordinator->settings.workers;
    members->servers_present = roster_servers_present(coordinator);
    members->workers_present = roster_workers_present(coordinator);
    for (uint32_t i = 0; i < coordinator->settings.servers; i++) {
        addresses[i] = coordinator->servers[i].address;
        all_known = all_known && coordinator->servers[i].known;
    }
    members->n_server_address = all_known ? coordinator->settings.servers : 0;
    members->server_address = addresses;
}

void roster_broadcast_members(struct coordinator *coordinator)
{
    Pmd__Members members = PMD__MEMBERS__INIT;
    char *addresses[LIMIT_SERVERS];

    if (coordinator->state == JOB_FORMING &&
        roster_servers_present(coordinator) == coordinator->settings.servers)
        coordinator->state = JOB_CREATING;
    fill_members(coordinator, &members, addresses);
    for (struct member *member = coordinator->members; member; member = member->next)
        coordinator_send(coordinator, member, FRAME_MEMBERS, &members.base, 0);
}

static void send_end(struct coordinator *coordinator, struct link *link, enum status status,
                     enum exit_code code, const char *message)
{
    Pmd__End end = PMD__END__INIT;
    struct link_frame frame = {.type = FRAME_END, .message = &end.base};

    end.status = status;
    end.exit_code = code;
    end.message = (char *)message;
    end.step = coordinator->committed_plus_1 ? coordinator->committed_plus_1 - 1 : 0;
    status_ignore(coordinator->io->send(coordinator->io->context, link, &frame),
                  "the link is closed anyway");
}

static enum status fence(struct coordinator *coordinator, struct link *link, uint32_t rank,
                         struct error *err)
{
    error_set(err, STATUS_ABORTED, "fenced: rank %u is held by a newer process (%s)", rank,
              coordinator->workers[rank].program);
    send_end(coordinator, link, STATUS_ABORTED, EXIT_CODE_FENCED, err->message);
    return STATUS_ABORTED;
}

/* Has this rank nothing more to do? One that said finish and died before its last steps are
 * committed must do them again. */
static bool is_through(const struct coordinator *coordinator,
                       const struct coordinator_worker *worker)
{
    uint64_t committed = coordinator->committed_plus_1 ? coordinator->committed_plus_1 - 1 : 0;

    return worker->finished && worker->last_step <= committed;
}

/* The rank a worker asks for: its own again, the one it names, or the lowest that nobody has, then
 * the lowest that was lost. */
static enum status choose_rank(const struct coordinator *coordinator, const Pmd__Hello *hello,
                               uint32_t *ret_rank, struct error *err)
{
    uint32_t workers = coordinator->settings.workers;
    uint32_t lost = workers;

    if (hello->rank_plus_1 > workers)
        return error_set(err, STATUS_INVALID_ARGUMENT, "rank %u: this job has ranks 0 to %u",
                         hello->rank_plus_1 - 1, workers - 1);
    if (hello->rank_plus_1 > 0) {
        *ret_rank = hello->rank_plus_1 - 1;
        return STATUS_OK;
    }
    for (uint32_t rank = 0; rank < workers; rank++) {
        if (coordinator->workers[rank].known &&
            coordinator->workers[rank].process == hello->process) {
            *ret_rank = rank;
            return STATUS_OK;
        }
    }
    for (uint32_t rank = 0; rank < workers; rank++) {
        const struct coordinator_worker *worker = &coordinator->workers[rank];
        if (!worker->known) {
            *ret_rank = rank;
            return STATUS_OK;
        }
        if (!worker->member && !is_through(coordinator, worker) && lost == workers)
            lost = rank;
    }
    if (lost == workers)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "all %u ranks are taken", workers);
    *ret_rank = lost;
    return STATUS_OK;
}

static void drop_uncommitted_ends(struct coordinator *coordinator,
                                  struct coordinator_worker *worker)
{
    for (int i = 0; i < 2; i++) {
        if (worker->ends[i].valid && worker->ends[i].step >= coordinator->committed_plus_1 &&
            !MUTANT(KEEP_OLD_STEP_END))
            worker->ends[i].valid = false;
    }
    uint64_t committed = coordinator->committed_plus_1 ? coordinator->committed_plus_1 - 1 : 0;
    if (worker->clock > committed && !MUTANT(KEEP_OLD_STEP_END))
        worker->clock = committed;
}

/*
 * Did this process hold a rank that another one holds now? Its first hello, which names no
 * incarnation, may come after those that replaced it: it would fence the newer process.
 */
static bool was_replaced(const struct coordinator *coordinator, uint64_t process,
                         uint32_t *ret_rank)
{
    for (uint32_t rank = 0; rank < coordinator->settings.workers; rank++) {
        const struct coordinator_worker *worker = &coordinator->workers[rank];
        for (int i = 0; i < WORKER_FORMER_MAX && process != 0; i++) {
            if (worker->former[i] != process || worker->process == process)
                continue;
            *ret_rank = rank;
            return true;
        }
    }
    return false;
}

/* Takes the rank for this process and connection; who held it before is fenced, or replaced if it
 * is the same process. */
static enum status claim_rank(struct coordinator *coordinator, struct link *link,
                              const Pmd__Hello *hello, uint32_t rank, struct member **ret_member,
                              struct error *err)
{
    struct coordinator_worker *worker = &coordinator->workers[rank];
    struct member *old = worker->member;
    bool same = worker->known && worker->process == hello->process;

    if (!same && hello->incarnation != 0 && !MUTANT(NO_FENCE))
        /* it had the rank once; another process has it now */
        return fence(coordinator, link, rank, err);
    if (same && hello->connection <= worker->connection && !MUTANT(CONNECTION_NOT_COMPARED))
        return error_set(err, STATUS_ABORTED, "rank %u has a newer connection of this process",
                         rank);
    struct member *member = member_new(coordinator, link, MEMBER_WORKER, rank);
    if (!member)
        return error_no_memory(err, "a member");
    if (!same) {
        worker->former[worker->incarnation % WORKER_FORMER_MAX] = worker->process;
        worker->incarnation++;
        worker->process = hello->process;
        worker->started = false;
        worker->start_waits = false;
        /* last_step stays: the servers know it */
        worker->finished = is_through(coordinator, worker);
        drop_uncommitted_ends(coordinator, worker);
        barrier_rank_lost(coordinator, rank);
    }
    worker->known = true;
    worker->member = member;
    worker->lost_ns = 0;
    worker->connection = hello->connection;
    snprintf(worker->program, sizeof worker->program, "%s", hello->program);
    if (old) {
        if (!same)
            fence(coordinator, old->link, rank, err);
        coordinator_drop_member(coordinator, old, true, STATUS_ABORTED,
                                "replaced by a newer connection");
    }
    *ret_member = member;
    return STATUS_OK;
}

static void fill_recent(const struct coordinator *coordinator, Pmd__Commit *commits,
                        Pmd__Commit **pointers, struct metric_messages *messages,
                        Pmd__HelloReply *reply)
{
    uint64_t committed_plus_1 = coordinator->committed_plus_1;
    size_t count = 0;

    for (uint64_t back = 2; back >= 1; back--) {
        if (committed_plus_1 <= back) /* step 0 has no totals */
            continue;
        uint64_t step = committed_plus_1 - back;
        Pmd__Commit *commit = &commits[count];
        pmd__commit__init(commit);
        commit->step = step;
        commit->grant = commit_grant(coordinator);
        metric_list_to_messages(&coordinator->totals[step % 2], &messages[2 * count]);
        metric_list_to_messages(&coordinator->running[step % 2], &messages[2 * count + 1]);
        commit->n_totals = coordinator->totals[step % 2].count;
        commit->totals = messages[2 * count].pointers;
        commit->n_running = coordinator->running[step % 2].count;
        commit->running = messages[2 * count + 1].pointers;
        pointers[count++] = commit;
    }
    reply->n_recent = count;
    reply->recent = pointers;
}

static void send_hello_reply(struct coordinator *coordinator, struct member *member,
                             uint64_t request)
{
    Pmd__HelloReply reply = PMD__HELLO_REPLY__INIT;
    Pmd__Commit commits[2];
    Pmd__Commit *pointers[2];
    struct metric_messages messages[4];

    reply.protocol_major = PROTOCOL_MAJOR;
    reply.protocol_minor = PROTOCOL_MINOR;
    reply.job = (char *)coordinator->settings.job;
    reply.workers = coordinator->settings.workers;
    reply.servers = coordinator->settings.servers;
    reply.grant = commit_grant(coordinator);
    reply.committed_plus_1 = coordinator->committed_plus_1;
    if (member->kind == MEMBER_WORKER) {
        reply.rank = member->index;
        reply.incarnation = coordinator->workers[member->index].incarnation;
        reply.finished = coordinator->workers[member->index].finished;
        fill_recent(coordinator, commits, pointers, messages, &reply);
    } else if (member->kind == MEMBER_SERVER) {
        reply.server = member->index;
    }
    coordinator_send(coordinator, member, FRAME_HELLO_REPLY, &reply.base, request);
}

static enum status hello_worker(struct coordinator *coordinator, struct link *link,
                                const Pmd__Hello *hello, uint64_t request,
                                struct member **ret_member, struct error *err)
{
    uint32_t rank = 0;
    struct member *member = NULL;

    if (was_replaced(coordinator, hello->process, &rank) && !MUTANT(NO_FENCE))
        return fence(coordinator, link, rank, err);
    enum status status = choose_rank(coordinator, hello, &rank, err);

    if (!status)
        status = claim_rank(coordinator, link, hello, rank, &member, err);
    if (status)
        return status;
    send_hello_reply(coordinator, member, request);
    roster_broadcast_members(coordinator);
    coordinator_close_registry_if_ready(coordinator);
    *ret_member = member;
    return STATUS_OK;
}

static enum status choose_server(const struct coordinator *coordinator, const Pmd__Hello *hello,
                                 uint32_t *ret_server, struct error *err)
{
    for (uint32_t i = 1; i < coordinator->settings.servers; i++) {
        if (coordinator->servers[i].known && coordinator->servers[i].process == hello->process) {
            *ret_server = i;
            return STATUS_OK;
        }
    }
    for (uint32_t i = 1; i < coordinator->settings.servers; i++) {
        if (!coordinator->servers[i].known) {
            *ret_server = i;
            return STATUS_OK;
        }
    }
    /* A place that somebody left before the registry was closed holds nothing yet; but it may be on
     * its way back. */
    for (uint32_t i = 1; i < coordinator->settings.servers && !coordinator->registry_closed; i++) {
        if (!coordinator->servers[i].member) {
            *ret_server = i;
            return STATUS_OK;
        }
    }
    return error_set(err, STATUS_RESOURCE_EXHAUSTED, "all %u servers of this job are there%s",
                     coordinator->settings.servers,
                     coordinator->registry_closed
                         ? "; a lost one cannot be replaced while its values are only in its memory"
                         : "");
}

static enum status hello_server(struct coordinator *coordinator, struct link *link,
                                const Pmd__Hello *hello, uint64_t request,
                                struct member **ret_member, struct error *err)
{
    uint32_t index = 0;

    if (!hello->address[0])
        return error_set(err, STATUS_INVALID_ARGUMENT, "a server must say where it is reached");
    enum status status = choose_server(coordinator, hello, &index, err);
    if (status)
        return status;
    struct coordinator_server *server = &coordinator->servers[index];
    bool same = server->known && server->process == hello->process;
    if (same && hello->connection <= server->connection && !MUTANT(CONNECTION_NOT_COMPARED))
        return error_set(err, STATUS_ABORTED, "server %u has a newer connection of this process",
                         index);
    struct member *member = member_new(coordinator, link, MEMBER_SERVER, index);
    if (!member)
        return error_no_memory(err, "a member");
    struct member *old = server->member;
    server->member = member;
    server->known = true;
    if (!same)
        server->log_acked = server->prepared_plus_1 = 0;
    server->process = hello->process;
    server->connection = hello->connection;
    server->lost_ns = 0;
    snprintf(server->address, sizeof server->address, "%s", hello->address);
    snprintf(server->program, sizeof server->program, "%s", hello->program);
    if (old)
        coordinator_drop_member(coordinator, old, false, STATUS_ABORTED,
                                "replaced by a newer connection");
    send_hello_reply(coordinator, member, request);
    roster_broadcast_members(coordinator);
    if (coordinator->registry_closed)
        coordinator_send_registry(coordinator, member, 0);
    if (MUTANT(HOLD_OUT_OF_ORDER) && coordinator->hold)
        commit_hold_past_log(coordinator, member);
    if (!MUTANT(LOG_NOT_RESENT))
        commit_log_send_after(coordinator, member, hello->log_index);
    coordinator_close_registry_if_ready(coordinator);
    *ret_member = member;
    return STATUS_OK;
}

static enum status hello_reader(struct coordinator *coordinator, struct link *link,
                                uint64_t request, struct member **ret_member, struct error *err)
{
    Pmd__Members members = PMD__MEMBERS__INIT;
    char *addresses[LIMIT_SERVERS];

    if (coordinator->readers >= LIMIT_READERS)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "%d readers are connected, more are not served", LIMIT_READERS);
    struct member *member = member_new(coordinator, link, MEMBER_READER, 0);
    if (!member)
        return error_no_memory(err, "a member");
    coordinator->readers++;
    send_hello_reply(coordinator, member, request);
    fill_members(coordinator, &members, addresses);
    coordinator_send(coordinator, member, FRAME_MEMBERS, &members.base, 0);
    *ret_member = member;
    return STATUS_OK;
}

enum status coordinator_hello(struct coordinator *coordinator, struct link *link,
                              const Pmd__Hello *hello, uint64_t request, struct member **ret_member,
                              struct error *err)
{
    if (coordinator->state == JOB_ENDED) {
        send_end(coordinator, link, coordinator->end_status, coordinator->end_code,
                 coordinator->end_message);
        return error_set(err, STATUS_FAILED_PRECONDITION, "the job has ended: %s",
                         coordinator->end_message);
    }
    switch (hello->role) {
    case PMD__ROLE__ROLE_WORKER:
        return hello_worker(coordinator, link, hello, request, ret_member, err);
    case PMD__ROLE__ROLE_SERVER:
        return hello_server(coordinator, link, hello, request, ret_member, err);
    case PMD__ROLE__ROLE_READER:
        return hello_reader(coordinator, link, request, ret_member, err);
    default:
        return error_set(err, STATUS_INVALID_ARGUMENT, "role %d is not known", (int)hello->role);
    }
}

void coordinator_closed(struct coordinator *coordinator, struct member *member)
{
    uint64_t now = coordinator->io->now_ns(coordinator->io->context);
    bool changed = false;

    if (member->previous)
        member->previous->next = member->next;
    else
        coordinator->members = member->next;
    if (member->next)
        member->next->previous = member->previous;
    if (member->kind == MEMBER_READER)
        coordinator->readers--;
    if (member->kind == MEMBER_WORKER && coordinator->workers[member->index].member == member) {
        coordinator->workers[member->index].member = NULL;
        coordinator->workers[member->index].lost_ns = now;
        coordinator->workers[member->index].start_waits = false;
        changed = true;
    }
    if (member->kind == MEMBER_SERVER && coordinator->servers[member->index].member == member) {
        coordinator->servers[member->index].member = NULL;
        coordinator->servers[member->index].lost_ns = now;
        changed = true;
    }
    alloc_free(member);
    if (changed && coordinator->state != JOB_ENDED)
        roster_broadcast_members(coordinator);
}

static long long last_step(const struct coordinator *coordinator)
{
    return (long long)coordinator->committed_plus_1 - 1;
}

static void check_formed(struct coordinator *coordinator, uint64_t now)
{
    char line[400];

    if ((now - coordinator->started_ns) / NS_PER_MS < coordinator->settings.join_ms)
        return;
    /* Servers were all there once; whoever is away since then has his own deadline. */
    bool complete = coordinator->state != JOB_FORMING;
    for (uint32_t rank = 0; rank < coordinator->settings.workers; rank++)
        complete = complete && coordinator->workers[rank].known;
    if (complete)
        return;
    coordinator_waiting_for(coordinator, line, sizeof line);
    coordinator_end(coordinator, STATUS_DEADLINE_EXCEEDED, EXIT_CODE_NOT_FORMED,
                    "the cluster was not complete after %.1f s: %s",
                    (double)coordinator->settings.join_ms / 1000, line);
}

void roster_check(struct coordinator *coordinator, uint64_t now)
{
    if (!coordinator->registry_closed)
        check_formed(coordinator, now);
    for (uint32_t i = 0; i < coordinator->settings.servers; i++) {
        const struct coordinator_server *server = &coordinator->servers[i];
        if (server->member || !server->known ||
            (now - server->lost_ns) / NS_PER_MS < coordinator->settings.server_lost_ms)
            continue;
        coordinator_end(
            coordinator, STATUS_UNAVAILABLE, EXIT_CODE_PEER_LOST,
            "server %u (%s) was lost; the last committed step is %lld; its values were only in its "
            "memory, so training begins anew when the job is started again",
            i, server->address, last_step(coordinator));
    }
    for (uint32_t rank = 0; rank < coordinator->settings.workers; rank++) {
        const struct coordinator_worker *worker = &coordinator->workers[rank];
        if (worker->member || !worker->known || is_through(coordinator, worker) ||
            (now - worker->lost_ns) / NS_PER_MS < coordinator->settings.restart_ms)
            continue;
        coordinator_end(coordinator, STATUS_UNAVAILABLE, EXIT_CODE_PEER_LOST,
                        "worker %u (%s) was lost and did not come back in %.1f s; the last "
                        "committed step is %lld",
                        rank, worker->program, (double)coordinator->settings.restart_ms / 1000,
                        last_step(coordinator));
    }
}
