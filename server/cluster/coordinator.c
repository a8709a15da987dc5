#include "server/cluster/coordinator.h"

#include "common/base/alloc.h"
#include "common/base/mutant.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NS_PER_MS          ((uint64_t)1000000)
#define NOTICE_INTERVAL_NS (2000 * NS_PER_MS)
/* a step that takes longer is worth a line that says who is awaited */
#define SLOW_STEP_NS (10000 * NS_PER_MS)

enum status coordinator_init(struct coordinator *coordinator, const struct link_io *io,
                             const struct coordinator_settings *settings,
                             const struct coordinator_local *local, const char *local_address,
                             struct error *err)
{
    *coordinator = (struct coordinator){.io = io, .settings = *settings, .local = *local};
    coordinator->learning_rate = NAN;
    coordinator->log_first = 1;
    coordinator->workers = alloc_array(settings->workers, sizeof coordinator->workers[0]);
    coordinator->servers = alloc_array(settings->servers, sizeof coordinator->servers[0]);
    coordinator->page = alloc_zero(sizeof *coordinator->page);
    if (!coordinator->workers || !coordinator->servers || !coordinator->page) {
        coordinator_release(coordinator);
        return error_no_memory(err, "a coordinator of this size");
    }
    for (uint32_t i = 0; i < settings->workers; i++)
        coordinator->workers[i].last_step = UINT64_MAX;
    coordinator->local_member = (struct member){
        .coordinator = coordinator, .kind = MEMBER_SERVER, .index = 0};
    struct coordinator_server *server = &coordinator->servers[0];
    server->member = &coordinator->local_member;
    server->known = server->local = true;
    snprintf(server->address, sizeof server->address, "%s", local_address);
    coordinator->started_ns = io->now_ns(io->context);
    coordinator->next_notice_ns = coordinator->started_ns + NOTICE_INTERVAL_NS / 2;
    return STATUS_OK;
}

void coordinator_release(struct coordinator *coordinator)
{
    while (coordinator->members)
        coordinator_closed(coordinator, coordinator->members);
    barrier_release_all(coordinator);
    registry_release(&coordinator->registry);
    alloc_free(coordinator->workers);
    alloc_free(coordinator->servers);
    alloc_free(coordinator->log);
    alloc_free(coordinator->page);
    *coordinator = (struct coordinator){0};
}

void coordinator_drop_member(struct coordinator *coordinator, struct member *member, bool flush,
                             enum status status, const char *text)
{
    struct error why;

    if (!member->link || member->closing)
        return;
    member->closing = true;
    error_set(&why, status, "%s", text);
    coordinator->io->close(coordinator->io->context, member->link, flush, &why);
}

void coordinator_send(struct coordinator *coordinator, struct member *member, enum frame_type type,
                      const ProtobufCMessage *message, uint64_t request)
{
    struct link_frame frame = {.type = type,
                               .message = message,
                               .request = request,
                               .commit_plus_1 = coordinator->committed_plus_1};

    if (!member->link || member->closing)
        return;
    if (coordinator->io->send(coordinator->io->context, member->link, &frame))
        coordinator_drop_member(
            coordinator, member, false, STATUS_RESOURCE_EXHAUSTED,
            "a control message could not be queued: the peer reads too slowly, or memory ran out");
}

void coordinator_fail_request(struct coordinator *coordinator, struct member *member,
                              uint64_t request, const struct error *err)
{
    Pmd__Failure failure = PMD__FAILURE__INIT;

    failure.status = err->status;
    failure.message = (char *)err->message;
    coordinator_send(coordinator, member, FRAME_FAILURE, &failure.base, request);
}

void coordinator_done(struct coordinator *coordinator, struct member *member, uint64_t request)
{
    Pmd__Done done = PMD__DONE__INIT;

    coordinator_send(coordinator, member, FRAME_DONE, &done.base, request);
}

void coordinator_send_registry(struct coordinator *coordinator, struct member *member,
                               uint64_t request)
{
    uint32_t first = 0;

    do {
        size_t count = registry_page_fill(&coordinator->registry, first,
                                          coordinator->settings.servers, coordinator->page);
        coordinator_send(coordinator, member, FRAME_REGISTRY, &coordinator->page->message.base,
                         request);
        first += (uint32_t)count;
    } while (first < coordinator->registry.variable_count);
}

