#include "worker/data/csv.h"

#include "tests/unit/worker/data/data_test.h"

#include "worker/data/lines.h"

static const struct data_options classes = {0};
static const struct data_options values = {.label_kind = DATA_LABELS_VALUES};
static const struct data_options ten_classes = {.class_count = 10};
static const struct data_options header_yes = {.header = DATA_HEADER_YES};
static const struct data_options header_no = {.header = DATA_HEADER_NO};

static void expect_error(const char *text, const struct data_options *options, const char *message)
{
    data_test_expect_error(data_test_text(text), (struct data_test_bytes){0}, options,
                           STATUS_INVALID_ARGUMENT, message);
}

static void expect_numbers(const float *found, size_t count, const float *wanted)
{
    size_t i;

    for (i = 0; i < count; i++) {
        if (found[i] != wanted[i])
            fail_msg("number %zu is %g instead of %g", i, (double)found[i], (double)wanted[i]);
    }
}

/* Over the end of a long text that was filled with something. */
static void put_text(char *at, const char *text)
{
    memcpy(at, text, strlen(text) + 1);
}

/* Two features and a label, twice; whatever the spelling. */
static void expect_two_rows(const char *text, const struct data_options *options)
{
    struct dataset dataset = data_test_read_text(text, options);

    assert_int_equal(dataset.example_count, 2);
    assert_int_equal(dataset.feature_count, 2);
    assert_int_equal(dataset.rank, 1);
    assert_int_equal(dataset.shape[0], 2);
    expect_numbers(dataset.features, 4, (float[]){1.5f, -2, 3, 4});
    expect_numbers(dataset.labels, 2, (float[]){0, 1});
    dataset_release(&dataset);
}

static void test_rows_are_read(void **state)
{
    (void)state;
    expect_two_rows("1.5,-2,0\n3,4,1\n", &classes);
    expect_two_rows("a,b,y\n1.5,-2,0\n3,4,1\n", &classes);
}

static void test_spellings_of_the_same_rows(void **state)
{
    (void)state;
    expect_two_rows("1.5,-2,0\n3,4,1", &classes);             /* no newline at the end */
    expect_two_rows("1.5,-2,0\r\n3,4,1\r\n", &classes);       /* as on Windows */
    expect_two_rows("1.5,-2,0\r\n3,4,1\r", &classes);         /* cut within the line end */
    expect_two_rows("1.5,-2,0\n3,4,1\n\n  \n\r\n", &classes); /* blank lines at the end */
    expect_two_rows("\n1.5,-2,0\n\n3,4,1\n", &classes);       /* and elsewhere */
    expect_two_rows("\xef\xbb\xbf"
                    "1.5,-2,0\n3,4,1\n",
                    &classes);                                             /* byte order mark */
    expect_two_rows(" 1.5 ,\t-2, 0 \n 3,4 ,1\n", &classes);                /* spaces */
    expect_two_rows("\"1.5\",\"-2\",\"0\"\n\" 3\" , \"4\",1\n", &classes); /* quotes */
    expect_two_rows("\xef\xbb\xbf\"a,1\",\"b \"\"c\"\"\",y\n1.5,-2,0\n3,4,1\n", &classes);
}

static void test_header_is_told_by_its_numbers(void **state)
{
    struct dataset dataset = data_test_read_text("width, \"height, \"\"cm\"\"\" ,y\n1,2,3\n",
                                                 &classes);

    (void)state;
    assert_int_equal(dataset.columns.count, 2);
    assert_string_equal(dataset.columns.items[0], "width");
    assert_string_equal(dataset.columns.items[1], "height, \"cm\"");
    dataset_release(&dataset);

    dataset = data_test_read_text("1,2,x\n1,2,y\n", &classes);
    assert_int_equal(dataset.example_count, 2);
    assert_int_equal(dataset.columns.count, 0);
    dataset_release(&dataset);
}

static void test_header_option_decides(void **state)
{
    struct dataset dataset = data_test_read_text("1999,2000,y\n1,2,3\n", &header_yes);

    (void)state;
    assert_int_equal(dataset.example_count, 1);
    assert_string_equal(dataset.columns.items[1], "2000");
    dataset_release(&dataset);
    expect_error("a,b,y\n1,2,3\n", &header_no, "t.csv:1: column '0': 'a' is not a number");
}

static void test_label_column_by_name(void **state)
{
    struct data_options options = {.label = "y"};
    struct dataset dataset = data_test_read_text("a,y,b\n1,5,2\n3,6,4\n", &options);

    (void)state;
    expect_numbers(dataset.features, 4, (float[]){1, 2, 3, 4});
    expect_numbers(dataset.labels, 2, (float[]){5, 6});
    assert_string_equal(dataset.columns.items[1], "b");
    dataset_release(&dataset);

    options.label = "0";
    dataset = data_test_read_text("5,1,2\n6,3,4\n", &options);
    expect_numbers(dataset.features, 4, (float[]){1, 2, 3, 4});
    expect_numbers(dataset.labels, 2, (float[]){5, 6});
    dataset_release(&dataset);
}

