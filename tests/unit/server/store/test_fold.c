/* What ranks push, folded: equal to the plainest loop to the bit, in every encoding, kind and
 * dtype. */
#include "tests/unit/server/store/store_test.h"

#include "common/base/rng.h"
#include "common/tensor/kernels.h"

#include <math.h>

enum { ELEMENTS = 1003, RANKS_MAX = 5 };

static struct store store;
static struct error err;

static void make(enum dtype dtype, uint64_t elements, uint64_t row_elements, int optimizer,
                 uint32_t workers)
{
    struct store_variable variable = store_test_variable(dtype, elements, row_elements, optimizer);

    assert_ok(store_test_init(&store, &variable, 1, workers, &err), &err);
}

static int teardown(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < store.block_count; i++) {
        for (uint64_t step = 1; step <= 2; step++) {
            for (uint32_t rank = 0; rank < store.workers; rank++) {
                struct staged *staged = store_staged(&store, &store.blocks[i], step, rank);
                if (staged->buf)
                    store_unstage(&store, staged);
            }
        }
    }
    assert_int_equal(store.staged_bytes, 0);
    store_release(&store);
    return 0;
}

/* Numbers of all sizes, with zeros of both signs among them. */
static float number(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    uint32_t bits = *state >> 8;
    if (bits % 16 == 0)
        return bits & 16 ? -0.0f : 0.0f;
    return ldexpf((float)(int)(bits % 2001) - 1000.0f, (int)(bits >> 12) % 40 - 20);
}

static void fill(float *values, size_t count, uint32_t seed)
{
    for (size_t i = 0; i < count; i++)
        values[i] = number(&seed);
}

static void assert_same_bytes(const void *a, const void *b, size_t bytes)
{
    assert_memory_equal(a, b, bytes);
}

/* sum = weight * g of the first rank that has something, then sum = sum + weight * g. */
static void assert_folds_like_the_loop(uint32_t ranks, uint32_t absent)
{
    static float grads[RANKS_MAX][ELEMENTS];
    float expected[ELEMENTS];
    static const uint64_t examples[RANKS_MAX] = {3, 5, 1, 7, 11};
    uint64_t total = 0;
    bool first = true;

    make(DTYPE_FLOAT32, ELEMENTS, 17, STORE_TEST_ADAM, ranks);
    for (uint32_t rank = 0; rank < ranks; rank++)
        total += rank == absent ? 0 : examples[rank];
    for (uint32_t rank = 0; rank < ranks; rank++) {
        if (rank == absent)
            continue;
        float weight = (float)((double)examples[rank] / (double)total);
        fill(grads[rank], ELEMENTS, rank + ranks * 100);
        for (size_t i = 0; i < ELEMENTS; i++) {
            float product = weight * grads[rank][i];
            expected[i] = first ? product : expected[i] + product;
        }
        first = false;
        store_test_push(&store, &store.blocks[0], 1, rank, STORE_GRADIENT, grads[rank],
                        sizeof grads[rank]);
        store_test_fold(&store, &store.blocks[0], 1, rank, weight);
    }
    if (!first)
        assert_same_bytes(store.blocks[0].sum->data, expected, sizeof expected);
    else
        assert_null(store.blocks[0].sum);
    teardown(NULL);
}

static void test_sum_equals_a_plain_loop(void **state)
{
    (void)state;
    for (uint32_t ranks = 1; ranks <= RANKS_MAX; ranks++) {
        for (uint32_t absent = 0; absent <= ranks; absent++)
            assert_folds_like_the_loop(ranks, absent);
    }
    make(DTYPE_FLOAT32, 1, 1, -1, 1); /* for the teardown */
}

/* One worker's gradient stays as it is: -0.0 too, and its buffer is the sum. */
static void test_weight_1_changes_nothing(void **state)
{
    const float grad[3] = {-0.0f, NAN, INFINITY};
    struct buf *buf;

    (void)state;
    make(DTYPE_FLOAT32, 3, 1, STORE_TEST_SGD, 1);
    buf = store_test_push(&store, &store.blocks[0], 1, 0, STORE_GRADIENT, grad, sizeof grad)->buf;
    store_test_fold(&store, &store.blocks[0], 1, 0, 1.0f);
    assert_ptr_equal(store.blocks[0].sum, buf);
    assert_same_bytes(store.blocks[0].sum->data, grad, sizeof grad);
    assert_int_equal(store.staged_bytes, 0);
}

