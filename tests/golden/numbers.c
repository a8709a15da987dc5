#include "tests/golden/numbers.h"

#include "common/base/alloc.h"

#include <string.h>

static bool convert(const struct safetensors_tensor *tensor, float *ret_values)
{
    for (size_t i = 0; i < tensor->element_count; i++) {
        const uint8_t *at = (const uint8_t *)tensor->data + i * element_bytes(tensor->type);
        int32_t int32;
        int64_t int64;

        switch (tensor->type) {
        case ELEMENT_F32:
            memcpy(&ret_values[i], at, sizeof(float));
            break;
        case ELEMENT_I32:
            memcpy(&int32, at, sizeof int32);
            ret_values[i] = (float)int32;
            break;
        case ELEMENT_I64:
            memcpy(&int64, at, sizeof int64);
            ret_values[i] = (float)int64;
            break;
        case ELEMENT_BOOL:
        case ELEMENT_U8:
            ret_values[i] = (float)*at;
            break;
        default:
            return false;
        }
    }
    return true;
}

bool numbers_make(struct golden_case *golden, size_t count, struct numbers *ret_numbers)
{
    *ret_numbers = (struct numbers){.count = count,
                                    .values = alloc_array(count + 1, sizeof(float))};
    if (!ret_numbers->values)
        golden_fail(golden, "out of memory");
    return ret_numbers->values != NULL;
}

bool numbers_read(struct golden_case *golden, const json_t *name, struct numbers *ret_numbers)
{
    const struct safetensors_tensor *tensor;

    *ret_numbers = (struct numbers){.count = 0};
    if (!json_is_string(name)) {
        golden_fail(golden, "the name of an array is missing");
        return false;
    }
    tensor = golden_array(golden, "%s", json_string_value(name));
    if (!tensor || !numbers_make(golden, tensor->element_count, ret_numbers))
        return false;
    ret_numbers->shape.rank = tensor->rank;
    for (size_t i = 0; i < tensor->rank; i++)
        ret_numbers->shape.size[i] = tensor->shape[i];
    if (convert(tensor, ret_numbers->values))
        return true;
    golden_fail(golden, "array '%s' is %s, which this kind does not read", tensor->name,
                element_name(tensor->type));
    numbers_release(ret_numbers);
    return false;
}

void numbers_release(struct numbers *numbers)
{
    alloc_free(numbers->values);
    *numbers = (struct numbers){.count = 0};
}

bool numbers_compare(struct golden_case *golden, const json_t *compare, const json_t *name,
                     const float *values, size_t count)
{
    if (!json_is_string(name)) {
        golden_fail(golden, "the name of an expected array is missing");
        return false;
    }
    return golden_compare(golden, compare, json_string_value(name), ELEMENT_F32, values, count);
}
