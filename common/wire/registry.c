#include "common/wire/registry.h"

#include "common/base/alloc.h"
#include "common/base/hash.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const initializer_names[] = {
    "zeros", "ones", "constant", "uniform", "normal", "truncated_normal", "assigned"};

void registry_release(struct registry *registry)
{
    alloc_free(registry->variables);
    alloc_free(registry->index);
    *registry = (struct registry){0};
}

static bool name_valid(const char *name)
{
    size_t length = strlen(name);

    return length > 0 && length <= LIMIT_NAME_BYTES &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./-") ==
               length;
}

static enum status check_shape(const Pmd__VariableSpec *message, struct variable_spec *spec,
                               struct error *err)
{
    if (message->n_shape > LIMIT_RANK)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "variable '%s': %zu dimensions, at most %d are possible", spec->name,
                         message->n_shape, LIMIT_RANK);
    spec->rank = message->n_shape;
    spec->elements = 1;
    for (size_t i = 0; i < spec->rank; i++) {
        uint64_t length = message->shape[i];
        if (length == 0)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "variable '%s': dimension %zu has length 0", spec->name, i);
        spec->shape[i] = length;
        if (__builtin_mul_overflow(spec->elements, length, &spec->elements) ||
            spec->elements > LIMIT_VARIABLE_BYTES / dtype_bytes(spec->dtype))
            return error_set(err, STATUS_INVALID_ARGUMENT, "variable '%s': more than %llu bytes",
                             spec->name, (unsigned long long)LIMIT_VARIABLE_BYTES);
    }
    return STATUS_OK;
}

enum status variable_spec_from_message(const Pmd__VariableSpec *message,
                                       struct variable_spec *ret_spec, struct error *err)
{
    struct variable_spec spec = {0};

    if (!name_valid(message->name))
        return error_set(
            err, STATUS_INVALID_ARGUMENT,
            "variable name '%.80s': 1 to %d letters, digits, '_', '.', '/' or '-' are possible",
            message->name, LIMIT_NAME_BYTES);
    memcpy(spec.name, message->name, strlen(message->name) + 1);
    spec.dtype = (enum dtype)message->dtype;
    if (dtype_bytes(spec.dtype) == 0)
        return error_set(
            err, STATUS_INVALID_ARGUMENT,
            "variable '%s': no dtype has the number %d (float32 1, float64 2, int64 3)", spec.name,
            (int)message->dtype);
    enum status status = check_shape(message, &spec, err);
    if (status)
        return status;
    spec.initializer = message->initializer;
    if ((unsigned)spec.initializer >= sizeof initializer_names / sizeof initializer_names[0])
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "variable '%s': no initializer has the number %d", spec.name,
                         (int)message->initializer);
    bool random = spec.initializer == PMD__INITIALIZER_KIND__INITIALIZER_KIND_UNIFORM ||
                  spec.initializer == PMD__INITIALIZER_KIND__INITIALIZER_KIND_NORMAL ||
                  spec.initializer == PMD__INITIALIZER_KIND__INITIALIZER_KIND_TRUNCATED_NORMAL;
    if (random && spec.dtype != DTYPE_FLOAT32)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "variable '%s': initializer %s is for float32, the variable is %s",
                         spec.name, initializer_names[spec.initializer], dtype_name(spec.dtype));
    spec.initializer_a = message->initializer_a;
    spec.initializer_b = message->initializer_b;
    if (!isfinite(spec.initializer_a) || !isfinite(spec.initializer_b))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "variable '%s': the initializer's numbers must be finite", spec.name);
    spec.initializer_seed = message->initializer_seed;
    spec.trainable = message->trainable;
    spec.optimizer = message->optimizer;
    if (spec.trainable && spec.dtype != DTYPE_FLOAT32)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "variable '%s': only float32 variables can be trained, this one is %s",
                         spec.name, dtype_name(spec.dtype));
    *ret_spec = spec;
    return STATUS_OK;
}

