/*
 * Pulls wait at the blocks they ask for. When a block's version comes, its waiters move to their
 * session's list of what is ready; at the end of the turn that list leaves in frames of up to 1
 * MiB, each block written straight from its buffer. Pulls and waiters come from lists that only
 * grow, so a step allocates nothing.
 */
#include "common/base/alloc.h"
#include "server/service/service.h"

#include <assert.h>
#include <stdio.h>

enum { CHUNK_ITEMS = 256 };

/* A rank's pulls may wait at every block of two steps, and as many again after a reconnect. */
#define WAITERS_PER_BLOCK 4
#define WAITERS_MIN       4096

struct memory_chunk {
    struct memory_chunk *next;
    union {
        struct pull pulls[CHUNK_ITEMS];
        struct block_waiter waiters[CHUNK_ITEMS];
    } items;
};

static struct memory_chunk *chunk_new(struct service *service)
{
    struct memory_chunk *chunk = alloc_zero(sizeof *chunk);

    if (chunk) {
        chunk->next = service->chunks;
        service->chunks = chunk;
    }
    return chunk;
}

static struct pull *pull_new(struct service *service)
{
    if (!service->free_pulls) {
        struct memory_chunk *chunk = chunk_new(service);
        for (int i = 0; chunk && i < CHUNK_ITEMS; i++) {
            chunk->items.pulls[i].next_free = service->free_pulls;
            service->free_pulls = &chunk->items.pulls[i];
        }
    }
    struct pull *pull = service->free_pulls;
    if (pull)
        service->free_pulls = pull->next_free;
    return pull;
}

static void pull_free(struct service *service, struct pull *pull)
{
    pull->session = NULL;
    pull->next_free = service->free_pulls;
    service->free_pulls = pull;
}

static struct block_waiter *waiter_new(struct service *service)
{
    if (!service->free_waiters) {
        struct memory_chunk *chunk = chunk_new(service);
        for (int i = 0; chunk && i < CHUNK_ITEMS; i++) {
            chunk->items.waiters[i].next = service->free_waiters;
            service->free_waiters = &chunk->items.waiters[i];
        }
    }
    struct block_waiter *waiter = service->free_waiters;
    if (waiter)
        service->free_waiters = waiter->next;
    return waiter;
}

/* The waiter is done with, answered or not; its pull goes with the last one. */
static void waiter_free(struct service *service, struct block_waiter *waiter)
{
    struct pull *pull = waiter->pull;

    waiter->next = service->free_waiters;
    service->free_waiters = waiter;
    pull->session->waiter_count--;
    if (--pull->open == 0)
        pull_free(service, pull);
}

void pull_release_all(struct service *service)
{
    while (service->chunks) {
        struct memory_chunk *chunk = service->chunks;
        service->chunks = chunk->next;
        alloc_free(chunk);
    }
    service->free_pulls = NULL;
    service->free_waiters = NULL;
}

static void make_ready(struct block_waiter *waiter)
{
    struct session *session = waiter->pull->session;

    waiter->next = NULL;
    *session->ready_end = waiter;
    session->ready_end = &waiter->next;
    session_mark_dirty(session);
}

static enum pull_answer answer(const struct block *block, uint64_t step)
{
    return consistency_pull(block->version, block->has_version, block->previous != NULL, step);
}

static enum status check_pull(struct session *session, const Pmd__Pull *message, struct error *err)
{
    struct service *service = session->service;
    uint64_t bound = (uint64_t)service->store.block_count * WAITERS_PER_BLOCK + WAITERS_MIN;

    if (session->waiter_count + message->n_block > bound)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "rank %u has %llu blocks in unanswered pulls; at most %llu are possible",
                         session->rank, (unsigned long long)session->waiter_count,
                         (unsigned long long)bound);
    if (!consistency_step_committed(&service->consistency, message->step) &&
        !consistency_step_open(&service->consistency, message->step) && message->step > 0)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "pull of step %llu: the last committed step is %lld",
                         (unsigned long long)message->step,
                         (long long)service->consistency.committed_plus_1 - 1);
    for (size_t i = 0; i < message->n_block; i++) {
        if (!store_find(&service->store, message->variable[i], message->block[i]))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "block %u of variable %u is not on server %u", message->block[i],
                             message->variable[i], service->server);
    }
    return STATUS_OK;
}

/* A version that was let go: the pull fails as a whole, and nothing of it is queued. */
static bool any_gone(struct session *session, const Pmd__Pull *message, uint64_t request)
{
    struct store *store = &session->service->store;
    char text[200];

    for (size_t i = 0; i < message->n_block; i++) {
        const struct block *block = store_find(store, message->variable[i], message->block[i]);
        if (answer(block, message->step) != PULL_GONE)
            continue;
        snprintf(text, sizeof text,
                 "pull of step %llu: block %u of variable %u is at step %llu already",
                 (unsigned long long)message->step, block->number, block->variable,
                 (unsigned long long)block->version);
        session_fail(session, request, STATUS_OUT_OF_RANGE, text);
        return true;
    }
    return false;
}

