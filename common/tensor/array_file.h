/* A file read as bytes, and a file written whole, for the array formats here. */
#ifndef PARAMD_COMMON_TENSOR_ARRAY_FILE_H
#define PARAMD_COMMON_TENSOR_ARRAY_FILE_H

#include "common/base/error.h"

#include <stddef.h>
#include <stdint.h>

struct array_file {
    const uint8_t *bytes; /* owned mapping, read-only; NULL for an empty file */
    size_t size;
};

/*
 * Maps a file. NOT_FOUND, PERMISSION_DENIED: as the words say; FAILED_PRECONDITION: not a regular
 * file; UNKNOWN: any other error of the system. Nobody may shorten the file while it is mapped.
 */
NODISCARD enum status array_file_open(struct array_file *ret_file, const char *path,
                                      struct error *err);
void array_file_release(struct array_file *file);

/*
 * Writes the pieces one behind the other into path: into a file beside it, which then takes its
 * name, so that there is never a half-written one. Errors as above; the old file stays as it was,
 * and so does what is there and no regular file.
 */
struct array_file_piece {
    const void *data; /* may be NULL where size is 0 */
    size_t size;
};
NODISCARD enum status array_file_write(const char *path, const struct array_file_piece *pieces,
                                       size_t piece_count, struct error *err);

#endif
