#include "common/base/alloc.h"
#include "common/base/bytes.h"
#include "common/tensor/safetensors.h"

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 8 };

static int compare_tensors(const void *left, const void *right)
{
    const struct safetensors_tensor *a = left, *b = right;
    size_t a_bytes = element_bytes(a->type), b_bytes = element_bytes(b->type);

    if (a_bytes != b_bytes)
        return a_bytes > b_bytes ? -1 : 1;
    return strcmp(a->name, b->name);
}

static int compare_texts(const void *left, const void *right)
{
    return strcmp(((const struct safetensors_text *)left)->key,
                  ((const struct safetensors_text *)right)->key);
}

/* Sets element_count and the bytes of one array. */
static enum status measure(struct safetensors_tensor *tensor, uint64_t *ret_bytes,
                           struct error *err)
{
    uint64_t bytes;

    if (element_bytes(tensor->type) == 0 || tensor->rank > LIMIT_RANK)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "write array '%.200s': type %d or rank %zu is not possible", tensor->name,
                         (int)tensor->type, tensor->rank);
    tensor->element_count = 1;
    bytes = element_bytes(tensor->type);
    for (size_t i = 0; i < tensor->rank; i++) {
        if (tensor->shape[i] > INT64_MAX ||
            __builtin_mul_overflow(tensor->element_count, tensor->shape[i],
                                   &tensor->element_count) ||
            __builtin_mul_overflow(bytes, tensor->shape[i], &bytes))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "write array '%.200s': its shape is too large", tensor->name);
    }
    *ret_bytes = bytes;
    return STATUS_OK;
}

/* One entry of the header; NULL: no memory. Numbers beyond int64 were refused before. */
static json_t *entry_json(const struct safetensors_tensor *tensor, uint64_t begin, uint64_t end)
{
    json_t *shape = json_array();
    json_t *entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", element_name(tensor->type), "shape",
                              shape, "data_offsets", (json_int_t)begin, (json_int_t)end);

    for (size_t i = 0; entry && i < tensor->rank; i++) {
        if (json_array_append_new(shape, json_integer((json_int_t)tensor->shape[i])) != 0) {
            json_decref(entry);
            entry = NULL;
        }
    }
    return entry;
}

static enum status add_tensors(json_t *root, struct safetensors_tensor *tensors, size_t count,
                               struct error *err)
{
    uint64_t begin = 0, bytes = 0, end;

    for (size_t i = 0; i < count; i++) {
        struct safetensors_tensor *tensor = &tensors[i];
        enum status status = measure(tensor, &bytes, err);

        if (status != STATUS_OK)
            return status;
        if (__builtin_add_overflow(begin, bytes, &end) || end > INT64_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "write array '%.200s': the arrays take more than 2^63 bytes",
                             tensor->name);
        if (tensor->name[0] == '\0' || strcmp(tensor->name, "__metadata__") == 0 ||
            json_object_get(root, tensor->name))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "write array '%.200s': the name is empty, reserved or given twice",
                             tensor->name);
        if (json_object_set_new(root, tensor->name, entry_json(tensor, begin, end)) != 0)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "write array '%.200s': the name is no UTF-8, or no memory is left",
                             tensor->name);
        begin = end;
    }
    return STATUS_OK;
}

static enum status add_metadata(json_t *root, const struct safetensors_text *metadata, size_t count,
                                struct error *err)
{
    json_t *object = json_object();

    if (!object || json_object_set_new(root, "__metadata__", object) != 0)
        return error_no_memory(err, "the metadata of a safetensors file");
    for (size_t i = 0; i < count; i++) {
        if (json_object_get(object, metadata[i].key))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "write metadata: key '%.64s' is given twice", metadata[i].key);
        if (json_object_set_new(object, metadata[i].key, json_string(metadata[i].value)) != 0)
            return error_set(
                err, STATUS_INVALID_ARGUMENT,
                "write metadata '%.64s': key or value is no UTF-8, or no memory is left",
                metadata[i].key);
    }
    return STATUS_OK;
}

/* Length and text, with spaces behind it up to a multiple of the alignment. */
static enum status lay_out(const json_t *root, uint8_t **ret_header, size_t *ret_size,
                           struct error *err)
{
    size_t length = json_dumpb(root, NULL, 0, JSON_COMPACT);
    size_t size = (LENGTH_BYTES + length + SAFETENSORS_ALIGNMENT - 1) / SAFETENSORS_ALIGNMENT *
                  SAFETENSORS_ALIGNMENT;
    uint8_t *header;

    if (size - LENGTH_BYTES > SAFETENSORS_HEADER_BYTES_MAX)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "a safetensors header of %zu bytes: there may be at most %d", size,
                         SAFETENSORS_HEADER_BYTES_MAX);
    header = length > 0 ? alloc_array(size, 1) : NULL;
    if (!header)
        return error_no_memory(err, "the header of a safetensors file");
    bytes_put_u64(header, size - LENGTH_BYTES);
    memset(header + LENGTH_BYTES, ' ', size - LENGTH_BYTES);
    if (json_dumpb(root, (char *)header + LENGTH_BYTES, length, JSON_COMPACT) != length) {
        alloc_free(header);
        return error_no_memory(err, "the header of a safetensors file");
    }
    *ret_header = header;
    *ret_size = size;
    return STATUS_OK;
}

enum status safetensors_make_header(struct safetensors_tensor *tensors, size_t tensor_count,
                                    struct safetensors_text *metadata, size_t metadata_count,
                                    uint8_t **ret_header, size_t *ret_size, struct error *err)
{
    json_t *root = json_object();
    enum status status = STATUS_OK;

    if (!root)
        return error_no_memory(err, "the header of a safetensors file");
    if (tensor_count > 0)
        qsort(tensors, tensor_count, sizeof *tensors, compare_tensors);
    if (metadata_count > 0) {
        qsort(metadata, metadata_count, sizeof *metadata, compare_texts);
        status = add_metadata(root, metadata, metadata_count, err);
    }
    if (status == STATUS_OK)
        status = add_tensors(root, tensors, tensor_count, err);
    if (status == STATUS_OK)
        status = lay_out(root, ret_header, ret_size, err);
    json_decref(root);
    return status;
}

enum status safetensors_save(const char *path, struct safetensors_tensor *tensors,
                             size_t tensor_count, struct safetensors_text *metadata,
                             size_t metadata_count, struct error *err)
{
    struct array_file_piece *pieces = NULL;
    uint8_t *header = NULL;
    size_t header_bytes = 0;
    enum status status = safetensors_make_header(tensors, tensor_count, metadata, metadata_count,
                                                 &header, &header_bytes, err);

    if (status != STATUS_OK)
        return error_wrap(err, "write '%s'", path);
    pieces = alloc_array(tensor_count + 1, sizeof *pieces);
    if (!pieces) {
        status = error_no_memory(err, path);
        goto out;
    }
    pieces[0] = (struct array_file_piece){header, header_bytes};
    for (size_t i = 0; i < tensor_count; i++)
        pieces[i + 1] = (struct array_file_piece){
            tensors[i].data, (size_t)tensors[i].element_count * element_bytes(tensors[i].type)};
    status = array_file_write(path, pieces, tensor_count + 1, err);
out:
    alloc_free(pieces);
    alloc_free(header);
    return status;
}
