#include "common/tensor/safetensors.h"

#include "common/base/alloc.h"
#include "common/base/bytes.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 8 }; /* the header's length in front of it */

static const char METADATA_KEY[] = "__metadata__";

/* An array while its place is being checked. */
struct placed {
    struct safetensors_tensor tensor;
    uint64_t begin, end;
};

static enum status parse_shape(const json_t *shape, struct safetensors_tensor *tensor,
                               struct error *err)
{
    if (!json_is_array(shape) || json_array_size(shape) > LIMIT_RANK)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "shape is not an array of at most %d numbers", LIMIT_RANK);
    tensor->rank = json_array_size(shape);
    tensor->element_count = 1;
    for (size_t i = 0; i < tensor->rank; i++) {
        const json_t *dimension = json_array_get(shape, i);

        if (!json_is_integer(dimension) || json_integer_value(dimension) < 0)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "dimension %zu of its shape is no whole number of 0 or more", i);
        tensor->shape[i] = (uint64_t)json_integer_value(dimension);
        if (__builtin_mul_overflow(tensor->element_count, tensor->shape[i], &tensor->element_count))
            return error_set(err, STATUS_INVALID_ARGUMENT, "its shape has more than 2^64 elements");
    }
    return STATUS_OK;
}

static bool offset(const json_t *offsets, size_t index, uint64_t *ret_offset)
{
    const json_t *value = json_array_get(offsets, index);

    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *ret_offset = (uint64_t)json_integer_value(value);
    return true;
}

static enum status parse_tensor(const json_t *entry, struct placed *placed, struct error *err)
{
    const json_t *dtype = json_object_get(entry, "dtype");
    const json_t *offsets = json_object_get(entry, "data_offsets");
    enum status status;
    uint64_t size;

    if (!json_is_string(dtype))
        return error_set(err, STATUS_INVALID_ARGUMENT, "it has no dtype");
    placed->tensor.type = element_named(json_string_value(dtype));
    if (placed->tensor.type == ELEMENT_INVALID)
        return error_set(err, STATUS_INVALID_ARGUMENT, "unknown dtype '%.32s'",
                         json_string_value(dtype));
    status = parse_shape(json_object_get(entry, "shape"), &placed->tensor, err);
    if (status != STATUS_OK)
        return status;
    if (json_array_size(offsets) != 2 || !offset(offsets, 0, &placed->begin) ||
        !offset(offsets, 1, &placed->end))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "data_offsets is not a pair of numbers of 0 or more");
    if (__builtin_mul_overflow(placed->tensor.element_count, element_bytes(placed->tensor.type),
                               &size) ||
        placed->end < placed->begin || placed->end - placed->begin != size)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "data_offsets [%llu, %llu] do not fit its shape and dtype %s",
                         (unsigned long long)placed->begin, (unsigned long long)placed->end,
                         element_name(placed->tensor.type));
    return STATUS_OK;
}

static enum status parse_metadata(json_t *metadata, struct safetensors *safetensors,
                                  struct error *err)
{
    const char *key;
    json_t *value;

    if (!json_is_object(metadata))
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s is not an object", METADATA_KEY);
    safetensors->metadata = alloc_array(json_object_size(metadata), sizeof *safetensors->metadata);
    if (!safetensors->metadata)
        return error_no_memory(err, METADATA_KEY);
    json_object_foreach(metadata, key, value)
    {
        if (!json_is_string(value))
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s: the value of '%.64s' is no text",
                             METADATA_KEY, key);
        safetensors->metadata[safetensors->metadata_count++] = (struct safetensors_text){
            key, json_string_value(value)};
    }
    return STATUS_OK;
}

static int compare_placed(const void *left, const void *right)
{
    const struct placed *a = left, *b = right;

    if (a->begin != b->begin)
        return a->begin < b->begin ? -1 : 1;
    if (a->end != b->end)
        return a->end < b->end ? -1 : 1;
    return strcmp(a->tensor.name, b->tensor.name);
}

/* Every byte behind the header belongs to exactly one array. */
static enum status check_cover(struct placed *placed, size_t count, uint64_t data_bytes,
                               struct error *err)
{
    uint64_t expected = 0;

    qsort(placed, count, sizeof *placed, compare_placed);
    for (size_t i = 0; i < count; i++) {
        if (placed[i].begin != expected)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "array '%.200s' begins at %llu: %s (the data before it ends at %llu)",
                             placed[i].tensor.name, (unsigned long long)placed[i].begin,
                             placed[i].begin < expected ? "it overlaps another one"
                                                        : "there is a hole before it",
                             (unsigned long long)expected);
        expected = placed[i].end;
    }
    if (expected != data_bytes)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "the arrays take %llu bytes, but %llu follow the header",
                         (unsigned long long)expected, (unsigned long long)data_bytes);
    return STATUS_OK;
}

static enum status parse_entries(json_t *root, struct safetensors *safetensors,
                                 struct placed *placed, size_t *ret_count, struct error *err)
{
    size_t count = 0;
    const char *key;
    json_t *value;

