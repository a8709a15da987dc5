#include "common/base/arena.h"

#include "common/base/alloc.h"

enum { ARENA_ALIGNMENT = 16 };

enum status arena_init(struct arena *arena, size_t capacity)
{
    *arena = (struct arena){.memory = alloc_zero(capacity), .capacity = capacity};
    return arena->memory ? STATUS_OK : STATUS_RESOURCE_EXHAUSTED;
}

void arena_release(struct arena *arena)
{
    alloc_free(arena->memory);
    *arena = (struct arena){0};
}

void *arena_take(struct arena *arena, size_t size)
{
    if (size > arena->capacity - arena->used)
        return NULL;
    void *piece = arena->memory + arena->used;
    size_t rounded = (size + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
    arena->used += rounded < arena->capacity - arena->used ? rounded
                                                           : arena->capacity - arena->used;
    return piece;
}

void arena_clear(struct arena *arena)
{
    arena->used = 0;
}
