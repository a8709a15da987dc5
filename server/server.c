/*
 * Builds the parts of a server and carries events between them: a frame goes to the uplink (it came
 * on our own connection to the coordinator), to the coordinator (a control connection) or to the
 * data plane (a bulk connection); what these want of each other (reports, log entries, the end of
 * the job) is carried over at the end of the turn, so nothing calls back into itself.
 */
#include "server/server.h"

#include "common/base/alloc.h"
#include "common/optim/optimizer.h"
#include "common/wire/message.h"

#include <stdio.h>
#include <string.h>

#define NS_PER_MS ((uint64_t)1000000)

enum {
    DEFAULT_HEARTBEAT_MS = 500,
    DEFAULT_DEAD_MS = 10000,
    DEFAULT_JOIN_MS = 15000,
    DEFAULT_RESTART_MS = 60000,
    REFRESH_MS = 1000,
    TURN_ROUNDS_MAX = 8, /* report, commit, prepare: more than a step a turn means more turns */
};

#define DEFAULT_STAGING_BYTES ((uint64_t)64 << 20)

static enum status check_optimizer(const struct optimizer_spec *spec, struct error *err)
{
    struct optimizer_option options[OPTIMIZER_SETTINGS_MAX];
    struct optimizer optimizer;

    for (size_t i = 0; i < spec->setting_count; i++) {
        snprintf(options[i].key, sizeof options[i].key, "%.31s", spec->settings[i].key);
        options[i].value = spec->settings[i].value;
    }
    return optimizer_init(&optimizer, spec->name, options, spec->setting_count, err);
}

static void end(struct server *server, enum exit_code code, const char *message)
{
    if (server->ended)
        return;
    server->ended = true;
    server->exit_code = code;
    snprintf(server->end_message, sizeof server->end_message, "%s", message);
}

static enum status start_service(struct server *server, uint32_t workers, uint32_t servers,
                                 const char *job, struct error *err)
{
    struct service_settings settings = {
        .job = job,
        .token = server->settings.token,
        .token_bytes = server->settings.token_bytes,
        .workers = workers,
        .servers = servers,
        .payload_hash = server->settings.payload_hash,
        .staging_bytes = server->settings.staging_bytes,
    };
    enum status status = service_init(&server->service, server->io, &settings, err);

    server->service_ready = status == STATUS_OK;
    return status;
}

static void on_registry(void *context, const struct registry *registry)
{
    struct server *server = context;

    if (server->service_ready)
        service_registry(&server->service, registry, server->service.server);
}

static void on_log(void *context, const Pmd__LogEntry *entry)
{
    struct server *server = context;
    struct error err;

    if (server->service_ready && service_log(&server->service, entry, &err))
        service_complain(&server->service, err.status, "log entry %llu: %s",
                         (unsigned long long)entry->index, err.message);
}

static void on_welcome(void *context, uint32_t index, uint32_t servers, uint32_t workers,
                       const char *job)
{
    struct server *server = context;
    const struct service_settings *present = &server->service.settings;
    bool possible = workers > 0 && workers <= LIMIT_WORKERS && servers > 0 &&
                    servers <= LIMIT_SERVERS && index < servers;
    struct error err;

    if (!possible ||
        (server->service_ready && (workers != present->workers || servers != present->servers))) {
        end(server, EXIT_CODE_FAILED, "the coordinator's welcome makes no sense");
        return;
    }
    if (server->service_ready) { /* a reconnect */
        service_move(&server->service, index);
        return;
    }
    snprintf(server->job_name, sizeof server->job_name, "%.64s", job);
    if (start_service(server, workers, servers, server->job_name, &err)) {
        end(server, EXIT_CODE_FAILED, err.message);
        return;
    }
    server->service.server = index;
}

