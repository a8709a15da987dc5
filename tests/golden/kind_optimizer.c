/* Steps of an optimizer over a few variables: values and slots after each recorded step. */
#include "common/base/alloc.h"
#include "common/optim/optimizer.h"
#include "tests/golden/golden.h"

#include <stdio.h>
#include <string.h>

enum { VARIABLES_MAX = 16, NAME_BYTES = 128 };

struct variable {
    float *value, *slots[OPTIMIZER_SLOTS_MAX]; /* owned */
    size_t count;
};

struct run {
    struct golden_case *golden;
    struct optimizer optimizer;
    struct variable variables[VARIABLES_MAX];
    size_t variable_count;
    uint64_t iterations; /* updates so far */
    double learning_rate;
};

/* Options of Keras that need more than one block of one variable, or that are not built. */
static const char *const not_built[] = {"clipnorm",          "global_clipnorm",
                                        "use_ema",           "ema_overwrite_frequency",
                                        "loss_scale_factor", "gradient_accumulation_steps"};

/* Not of the update rule: the object's name, and a setting that counts only with use_ema. */
static bool is_ignored(const char *key)
{
    return strcmp(key, "name") == 0 || strcmp(key, "ema_momentum") == 0;
}

static enum golden_outcome read_options(struct run *run, json_t *config,
                                        struct optimizer_option *options, size_t *ret_count)
{
    const char *key;
    json_t *value;
    size_t count = 0;

    for (size_t i = 0; i < sizeof not_built / sizeof not_built[0]; i++) {
        value = json_object_get(config, not_built[i]);
        if (json_is_number(value) || json_is_true(value))
            return golden_skip(run->golden, "option %s", not_built[i]);
    }
    json_object_foreach(config, key, value)
    {
        if (json_is_object(value))
            return golden_skip(run->golden, "%s is a schedule", key);
        if (is_ignored(key) || json_is_null(value) || json_is_false(value))
            continue;
        if (count == OPTIMIZER_OPTIONS_MAX || strlen(key) >= OPTIMIZER_NAME_BYTES)
            return golden_fail(run->golden, "option %s: too many options, or too long a name", key);
        snprintf(options[count].key, sizeof options[count].key, "%s", key);
        options[count++].value = json_is_true(value) ? 1.0 : json_number_value(value);
    }
    *ret_count = count;
    return GOLDEN_PASSED;
}

/* What the case uses beside the optimizer. */
static enum golden_outcome check_built(struct run *run)
{
    json_t *json = run->golden->json, *variable;
    size_t i;

    if (json_object_get(json, "exclude_from_weight_decay"))
        return golden_skip(run->golden, "exclude_from_weight_decay");
    json_array_foreach(json_object_get(json, "variables"), i, variable)
    {
        const char *dtype = json_string_value(json_object_get(variable, "dtype"));

        if (!dtype || strcmp(dtype, "float32") != 0)
            return golden_skip(run->golden, "arithmetic in %s", dtype ? dtype : "no dtype");
        if (json_object_get(variable, "constraint"))
            return golden_skip(run->golden, "constraints");
    }
    return i <= VARIABLES_MAX ? GOLDEN_PASSED
                              : golden_fail(run->golden, "more than %d variables", VARIABLES_MAX);
}

static enum golden_outcome set_up_optimizer(struct run *run)
{
    const char *name = json_string_value(json_object_get(run->golden->json, "name"));
    json_t *config = json_object_get(run->golden->json, "config");
    struct optimizer_option options[OPTIMIZER_OPTIONS_MAX];
    struct error err;
    enum golden_outcome outcome;
    enum status status;
    size_t count = 0;

    if (!name)
        return golden_fail(run->golden, "the case names no optimizer");
    status = optimizer_init(&run->optimizer, name, NULL, 0, &err);
    if (status == STATUS_NOT_FOUND)
        return golden_skip(run->golden, "optimizer %s", name);
    outcome = read_options(run, config, options, &count);
    if (outcome != GOLDEN_PASSED)
        return outcome;
    status = optimizer_init(&run->optimizer, name, options, count, &err);
    if (status != STATUS_OK)
        return golden_fail(run->golden, "%s", err.message);
    run->learning_rate = optimizer_option_value(&run->optimizer, "learning_rate");
    return check_built(run);
}

