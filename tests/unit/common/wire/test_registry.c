/* The list of variables and optimizers: what is refused, what conflicts, and how it travels in
 * pages. */
#include "common/wire/registry.h"

#include "common/base/alloc.h"
#include "common/wire/message.h"

#include "tests/lib/fail_alloc.h"
#include "tests/lib/test.h"

#include <math.h>
#include <stdio.h>

static struct registry registry;
static struct error err;

static int teardown(void **state)
{
    (void)state;
    registry_release(&registry);
    return 0;
}

static Pmd__VariableSpec spec_message(const char *name)
{
    static uint64_t shape[LIMIT_RANK + 1];
    Pmd__VariableSpec message = PMD__VARIABLE_SPEC__INIT;

    shape[0] = 64;
    shape[1] = 10;
    for (size_t i = 2; i <= LIMIT_RANK; i++)
        shape[i] = 1;
    message.name = (char *)name;
    message.dtype = PMD__DATA_TYPE__DATA_TYPE_FLOAT32;
    message.n_shape = 2;
    message.shape = shape;
    message.initializer = PMD__INITIALIZER_KIND__INITIALIZER_KIND_UNIFORM;
    message.initializer_a = -0.5;
    message.initializer_b = 0.5;
    message.initializer_seed = 7;
    message.trainable = true;
    message.optimizer = 3;
    return message;
}

static struct variable_spec spec_named(const char *name)
{
    Pmd__VariableSpec message = spec_message(name);
    struct variable_spec spec;

    assert_ok(variable_spec_from_message(&message, &spec, &err), &err);
    return spec;
}

static void assert_spec_refused(const Pmd__VariableSpec *message, const char *words)
{
    struct variable_spec spec;

    assert_refused(variable_spec_from_message(message, &spec, &err), STATUS_INVALID_ARGUMENT, &err,
                   words);
}

static void test_spec_there_and_back(void **state)
{
    Pmd__VariableSpec message;
    char text[256];

    (void)state;
    struct variable_spec spec = spec_named("model/dense-1.kernel_0"), again;
    assert_int_equal(spec.elements, 640);
    variable_spec_to_message(&spec, &message);
    assert_ok(variable_spec_from_message(&message, &again, &err), &err);
    assert_true(variable_spec_equal(&spec, &again));
    variable_spec_text(&spec, text, sizeof text);
    assert_string_equal(text,
                        "float32 (64, 10), uniform(-0.5, 0.5) seed 7, trainable by optimizer 3");
    spec.rank = 0;
    variable_shape_text(&spec, text, sizeof text);
    assert_string_equal(text, "()");
    variable_spec_text(&spec, text, 5); /* cut, not overrun */
    assert_string_equal(text, "floa");
}

static void test_names(void **state)
{
    char name[LIMIT_NAME_BYTES + 2];
    struct variable_spec spec;

    (void)state;
    memset(name, 'a', sizeof name);
    name[LIMIT_NAME_BYTES + 1] = '\0';
    Pmd__VariableSpec message = spec_message(name);
    assert_spec_refused(&message, "1 to 256 letters");
    name[LIMIT_NAME_BYTES] = '\0';
    assert_ok(variable_spec_from_message(&message, &spec, &err), &err);
    message.name = "";
    assert_spec_refused(&message, "variable name ''");
    message.name = "a b";
    assert_spec_refused(&message, "variable name 'a b'");
    message.name = "a\n";
    assert_spec_refused(&message, "letters");
}

static void test_shapes(void **state)
{
    struct variable_spec spec;
    Pmd__VariableSpec message = spec_message("w");

    (void)state;
    message.n_shape = LIMIT_RANK;
    assert_ok(variable_spec_from_message(&message, &spec, &err), &err);
    message.n_shape = LIMIT_RANK + 1;
    assert_spec_refused(&message, "9 dimensions, at most 8");
    message.n_shape = 0;
    assert_ok(variable_spec_from_message(&message, &spec, &err), &err);
    assert_int_equal(spec.elements, 1);
    message.n_shape = 2;
    message.shape[1] = 0;
    assert_spec_refused(&message, "dimension 1 has length 0");
    message.shape[0] = LIMIT_VARIABLE_BYTES / 4;
    message.shape[1] = 1;
    assert_ok(variable_spec_from_message(&message, &spec, &err), &err);
    message.shape[0]++;
    assert_spec_refused(&message, "more than 1099511627776 bytes");
    message.shape[0] = message.shape[1] = UINT64_MAX;
    assert_spec_refused(&message, "more than");
    message.shape[0] = message.shape[1] = (uint64_t)1 << 32; /* wraps around to 0 */
    assert_spec_refused(&message, "more than");
}

