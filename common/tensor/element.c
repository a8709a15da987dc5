#include "common/tensor/element.h"

#include <string.h>

static const struct {
    const char *name;
    size_t bytes;
} types[] = {
    [ELEMENT_INVALID] = {"invalid", 0}, [ELEMENT_BOOL] = {"BOOL", 1},
    [ELEMENT_U8] = {"U8", 1},           [ELEMENT_I8] = {"I8", 1},
    [ELEMENT_F8_E5M2] = {"F8_E5M2", 1}, [ELEMENT_F8_E4M3] = {"F8_E4M3", 1},
    [ELEMENT_U16] = {"U16", 2},         [ELEMENT_I16] = {"I16", 2},
    [ELEMENT_F16] = {"F16", 2},         [ELEMENT_BF16] = {"BF16", 2},
    [ELEMENT_U32] = {"U32", 4},         [ELEMENT_I32] = {"I32", 4},
    [ELEMENT_F32] = {"F32", 4},         [ELEMENT_U64] = {"U64", 8},
    [ELEMENT_I64] = {"I64", 8},         [ELEMENT_F64] = {"F64", 8},
};
enum { TYPE_COUNT = sizeof types / sizeof types[0] };

size_t element_bytes(enum element_type type)
{
    return (size_t)type < TYPE_COUNT ? types[type].bytes : 0;
}

const char *element_name(enum element_type type)
{
    return (size_t)type < TYPE_COUNT ? types[type].name : types[ELEMENT_INVALID].name;
}

enum element_type element_named(const char *name)
{
    for (size_t i = ELEMENT_INVALID + 1; i < TYPE_COUNT; i++) {
        if (strcmp(name, types[i].name) == 0)
            return (enum element_type)i;
    }
    return ELEMENT_INVALID;
}

enum element_type element_of_dtype(enum dtype dtype)
{
    switch (dtype) {
    case DTYPE_FLOAT32:
        return ELEMENT_F32;
    case DTYPE_FLOAT64:
        return ELEMENT_F64;
    case DTYPE_INT64:
        return ELEMENT_I64;
    case DTYPE_INVALID:
        break;
    }
    return ELEMENT_INVALID;
}

enum dtype element_dtype(enum element_type type)
{
    switch (type) {
    case ELEMENT_F32:
        return DTYPE_FLOAT32;
    case ELEMENT_F64:
        return DTYPE_FLOAT64;
    case ELEMENT_I64:
        return DTYPE_INT64;
    default:
        return DTYPE_INVALID;
    }
}