void variable_spec_to_message(const struct variable_spec *spec, Pmd__VariableSpec *ret_message)
{
    pmd__variable_spec__init(ret_message);
    ret_message->name = (char *)spec->name;
    ret_message->dtype = (Pmd__DataType)spec->dtype;
    ret_message->n_shape = spec->rank;
    ret_message->shape = (uint64_t *)spec->shape;
    ret_message->initializer = spec->initializer;
    ret_message->initializer_a = spec->initializer_a;
    ret_message->initializer_b = spec->initializer_b;
    ret_message->initializer_seed = spec->initializer_seed;
    ret_message->trainable = spec->trainable;
    ret_message->optimizer = spec->optimizer;
}

bool variable_spec_equal(const struct variable_spec *a, const struct variable_spec *b)
{
    return strcmp(a->name, b->name) == 0 && a->dtype == b->dtype && a->rank == b->rank &&
           memcmp(a->shape, b->shape, a->rank * sizeof a->shape[0]) == 0 &&
           a->initializer == b->initializer && a->initializer_a == b->initializer_a &&
           a->initializer_b == b->initializer_b && a->initializer_seed == b->initializer_seed &&
           a->trainable == b->trainable && a->optimizer == b->optimizer;
}

void variable_shape_text(const struct variable_spec *spec, char *ret_text, size_t capacity)
{
    size_t used = (size_t)snprintf(ret_text, capacity, "(");

    for (size_t i = 0; i < spec->rank && used < capacity; i++)
        used += (size_t)snprintf(ret_text + used, capacity - used, "%s%llu", i ? ", " : "",
                                 (unsigned long long)spec->shape[i]);
    if (used < capacity)
        snprintf(ret_text + used, capacity - used, ")");
}

void variable_spec_text(const struct variable_spec *spec, char *ret_text, size_t capacity)
{
    char shape[200];
    char trainable[40] = "not trainable";

    variable_shape_text(spec, shape, sizeof shape);
    if (spec->trainable)
        snprintf(trainable, sizeof trainable, "trainable by optimizer %u", spec->optimizer);
    snprintf(ret_text, capacity, "%s %s, %s(%.9g, %.9g) seed %lld, %s", dtype_name(spec->dtype),
             shape, initializer_names[spec->initializer], spec->initializer_a, spec->initializer_b,
             (long long)spec->initializer_seed, trainable);
}

const struct variable_spec *registry_find(const struct registry *registry, const char *name,
                                          uint32_t *ret_id)
{
    if (!registry->index_capacity)
        return NULL;
    size_t mask = registry->index_capacity - 1;
    for (size_t i = hash_xxh3(name, strlen(name)) & mask; registry->index[i]; i = (i + 1) & mask) {
        uint32_t id = registry->index[i] - 1;
        if (strcmp(registry->variables[id].name, name) == 0) {
            if (ret_id)
                *ret_id = id;
            return &registry->variables[id];
        }
    }
    return NULL;
}

static void index_put(uint32_t *index, size_t capacity, const char *name, uint32_t id)
{
    size_t mask = capacity - 1;
    size_t i = hash_xxh3(name, strlen(name)) & mask;

    while (index[i])
        i = (i + 1) & mask;
    index[i] = id + 1;
}

/* Room for one more variable, in the array and at most half of the index. */
static enum status registry_grow(struct registry *registry, struct error *err)
{
    if (registry->variable_count == registry->variable_capacity) {
        size_t capacity = registry->variable_capacity ? registry->variable_capacity * 2 : 16;
        void *grown = alloc_resize(registry->variables, capacity, sizeof registry->variables[0]);
        if (!grown)
            return error_no_memory(err, "the list of variables");
        registry->variables = grown;
        registry->variable_capacity = capacity;
    }
    if ((registry->variable_count + 1) * 2 > registry->index_capacity) {
        size_t capacity = registry->index_capacity ? registry->index_capacity * 2 : 64;
        uint32_t *grown = alloc_array(capacity, sizeof *grown);
        if (!grown)
            return error_no_memory(err, "the list of variables");
        for (uint32_t id = 0; id < registry->variable_count; id++)
            index_put(grown, capacity, registry->variables[id].name, id);
        alloc_free(registry->index);
        registry->index = grown;
        registry->index_capacity = capacity;
    }
    return STATUS_OK;
}