static enum status check_trainable(const struct coordinator *coordinator, struct error *err)
{
    const struct registry *registry = &coordinator->registry;

    if (registry->variable_count == 0)
        return error_set(err, STATUS_FAILED_PRECONDITION, "no rank has created a variable");
    for (size_t i = 0; i < registry->variable_count; i++) {
        const struct variable_spec *spec = &registry->variables[i];
        if (spec->trainable && !registry_optimizer(registry, spec->optimizer))
            return error_set(
                err, STATUS_FAILED_PRECONDITION,
                "variable '%s' is trained by optimizer %u, which no rank has configured",
                spec->name, spec->optimizer);
    }
    return STATUS_OK;
}

static void answer_starts(struct coordinator *coordinator, const struct error *failure)
{
    for (uint32_t rank = 0; rank < coordinator->settings.workers; rank++) {
        struct coordinator_worker *worker = &coordinator->workers[rank];
        if (!worker->start_waits || !worker->member)
            continue;
        worker->start_waits = false;
        if (failure)
            coordinator_fail_request(coordinator, worker->member, worker->start_request, failure);
        else
            coordinator_send_registry(coordinator, worker->member, worker->start_request);
    }
}

void coordinator_close_registry_if_ready(struct coordinator *coordinator)
{
    struct error err;

    if (coordinator->state != JOB_CREATING || coordinator->registry_closed)
        return;
    for (uint32_t rank = 0; rank < coordinator->settings.workers; rank++) {
        if (!coordinator->workers[rank].started && !coordinator->workers[rank].finished)
            return;
    }
    if (check_trainable(coordinator, &err)) {
        for (uint32_t rank = 0; rank < coordinator->settings.workers; rank++)
            coordinator->workers[rank].started = false;
        answer_starts(coordinator, &err);
        return;
    }
    coordinator->registry_closed = true;
    coordinator->state = JOB_TRAINING;
    coordinator->training_ns = coordinator->committed_ns = coordinator->io->now_ns(
        coordinator->io->context);
    for (uint32_t i = 0; i < coordinator->settings.servers; i++) {
        struct coordinator_server *server = &coordinator->servers[i];
        if (server->member && !server->local)
            coordinator_send_registry(coordinator, server->member, 0);
    }
    answer_starts(coordinator, NULL);
    coordinator->local.on_registry(coordinator->local.context, &coordinator->registry);
}

static enum status on_create(struct coordinator *coordinator, struct member *member,
                             uint64_t request, const Pmd__Create *message, struct error *err)
{
    Pmd__CreateReply reply = PMD__CREATE_REPLY__INIT;
    struct variable_spec spec;
    enum status status;

    if (!message->spec)
        return error_set(err, STATUS_INVALID_ARGUMENT, "a create without a spec");
    status = variable_spec_from_message(message->spec, &spec, err);
    if (!status && coordinator->registry_closed &&
        !registry_find(&coordinator->registry, spec.name, NULL))
        status = error_set(err, STATUS_FAILED_PRECONDITION,
                           "variable '%s' cannot be created any more: training has begun",
                           spec.name);
    if (!status)
        status = registry_add(&coordinator->registry, &spec, &reply.variable, err);
    if (status)
        return status;
    coordinator_send(coordinator, member, FRAME_CREATE_REPLY, &reply.base, request);
    return STATUS_OK;
}

static enum status on_configure(struct coordinator *coordinator, struct member *member,
                                uint64_t request, const Pmd__Configure *message, struct error *err)
{
    struct optimizer_spec spec;
    enum status status;

    if (!message->spec)
        return error_set(err, STATUS_INVALID_ARGUMENT, "a configure without a spec");
    status = optimizer_spec_from_message(message->spec, &spec, err);
    if (!status)
        status = coordinator->settings.check_optimizer(&spec, err);
    if (!status && coordinator->registry_closed &&
        !registry_optimizer(&coordinator->registry, spec.id))
        status = error_set(err, STATUS_FAILED_PRECONDITION,
                           "optimizer %u cannot be configured any more: training has begun",
                           spec.id);
    if (!status)
        status = registry_add_optimizer(&coordinator->registry, &spec, err);
    if (!status)
        coordinator_done(coordinator, member, request);
    return status;
}

