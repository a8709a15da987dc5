#include "common/base/alloc.h"

#include "tests/lib/fail_alloc.h"
#include "tests/lib/test.h"

static int stop_failing(void **state)
{
    (void)state;
    alloc_fail_nth(0, false);
    return 0;
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != 0)
            return false;
    }
    return true;
}

static void test_memory_is_zeroed(void **state)
{
    uint8_t *bytes = alloc_zero(1000);
    uint8_t *array = alloc_array(10, 33);

    (void)state;
    assert_true(is_zero(bytes, 1000));
    assert_true(is_zero(array, 330));
    alloc_free(bytes);
    alloc_free(array);
}

static void test_nothing_is_a_pointer_that_may_be_freed(void **state)
{
    void *nothing = alloc_zero(0);
    void *no_elements = alloc_array(0, 8);
    void *no_tensor = alloc_tensor(0);

    (void)state;
    assert_non_null(nothing);
    assert_non_null(no_elements);
    assert_non_null(no_tensor);
    alloc_free(nothing);
    alloc_free(no_elements);
    alloc_free_tensor(no_tensor, 0);
    alloc_free(NULL);
    alloc_free_tensor(NULL, 0);
}

static void test_overflowing_products_are_refused(void **state)
{
    void *old = alloc_array(4, 4);

    (void)state;
    assert_null(alloc_array(SIZE_MAX, 2));
    assert_null(alloc_array(SIZE_MAX / 2 + 1, 2));
    assert_null(alloc_resize(old, SIZE_MAX / 4 + 1, 4));
    assert_null(alloc_tensor(SIZE_MAX));
    alloc_free(old);
}

static void test_resize_keeps_what_was_there(void **state)
{
    uint32_t *numbers = alloc_array(4, sizeof *numbers);

    (void)state;
    for (uint32_t i = 0; i < 4; i++)
        numbers[i] = i + 1;
    uint32_t *more = alloc_resize(numbers, 10000, sizeof *numbers);
    assert_non_null(more);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(more[i], i + 1);
    alloc_free(more);
}

static void test_failed_resize_leaves_the_old_one_alive(void **state)
{
    uint32_t *numbers = alloc_array(4, sizeof *numbers);

    (void)state;
    numbers[3] = 7;
    alloc_fail_nth(1, false);
    assert_null(alloc_resize(numbers, 8, sizeof *numbers));
    assert_int_equal(numbers[3], 7);
    alloc_free(numbers);
}

static void test_string_is_a_copy(void **state)
{
    char text[] = "dense/kernel";
    char *copy = alloc_string(text);

    (void)state;
    text[0] = 'X';
    assert_string_equal(copy, "dense/kernel");
    alloc_free(copy);
}

static void test_tensor_memory_is_aligned_and_zeroed(void **state)
{
    static const size_t sizes[] = {
        1, 63, 64, 65, 4096, 1024 * 1024 - 1, 1024 * 1024, 3 * 1024 * 1024 + 5};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint8_t *bytes = alloc_tensor(sizes[i]);
        assert_non_null(bytes);
        size_t alignment = sizes[i] >= 1024 * 1024 ? 2 * 1024 * 1024 : 64;
        assert_int_equal((uintptr_t)bytes % alignment, 0);
        assert_true(is_zero(bytes, sizes[i]));
        alloc_free_tensor(bytes, sizes[i]);
    }
}

static void test_nth_allocation_fails_once(void **state)
{
    void *kept[3];

    (void)state;
    alloc_fail_nth(2, false);
    kept[0] = alloc_zero(8);
    assert_non_null(kept[0]);
    assert_null(alloc_zero(8));
    kept[1] = alloc_zero(8);
    kept[2] = alloc_string("x");
    assert_non_null(kept[1]);
    assert_non_null(kept[2]);
    for (int i = 0; i < 3; i++)
        alloc_free(kept[i]);
}

static void test_with_repeat_every_later_one_fails_until_turned_off(void **state)
{
    (void)state;
    alloc_fail_nth(1, true);
    assert_null(alloc_zero(8));
    assert_null(alloc_tensor(8));
    assert_null(alloc_string("x"));
    assert_null(alloc_array(1, 1));
    alloc_fail_nth(0, false);
    void *again = alloc_zero(8);
    assert_non_null(again);
    alloc_free(again);
}

static void test_successes_are_counted(void **state)
{
    uint64_t before = alloc_count();

    (void)state;
    alloc_free(alloc_zero(1));
    alloc_free_tensor(alloc_tensor(1), 1);
    alloc_fail_nth(1, false);
    assert_null(alloc_zero(1));
    assert_int_equal(alloc_count() - before, 2);
}

static enum status make_two(void *context)
{
    void *first = alloc_zero(1);
    void *second = first ? alloc_zero(1) : NULL;

    (void)context;
    alloc_free(first);
    alloc_free(second);
    return second ? STATUS_OK : STATUS_RESOURCE_EXHAUSTED;
}

static void test_helper_fails_each_allocation_in_turn(void **state)
{
    (void)state;
    assert_int_equal(fail_alloc_each(make_two, NULL), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_is_zeroed),
        cmocka_unit_test(test_nothing_is_a_pointer_that_may_be_freed),
        cmocka_unit_test(test_overflowing_products_are_refused),
        cmocka_unit_test(test_resize_keeps_what_was_there),
        cmocka_unit_test_teardown(test_failed_resize_leaves_the_old_one_alive, stop_failing),
        cmocka_unit_test(test_string_is_a_copy),
        cmocka_unit_test(test_tensor_memory_is_aligned_and_zeroed),
        cmocka_unit_test_teardown(test_nth_allocation_fails_once, stop_failing),
        cmocka_unit_test_teardown(test_with_repeat_every_later_one_fails_until_turned_off,
                                  stop_failing),
        cmocka_unit_test_teardown(test_successes_are_counted, stop_failing),
        cmocka_unit_test_teardown(test_helper_fails_each_allocation_in_turn, stop_failing),
    };
    return cmocka_run_group_tests_name("alloc", tests, NULL, NULL);
}
