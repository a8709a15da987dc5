#include "worker/data/batches.h"

#include "tests/unit/worker/data/data_test.h"

enum { COUNT = 1003 };

static struct batches batches_of(size_t count, size_t batch_size, bool shuffle, uint64_t seed)
{
    struct batches batches;
    struct error err = {0};

    if (batches_init(&batches, count, batch_size, shuffle, seed, &err))
        fail_msg("%s", err.message);
    return batches;
}

static void test_order_is_a_permutation(void **state)
{
    uint32_t order[COUNT];
    size_t count, i;

    (void)state;
    for (count = 0; count <= COUNT; count = count < 10 ? count + 1 : count * 10 + 3) {
        uint8_t seen[COUNT] = {0};
        batches_permute(5, 2, count, order);
        for (i = 0; i < count; i++) {
            assert_true(order[i] < count && !seen[order[i]]);
            seen[order[i]] = 1;
        }
    }
}

static void test_order_depends_on_seed_and_epoch(void **state)
{
    uint32_t order[COUNT], other[COUNT];

    (void)state;
    batches_permute(5, 2, COUNT, order);
    batches_permute(5, 2, COUNT, other);
    assert_memory_equal(order, other, sizeof order);
    batches_permute(5, 3, COUNT, other);
    assert_memory_not_equal(order, other, sizeof order);
    batches_permute(6, 2, COUNT, other);
    assert_memory_not_equal(order, other, sizeof order);
}

/* Runs that are continued by a later version must see the same order. */
static void test_order_never_changes(void **state)
{
    static const uint32_t wanted[10] = {0, 4, 2, 1, 3, 8, 9, 5, 7, 6};
    uint32_t order[10];

    (void)state;
    batches_permute(1, 0, 10, order);
    assert_memory_equal(order, wanted, sizeof order);
}

/* Each of the 24 orders of four about equally often: 24000 epochs, 1000 +- 31 each. */
static void test_order_is_uniform(void **state)
{
    unsigned counts[256] = {0};
    uint32_t order[4];
    uint64_t epoch;
    size_t i, kinds = 0;

    (void)state;
    for (epoch = 0; epoch < 24000; epoch++) {
        batches_permute(9, epoch, 4, order);
        counts[order[0] | order[1] << 2 | order[2] << 4 | order[3] << 6]++;
    }
    for (i = 0; i < 256; i++) {
        if (counts[i] == 0)
            continue;
        kinds++;
        assert_in_range(counts[i], 850, 1150);
    }
    assert_int_equal(kinds, 24);
}

static void test_steps_and_positions(void **state)
{
    struct batches batches = batches_of(100, 32, false, 0);
    struct batch_position position;
    uint64_t step;

    (void)state;
    assert_int_equal(batches.steps_per_epoch, 4);
    position = batches_position(&batches, 1);
    assert_int_equal(position.epoch, 0);
    assert_int_equal(position.batch, 0);
    position = batches_position(&batches, 4);
    assert_int_equal(position.batch, 3);
    position = batches_position(&batches, 5);
    assert_int_equal(position.epoch, 1);
    assert_int_equal(position.batch, 0);
    for (step = 1; step < 20; step++)
        assert_int_equal(batches_step(&batches, batches_position(&batches, step)), step);
    batches_release(&batches);

    batches = batches_of(96, 32, false, 0);
    assert_int_equal(batches.steps_per_epoch, 3);
    batches_release(&batches);
    batches = batches_of(5, 32, false, 0);
    assert_int_equal(batches.steps_per_epoch, 1);
    batches_release(&batches);
}

/* Shares join without a gap, in rank order, and differ by at most one; also with more ranks than
 * examples. */
static void test_shares_cover_every_batch(void **state)
{
    static const size_t sizes[][2] = {{100, 32}, {97, 32}, {10, 1}, {5, 64}, {3, 3}};
    size_t i;
    uint32_t ranks, rank;
    uint64_t batch;

    (void)state;
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct batches batches = batches_of(sizes[i][0], sizes[i][1], false, 0);
        for (ranks = 1; ranks < 9; ranks++) {
            size_t next = 0;
            for (batch = 0; batch < batches.steps_per_epoch; batch++) {
                size_t least = SIZE_MAX, most = 0, sum = 0, whole = 0;
                for (rank = 0; rank < ranks; rank++) {
                    struct batch_share share = batches_share(&batches, batch, rank, ranks);
                    assert_int_equal(share.first, next);
                    next += share.count;
                    sum += share.count;
                    whole = share.batch_count;
                    least = share.count < least ? share.count : least;
                    most = share.count > most ? share.count : most;
                }
                assert_int_equal(sum, whole);
                assert_true(most - least <= 1);
            }
            assert_int_equal(next, sizes[i][0]);
        }
        batches_release(&batches);
    }
}

/* What n ranks gather, put together, is what one rank gathers; and an epoch has every example once.
 */
