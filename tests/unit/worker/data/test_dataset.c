#include "worker/data/dataset.h"

#include "tests/unit/worker/data/data_test.h"

#include <math.h>

static const struct data_options classes = {0};

static struct dataset dataset_of(size_t count)
{
    struct dataset dataset = {.rank = 1, .shape = {2}};
    struct dataset_builder builder;
    size_t i;

    dataset.name = alloc_string("t.csv");
    dataset_builder_init(&builder, &dataset, true);
    for (i = 0; i < count; i++) {
        float *row;
        assert_int_equal(dataset_builder_row(&builder, &row, NULL), STATUS_OK);
        row[0] = (float)i;
        row[1] = -(float)i;
        dataset_builder_add(&builder, (float)(i % 7));
    }
    dataset_builder_finish(&builder);
    return dataset;
}

static void test_builder_keeps_every_row(void **state)
{
    enum { ROWS = 50000 };
    struct dataset dataset = dataset_of(ROWS);
    size_t i;

    (void)state;
    assert_int_equal(dataset.example_count, ROWS);
    for (i = 0; i < ROWS; i++) {
        assert_true(dataset.features[2 * i] == (float)i &&
                    dataset.features[2 * i + 1] == -(float)i);
        assert_true(dataset.labels[i] == (float)(i % 7));
    }
    dataset_release(&dataset);
}

static void test_builder_stops_at_its_memory(void **state)
{
    struct dataset dataset = {.rank = 1, .shape = {9}};
    struct dataset_builder builder;
    struct error err = {0};
    enum status status = STATUS_OK;
    size_t rows = 0;

    (void)state;
    dataset.name = alloc_string("t.csv");
    dataset_builder_init(&builder, &dataset, false);
    builder.bytes_max = 400000; /* 10000 rows of 9 features and a label */
    while (!status) {
        float *row;
        status = dataset_builder_row(&builder, &row, &err);
        if (!status) {
            row[8] = 1;
            dataset_builder_add(&builder, 0);
            rows++;
        }
    }
    assert_int_equal(rows, 10000);
    assert_int_equal(status, STATUS_RESOURCE_EXHAUSTED);
    assert_string_equal(err.message,
                        "t.csv: more than 10000 examples of 9 features do not fit (three "
                        "quarters of this machine's memory)");
    dataset_release(&dataset);
}

static void test_split_takes_the_last_part(void **state)
{
    struct dataset dataset = dataset_of(10);
    struct examples train, validation;

    (void)state;
    assert_int_equal(dataset_split(&dataset, 0.25, &train, &validation, NULL), STATUS_OK);
    assert_int_equal(train.count, 7); /* floor(7.5) */
    assert_int_equal(validation.count, 3);
    assert_ptr_equal(train.features, dataset.features);
    assert_true(validation.features[0] == 7 && validation.labels[0] == 0);
    assert_int_equal(validation.feature_count, 2);

    assert_int_equal(dataset_split(&dataset, 0, &train, &validation, NULL), STATUS_OK);
    assert_int_equal(train.count, 10);
    assert_int_equal(validation.count, 0);
    dataset_release(&dataset);
}

static void test_impossible_splits_are_refused(void **state)
{
    static const double fractions[] = {-0.5, 1, 1.5, NAN};
    struct dataset dataset = dataset_of(10);
    struct examples train, validation;
    struct error err;
    size_t i;

    (void)state;
    for (i = 0; i < 4; i++)
        assert_int_equal(dataset_split(&dataset, fractions[i], &train, &validation, &err),
                         STATUS_INVALID_ARGUMENT);
    assert_int_equal(dataset_split(&dataset, 1.5, &train, &validation, &err),
                     STATUS_INVALID_ARGUMENT);
    assert_string_equal(err.message,
                        "the validation split is 1.5; it must be at least 0 and less than 1");
    assert_int_equal(dataset_split(&dataset, 0.95, &train, &validation, &err),
                     STATUS_INVALID_ARGUMENT);
    assert_string_equal(
        err.message,
        "a validation split of 0.95 of the 10 examples in t.csv leaves none for training");
    assert_int_equal(dataset_split(&dataset, 1e-20, &train, &validation, &err),
                     STATUS_INVALID_ARGUMENT);
    assert_string_equal(
        err.message,
        "a validation split of 1e-20 of the 10 examples in t.csv leaves none for validation");
    dataset_release(&dataset);
}

static void expect_unlike(const char *a, const char *b, const char *message)
{
    struct dataset train = data_test_read_text(a, &classes);
    struct dataset other = data_test_read_text(b, &classes);
    struct error err = {0};
    enum status status = dataset_check_alike(&train, &other, &err);

    if (message) {
        assert_int_equal(status, STATUS_INVALID_ARGUMENT);
        assert_string_equal(err.message, message);
    } else {
        assert_int_equal(status, STATUS_OK);
    }
    dataset_release(&train);
    dataset_release(&other);
}

static void test_files_are_compared(void **state)
{
    (void)state;
    expect_unlike("a,b,y\n1,2,3\n", "a,b,y\n4,5,6\n7,8,9\n", NULL);
    expect_unlike("a,b,y\n1,2,3\n", "1,2,3\n", NULL);
    expect_unlike("a,b,y\n1,2,3\n", "a,b,c,y\n1,2,3,4\n", "t.csv has 3 features, but t.csv has 2");
    expect_unlike(
        "a,b,y\n1,2,3\n", "b,a,y\n1,2,3\n",
        "feature column 1 is 'b' in t.csv, but 'a' in t.csv; the columns must be the same, in the "
        "same order");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_builder_keeps_every_row),
        cmocka_unit_test(test_builder_stops_at_its_memory),
        cmocka_unit_test(test_split_takes_the_last_part),
        cmocka_unit_test(test_impossible_splits_are_refused),
        cmocka_unit_test(test_files_are_compared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
