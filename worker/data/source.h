/* The bytes of a data file, plain or gzip (told by its first bytes), read from front to back. */
#ifndef PARAMD_WORKER_DATA_SOURCE_H
#define PARAMD_WORKER_DATA_SOURCE_H

#include "common/base/error.h"
#include "common/base/status.h"

#include <stddef.h>
#include <stdint.h>

enum {
    SOURCE_HEAD_BYTES = 4096, /* what source_head shows: enough to tell every format by */
    SOURCE_GZIP_RATIO = 1032, /* deflate's best: 258 bytes from two bits */
};

/* A small gzip file can grow to anything; past this it is refused. */
#define SOURCE_UNPACKED_BYTES_MAX (UINT64_C(16) << 30)

struct source;

/*
 * Open a file or a pipe for reading; ret_source is new, freed by source_free.
 *
 * NOT_FOUND if there is no such file; PERMISSION_DENIED; UNAVAILABLE for another failure of the
 * system.
 */
NODISCARD enum status source_open(const char *path, struct source **ret_source, struct error *err);

/* The same over bytes in memory (borrowed until source_free), under a name for messages. */
NODISCARD enum status source_open_bytes(const char *name, const void *bytes, size_t size,
                                        struct source **ret_source, struct error *err);

void source_free(struct source *source);

/* The path as it was given; belongs to the source. */
const char *source_name(const struct source *source);

/* Replaces SOURCE_UNPACKED_BYTES_MAX. */
void source_limit_unpacked(struct source *source, uint64_t unpacked_bytes_max);

/*
 * The first bytes, without moving on: SOURCE_HEAD_BYTES, or all where the file has fewer. They
 * belong to the source and change with the next source_read.
 */
NODISCARD enum status source_head(struct source *source, const uint8_t **ret_bytes,
                                  size_t *ret_size, struct error *err);

/*
 * Read up to capacity bytes; *ret_count is 0 only at the end.
 *
 * DATA_LOSS if gzip data is damaged or ends early; RESOURCE_EXHAUSTED if it unpacks to more than
 * the limit; UNAVAILABLE if the system cannot read.
 */
NODISCARD enum status source_read(struct source *source, void *buffer, size_t capacity,
                                  size_t *ret_count, struct error *err);

/* No file of this size on disk unpacks to more bytes than this; UINT64_MAX for a pipe, whose size
 * is unknown. */
uint64_t source_bytes_bound(const struct source *source);

#endif