static void test_dtypes_and_initializers(void **state)
{
    Pmd__VariableSpec message = spec_message("w");
    struct variable_spec spec;

    (void)state;
    message.dtype = (Pmd__DataType)0;
    assert_spec_refused(&message, "no dtype has the number 0");
    message.dtype = (Pmd__DataType)77;
    assert_spec_refused(&message, "no dtype has the number 77");
    message.dtype = PMD__DATA_TYPE__DATA_TYPE_INT64;
    assert_spec_refused(&message, "initializer uniform is for float32, the variable is int64");
    message.initializer = PMD__INITIALIZER_KIND__INITIALIZER_KIND_ONES;
    assert_spec_refused(&message, "only float32 variables can be trained, this one is int64");
    message.trainable = false;
    assert_ok(variable_spec_from_message(&message, &spec, &err), &err);
    message.initializer = PMD__INITIALIZER_KIND__INITIALIZER_KIND_ASSIGNED;
    assert_ok(variable_spec_from_message(&message, &spec, &err), &err);
    message.initializer = (Pmd__InitializerKind)7;
    assert_spec_refused(&message, "no initializer has the number 7");
    message.initializer = (Pmd__InitializerKind)-1;
    assert_spec_refused(&message, "no initializer has the number -1");
    message.initializer = PMD__INITIALIZER_KIND__INITIALIZER_KIND_CONSTANT;
    message.initializer_a = NAN;
    assert_spec_refused(&message, "must be finite");
    message.initializer_a = 0;
    message.initializer_b = INFINITY;
    assert_spec_refused(&message, "must be finite");
}

static void test_equality_looks_at_everything(void **state)
{
    (void)state;
    struct variable_spec spec = spec_named("w");
#define DIFFERS(change)                                                                            \
    do {                                                                                           \
        struct variable_spec other = spec;                                                         \
        change;                                                                                    \
        assert_false(variable_spec_equal(&spec, &other));                                          \
    } while (0)
    DIFFERS(other.name[0] = 'v');
    DIFFERS(other.dtype = DTYPE_INT64);
    DIFFERS(other.rank = 1);
    DIFFERS(other.shape[1] = 11);
    DIFFERS(other.initializer = PMD__INITIALIZER_KIND__INITIALIZER_KIND_NORMAL);
    DIFFERS(other.initializer_a = 0);
    DIFFERS(other.initializer_b = 0);
    DIFFERS(other.initializer_seed = 8);
    DIFFERS(other.trainable = false);
    DIFFERS(other.optimizer = 4);
#undef DIFFERS
}

static void test_ids_are_dense_and_found_by_name(void **state)
{
    char name[16];
    uint32_t id;

    (void)state;
    assert_null(registry_find(&registry, "v0", &id));
    for (uint32_t i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "v%u", i);
        struct variable_spec spec = spec_named(name);
        assert_ok(registry_add(&registry, &spec, &id, &err), &err);
        assert_int_equal(id, i);
    }
    for (uint32_t i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "v%u", i);
        assert_non_null(registry_find(&registry, name, &id));
        assert_int_equal(id, i);
        assert_non_null(registry_find(&registry, name, NULL));
    }
    assert_null(registry_find(&registry, "v1000", &id));
    struct variable_spec spec = spec_named("v7");
    assert_ok(registry_add(&registry, &spec, &id, &err), &err);
    assert_int_equal(id, 7);
    spec.shape[0] = 65;
    assert_refused(registry_add(&registry, &spec, &id, &err), STATUS_ALREADY_EXISTS, &err,
                   "'v7' exists as float32 (64, 10), uniform");
    assert_non_null(strstr(err.message, "asked for was float32 (65, 10)"));
}

static void test_blocks_are_bounded(void **state)
{
    uint32_t id;

    (void)state;
    struct variable_spec spec = spec_named("all");
    spec.elements = (uint64_t)LIMIT_BLOCKS * LIMIT_BLOCK_ELEMENTS;
    assert_ok(registry_add(&registry, &spec, &id, &err), &err);
    assert_int_equal(registry.block_count, LIMIT_BLOCKS);
    spec = spec_named("more");
    assert_refused(registry_add(&registry, &spec, &id, &err), STATUS_RESOURCE_EXHAUSTED, &err,
                   "'more': with its 1 blocks the job has more than 4194304");
    assert_int_equal(registry.variable_count, 1);
}

