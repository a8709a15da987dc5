#include "worker/data/idx.h"

#include "tests/unit/worker/data/data_test.h"

static const struct data_options classes = {0};

/* Two images of 2 x 3 and their labels. */
static const uint8_t images[] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2,  0,  0,
                                 0, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 255};
static const uint8_t labels[] = {0, 0, 8, 1, 0, 0, 0, 2, 7, 3};

/* Copies the pair, changes one byte and expects that error. */
static void expect_error_at(size_t image_byte, uint8_t image_value, size_t label_byte,
                            uint8_t label_value, enum status status, const char *message)
{
    uint8_t x[sizeof images], y[sizeof labels];

    memcpy(x, images, sizeof x);
    memcpy(y, labels, sizeof y);
    x[image_byte] = image_value;
    y[label_byte] = label_value;
    data_test_expect_error(DATA_TEST_BYTES(x), DATA_TEST_BYTES(y), &classes, status, message);
}

static void test_pair_is_read(void **state)
{
    struct dataset dataset;
    size_t i;

    (void)state;
    assert_int_equal(
        data_test_read(DATA_TEST_BYTES(images), DATA_TEST_BYTES(labels), &classes, &dataset, NULL),
        STATUS_OK);
    assert_int_equal(dataset.example_count, 2);
    assert_int_equal(dataset.feature_count, 6);
    assert_int_equal(dataset.rank, 2);
    assert_int_equal(dataset.shape[0], 2);
    assert_int_equal(dataset.shape[1], 3);
    for (i = 0; i < 12; i++)
        assert_true(dataset.features[i] == (float)images[16 + i]);
    assert_true(dataset.labels[0] == 7 && dataset.labels[1] == 3);
    dataset_release(&dataset);
}

static void test_images_alone_where_labels_may_be_missing(void **state)
{
    const struct data_options options = {.unlabelled_feature_count = 6};
    const struct data_test_bytes none = {0};
    struct dataset dataset;

    (void)state;
    assert_int_equal(data_test_read(DATA_TEST_BYTES(images), none, &options, &dataset, NULL),
                     STATUS_OK);
    assert_null(dataset.labels);
    assert_int_equal(dataset.example_count, 2);
    dataset_release(&dataset);
    data_test_expect_error(DATA_TEST_BYTES(images), none, &classes, STATUS_INVALID_ARGUMENT,
                           "t.csv is IDX, which comes as a pair: write images,labels");
}

static void test_files_cut_short_are_refused(void **state)
{
    size_t size;

    (void)state;
    for (size = 5; size < sizeof images; size++)
        data_test_expect_error((struct data_test_bytes){images, size}, DATA_TEST_BYTES(labels),
                               &classes, STATUS_INVALID_ARGUMENT,
                               size < 16
                                   ? "images: the file ends within its header"
                                   : "images: the header declares 2 examples of 6 bytes, more than "
                                     "the file can hold");
    for (size = 5; size < sizeof labels; size++)
        data_test_expect_error(DATA_TEST_BYTES(images), (struct data_test_bytes){labels, size},
                               &classes, STATUS_INVALID_ARGUMENT,
                               size < 8
                                   ? "labels: the file ends within its header"
                                   : "labels: the header declares 2 examples of 1 bytes, more than "
                                     "the file can hold");
}

/* Packed, the size is not known before; but memory grows only with what arrives. */
static void test_packed_files_cut_short_are_refused(void **state)
{
    uint8_t claim[1000] = {0, 0, 8, 3, 0, 0, 0, 5, 0, 0, 1, 0, 0, 0, 0, 4};
    uint8_t *packed;
    size_t size;

    (void)state;
    packed = data_test_gzip(claim, sizeof claim, &size);
    claim[7] = 2;
    data_test_expect_error((struct data_test_bytes){packed, size},
                           (struct data_test_bytes){"\0\0\x08\x01\0\0\0\x05\0\0\0\0\0", 13},
                           &classes, STATUS_INVALID_ARGUMENT,
                           "images: the file ends within its images");
    free(packed);
}

