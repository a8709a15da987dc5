#include "worker/data/data_file.h"

#include "tests/unit/worker/data/data_test.h"

static const struct data_options classes = {0};

static struct dataset read_file(const char *path, const struct data_options *options)
{
    struct dataset dataset = {0};
    struct error err = {0};

    if (data_file_read(path, options, &dataset, &err))
        fail_msg("%s", err.message);
    return dataset;
}

static void expect_error(const char *path, enum status status, const char *message)
{
    struct dataset dataset;
    struct error err = {0};

    assert_int_equal(data_file_read(path, &classes, &dataset, &err), status);
    assert_string_equal(err.message, message);
}

static void test_csv_plain_and_packed(void **state)
{
    struct dataset plain = read_file("tests/data/fruit.csv", &classes);
    struct dataset packed = read_file("tests/data/fruit.csv.gz", &classes);

    (void)state;
    assert_string_equal(plain.name, "tests/data/fruit.csv");
    assert_int_equal(plain.example_count, 8);
    assert_int_equal(plain.feature_count, 3);
    assert_string_equal(plain.columns.items[2], "colour, measured");
    assert_true(names_equal(&plain.classes, &packed.classes));
    assert_int_equal(plain.classes.count, 3);
    assert_memory_equal(plain.features, packed.features, 24 * sizeof(float));
    assert_memory_equal(plain.labels, packed.labels, 8 * sizeof(float));
    dataset_release(&plain);
    dataset_release(&packed);
}

static void test_idx_pair_plain_and_packed(void **state)
{
    static const char *const pairs[] = {
        "tests/data/corners-images-idx3-ubyte,tests/data/corners-labels-idx1-ubyte",
        "tests/data/corners-images-idx3-ubyte.gz,tests/data/corners-labels-idx1-ubyte.gz",
        "tests/data/corners-images-idx3-ubyte.gz,tests/data/corners-labels-idx1-ubyte",
    };
    size_t i, example;

    (void)state;
    for (i = 0; i < 3; i++) {
        struct dataset dataset = read_file(pairs[i], &classes);
        assert_int_equal(dataset.example_count, 4);
        for (example = 0; example < 4; example++) {
            assert_true(dataset.labels[example] == (float)example);
            assert_true(dataset.features[example * 4 + example] == 255);
        }
        dataset_release(&dataset);
    }
}

/* The name says nothing: content is looked at. */
static void test_format_is_told_by_content(void **state)
{
    char *path = data_test_file("1,2\n3,4\n", 8);
    char *named = malloc(strlen(path) + 8);
    struct dataset dataset;

    (void)state;
    snprintf(named, strlen(path) + 8, "%s.gz", path);
    assert_int_equal(rename(path, named), 0);
    dataset = read_file(named, &classes);
    assert_int_equal(dataset.example_count, 2);
    dataset_release(&dataset);
    unlink(named);
    free(named);
    free(path);
}

static void test_a_file_with_a_comma_in_its_name(void **state)
{
    char *path = data_test_file("1,2\n3,4\n", 8);
    char *named = malloc(strlen(path) + 8);
    struct dataset dataset;

    (void)state;
    snprintf(named, strlen(path) + 8, "%s,b", path);
    assert_int_equal(rename(path, named), 0);
    dataset = read_file(named, &classes);
    assert_int_equal(dataset.example_count, 2);
    dataset_release(&dataset);
    unlink(named);
    free(named);
    free(path);
}

static void test_files_that_cannot_be_read(void **state)
{
    (void)state;
    expect_error("/nowhere/train.csv", STATUS_NOT_FOUND,
                 "open '/nowhere/train.csv': No such file or directory");
    expect_error("tests/data/corners-images-idx3-ubyte,/nowhere/labels", STATUS_NOT_FOUND,
                 "open '/nowhere/labels': No such file or directory");
    expect_error(
        "tests/data/fruit.csv,tests/data/line.csv", STATUS_INVALID_ARGUMENT,
        "tests/data/fruit.csv is CSV, which is one file with its labels; 'tests/data/line.csv' was "
        "given beside it");
    expect_error("tests", STATUS_UNAVAILABLE, "read 'tests': Is a directory");
}

