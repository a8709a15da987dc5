#include "worker/client/reader.h"

#include "common/base/alloc.h"
#include "common/optim/optimizer.h"
#include "worker/client/reader_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- slots ---- */

/* False: the variable has no optimizer. */
static bool optimizer_of(const struct registry *registry, uint32_t variable,
                         struct optimizer *ret_optimizer)
{
    const struct variable_spec *spec = &registry->variables[variable];
    const struct optimizer_spec *configured = registry_optimizer(registry, spec->optimizer);
    struct optimizer_option options[OPTIMIZER_SETTINGS_MAX];

    if (!spec->trainable || !configured)
        return false;
    for (size_t i = 0; i < configured->setting_count; i++) {
        snprintf(options[i].key, sizeof options[i].key, "%s", configured->settings[i].key);
        options[i].value = configured->settings[i].value;
    }
    return optimizer_init(ret_optimizer, configured->name, options, configured->setting_count,
                          NULL) == STATUS_OK;
}

size_t reader_slot_count(const struct registry *registry, uint32_t variable)
{
    struct optimizer optimizer;

    return optimizer_of(registry, variable, &optimizer) ? optimizer_slot_count(&optimizer) : 0;
}

const char *reader_slot_name(const struct registry *registry, uint32_t variable, size_t slot)
{
    struct optimizer optimizer;

    return optimizer_of(registry, variable, &optimizer) ? optimizer_slot_name(&optimizer, slot)
                                                        : "";
}

/* ---- lines ---- */

static void shape_text(const struct variable_spec *spec, char *ret_text, size_t capacity)
{
    size_t used = 0;

    snprintf(ret_text, capacity, "scalar");
    for (size_t i = 0; i < spec->rank && used < capacity; i++)
        used += (size_t)snprintf(ret_text + used, capacity - used, "%s%llu", i ? "x" : "",
                                 (unsigned long long)spec->shape[i]);
}

static void add_lines(struct hash_sha256_stream *stream, const struct variable_spec *spec,
                      const char *slot_name, const uint8_t *digests, uint32_t block_count)
{
    char shape[LIMIT_RANK * 21 + 8];
    char line[LIMIT_NAME_BYTES + sizeof shape + 256];
    char hex[HASH_SHA256_TEXT_BYTES];

    shape_text(spec, shape, sizeof shape);
    for (uint32_t block = 0; block < block_count; block++) {
        hash_sha256_text(digests + (size_t)block * HASH_SHA256_BYTES, hex);
        int length = snprintf(line, sizeof line, "%s %s %s %s %llu %s\n", spec->name,
                              dtype_name(spec->dtype), shape, slot_name,
                              (unsigned long long)block * BLOCK_ELEMENTS_MAX, hex);
        hash_sha256_add(stream, line, (size_t)length);
    }
}

static enum status add_variable(struct reader *reader, struct hash_sha256_stream *stream,
                                uint32_t variable, bool slots, struct error *err)
{
    const struct variable_spec *spec = &reader->registry.variables[variable];
    uint32_t block_count = placement_block_count(&reader->placement, variable);
    size_t slot_count = slots ? reader_slot_count(&reader->registry, variable) : 0;
    uint8_t *digests = alloc_array(block_count, HASH_SHA256_BYTES);
    enum status status = STATUS_OK;

    if (!digests)
        return error_no_memory(err, "the digests of a variable");
    for (size_t slot = 0; !status && slot <= slot_count; slot++) {
        status = reader_read_held(reader, variable, (uint32_t)slot, 0, spec->elements, true,
                                  digests, err);
        if (!status)
            add_lines(stream, spec,
                      slot ? reader_slot_name(&reader->registry, variable, slot - 1) : "value",
                      digests, block_count);
    }
    alloc_free(digests);
    return status;
}

/* ---- the order of names ---- */

struct named {
    const char *name; /* borrowed from the registry */
    uint32_t variable;
};

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

static enum status checksum_held(struct reader *reader, bool slots,
                                 uint8_t digest[HASH_SHA256_BYTES], struct error *err)
{
    size_t count = reader->registry.variable_count;
    struct named *order = alloc_array(count, sizeof *order);
    struct hash_sha256_stream *stream = hash_sha256_new();
    enum status status = STATUS_OK;

    if (!order || !stream)
        status = error_no_memory(err, "a checksum");
    for (size_t i = 0; order && i < count; i++)
        order[i] = (struct named){reader->registry.variables[i].name, (uint32_t)i};
    if (!status)
        qsort(order, count, sizeof *order, compare_names);
    for (size_t i = 0; !status && i < count; i++)
        status = add_variable(reader, stream, order[i].variable, slots, err);
    if (stream)
        hash_sha256_finish(stream, digest);
    alloc_free(order);
    return status;
}

enum status reader_checksum(struct reader *reader, bool slots, uint64_t *ret_step,
                            char ret_text[HASH_SHA256_TEXT_BYTES], struct error *err)
{
    uint8_t digest[HASH_SHA256_BYTES];
    enum status status;
    unsigned tries = 0;

    do {
        status = reader_hold(reader, slots, err);
        if (!status)
            status = checksum_held(reader, slots, digest, err);
    } while (status && reader_try_again(reader, status, &tries));
    if (status)
        return status;
    hash_sha256_text(digest, ret_text);
    if (ret_step)
        *ret_step = reader->step;
    return STATUS_OK;
}
