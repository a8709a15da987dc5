#include "worker/data/source.h"

#include "tests/unit/worker/data/data_test.h"

#include "common/base/rng.h"

#include <errno.h>
#include <sys/stat.h>

/* Everything a source gives, read in pieces of that size; to be freed with free(). */
static enum status read_all(struct source *source, size_t piece, uint8_t **ret_bytes,
                            size_t *ret_size, struct error *err)
{
    uint8_t *bytes = NULL;
    size_t size = 0, count = 1;
    enum status status = STATUS_OK;

    while (!status && count) {
        bytes = realloc(bytes, size + piece);
        assert_non_null(bytes);
        status = source_read(source, bytes + size, piece, &count, err);
        if (!status)
            size += count;
    }
    if (status) {
        free(bytes);
        return status;
    }
    *ret_bytes = bytes;
    *ret_size = size;
    return STATUS_OK;
}

static void expect_content(struct source *source, size_t piece, const void *wanted,
                           size_t wanted_size)
{
    struct error err = {0};
    uint8_t *bytes;
    size_t size;

    if (read_all(source, piece, &bytes, &size, &err))
        fail_msg("%s", err.message);
    assert_int_equal(size, wanted_size);
    assert_memory_equal(bytes, wanted, size);
    free(bytes);
    source_free(source);
}

static struct source *open_bytes(const void *bytes, size_t size)
{
    struct source *source;

    assert_int_equal(source_open_bytes("t", bytes, size, &source, NULL), STATUS_OK);
    return source;
}

static void expect_error(const void *bytes, size_t size, enum status status, const char *message)
{
    struct source *source = open_bytes(bytes, size);
    struct error err = {0};
    uint8_t *content;
    size_t content_size;

    assert_int_equal(read_all(source, 1000, &content, &content_size, &err), status);
    assert_string_equal(err.message, message);
    source_free(source);
}

/* Content that is longer than every buffer on the way. */
static uint8_t *long_content(size_t size)
{
    struct rng_sequence rng = {3};
    uint8_t *content = malloc(size);
    size_t i;

    assert_non_null(content);
    for (i = 0; i < size; i++)
        content[i] = (uint8_t)(rng_next(&rng) & 15);
    content[0] = 'x';
    return content;
}

static void test_plain_and_gzip_give_the_same(void **state)
{
    enum { SIZE = 300000 };
    uint8_t *content = long_content(SIZE);
    size_t packed_size;
    uint8_t *packed = data_test_gzip(content, SIZE, &packed_size);
    char *plain_path = data_test_file(content, SIZE);
    char *packed_path = data_test_file(packed, packed_size);
    static const size_t pieces[] = {1000, 4096, 65536, 1000000};
    struct source *source;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        assert_int_equal(source_open(plain_path, &source, NULL), STATUS_OK);
        expect_content(source, pieces[i], content, SIZE);
        assert_int_equal(source_open(packed_path, &source, NULL), STATUS_OK);
        expect_content(source, pieces[i], content, SIZE);
        expect_content(open_bytes(content, SIZE), pieces[i], content, SIZE);
        expect_content(open_bytes(packed, packed_size), pieces[i], content, SIZE);
    }
    unlink(plain_path);
    unlink(packed_path);
    free(plain_path);
    free(packed_path);
    free(packed);
    free(content);
}

static void test_head_is_seen_without_moving_on(void **state)
{
    const uint8_t *head;
    size_t size;
    struct source *source = open_bytes("hello", 5);

    (void)state;
    assert_int_equal(source_head(source, &head, &size, NULL), STATUS_OK);
    assert_int_equal(size, 5);
    assert_int_equal(source_head(source, &head, &size, NULL), STATUS_OK);
    assert_memory_equal(head, "hello", 5);
    expect_content(source, 2, "hello", 5);
}

static void test_empty_files(void **state)
{
    size_t size;
    uint8_t *packed = data_test_gzip("", 0, &size);

    (void)state;
    expect_content(open_bytes("", 0), 10, "", 0);
    expect_content(open_bytes(packed, size), 10, "", 0);
    expect_content(open_bytes("\x1f", 1), 10, "\x1f", 1);
    free(packed);
}

static void test_members_one_after_another_are_one_file(void **state)
{
    size_t first_size, second_size;
    uint8_t *first = data_test_gzip("abc", 3, &first_size);
    uint8_t *second = data_test_gzip("defg", 4, &second_size);
    uint8_t both[200] = {0};

    (void)state;
    memcpy(both, first, first_size);
    memcpy(both + first_size, second, second_size);
    expect_content(open_bytes(both, first_size + second_size), 2, "abcdefg", 7);
    expect_content(open_bytes(both, sizeof both), 2, "abcdefg", 7); /* and zeros behind them */
    both[first_size + second_size + 5] = 'x';
    expect_error(both, sizeof both, STATUS_DATA_LOSS,
                 "t: the gzip data is followed by something else");
    free(first);
    free(second);
}

