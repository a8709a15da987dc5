#include "worker/client/core_state.h"

#include "common/base/alloc.h"

#include <assert.h>
#include <string.h>

/* kind: 4 bits, generation: 28 bits, index: 32 bits. */
enum { HANDLE_KIND_SHIFT = 60, HANDLE_GENERATION_SHIFT = 32, HANDLE_GENERATION_MASK = 0xFFFFFFF };

ps_handle core_handle_make(enum core_kind kind, uint32_t generation, uint32_t index)
{
    return (uint64_t)kind << HANDLE_KIND_SHIFT | (uint64_t)generation << HANDLE_GENERATION_SHIFT |
           index;
}

enum core_kind core_handle_kind(ps_handle handle)
{
    return (enum core_kind)(handle >> HANDLE_KIND_SHIFT);
}

uint32_t core_handle_index(ps_handle handle)
{
    return (uint32_t)handle;
}

uint32_t core_handle_generation(ps_handle handle)
{
    return (uint32_t)(handle >> HANDLE_GENERATION_SHIFT) & HANDLE_GENERATION_MASK;
}

static struct core_slot *slot_at(const struct core_pool *pool, uint32_t index)
{
    assert(index < pool->capacity);
    return (struct core_slot *)((uint8_t *)pool->records + (size_t)index * pool->record_bytes);
}

void *core_pool_at(const struct core_pool *pool, uint32_t index)
{
    struct core_slot *slot = slot_at(pool, index);

    assert(slot->used);
    return slot;
}

static bool pool_grow(struct core_pool *pool)
{
    uint32_t capacity = pool->capacity ? pool->capacity * 2 : 16;
    void *grown = alloc_resize(pool->records, capacity, pool->record_bytes);

    if (!grown)
        return false;
    pool->records = grown;
    for (uint32_t i = capacity; i > pool->capacity; i--) {
        struct core_slot *slot = (struct core_slot *)((uint8_t *)grown +
                                                      (size_t)(i - 1) * pool->record_bytes);
        memset(slot, 0, pool->record_bytes);
        slot->generation = 1;
        slot->next_free = pool->free;
        pool->free = i;
    }
    pool->capacity = capacity;
    return true;
}

bool core_pool_take(struct core_pool *pool, uint32_t *ret_index)
{
    if (!pool->free && !pool_grow(pool))
        return false;
    uint32_t index = pool->free - 1;
    struct core_slot *slot = slot_at(pool, index);
    pool->free = slot->next_free;
    slot->next_free = 0;
    slot->used = true;
    memset(slot + 1, 0, pool->record_bytes - sizeof *slot);
    pool->used++;
    *ret_index = index;
    return true;
}

void core_pool_give(struct core_pool *pool, uint32_t index)
{
    struct core_slot *slot = core_pool_at(pool, index);

    slot->used = false;
    slot->generation = slot->generation % HANDLE_GENERATION_MASK + 1;
    slot->next_free = pool->free;
    pool->free = index + 1;
    pool->used--;
}

void *core_pool_find(const struct core_pool *pool, ps_handle handle)
{
    uint32_t index = core_handle_index(handle);

    if (index >= pool->capacity)
        return NULL;
    struct core_slot *slot = slot_at(pool, index);
    return slot->used && slot->generation == core_handle_generation(handle) ? slot : NULL;
}

static const struct core_pool *pool_of(const struct core *core, ps_handle handle)
{
    switch (core_handle_kind(handle)) {
    case CORE_KIND_PUSH:
        return &core->pushes;
    case CORE_KIND_PULL:
        return &core->pulls;
    case CORE_KIND_REQUEST:
        return &core->requests;
    case CORE_KIND_NONE:
        break;
    }
    return NULL;
}

/* How a handle stands: pending, ended with a status, or (found NULL) forgotten. */
struct standing {
    bool pending;
    enum status status;
    const struct error *error; /* of a status that is not OK */
    void *record;
};

static struct standing push_standing(const struct core *core, struct core_push *push)
{
    if (core->ended && push->queued == 0)
        return (struct standing){.status = core->end.status, .error = &core->end, .record = push};
    return (struct standing){.pending = true, .record = push};
}

