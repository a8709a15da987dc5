/* Pages of the registry, as a server or a client gets them. What is accepted travels on as it came.
 */
/* decoder: common/wire/registry.c */
/* options: -max_len=4096 */
/*
 * The input is a list of pages: two bytes of length, then a packed Registry message. Pages that
 * pass the wire's own checks are added to one registry; then the registry is cut into pages again,
 * and a second one made of these must be equal.
 */
#include "common/base/bytes.h"
#include "common/wire/message.h"
#include "common/wire/registry.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 2, VARIABLES = 3, OPTIMIZERS = 2, ARENA_BYTES = LIMIT_MESSAGE_ARENA_BYTES };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max);

static void require(bool truth)
{
    if (!truth)
        abort();
}

static void assert_texts_end(const struct registry *registry)
{
    char text[200];

    for (size_t i = 0; i < registry->variable_count; i++) {
        uint32_t id = UINT32_MAX;
        memset(text, 'x', sizeof text);
        variable_spec_text(&registry->variables[i], text, sizeof text);
        require(memchr(text, '\0', sizeof text) != NULL);
        require(registry_find(registry, registry->variables[i].name, &id) && id == i);
        require(registry->variables[i].elements > 0);
    }
}

static void assert_travels(const struct registry *registry)
{
    static struct registry_page page;
    struct registry copy = {0};
    bool complete = false;
    struct error err;
    uint32_t first = 0;

    do {
        size_t count = registry_page_fill(registry, first, 1, &page);
        require(message_packed_bytes(&page.message.base) <= LIMIT_HEADER_BYTES);
        require(registry_page_add(&copy, &page.message, &complete, &err) == STATUS_OK);
        first += (uint32_t)count;
    } while (first < registry->variable_count);
    require(complete && copy.variable_count == registry->variable_count);
    require(copy.block_count == registry->block_count);
    for (size_t i = 0; i < copy.variable_count; i++)
        require(variable_spec_equal(&copy.variables[i], &registry->variables[i]));
    require(copy.optimizer_count == registry->optimizer_count);
    registry_release(&copy);
}

/* Another spec of the same name is refused with a message that names it, and changes nothing. */
static void assert_conflicts(struct registry *registry)
{
    uint32_t id;
    struct error err;

    if (registry->variable_count == 0)
        return;
    struct variable_spec other = registry->variables[0];
    other.initializer_seed ^= 1;
    require(registry_add(registry, &other, &id, &err) == STATUS_ALREADY_EXISTS);
    require(registry->variables[0].initializer_seed != other.initializer_seed);
}

static void assert_other_optimizer(struct registry *registry)
{
    struct error err;

    if (registry->optimizer_count == 0)
        return;
    struct optimizer_spec other = registry->optimizers[0];
    if (other.setting_count > 0)
        other.setting_count--;
    else
        other.settings[other.setting_count++].key[0] = 'k';
    require(registry_add_optimizer(registry, &other, &err) == STATUS_FAILED_PRECONDITION);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct arena arena;
    struct registry registry = {0};
    const void *message;
    struct error err = {0};
    bool complete;

    if (!arena.memory)
        require(arena_init(&arena, ARENA_BYTES) == STATUS_OK);
    while (size >= LENGTH_BYTES) {
        size_t bytes = bytes_get_u16(data);
        data += LENGTH_BYTES;
        size -= LENGTH_BYTES;
        bytes = bytes < size ? bytes : size;
        enum status status = message_unpack(FRAME_REGISTRY, data, bytes, &arena, &message, &err);
        if (!status)
            status = registry_page_add(&registry, message, &complete, &err);
        require(status == STATUS_OK || err.message[0] != '\0');
        arena_clear(&arena);
        data += bytes;
        size -= bytes;
    }
    assert_texts_end(&registry);
    assert_travels(&registry);
    assert_conflicts(&registry);
    assert_other_optimizer(&registry);
    registry_release(&registry);
    return 0;
}

/* ---- pages built properly, of numbers that are mutated ---- */

static uint8_t take(const uint8_t **at, const uint8_t *end)
{
    return *at < end ? *(*at)++ : 0;
}

static double real(uint8_t byte)
{
    return byte == 255 ? (double)INFINITY : byte / 8.0 - 4;
}

