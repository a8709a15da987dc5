/* The element types a variable may have. Numbers are those of proto/tensor.proto. */
#ifndef PARAMD_COMMON_TENSOR_DTYPE_H
#define PARAMD_COMMON_TENSOR_DTYPE_H

#include <stddef.h>

enum dtype { DTYPE_INVALID = 0, DTYPE_FLOAT32 = 1, DTYPE_FLOAT64 = 2, DTYPE_INT64 = 3 };

/* Bytes of one element; 0 for DTYPE_INVALID or an unknown number. */
size_t dtype_bytes(enum dtype dtype);

/* "float32"; "invalid" for an unknown number. Static storage. */
const char *dtype_name(enum dtype dtype);

#endif
