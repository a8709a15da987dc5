#include "common/net/reader.h"

#include "common/base/alloc.h"
#include "common/base/hash.h"
#include "common/net/sniff.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/*
 * Two ways in. Small frames come many to a read into the buffer, and payload found there is copied
 * to its places. The rest of a larger payload is read straight into its places, and the same readv
 * takes what stands behind it (the next preamble and header) into the buffer: a stream of large
 * frames costs no call and next to no copy beyond the payload's.
 *
 * What can go wrong ends in READER_FAILED, and the owner closes the connection: there is no way
 * back into the rhythm of the frames once a byte is wrong.
 */

enum {
    BUFFER_BYTES = 16 * 1024,
    CALL_PAYLOAD_BYTES = 256 * 1024, /* more at once falls out of the cache before it is used */
    CALL_PARTS_MAX = 64,
    COPY_BYTES_MAX =
        8 *
        1024, /* a payload's rest of so many bytes goes through the buffer, with what follows it */
    LARGE_FROM_BYTES = 64 * 1024, /* behind a payload of this size another large one is expected */
    TAIL_SPARE_BYTES = 64,        /* the next header may be a little longer than this one */
};

enum status reader_init(struct reader *reader, const struct net_calls *calls,
                        const struct link_engine *engine, struct link *link,
                        struct reader_shared *shared)
{
    *reader = (struct reader){
        .calls = calls,
        .engine = engine,
        .link = link,
        .shared = shared,
        .buffer = alloc_array(BUFFER_BYTES, 1),
        .capacity = BUFFER_BYTES,
    };
    return reader->buffer ? STATUS_OK : STATUS_RESOURCE_EXHAUSTED;
}

void reader_release(struct reader *reader)
{
    alloc_free(reader->buffer);
    alloc_free(reader->places);
    hash_xxh3_free(reader->hash);
    reader->buffer = NULL;
    reader->places = NULL;
    reader->hash = NULL;
    reader->stopped = true;
}

static size_t unread(const struct reader *reader)
{
    return reader->end - reader->begin;
}

static void buffer_skip(struct reader *reader, size_t bytes)
{
    reader->begin += bytes;
    if (reader->begin == reader->end) {
        reader->begin = 0;
        reader->end = 0;
    }
}

/* Makes sure that `bytes` can stand in the buffer in one piece. */
static bool buffer_reserve(struct reader *reader, size_t bytes)
{
    if (reader->begin > 0) {
        memmove(reader->buffer, reader->buffer + reader->begin, unread(reader));
        reader->end -= reader->begin;
        reader->begin = 0;
    }
    if (bytes <= reader->capacity)
        return true;
    uint8_t *larger = alloc_resize(reader->buffer, bytes, 1);
    if (!larger)
        return false;
    reader->buffer = larger;
    reader->capacity = bytes;
    return true;
}

/* A few bytes decide who is talking; nothing of another protocol is ever parsed as a frame. */
static enum status check_protocol(struct reader *reader, struct error *err)
{
    enum sniff protocol = sniff_protocol(reader->buffer + reader->begin, unread(reader));

    if (reader->sniffed || unread(reader) == 0 || protocol == SNIFF_MORE)
        return STATUS_OK;
    reader->sniffed = true;
    if (protocol == SNIFF_RAW)
        return STATUS_OK;
    return error_set(err, STATUS_INVALID_ARGUMENT, "it speaks %s, not paramd's protocol",
                     sniff_name(protocol));
}

/* What a stranger may send: one small HELLO. */
static enum status check_stranger(const struct frame_head *head, struct error *err)
{
    if (head->type != FRAME_HELLO)
        return error_set(err, STATUS_FAILED_PRECONDITION, "its first frame is %s, not HELLO",
                         frame_type_name(head->type));
    if (head->header_bytes > LIMIT_HELLO_BYTES || head->payload_bytes > 0)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "its HELLO has %u + %u bytes, more than %d + 0", head->header_bytes,
                         head->payload_bytes, LIMIT_HELLO_BYTES);
    return STATUS_OK;
}

