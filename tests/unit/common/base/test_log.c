#include "common/base/log.h"

#include "tests/lib/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { CAPTURED_BYTES = 4096 };

/* Runs write(), which logs, and returns what came out on stderr. */
static void capture(void (*write_records)(void), char ret_text[CAPTURED_BYTES])
{
    FILE *file = tmpfile();

    assert_non_null(file);
    fflush(stderr);
    int kept = dup(STDERR_FILENO);
    assert_true(kept >= 0);
    dup2(fileno(file), STDERR_FILENO);
    write_records();
    fflush(stderr);
    dup2(kept, STDERR_FILENO);
    close(kept);
    rewind(file);
    size_t size = fread(ret_text, 1, CAPTURED_BYTES - 1, file);
    ret_text[size] = '\0';
    fclose(file);
}

static void write_one_of_each(void)
{
    log_error("one %d", 1);
    log_warning("two");
    log_info("three");
    log_debug("four");
}

static void test_records_above_the_level_are_dropped(void **state)
{
    char text[CAPTURED_BYTES];

    (void)state;
    log_set_level(LOG_WARNING);
    capture(write_one_of_each, text);
    assert_non_null(strstr(text, "error: one 1\n"));
    assert_non_null(strstr(text, "warning: two\n"));
    assert_null(strstr(text, "three"));
    assert_null(strstr(text, "four"));
    log_set_level(LOG_DEBUG);
    capture(write_one_of_each, text);
    assert_non_null(strstr(text, "debug: four\n"));
    log_set_level(LOG_INFO);
}

static void test_record_is_one_line_with_time_and_name(void **state)
{
    char text[CAPTURED_BYTES];
    int hours, minutes, seconds, milliseconds, used = 0;

    (void)state;
    log_set_level(LOG_ERROR);
    log_set_name("paramd[server-0]");
    capture(write_one_of_each, text);
    assert_int_equal(
        sscanf(text, "%2d:%2d:%2d.%3d %n", &hours, &minutes, &seconds, &milliseconds, &used), 4);
    assert_string_equal(text + used, "paramd[server-0] error: one 1\n");
    log_set_level(LOG_INFO);
    log_set_name("paramd");
}

static void write_a_long_one(void)
{
    char text[5000];

    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    log_error("%s", text);
}

static void test_long_records_are_cut_and_still_end_the_line(void **state)
{
    char text[CAPTURED_BYTES];

    (void)state;
    capture(write_a_long_one, text);
    size_t length = strlen(text);
    assert_in_range(length, 500, 2000);
    assert_int_equal(text[length - 1], '\n');
    assert_int_equal(strcspn(text, "\n"), length - 1);
}

static void test_levels_are_named(void **state)
{
    (void)state;
    assert_int_equal(log_level_named("error"), LOG_ERROR);
    assert_int_equal(log_level_named("warning"), LOG_WARNING);
    assert_int_equal(log_level_named("debug"), LOG_DEBUG);
    assert_int_equal(log_level_named("loud"), LOG_INFO);
    assert_int_equal(log_level_named(NULL), LOG_INFO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records_above_the_level_are_dropped),
        cmocka_unit_test(test_record_is_one_line_with_time_and_name),
        cmocka_unit_test(test_long_records_are_cut_and_still_end_the_line),
        cmocka_unit_test(test_levels_are_named),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
