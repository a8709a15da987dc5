#include "common/tensor/npy.h"

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

enum { FILE_BYTES_MAX = 2048 };

static size_t make_file(uint8_t *ret_bytes, int version, const char *dictionary, size_t data_bytes)
{
    size_t prefix = version == 1 ? 10 : 12, length = strlen(dictionary);

    memset(ret_bytes, 0, FILE_BYTES_MAX);
    memcpy(ret_bytes, "\x93NUMPY", 6);
    ret_bytes[6] = (uint8_t)version;
    if (version == 1)
        bytes_put_u16(ret_bytes + 8, (uint16_t)length);
    else
        bytes_put_u32(ret_bytes + 8, (uint32_t)length);
    memcpy(ret_bytes + prefix, dictionary, length);
    return prefix + length + data_bytes;
}

static void test_the_types_are_read_in_every_version(void **state)
{
    static const struct {
        const char *descr;
        enum element_type type;
    } types[] = {{"<f4", ELEMENT_F32},
                 {"<f8", ELEMENT_F64},
                 {"<i4", ELEMENT_I32},
                 {"<i8", ELEMENT_I64},
                 {"|u1", ELEMENT_U8}};
    uint8_t bytes[FILE_BYTES_MAX];
    struct npy npy;
    struct error err;

    (void)state;
    for (size_t i = 0; i < 15; i++) {
        char dictionary[128];
        size_t size;

        snprintf(dictionary, sizeof dictionary,
                 "{'descr': '%s', 'fortran_order': False, 'shape': (2, 3), }    \n",
                 types[i / 3].descr);
        size = make_file(bytes, (int)(i % 3) + 1, dictionary, 6 * element_bytes(types[i / 3].type));
        assert_int_equal(npy_parse(&npy, bytes, size, &err), STATUS_OK);
        assert_int_equal(npy.type, types[i / 3].type);
        assert_int_equal(npy.rank, 2);
        assert_int_equal(npy.shape[0], 2);
        assert_int_equal(npy.shape[1], 3);
        assert_int_equal(npy.element_count, 6);
        assert_ptr_equal(npy.data, bytes + size - 6 * element_bytes(npy.type));
        npy_release(&npy);
    }
}

static void test_shapes_are_tuples_of_python(void **state)
{
    static const struct {
        const char *shape;
        size_t rank, count;
    } shapes[] = {{"()", 0, 1},
                  {"(3,)", 1, 3},
                  {"( 3 , )", 1, 3},
                  {"(0, 5)", 2, 0},
                  {"(1,1,1,1,1,1,1,2)", 8, 2}};
    uint8_t bytes[FILE_BYTES_MAX];
    struct npy npy;
    struct error err;

    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        char dictionary[128];

        snprintf(dictionary, sizeof dictionary,
                 "{\"shape\":%s,'fortran_order':False,'descr':'|u1'}", shapes[i].shape);
        assert_int_equal(
            npy_parse(&npy, bytes, make_file(bytes, 1, dictionary, shapes[i].count), &err),
            STATUS_OK);
        assert_int_equal(npy.rank, shapes[i].rank);
        assert_int_equal(npy.element_count, shapes[i].count);
    }
}

static void assert_refused(enum status expected, const char *dictionary, size_t data_bytes,
                           const char *part_of_message)
{
    uint8_t bytes[FILE_BYTES_MAX];
    struct npy npy = {.rank = 77};
    struct error err;

    assert_int_equal(npy_parse(&npy, bytes, make_file(bytes, 1, dictionary, data_bytes), &err),
                     expected);
    assert_int_equal(npy.rank, 77);
    if (!strstr(err.message, part_of_message))
        fail_msg("'%s' does not mention '%s'", err.message, part_of_message);
}

#define REST "'fortran_order': False, 'shape': (2,)"

static void test_what_cannot_be_read_is_refused(void **state)
{
    (void)state;
    assert_refused(STATUS_UNIMPLEMENTED, "{'descr': '>f4', " REST "}", 8, "'>f4'");
    assert_refused(STATUS_UNIMPLEMENTED, "{'descr': '|O', " REST "}", 8, "'|O'");
    assert_refused(STATUS_UNIMPLEMENTED, "{'descr': [('a', '<f4')], " REST "}", 8, "plain numbers");
    assert_refused(STATUS_UNIMPLEMENTED, "{'descr': '<f4', 'fortran_order': True, 'shape': (2,)}",
                   8, "Fortran");
    assert_refused(STATUS_INVALID_ARGUMENT, "{'descr': '<f4', 'fortran_order': 0, 'shape': (2,)}",
                   8, "neither");
    assert_refused(STATUS_INVALID_ARGUMENT, "{'descr': '<f4', " REST "}", 7, "7 bytes follow");
    assert_refused(STATUS_INVALID_ARGUMENT, "{'descr': '<f4', " REST "}", 9, "9 bytes follow");
    assert_refused(STATUS_INVALID_ARGUMENT, "{'descr': '<f4'}", 8, "lacks");
    assert_refused(STATUS_INVALID_ARGUMENT, "{'descr': '<f4', " REST ", 'x': 1}", 8, "'x'");
    assert_refused(STATUS_INVALID_ARGUMENT, "{'descr': '<f4', 'descr': '<f4', " REST "}", 8,
                   "descr");
    assert_refused(STATUS_INVALID_ARGUMENT, "{'descr': '<f4', " REST "} x", 8, "goes on");
    assert_refused(STATUS_INVALID_ARGUMENT, "{'descr': '<f4' " REST "}", 8, "dictionary");
    assert_refused(STATUS_INVALID_ARGUMENT, "{'descr", 0, "dictionary");
    assert_refused(STATUS_INVALID_ARGUMENT, "[1]", 0, "dictionary");
    assert_refused(STATUS_INVALID_ARGUMENT, "", 0, "dictionary");
}

