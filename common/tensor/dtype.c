#include "common/tensor/dtype.h"

size_t dtype_bytes(enum dtype dtype)
{
    switch (dtype) {
    case DTYPE_FLOAT32:
        return 4;
    case DTYPE_FLOAT64:
    case DTYPE_INT64:
        return 8;
    case DTYPE_INVALID:
        break;
    }
    return 0;
}

const char *dtype_name(enum dtype dtype)
{
    switch (dtype) {
    case DTYPE_FLOAT32:
        return "float32";
    case DTYPE_FLOAT64:
        return "float64";
    case DTYPE_INT64:
        return "int64";
    case DTYPE_INVALID:
        break;
    }
    return "invalid";
}
