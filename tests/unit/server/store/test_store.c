/* Versions, slots, the held snapshot and staging: who keeps which bytes for how long. */
#include "tests/unit/server/store/store_test.h"

#include "common/tensor/kernels.h"

enum { ELEMENTS = 100 };

static struct store store;
static struct error err;
static float grad[ELEMENTS];

static void make(enum dtype dtype, int optimizer, uint32_t workers)
{
    struct store_variable variable = store_test_variable(dtype, ELEMENTS, 10, optimizer);

    for (size_t i = 0; i < ELEMENTS; i++)
        grad[i] = (float)i - 50;
    assert_ok(store_test_init(&store, &variable, 1, workers, &err), &err);
}

/* Aborts if a buffer did not come back. */
static int teardown(void **state)
{
    (void)state;
    store_release(&store);
    return 0;
}

static void test_initial_values(void **state)
{
    struct store_variable variables[4] = {
        store_test_variable(DTYPE_FLOAT32, BLOCK_ELEMENTS_MAX + 7, 1, STORE_TEST_ADAM),
        store_test_variable(DTYPE_FLOAT64, 3, 1, -1), store_test_variable(DTYPE_INT64, 3, 1, -1),
        store_test_variable(DTYPE_FLOAT32, 3, 1, -1)};

    (void)state;
    variables[0].initializer = (struct initializer){.kind = INITIALIZER_UNIFORM, -1, 1, 7};
    variables[1].initializer = (struct initializer){.kind = INITIALIZER_ONES};
    variables[2].initializer = (struct initializer){.kind = INITIALIZER_CONSTANT, .a = 42};
    variables[3].initializer.kind = INITIALIZER_ASSIGNED;
    assert_ok(store_test_init(&store, variables, 4, 2, &err), &err);
    assert_int_equal(store.block_count, 5);
    float expected[7];
    assert_ok(initializer_fill(&variables[0].initializer, DTYPE_FLOAT32, BLOCK_ELEMENTS_MAX, 7,
                               expected, &err),
              &err);
    assert_memory_equal(store_find(&store, 0, 1)->value->data, expected, sizeof expected);
    assert_true(((const double *)(void *)store_find(&store, 1, 0)->value->data)[2] == 1.0);
    assert_int_equal(((const int64_t *)(void *)store_find(&store, 2, 0)->value->data)[2], 42);
    assert_false(store_find(&store, 3, 0)->has_version);
    assert_null(store_find(&store, 3, 1));
    assert_null(store_find(&store, 4, 0));
    assert_null(store_find(&store, UINT32_MAX, UINT32_MAX));
}

static void test_each_server_has_its_own_blocks(void **state)
{
    struct store_variable variable = store_test_variable(DTYPE_FLOAT32,
                                                         5 * (uint64_t)BLOCK_ELEMENTS_MAX, 1, -1);
    uint32_t owners = 0;

    (void)state;
    for (uint32_t server = 0; server < 3; server++) {
        assert_ok(store_init(&store, &variable, 1, NULL, NULL, 0, server, 3, 1, 1 << 20, &err),
                  &err);
        for (uint32_t number = 0; number < 5; number++)
            owners += store_find(&store, 0, number) != NULL;
        assert_true(store.block_count == 1 || store.block_count == 2);
        if (server < 2)
            teardown(NULL);
    }
    assert_int_equal(owners, 5);
}

static void test_previous_version_lives_until_the_commit(void **state)
{
    (void)state;
    make(DTYPE_FLOAT32, STORE_TEST_SGD, 1);
    struct block *block = &store.blocks[0];
    struct buf *first = block->value;
    store_test_step(&store, block, STORE_GRADIENT, grad);
    assert_int_equal(block->version, 1);
    assert_ptr_equal(block->previous, first);
    assert_int_equal(store.values.bytes_used, 2 * buf_class_bytes(block->bytes));
    store_commit(&store, 1);
    assert_null(block->previous);
    assert_int_equal(store.values.bytes_used, buf_class_bytes(block->bytes));
    assert_true(((const float *)(void *)block->value->data)[0] == 0.0f - 0.5f * -50.0f);
}

