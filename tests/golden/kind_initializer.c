/* Initial values that a class of Keras makes of a seed and a shape. */
#include "common/base/alloc.h"
#include "common/optim/initializer.h"
#include "tests/golden/golden.h"

#include <string.h>

enum { ARGUMENTS_MAX = 4 };

static const char *const argument_keys[ARGUMENTS_MAX + 1] = {"scale", "value", "mean", "stddev",
                                                             NULL};
static const char *const range_keys[] = {"minval", "maxval", NULL};

static size_t read_arguments(json_t *config, const char *const *keys,
                             struct initializer_argument *ret_arguments, size_t count)
{
    for (; *keys; keys++) {
        json_t *value = json_object_get(config, *keys);

        if (json_is_number(value) && count < ARGUMENTS_MAX)
            ret_arguments[count++] = (struct initializer_argument){*keys, json_number_value(value)};
    }
    return count;
}

static bool read_shape(json_t *variant, uint64_t shape[LIMIT_RANK], size_t *ret_rank,
                       size_t *ret_count)
{
    json_t *array = json_object_get(variant, "shape"), *dimension;
    size_t i, count = 1;

    if (!json_is_array(array) || json_array_size(array) > LIMIT_RANK)
        return false;
    json_array_foreach(array, i, dimension)
    {
        shape[i] = (uint64_t)json_integer_value(dimension);
        count *= shape[i];
    }
    *ret_rank = json_array_size(array);
    *ret_count = count;
    return true;
}

/* Filled in two parts: the cut lies in the middle of a group of the generator. */
static enum golden_outcome fill_and_compare(struct golden_case *golden, json_t *variant,
                                            const struct initializer *initializer, size_t count)
{
    const char *output = json_string_value(json_object_get(variant, "output"));
    float *values = alloc_array(count + 1, sizeof *values);
    enum golden_outcome outcome = GOLDEN_FAILED;
    size_t first_part = count / 2 + (count > 2);
    struct error err = {0};

    if (!values || !output)
        golden_fail(golden, "out of memory, or the variant has no output");
    else if (initializer_fill(initializer, DTYPE_FLOAT32, 0, first_part, values, &err) !=
                 STATUS_OK ||
             initializer_fill(initializer, DTYPE_FLOAT32, first_part, count - first_part,
                              values + first_part, &err) != STATUS_OK)
        golden_fail(golden, "%s", err.message);
    else if (golden_compare(golden, json_object_get(variant, "compare"), output, ELEMENT_F32,
                            values, count))
        outcome = GOLDEN_PASSED;
    alloc_free(values);
    return outcome;
}

static enum golden_outcome run_variant(struct golden_case *golden, json_t *variant, size_t index)
{
    const char *name = json_string_value(json_object_get(golden->json, "name"));
    json_t *config = json_object_get(variant, "config");
    const char *dtype = json_string_value(json_object_get(config, "dtype"));
    struct initializer_argument arguments[ARGUMENTS_MAX];
    uint64_t shape[LIMIT_RANK];
    struct initializer initializer;
    struct error err;
    enum status status;
    size_t rank, element_count, count;

    (void)index;
    if (!name || !read_shape(variant, shape, &rank, &element_count))
        return golden_fail(golden, "the variant has no name or no shape");
    if ((dtype && strcmp(dtype, "float32") != 0) ||
        json_string_value(json_object_get(variant, "dtype")))
        return golden_skip(golden, "initial values in another dtype than float32");
    count = read_arguments(config, argument_keys, arguments, 0);
    count = read_arguments(config, range_keys, arguments, count);
    status = initializer_named(
        name, arguments, count, json_string_value(json_object_get(config, "mode")),
        json_string_value(json_object_get(config, "distribution")), shape, rank,
        (int64_t)json_integer_value(json_object_get(config, "seed")), &initializer, &err);
    if (status == STATUS_NOT_FOUND)
        return golden_skip(golden, "initializer %s", name);
    if (status != STATUS_OK)
        return golden_fail(golden, "%s", err.message);
    if (json_object_get(variant, "error"))
        return golden_skip(golden, "texts of errors");
    return fill_and_compare(golden, variant, &initializer, element_count);
}

enum golden_outcome golden_initializer(struct golden_case *golden)
{
    return golden_each_variant(golden, run_variant);
}