static void test_wrong_headers_are_refused(void **state)
{
    (void)state;
    expect_error_at(2, 0x0d, 0, 0, STATUS_UNIMPLEMENTED,
                    "images: the element type is float32; only unsigned bytes are supported");
    expect_error_at(0, 0, 2, 0x0c, STATUS_UNIMPLEMENTED,
                    "labels: the element type is int32; only unsigned bytes are supported");
    expect_error_at(3, 10, 0, 0, STATUS_INVALID_ARGUMENT,
                    "images: the header has 10 axes; 9 is the most");
    expect_error_at(
        3, 1, 0, 0, STATUS_INVALID_ARGUMENT,
        "images: the images have 1 axis instead of 2 or more; is it the file of the labels?");
    expect_error_at(7, 0, 0, 0, STATUS_INVALID_ARGUMENT, "images: the file has no examples");
    expect_error_at(
        11, 0, 0, 0, STATUS_INVALID_ARGUMENT,
        "images: axis 1 is 0, which makes examples of 0 elements; 1 to 1048576 are possible");
    expect_error_at(
        8, 255, 0, 0, STATUS_INVALID_ARGUMENT,
        "images: axis 1 is 4278190082, which makes examples of 4278190082 elements; 1 to "
        "1048576 are possible");
    expect_error_at(7, 1, 0, 0, STATUS_INVALID_ARGUMENT,
                    "images has 1 examples, but labels has 2 labels");
    expect_error_at(0, 0, 7, 9, STATUS_INVALID_ARGUMENT,
                    "images has 2 examples, but labels has 9 labels");
    expect_error_at(
        4, 255, 0, 0, STATUS_INVALID_ARGUMENT,
        "images: the header declares 4278190082 examples of 6 bytes, more than the file can "
        "hold");
}

static void test_bytes_after_the_end_are_refused(void **state)
{
    uint8_t x[sizeof images + 1] = {0}, y[sizeof labels + 1] = {0};

    (void)state;
    memcpy(x, images, sizeof images);
    memcpy(y, labels, sizeof labels);
    data_test_expect_error(DATA_TEST_BYTES(x), DATA_TEST_BYTES(labels), &classes,
                           STATUS_INVALID_ARGUMENT,
                           "images: the file goes on after the examples that its header declares");
    data_test_expect_error(DATA_TEST_BYTES(images), DATA_TEST_BYTES(y), &classes,
                           STATUS_INVALID_ARGUMENT,
                           "labels: the file goes on after the examples that its header declares");
}

static void test_the_pair_given_the_other_way_round(void **state)
{
    (void)state;
    data_test_expect_error(
        DATA_TEST_BYTES(labels), DATA_TEST_BYTES(images), &classes, STATUS_INVALID_ARGUMENT,
        "images: the images have 1 axis instead of 2 or more; is it the file of the "
        "labels?");
    data_test_expect_error(
        DATA_TEST_BYTES(images), DATA_TEST_BYTES(images), &classes, STATUS_INVALID_ARGUMENT,
        "labels: the labels have 3 axes instead of 1; is it the file of the images?");
}

static void test_labels_past_the_classes_are_refused(void **state)
{
    const struct data_options options = {.class_count = 7};

    (void)state;
    data_test_expect_error(
        DATA_TEST_BYTES(images), DATA_TEST_BYTES(labels), &options, STATUS_INVALID_ARGUMENT,
        "labels: label of example 0: class 7 is outside 0 to 6, the 7 classes that the "
        "model tells apart");
}

static void test_other_formats_beside_it_are_refused(void **state)
{
    (void)state;
    data_test_expect_error(DATA_TEST_BYTES(images), data_test_text("1,2\n"), &classes,
                           STATUS_INVALID_ARGUMENT, "images is IDX, but labels is CSV");
    data_test_expect_error(
        data_test_text("1,2\n"), data_test_text("1,2\n"), &classes, STATUS_INVALID_ARGUMENT,
        "images is CSV, which is one file with its labels; 'labels' was given beside it");
}

static void test_allocations_may_fail(void **state)
{
    uint64_t n;

    (void)state;
    for (n = 1; n < DATA_TEST_ALLOCATION_MAX; n++) {
        struct dataset dataset = {0};
        struct error err = {0};
        uint64_t before = alloc_count();
        enum status status;
        alloc_fail_nth(n, n % 2 == 0);
        status = data_test_read(DATA_TEST_BYTES(images), DATA_TEST_BYTES(labels), &classes,
                                &dataset, &err);
        alloc_fail_nth(0, false);
        dataset_release(&dataset);
        if (status == STATUS_OK && alloc_count() - before < n)
            break;
        if (status)
            assert_int_equal(status, STATUS_RESOURCE_EXHAUSTED);
    }
    assert_in_range(n, 8, DATA_TEST_ALLOCATION_MAX - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pair_is_read),
        cmocka_unit_test(test_images_alone_where_labels_may_be_missing),
        cmocka_unit_test(test_files_cut_short_are_refused),
        cmocka_unit_test(test_packed_files_cut_short_are_refused),
        cmocka_unit_test(test_wrong_headers_are_refused),
        cmocka_unit_test(test_bytes_after_the_end_are_refused),
        cmocka_unit_test(test_the_pair_given_the_other_way_round),
        cmocka_unit_test(test_labels_past_the_classes_are_refused),
        cmocka_unit_test(test_other_formats_beside_it_are_refused),
        cmocka_unit_test(test_allocations_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