static void test_labels_of_text_become_sorted_classes(void **state)
{
    struct dataset dataset = data_test_read_text("1,pear\n2,apple\n3,\"pear\"\n4, fig\n5,7\n",
                                                 &classes);

    (void)state;
    expect_numbers(dataset.labels, 5, (float[]){3, 1, 3, 2, 0});
    assert_int_equal(dataset.classes.count, 4);
    assert_string_equal(dataset.classes.items[0], "7");
    assert_string_equal(dataset.classes.items[3], "pear");
    dataset_release(&dataset);
}

static void test_classes_of_the_training_file_are_used_again(void **state)
{
    struct dataset train = data_test_read_text("1,pear\n2,apple\n", &classes);
    struct data_options options = {.classes = &train.classes};
    struct dataset test = data_test_read_text("1,pear\n2,pear\n", &options);

    (void)state;
    expect_numbers(test.labels, 2, (float[]){1, 1});
    assert_int_equal(test.classes.count, 0);
    expect_error("1,pear\n2,plum\n", &options,
                 "t.csv:2: column '1': label 'plum' is none of the 2 classes of the training data "
                 "('apple' to 'pear')");
    dataset_release(&test);
    dataset_release(&train);
}

/* The training labels were numbers: text in the test file is no class. */
static void test_text_where_training_had_numbers_is_refused(void **state)
{
    const struct names none = {0};
    const struct data_options options = {.classes = &none};

    (void)state;
    expect_error(
        "1,pear\n", &options,
        "t.csv:1: column '1': label 'pear' is not a number, but the labels of the training data "
        "are numbers");
}

static void test_values_are_labels_for_regression(void **state)
{
    struct dataset dataset = data_test_read_text("1,-2.5\n2,1e3\n", &values);

    (void)state;
    expect_numbers(dataset.labels, 2, (float[]){-2.5f, 1000});
    dataset_release(&dataset);
    expect_error("1,2\n2,x\n", &values,
                 "t.csv:2: column '1': label 'x' is not a number, but the loss needs numbers");
    expect_error("1,1e99\n", &values, "t.csv:1: column '1': the label is too large for a float32");
}

static void test_labels_that_are_no_classes_are_refused(void **state)
{
    (void)state;
    expect_error("1,0\n1,-1\n", &classes,
                 "t.csv:2: column '1': -1 is not a class; classes are 0, 1, 2, ...");
    expect_error("1,0.5\n", &classes,
                 "t.csv:1: column '1': 0.5 is not a class; classes are 0, 1, 2, ...");
    expect_error(
        "1,9\n1,10\n", &ten_classes,
        "t.csv:2: column '1': class 10 is outside 0 to 9, the 10 classes that the model tells "
        "apart");
    expect_error(
        "1,16777217\n1,33554432\n", &classes,
        "t.csv:2: column '1': class 33554432 is too large; the largest possible is 16777216");
    expect_error(
        "1,2\n1,two\n", &classes,
        "t.csv:2: column '1': label 'two' is not a number, but the labels above it are numbers");
    expect_error(
        "1,nan\n1,2\n", &classes,
        "t.csv:1: column '1': label 'nan' is not a number, but a class has a name or a number");
    expect_error("1,2\n1,\n", &classes, "t.csv:2: column '1': the label is empty");
    expect_error("1,a\n1,\n", &classes, "t.csv:2: column '1': the label is empty");
    expect_error("1,\xff\n", &classes, "t.csv:1: column '1': label '\xff' is not valid UTF-8");
}

static void test_more_texts_than_classes_are_refused(void **state)
{
    const struct data_options two = {.class_count = 2};
    struct dataset dataset = data_test_read_text("1,a\n1,b\n", &two);

    (void)state;
    dataset_release(&dataset);
    expect_error("1,a\n1,b\n1,c\n", &two,
                 "t.csv: there are 3 different labels, but the model tells only 2 classes apart");
}

