/* Counted bytes from a bounded pool: where tensor bytes live, uncopied from socket to arithmetic
 * and back. */
#ifndef PARAMD_COMMON_BASE_BUF_H
#define PARAMD_COMMON_BASE_BUF_H

#include "common/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    BUF_CLASS_MIN_SHIFT = 6,  /* 64 bytes: a cache line, the alignment of every buffer */
    BUF_CLASS_MAX_SHIFT = 20, /* 1 MiB */
    BUF_CLASSES = BUF_CLASS_MAX_SHIFT - BUF_CLASS_MIN_SHIFT + 1,
};

struct buf_pool;

/* Not for several threads: one loop owns a pool and all its buffers. */
struct buf {
    uint32_t refs;
    uint32_t shift;        /* size class: capacity is 1 << shift */
    uint8_t *data;         /* 64-byte aligned; lives as long as the pool */
    struct buf_pool *pool; /* borrowed */
    struct buf *next;      /* in the pool's list of free ones */
};

struct buf_slab;

struct buf_pool {
    struct buf *free[BUF_CLASSES];
    struct buf_slab *slabs; /* owned */
    size_t bytes_max;       /* bound on bytes handed out at a time (by class size) */
    size_t bytes_used;
    size_t bytes_reserved; /* memory taken from the system */
    bool returned;         /* set whenever a buffer comes back; the owner looks and clears it */
};

void buf_pool_init(struct buf_pool *pool, size_t bytes_max);

/* All buffers must be back (asserted). A zeroed pool may be released. */
void buf_pool_release(struct buf_pool *pool);

/* The bytes that buf_take(bytes) counts against bytes_max: the next power of two from 64 up. */
size_t buf_class_bytes(size_t bytes);

/* Could a buffer of so many bytes be taken now, as far as the bound goes? */
bool buf_available(const struct buf_pool *pool, size_t bytes);

/*
 * A buffer of at least bytes (1 byte to 1 MiB), one reference, contents undefined. NULL if the
 * bound is reached or there is no memory.
 */
struct buf *buf_take(struct buf_pool *pool, size_t bytes);

static inline struct buf *buf_ref(struct buf *buf)
{
    buf->refs++;
    return buf;
}

/* NULL is ignored. The last reference puts the buffer back into its pool. */
void buf_unref(struct buf *buf);

static inline size_t buf_capacity(const struct buf *buf)
{
    return (size_t)1 << buf->shift;
}

#endif