static enum status parse_preamble(struct reader *reader, struct error *err)
{
    enum status status = frame_decode(reader->buffer + reader->begin, &reader->head, err);

    if (!status && reader->stranger)
        status = check_stranger(&reader->head, err);
    if (status)
        return status;
    buffer_skip(reader, FRAME_PREAMBLE_BYTES);
    reader->phase = READER_HEADER;
    return STATUS_OK;
}

/* Takes over the places that on_head has given. */
static enum status begin_payload(struct reader *reader, struct error *err)
{
    const struct link_incoming *incoming = &reader->shared->incoming;
    size_t total = 0;
    bool discards = false;

    assert(incoming->place_count <= LIMIT_FRAME_BLOCKS);
    for (size_t i = 0; i < incoming->place_count; i++) {
        total += incoming->places[i].bytes;
        discards |= !incoming->places[i].data;
    }
    assert(total ==
           reader->head.payload_bytes); /* an engine that lets us write elsewhere must not go on */
    if (incoming->place_count > reader->place_capacity) {
        struct link_place *places = alloc_array(incoming->place_count, sizeof *places);
        if (!places)
            return error_no_memory(err, "the places of a payload");
        alloc_free(reader->places);
        reader->places = places;
        reader->place_capacity = incoming->place_count;
    }
    reader->discards = discards && (reader->head.flags & FRAME_FLAG_PAYLOAD_HASH);
    if (reader->discards && !reader->hash) {
        reader->hash = hash_xxh3_new();
        if (!reader->hash)
            return error_no_memory(err, "the hash of a payload");
    }
    if (incoming->place_count)
        memcpy(reader->places, incoming->places, incoming->place_count * sizeof reader->places[0]);
    reader->place_count = incoming->place_count;
    reader->place = 0;
    reader->place_used = 0;
    reader->payload_left = total;
    reader->phase = READER_PAYLOAD;
    return STATUS_OK;
}

/* OK also when the engine wants it later (READER_WAITING) or has stopped the reader. */
static enum status offer_head(struct reader *reader, struct error *err)
{
    const struct link_engine *engine = reader->engine;
    const uint8_t *header = reader->buffer + reader->begin;
    enum status status = frame_check_header(&reader->head, header, err);

    if (status)
        return status;
    reader->shared->incoming.place_count = 0;
    error_clear(err);
    enum link_verdict verdict = engine->on_head(engine->context, reader->link, &reader->head,
                                                header, &reader->shared->incoming, err);
    if (reader->stopped)
        return STATUS_OK;
    switch (verdict) {
    case LINK_WAIT:
        reader->phase = READER_WAITING;
        return STATUS_OK;
    case LINK_TAKE:
        reader->stranger = false;
        buffer_skip(reader, reader->head.header_bytes);
        return begin_payload(reader, err);
    case LINK_REFUSE:
        break;
    }
    if (err->status == STATUS_OK)
        error_set(err, STATUS_INVALID_ARGUMENT, "a %s frame was refused",
                  frame_type_name(reader->head.type));
    return err->status;
}

static enum status check_payload_hash(struct reader *reader, struct error *err)
{
    uint64_t hash;

    if (!(reader->head.flags & FRAME_FLAG_PAYLOAD_HASH))
        return STATUS_OK;
    if (reader->discards) {
        hash = hash_xxh3_finish(reader->hash);
    } else {
        struct hash_piece pieces[LIMIT_FRAME_BLOCKS];
        for (size_t i = 0; i < reader->place_count; i++)
            pieces[i] = (struct hash_piece){reader->places[i].data, reader->places[i].bytes};
        hash = hash_xxh3_pieces(pieces, reader->place_count);
    }
    if (hash == reader->head.payload_hash)
        return STATUS_OK;
    return error_set(err, STATUS_DATA_LOSS,
                     "the payload of a %s frame (%u bytes) does not have its hash",
                     frame_type_name(reader->head.type), reader->head.payload_bytes);
}