static void test_features_that_are_no_numbers_are_refused(void **state)
{
    (void)state;
    expect_error("x1,x3,y\n1,2,0\n1,abc,0\n", &classes,
                 "t.csv:3: column 'x3': 'abc' is not a number");
    expect_error("1,2,0\n1,,0\n", &classes,
                 "t.csv:2: column '1': there is nothing where a number is needed");
    expect_error("1,2,0\n1,\"\",0\n", &classes,
                 "t.csv:2: column '1': there is nothing where a number is needed");
    expect_error(
        "1,2,0\n1,NaN,0\n", &classes,
        "t.csv:2: column '1': 'NaN' is not a finite number; leave the line out, or put in a value");
    expect_error(
        "1,2,0\n1,-inf,0\n", &classes,
        "t.csv:2: column '1': '-inf' is not a finite number; leave the line out, or put in a "
        "value");
    expect_error("1,2,0\n1,1e39,0\n", &classes,
                 "t.csv:2: column '1': 1e39 is too large for a float32");
    expect_error("1,2,0\n1,0x10,0\n", &classes, "t.csv:2: column '1': '0x10' is not a number");
    expect_error("1,2,0\n1,1 2,0\n", &classes, "t.csv:2: column '1': '1 2' is not a number");
    expect_error("1,2,0\n1,\"a, \"\"b\"\"\",0\n", &classes,
                 "t.csv:2: column '1': 'a, \"b\"' is not a number");
    expect_error("1,2,0\n1,a\x01z,0\n", &classes, "t.csv:2: column '1': 'a?z' is not a number");
    expect_error(
        "id,2019,y\n1,2,0\n", &classes,
        "t.csv:1: column '0': 'id' is not a number (the first line has a number in it, so it was "
        "taken as data; --header yes makes it the names of the columns)");
}

static void test_lines_of_another_length_are_refused(void **state)
{
    (void)state;
    expect_error("a,b,y\n1,2,0\n1,2\n", &classes, "t.csv:3: 2 fields, but line 1 has 3");
    expect_error("1,2,0\n1\n", &classes, "t.csv:2: 1 field, but line 1 has 3");
    expect_error("1,2,0\n1,2,0,\n", &classes, "t.csv:2: 4 fields, but line 1 has 3");
    expect_error("1,2,0\n1,2,0,\"4,5\",6\n", &classes, "t.csv:2: 5 fields, but line 1 has 3");
}

static void test_broken_quotes_are_refused(void **state)
{
    (void)state;
    expect_error("1,2,0\n1,\"2,0\n", &classes,
                 "t.csv:2: a quoted field is not closed before the end of the line");
    expect_error("1,2,0\n1,\"2\"3,0\n", &classes,
                 "t.csv:2: a closing quote is followed by something other than a comma");
    expect_error("a,\"b\n1,2\n", &classes,
                 "t.csv:1: a quoted field is not closed before the end of the line");
    expect_error("1,2\n1,2,\"3\n", &classes,
                 "t.csv:2: a quoted field is not closed before the end of the line");
}

static void test_files_without_data_are_refused(void **state)
{
    (void)state;
    expect_error("", &classes, "t.csv: the file is empty");
    expect_error("\n \n", &classes, "t.csv: there are no lines of data");
    expect_error("a,b\n", &classes, "t.csv: there are no lines of data after the header");
    expect_error(
        "1\n2\n", &classes,
        "t.csv: there is one column, but a label and at least one feature are needed; are the "
        "fields separated by commas?");
}

static void test_label_column_that_is_not_there(void **state)
{
    struct data_options options = {.label = "lable"};

    (void)state;
    expect_error("a,b,label\n1,2,3\n", &options,
                 "t.csv: no column 'lable' for the label; there are 'a', 'b', 'label'");
    expect_error(
        "a,b,c,d,e,f,g,h,i\n1,2,3\n", &options,
        "t.csv: no column 'lable' for the label; there are 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', "
        "...");
    expect_error(
        "1,2,3\n", &options,
        "t.csv: no column 'lable'; the first line has a number in it, so it names no columns, and "
        "they are called 0 to 2 (--header yes makes it names)");
    options.label = "a";
    expect_error("a,b,a\n1,2,3\n", &options, "t.csv: more than one column is called 'a'");
}

static void test_file_without_labels(void **state)
{
    const struct data_options options = {.unlabelled_feature_count = 2};
    struct dataset dataset = data_test_read_text("1,2\n3,4\n", &options);

    (void)state;
    assert_null(dataset.labels);
    assert_int_equal(dataset.feature_count, 2);
    expect_numbers(dataset.features, 4, (float[]){1, 2, 3, 4});
    dataset_release(&dataset);

    dataset = data_test_read_text("1,2,9\n3,4,8\n", &options);
    assert_int_equal(dataset.feature_count, 2);
    expect_numbers(dataset.labels, 2, (float[]){9, 8});
    dataset_release(&dataset);
}

