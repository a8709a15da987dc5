#include "worker/data/encoding.h"

#include "tests/unit/worker/data/data_test.h"

#include <math.h>

static const struct names no_classes = {0};

static struct encoding fit(enum scale_kind kind, const struct examples *train)
{
    struct encoding encoding = {0};
    struct error err = {0};

    if (encoding_fit(kind, &no_classes, train, &encoding, &err))
        fail_msg("%s", err.message);
    return encoding;
}

static void test_scale_none_changes_nothing(void **state)
{
    float features[] = {1, 2, 3, 4};
    struct examples train = {features, NULL, 2, 2};
    struct encoding encoding = fit(SCALE_NONE, &train);

    (void)state;
    assert_int_equal(encoding_apply(&encoding, features, 2, 2, NULL), STATUS_OK);
    assert_true(features[0] == 1 && features[3] == 4);
    encoding_release(&encoding);
}

static void test_scale_unit_divides_by_255(void **state)
{
    float features[] = {0, 51, 255, 128};
    struct examples train = {features, NULL, 2, 2};
    struct encoding encoding = fit(SCALE_UNIT, &train);

    (void)state;
    assert_int_equal(encoding_apply(&encoding, features, 2, 2, NULL), STATUS_OK);
    assert_true(features[0] == 0 && features[1] == 0.2f && features[2] == 1);
    assert_true(features[3] == 128.0f / 255.0f);
    encoding_release(&encoding);
}

/* 1, 2, 3, 4: mean 2.5, deviation of the population sqrt(1.25). */
static void test_scale_standard(void **state)
{
    float features[] = {1, 7, 2, 7, 3, 7, 4, 7};
    struct examples train = {features, NULL, 4, 2};
    struct encoding encoding = fit(SCALE_STANDARD, &train);

    (void)state;
    assert_true(encoding.mean[0] == 2.5 && encoding.mean[1] == 7);
    assert_true(encoding.deviation[0] == sqrt(1.25));
    assert_true(encoding.deviation[1] == 1); /* equal values */
    assert_int_equal(encoding_apply(&encoding, features, 4, 2, NULL), STATUS_OK);
    assert_true(features[0] == (float)(-1.5 / sqrt(1.25)) && features[1] == 0);
    encoding_release(&encoding);
}

/* The last examples, kept for validation, are not looked at. */
static void test_scale_is_learned_from_the_training_part(void **state)
{
    float features[] = {1, 3, 1000};
    struct examples train = {features, NULL, 2, 1};
    struct encoding encoding = fit(SCALE_STANDARD, &train);

    (void)state;
    assert_true(encoding.mean[0] == 2 && encoding.deviation[0] == 1);
    encoding_release(&encoding);
}

/* Numbers that float64 cannot add without rounding still have a deviation of 0 if they are equal.
 */
static void test_equal_values_are_seen_as_equal(void **state)
{
    enum { COUNT = 100001 };
    float *features = malloc(COUNT * sizeof *features);
    struct examples train = {features, NULL, COUNT, 1};
    struct encoding encoding;
    size_t i;

    (void)state;
    for (i = 0; i < COUNT; i++)
        features[i] = 0.1f;
    encoding = fit(SCALE_STANDARD, &train);
    assert_true(encoding.mean[0] == (double)0.1f && encoding.deviation[0] == 1);
    encoding_release(&encoding);
    free(features);
}

/* Small differences of large numbers, as times have: float32 sums would lose them. */
static void test_large_offsets_do_not_matter(void **state)
{
    float features[] = {16777200, 16777202, 16777204, 16777206};
    struct examples train = {features, NULL, 4, 1};
    struct encoding encoding = fit(SCALE_STANDARD, &train);

    (void)state;
    assert_true(encoding.mean[0] == 16777203 && encoding.deviation[0] == sqrt(5));
    encoding_release(&encoding);
}

static void test_wrong_use_is_refused(void **state)
{
    float features[] = {0, 0x1p-140f, 0, 0x1p-140f};
    struct examples train = {features, NULL, 4, 1};
    struct encoding encoding = fit(SCALE_STANDARD, &train);
    enum scale_kind kind;
    struct error err = {0};

    (void)state;
    assert_int_equal(encoding_apply(&encoding, features, 1, 3, &err), STATUS_INVALID_ARGUMENT);
    assert_string_equal(err.message, "the saved scale is for 1 features, but the data have 3");
    features[0] = 1;
    assert_int_equal(encoding_apply(&encoding, features, 1, 1, &err), STATUS_INVALID_ARGUMENT);
    assert_string_equal(
        err.message, "example 0, feature 0: 1 is too far from the training data (mean 3.58732e-43, "
                     "deviation 3.58732e-43) to be scaled");
    encoding_release(&encoding);
    train.count = 0;
    assert_int_equal(encoding_fit(SCALE_STANDARD, &no_classes, &train, &encoding, &err),
                     STATUS_INVALID_ARGUMENT);
    assert_int_equal(scale_kind_named("unit", &kind, &err), STATUS_OK);
    assert_int_equal(kind, SCALE_UNIT);
    assert_int_equal(scale_kind_named("Unit", &kind, &err), STATUS_INVALID_ARGUMENT);
    assert_string_equal(err.message,
                        "no scale is called 'Unit'; there are none, unit and standard");
}

static void test_allocations_may_fail(void **state)
{
    const struct data_options options = {0};
    struct dataset dataset = data_test_read_text("1,a\n2,b\n", &options);
    struct examples train = dataset_examples(&dataset);
    uint64_t n;

    (void)state;
    for (n = 1; n < DATA_TEST_ALLOCATION_MAX; n++) {
        struct encoding encoding = {0};
        enum status status;
        alloc_fail_nth(n, false);
        status = encoding_fit(SCALE_STANDARD, &dataset.classes, &train, &encoding, NULL);
        alloc_fail_nth(0, false);
        encoding_release(&encoding);
        if (!status)
            break;
        assert_int_equal(status, STATUS_RESOURCE_EXHAUSTED);
    }
    assert_in_range(n, 5, DATA_TEST_ALLOCATION_MAX - 1);
    dataset_release(&dataset);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scale_none_changes_nothing),
        cmocka_unit_test(test_scale_unit_divides_by_255),
        cmocka_unit_test(test_scale_standard),
        cmocka_unit_test(test_scale_is_learned_from_the_training_part),
        cmocka_unit_test(test_equal_values_are_seen_as_equal),
        cmocka_unit_test(test_large_offsets_do_not_matter),
        cmocka_unit_test(test_wrong_use_is_refused),
        cmocka_unit_test(test_allocations_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
