/* Memory for one message: taken piece by piece, given back all at once, never more than its bound.
 */
#ifndef PARAMD_COMMON_BASE_ARENA_H
#define PARAMD_COMMON_BASE_ARENA_H

#include "common/base/status.h"

#include <stddef.h>
#include <stdint.h>

struct arena {
    uint8_t *memory; /* owned */
    size_t capacity;
    size_t used;
};

/* RESOURCE_EXHAUSTED if there is no memory. */
NODISCARD enum status arena_init(struct arena *arena, size_t capacity);
void arena_release(struct arena *arena);

/* 16-byte aligned, not zeroed; NULL past the bound. */
void *arena_take(struct arena *arena, size_t size);

/* Everything taken is given back. */
void arena_clear(struct arena *arena);

#endif