static void on_start(struct coordinator *coordinator, struct member *member, uint64_t request)
{
    struct coordinator_worker *worker = &coordinator->workers[member->index];

    worker->started = true;
    if (coordinator->registry_closed) {
        coordinator_send_registry(coordinator, member, request);
        return;
    }
    worker->start_waits = true;
    worker->start_request = request;
    coordinator_close_registry_if_ready(coordinator);
}

static enum status on_set(struct coordinator *coordinator, struct member *member, uint64_t request,
                          const Pmd__Set *message, struct error *err)
{
    Pmd__SetReply reply = PMD__SET_REPLY__INIT;

    if (strcmp(message->key, "learning-rate") != 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "'%.40s' cannot be set; learning-rate can",
                         message->key);
    if (!isfinite(message->value) || message->value < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "learning-rate %g: a number from 0 up is needed", message->value);
    if (coordinator->state != JOB_TRAINING)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "learning-rate can be set while the job trains");
    /*
     * c + 1 may be under way on some servers; c + 2 is prepared after commit(c + 1), which comes
     * after this entry in every server's log.
     */
    reply.from_step = coordinator->committed_plus_1 + (MUTANT(CHANGE_TOO_SOON) ? 0 : 1);
    coordinator->learning_rate = (double)(float)message->value;
    for (size_t i = 0; i < coordinator->registry.optimizer_count; i++) {
        struct log_entry entry = {.kind = PMD__LOG_KIND__LOG_KIND_SET,
                                  .step = reply.from_step,
                                  .learning_rate = coordinator->learning_rate,
                                  .optimizer = coordinator->registry.optimizers[i].id};
        commit_log_append(coordinator, &entry);
    }
    coordinator_send(coordinator, member, FRAME_SET_REPLY, &reply.base, request);
    return STATUS_OK;
}

/* Requests of workers: an error is the request's, not the connection's. */
static enum status worker_request(struct coordinator *coordinator, struct member *member,
                                  enum frame_type type, uint64_t request, const void *message,
                                  struct error *err)
{
    switch (type) {
    case FRAME_CREATE:
        return on_create(coordinator, member, request, message, err);
    case FRAME_CONFIGURE:
        return on_configure(coordinator, member, request, message, err);
    case FRAME_START:
        on_start(coordinator, member, request);
        return STATUS_OK;
    case FRAME_BARRIER:
        return barrier_arrive(coordinator, member, request, message, err);
    case FRAME_FINISH: {
        enum status status = commit_finish(coordinator, member, message, err);
        if (!status)
            coordinator_done(coordinator, member, request);
        return status;
    }
    default:
        return error_set(err, STATUS_PERMISSION_DENIED, "a worker may not send %s",
                         frame_type_name(type));
    }
}

static enum status reader_request(struct coordinator *coordinator, struct member *member,
                                  enum frame_type type, uint64_t request, const void *message,
                                  struct error *err)
{
    switch (type) {
    case FRAME_SNAPSHOT:
        snapshot_request(coordinator, member, request, message);
        return STATUS_OK;
    case FRAME_RELEASE:
        member->hold = 0;
        coordinator_done(coordinator, member, request);
        return STATUS_OK;
    case FRAME_LIST:
        coordinator_send_registry(coordinator, member, request);
        return STATUS_OK;
    case FRAME_STATUS:
        status_reply(coordinator, member, request);
        return STATUS_OK;
    case FRAME_SET:
        return on_set(coordinator, member, request, message, err);
    case FRAME_SHUTDOWN:
        coordinator_done(coordinator, member, request);
        coordinator_end(coordinator, STATUS_OK, EXIT_CODE_DONE, "shut down by %s",
                        member->link->peer);
        return STATUS_OK;
    default:
        return error_set(err, STATUS_PERMISSION_DENIED, "a reader may not send %s",
                         frame_type_name(type));
    }
}

static enum status server_frame(struct coordinator *coordinator, struct member *member,
                                enum frame_type type, const void *message, struct error *err)
{
    if (type == FRAME_REPORT) {
        commit_report(coordinator, member, message);
        return STATUS_OK;
    }
    if (type == FRAME_LOG_ACK) {
        commit_log_acked(coordinator, member, ((const Pmd__LogAck *)message)->index);
        return STATUS_OK;
    }
    if (type == FRAME_COMPLAINT) {
        const Pmd__Complaint *complaint = message;
        coordinator_end(coordinator, (enum status)complaint->status, EXIT_CODE_FAILED,
                        "server %u: %s", member->index, complaint->message);
        return STATUS_OK;
    }
    return error_set(err, STATUS_PERMISSION_DENIED, "a server may not send %s",
                     frame_type_name(type));
}

