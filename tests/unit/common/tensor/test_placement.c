#include "common/tensor/placement.h"

#include "common/base/alloc.h"
#include "common/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { FULL = BLOCK_ELEMENTS_MAX, SERVERS = 3 };

static void place(struct placement *ret_placement, const struct placement_variable *variables,
                  size_t count, uint32_t servers)
{
    struct error err;

    assert_int_equal(placement_init(ret_placement, variables, count, servers, &err), STATUS_OK);
}

/* What the header says, done in the plainest way: all blocks in one array, sorted and dealt. */
struct card {
    uint64_t bytes;
    uint32_t variable, block;
};

static int compare_cards(const void *left, const void *right)
{
    const struct card *a = left, *b = right;

    if (a->bytes != b->bytes)
        return a->bytes > b->bytes ? -1 : 1;
    if (a->variable != b->variable)
        return a->variable < b->variable ? -1 : 1;
    return a->block < b->block ? -1 : a->block > b->block;
}

static void assert_dealt_like_cards(const struct placement_variable *variables, size_t count,
                                    uint32_t servers)
{
    struct placement placement;
    struct card *cards;
    size_t total = 0, at = 0;

    place(&placement, variables, count, servers);
    for (size_t i = 0; i < count; i++)
        total += placement_block_count(&placement, variables[i].id);
    assert_int_equal(total, placement.block_count);
    cards = alloc_array(total + 1, sizeof *cards);
    for (size_t i = 0; i < count; i++) {
        uint64_t left = variables[i].element_count;
        for (uint32_t block = 0; left > 0; block++) {
            uint64_t elements = left < FULL ? left : FULL;
            cards[at++] = (struct card){elements * dtype_bytes(variables[i].dtype), variables[i].id,
                                        block};
            left -= elements;
        }
    }
    assert_int_equal(at, total);
    qsort(cards, total, sizeof *cards, compare_cards);
    for (size_t i = 0; i < total; i++) {
        const struct card *card = &cards[i];
        assert_int_equal(placement_partition_of(&placement, card->variable, card->block),
                         i % PLACEMENT_PARTITIONS);
        assert_int_equal(placement_server_of(&placement, card->variable, card->block),
                         i % PLACEMENT_PARTITIONS % servers);
        assert_int_equal(placement_block_bytes(&placement, card->variable, card->block),
                         card->bytes);
    }
    alloc_free(cards);
    placement_release(&placement);
}

/* Every block is met once, on its server, in order, and its index leads back to it. */
static void assert_indexes_are_dense(const struct placement *placement)
{
    uint32_t total = 0;

    for (uint32_t server = 0; server < placement->server_count; server++) {
        struct placement_block at, previous = {0, 0};
        uint64_t bytes = 0;
        uint32_t index = 0;

        for (bool more = placement_first(placement, server, &at); more;
             more = placement_next(placement, server, &at), index++) {
            struct placement_block found = placement_block_at(placement, server, index);

            assert_int_equal(placement_server_of(placement, at.variable, at.block), server);
            assert_int_equal(placement_index_of(placement, at.variable, at.block), index);
            assert_int_equal(found.variable, at.variable);
            assert_int_equal(found.block, at.block);
            if (index > 0)
                assert_true(at.variable > previous.variable ||
                            (at.variable == previous.variable && at.block > previous.block));
            previous = at;
            bytes += placement_block_bytes(placement, at.variable, at.block);
        }
        assert_int_equal(index, placement_server_block_count(placement, server));
        assert_int_equal(bytes, placement_server_bytes(placement, server));
        total += index;
    }
    assert_int_equal(total, placement->block_count);
}