static struct standing pull_standing(const struct core *core, struct core_pull *pull)
{
    const struct core_push *push = pull->push ? core_pool_find(&core->pushes, pull->push) : NULL;

    if (push && (push->unacked || push->queued)) /* the gradient is still on loan */
        return (struct standing){.pending = true, .record = pull};
    if (pull->error.status)
        return (struct standing){
            .status = pull->error.status, .error = &pull->error, .record = pull};
    if (core->ended)
        return (struct standing){.status = core->end.status, .error = &core->end, .record = pull};
    return (struct standing){.pending = true, .record = pull};
}

static struct standing request_standing(const struct core *core, struct core_request *request)
{
    if (request->done)
        return (struct standing){
            .status = request->error.status, .error = &request->error, .record = request};
    if (core->ended)
        return (struct standing){
            .status = core->end.status, .error = &core->end, .record = request};
    return (struct standing){.pending = true, .record = request};
}

static const struct error unknown_handle = {
    .status = STATUS_INVALID_ARGUMENT,
    .message = "wait: not a handle of this client",
};
static const struct error asked_before = {
    .status = STATUS_NOT_FOUND,
    .message = "wait: the handle ended with an error that was reported before",
};

static struct standing handle_standing(const struct core *core, ps_handle handle)
{
    const struct core_pool *pool = pool_of(core, handle);
    uint32_t index = core_handle_index(handle);

    if (handle == 0)
        return (struct standing){.status = STATUS_OK};
    if (!pool || index >= pool->capacity)
        return (struct standing){.status = unknown_handle.status, .error = &unknown_handle};
    void *record = core_pool_find(pool, handle);
    if (!record) {
        bool failed = slot_at(pool, index)->failed_generation == core_handle_generation(handle);
        return failed ? (struct standing){.status = asked_before.status, .error = &asked_before}
                      : (struct standing){.status = STATUS_OK};
    }
    switch (core_handle_kind(handle)) {
    case CORE_KIND_PUSH:
        return push_standing(core, record);
    case CORE_KIND_PULL:
        return pull_standing(core, record);
    default:
        return request_standing(core, record);
    }
}

bool core_ready(const struct core *core, ps_handle handle)
{
    return !handle_standing(core, handle).pending;
}

static void give_result(const struct core_request *request, struct core_result *ret_result)
{
    ret_result->variable = request->variable;
    ret_result->metric_count = request->metric_count;
    for (size_t i = 0; i < request->metric_count && i < ret_result->metric_capacity; i++)
        ret_result->metrics[i] = request->metrics[i];
}

static void handle_forget(struct core *core, ps_handle handle, bool failed)
{
    uint32_t index = core_handle_index(handle);

    if (failed)
        slot_at(pool_of(core, handle), index)->failed_generation = core_handle_generation(handle);
    switch (core_handle_kind(handle)) {
    case CORE_KIND_PUSH:
        core_push_forget(core, index);
        break;
    case CORE_KIND_PULL:
        core_pull_forget(core, index);
        break;
    default:
        core_request_forget(core, index);
    }
}

bool core_done(struct core *core, ps_handle handle, enum status *ret_status,
               struct core_result *ret_result, struct error *err)
{
    struct standing standing = handle_standing(core, handle);

    if (standing.pending)
        return false;
    *ret_status = standing.status;
    if (standing.status && err)
        *err = *standing.error;
    if (!standing.record)
        return true;
    if (core_handle_kind(handle) == CORE_KIND_REQUEST && !standing.status && ret_result)
        give_result(standing.record, ret_result);
    handle_forget(core, handle, standing.status != STATUS_OK);
    return true;
}

bool core_staged(const struct core *core, ps_handle handle)
{
    struct standing standing = handle_standing(core, handle);
    const struct core_push *push = standing.record;

    if (core_handle_kind(handle) == CORE_KIND_PULL && standing.pending) {
        const struct core_pull *pull = standing.record;
        push = pull->push ? core_pool_find(&core->pushes, pull->push) : NULL;
        return !push || (push->unacked == 0 && push->queued == 0);
    }
    if (core_handle_kind(handle) == CORE_KIND_PUSH && standing.pending)
        return push->unacked == 0 && push->queued == 0;
    return !standing.pending;
}