static void test_broken_shapes_are_refused(void **state)
{
    static const char *const shapes[] = {"2",
                                         "(2",
                                         "(-1,)",
                                         "(,)",
                                         "(2 3)",
                                         "(2,,)",
                                         "(1.5,)",
                                         "(99999999999999999999,)",
                                         "(4294967296, 4294967296)",
                                         "(1,1,1,1,1,1,1,1,1)"};

    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        char dictionary[128];

        snprintf(dictionary, sizeof dictionary,
                 "{'descr': '<f4', 'fortran_order': False, 'shape': %s", shapes[i]);
        assert_refused(STATUS_INVALID_ARGUMENT, dictionary, 0, "");
    }
    assert_refused(STATUS_INVALID_ARGUMENT,
                   "{'descr': '<f8', 'fortran_order': False, 'shape': (2305843009213693952,)}", 0,
                   "follow");
}

static void test_a_cut_off_file_is_refused_at_every_length(void **state)
{
    uint8_t bytes[FILE_BYTES_MAX];
    size_t size = make_file(bytes, 2, "{'descr': '<f4', " REST "}\n", 8);
    struct npy npy;
    struct error err;

    (void)state;
    for (size_t cut = 0; cut < size; cut++)
        assert_int_equal(npy_parse(&npy, bytes, cut, &err), STATUS_INVALID_ARGUMENT);
    assert_int_equal(npy_parse(&npy, bytes, size, &err), STATUS_OK);
    bytes[6] = 4;
    assert_int_equal(npy_parse(&npy, bytes, size, &err), STATUS_UNIMPLEMENTED);
}

static void test_headers_are_written_as_numpy_does(void **state)
{
    static const char expected[] = "\x93NUMPY\x01\x00\x76\x00"
                                   "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }";
    const uint64_t shape[] = {3, 2};
    uint8_t header[NPY_HEADER_BYTES_MAX];
    size_t size;
    struct error err;

    (void)state;
    assert_int_equal(npy_make_header(ELEMENT_F32, 2, shape, header, &size, &err), STATUS_OK);
    assert_int_equal(size, 128);
    assert_memory_equal(header, expected, sizeof expected - 1);
    assert_int_equal(header[127], '\n');
    assert_int_equal(npy_make_header(ELEMENT_BOOL, 2, shape, header, &size, &err),
                     STATUS_INVALID_ARGUMENT);
    assert_int_equal(npy_make_header(ELEMENT_F32, LIMIT_RANK + 1, shape, header, &size, &err),
                     STATUS_INVALID_ARGUMENT);
}

static void test_a_saved_file_is_read_back(void **state)
{
    static const uint64_t shapes[][LIMIT_RANK] = {{0}, {6}, {2, 3}, {1, 1, 1, 1, 1, 1, 1, 6}};
    static const size_t ranks[] = {0, 1, 2, 8};
    const int32_t data[] = {1, -2, 3, -4, 5, -6};
    char path[] = "/tmp/paramd-npy-XXXXXX";
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    for (size_t i = 0; i < 4; i++) {
        struct npy npy;
        struct error err;

        assert_int_equal(npy_save(path, ELEMENT_I32, ranks[i], shapes[i], data, &err), STATUS_OK);
        assert_int_equal(npy_open(&npy, path, &err), STATUS_OK);
        assert_int_equal(npy.rank, ranks[i]);
        assert_memory_equal(npy.shape, shapes[i], ranks[i] * sizeof npy.shape[0]);
        assert_memory_equal(npy.data, data, npy.element_count * sizeof *data);
        npy_release(&npy);
    }
    unlink(path);
}

static void test_errors_of_files_name_the_path(void **state)
{
    struct npy npy;
    struct error err;

    (void)state;
    assert_int_equal(npy_open(&npy, "/nowhere/x.npy", &err), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.message, "/nowhere/x.npy"));
    assert_int_equal(npy_open(&npy, "Makefile", &err), STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "Makefile"));
    npy_release(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_types_are_read_in_every_version),
        cmocka_unit_test(test_shapes_are_tuples_of_python),
        cmocka_unit_test(test_what_cannot_be_read_is_refused),
        cmocka_unit_test(test_broken_shapes_are_refused),
        cmocka_unit_test(test_a_cut_off_file_is_refused_at_every_length),
        cmocka_unit_test(test_headers_are_written_as_numpy_does),
        cmocka_unit_test(test_a_saved_file_is_read_back),
        cmocka_unit_test(test_errors_of_files_name_the_path),
    };
    return cmocka_run_group_tests_name("npy", tests, NULL, NULL);
}
