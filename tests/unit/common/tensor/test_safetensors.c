#include "common/tensor/safetensors.h"

#include "common/base/alloc.h"
#include "common/base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { FILE_BYTES_MAX = 4096 };

/* A file of a header and data_bytes zeros behind it. */
static size_t make_file(uint8_t *ret_bytes, const char *header, size_t data_bytes)
{
    size_t length = strlen(header);

    memset(ret_bytes, 0, FILE_BYTES_MAX);
    bytes_put_u64(ret_bytes, length);
    memcpy(ret_bytes + 8, header, length);
    return 8 + length + data_bytes;
}

static void assert_refused(const char *header, size_t data_bytes, const char *part_of_message)
{
    struct safetensors safetensors = {.tensor_count = 77};
    uint8_t bytes[FILE_BYTES_MAX];
    size_t size = make_file(bytes, header, data_bytes);
    struct error err;

    assert_int_equal(safetensors_parse(&safetensors, bytes, size, &err), STATUS_INVALID_ARGUMENT);
    assert_int_equal(safetensors.tensor_count, 77);
    if (!strstr(err.message, part_of_message))
        fail_msg("'%s' does not mention '%s'", err.message, part_of_message);
}

static void test_arrays_and_metadata_are_read(void **state)
{
    static const char header[] =
        "{\"b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[8,32]},"
        "\"__metadata__\":{\"step\":\"17\",\"seed\":\"1\"},"
        "\"a\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]},"
        "\"none\":{\"dtype\":\"F16\",\"shape\":[0,4],\"data_offsets\":[8,8]}}   ";
    struct safetensors safetensors;
    const struct safetensors_tensor *tensor;
    uint8_t bytes[FILE_BYTES_MAX];
    size_t size = make_file(bytes, header, 32);
    struct error err;

    (void)state;
    assert_int_equal(safetensors_parse(&safetensors, bytes, size, &err), STATUS_OK);
    assert_int_equal(safetensors.tensor_count, 3);
    tensor = safetensors_find(&safetensors, "b");
    assert_int_equal(tensor->type, ELEMENT_F32);
    assert_int_equal(tensor->rank, 2);
    assert_int_equal(tensor->shape[1], 3);
    assert_int_equal(tensor->element_count, 6);
    assert_ptr_equal(tensor->data, bytes + 8 + strlen(header) + 8);
    assert_int_equal(safetensors_find(&safetensors, "a")->element_count, 1);
    assert_int_equal(safetensors_find(&safetensors, "none")->element_count, 0);
    assert_null(safetensors_find(&safetensors, "c"));
    assert_string_equal(safetensors_metadata(&safetensors, "step"), "17");
    assert_null(safetensors_metadata(&safetensors, "epoch"));
    safetensors_release(&safetensors);
    safetensors_release(&safetensors);
    safetensors_release(NULL);
}

static void test_a_file_without_arrays_is_one(void **state)
{
    struct safetensors safetensors;
    uint8_t bytes[FILE_BYTES_MAX];
    struct error err;

    (void)state;
    assert_int_equal(safetensors_parse(&safetensors, bytes, make_file(bytes, "{}", 0), &err),
                     STATUS_OK);
    assert_int_equal(safetensors.tensor_count, 0);
    safetensors_release(&safetensors);
}

static void test_broken_headers_are_refused(void **state)
{
    struct safetensors safetensors;
    uint8_t bytes[FILE_BYTES_MAX];
    struct error err;

    (void)state;
    assert_refused("", 0, "begin with");
    assert_refused(" {}", 0, "begin with");
    assert_refused("{", 0, "no JSON");
    assert_refused("{} x", 0, "no JSON");
    assert_refused("{\"__metadata__\":1}", 0, "__metadata__");
    assert_refused("{\"__metadata__\":{\"step\":17}}", 0, "'step'");
    assert_int_equal(safetensors_parse(&safetensors, bytes, 7, &err), STATUS_INVALID_ARGUMENT);
    make_file(bytes, "{}", 0);
    assert_int_equal(safetensors_parse(&safetensors, bytes, 9, &err), STATUS_INVALID_ARGUMENT);
    bytes_put_u64(bytes, UINT64_MAX);
    assert_int_equal(safetensors_parse(&safetensors, bytes, 10, &err), STATUS_INVALID_ARGUMENT);
}

