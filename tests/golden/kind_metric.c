/* A metric over several batches: its result after each, and the total and count that it holds. */
#include "common/base/alloc.h"
#include "tests/golden/numbers.h"
#include "worker/nn/metric.h"

#include <string.h>

/* Keras's Mean takes values as they are; every other metric takes targets and predictions. */
struct run {
    struct golden_case *golden;
    const json_t *compare;
    struct metric metric;
    bool is_mean;
    struct metric_total total;
};

static bool update_mean(struct run *run, json_t *inputs)
{
    json_t *weight_name = json_object_get(inputs, "sample_weight");
    struct numbers values = {.count = 0}, weight = {.count = 0};
    struct error err;
    bool good = numbers_read(run->golden, json_object_get(inputs, "values"), &values) &&
                (!weight_name || numbers_read(run->golden, weight_name, &weight));

    if (good && metric_update_mean(&values.shape, values.values, &weight.shape, weight.values,
                                   &run->total, &err) != STATUS_OK) {
        golden_fail(run->golden, "%s", err.message);
        good = false;
    }
    numbers_release(&values);
    numbers_release(&weight);
    return good;
}

static bool update(struct run *run, json_t *inputs)
{
    json_t *weight_name = json_object_get(inputs, "sample_weight");
    struct numbers y = {.count = 0}, p = {.count = 0}, weight = {.count = 0};
    struct error err;
    bool good = numbers_read(run->golden, json_object_get(inputs, "y_true"), &y) &&
                numbers_read(run->golden, json_object_get(inputs, "y_pred"), &p) &&
                (!weight_name || numbers_read(run->golden, weight_name, &weight));

    if (good) {
        struct metric_input input = {.y_shape = y.shape,
                                     .p_shape = p.shape,
                                     .weight_shape = weight.shape,
                                     .y = y.values,
                                     .p = p.values,
                                     .weight = weight.values};

        if (metric_update(&run->metric, &input, &run->total, &err) != STATUS_OK) {
            golden_fail(run->golden, "%s", err.message);
            good = false;
        }
    }
    numbers_release(&y);
    numbers_release(&p);
    numbers_release(&weight);
    return good;
}

/* The variables of Keras's metric after the last update before the reset. */
static bool compare_states(struct run *run, json_t *states)
{
    float total = (float)run->total.sum, count = (float)run->total.count;

    return json_array_size(states) == 0 ||
           (numbers_compare(run->golden, run->compare, json_array_get(states, 0), &total, 1) &&
            numbers_compare(run->golden, run->compare, json_array_get(states, 1), &count, 1));
}

static enum golden_outcome run_updates(struct run *run, json_t *variant)
{
    json_t *update_object, *updates = json_object_get(variant, "updates");
    size_t i;

    json_array_foreach(updates, i, update_object)
    {
        json_t *inputs = json_object_get(update_object, "inputs");
        float result;

        if (json_object_get(update_object, "reset")) {
            if (!compare_states(run, json_object_get(variant, "states")))
                return GOLDEN_FAILED;
            run->total = (struct metric_total){.sum = 0};
            continue;
        }
        if (!(run->is_mean ? update_mean(run, inputs) : update(run, inputs)))
            return GOLDEN_FAILED;
        result = (float)metric_mean(&run->total);
        if (!numbers_compare(run->golden, run->compare, json_object_get(update_object, "output"),
                             &result, 1))
            return GOLDEN_FAILED;
    }
    return GOLDEN_PASSED;
}

static enum golden_outcome run_variant(struct golden_case *golden, json_t *variant, size_t index)
{
    struct run run = {.golden = golden, .compare = json_object_get(variant, "compare")};
    const char *name = json_string_value(json_object_get(golden->json, "name"));
    struct error err;
    enum status status;

    (void)index;
    if (!name)
        return golden_fail(golden, "the case has no name");
    run.is_mean = strcmp(name, "Mean") == 0;
    if (!run.is_mean) {
        status = metric_init(&run.metric, name, json_object_get(variant, "config"), &err);
        if (status == STATUS_NOT_FOUND)
            return golden_skip(golden, "metric %s", name);
        if (status == STATUS_UNIMPLEMENTED)
            return golden_skip(golden, "%s", err.message);
        if (status != STATUS_OK)
            return golden_fail(golden, "%s", err.message);
    }
    return run_updates(&run, variant);
}

enum golden_outcome golden_metric(struct golden_case *golden)
{
    return golden_each_variant(golden, run_variant);
}