/* Nobody pushed: the next version is the same buffer, and slots stay. */
static void test_version_without_contribution_shares_the_value(void **state)
{
    (void)state;
    make(DTYPE_FLOAT32, STORE_TEST_ADAM, 1);
    struct block *block = &store.blocks[0];
    store_test_prepare(&store, block);
    assert_int_equal(block->version, 1);
    assert_ptr_equal(block->previous, block->value);
    store_commit(&store, 1);
    assert_int_equal(block->value->refs, 1);
}

static void test_gradient_equals_the_optimizer(void **state)
{
    float value[ELEMENTS] = {0}, slot_a[ELEMENTS] = {0}, slot_b[ELEMENTS] = {0};
    float *slots[2] = {slot_a, slot_b};
    struct optimizer_scalars scalars;

    (void)state;
    make(DTYPE_FLOAT32, STORE_TEST_ADAM, 1);
    struct block *block = &store.blocks[0];
    for (uint64_t step = 1; step <= 3; step++) {
        optimizer_begin_step(&store.optimizers[0].optimizer, step, 0.5, &scalars);
        optimizer_apply(&store.optimizers[0].optimizer, &scalars, value, value, slots, grad,
                        ELEMENTS);
        store_test_step(&store, block, STORE_GRADIENT, grad);
        store_commit(&store, step);
        assert_memory_equal(block->value->data, value, sizeof value);
        assert_memory_equal(block->slots[0]->data, slot_a, sizeof slot_a);
        assert_memory_equal(block->slots[1]->data, slot_b, sizeof slot_b);
    }
}

/* A reply that is still being written keeps its bytes over two more versions, as a snapshot does.
 */
static void test_held_values_keep_their_bytes(void **state)
{
    uint8_t copy[ELEMENTS * sizeof(float)];

    (void)state;
    make(DTYPE_FLOAT32, STORE_TEST_ADAM, 1);
    struct block *block = &store.blocks[0];
    store_test_step(&store, block, STORE_GRADIENT, grad);
    store_commit(&store, 1);
    store_hold(&store, 7, 1, false);
    memcpy(copy, block->value->data, sizeof copy);
    for (uint64_t step = 2; step <= 3; step++) {
        store_test_step(&store, block, STORE_GRADIENT, grad);
        store_commit(&store, step);
    }
    assert_memory_equal(store_held(&store, block, 0)->data, copy, sizeof copy);
    assert_memory_not_equal(block->value->data, copy, sizeof copy);
    assert_null(store_held(&store, block, 1)); /* values only */
    store_hold_release(&store);
    assert_null(store_held(&store, block, 0));
    assert_int_equal(store.values.bytes_used, buf_class_bytes(block->bytes));
}

/* The step after is prepared before the hold comes: what is held is the published version. */
static void test_hold_takes_the_published_version(void **state)
{
    (void)state;
    make(DTYPE_FLOAT32, STORE_TEST_SGD, 1);
    struct block *block = &store.blocks[0];
    struct buf *published = block->value;
    store_test_step(&store, block, STORE_GRADIENT, grad);
    store_hold(&store, 1, 0, false);
    assert_ptr_equal(store_held(&store, block, 0), published);
}

