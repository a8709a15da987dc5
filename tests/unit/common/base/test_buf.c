#include "common/base/buf.h"

#include "common/base/alloc.h"
#include "tests/lib/fail_alloc.h"
#include "tests/lib/test.h"

enum { MIB = 1024 * 1024 };

static void test_class_is_the_next_power_of_two_from_64(void **state)
{
    (void)state;
    assert_int_equal(buf_class_bytes(1), 64);
    assert_int_equal(buf_class_bytes(64), 64);
    assert_int_equal(buf_class_bytes(65), 128);
    assert_int_equal(buf_class_bytes(262144), 262144);
    assert_int_equal(buf_class_bytes(262145), 524288);
    assert_int_equal(buf_class_bytes(MIB), MIB);
}

static void test_buffers_of_every_class_are_aligned_and_writable(void **state)
{
    struct buf_pool pool;

    (void)state;
    buf_pool_init(&pool, 16 * MIB);
    for (unsigned shift = BUF_CLASS_MIN_SHIFT; shift <= BUF_CLASS_MAX_SHIFT; shift++) {
        struct buf *one = buf_take(&pool, (size_t)1 << shift);
        struct buf *other = buf_take(&pool, ((size_t)1 << shift) - 1);
        assert_non_null(one);
        assert_non_null(other);
        assert_int_equal((uintptr_t)one->data % 64, 0);
        assert_int_equal(buf_capacity(one), (size_t)1 << shift);
        memset(one->data, 0x11, buf_capacity(one));
        memset(other->data, 0x22, buf_capacity(other));
        assert_int_equal(one->data[buf_capacity(one) - 1], 0x11);
        buf_unref(one);
        buf_unref(other);
    }
    assert_int_equal(pool.bytes_used, 0);
    buf_pool_release(&pool);
}

static void test_last_reference_gives_the_buffer_back(void **state)
{
    struct buf_pool pool;

    (void)state;
    buf_pool_init(&pool, MIB);
    struct buf *buf = buf_take(&pool, 100);
    assert_ptr_equal(buf_ref(buf), buf);
    assert_int_equal(pool.bytes_used, 128);
    buf_unref(buf);
    assert_int_equal(pool.bytes_used, 128);
    assert_false(pool.returned);
    buf_unref(buf);
    assert_int_equal(pool.bytes_used, 0);
    assert_true(pool.returned);
    buf_unref(NULL);
    buf_pool_release(&pool);
}

static void test_bound_is_reached_and_not_passed(void **state)
{
    struct buf_pool pool;

    (void)state;
    buf_pool_init(&pool, 256);
    struct buf *first = buf_take(&pool, 128);
    assert_true(buf_available(&pool, 128));
    assert_false(buf_available(&pool, 129));
    assert_null(buf_take(&pool, 129));
    struct buf *second = buf_take(&pool, 65);
    assert_non_null(second);
    assert_false(buf_available(&pool, 1));
    assert_null(buf_take(&pool, 1));
    buf_unref(first);
    assert_true(buf_available(&pool, 64));
    buf_unref(second);
    buf_pool_release(&pool);
}

static void test_used_memory_is_used_again_without_allocating(void **state)
{
    struct buf_pool pool;

    (void)state;
    buf_pool_init(&pool, 8 * MIB);
    struct buf *first = buf_take(&pool, 262144);
    uint8_t *data = first->data;
    buf_unref(first);
    uint64_t before = alloc_count();
    for (int i = 0; i < 100; i++) {
        struct buf *again = buf_take(&pool, 200000);
        assert_ptr_equal(again->data, data);
        buf_unref(again);
    }
    assert_int_equal(alloc_count(), before);
    buf_pool_release(&pool);
}

static void test_small_pool_reserves_no_more_than_its_bound(void **state)
{
    struct buf_pool pool;

    (void)state;
    buf_pool_init(&pool, 300000);
    struct buf *buf = buf_take(&pool, 262144);
    assert_non_null(buf);
    assert_true(pool.bytes_reserved <= 300000);
    buf_unref(buf);
    buf_pool_release(&pool);
}

static void test_zeroed_pool_may_be_released(void **state)
{
    struct buf_pool pool = {0};

    (void)state;
    buf_pool_release(&pool);
}

static enum status take_two(void *context)
{
    struct buf_pool pool;

    (void)context;
    buf_pool_init(&pool, 8 * MIB);
    struct buf *small = buf_take(&pool, 64);
    struct buf *large = buf_take(&pool, MIB);
    enum status status = small && large ? STATUS_OK : STATUS_RESOURCE_EXHAUSTED;
    buf_unref(small);
    buf_unref(large);
    buf_pool_release(&pool);
    return status;
}

static void test_failing_allocations_leave_a_working_pool(void **state)
{
    (void)state;
    assert_int_equal(fail_alloc_each(take_two, NULL), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_class_is_the_next_power_of_two_from_64),
        cmocka_unit_test(test_buffers_of_every_class_are_aligned_and_writable),
        cmocka_unit_test(test_last_reference_gives_the_buffer_back),
        cmocka_unit_test(test_bound_is_reached_and_not_passed),
        cmocka_unit_test(test_used_memory_is_used_again_without_allocating),
        cmocka_unit_test(test_small_pool_reserves_no_more_than_its_bound),
        cmocka_unit_test(test_zeroed_pool_may_be_released),
        cmocka_unit_test(test_failing_allocations_leave_a_working_pool),
    };
    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
