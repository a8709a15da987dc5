#include "tests/golden/golden.h"

#include "common/base/alloc.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, NAME_BYTES = 256 };

static void PRINTF_LIKE(2, 0)
    set_message(struct golden_case *golden, const char *format, va_list arguments)
{
    if (golden->message[0] == '\0')
        vsnprintf(golden->message, sizeof golden->message, format, arguments);
}

enum golden_outcome golden_fail(struct golden_case *golden, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    set_message(golden, format, arguments);
    va_end(arguments);
    return GOLDEN_FAILED;
}

enum golden_outcome golden_skip(struct golden_case *golden, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    set_message(golden, format, arguments);
    va_end(arguments);
    return GOLDEN_SKIPPED;
}

enum golden_outcome golden_each_variant(struct golden_case *golden,
                                        enum golden_outcome (*run)(struct golden_case *golden,
                                                                   json_t *variant, size_t index))
{
    json_t *variants = json_object_get(golden->json, "variants"), *variant;
    size_t skipped = 0, count = json_array_size(variants), i;
    char reason[GOLDEN_MESSAGE_BYTES / 2] = "";

    if (count == 0)
        return golden_fail(golden, "the case has no variants");
    json_array_foreach(variants, i, variant)
    {
        golden->message[0] = '\0';
        switch (run(golden, variant, i)) {
        case GOLDEN_PASSED:
            break;
        case GOLDEN_FAILED: {
            char what[GOLDEN_MESSAGE_BYTES];
            memcpy(what, golden->message, sizeof what);
            snprintf(golden->message, sizeof golden->message, "variant %zu: %s", i, what);
            return GOLDEN_FAILED;
        }
        case GOLDEN_SKIPPED:
            if (skipped++ == 0)
                snprintf(reason, sizeof reason, "%s", golden->message);
            break;
        }
    }
    golden->message[0] = '\0';
    if (skipped == count)
        return golden_skip(golden, "%s", reason);
    if (skipped > 0)
        snprintf(golden->message, sizeof golden->message, "%zu of %zu variants not run: %s",
                 skipped, count, reason);
    return GOLDEN_PASSED;
}

const struct safetensors_tensor *golden_array(struct golden_case *golden, const char *format, ...)
{
    const struct safetensors_tensor *tensor;
    char name[NAME_BYTES];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    tensor = safetensors_find(&golden->arrays, name);
    if (!tensor)
        golden_fail(golden, "the case has no array '%s'", name);
    return tensor;
}

float *golden_floats(struct golden_case *golden, const char *name, size_t *ret_count)
{
    const struct safetensors_tensor *tensor = golden_array(golden, "%s", name);
    float *copy;

    if (!tensor)
        return NULL;
    if (tensor->type != ELEMENT_F32) {
        golden_fail(golden, "array '%s' is %s, not F32", name, element_name(tensor->type));
        return NULL;
    }
    copy = alloc_array(tensor->element_count + 1, sizeof *copy);
    if (!copy) {
        golden_fail(golden, "out of memory");
        return NULL;
    }
    memcpy(copy, tensor->data, tensor->element_count * sizeof *copy);
    *ret_count = tensor->element_count;
    return copy;
}

/* One element as a double (exact for float types) and as bits. */
struct element {
    double value;
    uint64_t bits;
    bool is_float;
};

static struct element element_at(enum element_type type, const void *data, size_t index)
{
    const uint8_t *at = (const uint8_t *)data + index * element_bytes(type);
    struct element element = {0};
    float single;

    memcpy(&element.bits, at, element_bytes(type));
    if (type == ELEMENT_F32) {
        memcpy(&single, at, sizeof single);
        element.value = (double)single;
        element.is_float = true;
    } else if (type == ELEMENT_F64) {
        memcpy(&element.value, at, sizeof element.value);
        element.is_float = true;
    }
    return element;
}

static bool equal(const json_t *compare, const struct element *expected,
                  const struct element *actual)
{
    double relative, absolute;

    if (actual->bits == expected->bits)
        return true;
    if (!expected->is_float)
        return false;
    if (isnan(expected->value))
        return isnan(actual->value);
    if (json_is_true(json_object_get(compare, "bits")))
        return false;
    relative = json_number_value(json_object_get(compare, "relative"));
    absolute = json_number_value(json_object_get(compare, "absolute"));
    if (isinf(expected->value) || isnan(actual->value))
        return actual->value == expected->value;
    return fabs(actual->value - expected->value) <= absolute + relative * fabs(expected->value);
}

static void say_difference(struct golden_case *golden, const char *name, size_t index,
                           size_t differing, size_t count, const struct element *expected,
                           const struct element *actual)
{
    if (expected->is_float)
        golden_fail(golden, "%s[%zu]: expected %.9g (0x%llx), got %.9g (0x%llx); %zu of %zu differ",
                    name, index, expected->value, (unsigned long long)expected->bits, actual->value,
                    (unsigned long long)actual->bits, differing, count);
    else
        golden_fail(golden, "%s[%zu]: expected %lld, got %lld; %zu of %zu differ", name, index,
                    (long long)expected->bits, (long long)actual->bits, differing, count);
}

bool golden_compare(struct golden_case *golden, const json_t *compare, const char *name,
                    enum element_type type, const void *actual, size_t count)
{
    const struct safetensors_tensor *tensor = golden_array(golden, "%s", name);
    size_t differing = 0, first = 0;
    struct element expected, got;

    if (!tensor)
        return false;
    if (tensor->type != type || tensor->element_count != count) {
        golden_fail(golden, "%s: expected %llu elements of %s, got %zu of %s", name,
                    (unsigned long long)tensor->element_count, element_name(tensor->type), count,
                    element_name(type));
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        expected = element_at(type, tensor->data, i);
        got = element_at(type, actual, i);
        if (!equal(compare, &expected, &got) && differing++ == 0)
            first = i;
    }
    if (differing == 0)
        return true;
    expected = element_at(type, tensor->data, first);
    got = element_at(type, actual, first);
    say_difference(golden, name, first, differing, count, &expected, &got);
    return false;
}

static enum golden_outcome load(struct golden_case *golden)
{
    char path[PATH_BYTES];
    json_error_t problem;
    struct error err;

    snprintf(path, sizeof path, "%s.json", golden->path);
    golden->json = json_load_file(path, 0, &problem);
    if (!golden->json)
        return golden_fail(golden, "line %d: %s", problem.line, problem.text);
    snprintf(path, sizeof path, "%s.safetensors", golden->path);
    if (access(path, F_OK) != 0) /* cases of texts have no arrays */
        return GOLDEN_PASSED;
    if (safetensors_open(&golden->arrays, path, &err) != STATUS_OK)
        return golden_fail(golden, "%s", err.message);
    return GOLDEN_PASSED;
}

enum golden_outcome golden_run_path(const char *path, char ret_message[GOLDEN_MESSAGE_BYTES])
{
    struct golden_case golden = {.path = path};
    enum golden_outcome outcome = load(&golden);

    if (outcome == GOLDEN_PASSED) {
        const char *name = json_string_value(json_object_get(golden.json, "kind"));
        const struct golden_kind *kind = name ? golden_find_kind(name) : NULL;

        outcome = kind ? kind->run(&golden)
                       : golden_fail(&golden, "unknown kind '%s'", name ? name : "");
    }
    memcpy(ret_message, golden.message, sizeof golden.message);
    safetensors_release(&golden.arrays);
    json_decref(golden.json);
    return outcome;
}