static void test_blocks_are_dealt_largest_first(void **state)
{
    const struct placement_variable variables[] = {
        {5, DTYPE_FLOAT32, 10},
        {6, DTYPE_FLOAT64, FULL},
        /* as large as a full float32 */
        {7, DTYPE_FLOAT32, 3 * FULL + 1},
        {8, DTYPE_INT64, FULL / 2},
        {9, DTYPE_FLOAT32, FULL},
        {10, DTYPE_FLOAT32, 0},
        {11, DTYPE_FLOAT32, 10},
    };
    struct placement placement;

    (void)state;
    place(&placement, variables, 7, 240);
    assert_int_equal(placement_partition_of(&placement, 6, 0), 0); /* 512 KiB */
    assert_int_equal(placement_partition_of(&placement, 7, 0), 1); /* 256 KiB each, by id */
    assert_int_equal(placement_partition_of(&placement, 7, 2), 3);
    assert_int_equal(placement_partition_of(&placement, 8, 0), 4);
    assert_int_equal(placement_partition_of(&placement, 9, 0), 5);
    assert_int_equal(placement_partition_of(&placement, 5, 0), 6); /* 40 bytes */
    assert_int_equal(placement_partition_of(&placement, 11, 0), 7);
    assert_int_equal(placement_partition_of(&placement, 7, 3), 8); /* 4 bytes */
    assert_int_equal(placement_block_count(&placement, 10), 0);
    placement_release(&placement);
}

static void test_random_variables_are_dealt_like_sorted_cards(void **state)
{
    static const enum dtype dtypes[] = {DTYPE_FLOAT32, DTYPE_FLOAT64, DTYPE_INT64};
    static const uint64_t counts[] = {0, 1, 10, FULL - 1, FULL, FULL + 1, FULL / 2, 5 * FULL};
    struct placement_variable variables[60];
    struct rng_sequence rng = {17};

    (void)state;
    for (uint32_t servers = 1; servers <= 240; servers += servers < 9 ? 1 : 77) {
        struct placement placement;
        size_t count = rng_below(&rng, 61);

        for (size_t i = 0; i < count; i++) {
            uint64_t elements = counts[rng_below(&rng, 8)];
            if (rng_below(&rng, 4) == 0)
                elements = rng_below(&rng, 40 * FULL);
            variables[i] = (struct placement_variable){(uint32_t)i + servers,
                                                       dtypes[rng_below(&rng, 3)], elements};
        }
        assert_dealt_like_cards(variables, count, servers);
        place(&placement, variables, count, servers);
        assert_indexes_are_dense(&placement);
        placement_release(&placement);
    }
}

static void test_blocks_are_even_over_any_number_of_servers(void **state)
{
    (void)state;
    for (uint32_t servers = 1; servers <= 8; servers++) {
        for (uint64_t blocks = 3 * servers; blocks < 3000; blocks += 1 + blocks / 7) {
            const struct placement_variable variable = {0, DTYPE_FLOAT32, blocks * FULL};
            struct placement placement;
            uint32_t least = UINT32_MAX, most = 0;

            place(&placement, &variable, 1, servers);
            for (uint32_t server = 0; server < servers; server++) {
                uint32_t count = placement_server_block_count(&placement, server);
                least = count < least ? count : least;
                most = count > most ? count : most;
            }
            assert_true(least > 0);
            assert_true(most <= least + 1 + least * 3 / 100); /* 240 is no multiple of 7 */
            placement_release(&placement);
        }
    }
}

static void test_blocks_cover_their_variable(void **state)
{
    const struct placement_variable variable = {0, DTYPE_FLOAT32, 2 * FULL + 7};
    struct placement placement;
    uint64_t next = 0;

    (void)state;
    place(&placement, &variable, 1, SERVERS);
    for (uint32_t block = 0; block < placement_block_count(&placement, 0); block++) {
        assert_int_equal(placement_first_element(&placement, 0, block), next);
        next += placement_element_count(&placement, 0, block);
    }
    assert_int_equal(next, variable.element_count);
    assert_true(placement_has(&placement, 0, 2));
    assert_false(placement_has(&placement, 0, 3));
    assert_false(placement_has(&placement, 1, 0));
    assert_false(placement_has(&placement, UINT32_MAX, 0));
    placement_release(&placement);
}