static void test_float64_has_the_same_weights(void **state)
{
    const double a[3] = {0.1, -0.0, 1e300}, b[3] = {3.0, -0.0, -1e300};
    const float weight_a = 0.3f, weight_b = 0.7f;
    double expected[3];

    (void)state;
    make(DTYPE_FLOAT64, 3, 1, -1, 2);
    for (size_t i = 0; i < 3; i++) {
        expected[i] = a[i] * (double)weight_a;
        expected[i] += (double)weight_b * b[i];
    }
    store_test_push(&store, &store.blocks[0], 1, 0, STORE_ASSIGN_MEAN, a, sizeof a);
    store_test_push(&store, &store.blocks[0], 1, 1, STORE_ASSIGN_MEAN, b, sizeof b);
    store_test_fold(&store, &store.blocks[0], 1, 0, weight_a);
    store_test_fold(&store, &store.blocks[0], 1, 1, weight_b);
    assert_same_bytes(store.blocks[0].sum->data, expected, sizeof expected);
    store_test_prepare(&store, &store.blocks[0]);
    assert_same_bytes(store.blocks[0].value->data, expected, sizeof expected);
}

/* ADD takes no weight, and int64 wraps around. */
static void test_int64_adds_up(void **state)
{
    const int64_t a[3] = {INT64_MAX, -5, 1}, b[3] = {1, 7, 2}, expected[3] = {INT64_MIN, 2, 3};

    (void)state;
    make(DTYPE_INT64, 3, 1, -1, 2);
    store_test_push(&store, &store.blocks[0], 1, 0, STORE_ADD, a, sizeof a);
    store_test_push(&store, &store.blocks[0], 1, 1, STORE_ADD, b, sizeof b);
    store_test_fold(&store, &store.blocks[0], 1, 0, 0.25f);
    store_test_fold(&store, &store.blocks[0], 1, 1, 0.75f);
    store_test_prepare(&store, &store.blocks[0]);
    assert_same_bytes(store.blocks[0].value->data, expected, sizeof expected);
    store_commit(&store, 1);
    store_test_step(&store, &store.blocks[0], STORE_ADD, b);
    const int64_t twice[3] = {INT64_MIN + 1, 9, 5};
    assert_same_bytes(store.blocks[0].value->data, twice, sizeof twice);
}

static void test_add_of_floats(void **state)
{
    const float first[2] = {1.5f, 2.0f}, a[2] = {0.1f, 16777216.0f}, b[2] = {0.2f, 1.0f};

    (void)state;
    make(DTYPE_FLOAT32, 2, 1, -1, 2);
    store_test_step(&store, &store.blocks[0], STORE_ASSIGN, first);
    store_commit(&store, 1);
    store_test_push(&store, &store.blocks[0], 2, 0, STORE_ADD, a, sizeof a);
    store_test_push(&store, &store.blocks[0], 2, 1, STORE_ADD, b, sizeof b);
    store_test_fold(&store, &store.blocks[0], 2, 0, 0.5f);
    store_test_fold(&store, &store.blocks[0], 2, 1, 0.5f);
    store_test_prepare(&store, &store.blocks[0]);
    const float sum[2] = {0.1f + 0.2f, 16777216.0f + 1.0f};
    const float expected[2] = {first[0] + sum[0], first[1] + sum[1]};
    assert_same_bytes(store.blocks[0].value->data, expected, sizeof expected);
}

static void test_assign_is_the_new_value(void **state)
{
    const double value[2] = {-0.0, 42.0};

    (void)state;
    make(DTYPE_FLOAT64, 2, 1, -1, 3);
    store_test_step(&store, &store.blocks[0], STORE_ASSIGN, value);
    assert_same_bytes(store.blocks[0].value->data, value, sizeof value);
}

static void test_kinds_do_not_mix(void **state)
{
    const float values[2] = {1, 2};

    (void)state;
    make(DTYPE_FLOAT32, 2, 1, STORE_TEST_SGD, 2);
    store_test_push(&store, &store.blocks[0], 1, 0, STORE_GRADIENT, values, sizeof values);
    struct staged *other = store_test_push(&store, &store.blocks[0], 1, 1, STORE_ADD, values,
                                           sizeof values);
    store_test_fold(&store, &store.blocks[0], 1, 0, 0.5f);
    assert_refused(store_fold(&store, &store.blocks[0], other, 0.5f, &err),
                   STATUS_FAILED_PRECONDITION, &err,
                   "as gradient by one rank and as add by another");
    assert_int_equal(other->state, STAGED_COMPLETE);
}

/* 3 rows of 30,000: row 2 begins in block 0 and ends in block 1, and is pushed whole to both. */
enum { ROW = 30000, ROWS = 3 };