static struct optimizer_spec optimizer(uint32_t id, const char *name, const char *key, double value)
{
    char *keys[] = {(char *)key};
    Pmd__OptimizerSpec message = PMD__OPTIMIZER_SPEC__INIT;
    struct optimizer_spec spec;

    message.optimizer = id;
    message.name = (char *)name;
    message.n_key = message.n_value = key != NULL;
    message.key = keys;
    message.value = &value;
    assert_ok(optimizer_spec_from_message(&message, &spec, &err), &err);
    return spec;
}

static void assert_other(const struct optimizer_spec *spec, const char *words)
{
    assert_refused(registry_add_optimizer(&registry, spec, &err), STATUS_FAILED_PRECONDITION, &err,
                   words);
}

static void test_optimizers_that_differ(void **state)
{
    (void)state;
    struct optimizer_spec spec = optimizer(2, "sgd", "momentum", 0.5);
    assert_ok(registry_add_optimizer(&registry, &spec, &err), &err);
    assert_ok(registry_add_optimizer(&registry, &spec, &err), &err);
    assert_int_equal(registry.optimizer_count, 1);
    assert_ptr_equal(registry_optimizer(&registry, 2), &registry.optimizers[0]);
    assert_null(registry_optimizer(&registry, 1));
    spec = optimizer(2, "adam", "momentum", 0.5);
    assert_other(&spec, "optimizer 2 is 'sgd'; asked for was 'adam'");
    spec = optimizer(2, "sgd", "momentum", 0.75);
    assert_other(&spec, "has momentum = 0.5; asked for was 0.75");
    spec = optimizer(2, "sgd", "nesterov", 1);
    assert_other(&spec, "was configured without 'nesterov'; asked for was 1");
    spec = optimizer(2, "sgd", NULL, 0);
    assert_other(&spec, "with 1 settings; asked for were 0");
}

static void test_optimizers_are_bounded(void **state)
{
    char *keys[OPTIMIZER_SETTINGS_MAX + 1];
    double values[OPTIMIZER_SETTINGS_MAX + 1] = {0};
    Pmd__OptimizerSpec message = PMD__OPTIMIZER_SPEC__INIT;
    struct optimizer_spec spec;

    (void)state;
    for (uint32_t id = 0; id < LIMIT_OPTIMIZERS; id++) {
        spec = optimizer(id, "sgd", NULL, 0);
        assert_ok(registry_add_optimizer(&registry, &spec, &err), &err);
    }
    for (int i = 0; i <= OPTIMIZER_SETTINGS_MAX; i++)
        keys[i] = "momentum";
    message.name = "sgd";
    message.key = keys;
    message.value = values;
    message.n_key = message.n_value = OPTIMIZER_SETTINGS_MAX;
    assert_ok(optimizer_spec_from_message(&message, &spec, &err), &err);
    message.n_key = message.n_value = OPTIMIZER_SETTINGS_MAX + 1;
    assert_refused(optimizer_spec_from_message(&message, &spec, &err), STATUS_INVALID_ARGUMENT,
                   &err, "17 keys and 17 values");
    message.n_key = 2;
    message.n_value = 1;
    assert_refused(optimizer_spec_from_message(&message, &spec, &err), STATUS_INVALID_ARGUMENT,
                   &err, "2 keys and 1 values");
    message.n_key = message.n_value = 1;
    keys[0] = "a-key-of-thirty-two-characters--";
    assert_refused(optimizer_spec_from_message(&message, &spec, &err), STATUS_INVALID_ARGUMENT,
                   &err, "is too long");
    message.name = "a-name-of-thirty-two-characters-";
    assert_refused(optimizer_spec_from_message(&message, &spec, &err), STATUS_INVALID_ARGUMENT,
                   &err, "is too long");
    message.optimizer = LIMIT_OPTIMIZERS;
    assert_refused(optimizer_spec_from_message(&message, &spec, &err), STATUS_INVALID_ARGUMENT,
                   &err, "optimizer id 16: 0 to 15");
}

/* A registry with so many variables and as large optimizers as there may be. */
static void fill(uint32_t count)
{
    char name[LIMIT_NAME_BYTES + 1];
    uint32_t id;

    memset(name, 'x', LIMIT_NAME_BYTES);
    name[LIMIT_NAME_BYTES] = '\0';
    for (uint32_t i = 0; i < count; i++) {
        snprintf(name, 9, "%08u", i);
        name[8] = '/';
        struct variable_spec spec = spec_named(name);
        spec.rank = LIMIT_RANK;
        for (size_t k = 2; k < LIMIT_RANK; k++)
            spec.shape[k] = 1;
        spec.optimizer = UINT32_MAX;
        spec.initializer_seed = -1;
        assert_ok(registry_add(&registry, &spec, &id, &err), &err);
    }
    for (uint32_t i = 0; i < LIMIT_OPTIMIZERS; i++) {
        struct optimizer_spec spec = {.id = i, .setting_count = OPTIMIZER_SETTINGS_MAX};
        memset(spec.name, 'o', sizeof spec.name - 1);
        for (int k = 0; k < OPTIMIZER_SETTINGS_MAX; k++) {
            memset(spec.settings[k].key, 'a' + k, sizeof spec.settings[k].key - 1);
            spec.settings[k].value = k + 0.5;
        }
        assert_ok(registry_add_optimizer(&registry, &spec, &err), &err);
    }
}

