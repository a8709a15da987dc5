/*
 * Happy path: connect, hello, welcome; log entries are applied and acknowledged, the report goes up
 * when it changes.
 *
 * A connection that breaks or stays silent is made again with growing pauses; then hello says which
 * entry was applied last and the coordinator sends what follows. Not formed in time, or silent for
 * too long: the server ends by itself.
 */
#include "server/cluster/uplink.h"

#include "common/base/mutant.h"

#include <stdio.h>
#include <string.h>

#define NS_PER_MS ((uint64_t)1000000)

enum { BACKOFF_MIN_MS = 50, BACKOFF_MAX_MS = 1000, CONNECT_TIMEOUT_MS = 3000 };

void uplink_init(struct uplink *uplink, const struct link_io *io,
                 const struct uplink_settings *settings, const struct uplink_events *events)
{
    *uplink = (struct uplink){.io = io, .settings = *settings, .events = *events};
    uplink->process = io->random(io->context) | 1;
    uplink->started_ns = io->now_ns(io->context);
    uplink->lost_ns = uplink->started_ns;
    uplink->backoff_ms = BACKOFF_MIN_MS;
    pmd__report__init(&uplink->report);
}

void uplink_release(struct uplink *uplink)
{
    registry_release(&uplink->registry);
    *uplink = (struct uplink){0};
}

static void send(struct uplink *uplink, enum frame_type type, const ProtobufCMessage *message,
                 uint64_t request)
{
    struct link_frame frame = {.type = type,
                               .message = message,
                               .request = request,
                               .commit_plus_1 = uplink->committed_plus_1};

    status_ignore(uplink->io->send(uplink->io->context, uplink->link, &frame),
                  "a link that takes no frames any more is closed by its driver, and made again");
}

static void end(struct uplink *uplink, enum status status, enum exit_code code, const char *message)
{
    if (uplink->ended)
        return;
    uplink->ended = true;
    uplink->end_status = status;
    uplink->end_code = code;
    snprintf(uplink->end_message, sizeof uplink->end_message, "%s", message);
}

void uplink_on_open(struct uplink *uplink, struct link *link)
{
    Pmd__Hello hello = PMD__HELLO__INIT;

    if (link != uplink->link)
        return;
    uplink->open = true;
    uplink->last_heard_ns = uplink->io->now_ns(uplink->io->context);
    hello.protocol_major = PROTOCOL_MAJOR;
    hello.protocol_minor = PROTOCOL_MINOR;
    hello.job = (char *)uplink->settings.job;
    hello.token.data = (uint8_t *)uplink->settings.token;
    hello.token.len = uplink->settings.token_bytes;
    hello.role = PMD__ROLE__ROLE_SERVER;
    hello.channel = PMD__CHANNEL__CHANNEL_CONTROL;
    hello.connection = uplink->connection;
    hello.process = uplink->process;
    hello.address = (char *)uplink->settings.address;
    hello.program = (char *)uplink->settings.program;
    hello.log_index = uplink->log_index;
    send(uplink, FRAME_HELLO, &hello.base, 1);
}

static void on_welcome(struct uplink *uplink, const Pmd__HelloReply *reply)
{
    uplink->welcome = true;
    uplink->ever_welcome = true;
    uplink->backoff_ms = BACKOFF_MIN_MS;
    uplink->report_due = uplink->report.prepared_plus_1 > 0;
    uplink->complaint_due = uplink->complaint.status != STATUS_OK;
    uplink->events.on_welcome(uplink->events.context, reply->server, reply->servers, reply->workers,
                              reply->job);
}

static enum status on_registry(struct uplink *uplink, const Pmd__Registry *message,
                               struct error *err)
{
    bool complete = false;

    if (uplink->registry_complete)
        return STATUS_OK;
    enum status status = registry_page_add(&uplink->registry, message, &complete, err);
    if (status || !complete)
        return status;
    uplink->registry_complete = true;
    uplink->events.on_registry(uplink->events.context, &uplink->registry);
    return STATUS_OK;
}

static enum status on_log(struct uplink *uplink, const Pmd__LogEntry *entry, struct error *err)
{
    if (MUTANT(HOLD_OUT_OF_ORDER) && entry->index == 0) {
        uplink->events.on_log(uplink->events.context, entry);
        return STATUS_OK;
    }
    if (entry->index <= uplink->log_index)
        return STATUS_OK; /* sent again after a reconnect */
    if (entry->index != uplink->log_index + 1)
        return error_set(err, STATUS_INTERNAL, "log entry %llu follows %llu",
                         (unsigned long long)entry->index, (unsigned long long)uplink->log_index);
    uplink->log_index = entry->index;
    if (entry->kind == PMD__LOG_KIND__LOG_KIND_COMMIT)
        uplink->committed_plus_1 = entry->step + 1;
    uplink->events.on_log(uplink->events.context, entry);
    return STATUS_OK;
}

enum status uplink_on_frame(struct uplink *uplink, struct link *link, enum frame_type type,
                            const void *message, struct error *err)
{
    if (link != uplink->link)
        return STATUS_OK;
    uplink->last_heard_ns = uplink->io->now_ns(uplink->io->context);
    if (!uplink->welcome && (type == FRAME_REGISTRY || type == FRAME_LOG_ENTRY))
        return error_set(err, STATUS_INVALID_ARGUMENT, "the coordinator sent %s before HELLO_REPLY",
                         frame_type_name(type));
    switch (type) {
    case FRAME_HELLO_REPLY:
        on_welcome(uplink, message);
        return STATUS_OK;
    case FRAME_REGISTRY:
        return on_registry(uplink, message, err);
    case FRAME_LOG_ENTRY:
        return on_log(uplink, message, err);
    case FRAME_HEARTBEAT:
    case FRAME_MEMBERS:
        return STATUS_OK;
    case FRAME_END: {
        const Pmd__End *reply = message;
        end(uplink, (enum status)reply->status, (enum exit_code)reply->exit_code, reply->message);
        return STATUS_OK;
    }
    case FRAME_FAILURE: {
        const Pmd__Failure *failure = message;
        /* Not welcome: trying again would end the same way, but for a place that another server may
         * still leave. */
        end(uplink, (enum status)failure->status, EXIT_CODE_WRONG_USE, failure->message);
        return STATUS_OK;
    }
    default:
        return error_set(err, STATUS_UNIMPLEMENTED, "the coordinator sent %s to a server",
                         frame_type_name(type));
    }
}

