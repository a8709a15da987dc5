/* NumPy's .npy format: one array in one file. */
#ifndef PARAMD_COMMON_TENSOR_NPY_H
#define PARAMD_COMMON_TENSOR_NPY_H

#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/tensor/array_file.h"
#include "common/tensor/element.h"

#include <stddef.h>
#include <stdint.h>

enum { NPY_HEADER_BYTES_MAX = 1024 }; /* of headers that we write */

struct npy {
    enum element_type type; /* F32, F64, I32, I64 or U8 */
    size_t rank;
    uint64_t shape[LIMIT_RANK];
    uint64_t element_count;
    const void *data;       /* row-major, little-endian; at any address: copy it out */
    struct array_file file; /* owned; empty where the bytes are the caller's */
};

/*
 * Reads the bytes of a whole file (format versions 1 to 3), which are borrowed until npy_release.
 * INVALID_ARGUMENT: not the format, or cut off; UNIMPLEMENTED: a dtype other than '<f4', '<f8',
 * '<i4', '<i8', '|u1', or Fortran order.
 *
 * Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
 */
NODISCARD enum status npy_parse(struct npy *ret_npy, const void *bytes, size_t size,
                                struct error *err);

/* The same for a file, which is mapped. Also the errors of array_file_open; each message names the
 * path. */
NODISCARD enum status npy_open(struct npy *ret_npy, const char *path, struct error *err);
void npy_release(struct npy *npy);

/* What stands in front of the data (version 1.0): a multiple of 64 bytes. The type must be one of
 * those above. */
NODISCARD enum status npy_make_header(enum element_type type, size_t rank, const uint64_t *shape,
                                      uint8_t ret_header[NPY_HEADER_BYTES_MAX], size_t *ret_size,
                                      struct error *err);

/* Writes an array to a file that appears whole or not at all. */
NODISCARD enum status npy_save(const char *path, enum element_type type, size_t rank,
                               const uint64_t *shape, const void *data, struct error *err);

#endif
