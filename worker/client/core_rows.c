/*
 * Gradients that are zero but in some rows. Per block: the row numbers (uint32, ascending, padded
 * to 8 bytes), then the whole rows. A row given twice is added up in the order of its appearance. A
 * block that would be larger so is sent dense.
 */
#include "worker/client/core_state.h"

#include "common/base/alloc.h"

#include <stdlib.h>
#include <string.h>

/* ---- memory for them, kept for the next step ---- */

struct core_memory *core_memory_take(struct core *core, size_t bytes)
{
    size_t capacity = 256;

    for (struct core_memory **at = &core->free_memory; *at; at = &(*at)->next) {
        struct core_memory *memory = *at;
        if (memory->capacity < bytes || memory->capacity / 4 > bytes + 1024)
            continue;
        *at = memory->next;
        memory->next = NULL;
        return memory;
    }
    while (capacity < bytes)
        capacity *= 2;
    struct core_memory *memory = alloc_zero(sizeof *memory + capacity);
    if (memory)
        memory->capacity = capacity;
    return memory;
}

void core_memory_give(struct core *core, struct core_memory *memory)
{
    memory->next = core->free_memory;
    core->free_memory = memory;
}

/* ---- encoding ---- */

/* The rows in order: row << 32 | position in the caller's arrays. */
struct row_order {
    uint64_t *keys;
    size_t count;
};

