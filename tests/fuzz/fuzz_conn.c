/* decoder: common/net/reader.c common/net/sniff.c */
/* options: -max_len=65536 -len_control=20 */
#include "common/net/reader.h"

#include "common/base/bytes.h"
#include "common/base/rng.h"
#include "tests/lib/faulty_calls.h"
#include "tests/lib/sample_messages.h"

#include <stdlib.h>
#include <string.h>

/*
 * A whole connection: 8 bytes that steer the engine and the socket, then what the peer sends. The
 * engine takes, lets wait, throws away, refuses and closes as these bytes say, and compares what it
 * got with what was sent.
 */

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STEERING_BYTES = 8, AT_HEADER_BYTES = 8, AT_PAYLOAD_BYTES = 12 };

struct peer {
    struct reader reader;
    struct memory_socket socket;
    struct rng_sequence rng;
    struct frame_head head;
    bool in_frame; /* between on_head and on_frame */
    bool complete; /* every place has memory */
    bool stopped;
};

static uint8_t payload[LIMIT_PAYLOAD_BYTES];
static struct reader_shared shared;

/* ---- mutation ---- */

/* Lengths and hashes of every frame in the stream. */
static void mend_stream(uint8_t *data, size_t size)
{
    while (size >= FRAME_PREAMBLE_BYTES) {
        size_t left = size - FRAME_PREAMBLE_BYTES;
        size_t header_bytes = bytes_get_u32(data + AT_HEADER_BYTES);
        size_t payload_bytes = bytes_get_u32(data + AT_PAYLOAD_BYTES);
        if (header_bytes > left)
            header_bytes = left < 64 ? left : 64;
        if (payload_bytes > left - header_bytes)
            payload_bytes = left - header_bytes;
        bytes_put_u32(data, FRAME_MAGIC);
        bytes_put_u32(data + AT_HEADER_BYTES, (uint32_t)header_bytes);
        bytes_put_u32(data + AT_PAYLOAD_BYTES, (uint32_t)payload_bytes);
        size_t bytes = FRAME_PREAMBLE_BYTES + header_bytes + payload_bytes;
        sample_mend(data, bytes);
        data += bytes;
        size -= bytes;
    }
}

static size_t fresh_stream(uint8_t *data, size_t size_max, unsigned seed)
{
    struct rng_sequence rng = {seed};
    size_t size = STEERING_BYTES;
    unsigned frames = 1 + (unsigned)rng_below(&rng, 8);

    if (size_max < STEERING_BYTES)
        return 0;
    bytes_put_u64(data, rng_next(&rng));
    for (unsigned i = 0; i < frames; i++) {
        enum frame_type type = i == 0 ? FRAME_HELLO
                                      : (enum frame_type)(1 + rng_below(&rng, FRAME_TYPES - 1));
        size_t payload_bytes = i == 0 ? 0 : rng_below(&rng, rng_below(&rng, 2) ? 64 : 30000);
        size += sample_frame(type, i, payload_bytes, rng_below(&rng, 2), data + size,
                             size_max - size);
    }
    return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    if (size < STEERING_BYTES + FRAME_PREAMBLE_BYTES || seed % 32 == 0) {
        size_t fresh = fresh_stream(data, size_max, seed);
        if (fresh)
            size = fresh;
    }
    size = LLVMFuzzerMutate(data, size, size_max);
    if (size > STEERING_BYTES && seed % 16)
        mend_stream(data + STEERING_BYTES, size - STEERING_BYTES);
    return size;
}

/* ---- the engine ---- */

static void peer_stop(struct peer *peer)
{
    peer->stopped = true;
    peer->reader.stopped = true;
}

static enum link_verdict peer_head(void *context, struct link *link, const struct frame_head *head,
                                   const uint8_t *header, struct link_incoming *ret_incoming,
                                   struct error *err)
{
    struct peer *peer = context;
    size_t left = head->payload_bytes;
    uint8_t *at = payload;
    uint64_t sum = 0;

    (void)link;
    if (peer->stopped || peer->in_frame || head->payload_bytes > LIMIT_PAYLOAD_BYTES)
        abort();
    for (size_t i = 0; i < head->header_bytes; i++)
        sum += header[i]; /* all of it can be read */
    uint64_t choice = (rng_next(&peer->rng) + sum) % 64;
    if (choice < 16)
        return LINK_WAIT;
    if (choice == 16) {
        if (rng_below(&peer->rng, 2))
            error_set(err, STATUS_PERMISSION_DENIED, "not wanted");
        return LINK_REFUSE;
    }
    if (choice == 17)
        peer_stop(peer);
    bool discards = choice > 50;
    size_t each = choice > 40 ? 1 + rng_below(&peer->rng, left + 1) : 1 + left / 3;
    peer->complete = true;
    ret_incoming->place_count = 0;
    while (left || rng_below(&peer->rng, 4) == 0) {
        size_t bytes = left < each ? left : each;
        if (ret_incoming->place_count == LIMIT_FRAME_BLOCKS - 1)
            bytes = left;
        bool discard = discards && rng_below(&peer->rng, 2);
        peer->complete &= !discard;
        ret_incoming->places[ret_incoming->place_count++] = (struct link_place){discard ? NULL : at,
                                                                                bytes};
        at += bytes;
        left -= bytes;
        if (ret_incoming->place_count == LIMIT_FRAME_BLOCKS)
            break;
    }
    peer->head = *head;
    peer->in_frame = true;
    return LINK_TAKE;
}

static void peer_frame(void *context, struct link *link)
{
    struct peer *peer = context;
    const struct memory_socket *socket = &peer->socket;

    (void)link;
    if (peer->stopped || !peer->in_frame)
        abort();
    peer->in_frame = false;
    size_t end = socket->input_at - (peer->reader.end - peer->reader.begin);
    if (peer->complete && memcmp(payload, socket->input + end - peer->head.payload_bytes,
                                 peer->head.payload_bytes) != 0)
        abort();
    if (rng_below(&peer->rng, 64) == 0)
        peer_stop(peer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct peer peer = {0};
    struct link link = {0};
    struct error err = {0};
    const struct link_engine engine = {
        .context = &peer, .on_head = peer_head, .on_frame = peer_frame};

    if (size < STEERING_BYTES)
        return 0;
    peer.rng.state = bytes_get_u64(data);
    memory_socket_init(&peer.socket, data + STEERING_BYTES, size - STEERING_BYTES);
    peer.socket.slice_bytes = data[0] & 1 ? (size_t)1 << data[1] % 16 : 0;
    peer.socket.slice_seed = data[0] & 2 ? data[2] + 1u : 0;
    peer.socket.pauses = data[0] & 4;
    if (reader_init(&peer.reader, &peer.socket.calls, &engine, &link, &shared))
        abort();
    peer.reader.stranger = data[0] & 8;
    for (;;) {
        enum reader_result result = reader_run(&peer.reader, -1, &err);
        if (result == READER_HELD)
            reader_resume(&peer.reader);
        if (result == READER_FAILED && (err.status == STATUS_OK || !err.message[0]))
            abort();
        if (result == READER_STOPPED && !peer.stopped)
            abort();
        if (result == READER_FAILED || result == READER_STOPPED)
            break;
    }
    reader_release(&peer.reader);
    return 0;
}