static void test_slots_are_copied_before_their_first_change(void **state)
{
    uint8_t copy[2][ELEMENTS * sizeof(float)];

    (void)state;
    make(DTYPE_FLOAT32, STORE_TEST_ADAM, 1);
    struct block *block = &store.blocks[0];
    store_test_step(&store, block, STORE_GRADIENT, grad);
    store_commit(&store, 1);
    store_hold(&store, 1, 1, true);
    assert_ptr_equal(store_held(&store, block, 1), block->slots[0]); /* nothing is copied yet */
    for (uint32_t i = 0; i < 2; i++)
        memcpy(copy[i], block->slots[i]->data, sizeof copy[i]);
    for (uint64_t step = 2; step <= 3; step++) {
        store_test_step(&store, block, STORE_GRADIENT, grad);
        store_commit(&store, step);
    }
    for (uint32_t i = 0; i < 2; i++) {
        assert_memory_equal(store_held(&store, block, 1 + i)->data, copy[i], sizeof copy[i]);
        assert_memory_not_equal(block->slots[i]->data, copy[i], sizeof copy[i]);
    }
    assert_null(store_held(&store, block, 3));
    assert_null(store_held(&store, block, UINT32_MAX));
    store_hold(&store, 2, 3, true); /* the next snapshot starts from the present ones */
    assert_ptr_equal(store_held(&store, block, 1), block->slots[0]);
}

/* A reader's frame refers to slots of a snapshot that is let go before it is written: they must not
 * change under it. */
static void test_slots_in_a_frame_keep_their_bytes(void **state)
{
    uint8_t copy[ELEMENTS * sizeof(float)];

    (void)state;
    make(DTYPE_FLOAT32, STORE_TEST_ADAM, 1);
    struct block *block = &store.blocks[0];
    store_test_step(&store, block, STORE_GRADIENT, grad);
    store_commit(&store, 1);
    store_hold(&store, 1, 1, true);
    struct buf *in_frame = buf_ref(store_held(&store, block, 1));
    memcpy(copy, in_frame->data, sizeof copy);
    store_hold_release(&store);
    store_test_step(&store, block, STORE_GRADIENT, grad);
    assert_memory_equal(in_frame->data, copy, sizeof copy);
    buf_unref(in_frame);
    store_commit(&store, 2);
    assert_int_equal(store.slot_pool.bytes_used, 2 * buf_class_bytes(block->bytes));
}

/* No room for a copy: training goes on without the snapshot. */
static void test_hold_is_dropped_without_room_for_slots(void **state)
{
    (void)state;
    make(DTYPE_FLOAT32, STORE_TEST_ADAM, 1);
    struct block *block = &store.blocks[0];
    struct buf *taken = buf_take(&store.slot_pool, block->bytes);
    assert_non_null(taken);
    store_hold(&store, 1, 0, true);
    store_test_step(&store, block, STORE_GRADIENT, grad);
    assert_int_equal(store.hold.number, 0);
    assert_null(store_held(&store, block, 0));
    assert_int_equal(block->version, 1);
    buf_unref(taken);
}

/* All slot buffers are out in frames of readers: the block waits instead of changing them. */
static void test_block_waits_for_slots_that_frames_refer_to(void **state)
{
    (void)state;
    make(DTYPE_FLOAT32, STORE_TEST_ADAM, 1);
    struct block *block = &store.blocks[0];
    struct buf *in_frames[2] = {buf_ref(block->slots[0]), buf_ref(block->slots[1])};
    struct buf *taken = buf_take(&store.slot_pool, block->bytes);
    store_test_push(&store, block, 1, 0, STORE_GRADIENT, grad, sizeof grad);
    store_test_fold(&store, block, 1, 0, 1.0f);
    assert_false(store_can_prepare(&store, block)); /* two copies, room for one */
    buf_unref(in_frames[0]);
    assert_true(store_can_prepare(&store, block));
    store_test_prepare(&store, block);
    buf_unref(in_frames[1]);
    buf_unref(taken);
}

static void test_block_waits_for_a_value_buffer(void **state)
{
    struct buf *taken[2];

    (void)state;
    make(DTYPE_FLOAT32, STORE_TEST_SGD, 1);
    struct block *block = &store.blocks[0];
    for (int i = 0; i < 2; i++)
        taken[i] = buf_take(&store.values, block->bytes);
    assert_true(store_can_prepare(&store, block)); /* without a gradient it needs none */
    store_test_push(&store, block, 1, 0, STORE_GRADIENT, grad, sizeof grad);
    store_test_fold(&store, block, 1, 0, 1.0f);
    assert_false(store_can_prepare(&store, block));
    buf_unref(taken[0]);
    assert_true(store.values.returned);
    store_test_prepare(&store, block);
    buf_unref(taken[1]);
}

