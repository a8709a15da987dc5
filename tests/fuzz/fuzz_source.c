/* A file, plain or gzip, on disk or in memory, read in pieces whose size the first byte gives. */
/* decoder: worker/data/source.c */
/* options: -max_len=4096 */
#include "worker/data/source.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <zlib.h>

enum { INPUT_BYTES = 4096, UNPACKED_BYTES_MAX = 1 << 16, GZIP_WINDOW_BITS = 15 + 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max);

/* Opens the bytes where they are, or as a file. */
static struct source *open_input(const uint8_t *bytes, size_t size, bool as_file)
{
    struct source *source;
    char path[64];
    int descriptor;

    if (!as_file) {
        if (source_open_bytes("t", bytes, size, &source, NULL))
            abort();
        return source;
    }
    descriptor = memfd_create("t", MFD_CLOEXEC);
    if (descriptor < 0 || write(descriptor, bytes, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    if (source_open(path, &source, NULL))
        abort();
    close(descriptor);
    return source;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t buffer[256];
    struct source *source;
    struct error err = {0};
    uint64_t total = 0;
    const uint8_t *head;
    size_t head_size, count = 1, piece;
    enum status status;

    if (size == 0)
        return 0;
    piece = 1 + data[0] % sizeof buffer;
    source = open_input(data + 1, size - 1, data[0] & 2);
    source_limit_unpacked(source, UNPACKED_BYTES_MAX);
    status = data[0] & 1 ? source_head(source, &head, &head_size, &err) : STATUS_OK;
    while (!status && count) {
        status = source_read(source, buffer, piece, &count, &err);
        total += status ? 0 : count;
    }
    if (status ? !err.message[0] || err.status != status
               : total > source_bytes_bound(source) || total > UNPACKED_BYTES_MAX + INPUT_BYTES)
        abort();
    source_free(source);
    return 0;
}

/* Unpacks, changes the content and packs it again, so that the checksum at the end is right. */
static size_t mutate_content(uint8_t *data, size_t size, size_t size_max)
{
    uint8_t content[INPUT_BYTES];
    size_t content_size = 0, packed_size = 0;
    z_stream inflater = {
        .next_in = data, .avail_in = (uInt)size, .next_out = content, .avail_out = sizeof content};
    z_stream deflater = {0};

    if (inflateInit2(&inflater, GZIP_WINDOW_BITS) != Z_OK)
        return 0;
    if (inflate(&inflater, Z_FINISH) == Z_STREAM_END)
        content_size = sizeof content - inflater.avail_out;
    inflateEnd(&inflater);
    content_size = LLVMFuzzerMutate(content, content_size, sizeof content);
    if (deflateInit2(&deflater, content_size % 10, Z_DEFLATED, GZIP_WINDOW_BITS, 8,
                     Z_DEFAULT_STRATEGY) != Z_OK)
        return 0;
    deflater.next_in = content;
    deflater.avail_in = (uInt)content_size;
    deflater.next_out = data;
    deflater.avail_out = (uInt)size_max;
    if (deflate(&deflater, Z_FINISH) == Z_STREAM_END)
        packed_size = size_max - deflater.avail_out;
    deflateEnd(&deflater);
    return packed_size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    if (seed % 2 == 0 && size > 0) {
        size_t packed_size = mutate_content(data + 1, size - 1, size_max - 1);
        if (packed_size && seed % 8 == 0 && 1 + 2 * packed_size <= size_max) { /* two members */
            memcpy(data + 1 + packed_size, data + 1, packed_size);
            packed_size *= 2;
        }
        if (packed_size)
            return packed_size + 1;
    }
    return LLVMFuzzerMutate(data, size, size_max);
}