static enum status start_coordinator(struct server *server, struct error *err)
{
    const struct server_settings *settings = &server->settings;
    struct coordinator_settings coordinator = {
        .job = settings->job,
        .workers = settings->workers,
        .servers = settings->servers,
        .heartbeat_ms = settings->heartbeat_ms,
        .dead_ms = settings->dead_ms,
        .join_ms = settings->join_ms,
        .restart_ms = settings->restart_ms,
        .server_lost_ms = settings->dead_ms,
        .check_optimizer = check_optimizer,
    };
    struct coordinator_local local = {
        .context = server, .on_registry = on_registry, .on_log = on_log};

    if (settings->workers == 0 || settings->workers > LIMIT_WORKERS)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%u workers: 1 to %d are possible",
                         settings->workers, LIMIT_WORKERS);
    if (settings->servers == 0 || settings->servers > LIMIT_SERVERS)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%u servers: 1 to %d are possible",
                         settings->servers, LIMIT_SERVERS);
    enum status status = start_service(server, settings->workers, settings->servers, settings->job,
                                       err);
    if (status)
        return status;
    status = coordinator_init(&server->coordinator, server->io, &coordinator, &local,
                              settings->address, err);
    server->coordinator.notice = settings->notice;
    server->coordinator.notice_context = settings->notice_context;
    return status;
}

static void start_uplink(struct server *server)
{
    const struct server_settings *settings = &server->settings;
    struct uplink_settings uplink = {
        .coordinator = settings->coordinator,
        .address = settings->address,
        .job = settings->job,
        .token = settings->token,
        .token_bytes = settings->token_bytes,
        .program = settings->program,
        .heartbeat_ms = settings->heartbeat_ms,
        .dead_ms = settings->dead_ms,
        .join_ms = settings->join_ms,
    };
    struct uplink_events events = {
        .context = server, .on_welcome = on_welcome, .on_registry = on_registry, .on_log = on_log};

    uplink_init(&server->uplink, server->io, &uplink, &events);
}

static uint64_t or_default(uint64_t value, uint64_t fallback)
{
    return value ? value : fallback;
}

enum status server_init(struct server *server, const struct link_io *io,
                        const struct server_settings *settings, struct error *err)
{
    *server = (struct server){.io = io, .settings = *settings};
    server->settings.heartbeat_ms = or_default(settings->heartbeat_ms, DEFAULT_HEARTBEAT_MS);
    server->settings.dead_ms = or_default(settings->dead_ms, DEFAULT_DEAD_MS);
    server->settings.join_ms = or_default(settings->join_ms, DEFAULT_JOIN_MS);
    server->settings.restart_ms = or_default(settings->restart_ms, DEFAULT_RESTART_MS);
    server->settings.staging_bytes = or_default(settings->staging_bytes, DEFAULT_STAGING_BYTES);
    server->is_coordinator = settings->coordinator == NULL;
    if (arena_init(&server->arena, LIMIT_MESSAGE_ARENA_BYTES))
        return error_no_memory(err, "a server");
    if (server->is_coordinator) {
        enum status status = start_coordinator(server, err);
        if (status)
            server_release(server);
        return status;
    }
    start_uplink(server);
    return STATUS_OK;
}

void server_release(struct server *server)
{
    if (server->is_coordinator && server->coordinator.workers)
        coordinator_release(&server->coordinator);
    uplink_release(&server->uplink);
    service_release(&server->service);
    arena_release(&server->arena);
    *server = (struct server){0};
}

static void engine_on_open(void *context, struct link *link)
{
    struct server *server = context;
    struct error why;

    if (!server->is_coordinator && link == server->uplink.link) {
        uplink_on_open(&server->uplink, link);
        return;
    }
    if (server->service_ready && !server->ended && service_open(&server->service, link))
        return;
    error_set(&why, STATUS_UNAVAILABLE,
              server->ended ? "the job has ended" : "this server has no place in a cluster yet");
    server->io->close(server->io->context, link, false, &why);
}

