/* The safetensors format, named arrays in one file: read strictly, written the same each time. */
#ifndef PARAMD_COMMON_TENSOR_SAFETENSORS_H
#define PARAMD_COMMON_TENSOR_SAFETENSORS_H

#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/tensor/array_file.h"
#include "common/tensor/element.h"

#include <stddef.h>
#include <stdint.h>

enum {
    SAFETENSORS_HEADER_BYTES_MAX = 100 * 1000 * 1000, /* of the format itself */
    SAFETENSORS_ALIGNMENT = 64, /* of the first array in files that we write */
};

struct safetensors_tensor {
    const char *name;
    enum element_type type;
    size_t rank; /* 0: a scalar */
    uint64_t shape[LIMIT_RANK];
    uint64_t element_count; /* product of shape; reading sets it, writing works it out */
    /* row-major, little-endian; in a file it may lie at any address: copy it out */
    const void *data;
};

struct safetensors_text {
    const char *key, *value;
};

struct safetensors {
    struct safetensors_tensor *tensors; /* owned; in the order of their data */
    size_t tensor_count;
    struct safetensors_text *metadata; /* owned; __metadata__ in the file's order */
    size_t metadata_count;
    void *header;           /* owned; the names live in it */
    struct array_file file; /* owned; empty where the bytes are the caller's */
};

/*
 * Reads the bytes of a whole file, which are borrowed until safetensors_release. Checked: the
 * header's length, JSON without doubled keys, a known dtype, a rank up to LIMIT_RANK, offsets that
 * fit shape and dtype, data covered wholly and once. INVALID_ARGUMENT names what is wrong and the
 * array's name; RESOURCE_EXHAUSTED: no memory.
 *
 * Format: https://github.com/huggingface/safetensors#format
 */
NODISCARD enum status safetensors_parse(struct safetensors *ret_safetensors, const void *bytes,
                                        size_t size, struct error *err);

/* The same for a file, which is mapped. Also the errors of array_file_open; each message names the
 * path. */
NODISCARD enum status safetensors_open(struct safetensors *ret_safetensors, const char *path,
                                       struct error *err);
void safetensors_release(struct safetensors *safetensors);

/* The array of that name, or NULL. Binary search is not worth it: a linear walk. */
const struct safetensors_tensor *safetensors_find(const struct safetensors *safetensors,
                                                  const char *name);
/* The value of a metadata key, or NULL. */
const char *safetensors_metadata(const struct safetensors *safetensors, const char *key);

/*
 * Makes what stands in front of the data, a multiple of 64 bytes. Sorts tensors by element size
 * (largest first) and name: the data must follow in that order, without gaps, which leaves every
 * array aligned to its elements. metadata is sorted by key. `data` is not looked at. ret_header is
 * new, freed with alloc_free.
 *
 * INVALID_ARGUMENT: a name that is given twice, empty, no UTF-8 or __metadata__; an invalid type or
 * rank; too many bytes.
 */
NODISCARD enum status safetensors_make_header(struct safetensors_tensor *tensors,
                                              size_t tensor_count,
                                              struct safetensors_text *metadata,
                                              size_t metadata_count, uint8_t **ret_header,
                                              size_t *ret_size, struct error *err);

/* Writes header and data to a file that appears whole or not at all. Sorts like
 * safetensors_make_header. */
NODISCARD enum status safetensors_save(const char *path, struct safetensors_tensor *tensors,
                                       size_t tensor_count, struct safetensors_text *metadata,
                                       size_t metadata_count, struct error *err);

#endif