static void test_broken_entries_are_refused_by_name(void **state)
{
    (void)state;
    assert_refused("{\"w\":[]}", 0, "'w'");
    assert_refused("{\"w\":{\"shape\":[],\"data_offsets\":[0,4]}}", 4, "dtype");
    assert_refused("{\"w\":{\"dtype\":\"F33\",\"shape\":[],\"data_offsets\":[0,4]}}", 4, "F33");
    assert_refused("{\"w\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "shape");
    assert_refused("{\"w\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4,
                   "dimension 0");
    assert_refused("{\"w\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4,
                   "dimension 0");
    assert_refused("{\"w\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],"
                   "\"data_offsets\":[0,4]}}",
                   4, "at most 8");
    assert_refused("{\"w\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0]}}", 4, "pair");
    assert_refused("{\"w\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,-4]}}", 4, "pair");
    assert_refused("{\"w\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[4,0]}}", 4,
                   "do not fit");
    assert_refused("{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4,
                   "do not fit");
    assert_refused("{\"w\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],"
                   "\"data_offsets\":[0,0]}}",
                   0, "2^64");
    assert_refused("{\"w\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],"
                   "\"data_offsets\":[0,0]}}",
                   0, "do not fit");
    assert_refused("{\"w\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]},"
                   "\"w\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[1,2]}}",
                   2, "duplicate");
}

static void test_data_must_be_covered_once(void **state)
{
    static const char one[] = "{\"w\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[%d,%d]},"
                              "\"v\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[%d,%d]}}";
    static const struct {
        int begin[2];
        size_t data_bytes;
        const char *part_of_message;
    } cases[] = {
        {{0, 1}, 3, "overlaps"}, {{0, 3}, 5, "hole"},   {{1, 3}, 5, "hole"},
        {{0, 2}, 5, "follow"},   {{0, 2}, 3, "follow"}, {{0, 0}, 2, "overlaps"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const int *begin = cases[i].begin;
        char header[FILE_BYTES_MAX / 2];

        snprintf(header, sizeof header, one, begin[0], begin[0] + 2, begin[1], begin[1] + 2);
        assert_refused(header, cases[i].data_bytes, cases[i].part_of_message);
    }
}

static const float WEIGHTS[6] = {1, 2, 3, 4, 5, 6};
static const int64_t STEP = 17;

/* The list in two orders: the bytes must be the same. */
static size_t sample(struct safetensors_tensor ret_tensors[3], bool reversed)
{
    const struct safetensors_tensor tensors[3] = {
        {"b/kernel", ELEMENT_F32, 2, {2, 3}, 0, WEIGHTS},
        {"a \"quoted\" \xC3\xA9", ELEMENT_F32, 1, {6}, 0, WEIGHTS},
        {"step", ELEMENT_I64, 0, {0}, 0, &STEP},
    };

    for (size_t i = 0; i < 3; i++)
        ret_tensors[i] = tensors[reversed ? 2 - i : i];
    return 3;
}

static void test_headers_are_deterministic_and_aligned(void **state)
{
    uint8_t *headers[2];
    size_t sizes[2];
    struct error err;

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct safetensors_text metadata[] = {{i ? "x" : "a", "1"}, {i ? "a" : "x", "1"}};
        struct safetensors_tensor tensors[3];
        size_t count = sample(tensors, i == 1);

        assert_int_equal(
            safetensors_make_header(tensors, count, metadata, 2, &headers[i], &sizes[i], &err),
            STATUS_OK);
        assert_string_equal(tensors[0].name, "step"); /* the largest elements first, then by name */
        assert_string_equal(tensors[2].name, "b/kernel");
        assert_int_equal(sizes[i] % SAFETENSORS_ALIGNMENT, 0);
    }
    assert_int_equal(sizes[0], sizes[1]);
    assert_memory_equal(headers[0], headers[1], sizes[0]);
    alloc_free(headers[0]);
    alloc_free(headers[1]);
}

static void test_a_saved_file_is_read_back(void **state)
{
    char path[] = "/tmp/paramd-safetensors-XXXXXX";
    struct safetensors_tensor tensors[3];
    struct safetensors_text metadata = {"format", "pt"};
    size_t count = sample(tensors, false);
    struct safetensors safetensors;
    const struct safetensors_tensor *tensor;
    struct error err;
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(safetensors_save(path, tensors, count, &metadata, 1, &err), STATUS_OK);
    assert_int_equal(safetensors_open(&safetensors, path, &err), STATUS_OK);
    assert_int_equal(safetensors.tensor_count, 3);
    tensor = safetensors_find(&safetensors, "b/kernel");
    assert_memory_equal(tensor->data, WEIGHTS, sizeof WEIGHTS);
    assert_int_equal((uintptr_t)safetensors.tensors[0].data % SAFETENSORS_ALIGNMENT, 0);
    assert_memory_equal(safetensors_find(&safetensors, "step")->data, &STEP, sizeof STEP);
    assert_string_equal(safetensors_metadata(&safetensors, "format"), "pt");
    safetensors_release(&safetensors);
    unlink(path);
}

static void assert_not_written(struct safetensors_tensor *tensors, size_t count,
                               const char *part_of_message)
{
    uint8_t *header = NULL;
    size_t size = 0;
    struct error err;

    assert_int_equal(safetensors_make_header(tensors, count, NULL, 0, &header, &size, &err),
                     STATUS_INVALID_ARGUMENT);
    assert_null(header);
    assert_non_null(strstr(err.message, part_of_message));
}

static void test_what_the_format_cannot_hold_is_not_written(void **state)
{
    struct safetensors_tensor twice[] = {{"w", ELEMENT_F32, 0, {0}, 0, WEIGHTS},
                                         {"w", ELEMENT_I64, 0, {0}, 0, &STEP}};
    struct safetensors_tensor reserved = {"__metadata__", ELEMENT_F32, 0, {0}, 0, WEIGHTS};
    struct safetensors_tensor broken = {"\xFF", ELEMENT_F32, 0, {0}, 0, WEIGHTS};
    struct safetensors_tensor untyped = {"w", ELEMENT_INVALID, 0, {0}, 0, WEIGHTS};
    struct safetensors_tensor huge = {"w", ELEMENT_F64, 2, {INT64_MAX, 2}, 0, WEIGHTS};

    (void)state;
    assert_not_written(twice, 2, "twice");
    assert_not_written(&reserved, 1, "reserved");
    assert_not_written(&broken, 1, "UTF-8");
    assert_not_written(&untyped, 1, "not possible");
    assert_not_written(&huge, 1, "too large");
}

static void test_errors_of_files_name_the_path(void **state)
{
    char path[] = "/tmp/paramd-safetensors-XXXXXX";
    struct safetensors safetensors;
    struct safetensors_tensor tensors[3];
    struct error err;
    int fd = mkstemp(path);

    (void)state;
    assert_int_equal(safetensors_open(&safetensors, "/nowhere/w", &err), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.message, "/nowhere/w"));
    assert_int_equal(safetensors_open(&safetensors, "/tmp", &err), STATUS_FAILED_PRECONDITION);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "{\"config\":1}", 12), 12);
    close(fd);
    assert_int_equal(safetensors_open(&safetensors, path, &err), STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, path));
    unlink(path);
    assert_int_equal(safetensors_save("/nowhere/w", tensors, sample(tensors, false), NULL, 0, &err),
                     STATUS_NOT_FOUND);
}