static void test_staging_is_bounded(void **state)
{
    (void)state;
    make(DTYPE_FLOAT32, STORE_TEST_SGD, 2);
    uint64_t bound = STORE_TEST_STAGING;
    assert_true(store_has_room(&store, bound, false));
    assert_false(store_has_room(&store, bound + 1, false));
    assert_true(store_has_room(&store, bound + store.staged_bytes_reserve, true));
    assert_false(store_has_room(&store, bound + store.staged_bytes_reserve + 1, true));
    assert_false(store_has_room(&store, UINT64_MAX, true));
    struct staged *staged = store_staged(&store, &store.blocks[0], 1, 0);
    assert_int_equal(store_stage(&store, staged, 400), STATUS_OK);
    assert_int_equal(store.staged_bytes, 512); /* by its class */
    assert_true(store_has_room(&store, bound - 512, false));
    assert_false(store_has_room(&store, bound - 511, false));
    store_unstage(&store, staged);
    assert_int_equal(staged->state, STAGED_EMPTY);
    assert_int_equal(store.staged_bytes, 0);
    assert_true(store_has_room(&store, bound, false));
}

/* Any frame fits into the reserve, however its blocks round up: it may have 1,024 of them. */
static void test_reserve_holds_any_frame(void **state)
{
    uint64_t worst = 0;

    (void)state;
    make(DTYPE_FLOAT32, STORE_TEST_SGD, 1);
    for (uint64_t bytes = 33; bytes < LIMIT_PAYLOAD_BYTES; bytes = bytes * 2 - 1) {
        uint64_t count = LIMIT_PAYLOAD_BYTES / bytes;
        count = count < LIMIT_FRAME_BLOCKS ? count : LIMIT_FRAME_BLOCKS;
        uint64_t staged = count * buf_class_bytes(bytes) + (LIMIT_FRAME_BLOCKS - count) * 64;
        worst = staged > worst ? staged : worst;
    }
    assert_true(worst > 2 * LIMIT_PAYLOAD_BYTES);
    assert_true(worst <= store.staged_bytes_reserve);
}

static void test_assigned_value_is_version_0(void **state)
{
    struct store_variable variable = store_test_variable(DTYPE_FLOAT32, ELEMENTS, 10, 0);

    (void)state;
    variable.initializer.kind = INITIALIZER_ASSIGNED;
    assert_ok(store_test_init(&store, &variable, 1, 2, &err), &err);
    struct block *block = &store.blocks[0];
    struct staged *staged = store_test_push(&store, block, 0, 0, STORE_ASSIGN, grad, sizeof grad);
    assert_ok(store_assign_initial(&store, block, staged, &err), &err);
    assert_true(block->has_version);
    assert_int_equal(block->version, 0);
    assert_int_equal(staged->state, STAGED_EMPTY);
    assert_memory_equal(block->value->data, grad, sizeof grad);
    assert_int_equal(store.staging.bytes_used, 0);
    assert_non_null(block->slots[1]);
}

static void test_commit_empties_the_staged_pushes_of_its_step(void **state)
{
    (void)state;
    make(DTYPE_FLOAT32, STORE_TEST_SGD, 2);
    struct block *block = &store.blocks[0];
    store_test_step(&store, block, STORE_GRADIENT, grad);
    store_test_push(&store, block, 2, 1, STORE_GRADIENT, grad, sizeof grad);
    assert_int_equal(store_staged(&store, block, 1, 0)->state, STAGED_FOLDED);
    store_commit(&store, 1);
    assert_int_equal(store_staged(&store, block, 1, 0)->state, STAGED_EMPTY);
    assert_int_equal(store_staged(&store, block, 2, 1)->state, STAGED_COMPLETE);
}

