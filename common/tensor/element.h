/* Element types of arrays in files: more than a variable may have. */
#ifndef PARAMD_COMMON_TENSOR_ELEMENT_H
#define PARAMD_COMMON_TENSOR_ELEMENT_H

#include "common/tensor/dtype.h"

#include <stddef.h>

enum element_type {
    ELEMENT_INVALID,
    ELEMENT_BOOL,
    ELEMENT_U8,
    ELEMENT_I8,
    ELEMENT_F8_E5M2,
    ELEMENT_F8_E4M3,
    ELEMENT_U16,
    ELEMENT_I16,
    ELEMENT_F16,
    ELEMENT_BF16,
    ELEMENT_U32,
    ELEMENT_I32,
    ELEMENT_F32,
    ELEMENT_U64,
    ELEMENT_I64,
    ELEMENT_F64,
};

/* Bytes of one element; 0 for ELEMENT_INVALID. */
size_t element_bytes(enum element_type type);

/* The names of the safetensors format: "F32". element_named: ELEMENT_INVALID if there is none of
 * that name. */
const char *element_name(enum element_type type);
enum element_type element_named(const char *name);

/* The type of a variable's elements, and back; ELEMENT_INVALID and DTYPE_INVALID where there is
 * none. */
enum element_type element_of_dtype(enum dtype dtype);
enum dtype element_dtype(enum element_type type);

#endif
