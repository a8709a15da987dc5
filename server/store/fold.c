/*
 * From staged pushes to the next version of a block: fold in rank order, then optimizer, assignment
 * or addition. All sums run in element order with each operation rounded once, so the bytes depend
 * on the ranks' data only.
 */
#include "common/base/bytes.h"
#include "common/base/mutant.h"
#include "common/tensor/kernels.h"
#include "server/store/store.h"

#include <assert.h>
#include <string.h>

static const char *const kind_names[] = {"gradient", "assign", "assign_mean", "add"};

/* sum += weight * source, in the variable's dtype; ADD has weight 1 and no multiplication. */
static void add_scaled(enum dtype dtype, void *sum, const void *source, float weight, size_t count,
                       bool plain)
{
    if (dtype == DTYPE_FLOAT32) {
        if (plain)
            kernels_add(sum, source, count);
        else
            kernels_add_scaled(sum, source, weight, count);
    } else if (dtype == DTYPE_FLOAT64) {
        double *to = sum;
        const double *from = source;
        for (size_t i = 0; i < count; i++)
            to[i] += plain ? from[i] : (double)weight * from[i];
    } else {
        uint64_t *to = sum; /* int64 wraps around, as in NumPy */
        const uint64_t *from = source;
        for (size_t i = 0; i < count; i++)
            to[i] += from[i];
    }
}

static void scale(enum dtype dtype, void *values, float weight, size_t count)
{
    if (dtype == DTYPE_FLOAT32) {
        kernels_scale(values, values, weight, count);
    } else if (dtype == DTYPE_FLOAT64) {
        double *to = values;
        for (size_t i = 0; i < count; i++)
            to[i] *= (double)weight;
    }
}

/* The part of one row that lies in the block is added to the sum. */
static void add_row(const struct store *store, const struct block *block, uint8_t *sum,
                    uint64_t row, const uint8_t *values, float weight, bool plain)
{
    const struct store_variable *variable = &store->variables[block->variable];
    size_t element_bytes = dtype_bytes(variable->dtype);
    uint64_t block_first = (uint64_t)block->number * BLOCK_ELEMENTS_MAX;
    uint64_t block_end = block_first + block->elements;
    uint64_t row_first = row * variable->row_elements;
    uint64_t first = row_first > block_first ? row_first : block_first;
    uint64_t end = row_first + variable->row_elements;

    if (end > block_end)
        end = block_end;
    add_scaled(variable->dtype, sum + (first - block_first) * element_bytes,
               values + (first - row_first) * element_bytes, weight, end - first, plain);
}

static enum status fold_rows(struct store *store, struct block *block, const struct staged *staged,
                             float weight, bool plain, struct error *err)
{
    const struct store_variable *variable = &store->variables[block->variable];
    uint64_t block_first = (uint64_t)block->number * BLOCK_ELEMENTS_MAX;
    uint64_t first_row = block_first / variable->row_elements;
    uint64_t last_row = (block_first + block->elements - 1) / variable->row_elements;
    size_t row_bytes = variable->row_elements * dtype_bytes(variable->dtype);
    const uint8_t *indices = staged->buf->data;
    const uint8_t *values = indices + ((uint64_t)staged->rows * sizeof(uint32_t) + 7) / 8 * 8;
    uint64_t next_row = first_row; /* the smallest that may come */

    for (uint32_t i = 0; i < staged->rows; i++) {
        uint64_t row = bytes_get_u32(indices + i * sizeof(uint32_t));
        if (row < next_row || row > last_row)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "row %llu is not in block %u (rows %llu to %llu, each once, in order)",
                             (unsigned long long)row, block->number, (unsigned long long)first_row,
                             (unsigned long long)last_row);
        next_row = row + 1;
    }
    for (uint32_t i = 0; i < staged->rows; i++)
        add_row(store, block, block->sum->data, bytes_get_u32(indices + i * sizeof(uint32_t)),
                values + i * row_bytes, weight, plain);
    return STATUS_OK;
}

/* An empty sum for pushes that are not whole arrays. */
static enum status make_sum(struct store *store, struct block *block, struct error *err)
{
    block->sum = buf_take(&store->staging, block->bytes);
    if (!block->sum)
        return error_no_memory(err, "a sum of gradients");
    memset(block->sum->data, 0, block->bytes);
    return STATUS_OK;
}

static void fold_dense(struct store *store, struct block *block, struct staged *staged,
                       float weight, bool plain)
{
    enum dtype dtype = store->variables[block->variable].dtype;

    if (block->sum) {
        add_scaled(dtype, block->sum->data, staged->buf->data, weight, block->elements, plain);
        return;
    }
    /* The first one becomes the sum, where it lies. */
    block->sum = buf_ref(staged->buf);
    if (!plain && weight != 1.0f)
        scale(dtype, block->sum->data, weight, block->elements);
}

enum status store_fold(struct store *store, struct block *block, struct staged *staged,
                       float weight, struct error *err)
{
    bool plain = staged->kind == STORE_ADD || staged->kind == STORE_ASSIGN;
    enum status status = STATUS_OK;

    assert(staged->state == STAGED_COMPLETE);
    if (block->sum_count > 0 && block->sum_kind != staged->kind)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "is pushed as %s by one rank and as %s by another",
                         kind_names[block->sum_kind], kind_names[staged->kind]);
    if (staged->encoded_rows) {
        if (!block->sum)
            status = make_sum(store, block, err);
        if (!status)
            status = fold_rows(store, block, staged, weight, plain, err);
        if (status)
            return status;
    } else {
        fold_dense(store, block, staged, weight, plain);
    }
    block->sum_kind = staged->kind;
    block->sum_count++;
    store->staged_bytes -= buf_capacity(staged->buf);
    buf_unref(staged->buf);
    staged->buf = NULL;
    staged->state = STAGED_FOLDED;
    return STATUS_OK;
}