void uplink_on_closed(struct uplink *uplink, struct link *link, const struct error *why)
{
    uint64_t now = uplink->io->now_ns(uplink->io->context);

    if (link != uplink->link)
        return;
    snprintf(uplink->last_failure, sizeof uplink->last_failure, "%s", why->message);
    if (uplink->welcome || uplink->open)
        uplink->lost_ns = now;
    uplink->link = NULL;
    uplink->open = uplink->welcome = false;
    uint64_t jitter_ms = uplink->io->random(uplink->io->context) % (uplink->backoff_ms / 2 + 1);
    uplink->next_try_ns = now + (uplink->backoff_ms + jitter_ms) * NS_PER_MS;
    uplink->backoff_ms = uplink->backoff_ms * 2 < BACKOFF_MAX_MS ? uplink->backoff_ms * 2
                                                                 : BACKOFF_MAX_MS;
}

void uplink_report(struct uplink *uplink, const Pmd__Report *report)
{
    uplink->report = *report;
    uplink->report_due = true;
}

void uplink_complain(struct uplink *uplink, const struct error *complaint)
{
    uplink->complaint = *complaint;
    uplink->complaint_due = true;
}

static void try_connect(struct uplink *uplink, uint64_t now)
{
    struct error err;

    if (uplink->link || now < uplink->next_try_ns)
        return;
    uplink->connection++;
    if (uplink->io->connect(uplink->io->context, uplink->settings.coordinator, false,
                            CONNECT_TIMEOUT_MS, NULL, &uplink->link, &err) == STATUS_OK)
        return;
    uplink->link = NULL;
    snprintf(uplink->last_failure, sizeof uplink->last_failure, "%s", err.message);
    uplink->next_try_ns = now + BACKOFF_MAX_MS * NS_PER_MS;
}

static void check_deadlines(struct uplink *uplink, uint64_t now)
{
    char text[ERROR_MESSAGE_BYTES];
    struct error why;

    if (!uplink->ever_welcome &&
        (now - uplink->started_ns) / NS_PER_MS >= uplink->settings.join_ms) {
        snprintf(text, sizeof text, "no place at the coordinator %s in %.1f s (%.300s)",
                 uplink->settings.coordinator, (double)uplink->settings.join_ms / 1000,
                 uplink->last_failure[0] ? uplink->last_failure : "no answer");
        end(uplink, STATUS_DEADLINE_EXCEEDED, EXIT_CODE_NOT_FORMED, text);
    } else if (uplink->ever_welcome && !uplink->welcome &&
               (now - uplink->lost_ns) / NS_PER_MS >= uplink->settings.dead_ms) {
        snprintf(text, sizeof text, "the coordinator %s is lost (%.300s)",
                 uplink->settings.coordinator, uplink->last_failure);
        end(uplink, STATUS_UNAVAILABLE, EXIT_CODE_PEER_LOST, text);
    } else if (uplink->open &&
               (now - uplink->last_heard_ns) / NS_PER_MS >= uplink->settings.dead_ms) {
        error_set(&why, STATUS_UNAVAILABLE, "the coordinator %s was silent for %.1f s",
                  uplink->settings.coordinator, (double)uplink->settings.dead_ms / 1000);
        uplink->open = false; /* asked for once; on_closed does the rest */
        uplink->io->close(uplink->io->context, uplink->link, false, &why);
    }
}

static void send_what_is_due(struct uplink *uplink, uint64_t now)
{
    Pmd__LogAck ack = PMD__LOG_ACK__INIT;
    Pmd__Complaint complaint = PMD__COMPLAINT__INIT;

    if (uplink->log_acked < uplink->log_index) {
        ack.index = uplink->log_acked = uplink->log_index;
        send(uplink, FRAME_LOG_ACK, &ack.base, 0);
    }
    if (uplink->report_due) {
        uplink->report_due = false;
        send(uplink, FRAME_REPORT, &uplink->report.base, 0);
    }
    if (uplink->complaint_due) {
        uplink->complaint_due = false;
        complaint.status = uplink->complaint.status;
        complaint.message = uplink->complaint.message;
        send(uplink, FRAME_COMPLAINT, &complaint.base, 0);
    }
    if (now >= uplink->next_heartbeat_ns) {
        uplink->next_heartbeat_ns = now + uplink->settings.heartbeat_ms * NS_PER_MS;
        send(uplink, FRAME_HEARTBEAT, NULL, 0);
    }
}

uint64_t uplink_turn(struct uplink *uplink)
{
    uint64_t now = uplink->io->now_ns(uplink->io->context);

    if (uplink->ended)
        return UINT64_MAX;
    check_deadlines(uplink, now);
    if (uplink->ended)
        return UINT64_MAX;
    try_connect(uplink, now);
    if (uplink->welcome)
        send_what_is_due(uplink, now);
    uint64_t soon = now + uplink->settings.heartbeat_ms * NS_PER_MS;
    if (uplink->welcome)
        return uplink->next_heartbeat_ns;
    return !uplink->link && uplink->next_try_ns < soon ? uplink->next_try_ns : soon;
}
