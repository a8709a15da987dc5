#include "common/net/writer.h"

#include "common/base/alloc.h"
#include "common/base/hash.h"
#include "common/wire/message.h"

#include <errno.h>
#include <string.h>

enum {
    OWN_HEAD_BYTES = 320, /* preamble and header of most frames */
    OWN_PIECES = 8,
    POOL_FRAMES_MAX = LIMIT_QUEUED_FRAMES,
    POOL_GROWN_BYTES_MAX = 16 * 1024 * 1024,
    CALL_PARTS_MAX = 256,
    CALL_BYTES_MAX = 4 * 1024 * 1024, /* four 1 MiB frames to a call measured best */
};

struct writer_frame {
    struct writer_frame *next;
    uint8_t *head; /* preamble and header: own_head, or grown and owned */
    size_t head_capacity;
    size_t head_bytes;
    struct link_piece *pieces; /* own_pieces, or grown and owned */
    size_t piece_capacity;
    size_t piece_count;
    void (*on_released)(void *owner, bool written);
    void *owner;
    uint8_t own_head[OWN_HEAD_BYTES];
    struct link_piece own_pieces[OWN_PIECES];
};

static size_t grown_bytes(const struct writer_frame *frame)
{
    return (frame->head != frame->own_head ? frame->head_capacity : 0) +
           (frame->pieces != frame->own_pieces ? frame->piece_capacity * sizeof frame->pieces[0]
                                               : 0);
}

static void frame_free(struct writer_frame *frame)
{
    if (frame->head != frame->own_head)
        alloc_free(frame->head);
    if (frame->pieces != frame->own_pieces)
        alloc_free(frame->pieces);
    alloc_free(frame);
}

static struct writer_frame *pool_take(struct writer_pool *pool)
{
    struct writer_frame *frame = pool->free;

    if (frame) {
        pool->free = frame->next;
        pool->count--;
        pool->grown_bytes -= grown_bytes(frame);
        frame->next = NULL;
        return frame;
    }
    frame = alloc_zero(sizeof *frame);
    if (frame) {
        frame->head = frame->own_head;
        frame->head_capacity = OWN_HEAD_BYTES;
        frame->pieces = frame->own_pieces;
        frame->piece_capacity = OWN_PIECES;
    }
    return frame;
}

static void pool_put(struct writer_pool *pool, struct writer_frame *frame)
{
    size_t grown = grown_bytes(frame);

    if (pool->count >= POOL_FRAMES_MAX || pool->grown_bytes + grown > POOL_GROWN_BYTES_MAX) {
        frame_free(frame);
        return;
    }
    frame->next = pool->free;
    pool->free = frame;
    pool->count++;
    pool->grown_bytes += grown;
}

void writer_pool_release(struct writer_pool *pool)
{
    while (pool->free) {
        struct writer_frame *frame = pool->free;
        pool->free = frame->next;
        frame_free(frame);
    }
    *pool = (struct writer_pool){0};
}

void writer_init(struct writer *writer, const struct net_calls *calls, struct writer_pool *pool,
                 uint64_t bytes_max)
{
    *writer = (struct writer){
        .calls = calls,
        .pool = pool,
        .bytes_max = bytes_max ? bytes_max : LIMIT_QUEUED_BYTES,
    };
}

static bool grow_head(struct writer_frame *frame, size_t bytes)
{
    if (bytes <= frame->head_capacity)
        return true;
    uint8_t *head = alloc_array(bytes, 1);
    if (!head)
        return false;
    if (frame->head != frame->own_head)
        alloc_free(frame->head);
    frame->head = head;
    frame->head_capacity = bytes;
    return true;
}

static bool grow_pieces(struct writer_frame *frame, size_t count)
{
    if (count <= frame->piece_capacity)
        return true;
    struct link_piece *pieces = alloc_array(count, sizeof *pieces);
    if (!pieces)
        return false;
    if (frame->pieces != frame->own_pieces)
        alloc_free(frame->pieces);
    frame->pieces = pieces;
    frame->piece_capacity = count;
    return true;
}

