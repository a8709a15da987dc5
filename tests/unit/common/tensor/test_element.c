#include "common/tensor/element.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_names_lead_back_to_types(void **state)
{
    (void)state;
    for (int type = ELEMENT_BOOL; type <= ELEMENT_F64; type++) {
        assert_int_equal(element_named(element_name((enum element_type)type)), type);
        assert_true(element_bytes((enum element_type)type) > 0);
    }
    assert_int_equal(element_named("invalid"), ELEMENT_INVALID);
    assert_int_equal(element_named("f32"), ELEMENT_INVALID);
    assert_int_equal(element_bytes(ELEMENT_INVALID), 0);
    assert_int_equal(element_bytes((enum element_type)99), 0);
    assert_string_equal(element_name((enum element_type)99), "invalid");
}

static void test_dtypes_of_variables_have_the_same_size(void **state)
{
    (void)state;
    for (int dtype = DTYPE_FLOAT32; dtype <= DTYPE_INT64; dtype++) {
        enum element_type type = element_of_dtype((enum dtype)dtype);
        assert_int_equal(element_bytes(type), dtype_bytes((enum dtype)dtype));
        assert_int_equal(element_dtype(type), dtype);
    }
    assert_int_equal(element_of_dtype(DTYPE_INVALID), ELEMENT_INVALID);
    assert_int_equal(element_dtype(ELEMENT_BF16), DTYPE_INVALID);
}

static void test_dtypes_have_names(void **state)
{
    (void)state;
    assert_string_equal(dtype_name(DTYPE_FLOAT32), "float32");
    assert_string_equal(dtype_name((enum dtype)9), "invalid");
    assert_int_equal(dtype_bytes((enum dtype)9), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_lead_back_to_types),
        cmocka_unit_test(test_dtypes_of_variables_have_the_same_size),
        cmocka_unit_test(test_dtypes_have_names),
    };
    return cmocka_run_group_tests_name("element", tests, NULL, NULL);
}