/* Counts bytes that have arrived at the present place, wherever it is. */
static void place_filled(struct reader *reader, const uint8_t *from, size_t bytes)
{
    if (reader->discards)
        hash_xxh3_add(reader->hash, from, bytes);
    reader->payload_left -= bytes;
    reader->place_used += bytes;
    while (reader->place < reader->place_count &&
           reader->place_used == reader->places[reader->place].bytes) {
        reader->place++;
        reader->place_used = 0;
    }
}

/* Moves payload bytes that are in the buffer to where they belong. */
static void copy_payload(struct reader *reader)
{
    while (reader->payload_left && unread(reader)) {
        const struct link_place *place = &reader->places[reader->place];
        const uint8_t *from = reader->buffer + reader->begin;
        size_t bytes = place->bytes - reader->place_used;
        if (bytes > unread(reader))
            bytes = unread(reader);
        if (place->data && bytes)
            memcpy((uint8_t *)place->data + reader->place_used, from, bytes);
        place_filled(reader, from, bytes);
        buffer_skip(reader, bytes);
    }
}

static enum status finish_frame(struct reader *reader, struct error *err)
{
    enum status status = check_payload_hash(reader, err);

    if (status)
        return status;
    reader->phase = READER_PREAMBLE;
    reader->frames++;
    reader->engine->on_frame(reader->engine->context, reader->link);
    return STATUS_OK;
}

/*
 * One step with what is in the buffer; ret_moved says whether there was one to make. Every step
 * either consumes bytes or moves the phase on, so the caller's loop ends.
 */
static enum status parse_step(struct reader *reader, bool *ret_moved, struct error *err)
{
    enum status status;

    *ret_moved = true;
    switch (reader->phase) {
    case READER_PREAMBLE:
        status = check_protocol(reader, err);
        if (status)
            return status;
        if (unread(reader) >= FRAME_PREAMBLE_BYTES)
            return parse_preamble(reader, err);
        break;
    case READER_HEADER:
        if (unread(reader) >= reader->head.header_bytes)
            return offer_head(reader, err);
        break;
    case READER_PAYLOAD:
        copy_payload(reader);
        if (reader->payload_left == 0)
            return finish_frame(reader, err);
        break;
    case READER_WAITING:
        break;
    }
    *ret_moved = false;
    return STATUS_OK;
}

/* Is the rest of the payload worth a read of its own, past the buffer? */
static bool reads_direct(const struct reader *reader)
{
    return reader->phase == READER_PAYLOAD && reader->payload_left > COPY_BYTES_MAX;
}

/* How much to take of what stands behind this payload. */
static size_t tail_bytes(const struct reader *reader)
{
    size_t expected = FRAME_PREAMBLE_BYTES + reader->head.header_bytes + TAIL_SPARE_BYTES;

    if (reader->head.payload_bytes < LARGE_FROM_BYTES || expected > reader->capacity)
        return reader->capacity;
    return expected;
}

/* The places, from the present one on, and the buffer behind them if the payload ends within this
 * call. */
static int direct_parts(const struct reader *reader, struct iovec parts[CALL_PARTS_MAX],
                        size_t *ret_payload_bytes, size_t *ret_bytes)
{
    size_t used = reader->place_used;
    size_t bytes = 0;
    bool discard = false;
    int count = 0;

    for (size_t i = reader->place;
         i < reader->place_count && count < CALL_PARTS_MAX - 1 && !discard; i++) {
        const struct link_place *place = &reader->places[i];
        size_t part = place->bytes - used;
        size_t room = CALL_PAYLOAD_BYTES - bytes;
        discard = !place->data; /* the scratch can stand in a call only once */
        if (discard && room > READER_SCRATCH_BYTES)
            room = READER_SCRATCH_BYTES;
        if (part > room)
            part = room;
        if (part) {
            parts[count].iov_base = discard ? reader->shared->scratch
                                            : (uint8_t *)place->data + used;
            parts[count++].iov_len = part;
        }
        bytes += part;
        used = 0;
        if (bytes == CALL_PAYLOAD_BYTES)
            break;
    }
    *ret_payload_bytes = bytes;
    if (bytes == reader->payload_left) {
        size_t tail = tail_bytes(reader);
        parts[count++] = (struct iovec){reader->buffer, tail};
        bytes += tail;
    }
    *ret_bytes = bytes;
    return count;
}

