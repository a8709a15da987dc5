#include "worker/data/lines.h"

#include "tests/unit/worker/data/data_test.h"

static void expect_lines(const char *text, const char *const *wanted)
{
    struct source *source;
    struct lines lines;
    char *line;
    size_t size, i;

    assert_int_equal(source_open_bytes("t", text, strlen(text), &source, NULL), STATUS_OK);
    assert_int_equal(lines_init(&lines, source, NULL), STATUS_OK);
    for (i = 0;; i++) {
        assert_int_equal(lines_next(&lines, &line, &size, NULL), STATUS_OK);
        if (!line)
            break;
        assert_non_null(wanted[i]);
        assert_int_equal(size, strlen(wanted[i]));
        assert_memory_equal(line, wanted[i], size);
        assert_int_equal(lines.number, i + 1);
        assert_true(line[size] == '\n' || line[size] == '\r' || line[size] == '\0');
    }
    assert_null(wanted[i]);
    lines_release(&lines);
    source_free(source);
}

static void test_lines_are_cut(void **state)
{
    (void)state;
    expect_lines("", (const char *[]){NULL});
    expect_lines("a", (const char *[]){"a", NULL});
    expect_lines("a\n", (const char *[]){"a", NULL});
    expect_lines("a\n\nb", (const char *[]){"a", "", "b", NULL});
    expect_lines("a\r\n\r\nb\r\n", (const char *[]){"a", "", "b", NULL});
    expect_lines("a\rb\n", (const char *[]){"a\rb", NULL});
}

static void test_byte_order_mark_is_dropped_once(void **state)
{
    (void)state;
    expect_lines("\xef\xbb\xbf"
                 "a\n\xef\xbb\xbf"
                 "b\n",
                 (const char *[]){"a",
                                  "\xef\xbb\xbf"
                                  "b",
                                  NULL});
    expect_lines("\xef\xbb\n", (const char *[]){"\xef\xbb", NULL});
}

static void expect_excerpt(const char *text, const char *wanted)
{
    char excerpt[LINES_EXCERPT_BYTES];

    lines_excerpt(text, strlen(text), excerpt);
    assert_string_equal(excerpt, wanted);
}

static void test_excerpts_are_short_and_printable(void **state)
{
    (void)state;
    expect_excerpt("", "");
    expect_excerpt("a\tb\x7f", "a?b?");
    expect_excerpt("123456789012345678901234567890123456789012345678901234567890",
                   "123456789012345678901234567890123456789012345678901234567890");
    expect_excerpt("1234567890123456789012345678901234567890123456789012345678901",
                   "123456789012345678901234567890123456789012345678901234567890...");
    expect_excerpt("12345678901234567890123456789012345678901234567890123456789é",
                   "12345678901234567890123456789012345678901234567890123456789...");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_are_cut),
        cmocka_unit_test(test_byte_order_mark_is_dropped_once),
        cmocka_unit_test(test_excerpts_are_short_and_printable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
