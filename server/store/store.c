#include "server/store/store.h"

#include "common/base/alloc.h"
#include "common/base/limits.h"
#include "common/base/mutant.h"

#include <assert.h>
#include <string.h>

/* A frame's buffers round up to twice its bytes at most, or to the smallest class. */
#define STAGING_RESERVE_BYTES                                                                      \
    ((uint64_t)2 * LIMIT_PAYLOAD_BYTES + ((uint64_t)LIMIT_FRAME_BLOCKS << BUF_CLASS_MIN_SHIFT))

static enum status make_blocks(struct store *store, struct error *err)
{
    struct placement_block at;
    uint32_t index = 0;
    uint64_t value_class_bytes = 0;
    uint64_t slot_class_bytes = 0;

    for (bool more = placement_first(&store->placement, store->server, &at); more;
         more = placement_next(&store->placement, store->server, &at)) {
        const struct store_variable *variable = &store->variables[at.variable];
        struct block *block = &store->blocks[index++];
        block->variable = at.variable;
        block->number = at.block;
        block->elements = placement_element_count(&store->placement, at.variable, at.block);
        block->bytes = (uint32_t)(block->elements * dtype_bytes(variable->dtype));
        store->value_bytes += block->bytes;
        value_class_bytes += buf_class_bytes(block->bytes);
        if (variable->optimizer >= 0)
            slot_class_bytes += buf_class_bytes(block->bytes) *
                                optimizer_slot_count(
                                    &store->optimizers[variable->optimizer].optimizer);
    }
    assert(index == store->block_count);
    if (value_class_bytes > SIZE_MAX / 4 || slot_class_bytes > SIZE_MAX / 4)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "the variables need more memory than can be addressed");
    buf_pool_init(&store->values, 3 * value_class_bytes);
    buf_pool_init(&store->slot_pool, 2 * slot_class_bytes);
    buf_pool_init(&store->staging, value_class_bytes + 2 * store->staged_bytes_max +
                                       2 * store->staged_bytes_reserve);
    return STATUS_OK;
}

enum status store_init(struct store *store, const struct store_variable *variables,
                       size_t variable_count, const struct optimizer *optimizers,
                       const double *learning_rates, size_t optimizer_count, uint32_t server,
                       uint32_t server_count, uint32_t workers, uint64_t staging_bytes,
                       struct error *err)
{
    enum status status;
    struct placement_variable *placed = alloc_array(variable_count, sizeof *placed);

    *store = (struct store){.server = server,
                            .workers = workers,
                            .variable_count = variable_count,
                            .optimizer_count = optimizer_count,
                            .staged_bytes_max = staging_bytes,
                            .staged_bytes_reserve = STAGING_RESERVE_BYTES};
    store->variables = alloc_array(variable_count, sizeof store->variables[0]);
    if (!placed || !store->variables) {
        status = error_no_memory(err, "the list of variables");
        goto out;
    }
    for (size_t i = 0; i < variable_count; i++) {
        store->variables[i] = variables[i];
        placed[i] = (struct placement_variable){
            .id = (uint32_t)i, .dtype = variables[i].dtype, .element_count = variables[i].elements};
    }
    for (size_t i = 0; i < optimizer_count; i++)
        store->optimizers[i] = (struct store_optimizer){.optimizer = optimizers[i],
                                                        .learning_rate = learning_rates[i],
                                                        .next_from_step = UINT64_MAX};
    status = placement_init(&store->placement, placed, variable_count, server_count, err);
    if (status)
        goto out;
    store->block_count = placement_server_block_count(&store->placement, server);
    store->blocks = alloc_array(store->block_count, sizeof store->blocks[0]);
    store->staged = alloc_array((size_t)store->block_count * STORE_OPEN_STEPS * workers,
                                sizeof store->staged[0]);
    if (!store->blocks || !store->staged)
        status = error_no_memory(err, "the list of blocks");
    else
        status = make_blocks(store, err);
out:
    alloc_free(placed);
    if (status)
        store_release(store);
    return status;
}