static void test_walk_over_one_variable_meets_its_blocks_of_a_server(void **state)
{
    const struct placement_variable variable = {4, DTYPE_FLOAT32, 10 * FULL};
    struct placement placement;
    uint32_t block = 0, met = 0;

    (void)state;
    place(&placement, &variable, 1, SERVERS);
    for (uint32_t from = 0; placement_next_of_variable(&placement, 1, 4, from, &block);
         from = block + 1, met++)
        assert_int_equal(block % SERVERS, 1);
    assert_int_equal(met, 3);
    assert_false(placement_next_of_variable(&placement, 1, 5, 0, &block));
    placement_release(&placement);
}

static void test_no_variable_is_a_placement_too(void **state)
{
    struct placement placement;
    struct placement_block block;

    (void)state;
    place(&placement, NULL, 0, 2);
    assert_int_equal(placement_server_block_count(&placement, 1), 0);
    assert_false(placement_first(&placement, 1, &block));
    placement_release(&placement);
    placement_release(&placement);
    placement_release(NULL);
}

static void assert_refused(enum status expected, const struct placement_variable *variables,
                           size_t count, uint32_t servers)
{
    struct placement placement = {.block_count = 77};
    struct error err;

    assert_int_equal(placement_init(&placement, variables, count, servers, &err), expected);
    assert_int_equal(placement.block_count, 77);
}

static void test_wrong_lists_are_refused(void **state)
{
    const struct placement_variable gap[] = {{0, DTYPE_FLOAT32, 1}, {2, DTYPE_FLOAT32, 1}};
    const struct placement_variable wrapped[] = {{UINT32_MAX, DTYPE_FLOAT32, 1},
                                                 {0, DTYPE_FLOAT32, 1}};
    const struct placement_variable untyped = {0, DTYPE_INVALID, 1};
    const struct placement_variable endless = {0, DTYPE_FLOAT32, UINT64_MAX};
    const uint64_t most = (uint64_t)LIMIT_BLOCKS * FULL;
    const struct placement_variable full[] = {
        {0, DTYPE_FLOAT32, most - FULL}, {1, DTYPE_FLOAT32, FULL}, {2, DTYPE_FLOAT32, 1}};
    struct placement placement;

    (void)state;
    assert_refused(STATUS_INVALID_ARGUMENT, gap, 2, 1);
    assert_refused(STATUS_INVALID_ARGUMENT, wrapped, 2, 1);
    assert_refused(STATUS_INVALID_ARGUMENT, &untyped, 1, 1);
    assert_refused(STATUS_INVALID_ARGUMENT, full, 1, 0);
    assert_refused(STATUS_INVALID_ARGUMENT, full, 1, LIMIT_SERVERS + 1);
    assert_refused(STATUS_RESOURCE_EXHAUSTED, &endless, 1, 1);
    assert_refused(STATUS_RESOURCE_EXHAUSTED, full, 3, 1);
    assert_refused(STATUS_RESOURCE_EXHAUSTED, full, LIMIT_VARIABLES + 1, 1);
    place(&placement, full, 2, 7);
    assert_int_equal(placement.block_count, LIMIT_BLOCKS);
    assert_int_equal(placement_server_of(&placement, 1, 0), (LIMIT_BLOCKS - 1) % 240 % 7);
    placement_release(&placement);
}

static void test_failing_allocations_are_reported(void **state)
{
    const struct placement_variable variable = {0, DTYPE_FLOAT32, 1};

    (void)state;
    for (uint64_t n = 1; n <= 4; n++) {
        alloc_fail_nth(n, false);
        assert_refused(STATUS_RESOURCE_EXHAUSTED, &variable, 1, 1);
        alloc_fail_nth(0, false);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks_are_dealt_largest_first),
        cmocka_unit_test(test_random_variables_are_dealt_like_sorted_cards),
        cmocka_unit_test(test_blocks_are_even_over_any_number_of_servers),
        cmocka_unit_test(test_blocks_cover_their_variable),
        cmocka_unit_test(test_walk_over_one_variable_meets_its_blocks_of_a_server),
        cmocka_unit_test(test_no_variable_is_a_placement_too),
        cmocka_unit_test(test_wrong_lists_are_refused),
        cmocka_unit_test(test_failing_allocations_are_reported),
    };
    return cmocka_run_group_tests_name("placement", tests, NULL, NULL);
}
