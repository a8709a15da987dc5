#include "common/base/alloc.h"
#include "common/base/mutant.h"
#include "server/service/service.h"

#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* What readers that do not read can keep busy. */
enum { DIGESTS_BYTES_MAX = 1024 * 1024 };

enum status service_init(struct service *service, const struct link_io *io,
                         const struct service_settings *settings, struct error *err)
{
    *service = (struct service){.io = io, .settings = *settings};
    service->ranks = alloc_array(settings->workers, sizeof service->ranks[0]);
    buf_pool_init(&service->digests, DIGESTS_BYTES_MAX);
    if (!service->ranks || consistency_init(&service->consistency, settings->workers, err)) {
        service_release(service);
        return error_no_memory(err, "a server of this size");
    }
    return STATUS_OK;
}

void service_release(struct service *service)
{
    while (service->sessions)
        service_closed(service->sessions);
    pull_release_all(service);
    store_release(&service->store);
    consistency_release(&service->consistency);
    registry_release(&service->registry);
    buf_pool_release(&service->digests);
    alloc_free(service->ranks);
    alloc_free(service->starved);
    alloc_free(service->is_starved);
    *service = (struct service){0};
}

struct session *service_open(struct service *service, struct link *link)
{
    struct session *session = alloc_zero(sizeof *session);

    if (!session)
        return NULL;
    session->service = service;
    session->link = link;
    session->ready_end = &session->ready;
    session->next = service->sessions;
    if (service->sessions)
        service->sessions->previous = session;
    service->sessions = session;
    link->user = session;
    return session;
}

void service_close(struct session *session, bool flush, enum status status, const char *text)
{
    struct error why;

    if (session->closing)
        return;
    session->closing = true;
    error_set(&why, status, "%s", text);
    session->service->io->close(session->service->io->context, session->link, flush, &why);
}

static void list_remove(struct session **list, struct session *session, bool dirty_list)
{
    while (*list && *list != session)
        list = dirty_list ? &(*list)->next_dirty : &(*list)->next_waiting;
    if (*list)
        *list = dirty_list ? session->next_dirty : session->next_waiting;
}

/* The link is gone, or another one has taken its place: nothing of it counts any more. */
static void session_detach(struct session *session)
{
    struct service *service = session->service;

    push_dropped(session);
    pull_session_closed(session);
    session->ack_count = 0;
    if (session->waiting)
        list_remove(&service->waiting, session, false);
    session->waiting = false;
    if (session->dirty)
        list_remove(&service->dirty, session, true);
    session->dirty = false;
    if (session->kind == SESSION_WORKER && service->ranks[session->rank].session == session)
        service->ranks[session->rank].session = NULL;
    service->progress = true; /* its buffers are free for others */
}

void service_closed(struct session *session)
{
    struct service *service = session->service;

    session_detach(session);
    if (session->previous)
        session->previous->next = session->next;
    else
        service->sessions = session->next;
    if (session->next)
        session->next->previous = session->previous;
    alloc_free(session->push);
    session->link->user = NULL;
    alloc_free(session);
}

void session_send(struct session *session, enum frame_type type, const ProtobufCMessage *message,
                  uint64_t request)
{
    struct service *service = session->service;
    struct link_frame frame = {.type = type,
                               .message = message,
                               .request = request,
                               .commit_plus_1 = service->consistency.committed_plus_1};

    if (session->closing)
        return;
    if (service->io->send(service->io->context, session->link, &frame))
        service_close(session, false, STATUS_RESOURCE_EXHAUSTED,
                      "a reply could not be queued: the peer reads too slowly, or memory ran out");
}

void session_fail(struct session *session, uint64_t request, enum status status, const char *text)
{
    Pmd__Failure failure = PMD__FAILURE__INIT;

    failure.status = status;
    failure.message = (char *)text;
    session_send(session, FRAME_FAILURE, &failure.base, request);
}

void session_mark_dirty(struct session *session)
{
    if (session->dirty || session->closing)
        return;
    session->dirty = true;
    session->next_dirty = session->service->dirty;
    session->service->dirty = session;
}

void service_move(struct service *service, uint32_t server)
{
    if (service->server == server || service->store_ready)
        return;
    service->server = server;
    for (struct session *session = service->sessions; session; session = session->next)
        service_close(session, false, STATUS_UNAVAILABLE, "this server has another place now");
}