static void test_ranks_together_see_what_one_sees(void **state)
{
    enum { EXAMPLES = 50, BATCH = 12 };
    float features[EXAMPLES * 2], labels[EXAMPLES];
    struct examples examples = {features, labels, EXAMPLES, 2};
    struct batches alone = batches_of(EXAMPLES, BATCH, true, 3);
    struct batches shared = batches_of(EXAMPLES, BATCH, true, 3);
    unsigned seen[EXAMPLES] = {0};
    uint64_t batch, made;
    uint32_t rank;
    size_t i;

    (void)state;
    for (i = 0; i < EXAMPLES; i++) {
        features[2 * i] = (float)i;
        features[2 * i + 1] = -(float)i;
        labels[i] = 100 + (float)i;
    }
    made = alloc_count();
    for (batch = 0; batch < alone.steps_per_epoch; batch++) {
        float x[BATCH * 2], y[BATCH], part_x[BATCH * 2], part_y[BATCH];
        struct batch_share whole = batches_share(&alone, batch, 0, 1);
        size_t at = 0;
        batches_gather(&alone, &examples, 7, whole, x, y);
        for (i = 0; i < whole.count; i++) {
            size_t example = (size_t)x[2 * i];
            assert_true(x[2 * i + 1] == -x[2 * i] && y[i] == 100 + x[2 * i]);
            seen[example]++;
        }
        for (rank = 0; rank < 5; rank++) {
            struct batch_share share = batches_share(&shared, batch, rank, 5);
            batches_gather(&shared, &examples, 7, share, part_x + 2 * at, part_y + at);
            at += share.count;
        }
        assert_int_equal(at, whole.count);
        assert_memory_equal(x, part_x, at * 2 * sizeof *x);
        assert_memory_equal(y, part_y, at * sizeof *y);
    }
    assert_int_equal(alloc_count(), made);
    for (i = 0; i < EXAMPLES; i++)
        assert_int_equal(seen[i], 1);
    batches_release(&alone);
    batches_release(&shared);
}

/* Going back to an earlier epoch, as a worker that starts again does, gives its order again. */
static void test_epochs_in_any_order(void **state)
{
    float features[COUNT], first[COUNT], again[COUNT];
    struct examples examples = {features, NULL, COUNT, 1};
    struct batches batches = batches_of(COUNT, COUNT, true, 1);
    struct batch_share all = batches_share(&batches, 0, 0, 1);
    size_t i;

    (void)state;
    for (i = 0; i < COUNT; i++)
        features[i] = (float)i;
    batches_gather(&batches, &examples, 4, all, first, NULL);
    batches_gather(&batches, &examples, 9, all, again, NULL);
    assert_memory_not_equal(first, again, sizeof first);
    batches_gather(&batches, &examples, 4, all, again, NULL);
    assert_memory_equal(first, again, sizeof first);
    batches_release(&batches);
}

static void test_without_shuffling_the_order_is_that_of_the_file(void **state)
{
    const float features[] = {1, 2, 3, 4, 5};
    struct examples examples = {features, NULL, 5, 1};
    struct batches batches = batches_of(5, 2, false, 1);
    float x[2];

    (void)state;
    batches_gather(&batches, &examples, 3, batches_share(&batches, 1, 0, 1), x, NULL);
    assert_true(x[0] == 3 && x[1] == 4);
    batches_gather(&batches, &examples, 3, batches_share(&batches, 2, 0, 1), x, NULL);
    assert_true(x[0] == 5);
    batches_release(&batches);
}

static void test_impossible_batches_are_refused(void **state)
{
    struct batches batches;
    struct error err;

    (void)state;
    assert_int_equal(batches_init(&batches, 0, 1, true, 0, &err), STATUS_INVALID_ARGUMENT);
    assert_string_equal(err.message,
                        "0 examples cannot be dealt into batches; 1 to 4294967295 can");
    assert_int_equal(batches_init(&batches, (size_t)UINT32_MAX + 1, 1, false, 0, &err),
                     STATUS_INVALID_ARGUMENT);
    assert_int_equal(batches_init(&batches, UINT32_MAX, 1, false, 0, &err), STATUS_OK);
    assert_int_equal(batches_init(&batches, 1, 0, true, 0, &err), STATUS_INVALID_ARGUMENT);
    assert_string_equal(err.message, "the batch size is 0; it must be at least 1");
    alloc_fail_nth(1, false);
    assert_int_equal(batches_init(&batches, 1, 1, true, 0, &err), STATUS_RESOURCE_EXHAUSTED);
    batches_release(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_is_a_permutation),
        cmocka_unit_test(test_order_depends_on_seed_and_epoch),
        cmocka_unit_test(test_order_never_changes),
        cmocka_unit_test(test_order_is_uniform),
        cmocka_unit_test(test_steps_and_positions),
        cmocka_unit_test(test_shares_cover_every_batch),
        cmocka_unit_test(test_ranks_together_see_what_one_sees),
        cmocka_unit_test(test_epochs_in_any_order),
        cmocka_unit_test(test_without_shuffling_the_order_is_that_of_the_file),
        cmocka_unit_test(test_impossible_batches_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
