#include "worker/train/digest.h"

#include "common/base/alloc.h"
#include "common/base/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = LIMIT_NAME_BYTES + LIMIT_RANK * 24 + 160 };

struct lines {
    char (*text)[LINE_BYTES]; /* owned */
    size_t count;
};

static void add_block(struct lines *lines, const struct model_weight *weight, const char *slot,
                      const float *values, size_t first, size_t count)
{
    uint8_t digest[HASH_SHA256_BYTES];
    char hex[HASH_SHA256_TEXT_BYTES], shape[LIMIT_RANK * 24] = "";
    size_t used = 0;

    hash_sha256(values + weight->offset + first, count * sizeof(float), digest);
    hash_sha256_text(digest, hex);
    for (size_t i = 0; i < weight->shape.rank; i++)
        used += (size_t)snprintf(shape + used, sizeof shape - used, "%s%zu", i > 0 ? "," : "",
                                 weight->shape.size[i]);
    snprintf(lines->text[lines->count++], LINE_BYTES, "%s float32 [%s] %s %zu %s\n", weight->path,
             shape, slot, first, hex);
}

static void add_array(struct lines *lines, const struct model_weight *weight, const char *slot,
                      const float *values)
{
    for (size_t first = 0; first < weight->count; first += LIMIT_BLOCK_ELEMENTS) {
        size_t count = weight->count - first;
        if (count > LIMIT_BLOCK_ELEMENTS)
            count = LIMIT_BLOCK_ELEMENTS;
        add_block(lines, weight, slot, values, first, count);
    }
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(a, b);
}

enum status digest_model(const struct model *model, const struct optimizer *optimizer,
                         float *const *slots, char ret_digest[HASH_SHA256_TEXT_BYTES],
                         struct error *err)
{
    size_t slot_count = optimizer_slot_count(optimizer), line_max = 0;
    struct hash_sha256_stream *stream = hash_sha256_new();
    struct lines lines = {0};
    uint8_t digest[HASH_SHA256_BYTES];

    for (size_t i = 0; i < model->weight_count; i++)
        line_max += (1 + slot_count) * (model->weights[i].count / LIMIT_BLOCK_ELEMENTS + 1);
    lines.text = alloc_array(line_max, sizeof *lines.text);
    if (!stream || !lines.text) {
        if (stream)
            hash_sha256_finish(stream, digest);
        alloc_free(lines.text);
        return error_no_memory(err, "a digest");
    }
    for (size_t i = 0; i < model->weight_count; i++) {
        const struct model_weight *weight = &model->weights[i];
        add_array(&lines, weight, "value", model->params);
        for (size_t s = 0; s < slot_count && weight->trainable; s++)
            add_array(&lines, weight, optimizer_slot_name(optimizer, s), slots[s]);
    }
    qsort(lines.text, lines.count, sizeof *lines.text, compare_lines);
    for (size_t i = 0; i < lines.count; i++)
        hash_sha256_add(stream, lines.text[i], strlen(lines.text[i]));
    hash_sha256_finish(stream, digest);
    hash_sha256_text(digest, ret_digest);
    alloc_free(lines.text);
    return STATUS_OK;
}