static void test_damaged_gzip_is_refused(void **state)
{
    size_t size, cut;
    uint8_t *packed = data_test_gzip("some text to be packed", 22, &size);

    (void)state;
    for (cut = 2; cut < size; cut++)
        expect_error(packed, cut, STATUS_DATA_LOSS,
                     "t: the gzip data ends early; was the file cut off?");
    packed[size - 8] ^= 1;
    expect_error(packed, size, STATUS_DATA_LOSS,
                 "t: the gzip data is damaged: incorrect data check");
    expect_error("\x1f\x8b\x07\x00", 4, STATUS_DATA_LOSS,
                 "t: the gzip data is damaged: unknown compression method");
    free(packed);
}

static void test_what_unpacks_to_too_much_is_refused(void **state)
{
    enum { SIZE = 100000 };
    uint8_t *zeros = calloc(1, SIZE);
    size_t packed_size, size;
    uint8_t *packed = data_test_gzip(zeros, SIZE, &packed_size);
    struct source *source = open_bytes(packed, packed_size);
    struct error err = {0};
    uint8_t *content;

    (void)state;
    source_limit_unpacked(source, SIZE - 1);
    assert_int_equal(read_all(source, 1000, &content, &size, &err), STATUS_RESOURCE_EXHAUSTED);
    assert_string_equal(err.message,
                        "t: the gzip data unpacks to more than 99999 bytes, the most that is "
                        "accepted");
    source_free(source);
    source = open_bytes(packed, packed_size);
    source_limit_unpacked(source, SIZE);
    expect_content(source, 1000, zeros, SIZE);
    free(packed);
    free(zeros);
}

static void test_size_bound_holds(void **state)
{
    enum { SIZE = 1000000 };
    uint8_t *zeros = calloc(1, SIZE);
    size_t packed_size, size;
    uint8_t *packed = data_test_gzip(zeros, SIZE, &packed_size);
    struct source *source = open_bytes(packed, packed_size);
    const uint8_t *head;

    (void)state;
    assert_int_equal(source_head(source, &head, &size, NULL), STATUS_OK);
    assert_true(source_bytes_bound(source) >= SIZE);
    assert_true(source_bytes_bound(source) < 2 * SIZE);
    source_free(source);
    free(packed);
    free(zeros);
}

static void test_files_that_cannot_be_opened(void **state)
{
    struct source *source;
    struct error err = {0};
    char byte;
    size_t count;

    (void)state;
    assert_int_equal(source_open("/nowhere/x.csv", &source, &err), STATUS_NOT_FOUND);
    assert_string_equal(err.message, "open '/nowhere/x.csv': No such file or directory");
    assert_int_equal(source_open("/tmp", &source, &err), STATUS_OK);
    assert_int_equal(source_read(source, &byte, 1, &count, &err), STATUS_UNAVAILABLE);
    assert_string_equal(err.message, "read '/tmp': Is a directory");
    source_free(source);
    if (geteuid() != 0) {
        char *path = data_test_file("x", 1);
        chmod(path, 0);
        assert_int_equal(source_open(path, &source, &err), STATUS_PERMISSION_DENIED);
        unlink(path);
        free(path);
    }
}

static void test_allocations_may_fail(void **state)
{
    size_t size, packed_size;
    uint8_t *packed = data_test_gzip("abc", 3, &packed_size);
    char *path = data_test_file(packed, packed_size);
    uint64_t n;

    (void)state;
    for (n = 1; n < DATA_TEST_ALLOCATION_MAX; n++) {
        struct source *source = NULL;
        struct error err = {0};
        uint8_t *content = NULL;
        enum status status;
        alloc_fail_nth(n, n % 2 == 0);
        status = source_open(path, &source, &err);
        if (!status)
            status = read_all(source, 10, &content, &size, &err);
        alloc_fail_nth(0, false);
        source_free(source);
        free(content);
        if (!status)
            break;
        assert_int_equal(status, STATUS_RESOURCE_EXHAUSTED);
    }
    assert_in_range(n, 5, DATA_TEST_ALLOCATION_MAX - 1);
    unlink(path);
    free(path);
    free(packed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_and_gzip_give_the_same),
        cmocka_unit_test(test_head_is_seen_without_moving_on),
        cmocka_unit_test(test_empty_files),
        cmocka_unit_test(test_members_one_after_another_are_one_file),
        cmocka_unit_test(test_damaged_gzip_is_refused),
        cmocka_unit_test(test_what_unpacks_to_too_much_is_refused),
        cmocka_unit_test(test_size_bound_holds),
        cmocka_unit_test(test_files_that_cannot_be_opened),
        cmocka_unit_test(test_allocations_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
