/*
 * A source is a file descriptor or bytes in memory, a packed buffer, and, for gzip, zlib's stream.
 * Several gzip members one after another are one file, as for gunzip; zeros after the last (tape
 * padding) are ignored, anything else there is damage.
 */
#include "worker/data/source.h"

#include "common/base/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zlib.h>

enum { PACKED_BYTES = 64 * 1024, GZIP_WINDOW_BITS = 15 + 16 };

enum packing { PACKING_UNKNOWN, PACKING_NONE, PACKING_GZIP };

struct source {
    char *name; /* owned */
    int descriptor;
    uint64_t file_bytes; /* as stored; UINT64_MAX: a pipe */

    /* As stored: a window of the file, or all of the caller's bytes. */
    uint8_t *packed_buffer; /* owned; NULL for bytes in memory */
    const uint8_t *packed;
    size_t packed_size;
    bool packed_ended;

    enum packing packing;
    z_stream inflater;
    bool inflating; /* the inflater is initialised */
    bool in_member; /* between a gzip header and its trailer */
    uint64_t unpacked_bytes;
    uint64_t unpacked_bytes_max;

    /* The first bytes, already unpacked but not yet read. */
    uint8_t head[SOURCE_HEAD_BYTES];
    size_t head_size;
    size_t head_used;
    bool head_filled;
};

static enum status system_error(struct error *err, const char *what, const char *name)
{
    enum status status = errno == ENOENT || errno == ENOTDIR ? STATUS_NOT_FOUND
                         : errno == EACCES || errno == EPERM ? STATUS_PERMISSION_DENIED
                         : errno == ENOMEM                   ? STATUS_RESOURCE_EXHAUSTED
                                                             : STATUS_UNAVAILABLE;
    return error_set(err, status, "%s '%s': %s", what, name, strerror(errno));
}

static voidpf inflater_alloc(voidpf opaque, uInt count, uInt size)
{
    (void)opaque;
    return alloc_array(count, size);
}

static void inflater_free(voidpf opaque, voidpf pointer)
{
    (void)opaque;
    alloc_free(pointer);
}

static enum status source_new(const char *name, struct source **ret_source, struct error *err)
{
    struct source *source = alloc_zero(sizeof *source);

    if (!source)
        return error_no_memory(err, "reading a file");
    source->descriptor = -1;
    source->unpacked_bytes_max = SOURCE_UNPACKED_BYTES_MAX;
    source->name = alloc_string(name);
    if (!source->name) {
        source_free(source);
        return error_no_memory(err, "reading a file");
    }
    *ret_source = source;
    return STATUS_OK;
}

enum status source_open(const char *path, struct source **ret_source, struct error *err)
{
    struct source *source;
    struct stat attributes;
    enum status status = source_new(path, &source, err);

    if (status)
        return status;
    source->packed_buffer = alloc_zero(PACKED_BYTES);
    if (!source->packed_buffer) {
        status = error_no_memory(err, "reading a file");
        goto out;
    }
    source->packed = source->packed_buffer;
    source->descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (source->descriptor < 0 || fstat(source->descriptor, &attributes) < 0) {
        status = system_error(err, "open", path);
        goto out;
    }
    source->file_bytes = S_ISREG(attributes.st_mode) ? (uint64_t)attributes.st_size : UINT64_MAX;
    *ret_source = source;
    return STATUS_OK;
out:
    source_free(source);
    return status;
}

enum status source_open_bytes(const char *name, const void *bytes, size_t size,
                              struct source **ret_source, struct error *err)
{
    struct source *source;
    enum status status = source_new(name, &source, err);

    if (status)
        return status;
    source->packed = bytes;
    source->packed_size = size;
    source->packed_ended = true;
    source->file_bytes = size;
    *ret_source = source;
    return STATUS_OK;
}

void source_free(struct source *source)
{
    if (!source)
        return;
    if (source->inflating)
        inflateEnd(&source->inflater);
    if (source->descriptor >= 0)
        close(source->descriptor);
    alloc_free(source->packed_buffer);
    alloc_free(source->name);
    alloc_free(source);
}

const char *source_name(const struct source *source)
{
    return source->name;
}

void source_limit_unpacked(struct source *source, uint64_t unpacked_bytes_max)
{
    source->unpacked_bytes_max = unpacked_bytes_max;
}

uint64_t source_bytes_bound(const struct source *source)
{
    uint64_t bound;

    if (source->packing != PACKING_GZIP)
        return source->file_bytes;
    if (__builtin_mul_overflow(source->file_bytes, (uint64_t)SOURCE_GZIP_RATIO, &bound))
        return UINT64_MAX;
    return bound;
}

/* Adds stored bytes until there are at least `wanted` or the file ends. */
static enum status packed_fill(struct source *source, size_t wanted, struct error *err)
{
    if (source->packed_size >= wanted || source->packed_ended)
        return STATUS_OK;
    memmove(source->packed_buffer, source->packed, source->packed_size);
    source->packed = source->packed_buffer;
    while (source->packed_size < wanted && !source->packed_ended) {
        ssize_t count = read(source->descriptor, source->packed_buffer + source->packed_size,
                             PACKED_BYTES - source->packed_size);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return system_error(err, "read", source->name);
        source->packed_size += (size_t)count;
        source->packed_ended = count == 0;
    }
    return STATUS_OK;
}

static bool gzip_starts(const struct source *source)
{
    return source->packed_size >= 2 && source->packed[0] == 0x1f && source->packed[1] == 0x8b;
}

static enum status packing_tell(struct source *source, struct error *err)
{
    enum status status = packed_fill(source, 2, err);