/* The largest page there can be still is a header. */
static void test_pages_there_and_back(void **state)
{
    static struct registry_page page;
    struct registry copy = {0};
    bool complete = false;

    (void)state;
    fill(300);
    for (uint32_t first = 0; first < 300;) {
        assert_false(complete);
        size_t count = registry_page_fill(&registry, first, 5, &page);
        assert_true(count > 0 && count <= 128);
        assert_int_equal(page.message.servers, 5);
        assert_true(message_packed_bytes(&page.message.base) <= LIMIT_HEADER_BYTES);
        assert_ok(registry_page_add(&copy, &page.message, &complete, &err), &err);
        assert_ok(registry_page_add(&copy, &page.message, &complete, &err), &err); /* again */
        first += (uint32_t)count;
    }
    assert_true(complete);
    assert_int_equal(copy.variable_count, 300);
    assert_int_equal(copy.block_count, registry.block_count);
    for (uint32_t i = 0; i < 300; i++)
        assert_true(variable_spec_equal(&copy.variables[i], &registry.variables[i]));
    assert_memory_equal(copy.optimizers, registry.optimizers, sizeof copy.optimizers);
    assert_int_equal(registry_page_fill(&registry, 300, 5, &page), 0);
    registry_release(&copy);
}

static void test_pages_that_do_not_fit(void **state)
{
    Pmd__VariableSpec specs[2];
    Pmd__VariableSpec *pointers[2] = {&specs[0], &specs[1]};
    Pmd__Registry page = PMD__REGISTRY__INIT;
    bool complete;

    (void)state;
    specs[0] = spec_message("a");
    specs[1] = spec_message("a");
    page.total = 2;
    page.first = 1;
    page.n_variables = 1;
    page.variables = pointers;
    assert_refused(registry_page_add(&registry, &page, &complete, &err), STATUS_INVALID_ARGUMENT,
                   &err, "1 of 2 variables from 1 on, 0 are known"); /* a gap */
    page.first = 0;
    page.n_variables = 2;
    assert_refused(registry_page_add(&registry, &page, &complete, &err), STATUS_INVALID_ARGUMENT,
                   &err, "'a' has id 0 and 1"); /* one name twice */
    page.total = LIMIT_VARIABLES + 1;
    assert_refused(registry_page_add(&registry, &page, &complete, &err), STATUS_INVALID_ARGUMENT,
                   &err, "2 of 65537 variables");
    specs[1] = spec_message("b");
    page.total = 1;
    assert_refused(registry_page_add(&registry, &page, &complete, &err), STATUS_INVALID_ARGUMENT,
                   &err, "2 of 1 variables"); /* more than it says */
}

static enum status build(void *context)
{
    struct registry built = {0};
    enum status status = STATUS_OK;
    char name[16];
    uint32_t id;

    (void)context;
    for (uint32_t i = 0; !status && i < 100; i++) {
        snprintf(name, sizeof name, "v%u", i);
        struct variable_spec spec = spec_named(name);
        status = registry_add(&built, &spec, &id, &err);
        if (status) /* what was there is still there */
            assert_int_equal(built.variable_count, i);
    }
    registry_release(&built);
    return status;
}

static void test_no_memory(void **state)
{
    (void)state;
    assert_true(fail_alloc_each(build, NULL) >= 4);
}

#define REGISTRY(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        REGISTRY(test_spec_there_and_back),
        REGISTRY(test_names),
        REGISTRY(test_shapes),
        REGISTRY(test_dtypes_and_initializers),
        REGISTRY(test_equality_looks_at_everything),
        REGISTRY(test_ids_are_dense_and_found_by_name),
        REGISTRY(test_blocks_are_bounded),
        REGISTRY(test_optimizers_that_differ),
        REGISTRY(test_optimizers_are_bounded),
        REGISTRY(test_pages_there_and_back),
        REGISTRY(test_pages_that_do_not_fit),
        REGISTRY(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