/* Slots that replies are still written from, though no snapshot holds them any more. */
static size_t slots_in_use(const struct block *block)
{
    size_t count = 0;

    for (size_t i = 0; i < OPTIMIZER_SLOTS_MAX; i++)
        count += block->slots[i] && block->slots[i]->refs > 1;
    return count;
}

bool store_can_prepare(const struct store *store, const struct block *block)
{
    if (block->sum_count == 0)
        return true;
    if (!buf_available(&store->values, block->bytes))
        return false;
    size_t copies = block->sum_kind == STORE_GRADIENT ? slots_in_use(block) : 0;
    return copies * buf_class_bytes(block->bytes) <=
           store->slot_pool.bytes_max - store->slot_pool.bytes_used;
}

/* Before slots change for the first time since a snapshot took them, the snapshot gets the old
 * ones. */
static void copy_held_slots(struct store *store, struct block *block, size_t slots)
{
    struct buf *copies[OPTIMIZER_SLOTS_MAX] = {0};

    for (size_t i = 0; i < slots; i++) {
        copies[i] = buf_take(&store->slot_pool, block->bytes);
        if (!copies[i]) {
            for (size_t k = 0; k < i; k++)
                buf_unref(copies[k]);
            store_hold_release(store); /* training goes on; the reader is told that it is gone */
            return;
        }
    }
    for (size_t i = 0; i < slots; i++) {
        memcpy(copies[i]->data, block->slots[i]->data, block->bytes);
        block->held_slots[i] = block->slots[i];
        block->slots[i] = copies[i];
    }
    block->slots_copied = true;
}

/* Slots change in place, so first they must be the block's own: neither a snapshot's nor of a reply
 * under way. */
static enum status own_slots(struct store *store, struct block *block, struct error *err)
{
    int optimizer = store->variables[block->variable].optimizer;
    size_t slots = optimizer_slot_count(&store->optimizers[optimizer].optimizer);

    if (MUTANT(SLOTS_NOT_COPIED))
        return STATUS_OK;
    if (store->hold.slots && !block->slots_copied && slots > 0)
        copy_held_slots(store, block, slots);
    for (size_t i = 0; i < slots; i++) {
        if (block->slots[i]->refs == 1)
            continue;
        struct buf *copy = buf_take(&store->slot_pool, block->bytes);
        if (!copy)
            return error_no_memory(err, "a copy of optimizer slots");
        memcpy(copy->data, block->slots[i]->data, block->bytes);
        buf_unref(block->slots[i]);
        block->slots[i] = copy;
    }
    return STATUS_OK;
}

static const struct optimizer_scalars *step_scalars(struct store_optimizer *entry, uint64_t step)
{
    if (entry->scalars_step == step)
        return &entry->scalars;
    if (step >= entry->next_from_step) {
        entry->learning_rate = entry->next_learning_rate;
        entry->next_from_step = UINT64_MAX;
    }
    optimizer_begin_step(&entry->optimizer, step, entry->learning_rate, &entry->scalars);
    entry->scalars_step = step;
    return &entry->scalars;
}

static void apply_gradient(struct store *store, struct block *block, struct buf *value)
{
    struct store_optimizer *entry = &store->optimizers[store->variables[block->variable].optimizer];
    const struct optimizer_scalars *scalars = step_scalars(entry, block->version + 1);
    size_t slots = optimizer_slot_count(&entry->optimizer);
    float *slot_values[OPTIMIZER_SLOTS_MAX] = {0};

    for (size_t i = 0; i < slots; i++)
        slot_values[i] = (float *)(void *)block->slots[i]->data;
    optimizer_apply(&entry->optimizer, scalars, (const float *)(const void *)block->value->data,
                    (float *)(void *)value->data, slot_values,
                    (const float *)(const void *)block->sum->data, block->elements);
}

static void apply(struct store *store, struct block *block, struct buf *value)
{
    switch ((enum store_kind)block->sum_kind) {
    case STORE_GRADIENT:
        apply_gradient(store, block, value);
        break;
    case STORE_ASSIGN:
    case STORE_ASSIGN_MEAN:
        memcpy(value->data, block->sum->data, block->bytes);
        break;
    case STORE_ADD:
        memcpy(value->data, block->value->data, block->bytes);
        add_scaled(store->variables[block->variable].dtype, value->data, block->sum->data, 1.0f,
                   block->elements, true);
        break;
    }
}

enum status store_prepare(struct store *store, struct block *block, struct error *err)
{
    struct buf *value;

    assert(block->has_version);
    assert(!block->previous || MUTANT(PREPARE_WITHOUT_COMMIT));
    if (block->sum_count == 0) {
        value = buf_ref(block->value);
    } else {
        enum status status = block->sum_kind == STORE_GRADIENT ? own_slots(store, block, err)
                                                               : STATUS_OK;
        if (status)
            return status;
        value = buf_take(&store->values, block->bytes);
        if (!value)
            return error_no_memory(err, "a new version of a block");
        apply(store, block, value);
    }
    buf_unref(block->sum);
    block->sum = NULL;
    block->sum_count = 0;
    block->sum_rank = 0;
    block->silent_rank_plus_1 = 0;
    buf_unref(block->previous); /* NULL but for a mutant */
    block->previous = block->value;
    if (MUTANT(DROP_PREVIOUS_EARLY)) {
        buf_unref(block->previous);
        block->previous = NULL;
    }
    block->value = value;
    block->version++;
    return STATUS_OK;
}
