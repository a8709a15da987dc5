/* A Sequential model from its JSON, with given weights: its predictions, or that it is refused. */
#include "common/base/alloc.h"
#include "tests/golden/numbers.h"
#include "worker/nn/model_json.h"

#include <string.h>

static bool read_weights(struct golden_case *golden, struct model *model)
{
    json_t *weights = json_object_get(golden->json, "weights"), *entry;
    size_t i;

    if (json_array_size(weights) != model->weight_count) {
        golden_fail(golden, "expected %zu weights, the model has %zu", json_array_size(weights),
                    model->weight_count);
        return false;
    }
    json_array_foreach(weights, i, entry)
    {
        json_t *path = json_object_get(entry, "path");
        const struct model_weight *weight = &model->weights[i];
        struct numbers values;
        bool same;

        if (!json_is_string(path) || model_find_weight(model, json_string_value(path)) != i) {
            golden_fail(golden, "weight %zu is '%s', expected '%s'", i, weight->path,
                        json_is_string(path) ? json_string_value(path) : "");
            return false;
        }
        if (!numbers_read(golden, path, &values))
            return false;
        same = shape_equal(&values.shape, &weight->shape) &&
               json_is_true(json_object_get(entry, "trainable")) == weight->trainable;
        if (same)
            memcpy(model->params + weight->offset, values.values, values.count * sizeof(float));
        else
            golden_fail(golden, "shape or trainable of '%s' differs", weight->path);
        numbers_release(&values);
        if (!same)
            return false;
    }
    return true;
}

static enum golden_outcome predict(struct golden_case *golden, struct model *model,
                                   const struct numbers *inputs)
{
    struct shape shape = {.rank = inputs->shape.rank - 1};
    struct model_batch batch = {.rows = inputs->shape.size[0], .x = inputs->values};
    const float *predictions;
    struct error err;

    memcpy(shape.size, inputs->shape.size + 1, shape.rank * sizeof shape.size[0]);
    if (model_build(model, &shape, &err) != STATUS_OK || model_allocate(model, &err) != STATUS_OK ||
        model_initialize(model, 1, &err) != STATUS_OK ||
        model_reserve(model, batch.rows, false, &err) != STATUS_OK)
        return golden_fail(golden, "%s", err.message);
    if (!read_weights(golden, model))
        return GOLDEN_FAILED;
    if (model_predict(model, &batch, NULL, &predictions, &err) != STATUS_OK)
        return golden_fail(golden, "%s", err.message);
    if (!numbers_compare(golden, json_object_get(golden->json, "compare"),
                         json_object_get(golden->json, "predictions"), predictions,
                         batch.rows * shape_elements(&model->output_shape)))
        return GOLDEN_FAILED;
    return GOLDEN_PASSED;
}

enum golden_outcome golden_model(struct golden_case *golden)
{
    const char *text = json_string_value(json_object_get(golden->json, "model_json"));
    const char *expect = json_string_value(json_object_get(golden->json, "expect"));
    enum golden_outcome outcome;
    struct model model = {.layer_count = 0};
    struct numbers inputs;
    struct error err;
    enum status status;

    if (!text || !expect)
        return golden_fail(golden, "the case has no model_json or expect");
    status = model_from_json(&model, text, strlen(text), &err);
    if (strcmp(expect, "reject") == 0) {
        outcome = status == STATUS_UNIMPLEMENTED
                      ? GOLDEN_PASSED
                      : golden_fail(golden, "%s",
                                    status == STATUS_OK ? "loaded, not refused" : err.message);
    } else if (status == STATUS_UNIMPLEMENTED) {
        outcome = golden_skip(golden, "%s", err.message);
    } else if (status != STATUS_OK) {
        outcome = golden_fail(golden, "%s", err.message);
    } else if (!numbers_read(golden, json_object_get(golden->json, "inputs"), &inputs)) {
        outcome = GOLDEN_FAILED;
    } else {
        outcome = predict(golden, &model, &inputs);
        numbers_release(&inputs);
    }
    model_release(&model);
    return outcome;
}