static int compare_keys(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static enum status order_rows(const struct variable_spec *spec, const int64_t *rows,
                              size_t row_count, struct row_order *order, struct error *err)
{
    bool ascending = true;

    for (size_t i = 0; i < row_count; i++) {
        if (rows[i] < 0 || (uint64_t)rows[i] >= spec->shape[0])
            return error_set(err, STATUS_OUT_OF_RANGE,
                             "push rows of '%s': row %lld, there are %llu", spec->name,
                             (long long)rows[i], (unsigned long long)spec->shape[0]);
        order->keys[i] = (uint64_t)rows[i] << 32 | i;
        ascending = ascending && (i == 0 || order->keys[i] > order->keys[i - 1]);
    }
    order->count = row_count;
    if (!ascending)
        qsort(order->keys, row_count, sizeof order->keys[0], compare_keys);
    return STATUS_OK;
}

/* The keys whose rows touch a block, and how many different rows they are. */
struct row_range {
    size_t first, end;
    uint32_t rows;
};

/* at: the first key that a block before this one had; rows never reach back further. */
static struct row_range rows_of_block(const struct row_order *order, size_t at, uint64_t first_row,
                                      uint64_t last_row)
{
    struct row_range range;

    while (at < order->count && order->keys[at] >> 32 < first_row)
        at++;
    range = (struct row_range){.first = at, .end = at};
    while (range.end < order->count && order->keys[range.end] >> 32 <= last_row) {
        if (range.end == at || order->keys[range.end] >> 32 != order->keys[range.end - 1] >> 32)
            range.rows++;
        range.end++;
    }
    return range;
}

static size_t encoded_bytes(uint32_t rows, uint64_t row_elements)
{
    return ((size_t)rows * sizeof(uint32_t) + 7) / 8 * 8 +
           (size_t)rows * row_elements * sizeof(float);
}

/* sum: (row_elements) of the row at *at, all its appearances; *at moves behind them. */
static void sum_row(const struct row_order *order, size_t *at, size_t end, const float *values,
                    uint64_t row_elements, float *ret_sum)
{
    uint64_t row = order->keys[*at] >> 32;
    bool first = true;

    for (; *at < end && order->keys[*at] >> 32 == row; ++*at) {
        const float *from = values + (order->keys[*at] & UINT32_MAX) * row_elements;
        for (uint64_t k = 0; first && k < row_elements; k++)
            ret_sum[k] = from[k];
        for (uint64_t k = 0; !first && k < row_elements; k++)
            ret_sum[k] += from[k];
        first = false;
    }
}

static void encode_rows(const struct row_order *order, struct row_range range, const float *values,
                        uint64_t row_elements, uint8_t *ret_bytes)
{
    uint32_t *numbers = (uint32_t *)ret_bytes;
    float *rows = (float *)(ret_bytes + ((size_t)range.rows * sizeof(uint32_t) + 7) / 8 * 8);

    if (range.rows % 2)
        numbers[range.rows] = 0;
    for (size_t at = range.first, i = 0; at < range.end; i++) {
        numbers[i] = (uint32_t)(order->keys[at] >> 32);
        sum_row(order, &at, range.end, values, row_elements, rows + i * row_elements);
    }
}

/* The part of each row that lies in the block, the rest zero. row: (row_elements) scratch. */
static void encode_dense(const struct row_order *order, struct row_range range, const float *values,
                         uint64_t row_elements, uint64_t first_element, uint64_t count, float *row,
                         float *ret_block)
{
    memset(ret_block, 0, count * sizeof(float));
    for (size_t at = range.first; at < range.end;) {
        uint64_t begin = (order->keys[at] >> 32) * row_elements;
        sum_row(order, &at, range.end, values, row_elements, row);
        for (uint64_t k = 0; k < row_elements; k++) {
            if (begin + k >= first_element && begin + k < first_element + count)
                ret_block[begin + k - first_element] = row[k];
        }
    }
}

/* A walk over the blocks: where the keys of the present one begin, and what it will take. */
struct row_walk {
    const struct placement *placement;
    uint32_t variable;
    uint64_t row_elements;
    const struct row_order *order;
    size_t at;
    struct row_range range;
    uint64_t first_element;
    uint32_t elements;
    bool dense;
    size_t bytes;
};

static void walk_to(struct row_walk *walk, uint32_t block)
{
    walk->first_element = placement_first_element(walk->placement, walk->variable, block);
    walk->elements = placement_element_count(walk->placement, walk->variable, block);
    walk->range = rows_of_block(walk->order, walk->at, walk->first_element / walk->row_elements,
                                (walk->first_element + walk->elements - 1) / walk->row_elements);
    walk->at = walk->range.first;
    walk->bytes = encoded_bytes(walk->range.rows, walk->row_elements);
    walk->dense = walk->bytes > (size_t)walk->elements * sizeof(float);
    if (walk->dense)
        walk->bytes = (size_t)walk->elements * sizeof(float);
}

static size_t padded(size_t bytes)
{
    return (bytes + 7) / 8 * 8;
}

static enum status queue_rows(struct core *core, struct row_walk *walk, uint32_t index,
                              const float *values, struct error *err)
{
    uint32_t count = placement_block_count(walk->placement, walk->variable);
    size_t total = 0;

    for (uint32_t block = 0; block < count; block++) {
        walk_to(walk, block);
        total += padded(walk->bytes);
    }
    struct core_memory *memory = core_memory_take(core, total + walk->row_elements * sizeof(float));
    if (!memory)
        return error_no_memory(err, "the rows of a push");
    struct core_push *push = core_pool_at(&core->pushes, index);
    push->memory = memory;
    float *scratch = (float *)(memory->data + total);
    uint8_t *data = memory->data;
    walk->at = 0;
    for (uint32_t block = 0; block < count; block++) {
        walk_to(walk, block);
        if (walk->dense)
            encode_dense(walk->order, walk->range, values, walk->row_elements, walk->first_element,
                         walk->elements, scratch, (float *)data);
        else
            encode_rows(walk->order, walk->range, values, walk->row_elements, data);
        enum status status = core_push_block(core, index, block, PS_GRADIENT, !walk->dense,
                                             walk->dense ? 0 : walk->range.rows, data, walk->bytes,
                                             err);
        if (status)
            return status;
        data += padded(walk->bytes);
    }
    return STATUS_OK;
}

static enum status rows_check(const struct variable_spec *spec, size_t row_count, struct error *err)
{
    if (spec->rank == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "push rows of '%s': a scalar has no rows",
                         spec->name);
    if (spec->shape[0] > UINT32_MAX || row_count > UINT32_MAX ||
        spec->elements / spec->shape[0] > LIMIT_BLOCK_ELEMENTS)
        return error_set(
            err, STATUS_INVALID_ARGUMENT,
            "push rows of '%s': rows of at most %d elements, and fewer than 2^32 of them, can be "
            "pushed one by one",
            spec->name, LIMIT_BLOCK_ELEMENTS);
    return STATUS_OK;
}

enum status core_push_rows(struct core *core, uint32_t variable, const int64_t *rows,
                           size_t row_count, const void *values, ps_handle *ret_handle,
                           struct error *err)
{
    bool send;
    uint32_t index;
    enum status status = core_push_check(core, variable, PS_GRADIENT, &send, err);

    if (status)
        return status;
    const struct variable_spec *spec = &core->registry.variables[variable];
    status = rows_check(spec, row_count, err);
    if (status)
        return status;
    struct core_memory *keys = core_memory_take(core, row_count * sizeof(uint64_t));
    if (!keys)
        return error_no_memory(err, "the rows of a push");
    struct row_order order = {.keys = (uint64_t *)keys->data};
    status = order_rows(spec, rows, row_count, &order, err);
    if (!status)
        status = core_push_take(core, variable, core->last_begun, &index, err);
    if (status) {
        core_memory_give(core, keys);
        return status;
    }
    struct row_walk walk = {.placement = &core->placement,
                            .variable = variable,
                            .row_elements = spec->elements / spec->shape[0],
                            .order = &order};
    if (send)
        status = queue_rows(core, &walk, index, values, err);
    core_memory_give(core, keys);
    if (status) {
        core_push_undo(core, index);
        return status;
    }
    core->pushed_step_plus_1[variable] = core->last_begun + 1;
    if (ret_handle)
        *ret_handle = core_push_handle(core, index);
    core_push_send(core);
    return STATUS_OK;
}
