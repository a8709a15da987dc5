#include "common/base/arena.h"

#include "tests/lib/fail_alloc.h"
#include "tests/lib/test.h"

static void test_pieces_are_aligned_and_apart(void **state)
{
    struct arena arena;

    (void)state;
    assert_int_equal(arena_init(&arena, 256), STATUS_OK);
    uint8_t *first = arena_take(&arena, 1);
    uint8_t *second = arena_take(&arena, 17);
    uint8_t *third = arena_take(&arena, 16);
    assert_int_equal((uintptr_t)first % 16, 0);
    assert_int_equal(second - first, 16);
    assert_int_equal(third - second, 32);
    arena_release(&arena);
}

static void test_bound_is_reached_and_not_passed(void **state)
{
    struct arena arena;

    (void)state;
    assert_int_equal(arena_init(&arena, 100), STATUS_OK);
    assert_null(arena_take(&arena, 101));
    assert_null(arena_take(&arena, SIZE_MAX));
    assert_non_null(arena_take(&arena, 96));
    assert_null(arena_take(&arena, 5));
    assert_non_null(arena_take(&arena, 4));
    assert_null(arena_take(&arena, 1));
    assert_true(arena.used <= arena.capacity);
    arena_release(&arena);
}

static void test_last_piece_may_end_unaligned(void **state)
{
    struct arena arena;

    (void)state;
    assert_int_equal(arena_init(&arena, 100), STATUS_OK);
    assert_non_null(arena_take(&arena, 99));
    assert_int_equal(arena.used, 100);
    assert_null(arena_take(&arena, 1));
    arena_release(&arena);
}

static void test_clear_gives_everything_back(void **state)
{
    struct arena arena;

    (void)state;
    assert_int_equal(arena_init(&arena, 64), STATUS_OK);
    void *first = arena_take(&arena, 64);
    assert_null(arena_take(&arena, 1));
    arena_clear(&arena);
    assert_ptr_equal(arena_take(&arena, 64), first);
    arena_release(&arena);
}

static void test_zeroed_arena_may_be_released_and_gives_nothing(void **state)
{
    struct arena arena = {0};

    (void)state;
    assert_null(arena_take(&arena, 1));
    arena_release(&arena);
    arena_release(&arena);
}

static enum status make_arena(void *context)
{
    struct arena arena;
    enum status status = arena_init(&arena, 1000);

    (void)context;
    arena_release(&arena);
    return status;
}

static void test_failing_allocation_is_a_status(void **state)
{
    (void)state;
    assert_int_equal(fail_alloc_each(make_arena, NULL), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_are_aligned_and_apart),
        cmocka_unit_test(test_bound_is_reached_and_not_passed),
        cmocka_unit_test(test_last_piece_may_end_unaligned),
        cmocka_unit_test(test_clear_gives_everything_back),
        cmocka_unit_test(test_zeroed_arena_may_be_released_and_gives_nothing),
        cmocka_unit_test(test_failing_allocation_is_a_status),
    };
    return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