/* Says what is wrong and ends the connection. */
static void refuse(struct session *session, uint64_t request, const struct error *err)
{
    session_fail(session, request, err->status, err->message);
    service_close(session, true, err->status, err->message);
}

static void hello(struct server *server, struct session *session, const struct frame_head *head,
                  const Pmd__Hello *message)
{
    struct error err;
    struct member *member = NULL;
    enum status status = service_hello_check(&server->service.settings, message, &err);

    if (!status && message->channel == PMD__CHANNEL__CHANNEL_CONTROL && !server->is_coordinator)
        status = error_set(
            &err, STATUS_INVALID_ARGUMENT,
            "%s is not the coordinator of this job, but its server %u; the coordinator is %s",
            server->settings.address, server->service.server, server->settings.coordinator);
    else if (!status && message->channel == PMD__CHANNEL__CHANNEL_CONTROL)
        status = coordinator_hello(&server->coordinator, session->link, message, head->request,
                                   &member, &err);
    else if (!status)
        status = service_hello_bulk(session, message, head->request, &err);
    if (status) {
        refuse(session, head->request, &err);
        return;
    }
    if (member) {
        session->kind = SESSION_CONTROL;
        session->member = member;
    }
}

static enum link_verdict control_head(struct server *server, struct session *session,
                                      const struct frame_head *head, const void *message,
                                      struct error *err)
{
    if (session->kind == SESSION_STRANGER) {
        if (head->type != FRAME_HELLO) {
            error_set(err, STATUS_UNAUTHENTICATED, "the first frame must be HELLO, this one is %s",
                      frame_type_name(head->type));
            return LINK_REFUSE;
        }
        hello(server, session, head, message);
        return LINK_TAKE;
    }
    return coordinator_frame(&server->coordinator, session->member, head->type, head->request,
                             message, err)
               ? LINK_REFUSE
               : LINK_TAKE;
}

static bool stale_map(const struct frame_head *head, struct error *err)
{
    if (head->type == FRAME_HELLO ||
        (head->lineage == FRAME_LINEAGE && head->map_version == FRAME_MAP_VERSION))
        return false;
    error_set(err, STATUS_FAILED_PRECONDITION,
              "the frame is of lineage %u, map version %u; here are %d, %d", head->lineage,
              head->map_version, FRAME_LINEAGE, FRAME_MAP_VERSION);
    return true;
}

/* Only the data plane knows payloads. */
static bool needless_payload(const struct session *session, const struct frame_head *head,
                             struct error *err)
{
    if (head->payload_bytes == 0 ||
        (session && (session->kind == SESSION_WORKER || session->kind == SESSION_READER)))
        return false;
    error_set(err, STATUS_INVALID_ARGUMENT, "%s has no payload here, this one has %u bytes",
              frame_type_name(head->type), head->payload_bytes);
    return true;
}

static enum link_verdict engine_on_head(void *context, struct link *link,
                                        const struct frame_head *head, const uint8_t *header,
                                        struct link_incoming *ret_incoming, struct error *err)
{
    struct server *server = context;
    struct session *session = link->user;
    const void *message;
    enum link_verdict verdict;

    ret_incoming->place_count = 0;
    if (stale_map(head, err) || needless_payload(session, head, err))
        verdict = LINK_REFUSE;
    else if (message_unpack(head->type, header, head->header_bytes, &server->arena, &message, err))
        verdict = LINK_REFUSE;
    else if (!session)
        verdict = uplink_on_frame(&server->uplink, link, head->type, message, err) ? LINK_REFUSE
                                                                                   : LINK_TAKE;
    else if (session->kind == SESSION_STRANGER || session->kind == SESSION_CONTROL)
        verdict = control_head(server, session, head, message, err);
    else
        verdict = service_head(session, head, message, ret_incoming, err);
    arena_clear(&server->arena);
    if (verdict == LINK_REFUSE && session)
        refuse(session, 0, err);
    return verdict;
}