static void test_a_row_over_the_border_is_cut_by_each_block(void **state)
{
    static float values[2 * ROW], expected[ROWS * ROW];
    const uint32_t rows[2] = {0, 2};

    (void)state;
    make(DTYPE_FLOAT32, ROWS * ROW, ROW, STORE_TEST_SGD, 1);
    assert_int_equal(store.block_count, 2);
    fill(values, 2 * ROW, 1);
    for (size_t i = 0; i < ROW; i++) {
        expected[i] = 0.0f + 0.25f * values[i];
        expected[2 * ROW + i] = 0.0f + 0.25f * values[ROW + i];
    }
    struct block *block = store_find(&store, 0, 0);
    store_test_push_rows(&store, block, 1, 0, STORE_GRADIENT, rows, 2, values, ROW * sizeof(float));
    store_test_fold(&store, block, 1, 0, 0.25f);
    assert_same_bytes(block->sum->data, expected, block->bytes);
    block = store_find(&store, 0, 1);
    store_test_push_rows(&store, block, 1, 0, STORE_GRADIENT, rows + 1, 1, values + ROW,
                         ROW * sizeof(float));
    store_test_fold(&store, block, 1, 0, 0.25f);
    assert_same_bytes(block->sum->data, expected + BLOCK_ELEMENTS_MAX, block->bytes);
}

static void assert_rows_refused(struct block *block, const uint32_t *rows, uint32_t count)
{
    static const float values[4 * ROW];

    struct staged *staged = store_test_push_rows(&store, block, 1, 0, STORE_GRADIENT, rows, count,
                                                 values, ROW * sizeof(float));
    assert_refused(store_fold(&store, block, staged, 1.0f, &err), STATUS_INVALID_ARGUMENT, &err,
                   "each once, in order");
    store_unstage(&store, staged);
}

static void test_rows_outside_the_block_are_refused(void **state)
{
    const uint32_t above[1] = {3}, below[1] = {1}, last[1] = {UINT32_MAX};

    (void)state;
    make(DTYPE_FLOAT32, ROWS * ROW, ROW, STORE_TEST_SGD, 1);
    assert_rows_refused(store_find(&store, 0, 0), above, 1);
    assert_rows_refused(store_find(&store, 0, 0), last, 1);
    assert_rows_refused(store_find(&store, 0, 1), below, 1); /* block 1 has row 2 only */
    assert_rows_refused(store_find(&store, 0, 1), above, 1);
}

static void test_rows_must_ascend(void **state)
{
    const uint32_t twice[2] = {1, 1}, down[2] = {2, 0};

    (void)state;
    make(DTYPE_FLOAT32, ROWS * ROW, ROW, STORE_TEST_SGD, 1);
    assert_rows_refused(store_find(&store, 0, 0), twice, 2);
    assert_rows_refused(store_find(&store, 0, 0), down, 2);
    for (size_t i = 0; i < store.block_count * 1u; i++) {
        const float *sum = store.blocks[i].sum ? (const float *)(void *)store.blocks[i].sum->data
                                               : NULL;
        for (size_t k = 0; sum && k < store.blocks[i].elements; k++)
            assert_true(sum[k] == 0.0f); /* nothing of a refused push is left */
    }
}

/* No touched row in the block is a gradient of zeros, which is not no gradient. */
static void test_zero_rows_count_as_a_gradient(void **state)
{
    (void)state;
    make(DTYPE_FLOAT32, 4, 2, STORE_TEST_ADAM, 1);
    struct block *block = &store.blocks[0];
    struct buf *value = block->value;
    store_test_push_rows(&store, block, 1, 0, STORE_GRADIENT, NULL, 0, NULL, 8);
    store_test_fold(&store, block, 1, 0, 1.0f);
    assert_int_equal(block->sum_count, 1);
    for (size_t i = 0; i < 4; i++)
        assert_true(((const float *)(void *)block->sum->data)[i] == 0.0f);
    store_test_prepare(&store, block);
    assert_ptr_not_equal(block->value, value);
}

static void test_dense_and_rows_of_different_ranks_add_up(void **state)
{
    const float dense[6] = {1, 2, 3, 4, 5, 6}, values[4] = {10, 20, 30, 40};
    const uint32_t rows[2] = {0, 2};
    float expected[6];

    (void)state;
    for (int dense_first = 0; dense_first < 2; dense_first++) {
        make(DTYPE_FLOAT32, 6, 2, STORE_TEST_SGD, 2);
        struct block *block = &store.blocks[0];
        for (size_t i = 0; i < 6; i++)
            expected[i] = 0.5f * dense[i];
        for (size_t i = 0; i < 2; i++) {
            expected[i] += 0.5f * values[i];
            expected[4 + i] += 0.5f * values[2 + i];
        }
        store_test_push(&store, block, 1, dense_first ? 0 : 1, STORE_GRADIENT, dense, sizeof dense);
        store_test_push_rows(&store, block, 1, dense_first ? 1 : 0, STORE_GRADIENT, rows, 2, values,
                             8);
        store_test_fold(&store, block, 1, 0, 0.5f);
        store_test_fold(&store, block, 1, 1, 0.5f);
        assert_same_bytes(block->sum->data, expected, sizeof expected);
        if (!dense_first)
            teardown(NULL);
    }
}