static uint64_t hash_pieces(const struct link_frame *frame)
{
    struct hash_piece pieces[LIMIT_FRAME_BLOCKS];

    for (size_t i = 0; i < frame->piece_count; i++)
        pieces[i] = (struct hash_piece){frame->pieces[i].data, frame->pieces[i].bytes};
    return hash_xxh3_pieces(pieces, frame->piece_count);
}

static void encode(const struct link_frame *frame, bool hash_payload, size_t header_bytes,
                   size_t payload_bytes, uint8_t *ret_head)
{
    uint8_t *header = ret_head + FRAME_PREAMBLE_BYTES;
    struct frame_head head = {
        .type = frame->type,
        .header_bytes = (uint32_t)header_bytes,
        .payload_bytes = (uint32_t)payload_bytes,
        .lineage = frame->type == FRAME_HELLO ? 0 : FRAME_LINEAGE,
        .map_version = frame->type == FRAME_HELLO ? 0 : FRAME_MAP_VERSION,
        .commit_plus_1 = frame->commit_plus_1,
        .request = frame->request,
    };

    message_pack(frame->message, header);
    head.header_hash = hash_xxh3(header, header_bytes);
    if (hash_payload && payload_bytes) {
        head.flags |= FRAME_FLAG_PAYLOAD_HASH;
        head.payload_hash = hash_pieces(frame);
    }
    frame_encode(&head, ret_head);
}

static void writer_append(struct writer *writer, struct writer_frame *queued, uint64_t bytes)
{
    queued->next = NULL;
    if (writer->last)
        writer->last->next = queued;
    else
        writer->first = queued;
    writer->last = queued;
    writer->frames++;
    writer->bytes += bytes;
}

enum status writer_add(struct writer *writer, const struct link_frame *frame, bool hash_payload)
{
    size_t header_bytes = message_packed_bytes(frame->message);
    uint64_t payload_bytes = 0;

    if (frame->piece_count > LIMIT_FRAME_BLOCKS || header_bytes > LIMIT_HEADER_BYTES)
        return STATUS_INTERNAL;
    for (size_t i = 0; i < frame->piece_count; i++) {
        if (frame->pieces[i].bytes > LIMIT_PAYLOAD_BYTES - payload_bytes)
            return STATUS_INTERNAL;
        payload_bytes += frame->pieces[i].bytes;
    }
    uint64_t bytes = FRAME_PREAMBLE_BYTES + header_bytes + payload_bytes;
    if (writer->frames >= LIMIT_QUEUED_FRAMES || writer->bytes > writer->bytes_max ||
        bytes > writer->bytes_max - writer->bytes)
        return STATUS_RESOURCE_EXHAUSTED;

    struct writer_frame *queued = pool_take(writer->pool);
    if (!queued)
        return STATUS_RESOURCE_EXHAUSTED;
    if (!grow_head(queued, FRAME_PREAMBLE_BYTES + header_bytes) ||
        !grow_pieces(queued, frame->piece_count)) {
        pool_put(writer->pool, queued);
        return STATUS_RESOURCE_EXHAUSTED;
    }
    encode(frame, hash_payload, header_bytes, (size_t)payload_bytes, queued->head);
    queued->head_bytes = FRAME_PREAMBLE_BYTES + header_bytes;
    queued->piece_count = frame->piece_count;
    for (size_t i = 0; i < frame->piece_count; i++) {
        queued->pieces[i] = frame->pieces[i];
        if (queued->pieces[i].buf)
            buf_ref(queued->pieces[i].buf);
    }
    queued->on_released = frame->on_released;
    queued->owner = frame->owner;
    writer_append(writer, queued, bytes);
    return STATUS_OK;
}

