#include "worker/data/encoding_text.h"

#include "tests/unit/worker/data/data_test.h"

static void fill(struct encoding *encoding, const char *const *names, size_t name_count)
{
    size_t i;

    *encoding = (struct encoding){.scale = SCALE_STANDARD};
    for (i = 0; i < name_count; i++)
        assert_int_equal(names_append(&encoding->classes, names[i], strlen(names[i]), NULL),
                         STATUS_OK);
    assert_int_equal(names_sort(&encoding->classes, NULL, NULL), STATUS_OK);
    assert_int_equal(encoding_allocate(encoding, 3, NULL), STATUS_OK);
    encoding->mean[0] = 0.1;
    encoding->mean[1] = -1e-300;
    encoding->mean[2] = 0;
    encoding->deviation[0] = 1.0 / 3;
    encoding->deviation[1] = 4.9406564584124654e-324;
    encoding->deviation[2] = 1.7976931348623157e308;
}

static void test_text_gives_the_same_encoding(void **state)
{
    static const char *const names[] = {"plum", "a \"quoted\" \\ name", "tab\there", "größe", ""};
    struct encoding encoding, again;
    struct encoding_text text;

    (void)state;
    fill(&encoding, names, 5);
    assert_int_equal(encoding_print(&encoding, &text, NULL), STATUS_OK);
    assert_int_equal(text.pair_count, 4);
    assert_string_equal(text.pairs[0].key, "classes");
    assert_string_equal(
        text.pairs[0].value,
        "[\"\",\"a \\\"quoted\\\" \\\\ name\",\"größe\",\"plum\",\"tab\\u0009here\"]");
    assert_string_equal(text.pairs[1].value, "standard");
    assert_string_equal(text.pairs[3].key, "scale_mean");
    assert_string_equal(text.pairs[3].value, "0.10000000000000001 -1e-300 0");
    assert_int_equal(encoding_parse(text.pairs, text.pair_count, &again, NULL), STATUS_OK);
    assert_true(names_equal(&encoding.classes, &again.classes));
    assert_int_equal(again.scale, SCALE_STANDARD);
    assert_int_equal(again.feature_count, 3);
    assert_memory_equal(encoding.mean, again.mean, 3 * sizeof(double));
    assert_memory_equal(encoding.deviation, again.deviation, 3 * sizeof(double));
    encoding_text_release(&text);
    encoding_release(&encoding);
    encoding_release(&again);
}

static void test_encodings_without_classes_or_numbers(void **state)
{
    struct encoding encoding = {.scale = SCALE_UNIT}, again;
    struct encoding_text text;
    const struct encoding_pair foreign[] = {{"format", "pt"}};

    (void)state;
    assert_int_equal(encoding_print(&encoding, &text, NULL), STATUS_OK);
    assert_int_equal(text.pair_count, 1);
    assert_int_equal(encoding_parse(text.pairs, text.pair_count, &again, NULL), STATUS_OK);
    assert_int_equal(again.scale, SCALE_UNIT);
    encoding_text_release(&text);
    assert_int_equal(encoding_parse(foreign, 1, &again, NULL), STATUS_OK);
    assert_int_equal(again.scale, SCALE_NONE);
    assert_int_equal(again.classes.count, 0);
    assert_int_equal(encoding_parse(NULL, 0, &again, NULL), STATUS_OK);
}

struct wrong_case {
    struct encoding_pair pairs[ENCODING_PAIR_COUNT_MAX];
    const char *message;
};