static void test_rows_of_int64_add_up(void **state)
{
    const int64_t values[2] = {5, INT64_MAX};
    const uint32_t rows[1] = {1};

    (void)state;
    make(DTYPE_INT64, 4, 2, -1, 1);
    store_test_push_rows(&store, &store.blocks[0], 1, 0, STORE_ADD, rows, 1, values, 16);
    store_test_fold(&store, &store.blocks[0], 1, 0, 1.0f);
    const int64_t expected[4] = {0, 0, 5, INT64_MAX};
    assert_same_bytes(store.blocks[0].sum->data, expected, sizeof expected);
}

/* At, below and above: as many bytes as the dense block has are allowed, more are not. */
static void test_rows_are_never_larger_than_the_block(void **state)
{
    (void)state;
    make(DTYPE_FLOAT32, 32, 2, STORE_TEST_SGD, 1); /* 16 rows of 8 bytes, 128 bytes dense */
    assert_int_equal(store_rows_bytes(&store, &store.blocks[0], 0), 0);
    assert_int_equal(store_rows_bytes(&store, &store.blocks[0], 1), 8 + 8);
    assert_int_equal(store_rows_bytes(&store, &store.blocks[0], 2), 8 + 16);
    assert_int_equal(store_rows_bytes(&store, &store.blocks[0], 10), 40 + 80);
    assert_int_equal(store_rows_bytes(&store, &store.blocks[0], 11), 0); /* 48 + 88 > 128 */
    assert_int_equal(store_rows_bytes(&store, &store.blocks[0], UINT32_MAX), 0);
    teardown(NULL);
    make(DTYPE_FLOAT32, 2 * BLOCK_ELEMENTS_MAX + 2, BLOCK_ELEMENTS_MAX + 1, STORE_TEST_SGD, 1);
    assert_int_equal(store_rows_bytes(&store, &store.blocks[0], 1), 0); /* too wide a row */
}

static enum status step_with_rows(void *context)
{
    const float values[2] = {1, 2};
    struct store_variable variable = store_test_variable(DTYPE_FLOAT32, 32, 2, STORE_TEST_ADAM);
    uint8_t payload[16] = {0};

    (void)context;
    enum status status = store_test_init(&store, &variable, 1, 1, &err);
    struct block *block = store.blocks;
    if (!status) {
        struct staged *staged = store_staged(&store, block, 1, 0);
        memcpy(payload + 8, values, sizeof values);
        status = store_stage(&store, staged, sizeof payload);
        if (!status) {
            memcpy(staged->buf->data, payload, sizeof payload);
            *staged = (struct staged){
                .buf = staged->buf, .rows = 1, .state = STAGED_COMPLETE, .encoded_rows = true};
            status = store_fold(&store, block, staged, 1.0f, &err);
        }
    }
    if (!status)
        status = store_prepare(&store, block, &err);
    store_release(&store);
    return status;
}

static void test_no_memory(void **state)
{
    (void)state;
    assert_true(fail_alloc_each(step_with_rows, NULL) > 8);
    make(DTYPE_FLOAT32, 1, 1, -1, 1); /* for the teardown */
}

#define FOLD(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FOLD(test_sum_equals_a_plain_loop),
        FOLD(test_weight_1_changes_nothing),
        FOLD(test_float64_has_the_same_weights),
        FOLD(test_int64_adds_up),
        FOLD(test_add_of_floats),
        FOLD(test_assign_is_the_new_value),
        FOLD(test_kinds_do_not_mix),
        FOLD(test_a_row_over_the_border_is_cut_by_each_block),
        FOLD(test_rows_outside_the_block_are_refused),
        FOLD(test_rows_must_ascend),
        FOLD(test_zero_rows_count_as_a_gradient),
        FOLD(test_dense_and_rows_of_different_ranks_add_up),
        FOLD(test_rows_of_int64_add_up),
        FOLD(test_rows_are_never_larger_than_the_block),
        FOLD(test_no_memory),
    };

    kernels_flush_denormals();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
