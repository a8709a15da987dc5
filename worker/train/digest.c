#include "worker/train/digest.h"

#include "common/base/alloc.h"
#include "common/base/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHAPE_BYTES = LIMIT_RANK * 21 + 8, LINE_BYTES = LIMIT_NAME_BYTES + SHAPE_BYTES + 256 };

static void shape_line(const struct shape *shape, char ret_text[SHAPE_BYTES])
{
    size_t used = 0;

    snprintf(ret_text, SHAPE_BYTES, "scalar");
    for (size_t i = 0; i < shape->rank; i++)
        used += (size_t)snprintf(ret_text + used, SHAPE_BYTES - used, "%s%zu", i > 0 ? "x" : "",
                                 shape->size[i]);
}

static void add_array(struct hash_sha256_stream *stream, const struct model_weight *weight,
                      const char *slot, const float *values)
{
    char shape[SHAPE_BYTES], hex[HASH_SHA256_TEXT_BYTES], line[LINE_BYTES];
    uint8_t digest[HASH_SHA256_BYTES];

    shape_line(&weight->shape, shape);
    for (size_t first = 0; first < weight->count; first += LIMIT_BLOCK_ELEMENTS) {
        size_t count = weight->count - first;
        if (count > LIMIT_BLOCK_ELEMENTS)
            count = LIMIT_BLOCK_ELEMENTS;
        hash_sha256(values + weight->offset + first, count * sizeof(float), digest);
        hash_sha256_text(digest, hex);
        int length = snprintf(line, sizeof line, "%s float32 %s %s %zu %s\n", weight->path, shape,
                              slot, first, hex);
        hash_sha256_add(stream, line, (size_t)length);
    }
}

static int compare_paths(const void *a, const void *b)
{
    const struct model_weight *const *first = a, *const *second = b;

    return strcmp((*first)->path, (*second)->path);
}

enum status digest_model(const struct model *model, const struct optimizer *optimizer,
                         float *const *slots, char ret_digest[HASH_SHA256_TEXT_BYTES],
                         struct error *err)
{
    const struct model_weight **order = alloc_array(model->weight_count, sizeof *order);
    struct hash_sha256_stream *stream = order ? hash_sha256_new() : NULL;
    uint8_t digest[HASH_SHA256_BYTES];

    if (!stream) {
        alloc_free(order);
        return error_no_memory(err, "a digest");
    }
    for (size_t i = 0; i < model->weight_count; i++)
        order[i] = &model->weights[i];
    qsort(order, model->weight_count, sizeof *order, compare_paths);
    for (size_t i = 0; i < model->weight_count; i++) {
        add_array(stream, order[i], "value", model->params);
        for (size_t s = 0; s < optimizer_slot_count(optimizer) && order[i]->trainable; s++)
            add_array(stream, order[i], optimizer_slot_name(optimizer, s), slots[s]);
    }
    hash_sha256_finish(stream, digest);
    hash_sha256_text(digest, ret_digest);
    alloc_free(order);
    return STATUS_OK;
}