static void test_failing_allocations_are_reported(void **state)
{
    static const char header[] = "{\"a\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]},"
                                 "\"__metadata__\":{\"x\":\"y\"}}";
    uint8_t bytes[FILE_BYTES_MAX];
    size_t size = make_file(bytes, header, 1);
    struct safetensors safetensors;
    struct error err;

    (void)state;
    for (uint64_t n = 1; n <= 3; n++) {
        alloc_fail_nth(n, false);
        assert_int_equal(safetensors_parse(&safetensors, bytes, size, &err),
                         STATUS_RESOURCE_EXHAUSTED);
        alloc_fail_nth(0, false);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arrays_and_metadata_are_read),
        cmocka_unit_test(test_a_file_without_arrays_is_one),
        cmocka_unit_test(test_broken_headers_are_refused),
        cmocka_unit_test(test_broken_entries_are_refused_by_name),
        cmocka_unit_test(test_data_must_be_covered_once),
        cmocka_unit_test(test_headers_are_deterministic_and_aligned),
        cmocka_unit_test(test_a_saved_file_is_read_back),
        cmocka_unit_test(test_what_the_format_cannot_hold_is_not_written),
        cmocka_unit_test(test_errors_of_files_name_the_path),
        cmocka_unit_test(test_failing_allocations_are_reported),
    };
    return cmocka_run_group_tests_name("safetensors", tests, NULL, NULL);
}
