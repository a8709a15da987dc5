#include "tests/lib/test.h"
#include "worker/ctl/selection.h"

#include <stdio.h>
#include <string.h>

static const uint64_t shape[] = {4, 5, 6};

static void parse(const char *text, struct selection *ret_selection)
{
    struct error err;

    assert_ok(selection_parse(text, shape, 3, ret_selection, &err), &err);
}

static void assert_slice_refused(const char *text, enum status expected, const char *words)
{
    struct selection selection;
    struct error err;

    assert_refused(selection_parse(text, shape, 3, &selection, &err), expected, &err, words);
}

static void assert_axis(const struct selection *selection, size_t axis, uint64_t first,
                        uint64_t count, bool dropped)
{
    assert_int_equal(selection->axes[axis].first, first);
    assert_int_equal(selection->axes[axis].count, count);
    assert_int_equal(selection->axes[axis].dropped, dropped);
}

static void test_nothing_means_everything(void **state)
{
    struct selection selection;

    (void)state;
    parse("", &selection);
    assert_int_equal(selection.element_count, 120);
    assert_int_equal(selection.run_count, 1);
    assert_int_equal(selection.run_elements, 120);
    assert_int_equal(selection_run_first(&selection, 0), 0);
}

static void test_numbers_and_ranges(void **state)
{
    struct selection selection;
    uint64_t result[LIMIT_RANK];

    (void)state;
    parse("[ 1:3 , -1, : ]", &selection);
    assert_axis(&selection, 0, 1, 2, false);
    assert_axis(&selection, 1, 4, 1, true);
    assert_axis(&selection, 2, 0, 6, false);
    assert_int_equal(selection_shape(&selection, result), 2);
    assert_int_equal(result[0], 2);
    assert_int_equal(result[1], 6);
    parse("[0, 0, 0]", &selection);
    assert_int_equal(selection_shape(&selection, result), 0);
    assert_int_equal(selection.element_count, 1);
}

/* As in Python: ranges are cut, and may be empty. */
static void test_ranges_are_cut(void **state)
{
    struct selection selection;

    (void)state;
    parse("[-3:, :100, 2:-1]", &selection);
    assert_axis(&selection, 0, 1, 3, false);
    assert_axis(&selection, 1, 0, 5, false);
    assert_axis(&selection, 2, 2, 3, false);
    parse("[-100:1]", &selection);
    assert_axis(&selection, 0, 0, 1, false);
    parse("[3:2]", &selection);
    assert_int_equal(selection.element_count, 0);
    assert_int_equal(selection.run_count, 0);
    parse("[99999999999999999999:]", &selection);
    assert_int_equal(selection.element_count, 0);
    parse("[::1]", &selection);
    assert_int_equal(selection.element_count, 120);
}

static void test_dots_stand_for_whole_axes(void **state)
{
    struct selection selection;

    (void)state;
    parse("[..., 2]", &selection);
    assert_axis(&selection, 0, 0, 4, false);
    assert_axis(&selection, 2, 2, 1, true);
    parse("[1, ... , 0:2]", &selection);
    assert_axis(&selection, 0, 1, 1, true);
    assert_axis(&selection, 1, 0, 5, false);
    assert_axis(&selection, 2, 0, 2, false);
    parse("[...]", &selection);
    assert_int_equal(selection.element_count, 120);
    parse("[0, 1, 2, ...]", &selection);
    assert_int_equal(selection.element_count, 1);
}

static void test_mistakes_are_named(void **state)
{
    (void)state;
    assert_slice_refused("[4]", STATUS_OUT_OF_RANGE, "4 is outside axis 0, which has length 4");
    assert_slice_refused("[0, -6]", STATUS_OUT_OF_RANGE,
                         "-6 is outside axis 1, which has length 5");
    assert_slice_refused("[0:4:2]", STATUS_INVALID_ARGUMENT, "only steps of 1");
    assert_slice_refused("[0, 1, 2, 3]", STATUS_INVALID_ARGUMENT, "than the variable has axes (3)");
    assert_slice_refused("[..., 0, 1, 2, 3]", STATUS_INVALID_ARGUMENT,
                         "than the variable has axes (3)");
    assert_slice_refused("[]", STATUS_INVALID_ARGUMENT, "a number or a range is needed");
    assert_slice_refused("[1", STATUS_INVALID_ARGUMENT, "its end");
    assert_slice_refused("[1]x", STATUS_INVALID_ARGUMENT, "nothing more is needed");
    assert_slice_refused("[a]", STATUS_INVALID_ARGUMENT, "wrong at 'a]'");
    assert_slice_refused("x", STATUS_INVALID_ARGUMENT, "'[' is needed");
    assert_slice_refused("[..., ...]", STATUS_INVALID_ARGUMENT, "is needed");
}

static bool is_selected(const struct selection *selection, uint64_t element)
{
    for (size_t i = selection->rank; i-- > 0;) {
        uint64_t at = element % shape[i];
        element /= shape[i];
        if (at < selection->axes[i].first ||
            at >= selection->axes[i].first + selection->axes[i].count)
            return false;
    }
    return true;
}

/* Every range of every axis: the runs are the selected elements, each once and in order. */
static void test_runs_are_what_is_selected(void **state)
{
    char text[64];

    (void)state;
    for (int i = 0; i < 4 * 5 * 5 * 6 * 6 * 7; i++) {
        int at[] = {i % 4, i / 4 % 5, i / 20 % 5, i / 100 % 6, i / 600 % 6, i / 3600};
        struct selection selection;
        uint64_t run = 0, done = 0;
        snprintf(text, sizeof text, "[%d:%d, %d:%d, %d:%d]", at[0], at[1], at[2], at[3], at[4],
                 at[5]);
        parse(text, &selection);
        for (uint64_t element = 0; element < 120; element++) {
            if (!is_selected(&selection, element))
                continue;
            if (run == selection.run_count ||
                selection_run_first(&selection, run) + done != element)
                fail_msg("%s: element %llu", text, (unsigned long long)element);
            if (++done == selection.run_elements) {
                done = 0;
                run++;
            }
        }
        assert_int_equal(run, selection.run_count);
        assert_int_equal(done, 0);
    }
}

static void test_a_scalar(void **state)
{
    struct selection selection;
    struct error err;

    (void)state;
    assert_int_equal(selection_parse("", NULL, 0, &selection, &err), STATUS_OK);
    assert_int_equal(selection.element_count, 1);
    assert_int_equal(selection.run_count, 1);
    assert_int_equal(selection_run_first(&selection, 0), 0);
    assert_int_equal(selection_parse("[...]", NULL, 0, &selection, &err), STATUS_OK);
    assert_int_equal(selection_parse("[0]", NULL, 0, &selection, &err), STATUS_INVALID_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_means_everything),
        cmocka_unit_test(test_numbers_and_ranges),
        cmocka_unit_test(test_ranges_are_cut),
        cmocka_unit_test(test_dots_stand_for_whole_axes),
        cmocka_unit_test(test_mistakes_are_named),
        cmocka_unit_test(test_runs_are_what_is_selected),
        cmocka_unit_test(test_a_scalar),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
