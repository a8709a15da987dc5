#include "worker/data/names.h"

#include "tests/unit/worker/data/data_test.h"

static void append(struct names *names, const char *text)
{
    assert_int_equal(names_append(names, text, strlen(text), NULL), STATUS_OK);
}

static void test_texts_are_found(void **state)
{
    struct names names = {0};
    char text[32];
    size_t i, index;

    (void)state;
    assert_false(names_find(&names, "a", 1, &index));
    for (i = 0; i < 5000; i++) {
        snprintf(text, sizeof text, "name %zu", i);
        append(&names, text);
    }
    for (i = 0; i < 5000; i++) {
        int size = snprintf(text, sizeof text, "name %zu", i);
        assert_true(names_find(&names, text, (size_t)size, &index));
        assert_int_equal(index, i);
    }
    assert_false(names_find(&names, "name", 4, &index));
    assert_false(names_find(&names, "", 0, &index));
    names_release(&names);
}

static void test_the_first_of_equals_is_found(void **state)
{
    struct names names = {0};
    size_t index, i;

    (void)state;
    for (i = 0; i < 40; i++)
        append(&names, i % 2 ? "odd" : "even");
    assert_true(names_find(&names, "odd", 3, &index));
    assert_int_equal(index, 1);
    assert_int_equal(names.count, 40);
    names_release(&names);
}

static void test_sorting_says_where_each_went(void **state)
{
    static const char *const texts[] = {"b", "é", "B", "a", "", "aa"};
    struct names names = {0};
    uint32_t moved[6];
    size_t i, index;

    (void)state;
    for (i = 0; i < 6; i++)
        append(&names, texts[i]);
    assert_int_equal(names_sort(&names, moved, NULL), STATUS_OK);
    assert_string_equal(names.items[1], "B");
    assert_string_equal(names.items[5], "é");
    for (i = 0; i < 6; i++) {
        assert_string_equal(names.items[moved[i]], texts[i]);
        assert_true(names_find(&names, texts[i], strlen(texts[i]), &index));
        assert_int_equal(index, moved[i]);
    }
    names_release(&names);
}

static void test_copies_are_equal(void **state)
{
    struct names names = {0}, copy = {0};

    (void)state;
    append(&names, "x");
    append(&names, "y");
    assert_int_equal(names_copy(&names, &copy, NULL), STATUS_OK);
    assert_true(names_equal(&names, &copy));
    append(&copy, "z");
    assert_false(names_equal(&names, &copy));
    names_release(&copy);
    append(&copy, "x");
    append(&copy, "z");
    assert_false(names_equal(&names, &copy));
    names_release(&copy);
    names_release(&names);
    names_release(NULL);
}

static void test_text_that_can_be_a_name(void **state)
{
    static const char *const good[] = {
        "", "a", "größe", "日本", "\xf0\x9f\x8d\x8e", "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"\xff",
                                      "\xc3",
                                      "a\x80",
                                      "\xc0\xaf",
                                      "\xe0\x80\xaf",
                                      "\xed\xa0\x80",
                                      "\xf4\x90\x80\x80",
                                      "\xf0\x80\x80\xaf",
                                      "\xe6\x97",
                                      "\xf5\x80\x80\x80"};
    size_t i;

    (void)state;
    for (i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(names_text_is_valid(good[i], strlen(good[i])));
    for (i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(names_text_is_valid(bad[i], strlen(bad[i])));
    assert_false(names_text_is_valid("a\0b", 3));
}

/* A failure leaves the list as it was. */
static void test_allocations_may_fail(void **state)
{
    struct names names = {0};
    size_t i, index;

    (void)state;
    for (i = 0; i < 100; i++) {
        char text[16];
        int size = snprintf(text, sizeof text, "%zu", i);
        uint64_t n = 0;
        enum status status;
        do {
            alloc_fail_nth(++n, false);
            status = names_append(&names, text, (size_t)size, NULL);
            alloc_fail_nth(0, false);
            assert_int_equal(names.count, status ? i : i + 1);
            assert_int_equal(names_find(&names, text, (size_t)size, &index), !status);
        } while (status);
    }
    names_release(&names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts_are_found),
        cmocka_unit_test(test_the_first_of_equals_is_found),
        cmocka_unit_test(test_sorting_says_where_each_went),
        cmocka_unit_test(test_copies_are_equal),
        cmocka_unit_test(test_text_that_can_be_a_name),
        cmocka_unit_test(test_allocations_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