static enum status exists_otherwise(const struct variable_spec *old,
                                    const struct variable_spec *spec, struct error *err)
{
    char old_text[256], new_text[256];

    variable_spec_text(old, old_text, sizeof old_text);
    variable_spec_text(spec, new_text, sizeof new_text);
    return error_set(err, STATUS_ALREADY_EXISTS, "variable '%.100s' exists as %s; asked for was %s",
                     spec->name, old_text, new_text);
}

enum status registry_add(struct registry *registry, const struct variable_spec *spec,
                         uint32_t *ret_id, struct error *err)
{
    uint32_t id;
    const struct variable_spec *old = registry_find(registry, spec->name, &id);
    uint64_t blocks = (spec->elements + LIMIT_BLOCK_ELEMENTS - 1) / LIMIT_BLOCK_ELEMENTS;

    if (old && !variable_spec_equal(old, spec))
        return exists_otherwise(old, spec, err);
    if (old) {
        *ret_id = id;
        return STATUS_OK;
    }
    if (registry->variable_count == LIMIT_VARIABLES)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "variable '%s': a job has at most %d variables", spec->name,
                         LIMIT_VARIABLES);
    if (blocks > LIMIT_BLOCKS - registry->block_count)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "variable '%s': with its %llu blocks the job has more than %d", spec->name,
                         (unsigned long long)blocks, LIMIT_BLOCKS);
    enum status status = registry_grow(registry, err);
    if (status)
        return status;
    id = (uint32_t)registry->variable_count++;
    registry->variables[id] = *spec;
    registry->block_count += blocks;
    index_put(registry->index, registry->index_capacity, spec->name, id);
    *ret_id = id;
    return STATUS_OK;
}

enum status optimizer_spec_from_message(const Pmd__OptimizerSpec *message,
                                        struct optimizer_spec *ret_spec, struct error *err)
{
    struct optimizer_spec spec = {.id = message->optimizer};

    if (spec.id >= LIMIT_OPTIMIZERS)
        return error_set(err, STATUS_INVALID_ARGUMENT, "optimizer id %u: 0 to %d are possible",
                         spec.id, LIMIT_OPTIMIZERS - 1);
    if (strlen(message->name) >= sizeof spec.name)
        return error_set(err, STATUS_INVALID_ARGUMENT, "optimizer %u: the name '%.80s' is too long",
                         spec.id, message->name);
    memcpy(spec.name, message->name, strlen(message->name) + 1);
    if (message->n_key != message->n_value || message->n_key > OPTIMIZER_SETTINGS_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "optimizer '%s': %zu keys and %zu values, at most %d of each are possible",
                         spec.name, message->n_key, message->n_value, OPTIMIZER_SETTINGS_MAX);
    for (size_t i = 0; i < message->n_key; i++) {
        struct optimizer_setting *setting = &spec.settings[i];
        if (strlen(message->key[i]) >= sizeof setting->key)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "optimizer '%s': the key '%.80s' is too long", spec.name,
                             message->key[i]);
        memcpy(setting->key, message->key[i], strlen(message->key[i]) + 1);
        setting->value = message->value[i];
    }
    spec.setting_count = message->n_key;
    *ret_spec = spec;
    return STATUS_OK;
}

const struct optimizer_spec *registry_optimizer(const struct registry *registry, uint32_t id)
{
    for (size_t i = 0; i < registry->optimizer_count; i++) {
        if (registry->optimizers[i].id == id)
            return &registry->optimizers[i];
    }
    return NULL;
}

static const struct optimizer_setting *setting_find(const struct optimizer_spec *spec,
                                                    const char *key)
{
    for (size_t i = 0; i < spec->setting_count; i++) {
        if (strcmp(spec->settings[i].key, key) == 0)
            return &spec->settings[i];
    }
    return NULL;
}