/* The bytes of one part: the head is part 0. */
static struct iovec frame_part(const struct writer_frame *frame, size_t part)
{
    if (part == 0)
        return (struct iovec){frame->head, frame->head_bytes};
    return (struct iovec){(void *)frame->pieces[part - 1].data, frame->pieces[part - 1].bytes};
}

/* What one call gets, from the first unwritten byte on. */
static int collect(const struct writer *writer, struct iovec parts[CALL_PARTS_MAX],
                   size_t *ret_bytes)
{
    const struct writer_frame *frame = writer->first;
    size_t part = writer->part;
    size_t used = writer->part_used;
    size_t bytes = 0;
    int count = 0;

    while (frame && count < CALL_PARTS_MAX && bytes < CALL_BYTES_MAX) {
        struct iovec bit = frame_part(frame, part);
        if (bit.iov_len > used) {
            parts[count].iov_base = (uint8_t *)bit.iov_base + used;
            parts[count].iov_len = bit.iov_len - used;
            bytes += parts[count++].iov_len;
        }
        used = 0;
        if (part++ == frame->piece_count) {
            frame = frame->next;
            part = 0;
        }
    }
    *ret_bytes = bytes;
    return count;
}

/* Moves the mark past written bytes; returns the frames that are done, in order. */
static struct writer_frame *advance(struct writer *writer, size_t written)
{
    struct writer_frame *done = NULL;
    struct writer_frame **end = &done;

    writer->bytes -= written;
    while (writer->first) {
        struct writer_frame *frame = writer->first;
        size_t left = frame_part(frame, writer->part).iov_len - writer->part_used;
        if (written < left) {
            writer->part_used += written;
            break;
        }
        written -= left;
        writer->part_used = 0;
        if (writer->part++ < frame->piece_count)
            continue;
        writer->part = 0;
        writer->first = frame->next;
        if (!writer->first)
            writer->last = NULL;
        writer->frames--;
        frame->next = NULL;
        *end = frame;
        end = &frame->next;
    }
    return done;
}

/* Gives frames back. The queue is in order before the first callback, which may add to it. */
static void release_frames(struct writer *writer, struct writer_frame *done, bool written)
{
    while (done) {
        struct writer_frame *frame = done;
        done = frame->next;
        void (*on_released)(void *owner, bool written) = frame->on_released;
        void *owner = frame->owner;
        for (size_t i = 0; i < frame->piece_count; i++)
            buf_unref(frame->pieces[i].buf);
        pool_put(writer->pool, frame);
        if (on_released) {
            writer->released++;
            on_released(owner, written);
        }
    }
}

enum writer_result writer_flush(struct writer *writer, int fd, size_t bytes_max,
                                uint64_t *ret_written, struct error *err)
{
    struct iovec parts[CALL_PARTS_MAX];
    uint64_t total = 0;
    enum writer_result result = WRITER_EMPTY;

    while (writer->first) {
        size_t asked;
        if (total >= bytes_max) {
            result = WRITER_MORE;
            break;
        }
        int count = collect(writer, parts, &asked);
        ssize_t written = writer->calls->writev(writer->calls->context, fd, parts, count);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            result = WRITER_BLOCKED;
            break;
        }
        if (written < 0) {
            error_set(err, STATUS_UNAVAILABLE, "%s", strerror(errno));
            result = WRITER_FAILED;
            break;
        }
        total += (uint64_t)written;
        release_frames(writer, advance(writer, (size_t)written), true);
        if ((size_t)written < asked) {
            result = WRITER_BLOCKED; /* asking again would only be told so */
            break;
        }
    }
    *ret_written = total;
    return result;
}

void writer_clear(struct writer *writer)
{
    struct writer_frame *all = writer->first;

    writer->first = NULL;
    writer->last = NULL;
    writer->frames = 0;
    writer->bytes = 0;
    writer->part = 0;
    writer->part_used = 0;
    release_frames(writer, all, false);
}