    if (status)
        return status;
    source->packing = gzip_starts(source) ? PACKING_GZIP : PACKING_NONE;
    if (source->packing == PACKING_NONE)
        return STATUS_OK;
    source->inflater.zalloc = inflater_alloc;
    source->inflater.zfree = inflater_free;
    if (inflateInit2(&source->inflater, GZIP_WINDOW_BITS) != Z_OK) {
        source->packing = PACKING_UNKNOWN;
        return error_no_memory(err, "unpacking gzip data");
    }
    source->inflating = true;
    source->in_member = true;
    return STATUS_OK;
}

static enum status read_plain(struct source *source, uint8_t *buffer, size_t capacity,
                              size_t *ret_count, struct error *err)
{
    enum status status = packed_fill(source, 1, err);
    size_t count = source->packed_size < capacity ? source->packed_size : capacity;

    if (status)
        return status;
    if (count)
        memcpy(buffer, source->packed, count);
    source->packed += count;
    source->packed_size -= count;
    *ret_count = count;
    return STATUS_OK;
}

static enum status damaged(const struct source *source, struct error *err, const char *how)
{
    return error_set(err, STATUS_DATA_LOSS, "%s: the gzip data %s", source->name, how);
}

/* Between members: begins the next one, or finds the end; then in_member stays false. */
static enum status next_member(struct source *source, struct error *err)
{
    for (;;) {
        enum status status = packed_fill(source, 2, err);
        if (status)
            return status;
        if (gzip_starts(source)) {
            if (inflateReset(&source->inflater) != Z_OK)
                return error_set(err, STATUS_INTERNAL, "%s: zlib lost its state", source->name);
            source->in_member = true;
            return STATUS_OK;
        }
        if (source->packed_size == 0)
            return STATUS_OK;
        if (source->packed[0] != 0)
            return damaged(source, err, "is followed by something else");
        source->packed++;
        source->packed_size--;
    }
}

/* One call of inflate; ret_count may be 0 though more is to come. */
static enum status inflate_some(struct source *source, uint8_t *buffer, size_t capacity,
                                size_t *ret_count, struct error *err)
{
    z_stream *inflater = &source->inflater;
    const size_t once_max = 1 << 30; /* zlib counts in 32 bits */
    uInt room = (uInt)(capacity < once_max ? capacity : once_max);
    uInt given;
    int code;
    enum status status = packed_fill(source, 1, err);

    if (status)
        return status;
    given = (uInt)(source->packed_size < once_max ? source->packed_size : once_max);
    inflater->next_in = (Bytef *)(uintptr_t)source->packed; /* zlib only reads it */
    inflater->avail_in = given;
    inflater->next_out = buffer;
    inflater->avail_out = room;
    code = inflate(inflater, Z_NO_FLUSH);
    source->packed += given - inflater->avail_in;
    source->packed_size -= given - inflater->avail_in;
    if (code == Z_MEM_ERROR)
        return error_no_memory(err, "unpacking gzip data");
    if (code == Z_BUF_ERROR && given == 0)
        return damaged(source, err, "ends early; was the file cut off?");
    if (code != Z_OK && code != Z_STREAM_END)
        return error_set(err, STATUS_DATA_LOSS, "%s: the gzip data is damaged: %s", source->name,
                         inflater->msg ? inflater->msg : "unusable");
    source->in_member = code != Z_STREAM_END;
    *ret_count = room - inflater->avail_out;
    return STATUS_OK;
}

static enum status read_gzip(struct source *source, uint8_t *buffer, size_t capacity,
                             size_t *ret_count, struct error *err)
{
    size_t count = 0;
    enum status status;

    while (capacity && !count) {
        if (!source->in_member) {
            status = next_member(source, err);
            if (status)
                return status;
            if (!source->in_member)
                break;
        }
        status = inflate_some(source, buffer, capacity, &count, err);
        if (status)
            return status;
    }
    source->unpacked_bytes += count;
    if (source->unpacked_bytes > source->unpacked_bytes_max)
        return error_set(
            err, STATUS_RESOURCE_EXHAUSTED,
            "%s: the gzip data unpacks to more than %llu bytes, the most that is accepted",
            source->name, (unsigned long long)source->unpacked_bytes_max);
    *ret_count = count;
    return STATUS_OK;
}

/* Past the head: straight from the file. */
static enum status read_on(struct source *source, uint8_t *buffer, size_t capacity,
                           size_t *ret_count, struct error *err)
{
    if (source->packing == PACKING_UNKNOWN) {
        enum status status = packing_tell(source, err);
        if (status)
            return status;
    }
    if (source->packing == PACKING_GZIP)
        return read_gzip(source, buffer, capacity, ret_count, err);
    return read_plain(source, buffer, capacity, ret_count, err);
}

enum status source_head(struct source *source, const uint8_t **ret_bytes, size_t *ret_size,
                        struct error *err)
{
    while (!source->head_filled) {
        size_t count = 0;
        enum status status = read_on(source, source->head + source->head_size,
                                     SOURCE_HEAD_BYTES - source->head_size, &count, err);
        if (status)
            return status;
        source->head_size += count;
        source->head_filled = count == 0 || source->head_size == SOURCE_HEAD_BYTES;
    }
    *ret_bytes = source->head;
    *ret_size = source->head_size;
    return STATUS_OK;
}

enum status source_read(struct source *source, void *buffer, size_t capacity, size_t *ret_count,
                        struct error *err)
{
    size_t left = source->head_size - source->head_used;
    size_t count = left < capacity ? left : capacity;

    if (count == 0)
        return read_on(source, buffer, capacity, ret_count, err);
    memcpy(buffer, source->head + source->head_used, count);
    source->head_used += count;
    *ret_count = count;
    return STATUS_OK;
}