static void test_unknown_content_is_refused(void **state)
{
    static const struct data_test_bytes none = {0};

    (void)state;
    data_test_expect_error(
        (struct data_test_bytes){"\x7f"
                                 "ELF\0\1",
                                 6},
        none, &classes, STATUS_INVALID_ARGUMENT,
        "t.csv: the content is neither CSV nor IDX, plain or gzip; it begins with the "
        "bytes 7f 45 4c 46");
    data_test_expect_error(
        (struct data_test_bytes){"\0", 1}, none, &classes, STATUS_INVALID_ARGUMENT,
        "t.csv: the content is neither CSV nor IDX, plain or gzip; it begins with the "
        "bytes 00 00 00 00");
}

static void test_digits_that_come_along(void **state)
{
    const struct data_options ten = {.class_count = 10};
    struct dataset dataset = read_file("deploy/data/digits-8x8/digits.csv.gz", &ten);
    double sum = 0;
    size_t i;

    (void)state;
    assert_int_equal(dataset.example_count, 1797);
    assert_int_equal(dataset.feature_count, 64);
    for (i = 0; i < 1797 * 64; i++) {
        assert_true(dataset.features[i] >= 0 && dataset.features[i] <= 16);
        sum += (double)dataset.features[i];
    }
    assert_true(sum == 561718);
    assert_true(dataset.labels[0] == 0 && dataset.labels[1] == 1 && dataset.labels[1796] == 8);
    dataset_release(&dataset);
}

static void test_letters_that_come_along(void **state)
{
    const struct data_options letters = {.class_count = 26, .label = "0"};
    struct dataset dataset = read_file("deploy/data/letter-recognition/letter-recognition.data.gz",
                                       &letters);

    (void)state;
    assert_int_equal(dataset.example_count, 20000);
    assert_int_equal(dataset.feature_count, 16);
    assert_int_equal(dataset.classes.count, 26);
    assert_string_equal(dataset.classes.items[25], "Z");
    assert_true(dataset.labels[0] == 'T' - 'A');
    dataset_release(&dataset);
}

/* PARAMD_DATA is a folder with mnist/train-images-idx3-ubyte.gz and its labels. */
static void test_mnist(void **state)
{
    const char *folder = getenv("PARAMD_DATA");
    const struct data_options ten = {.class_count = 10};
    static const float first_labels[] = {5, 0, 4, 1, 9};
    char path[4096];
    struct dataset dataset;
    double sum = 0;
    size_t i;

    (void)state;
    if (!folder) {
        print_message("# skip: PARAMD_DATA is not set to a folder that has mnist/\n");
        skip();
    }
    snprintf(path, sizeof path,
             "%s/mnist/train-images-idx3-ubyte.gz,%s/mnist/train-labels-idx1-ubyte.gz", folder,
             folder);
    dataset = read_file(path, &ten);
    assert_int_equal(dataset.example_count, 60000);
    assert_int_equal(dataset.rank, 2);
    assert_int_equal(dataset.shape[0], 28);
    assert_memory_equal(dataset.labels, first_labels, sizeof first_labels);
    for (i = 0; i < dataset.example_count * dataset.feature_count; i++)
        sum += (double)dataset.features[i];
    assert_true(sum == 1567298545); /* mean 0.1307 of 255 */
    dataset_release(&dataset);
}

static void test_allocations_may_fail(void **state)
{
    const char *path =
        "tests/data/corners-images-idx3-ubyte.gz,tests/data/corners-labels-idx1-ubyte";
    uint64_t n;

    (void)state;
    for (n = 1; n < DATA_TEST_ALLOCATION_MAX; n++) {
        struct dataset dataset = {0};
        uint64_t before = alloc_count();
        enum status status;
        alloc_fail_nth(n, n % 2 == 0);
        status = data_file_read(path, &classes, &dataset, NULL);
        alloc_fail_nth(0, false);
        dataset_release(&dataset);
        if (status == STATUS_OK && alloc_count() - before < n)
            break;
        if (status)
            assert_int_equal(status, STATUS_RESOURCE_EXHAUSTED);
    }
    assert_in_range(n, 10, DATA_TEST_ALLOCATION_MAX - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_csv_plain_and_packed),
        cmocka_unit_test(test_idx_pair_plain_and_packed),
        cmocka_unit_test(test_format_is_told_by_content),
        cmocka_unit_test(test_a_file_with_a_comma_in_its_name),
        cmocka_unit_test(test_files_that_cannot_be_read),
        cmocka_unit_test(test_unknown_content_is_refused),
        cmocka_unit_test(test_digits_that_come_along),
        cmocka_unit_test(test_letters_that_come_along),
        cmocka_unit_test(test_mnist),
        cmocka_unit_test(test_allocations_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
