/* What the tests of worker/data share: sources from text, gzip in memory, files in a folder of
 * their own. */
#ifndef PARAMD_TESTS_UNIT_WORKER_DATA_DATA_TEST_H
#define PARAMD_TESTS_UNIT_WORKER_DATA_DATA_TEST_H

#include "tests/lib/test.h"

#include "common/base/alloc.h"
#include "common/base/error.h"
#include "worker/data/data_file.h"
#include "worker/data/source.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <zlib.h>

enum { DATA_TEST_ALLOCATION_MAX = 1000 };

struct data_test_bytes {
    const void *bytes;
    size_t size;
};

#define DATA_TEST_BYTES(array) ((struct data_test_bytes){(array), sizeof(array)})

static inline struct data_test_bytes data_test_text(const char *text)
{
    return (struct data_test_bytes){text, strlen(text)};
}

/* Reads one file or a pair from memory, named t.csv, or images and labels. A part with NULL bytes
 * is none. */
static inline enum status data_test_read(struct data_test_bytes first,
                                         struct data_test_bytes second,
                                         const struct data_options *options,
                                         struct dataset *ret_dataset, struct error *err)
{
    struct source *parts[2] = {NULL};
    size_t part_count = second.bytes ? 2 : 1;
    enum status status = source_open_bytes(second.bytes ? "images" : "t.csv", first.bytes,
                                           first.size, &parts[0], err);

    if (!status && second.bytes)
        status = source_open_bytes("labels", second.bytes, second.size, &parts[1], err);
    if (!status)
        status = data_file_read_parts("t.csv", parts, part_count, options, ret_dataset, err);
    source_free(parts[1]);
    source_free(parts[0]);
    return status;
}

/* Reads text as one file; the test fails with the message if that fails. */
static inline struct dataset data_test_read_text(const char *text,
                                                 const struct data_options *options)
{
    struct dataset dataset = {0};
    struct error err = {0};

    if (data_test_read(data_test_text(text), (struct data_test_bytes){0}, options, &dataset, &err))
        fail_msg("%s", err.message);
    return dataset;
}

/* Reading must fail with exactly this. */
static inline void data_test_expect_error(struct data_test_bytes first,
                                          struct data_test_bytes second,
                                          const struct data_options *options, enum status status,
                                          const char *message)
{
    struct dataset dataset = {0};
    struct error err = {0};

    assert_int_equal(data_test_read(first, second, options, &dataset, &err), status);
    assert_string_equal(err.message, message);
    assert_int_equal(err.status, status);
    assert_null(dataset.features);
    /* The same without anybody to read the message. */
    assert_int_equal(data_test_read(first, second, options, &dataset, NULL), status);
}

/* The bytes as one gzip member; to be freed with free(). */
static inline uint8_t *data_test_gzip(const void *bytes, size_t size, size_t *ret_size)
{
    z_stream deflater = {0};
    uint8_t *packed;
    size_t room;

    assert_int_equal(deflateInit2(&deflater, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    room = deflateBound(&deflater, size);
    packed = malloc(room);
    assert_non_null(packed);
    deflater.next_in = (Bytef *)(uintptr_t)bytes;
    deflater.avail_in = (uInt)size;
    deflater.next_out = packed;
    deflater.avail_out = (uInt)room;
    assert_int_equal(deflate(&deflater, Z_FINISH), Z_STREAM_END);
    *ret_size = room - deflater.avail_out;
    deflateEnd(&deflater);
    return packed;
}

/* Writes a file of a new name under /tmp; the path is to be unlinked and freed. */
static inline char *data_test_file(const void *bytes, size_t size)
{
    char *path = strdup("/tmp/paramd-data-XXXXXX");
    int descriptor = mkstemp(path);

    assert_true(descriptor >= 0);
    assert_int_equal(write(descriptor, bytes, size), size);
    close(descriptor);
    return path;
}

#endif