enum status service_hello_check(const struct service_settings *settings, const Pmd__Hello *hello,
                                struct error *err)
{
    if (hello->protocol_major != PROTOCOL_MAJOR || hello->protocol_minor != PROTOCOL_MINOR)
        return error_set(
            err, STATUS_FAILED_PRECONDITION,
            "protocol versions do not fit: this server speaks %d.%d, the peer (%s) %u.%u",
            PROTOCOL_MAJOR, PROTOCOL_MINOR, hello->program, hello->protocol_major,
            hello->protocol_minor);
    if (hello->token.len != settings->token_bytes ||
        (settings->token_bytes &&
         CRYPTO_memcmp(hello->token.data, settings->token, settings->token_bytes) != 0))
        return error_set(
            err, STATUS_UNAUTHENTICATED,
            hello->token.len
                ? "the job token is not the one of this job (--token-file, PARAMD_TOKEN_FILE)"
                : "a job token is needed (--token-file, PARAMD_TOKEN_FILE)");
    if (hello->job[0] && strcmp(hello->job, settings->job) != 0)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "this server belongs to job '%s', not to '%s'", settings->job, hello->job);
    return STATUS_OK;
}

/* Of two connections of a rank the one with the higher (incarnation, connection) counts, whichever
 * came first. */
static enum status claim_rank(struct session *session, const Pmd__Hello *hello, struct error *err)
{
    struct service *service = session->service;
    uint32_t rank = hello->rank_plus_1 - 1;

    if (hello->rank_plus_1 == 0 || rank >= service->settings.workers)
        return error_set(err, STATUS_INVALID_ARGUMENT, "rank %d: this job has ranks 0 to %u",
                         (int)rank, service->settings.workers - 1);
    struct rank_link *current = &service->ranks[rank];
    bool older = hello->incarnation < current->incarnation ||
                 (hello->incarnation == current->incarnation &&
                  hello->connection <= current->connection);
    if (hello->incarnation < current->incarnation && MUTANT(NO_FENCE))
        older = false;
    if (older && MUTANT(CONNECTION_NOT_COMPARED) && hello->incarnation == current->incarnation)
        older = false;
    if (older)
        return error_set(
            err, STATUS_ABORTED,
            "rank %u has a newer connection (incarnation %llu, connection %llu) than %llu, %llu",
            rank, (unsigned long long)current->incarnation, (unsigned long long)current->connection,
            (unsigned long long)hello->incarnation, (unsigned long long)hello->connection);
    struct session *old = current->session;
    current->incarnation = hello->incarnation;
    current->connection = hello->connection;
    current->session = session;
    session->kind = SESSION_WORKER;
    session->rank = rank;
    session->incarnation = hello->incarnation;
    session->connection = hello->connection;
    if (old) {
        session_detach(old);
        service_close(old, false, STATUS_ABORTED, "replaced by a newer connection of this rank");
    }
    return STATUS_OK;
}

enum status service_hello_bulk(struct session *session, const Pmd__Hello *hello, uint64_t request,
                               struct error *err)
{
    struct service *service = session->service;
    Pmd__HelloReply reply = PMD__HELLO_REPLY__INIT;
    bool hash = service->settings.payload_hash && (hello->features & FEATURE_PAYLOAD_HASH);

    if (hello->role == PMD__ROLE__ROLE_WORKER) {
        enum status status = claim_rank(session, hello, err);
        if (status)
            return status;
    } else if (hello->role == PMD__ROLE__ROLE_READER) {
        session->kind = SESSION_READER;
    } else {
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "role %d has no business on a bulk connection", (int)hello->role);
    }
    snprintf(session->program, sizeof session->program, "%s", hello->program);
    session->link->hash_payload = hash;
    reply.protocol_major = PROTOCOL_MAJOR;
    reply.protocol_minor = PROTOCOL_MINOR;
    reply.features = hash ? FEATURE_PAYLOAD_HASH : 0;
    reply.job = (char *)service->settings.job;
    reply.rank = session->rank;
    reply.incarnation = session->incarnation;
    reply.server = service->server;
    reply.workers = service->settings.workers;
    reply.servers = service->settings.servers;
    reply.grant = service->grant;
    reply.committed_plus_1 = service->consistency.committed_plus_1;
    session_send(session, FRAME_HELLO_REPLY, &reply.base, request);
    return STATUS_OK;
}