static void make_variable(const uint8_t **at, const uint8_t *end, uint64_t *shape,
                          Pmd__VariableSpec *ret_spec)
{
    static char *const names[] = {"a", "b", "c", "model/dense.kernel", ""};
    static const uint64_t lengths[] = {1, 2, 65536, 65537, 0, (uint64_t)1 << 38, UINT64_MAX, 7};
    uint8_t shapes;

    pmd__variable_spec__init(ret_spec);
    ret_spec->name = names[take(at, end) % 5];
    ret_spec->dtype = (Pmd__DataType)(1 + take(at, end) % 4);
    ret_spec->n_shape = take(at, end) % (LIMIT_RANK + 1);
    ret_spec->shape = shape;
    for (size_t i = 0; i < ret_spec->n_shape; i++) {
        shapes = take(at, end);
        shape[i] = lengths[shapes < 224 ? shapes % 2 : shapes % 8];
    }
    ret_spec->initializer = (Pmd__InitializerKind)(take(at, end) % 8);
    ret_spec->initializer_a = real(take(at, end));
    ret_spec->initializer_b = real(take(at, end));
    ret_spec->initializer_seed = (int64_t)take(at, end) - 128;
    ret_spec->trainable = take(at, end) % 4 == 3;
    ret_spec->optimizer = take(at, end) % 4;
}

static void make_optimizer(const uint8_t **at, const uint8_t *end, char **keys, double *values,
                           Pmd__OptimizerSpec *ret_spec)
{
    static char *const names[] = {"sgd", "adam", "a-name-that-is-much-too-long-for-an-optimizer",
                                  ""};
    static char *const words[] = {"momentum", "learning_rate", "beta_1",
                                  "a-key-that-is-much-too-long-for-a-setting"};

    pmd__optimizer_spec__init(ret_spec);
    ret_spec->optimizer = take(at, end) % 18;
    ret_spec->name = names[take(at, end) % 4];
    ret_spec->n_key = ret_spec->n_value = take(at, end) % 18;
    ret_spec->key = keys;
    ret_spec->value = values;
    for (size_t i = 0; i < ret_spec->n_key; i++) {
        uint8_t byte = take(at, end);
        keys[i] = words[byte < 250 ? byte % 3 : 3];
        values[i] = byte / 16.0;
    }
}

static size_t make_page(const uint8_t **at, const uint8_t *end, uint8_t *ret_bytes, size_t capacity)
{
    Pmd__VariableSpec variables[VARIABLES];
    Pmd__VariableSpec *variable_pointers[VARIABLES];
    uint64_t shapes[VARIABLES][LIMIT_RANK];
    Pmd__OptimizerSpec optimizers[OPTIMIZERS];
    Pmd__OptimizerSpec *optimizer_pointers[OPTIMIZERS];
    char *keys[OPTIMIZERS][18];
    double values[OPTIMIZERS][18];
    Pmd__Registry page = PMD__REGISTRY__INIT;

    page.first = take(at, end) % 4;
    page.total = take(at, end) % 8;
    page.n_variables = take(at, end) % (VARIABLES + 1);
    page.n_optimizers = take(at, end) % (OPTIMIZERS + 1);
    for (size_t i = 0; i < page.n_variables; i++) {
        make_variable(at, end, shapes[i], &variables[i]);
        variable_pointers[i] = &variables[i];
    }
    for (size_t i = 0; i < page.n_optimizers; i++) {
        make_optimizer(at, end, keys[i], values[i], &optimizers[i]);
        optimizer_pointers[i] = &optimizers[i];
    }
    page.variables = variable_pointers;
    page.optimizers = optimizer_pointers;
    size_t bytes = message_packed_bytes(&page.base);
    if (LENGTH_BYTES + bytes > capacity || bytes > UINT16_MAX)
        return 0;
    bytes_put_u16(ret_bytes, (uint16_t)bytes);
    message_pack(&page.base, ret_bytes + LENGTH_BYTES);
    return LENGTH_BYTES + bytes;
}

/* Half of the inputs are made of whole pages, drawn from mutated bytes; the others are bytes of
 * pages that were mutated. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    uint8_t drawn[256];
    size_t used = 0;

    if (seed % 2) {
        size_t bytes = size < sizeof drawn ? size : sizeof drawn;
        memcpy(drawn, data, bytes);
        bytes = LLVMFuzzerMutate(drawn, bytes, sizeof drawn);
        const uint8_t *at = drawn;
        for (unsigned pages = 1 + seed / 2 % 3; pages > 0; pages--)
            used += make_page(&at, drawn + bytes, data + used, size_max - used);
        return used;
    }
    return LLVMFuzzerMutate(data, size, size_max);
}