static float sgd_step(struct block *block)
{
    float before = *(const float *)(void *)block->value->data;

    store_test_step(&store, block, STORE_GRADIENT, grad);
    store_commit(&store, block->version);
    return (*(const float *)(void *)block->value->data - before) / 50.0f;
}

static void test_learning_rate_changes_from_its_step_on(void **state)
{
    (void)state;
    make(DTYPE_FLOAT32, STORE_TEST_SGD, 1);
    struct block *block = &store.blocks[0];
    assert_true(sgd_step(block) == 0.5f);
    store_set_learning_rate(&store, STORE_TEST_SGD, 0.25, 3);
    assert_true(sgd_step(block) == 0.5f);
    assert_true(sgd_step(block) == 0.25f);
    assert_true(sgd_step(block) == 0.25f);
    store_set_learning_rate(&store, STORE_TEST_SGD, 1.0, 6); /* overtaken by the next one */
    store_set_learning_rate(&store, STORE_TEST_SGD, 2.0, 6);
    assert_true(sgd_step(block) == 0.25f);
    assert_true(sgd_step(block) == 2.0f);
}

/* Two changes in a row: the first holds for its one step, on a server that has begun that step or
 * not. */
static void test_change_before_the_present_one_is_not_lost(void **state)
{
    (void)state;
    make(DTYPE_FLOAT32, STORE_TEST_SGD, 1);
    struct block *block = &store.blocks[0];
    assert_true(sgd_step(block) == 0.5f);
    store_set_learning_rate(&store, STORE_TEST_SGD, 0.25, 3);
    assert_true(sgd_step(block) == 0.5f);
    store_set_learning_rate(&store, STORE_TEST_SGD, 2.0, 4);
    assert_true(sgd_step(block) == 0.25f);
    assert_true(sgd_step(block) == 2.0f);
}

static enum status whole_life(void *context)
{
    struct store_variable variable = store_test_variable(DTYPE_FLOAT32, ELEMENTS, 10, 0);
    enum status status = store_test_init(&store, &variable, 1, 1, &err);

    (void)context;
    for (uint64_t step = 1; !status && step <= 3; step++) {
        struct block *block = &store.blocks[0];
        struct staged *staged = store_staged(&store, block, step, 0);
        status = store_stage(&store, staged, block->bytes);
        if (status)
            break;
        staged->state = STAGED_COMPLETE;
        status = store_fold(&store, block, staged, 1.0f, &err);
        if (!status)
            status = store_prepare(&store, block, &err);
        if (status)
            break;
        store_commit(&store, step);
        store_hold(&store, step, step, false);
    }
    store_release(&store);
    return status;
}

static void test_no_memory(void **state)
{
    (void)state;
    assert_true(fail_alloc_each(whole_life, NULL) > 10);
}

#define STORE(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE(test_initial_values),
        STORE(test_each_server_has_its_own_blocks),
        STORE(test_previous_version_lives_until_the_commit),
        STORE(test_version_without_contribution_shares_the_value),
        STORE(test_gradient_equals_the_optimizer),
        STORE(test_held_values_keep_their_bytes),
        STORE(test_hold_takes_the_published_version),
        STORE(test_slots_are_copied_before_their_first_change),
        STORE(test_slots_in_a_frame_keep_their_bytes),
        STORE(test_hold_is_dropped_without_room_for_slots),
        STORE(test_block_waits_for_slots_that_frames_refer_to),
        STORE(test_block_waits_for_a_value_buffer),
        STORE(test_staging_is_bounded),
        STORE(test_reserve_holds_any_frame),
        STORE(test_assigned_value_is_version_0),
        STORE(test_commit_empties_the_staged_pushes_of_its_step),
        STORE(test_learning_rate_changes_from_its_step_on),
        STORE(test_change_before_the_present_one_is_not_lost),
        cmocka_unit_test(test_no_memory),
    };

    kernels_flush_denormals();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
