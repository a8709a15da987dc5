#include "common/base/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_names_are_those_of_grpc(void **state)
{
    (void)state;
    assert_string_equal(status_name(STATUS_OK), "OK");
    assert_string_equal(status_name(STATUS_DEADLINE_EXCEEDED), "DEADLINE_EXCEEDED");
    assert_string_equal(status_name(STATUS_UNAUTHENTICATED), "UNAUTHENTICATED");
}

static void test_every_number_has_a_name(void **state)
{
    (void)state;
    for (int code = STATUS_OK; code <= STATUS_UNAUTHENTICATED; code++) {
        assert_non_null(status_name((enum status)code));
        if (code != STATUS_UNKNOWN)
            assert_string_not_equal(status_name((enum status)code), "UNKNOWN");
    }
}

static void test_number_outside_the_enum_is_unknown(void **state)
{
    (void)state;
    assert_string_equal(status_name((enum status)17), "UNKNOWN");
    assert_string_equal(status_name((enum status) - 1), "UNKNOWN");
}

static void test_a_peers_number_is_one_of_the_failures(void **state)
{
    (void)state;
    assert_int_equal(status_of_failure(0), STATUS_UNKNOWN);
    assert_int_equal(status_of_failure(1), STATUS_CANCELLED);
    assert_int_equal(status_of_failure(16), STATUS_UNAUTHENTICATED);
    assert_int_equal(status_of_failure(17), STATUS_UNKNOWN);
    assert_int_equal(status_of_failure(UINT32_MAX), STATUS_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_are_those_of_grpc),
        cmocka_unit_test(test_every_number_has_a_name),
        cmocka_unit_test(test_number_outside_the_enum_is_unknown),
        cmocka_unit_test(test_a_peers_number_is_one_of_the_failures),
    };
    return cmocka_run_group_tests_name("status", tests, NULL, NULL);
}