static enum golden_outcome set_up_variable(struct run *run, json_t *description)
{
    struct variable *variable = &run->variables[run->variable_count++];
    const char *initial = json_string_value(json_object_get(description, "initial"));

    variable->value = golden_floats(run->golden, initial ? initial : "", &variable->count);
    if (!variable->value)
        return GOLDEN_FAILED;
    for (size_t slot = 0; slot < optimizer_slot_count(&run->optimizer); slot++) {
        float *values = alloc_array(variable->count + 1, sizeof *values);

        if (!values)
            return golden_fail(run->golden, "out of memory");
        for (size_t i = 0; i < variable->count; i++)
            values[i] = optimizer_slot_initial(&run->optimizer, slot);
        variable->slots[slot] = values;
    }
    return GOLDEN_PASSED;
}

/* Before a step the learning rate or the counter may have been assigned. */
static void apply_events(struct run *run, json_int_t step)
{
    json_t *event;
    size_t i;

    json_array_foreach(json_object_get(run->golden->json, "events"), i, event)
    {
        json_t *rate = json_object_get(event, "learning_rate");
        json_t *iterations = json_object_get(event, "iterations");

        if (json_integer_value(json_object_get(event, "before_step")) != step)
            continue;
        if (rate)
            run->learning_rate = json_number_value(rate);
        if (iterations)
            run->iterations = (uint64_t)json_integer_value(iterations);
    }
}

static bool has_gradient(const struct run *run, json_int_t step, size_t variable)
{
    json_t *pair;
    size_t i;

    json_array_foreach(json_object_get(run->golden->json, "absent_gradients"), i, pair)
    {
        if (json_integer_value(json_array_get(pair, 0)) == step &&
            json_integer_value(json_array_get(pair, 1)) == (json_int_t)variable)
            return false;
    }
    return true;
}

static bool compare_variable(struct run *run, json_int_t step, size_t index)
{
    const json_t *compare = json_object_get(run->golden->json, "compare");
    const struct variable *variable = &run->variables[index];
    char name[NAME_BYTES];

    snprintf(name, sizeof name, "value/%lld/%zu", (long long)step, index);
    if (!golden_compare(run->golden, compare, name, ELEMENT_F32, variable->value, variable->count))
        return false;
    for (size_t slot = 0; slot < optimizer_slot_count(&run->optimizer); slot++) {
        snprintf(name, sizeof name, "slot/%s/%lld/%zu", optimizer_slot_name(&run->optimizer, slot),
                 (long long)step, index);
        if (!golden_compare(run->golden, compare, name, ELEMENT_F32, variable->slots[slot],
                            variable->count))
            return false;
    }
    return true;
}

static bool is_recorded(const struct run *run, json_int_t step)
{
    json_t *recorded;
    size_t i;

    json_array_foreach(json_object_get(run->golden->json, "recorded_steps"), i, recorded)
    {
        if (json_integer_value(recorded) == step)
            return true;
    }
    return false;
}

/*
 * Writes the rows of a sparse gradient into a dense one of zeros, as a server does. A row that is
 * given twice is another matter: Keras adds up its squares one by one, where we square the sum.
 */
static enum golden_outcome scatter_rows(struct run *run, const struct safetensors_tensor *indices,
                                        const struct safetensors_tensor *rows, float *grad,
                                        size_t count)
{
    size_t width = rows->rank > 0 && rows->shape[0] > 0 ? rows->element_count / rows->shape[0] : 0;
    enum golden_outcome outcome = GOLDEN_PASSED;
    bool *seen = alloc_array(count + 1, sizeof *seen);

    if (!seen || rows->type != ELEMENT_F32 || indices->type != ELEMENT_I64)
        outcome = golden_fail(run->golden, "out of memory, or rows of an unexpected type");
    for (size_t i = 0; outcome == GOLDEN_PASSED && i < indices->element_count; i++) {
        int64_t row;

        memcpy(&row, (const char *)indices->data + i * sizeof row, sizeof row);
        if (row < 0 || ((size_t)row + 1) * width > count) {
            outcome = golden_fail(run->golden, "row %lld is outside its variable", (long long)row);
        } else if (seen[row]) {
            outcome = golden_skip(run->golden, "a gradient with the same row twice");
        } else {
            seen[row] = true;
            memcpy(grad + (size_t)row * width, (const char *)rows->data + i * width * sizeof *grad,
                   width * sizeof *grad);
        }
    }
    alloc_free(seen);
    return outcome;
}