    json_object_foreach(root, key, value)
    {
        enum status status;

        if (strcmp(key, METADATA_KEY) == 0) {
            status = parse_metadata(value, safetensors, err);
            if (status != STATUS_OK)
                return status;
            continue;
        }
        placed[count].tensor.name = key;
        status = parse_tensor(value, &placed[count], err);
        if (status != STATUS_OK)
            return error_wrap(err, "array '%.200s'", key);
        count++;
    }
    *ret_count = count;
    return STATUS_OK;
}

static enum status parse_header(json_t *root, const uint8_t *data, size_t data_bytes,
                                struct safetensors *safetensors, struct error *err)
{
    struct placed *placed = alloc_array(json_object_size(root), sizeof *placed);
    enum status status;
    size_t count = 0;

    safetensors->tensors = alloc_array(json_object_size(root), sizeof *safetensors->tensors);
    if (!placed || !safetensors->tensors) {
        status = error_no_memory(err, "the list of arrays");
        goto out;
    }
    status = parse_entries(root, safetensors, placed, &count, err);
    if (status == STATUS_OK)
        status = check_cover(placed, count, data_bytes, err);
    if (status != STATUS_OK)
        goto out;
    for (size_t i = 0; i < count; i++) {
        safetensors->tensors[i] = placed[i].tensor;
        safetensors->tensors[i].data = data + placed[i].begin;
    }
    safetensors->tensor_count = count;
out:
    alloc_free(placed);
    return status;
}

static enum status load_header(const uint8_t *bytes, size_t size, uint64_t *ret_header_bytes,
                               json_t **ret_root, struct error *err)
{
    uint64_t header_bytes;
    json_error_t problem;
    json_t *root;

    if (size < LENGTH_BYTES)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%zu bytes are too short for a safetensors file", size);
    header_bytes = bytes_get_u64(bytes);
    if (header_bytes > SAFETENSORS_HEADER_BYTES_MAX || header_bytes > size - LENGTH_BYTES)
        return error_set(
            err, STATUS_INVALID_ARGUMENT,
            "not a safetensors file, or cut off: a header of %llu bytes in a file of %zu",
            (unsigned long long)header_bytes, size);
    if (header_bytes == 0 || bytes[LENGTH_BYTES] != '{')
        return error_set(err, STATUS_INVALID_ARGUMENT, "the header does not begin with '{'");
    root = json_loadb((const char *)bytes + LENGTH_BYTES, header_bytes, JSON_REJECT_DUPLICATES,
                      &problem);
    if (!root)
        return error_set(err, STATUS_INVALID_ARGUMENT, "the header is no JSON: %s (byte %d)",
                         problem.text, problem.position);
    *ret_header_bytes = header_bytes;
    *ret_root = root;
    return STATUS_OK;
}

enum status safetensors_parse(struct safetensors *ret_safetensors, const void *bytes, size_t size,
                              struct error *err)
{
    struct safetensors safetensors = {0};
    const uint8_t *data = bytes;
    uint64_t header_bytes = 0;
    json_t *root = NULL;
    enum status status = load_header(bytes, size, &header_bytes, &root, err);

    if (status != STATUS_OK)
        return status;
    safetensors.header = root;
    status = parse_header(root, data + LENGTH_BYTES + header_bytes,
                          size - LENGTH_BYTES - header_bytes, &safetensors, err);
    if (status == STATUS_OK)
        *ret_safetensors = safetensors;
    else
        safetensors_release(&safetensors);
    return status;
}

enum status safetensors_open(struct safetensors *ret_safetensors, const char *path,
                             struct error *err)
{
    struct array_file file;
    enum status status = array_file_open(&file, path, err);

    if (status != STATUS_OK)
        return status;
    status = safetensors_parse(ret_safetensors, file.bytes, file.size, err);
    if (status != STATUS_OK) {
        array_file_release(&file);
        return error_wrap(err, "read '%s'", path);
    }
    ret_safetensors->file = file;
    return STATUS_OK;
}

void safetensors_release(struct safetensors *safetensors)
{
    if (!safetensors)
        return;
    alloc_free(safetensors->tensors);
    alloc_free(safetensors->metadata);
    json_decref(safetensors->header);
    array_file_release(&safetensors->file);
    *safetensors = (struct safetensors){0};
}

const struct safetensors_tensor *safetensors_find(const struct safetensors *safetensors,
                                                  const char *name)
{
    for (size_t i = 0; i < safetensors->tensor_count; i++) {
        if (strcmp(safetensors->tensors[i].name, name) == 0)
            return &safetensors->tensors[i];
    }
    return NULL;
}

const char *safetensors_metadata(const struct safetensors *safetensors, const char *key)
{
    for (size_t i = 0; i < safetensors->metadata_count; i++) {
        if (strcmp(safetensors->metadata[i].key, key) == 0)
            return safetensors->metadata[i].value;
    }
    return NULL;
}
