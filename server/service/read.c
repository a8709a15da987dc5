/* Readers of the held snapshot: values, slots, or the SHA-256 of blocks. All of one committed step.
 */
#include "common/base/hash.h"
#include "server/service/service.h"

#include <stdio.h>

/* Digests are made at once and copied, so they need a place to lie until they are queued. */
enum { DIGESTS_PER_FRAME = 256 };

static void reader_fail(struct session *session, uint64_t request, enum status status,
                        const char *text)
{
    session_fail(session, request, status, text);
}

static void reply_begin(Pmd__ReadReply *reply, const struct service *service,
                        const Pmd__Read *message, size_t first)
{
    pmd__read_reply__init(reply);
    reply->hold = message->hold;
    reply->step = service->store.hold.step;
    reply->slot = message->slot;
    reply->digest = message->digest;
    reply->variable = message->variable + first;
    reply->block = message->block + first;
}

static bool reply_send(struct session *session, Pmd__ReadReply *reply, size_t count,
                       const struct link_piece *pieces, size_t piece_count, uint64_t request)
{
    struct service *service = session->service;
    struct link_frame frame = {.type = FRAME_READ_REPLY,
                               .message = &reply->base,
                               .request = request,
                               .commit_plus_1 = service->consistency.committed_plus_1,
                               .pieces = pieces,
                               .piece_count = piece_count};

    reply->n_variable = reply->n_block = count;
    if (service->io->send(service->io->context, session->link, &frame) == STATUS_OK)
        return true;
    service_close(
        session, false, STATUS_RESOURCE_EXHAUSTED,
        "the values of a read could not be queued: the peer reads too slowly, or memory ran out");
    return false;
}

static void send_values(struct session *session, const Pmd__Read *message, uint64_t request)
{
    struct service *service = session->service;
    struct link_piece pieces[LIMIT_FRAME_BLOCKS];
    size_t first = 0;

    while (first < message->n_block) {
        size_t count = 0;
        size_t bytes = 0;
        while (first + count < message->n_block) {
            struct block *block = store_find(&service->store, message->variable[first + count],
                                             message->block[first + count]);
            struct buf *buf = store_held(&service->store, block, message->slot);
            if (count > 0 && bytes + block->bytes > LIMIT_PAYLOAD_BYTES)
                break;
            pieces[count++] = (struct link_piece){
                .data = buf->data, .bytes = block->bytes, .buf = buf};
            bytes += block->bytes;
        }
        Pmd__ReadReply reply;
        reply_begin(&reply, service, message, first);
        if (!reply_send(session, &reply, count, pieces, count, request))
            return;
        first += count;
    }
}

static void send_digests(struct session *session, const Pmd__Read *message, uint64_t request)
{
    struct service *service = session->service;

    for (size_t first = 0; first < message->n_block; first += DIGESTS_PER_FRAME) {
        size_t count = message->n_block - first < DIGESTS_PER_FRAME ? message->n_block - first
                                                                    : (size_t)DIGESTS_PER_FRAME;
        struct buf *digests = buf_take(&service->digests, count * HASH_SHA256_BYTES);
        if (!digests) {
            reader_fail(session, request, STATUS_RESOURCE_EXHAUSTED,
                        "no buffer for digests is free now");
            return;
        }
        for (size_t i = 0; i < count; i++) {
            struct block *block = store_find(&service->store, message->variable[first + i],
                                             message->block[first + i]);
            hash_sha256(store_held(&service->store, block, message->slot)->data, block->bytes,
                        digests->data + i * HASH_SHA256_BYTES);
        }
        Pmd__ReadReply reply;
        struct link_piece piece = {
            .data = digests->data, .bytes = count * HASH_SHA256_BYTES, .buf = digests};
        reply_begin(&reply, service, message, first);
        bool sent = reply_send(session, &reply, count, &piece, 1, request);
        buf_unref(digests);
        if (!sent)
            return;
    }
}

void read_head(struct session *session, const struct frame_head *head, const Pmd__Read *message)
{
    struct service *service = session->service;
    struct store *store = &service->store;
    char text[160];

    if (store->hold.number == 0 || store->hold.number != message->hold) {
        snprintf(text, sizeof text,
                 "snapshot %llu is no longer held here (the present one is %llu)",
                 (unsigned long long)message->hold, (unsigned long long)store->hold.number);
        reader_fail(session, head->request, STATUS_NOT_FOUND, text);
        return;
    }
    for (size_t i = 0; i < message->n_block; i++) {
        struct block *block = store_find(store, message->variable[i], message->block[i]);
        if (!block || !store_held(store, block, message->slot)) {
            snprintf(text, sizeof text,
                     "block %u of variable %u, slot %u: not on server %u, or not held",
                     message->block[i], message->variable[i], message->slot, service->server);
            reader_fail(session, head->request, STATUS_INVALID_ARGUMENT, text);
            return;
        }
    }
    service->hold_read_ns = service->io->now_ns(service->io->context);
    if (message->digest)
        send_digests(session, message, head->request);
    else
        send_values(session, message, head->request);
}