static void block_release(struct block *block)
{
    buf_unref(block->value);
    buf_unref(block->previous);
    buf_unref(block->sum);
    buf_unref(block->held_value);
    for (size_t i = 0; i < OPTIMIZER_SLOTS_MAX; i++) {
        buf_unref(block->slots[i]);
        buf_unref(block->held_slots[i]);
    }
}

void store_release(struct store *store)
{
    for (uint32_t i = 0; store->blocks && i < store->block_count; i++)
        block_release(&store->blocks[i]);
    for (size_t i = 0;
         store->staged && i < (size_t)store->block_count * STORE_OPEN_STEPS * store->workers; i++)
        buf_unref(store->staged[i].buf);
    buf_pool_release(&store->values);
    buf_pool_release(&store->slot_pool);
    buf_pool_release(&store->staging);
    placement_release(&store->placement);
    alloc_free(store->variables);
    alloc_free(store->blocks);
    alloc_free(store->staged);
    *store = (struct store){0};
}

static size_t slot_count(const struct store *store, const struct block *block)
{
    int optimizer = store->variables[block->variable].optimizer;
    return optimizer < 0 ? 0 : optimizer_slot_count(&store->optimizers[optimizer].optimizer);
}

static enum status make_slots(struct store *store, struct block *block, struct error *err)
{
    const struct store_variable *variable = &store->variables[block->variable];

    for (size_t i = 0; i < slot_count(store, block); i++) {
        float initial = optimizer_slot_initial(&store->optimizers[variable->optimizer].optimizer,
                                               i);
        block->slots[i] = buf_take(&store->slot_pool, block->bytes);
        if (!block->slots[i])
            return error_no_memory(err, "optimizer slots");
        float *slot = (float *)(void *)block->slots[i]->data;
        for (uint32_t k = 0; k < block->elements; k++)
            slot[k] = initial;
    }
    return STATUS_OK;
}

enum status store_fill_initial(struct store *store, struct error *err)
{
    for (uint32_t i = 0; i < store->block_count; i++) {
        struct block *block = &store->blocks[i];
        const struct store_variable *variable = &store->variables[block->variable];
        enum status status = make_slots(store, block, err);
        if (status)
            return status;
        if (variable->initializer.kind == INITIALIZER_ASSIGNED)
            continue;
        block->value = buf_take(&store->values, block->bytes);
        if (!block->value)
            return error_no_memory(err, "values of variables");
        status = initializer_fill(
            &variable->initializer, variable->dtype,
            placement_first_element(&store->placement, block->variable, block->number),
            block->elements, block->value->data, err);
        if (status)
            return status;
        block->has_version = true;
    }
    return STATUS_OK;
}

struct block *store_find(struct store *store, uint32_t variable, uint32_t number)
{
    if (!placement_has(&store->placement, variable, number) ||
        placement_server_of(&store->placement, variable, number) != store->server)
        return NULL;
    return &store->blocks[placement_index_of(&store->placement, variable, number)];
}

struct staged *store_staged(struct store *store, const struct block *block, uint64_t step,
                            uint32_t rank)
{
    size_t row = (size_t)store_index(store, block) * STORE_OPEN_STEPS + step % STORE_OPEN_STEPS;
    return &store->staged[row * store->workers + rank];
}

uint64_t store_rows_bytes(const struct store *store, const struct block *block, uint32_t rows)
{
    const struct store_variable *variable = &store->variables[block->variable];
    uint64_t indices = ((uint64_t)rows * sizeof(uint32_t) + 7) / 8 * 8;

    if (variable->row_elements > BLOCK_ELEMENTS_MAX ||
        variable->elements / variable->row_elements > UINT32_MAX)
        return 0;
    uint64_t bytes = indices + rows * variable->row_elements * dtype_bytes(variable->dtype);
    return bytes <= block->bytes ? bytes : 0;
}