static enum link_verdict leave_in_socket(struct session *session)
{
    if (!session->waiting) {
        session->waiting = true;
        session->next_waiting = session->service->waiting;
        session->service->waiting = session;
    }
    return LINK_WAIT;
}

/* Frames of a worker that need no payload and no wait; an error is the worker's and closes its
 * connection. */
static enum link_verdict worker_head(struct session *session, const struct frame_head *head,
                                     const void *message, struct link_incoming *ret_incoming,
                                     struct error *err)
{
    enum status status;

    if (!session->service->store_ready)
        return leave_in_socket(session); /* the registry is on its way to us */
    if (head->type == FRAME_PUSH) {
        enum link_verdict verdict = push_head(session, head, message, ret_incoming, err);
        return verdict == LINK_WAIT ? leave_in_socket(session) : verdict;
    }
    if (head->type == FRAME_STEP_BEGIN)
        status = push_begin(session, message, err);
    else if (head->type == FRAME_STEP_CLOSE)
        status = push_close(session, message, err);
    else if (head->type == FRAME_PULL)
        status = pull_head(session, head, message, err);
    else
        status = error_set(err, STATUS_UNIMPLEMENTED,
                           "a worker does not send %s on a bulk connection",
                           frame_type_name(head->type));
    return status ? LINK_REFUSE : LINK_TAKE;
}

enum link_verdict service_head(struct session *session, const struct frame_head *head,
                               const void *message, struct link_incoming *ret_incoming,
                               struct error *err)
{
    struct service *service = session->service;

    ret_incoming->place_count = 0;
    session->incoming_type = head->type;
    session->incoming_request = head->request;
    if (head->type != FRAME_PUSH && head->payload_bytes > 0) {
        error_set(err, STATUS_INVALID_ARGUMENT, "%s has no payload, this one has %u bytes",
                  frame_type_name(head->type), head->payload_bytes);
        return LINK_REFUSE;
    }
    if (head->commit_plus_1 > service->consistency.committed_plus_1 && !MUTANT(COMMIT_NOT_AWAITED))
        return leave_in_socket(session); /* the commit is on its way to us on another connection */
    if (session->kind == SESSION_WORKER)
        return worker_head(session, head, message, ret_incoming, err);
    if (head->type != FRAME_READ) {
        error_set(err, STATUS_PERMISSION_DENIED, "a reader may not send %s",
                  frame_type_name(head->type));
        return LINK_REFUSE;
    }
    if (!service->store_ready || ((const Pmd__Read *)message)->hold > service->hold_seen)
        return leave_in_socket(session); /* the hold is on its way to us */
    read_head(session, head, message);
    return LINK_TAKE;
}

void service_frame(struct session *session)
{
    if (session->incoming_type == FRAME_PUSH)
        push_frame(session);
}

void service_turn(struct service *service)
{
    /* Buffers that replies gave back may be what blocks wait for; what is prepared then may be what
     * pulls wait for. */
    if (service->store.values.returned || service->store.slot_pool.returned) {
        service->store.values.returned = service->store.slot_pool.returned = false;
        push_retry_starved(service);
    }
    while (service->dirty) {
        struct session *session = service->dirty;
        service->dirty = session->next_dirty;
        session->dirty = false;
        push_flush_acks(session);
        pull_flush(session);
    }
    if (!service->progress)
        return;
    service->progress = false;
    struct session *waiting = service->waiting;
    service->waiting = NULL;
    while (waiting) {
        struct session *session = waiting;
        waiting = session->next_waiting;
        session->waiting = false;
        if (!session->closing)
            service->io->resume(service->io->context, session->link);
    }
}

void service_complain(struct service *service, enum status status, const char *format, ...)
{
    va_list args;

    if (service->complaint.status)
        return; /* the first one is the cause */
    va_start(args, format);
    vsnprintf(service->complaint.message, sizeof service->complaint.message, format, args);
    va_end(args);
    service->complaint.status = status;
}