static const struct wrong_case wrong[] = {
    {{{"classes", "[\"a\"]"}}, "metadata 'scale' is missing"},
    {{{"scale", "none"}, {"scale", "unit"}}, "metadata 'scale' is there twice"},
    {{{"scale", "big"}}, "no scale is called 'big'; there are none, unit and standard"},
    {{{"scale", "standard"}, {"scale_mean", "1"}},
     "metadata 'scale_deviation' and 'scale_mean' must be there for the scale standard, and only "
     "for it"},
    {{{"scale", "unit"}, {"scale_mean", "1"}, {"scale_deviation", "1"}},
     "metadata 'scale_deviation' and 'scale_mean' must be there for the scale standard, and only "
     "for it"},
    {{{"scale", "standard"}},
     "metadata 'scale_deviation' and 'scale_mean' must be there for the scale standard, and only "
     "for it"},
    {{{"scale", "standard"}, {"scale_mean", "1 2"}, {"scale_deviation", "1"}},
     "metadata 'scale_mean' has 2 numbers, but 'scale_deviation' has 1"},
    {{{"scale", "standard"}, {"scale_mean", "1 x"}, {"scale_deviation", "1 1"}},
     "metadata 'scale_mean': a number is wanted, not 'x'"},
    {{{"scale", "standard"}, {"scale_mean", "1 "}, {"scale_deviation", "1 1"}},
     "metadata 'scale_mean': a number is wanted, not ''"},
    {{{"scale", "standard"}, {"scale_mean", "1.0"}, {"scale_deviation", "1"}},
     "metadata 'scale_mean': 1 is wanted, not '1.0'"},
    {{{"scale", "standard"},
      {"scale_mean", "0.1000000000000000000000000000001"},
      {"scale_deviation", "1"}},
     "metadata 'scale_mean': a number is wanted, not '0.1000000000000000000000000000001'"},
    {{{"scale", "standard"}, {"scale_mean", "1"}, {"scale_deviation", "0"}},
     "metadata 'scale_deviation': number 0 is 0; it must be above 0"},
    {{{"scale", "standard"}, {"scale_mean", "1"}, {"scale_deviation", "-1"}},
     "metadata 'scale_deviation': number 0 is -1; it must be above 0"},
    {{{"scale", "none"}, {"classes", ""}},
     "metadata 'classes': a list of names in brackets is wanted, not ''"},
    {{{"scale", "none"}, {"classes", "[]"}},
     "metadata 'classes': a name in quotes is wanted, not ']'"},
    {{{"scale", "none"}, {"classes", "[\"a\",]"}},
     "metadata 'classes': a name in quotes is wanted, not ']'"},
    {{{"scale", "none"}, {"classes", "[\"a\""}},
     "metadata 'classes': a comma, or the bracket at the end, is wanted, not ''"},
    {{{"scale", "none"}, {"classes", "[\"a\"]x"}},
     "metadata 'classes': a comma, or the bracket at the end, is wanted, not ']x'"},
    {{{"scale", "none"}, {"classes", "[\"a"}},
     "metadata 'classes': a name in quotes is wanted, not '\"a'"},
    {{{"scale", "none"}, {"classes", "[\"\\n\"]"}},
     "metadata 'classes': a name in quotes is wanted, not '\"\\n\"]'"},
    {{{"scale", "none"}, {"classes", "[\"\\u0000\"]"}},
     "metadata 'classes': a name in quotes is wanted, not '\"\\u0000\"]'"},
    {{{"scale", "none"}, {"classes", "[\"b\",\"a\"]"}},
     "metadata 'classes': names are not sorted, or one is there twice"},
    {{{"scale", "none"}, {"classes", "[\"a\",\"a\"]"}},
     "metadata 'classes': names are not sorted, or one is there twice"},
};

static void test_anything_else_is_refused(void **state)
{
    size_t i, count;

    (void)state;
    for (i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct encoding encoding;
        struct error err = {0};
        for (count = 0; count < ENCODING_PAIR_COUNT_MAX && wrong[i].pairs[count].key; count++)
            ;
        assert_int_equal(encoding_parse(wrong[i].pairs, count, &encoding, &err),
                         STATUS_INVALID_ARGUMENT);
        assert_string_equal(err.message, wrong[i].message);
    }
}

static void test_allocations_may_fail(void **state)
{
    static const char *const names[] = {"a", "b"};
    struct encoding encoding, again;
    struct encoding_text text;
    enum status status;
    uint64_t n;

    (void)state;
    fill(&encoding, names, 2);
    for (n = 1; n < DATA_TEST_ALLOCATION_MAX; n++) {
        alloc_fail_nth(n, false);
        status = encoding_print(&encoding, &text, NULL);
        alloc_fail_nth(0, false);
        if (!status)
            break;
        assert_int_equal(status, STATUS_RESOURCE_EXHAUSTED);
    }
    assert_int_equal(n, 5);
    for (n = 1; n < DATA_TEST_ALLOCATION_MAX; n++) {
        alloc_fail_nth(n, false);
        status = encoding_parse(text.pairs, text.pair_count, &again, NULL);
        alloc_fail_nth(0, false);
        if (!status)
            break;
        assert_int_equal(status, STATUS_RESOURCE_EXHAUSTED);
    }
    assert_in_range(n, 6, DATA_TEST_ALLOCATION_MAX - 1);
    encoding_text_release(&text);
    encoding_release(&encoding);
    encoding_release(&again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_gives_the_same_encoding),
        cmocka_unit_test(test_encodings_without_classes_or_numbers),
        cmocka_unit_test(test_anything_else_is_refused),
        cmocka_unit_test(test_allocations_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
