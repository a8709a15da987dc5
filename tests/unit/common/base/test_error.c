#include "common/base/error.h"

#include "tests/lib/test.h"

static void test_set_returns_the_status_and_formats(void **state)
{
    struct error err;

    (void)state;
    assert_int_equal(error_set(&err, STATUS_NOT_FOUND, "open '%s': line %d", "a.csv", 3),
                     STATUS_NOT_FOUND);
    assert_int_equal(err.status, STATUS_NOT_FOUND);
    assert_string_equal(err.message, "open 'a.csv': line 3");
}

static void test_without_a_place_the_status_is_still_returned(void **state)
{
    (void)state;
    assert_int_equal(error_set(NULL, STATUS_ABORTED, "x"), STATUS_ABORTED);
    assert_int_equal(error_wrap(NULL, "y"), STATUS_INTERNAL);
    assert_int_equal(error_no_memory(NULL, "z"), STATUS_RESOURCE_EXHAUSTED);
}

static void test_wrap_puts_context_in_front(void **state)
{
    struct error err;

    (void)state;
    error_set(&err, STATUS_UNAVAILABLE, "connection refused");
    assert_int_equal(error_wrap(&err, "connect to %s", "[::1]:7070"), STATUS_UNAVAILABLE);
    error_wrap(&err, "push of step %d", 7);
    assert_string_equal(err.message, "push of step 7: connect to [::1]:7070: connection refused");
}

static void test_messages_are_cut_at_their_size(void **state)
{
    char text[2 * ERROR_MESSAGE_BYTES];
    struct error err;

    (void)state;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    error_set(&err, STATUS_INTERNAL, "%s", text);
    assert_int_equal(strlen(err.message), ERROR_MESSAGE_BYTES - 1);
    error_wrap(&err, "context");
    assert_int_equal(strlen(err.message), ERROR_MESSAGE_BYTES - 1);
    assert_memory_equal(err.message, "context: xxx", 12);
    error_wrap(&err, "%s", text);
    assert_int_equal(strlen(err.message), ERROR_MESSAGE_BYTES - 1);
}

static void test_no_memory_says_for_what(void **state)
{
    struct error err;

    (void)state;
    assert_int_equal(error_no_memory(&err, "a table of 3 rows"), STATUS_RESOURCE_EXHAUSTED);
    assert_string_equal(err.message, "out of memory for a table of 3 rows");
}

static void test_clear_leaves_no_error(void **state)
{
    struct error err;

    (void)state;
    error_set(&err, STATUS_INTERNAL, "x");
    error_clear(&err);
    assert_int_equal(err.status, STATUS_OK);
    assert_string_equal(err.message, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_returns_the_status_and_formats),
        cmocka_unit_test(test_without_a_place_the_status_is_still_returned),
        cmocka_unit_test(test_wrap_puts_context_in_front),
        cmocka_unit_test(test_messages_are_cut_at_their_size),
        cmocka_unit_test(test_no_memory_says_for_what),
        cmocka_unit_test(test_clear_leaves_no_error),
    };
    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