enum status coordinator_frame(struct coordinator *coordinator, struct member *member,
                              enum frame_type type, uint64_t request, const void *message,
                              struct error *err)
{
    struct error failure;

    member->last_heard_ns = coordinator->io->now_ns(coordinator->io->context);
    if (type == FRAME_HEARTBEAT || coordinator->state == JOB_ENDED)
        return STATUS_OK;
    if (member->kind == MEMBER_SERVER)
        return server_frame(coordinator, member, type, message, err);
    if (member->kind == MEMBER_WORKER && type == FRAME_STEP_END)
        return commit_step_end(coordinator, member, message, err);
    enum status status = member->kind == MEMBER_WORKER
                             ? worker_request(coordinator, member, type, request, message, &failure)
                             : reader_request(coordinator, member, type, request, message,
                                              &failure);
    if (status)
        coordinator_fail_request(coordinator, member, request, &failure);
    return STATUS_OK;
}

void coordinator_local_report(struct coordinator *coordinator, const Pmd__Report *report)
{
    commit_report(coordinator, &coordinator->local_member, report);
}

void coordinator_end(struct coordinator *coordinator, enum status status, enum exit_code code,
                     const char *format, ...)
{
    Pmd__End end = PMD__END__INIT;
    va_list args;

    if (coordinator->state == JOB_ENDED)
        return;
    va_start(args, format);
    vsnprintf(coordinator->end_message, sizeof coordinator->end_message, format, args);
    va_end(args);
    coordinator->state = JOB_ENDED;
    coordinator->end_status = status;
    coordinator->end_code = code;
    end.status = status;
    end.message = coordinator->end_message;
    end.step = coordinator->committed_plus_1 ? coordinator->committed_plus_1 - 1 : 0;
    end.exit_code = code;
    for (struct member *member = coordinator->members; member; member = member->next)
        coordinator_send(coordinator, member, FRAME_END, &end.base, 0);
}

static void heartbeat(struct coordinator *coordinator, uint64_t now)
{
    char text[200];

    for (struct member *member = coordinator->members; member; member = member->next) {
        uint64_t silent_ms = (now - member->last_heard_ns) / NS_PER_MS;
        if (silent_ms > coordinator->settings.dead_ms) {
            snprintf(text, sizeof text, "%s was silent for %.1f s", member->link->peer,
                     (double)silent_ms / 1000);
            coordinator_drop_member(coordinator, member, false, STATUS_UNAVAILABLE, text);
        } else {
            coordinator_send(coordinator, member, FRAME_HEARTBEAT, NULL, 0);
        }
    }
}

/* Who is awaited: while the cluster forms, and when a step takes long. */
static void notice(struct coordinator *coordinator, uint64_t now)
{
    bool forming = coordinator->state == JOB_FORMING || coordinator->state == JOB_CREATING;
    bool slow = coordinator->state == JOB_TRAINING &&
                now - coordinator->committed_ns >= SLOW_STEP_NS;
    char line[400];

    if (now < coordinator->next_notice_ns || !coordinator->notice || (!forming && !slow))
        return;
    coordinator->next_notice_ns = now + (slow ? SLOW_STEP_NS : NOTICE_INTERVAL_NS);
    coordinator_waiting_for(coordinator, line, sizeof line);
    if (line[0])
        coordinator->notice(coordinator->notice_context, line);
}

uint64_t coordinator_tick(struct coordinator *coordinator)
{
    uint64_t now = coordinator->io->now_ns(coordinator->io->context);

    if (now >= coordinator->next_heartbeat_ns) {
        coordinator->next_heartbeat_ns = now + coordinator->settings.heartbeat_ms * NS_PER_MS;
        heartbeat(coordinator, now);
    }
    if (coordinator->state != JOB_ENDED)
        roster_check(coordinator, now);
    notice(coordinator, now);
    return coordinator->next_heartbeat_ns;
}