/* More rows than the first buffers hold, and lines across the borders of blocks. */
static void test_many_rows(void **state)
{
    enum { ROWS = 100000 };
    char *text = malloc(ROWS * 32);
    size_t used = 0;
    struct dataset dataset;
    size_t i;

    (void)state;
    assert_non_null(text);
    for (i = 0; i < ROWS; i++)
        used += (size_t)snprintf(text + used, 32, "%zu,%zu.5,%zu\n", i, i % 77, i % 3);
    dataset = data_test_read_text(text, &classes);
    assert_int_equal(dataset.example_count, ROWS);
    for (i = 0; i < ROWS; i++) {
        assert_true(dataset.features[2 * i] == (float)i);
        assert_true(dataset.features[2 * i + 1] == (float)(i % 77) + 0.5f);
        assert_true(dataset.labels[i] == (float)(i % 3));
    }
    dataset_release(&dataset);
    free(text);
}

static void test_long_lines_up_to_the_bound(void **state)
{
    char *text = malloc(LINES_LINE_BYTES_MAX + 16);
    struct dataset dataset;

    (void)state;
    assert_non_null(text);
    memset(text, '0', LINES_LINE_BYTES_MAX + 8);
    memcpy(text, "1.5", 3);
    put_text(text + LINES_LINE_BYTES_MAX - 3, ",7\n");
    dataset = data_test_read_text(text, &classes);
    assert_true(dataset.features[0] == 1.5f);
    dataset_release(&dataset);
    memset(text + LINES_LINE_BYTES_MAX - 3, '0', 8);
    put_text(text + LINES_LINE_BYTES_MAX + 3, ",7\n");
    expect_error(text, &classes, "t.csv:1: the line is longer than 16777216 bytes");
    free(text);
}

static void test_columns_up_to_the_bound(void **state)
{
    size_t count = DATASET_FEATURE_COUNT_MAX;
    char *text = malloc(2 * count + 8);
    struct dataset dataset;
    size_t i;

    (void)state;
    assert_non_null(text);
    for (i = 0; i < count; i++)
        memcpy(text + 2 * i, "1,", 2);
    put_text(text + 2 * count - 1, "\n");
    dataset = data_test_read_text(text, &classes);
    assert_int_equal(dataset.feature_count, count - 1);
    dataset_release(&dataset);
    put_text(text + 2 * count - 1, ",1\n");
    expect_error(text, &classes,
                 "t.csv:1: the line has more than 1048576 fields, the most there may be");
    free(text);
}

static void test_allocations_may_fail(void **state)
{
    const char *text = "a,b,\"y\"\n1,2,x\n\"3\",4,y\n5,6,x\n";
    uint64_t n;

    (void)state;
    for (n = 1; n < DATA_TEST_ALLOCATION_MAX; n++) {
        struct dataset dataset = {0};
        struct error err = {0};
        uint64_t before = alloc_count();
        enum status status;
        alloc_fail_nth(n, n % 2 == 0);
        status = data_test_read(data_test_text(text), (struct data_test_bytes){0}, &classes,
                                &dataset, &err);
        alloc_fail_nth(0, false);
        if (status == STATUS_OK) {
            uint64_t made = alloc_count() - before;
            dataset_release(&dataset);
            if (made >= n)
                continue; /* what failed was only giving memory back */
            break;
        }
        assert_int_equal(status, STATUS_RESOURCE_EXHAUSTED);
        assert_non_null(strstr(err.message, "out of memory"));
    }
    assert_in_range(n, 10, DATA_TEST_ALLOCATION_MAX - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_are_read),
        cmocka_unit_test(test_spellings_of_the_same_rows),
        cmocka_unit_test(test_header_is_told_by_its_numbers),
        cmocka_unit_test(test_header_option_decides),
        cmocka_unit_test(test_label_column_by_name),
        cmocka_unit_test(test_labels_of_text_become_sorted_classes),
        cmocka_unit_test(test_classes_of_the_training_file_are_used_again),
        cmocka_unit_test(test_text_where_training_had_numbers_is_refused),
        cmocka_unit_test(test_values_are_labels_for_regression),
        cmocka_unit_test(test_labels_that_are_no_classes_are_refused),
        cmocka_unit_test(test_more_texts_than_classes_are_refused),
        cmocka_unit_test(test_features_that_are_no_numbers_are_refused),
        cmocka_unit_test(test_lines_of_another_length_are_refused),
        cmocka_unit_test(test_broken_quotes_are_refused),
        cmocka_unit_test(test_files_without_data_are_refused),
        cmocka_unit_test(test_label_column_that_is_not_there),
        cmocka_unit_test(test_file_without_labels),
        cmocka_unit_test(test_many_rows),
        cmocka_unit_test(test_long_lines_up_to_the_bound),
        cmocka_unit_test(test_columns_up_to_the_bound),
        cmocka_unit_test(test_allocations_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