static enum golden_outcome read_gradient(struct run *run, json_int_t step, size_t index,
                                         float *grad, size_t count)
{
    const struct safetensors_tensor *indices, *tensor;
    char name[NAME_BYTES];

    tensor = golden_array(run->golden, "gradient/%lld/%zu", (long long)step, index);
    if (!tensor)
        return GOLDEN_FAILED;
    snprintf(name, sizeof name, "indices/%lld/%zu", (long long)step, index);
    indices = safetensors_find(&run->golden->arrays, name);
    if (indices)
        return scatter_rows(run, indices, tensor, grad, count);
    if (tensor->type != ELEMENT_F32 || tensor->element_count != count)
        return golden_fail(run->golden, "gradient %zu of step %lld does not fit its variable",
                           index, (long long)step);
    memcpy(grad, tensor->data, count * sizeof *grad);
    return GOLDEN_PASSED;
}

static enum golden_outcome step_variable(struct run *run, json_int_t step, size_t index,
                                         const struct optimizer_scalars *scalars)
{
    struct variable *variable = &run->variables[index];
    float *grad = alloc_array(variable->count + 1, sizeof *grad);
    enum golden_outcome outcome;

    if (!grad)
        return golden_fail(run->golden, "out of memory");
    outcome = read_gradient(run, step, index, grad, variable->count);
    if (outcome == GOLDEN_PASSED)
        optimizer_apply(&run->optimizer, scalars, variable->value, variable->value, variable->slots,
                        grad, variable->count);
    alloc_free(grad);
    return outcome;
}

static enum golden_outcome run_step(struct run *run, json_int_t step)
{
    struct optimizer_scalars scalars;

    apply_events(run, step);
    optimizer_begin_step(&run->optimizer, run->iterations + 1, run->learning_rate, &scalars);
    run->iterations++;
    for (size_t i = 0; i < run->variable_count; i++) {
        enum golden_outcome outcome = GOLDEN_PASSED;

        if (has_gradient(run, step, i))
            outcome = step_variable(run, step, i, &scalars);
        if (outcome != GOLDEN_PASSED)
            return outcome;
        if (is_recorded(run, step) && !compare_variable(run, step, i))
            return GOLDEN_FAILED;
    }
    return GOLDEN_PASSED;
}

static enum golden_outcome run_steps(struct run *run)
{
    json_int_t steps = json_integer_value(json_object_get(run->golden->json, "steps"));
    enum golden_outcome outcome = GOLDEN_PASSED;
    json_t *description;
    size_t i;

    json_array_foreach(json_object_get(run->golden->json, "variables"), i, description)
    {
        outcome = set_up_variable(run, description);
        if (outcome != GOLDEN_PASSED)
            return outcome;
    }
    for (json_int_t step = 1; step <= steps && outcome == GOLDEN_PASSED; step++)
        outcome = run_step(run, step);
    return outcome;
}

enum golden_outcome golden_optimizer(struct golden_case *golden)
{
    struct run run = {.golden = golden};
    enum golden_outcome outcome = set_up_optimizer(&run);

    if (outcome == GOLDEN_PASSED)
        outcome = run_steps(&run);
    for (size_t i = 0; i < run.variable_count; i++) {
        alloc_free(run.variables[i].value);
        for (size_t slot = 0; slot < OPTIMIZER_SLOTS_MAX; slot++)
            alloc_free(run.variables[i].slots[slot]);
    }
    return outcome;
}
