/* A layer with given weights: its output, and the gradients of sum(output * upstream). */
#include "common/base/alloc.h"
#include "tests/golden/numbers.h"
#include "worker/nn/layer.h"

#include <string.h>

struct run {
    struct golden_case *golden;
    json_t *variant;
    const json_t *compare;
    struct layer layer;
    struct numbers input, output, scratch, upstream, input_grad;
    struct numbers weights[LAYER_WEIGHTS_MAX], weight_grads[LAYER_WEIGHTS_MAX];
};

static void run_release(struct run *run)
{
    numbers_release(&run->input);
    numbers_release(&run->output);
    numbers_release(&run->scratch);
    numbers_release(&run->upstream);
    numbers_release(&run->input_grad);
    for (size_t i = 0; i < LAYER_WEIGHTS_MAX; i++) {
        numbers_release(&run->weights[i]);
        numbers_release(&run->weight_grads[i]);
    }
    layer_release(&run->layer);
}

/* Reads inputs and weights, whose names and shapes must be those that the layer itself says. */
static bool read_weights(struct run *run)
{
    json_t *weights = json_object_get(run->variant, "weights"), *weight;
    size_t i;

    if (json_array_size(weights) != run->layer.weight_count) {
        golden_fail(run->golden, "expected %zu weights, the layer has %zu",
                    json_array_size(weights), run->layer.weight_count);
        return false;
    }
    json_array_foreach(weights, i, weight)
    {
        const struct layer_weight *own = &run->layer.weights[i];
        const char *path = json_string_value(json_object_get(weight, "path"));
        const char *slash = path ? strrchr(path, '/') : NULL;

        if (!slash || strcmp(slash + 1, own->name) != 0) {
            golden_fail(run->golden, "weight %zu is '%s', expected '%s'", i, own->name,
                        path ? path : "");
            return false;
        }
        if (!numbers_read(run->golden, json_object_get(weight, "value"), &run->weights[i]) ||
            !numbers_make(run->golden, run->weights[i].count, &run->weight_grads[i]))
            return false;
        if (!shape_equal(&run->weights[i].shape, &own->shape)) {
            golden_fail(run->golden, "the shape of '%s' differs", own->name);
            return false;
        }
    }
    return true;
}

static bool same_output_shape(struct run *run)
{
    json_t *sizes = json_object_get(run->variant, "output_shape");
    bool same = json_array_size(sizes) == run->layer.output_shape.rank + 1;

    for (size_t i = 0; i < run->layer.output_shape.rank && same; i++)
        same = (size_t)json_integer_value(json_array_get(sizes, i + 1)) ==
               run->layer.output_shape.size[i];
    if (!same)
        golden_fail(run->golden, "output_shape differs");
    return same;
}

static enum golden_outcome compute(struct run *run)
{
    const struct layer *layer = &run->layer;
    json_t *weights = json_object_get(run->variant, "weights");
    size_t rows = run->input.shape.size[0];
    struct layer_pass pass = {.rows = rows};

    if (!numbers_make(run->golden, rows * shape_elements(&layer->output_shape), &run->output) ||
        !numbers_make(run->golden, rows * layer->scratch_floats, &run->scratch) ||
        !numbers_make(run->golden, run->input.count, &run->input_grad) ||
        !numbers_read(run->golden, json_object_get(run->variant, "upstream"), &run->upstream))
        return GOLDEN_FAILED;
    if (run->upstream.count != run->output.count)
        return golden_fail(run->golden, "the upstream has %zu elements, the output %zu",
                           run->upstream.count, run->output.count);
    pass.input = run->input.values;
    pass.output = run->output.values;
    pass.scratch = layer->scratch_floats > 0 ? run->scratch.values : NULL;
    pass.output_grad = run->upstream.values;
    pass.input_grad = run->input_grad.values;
    for (size_t i = 0; i < layer->weight_count; i++) {
        pass.weight[i] = run->weights[i].values;
        pass.weight_grad[i] = run->weight_grads[i].values;
    }
    layer->kind->forward(layer, &pass);
    if (!numbers_compare(run->golden, run->compare, json_object_get(run->variant, "output"),
                         run->output.values, run->output.count))
        return GOLDEN_FAILED;
    if (layer->kind->backward_weights)
        layer->kind->backward_weights(layer, &pass);
    layer->kind->backward_input(layer, &pass);
    for (size_t i = 0; i < layer->weight_count; i++) {
        json_t *weight = json_array_get(weights, i);

        if (!numbers_compare(run->golden, run->compare, json_object_get(weight, "gradient"),
                             run->weight_grads[i].values, run->weight_grads[i].count))
            return GOLDEN_FAILED;
    }
    if (!numbers_compare(run->golden, run->compare,
                         json_array_get(json_object_get(run->variant, "gradients"), 0),
                         run->input_grad.values, run->input_grad.count))
        return GOLDEN_FAILED;
    return GOLDEN_PASSED;
}

static enum golden_outcome run_layer(struct run *run)
{
    json_t *inputs = json_object_get(run->variant, "inputs");
    struct shape shape = {.rank = 0};
    struct error err;

    if (json_array_size(inputs) != 1)
        return golden_skip(run->golden, "a layer of several inputs");
    if (!numbers_read(run->golden, json_array_get(inputs, 0), &run->input))
        return GOLDEN_FAILED;
    if (run->input.shape.rank == 0)
        return golden_fail(run->golden, "the input has no batch");
    shape.rank = run->input.shape.rank - 1;
    memcpy(shape.size, run->input.shape.size + 1, shape.rank * sizeof shape.size[0]);
    if (layer_build(&run->layer, &shape, &err) != STATUS_OK)
        return golden_fail(run->golden, "%s", err.message);
    if (!read_weights(run) || !same_output_shape(run))
        return GOLDEN_FAILED;
    return compute(run);
}

static enum golden_outcome run_variant(struct golden_case *golden, json_t *variant, size_t index)
{
    struct run run = {
        .golden = golden, .variant = variant, .compare = json_object_get(variant, "compare")};
    const char *name = json_string_value(json_object_get(golden->json, "name"));
    enum golden_outcome outcome;
    struct error err;
    enum status status;

    (void)index;
    if (!name)
        return golden_fail(golden, "the case has no name");
    if (json_object_get(variant, "mask"))
        return golden_skip(golden, "masks");
    if (json_object_get(variant, "error"))
        return golden_skip(golden, "texts of errors");
    status = layer_init(&run.layer, name, json_object_get(variant, "config"), &err);
    if (status == STATUS_UNIMPLEMENTED)
        return golden_skip(golden, "%s", err.message);
    if (status != STATUS_OK)
        return golden_fail(golden, "%s", err.message);
    outcome = run_layer(&run);
    run_release(&run);
    return outcome;
}

enum golden_outcome golden_layer(struct golden_case *golden)
{
    return golden_each_variant(golden, run_variant);
}
