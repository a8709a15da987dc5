/* The frames waiting to be written on one connection: encoded, counted, several to one system call.
 */
#ifndef PARAMD_COMMON_NET_WRITER_H
#define PARAMD_COMMON_NET_WRITER_H

#include "common/base/error.h"
#include "common/net/calls.h"
#include "common/wire/link.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct writer_frame;

/* Frames that are done, for the next ones: in the steady state nothing is allocated. One for a
 * driver. */
struct writer_pool {
    struct writer_frame *free;
    size_t count;
    size_t grown_bytes; /* of headers and piece lists that did not fit into a frame's own room */
};

void writer_pool_release(struct writer_pool *pool);

struct writer {
    const struct net_calls *calls; /* borrowed */
    struct writer_pool *pool;      /* borrowed */
    uint64_t bytes_max;            /* of the queue */
    struct writer_frame *first;
    struct writer_frame *last;
    size_t frames;
    uint64_t released; /* calls of on_released so far */
    uint64_t bytes;    /* queued and not yet written */
    size_t part;       /* of the first frame: 0 its head, i + 1 its piece i */
    size_t part_used;  /* bytes of it that are written */
};

/* bytes_max 0: LIMIT_QUEUED_BYTES. */
void writer_init(struct writer *writer, const struct net_calls *calls, struct writer_pool *pool,
                 uint64_t bytes_max);

/*
 * Queues a frame: packs its header, copies its list of pieces and takes a reference of their
 * buffers.
 *
 *   hash_payload  put the payload's hash into the preamble.
 *
 * RESOURCE_EXHAUSTED: out of memory, or more than LIMIT_QUEUED_FRAMES or bytes_max would wait.
 * INTERNAL: a header, payload or list of pieces larger than a frame may have.
 */
NODISCARD enum status writer_add(struct writer *writer, const struct link_frame *frame,
                                 bool hash_payload);

enum writer_result {
    WRITER_EMPTY,   /* everything is written */
    WRITER_BLOCKED, /* the kernel's buffer is full */
    WRITER_MORE,    /* bytes_max reached; the connection could take more */
    WRITER_FAILED,  /* err says why */
};

/*
 * Writes at most about bytes_max. on_released runs for the frames that are done, and may add frames
 * to this writer.
 *
 *   ret_written  bytes that the kernel took.
 */
enum writer_result writer_flush(struct writer *writer, int fd, size_t bytes_max,
                                uint64_t *ret_written, struct error *err);

/* Drops what is queued; on_released runs with written = false. */
void writer_clear(struct writer *writer);

#endif