/* Accounts for what a direct read has brought. */
static void direct_arrived(struct reader *reader, size_t bytes, size_t payload_bytes)
{
    size_t payload = bytes < payload_bytes ? bytes : payload_bytes;

    reader->end = bytes - payload;
    while (payload) {
        const struct link_place *place = &reader->places[reader->place];
        size_t part = place->bytes - reader->place_used;
        if (part > payload)
            part = payload;
        const uint8_t *from = place->data ? (uint8_t *)place->data + reader->place_used
                                          : reader->shared->scratch;
        place_filled(reader, from, part);
        payload -= part;
    }
}

/* One read. ret_bytes 0: nothing is there, or a signal came; ret_drained: the socket had less than
 * was asked for. */
static enum status fill(struct reader *reader, int fd, size_t *ret_bytes, bool *ret_drained,
                        struct error *err)
{
    struct iovec parts[CALL_PARTS_MAX];
    size_t payload_bytes = 0;
    size_t asked;
    int count = 1;
    bool direct = reads_direct(reader);

    if (direct) {
        count = direct_parts(reader, parts, &payload_bytes, &asked);
    } else {
        size_t needed = reader->phase == READER_HEADER ? reader->head.header_bytes
                                                       : FRAME_PREAMBLE_BYTES;
        if (!buffer_reserve(reader, needed))
            return error_no_memory(err, "a header");
        asked = reader->capacity - reader->end;
        parts[0] = (struct iovec){reader->buffer + reader->end, asked};
    }
    ssize_t got = reader->calls->readv(reader->calls->context, fd, parts, count);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
        *ret_bytes = 0;
        *ret_drained = errno != EINTR;
        return STATUS_OK;
    }
    if (got < 0)
        return error_set(err, STATUS_UNAVAILABLE, "%s", strerror(errno));
    if (got == 0)
        return error_set(err, STATUS_UNAVAILABLE, "it closed the connection%s",
                         reader->phase == READER_PREAMBLE && unread(reader) == 0
                             ? ""
                             : " in the middle of a frame");
    if (direct)
        direct_arrived(reader, (size_t)got, payload_bytes);
    else
        reader->end += (size_t)got;
    reader->bytes += (uint64_t)got;
    *ret_bytes = (size_t)got;
    *ret_drained = (size_t)got < asked;
    return STATUS_OK;
}

enum reader_result reader_run(struct reader *reader, int fd, struct error *err)
{
    uint64_t frames_end = reader->frames + READER_TURN_FRAMES;
    size_t bytes_read = 0;
    bool drained = false;

    for (;;) {
        bool moved;
        enum status status;
        if (reader->stopped)
            return READER_STOPPED;
        if (reader->phase == READER_WAITING)
            return READER_HELD;
        if (reader->frames >= frames_end)
            return READER_MORE;
        status = parse_step(reader, &moved, err);
        if (status)
            return reader->stopped ? READER_STOPPED : READER_FAILED;
        if (moved)
            continue;
        if (drained)
            return READER_BLOCKED;
        if (bytes_read >= READER_TURN_BYTES)
            return READER_MORE;
        size_t bytes;
        status = fill(reader, fd, &bytes, &drained, err);
        if (status)
            return READER_FAILED;
        bytes_read += bytes;
    }
}

void reader_resume(struct reader *reader)
{
    if (reader->phase == READER_WAITING)
        reader->phase = READER_HEADER;
}