static enum status check_same_optimizer(const struct optimizer_spec *old,
                                        const struct optimizer_spec *spec, struct error *err)
{
    if (strcmp(old->name, spec->name) != 0)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "optimizer %u is '%s'; asked for was '%s'", spec->id, old->name,
                         spec->name);
    for (size_t i = 0; i < spec->setting_count; i++) {
        const struct optimizer_setting *other = setting_find(old, spec->settings[i].key);
        if (!other)
            return error_set(err, STATUS_FAILED_PRECONDITION,
                             "optimizer %u ('%s') was configured without '%s'; asked for was %.17g",
                             spec->id, old->name, spec->settings[i].key, spec->settings[i].value);
        if (other->value != spec->settings[i].value)
            return error_set(err, STATUS_FAILED_PRECONDITION,
                             "optimizer %u ('%s') has %s = %.17g; asked for was %.17g", spec->id,
                             old->name, other->key, other->value, spec->settings[i].value);
    }
    if (old->setting_count != spec->setting_count)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "optimizer %u ('%s') was configured with %zu settings; asked for were %zu",
                         spec->id, old->name, old->setting_count, spec->setting_count);
    return STATUS_OK;
}

enum status registry_add_optimizer(struct registry *registry, const struct optimizer_spec *spec,
                                   struct error *err)
{
    const struct optimizer_spec *old = registry_optimizer(registry, spec->id);

    if (old)
        return check_same_optimizer(old, spec, err);
    if (registry->optimizer_count == LIMIT_OPTIMIZERS)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "a job has at most %d optimizers",
                         LIMIT_OPTIMIZERS);
    registry->optimizers[registry->optimizer_count++] = *spec;
    return STATUS_OK;
}

static void page_fill_optimizers(const struct registry *registry, struct registry_page *page)
{
    for (size_t i = 0; i < registry->optimizer_count; i++) {
        const struct optimizer_spec *spec = &registry->optimizers[i];
        Pmd__OptimizerSpec *message = &page->optimizers[i];
        pmd__optimizer_spec__init(message);
        message->optimizer = spec->id;
        message->name = (char *)spec->name;
        for (size_t k = 0; k < spec->setting_count; k++) {
            page->keys[i][k] = (char *)spec->settings[k].key;
            page->values[i][k] = spec->settings[k].value;
        }
        message->n_key = message->n_value = spec->setting_count;
        message->key = page->keys[i];
        message->value = page->values[i];
        page->optimizer_pointers[i] = message;
    }
    page->message.n_optimizers = registry->optimizer_count;
    page->message.optimizers = page->optimizer_pointers;
}

size_t registry_page_fill(const struct registry *registry, uint32_t first, uint32_t servers,
                          struct registry_page *ret_page)
{
    struct registry_page *page = ret_page;
    size_t count = 0;

    pmd__registry__init(&page->message);
    page->message.first = first;
    page->message.total = (uint32_t)registry->variable_count;
    page->message.servers = servers;
    page_fill_optimizers(registry, page);
    while (first + count < registry->variable_count &&
           count < sizeof page->variables / sizeof page->variables[0]) {
        variable_spec_to_message(&registry->variables[first + count], &page->variables[count]);
        page->variable_pointers[count] = &page->variables[count];
        count++;
    }
    page->message.n_variables = count;
    page->message.variables = page->variable_pointers;
    return count;
}

enum status registry_page_add(struct registry *registry, const Pmd__Registry *message,
                              bool *ret_complete, struct error *err)
{
    if (message->total > LIMIT_VARIABLES || message->first > registry->variable_count ||
        (uint64_t)message->first + message->n_variables > message->total)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "registry page: %zu of %u variables from %u on, %zu are known",
                         message->n_variables, message->total, message->first,
                         registry->variable_count);
    for (size_t i = 0; i < message->n_optimizers; i++) {
        struct optimizer_spec spec;
        enum status status = optimizer_spec_from_message(message->optimizers[i], &spec, err);
        if (!status)
            status = registry_add_optimizer(registry, &spec, err);
        if (status)
            return status;
    }
    for (size_t i = 0; i < message->n_variables; i++) {
        struct variable_spec spec;
        uint32_t id;
        enum status status = variable_spec_from_message(message->variables[i], &spec, err);
        if (!status)
            status = registry_add(registry, &spec, &id, err);
        if (!status && id != message->first + i)
            status = error_set(err, STATUS_INVALID_ARGUMENT,
                               "registry page: '%s' has id %u and %zu", spec.name, id,
                               message->first + i);
        if (status)
            return status;
    }
    *ret_complete = registry->variable_count == message->total;
    return STATUS_OK;
}