enum status pull_head(struct session *session, const struct frame_head *head,
                      const Pmd__Pull *message, struct error *err)
{
    struct service *service = session->service;
    enum status status = check_pull(session, message, err);

    if (status || message->n_block == 0 || any_gone(session, message, head->request))
        return status;
    struct pull *pull = pull_new(service);
    if (!pull)
        return error_no_memory(err, "a pull");
    *pull = (struct pull){
        .session = session, .request = head->request, .step = message->step, .open = 1};
    for (size_t i = 0; i < message->n_block; i++) {
        struct block_waiter *waiter = waiter_new(service);
        if (!waiter) {
            /* the session closes, and with it what has been queued */
            status = error_no_memory(err, "a pull");
            break;
        }
        struct block *block = store_find(&service->store, message->variable[i], message->block[i]);
        *waiter = (struct block_waiter){.pull = pull, .block = block};
        pull->open++;
        session->waiter_count++;
        if (answer(block, message->step) == PULL_LATER) {
            waiter->next = block->waiters;
            block->waiters = waiter;
        } else {
            make_ready(waiter);
        }
    }
    if (--pull->open == 0)
        pull_free(service, pull);
    return status;
}

void pull_block_ready(struct service *service, struct block *block)
{
    struct block_waiter **at = &block->waiters;

    (void)service;
    while (*at) {
        struct block_waiter *waiter = *at;
        if (answer(block, waiter->pull->step) == PULL_LATER) {
            at = &waiter->next;
            continue;
        }
        *at = waiter->next;
        make_ready(waiter);
    }
}

struct reply {
    Pmd__PullReply message;
    uint32_t variables[LIMIT_FRAME_BLOCKS];
    uint32_t blocks[LIMIT_FRAME_BLOCKS];
    struct link_piece pieces[LIMIT_FRAME_BLOCKS];
    size_t count;
    size_t bytes;
};

/* One of the queued frames has left: there is room for what is ready. */
static void on_reply_released(void *owner, bool written)
{
    struct session *session = owner;

    (void)written;
    session->queued_replies--;
    if (session->ready)
        session_mark_dirty(session);
}

static void reply_send(struct session *session, struct reply *reply, uint64_t request)
{
    struct service *service = session->service;
    struct link_frame frame = {.type = FRAME_PULL_REPLY,
                               .message = &reply->message.base,
                               .request = request,
                               .commit_plus_1 = service->consistency.committed_plus_1,
                               .pieces = reply->pieces,
                               .piece_count = reply->count,
                               .on_released = on_reply_released,
                               .owner = session};

    if (reply->count == 0 || session->closing)
        return;
    reply->message.n_variable = reply->message.n_block = reply->count;
    reply->message.variable = reply->variables;
    reply->message.block = reply->blocks;
    reply->message.grant = service->grant;
    if (service->io->send(service->io->context, session->link, &frame) == STATUS_OK)
        session->queued_replies++;
    else
        service_close(session, false, STATUS_RESOURCE_EXHAUSTED,
                      "the values of a pull could not be queued: the peer reads too slowly, or "
                      "memory ran out");
    reply->count = 0;
    reply->bytes = 0;
}

/* The buffer of the version asked for; NULL if it was let go meanwhile (then the worker has lost
 * its right to it). */
static struct buf *reply_buf(const struct block *block, uint64_t step)
{
    enum pull_answer what = answer(block, step);

    return what == PULL_CURRENT ? block->value : what == PULL_PREVIOUS ? block->previous : NULL;
}

void pull_flush(struct session *session)
{
    struct service *service = session->service;
    struct reply reply;
    uint64_t request = 0;

    reply.count = 0;
    reply.bytes = 0;
    while (session->ready && session->queued_replies < SESSION_REPLIES_MAX && !session->closing) {
        struct block_waiter *waiter = session->ready;
        struct block *block = waiter->block;
        struct buf *buf = reply_buf(block, waiter->pull->step);
        if (reply.count > 0 &&
            (request != waiter->pull->request || reply.count == LIMIT_FRAME_BLOCKS ||
             reply.bytes + block->bytes > LIMIT_PAYLOAD_BYTES)) {
            reply_send(session, &reply, request);
            continue; /* it may have been the last one that the link takes now */
        }
        session->ready = waiter->next;
        if (reply.count == 0) {
            pmd__pull_reply__init(&reply.message);
            reply.message.step = waiter->pull->step;
            request = waiter->pull->request;
        }
        if (buf) {
            reply.variables[reply.count] = block->variable;
            reply.blocks[reply.count] = block->number;
            reply.pieces[reply.count] = (struct link_piece){
                .data = buf->data, .bytes = block->bytes, .buf = buf};
            reply.count++;
            reply.bytes += block->bytes;
        } else {
            session_fail(session, waiter->pull->request, STATUS_OUT_OF_RANGE,
                         "the version asked for was let go before it could be sent");
        }
        waiter_free(service, waiter);
    }
    if (!session->ready)
        session->ready_end = &session->ready;
    reply_send(session, &reply, request);
}

void pull_session_closed(struct session *session)
{
    struct service *service = session->service;

    while (session->ready) {
        struct block_waiter *waiter = session->ready;
        session->ready = waiter->next;
        waiter_free(service, waiter);
    }
    session->ready_end = &session->ready;
    for (uint32_t i = 0; session->waiter_count > 0 && i < service->store.block_count; i++) {
        struct block_waiter **at = &service->store.blocks[i].waiters;
        while (*at) {
            struct block_waiter *waiter = *at;
            if (waiter->pull->session != session) {
                at = &waiter->next;
                continue;
            }
            *at = waiter->next;
            waiter_free(service, waiter);
        }
    }
    assert(session->waiter_count == 0);
}
