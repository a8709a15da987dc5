#include "common/base/buf.h"

#include "common/base/alloc.h"

#include <assert.h>

/*
 * Buffers are carved from slabs, which only the pool's release gives back: fresh pages cost ten
 * times a copy, so a buffer that was touched once is used again for ever. Small classes share 64
 * KiB slabs, large ones take 4 MiB at a time, which alloc_tensor backs with huge pages.
 */
enum { SMALL_SLAB_BYTES = 64 * 1024, LARGE_SLAB_BYTES = 4 * 1024 * 1024, LARGE_FROM_SHIFT = 16 };

struct buf_slab {
    struct buf_slab *next;
    uint8_t *memory;
    size_t bytes;
    struct buf buffers[]; /* one for each piece of memory */
};

static unsigned class_shift(size_t bytes)
{
    unsigned shift = BUF_CLASS_MIN_SHIFT;

    while (((size_t)1 << shift) < bytes)
        shift++;
    return shift;
}

void buf_pool_init(struct buf_pool *pool, size_t bytes_max)
{
    *pool = (struct buf_pool){.bytes_max = bytes_max};
}

void buf_pool_release(struct buf_pool *pool)
{
    assert(pool->bytes_used == 0);
    while (pool->slabs) {
        struct buf_slab *slab = pool->slabs;
        pool->slabs = slab->next;
        alloc_free_tensor(slab->memory, slab->bytes);
        alloc_free(slab);
    }
    *pool = (struct buf_pool){0};
}

size_t buf_class_bytes(size_t bytes)
{
    return (size_t)1 << class_shift(bytes);
}

bool buf_available(const struct buf_pool *pool, size_t bytes)
{
    return buf_class_bytes(bytes) <= pool->bytes_max - pool->bytes_used;
}

static bool pool_grow(struct buf_pool *pool, unsigned shift)
{
    size_t bytes = shift >= LARGE_FROM_SHIFT ? LARGE_SLAB_BYTES : SMALL_SLAB_BYTES;
    size_t room = pool->bytes_max - pool->bytes_used;

    if (bytes > room)
        bytes = room >> shift << shift; /* a small pool does not take a whole slab */
    size_t count = bytes >> shift;
    struct buf_slab *slab = alloc_zero(sizeof *slab + count * sizeof slab->buffers[0]);
    if (!slab)
        return false;
    slab->memory = alloc_tensor(bytes);
    if (!slab->memory) {
        alloc_free(slab);
        return false;
    }
    slab->bytes = bytes;
    slab->next = pool->slabs;
    pool->slabs = slab;
    pool->bytes_reserved += bytes;
    for (size_t i = count; i-- > 0;) {
        struct buf *buf = &slab->buffers[i];
        *buf = (struct buf){.shift = shift, .data = slab->memory + (i << shift), .pool = pool};
        buf->next = pool->free[shift - BUF_CLASS_MIN_SHIFT];
        pool->free[shift - BUF_CLASS_MIN_SHIFT] = buf;
    }
    return true;
}

struct buf *buf_take(struct buf_pool *pool, size_t bytes)
{
    assert(bytes > 0 && bytes <= (size_t)1 << BUF_CLASS_MAX_SHIFT);
    unsigned shift = class_shift(bytes);
    struct buf **list = &pool->free[shift - BUF_CLASS_MIN_SHIFT];

    if (((size_t)1 << shift) > pool->bytes_max - pool->bytes_used)
        return NULL;
    if (!*list && !pool_grow(pool, shift))
        return NULL;
    struct buf *buf = *list;
    *list = buf->next;
    buf->next = NULL;
    buf->refs = 1;
    pool->bytes_used += (size_t)1 << shift;
    return buf;
}

void buf_unref(struct buf *buf)
{
    if (!buf)
        return;
    assert(buf->refs > 0);
    if (--buf->refs > 0)
        return;
    struct buf_pool *pool = buf->pool;
    struct buf **list = &pool->free[buf->shift - BUF_CLASS_MIN_SHIFT];
    buf->next = *list;
    *list = buf;
    pool->bytes_used -= (size_t)1 << buf->shift;
    pool->returned = true;
}
