#include "common/base/bytes.h"

#include "tests/lib/test.h"

static void test_integers_are_little_endian_at_any_address(void **state)
{
    const uint8_t bytes[9] = {0xff, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x88};

    (void)state;
    assert_int_equal(bytes_get_u16(bytes + 1), 0x0201);
    assert_int_equal(bytes_get_u32(bytes + 1), 0x04030201);
    assert_true(bytes_get_u64(bytes + 1) == 0x8807060504030201u);
}

static void test_what_is_put_is_got_and_nothing_beside_it(void **state)
{
    uint8_t bytes[10];

    (void)state;
    memset(bytes, 0xaa, sizeof bytes);
    bytes_put_u16(bytes + 1, 0xbeef);
    assert_memory_equal(bytes, "\xaa\xef\xbe\xaa", 4);
    bytes_put_u32(bytes + 1, 0x12345678);
    assert_memory_equal(bytes, "\xaa\x78\x56\x34\x12\xaa", 6);
    bytes_put_u64(bytes + 1, UINT64_MAX - 1);
    assert_true(bytes_get_u64(bytes + 1) == UINT64_MAX - 1);
    assert_int_equal(bytes[0], 0xaa);
    assert_int_equal(bytes[9], 0xaa);
}

static void test_big_endian(void **state)
{
    const uint8_t magic[5] = {0, 0x80, 0, 0x08, 0x03};

    (void)state;
    assert_true(bytes_get_u32_big_endian(magic) == 0x00800008u);
    assert_true(bytes_get_u32_big_endian(magic + 1) == 0x80000803u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers_are_little_endian_at_any_address),
        cmocka_unit_test(test_what_is_put_is_got_and_nothing_beside_it),
        cmocka_unit_test(test_big_endian),
    };
    return cmocka_run_group_tests_name("bytes", tests, NULL, NULL);
}
