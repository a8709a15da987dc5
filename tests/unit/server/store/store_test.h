/* A store of some variables, and short words for what the tests of server/store do with it. */
#ifndef PARAMD_TESTS_UNIT_SERVER_STORE_STORE_TEST_H
#define PARAMD_TESTS_UNIT_SERVER_STORE_STORE_TEST_H

#include "server/store/store.h"

#include "common/base/bytes.h"

#include "tests/lib/fail_alloc.h"
#include "tests/lib/test.h"

#include <stdlib.h>

enum { STORE_TEST_STAGING = 1 << 20, STORE_TEST_ADAM = 0, STORE_TEST_SGD = 1 };

static inline struct store_variable store_test_variable(enum dtype dtype, uint64_t elements,
                                                        uint64_t row_elements, int optimizer)
{
    return (struct store_variable){
        .dtype = dtype, .elements = elements, .row_elements = row_elements, .optimizer = optimizer};
}

/* One server; optimizer 0 is Adam (2 slots), 1 SGD (none), both with a learning rate of 0.5. */
static inline enum status store_test_init(struct store *store,
                                          const struct store_variable *variables, size_t count,
                                          uint32_t workers, struct error *err)
{
    struct optimizer optimizers[2];
    double learning_rates[2] = {0.5, 0.5};

    assert_ok(optimizer_init(&optimizers[0], "adam", NULL, 0, err), err);
    assert_ok(optimizer_init(&optimizers[1], "sgd", NULL, 0, err), err);
    enum status status = store_init(store, variables, count, optimizers, learning_rates, 2, 0, 1,
                                    workers, STORE_TEST_STAGING, err);
    return status ? status : store_fill_initial(store, err);
}

/* A whole push that has arrived. */
static inline struct staged *store_test_push(struct store *store, struct block *block,
                                             uint64_t step, uint32_t rank, enum store_kind kind,
                                             const void *data, size_t bytes)
{
    struct staged *staged = store_staged(store, block, step, rank);

    assert_int_equal(staged->state, STAGED_EMPTY);
    assert_int_equal(store_stage(store, staged, bytes), STATUS_OK);
    assert_int_equal(staged->state, STAGED_RECEIVING);
    if (bytes)
        memcpy(staged->buf->data, data, bytes);
    staged->state = STAGED_COMPLETE;
    staged->kind = (uint8_t)kind;
    staged->encoded_rows = false;
    return staged;
}

/* The same in the rows encoding; values are whole rows of row_bytes. */
static inline struct staged *store_test_push_rows(struct store *store, struct block *block,
                                                  uint64_t step, uint32_t rank,
                                                  enum store_kind kind, const uint32_t *rows,
                                                  uint32_t count, const void *values,
                                                  size_t row_bytes)
{
    size_t index_bytes = ((size_t)count * 4 + 7) / 8 * 8;
    uint8_t *payload = calloc(1, index_bytes + count * row_bytes + 1);

    for (uint32_t i = 0; i < count; i++)
        bytes_put_u32(payload + (size_t)i * 4, rows[i]);
    if (count)
        memcpy(payload + index_bytes, values, count * row_bytes);
    struct staged *staged = store_test_push(store, block, step, rank, kind, payload,
                                            index_bytes + count * row_bytes);
    staged->encoded_rows = true;
    staged->rows = count;
    free(payload);
    return staged;
}

static inline void store_test_fold(struct store *store, struct block *block, uint64_t step,
                                   uint32_t rank, float weight)
{
    struct error err;

    assert_ok(store_fold(store, block, store_staged(store, block, step, rank), weight, &err), &err);
}

static inline void store_test_prepare(struct store *store, struct block *block)
{
    struct error err;

    assert_true(store_can_prepare(store, block));
    assert_ok(store_prepare(store, block, &err), &err);
}

/* Rank 0 pushes one dense array, and the next version is made of it. */
static inline void store_test_step(struct store *store, struct block *block, enum store_kind kind,
                                   const void *data)
{
    uint64_t step = block->version + 1;

    store_test_push(store, block, step, 0, kind, data, block->bytes);
    store_test_fold(store, block, step, 0, 1.0f);
    store_test_prepare(store, block);
}

#endif