static void engine_on_frame(void *context, struct link *link)
{
    struct session *session = link->user;

    (void)context;
    if (session && (session->kind == SESSION_WORKER || session->kind == SESSION_READER))
        service_frame(session);
}

static void engine_on_closed(void *context, struct link *link, const struct error *why)
{
    struct server *server = context;
    struct session *session = link->user;

    if (!session) {
        if (!server->is_coordinator)
            uplink_on_closed(&server->uplink, link, why);
        return;
    }
    if (session->member)
        coordinator_closed(&server->coordinator, session->member);
    service_closed(session);
}

static void report(struct server *server)
{
    struct service *service = &server->service;
    Pmd__Report message = PMD__REPORT__INIT;

    service->report_wanted = false;
    message.prepared_plus_1 = service->prepared_plus_1;
    message.duplicates = service->duplicates;
    message.value_bytes = service->store.value_bytes;
    message.blocks = service->store.block_count;
    if (server->settings.resident_bytes)
        message.resident_bytes = server->settings.resident_bytes();
    if (server->is_coordinator)
        coordinator_local_report(&server->coordinator, &message);
    else
        uplink_report(&server->uplink, &message);
}

static void complain(struct server *server)
{
    const struct error *complaint = &server->service.complaint;

    if (complaint->status == STATUS_OK || server->complained)
        return;
    server->complained = true;
    if (server->is_coordinator)
        coordinator_end(&server->coordinator, complaint->status, EXIT_CODE_FAILED, "server 0: %s",
                        complaint->message);
    else
        uplink_complain(&server->uplink, complaint);
}

static void refresh(struct server *server)
{
    uint64_t now = server->io->now_ns(server->io->context);

    if (now < server->next_refresh_ns)
        return;
    server->next_refresh_ns = now + REFRESH_MS * NS_PER_MS;
    service_expire_hold(&server->service);
    server->service.report_wanted = server->service.prepared_plus_1 > 0;
}

static uint64_t engine_on_turn(void *context)
{
    struct server *server = context;
    struct service *service = &server->service;

    if (server->service_ready) {
        refresh(server);
        for (int round = 0; round < TURN_ROUNDS_MAX; round++) {
            service_turn(service);
            complain(server);
            if (!service->report_wanted)
                break;
            report(server);
        }
    }
    if (server->ended)
        return UINT64_MAX; /* only what is queued is still written; no link is made again */
    uint64_t wanted = server->is_coordinator ? coordinator_tick(&server->coordinator)
                                             : uplink_turn(&server->uplink);
    if (server->is_coordinator && server->coordinator.state == JOB_ENDED)
        end(server, server->coordinator.end_code, server->coordinator.end_message);
    if (!server->is_coordinator && server->uplink.ended)
        end(server, server->uplink.end_code, server->uplink.end_message);
    return server->next_refresh_ns && server->next_refresh_ns < wanted ? server->next_refresh_ns
                                                                       : wanted;
}

struct link_engine server_engine(struct server *server)
{
    return (struct link_engine){
        .context = server,
        .on_open = engine_on_open,
        .on_head = engine_on_head,
        .on_frame = engine_on_frame,
        .on_closed = engine_on_closed,
        .on_turn = engine_on_turn,
    };
}

void server_stop(struct server *server, enum exit_code code, const char *why)
{
    if (server->is_coordinator)
        coordinator_end(&server->coordinator, STATUS_CANCELLED, code, "%s", why);
    end(server, code, why);
}

void server_close_links(struct server *server)
{
    struct error why;

    for (struct session *session = server->service.sessions; session; session = session->next)
        service_close(session, true, STATUS_CANCELLED, server->end_message);
    if (!server->is_coordinator && server->uplink.link) {
        error_set(&why, STATUS_CANCELLED, "%s", server->end_message);
        server->io->close(server->io->context, server->uplink.link, true, &why);
        server->uplink.link = NULL;
    }
}