bool store_has_room(const struct store *store, uint64_t bytes, bool its_turn)
{
    uint64_t bound = store->staged_bytes_max;

    if (its_turn && !MUTANT(NO_RESERVE))
        bound += store->staged_bytes_reserve;
    return bytes <= bound && store->staged_bytes <= bound - bytes;
}

enum status store_stage(struct store *store, struct staged *staged, size_t bytes)
{
    /* A push without rows has no bytes, but it is there. */
    staged->buf = buf_take(&store->staging, bytes ? bytes : 1);
    if (!staged->buf)
        return STATUS_RESOURCE_EXHAUSTED;
    store->staged_bytes += buf_capacity(staged->buf);
    staged->state = STAGED_RECEIVING;
    return STATUS_OK;
}

static void staged_drop(struct store *store, struct staged *staged)
{
    store->staged_bytes -= buf_capacity(staged->buf);
    buf_unref(staged->buf);
    staged->buf = NULL;
}

void store_unstage(struct store *store, struct staged *staged)
{
    staged_drop(store, staged);
    staged->state = STAGED_EMPTY;
}

enum status store_assign_initial(struct store *store, struct block *block, struct staged *staged,
                                 struct error *err)
{
    block->value = buf_take(&store->values, block->bytes);
    if (!block->value)
        return error_no_memory(err, "values of variables");
    memcpy(block->value->data, staged->buf->data, block->bytes);
    staged_drop(store, staged);
    staged->state = STAGED_EMPTY;
    block->has_version = true;
    block->version = 0;
    return STATUS_OK;
}

void store_commit(struct store *store, uint64_t step)
{
    for (uint32_t i = 0; i < store->block_count; i++) {
        struct block *block = &store->blocks[i];
        assert(block->has_version && block->version == step);
        buf_unref(block->previous);
        block->previous = NULL;
        for (uint32_t rank = 0; rank < store->workers; rank++)
            store_staged(store, block, step, rank)->state = STAGED_EMPTY;
    }
}

void store_hold_release(struct store *store)
{
    for (uint32_t i = 0; i < store->block_count; i++) {
        struct block *block = &store->blocks[i];
        buf_unref(block->held_value);
        block->held_value = NULL;
        for (size_t k = 0; k < OPTIMIZER_SLOTS_MAX; k++) {
            buf_unref(block->held_slots[k]);
            block->held_slots[k] = NULL;
        }
        block->slots_copied = false;
    }
    store->hold = (struct store_hold){0};
}

void store_hold(struct store *store, uint64_t number, uint64_t step, bool slots)
{
    store_hold_release(store);
    for (uint32_t i = 0; i < store->block_count; i++) {
        struct block *block = &store->blocks[i];
        struct buf *value = block->version == step || MUTANT(PUBLISH_EARLY) ? block->value
                                                                            : block->previous;
        assert(value);
        block->held_value = buf_ref(value);
    }
    store->hold = (struct store_hold){.number = number, .step = step, .slots = slots};
}

struct buf *store_held(const struct store *store, const struct block *block, uint32_t slot)
{
    if (slot == 0)
        return block->held_value;
    if (!store->hold.slots || slot > slot_count(store, block))
        return NULL;
    return block->slots_copied ? block->held_slots[slot - 1] : block->slots[slot - 1];
}

void store_set_learning_rate(struct store *store, size_t optimizer, double learning_rate,
                             uint64_t from_step)
{
    struct store_optimizer *entry = &store->optimizers[optimizer];

    /* Steps before the earlier change are over: it came two steps before its own, and that was a
     * commit ago at least. */
    if (entry->next_from_step < from_step)
        entry->learning_rate = entry->next_learning_rate;
    entry->next_learning_rate = learning_rate;
    entry->next_from_step = from_step;
}
