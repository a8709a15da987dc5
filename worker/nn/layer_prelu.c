/* PReLU: x above 0, alpha x below, alpha a weight of the input's shape (1 along shared axes). */
#include "worker/nn/layer.h"

#include <string.h>

struct prelu {
    struct initializer_config alpha_initializer;
    bool shared[SHAPE_RANK_MAX]; /* by axis after the batch */
};

static void prelu_configure(struct layer *layer, struct config *config)
{
    struct prelu *prelu = layer->own;
    prelu->alpha_initializer = config_initializer(config, "alpha_initializer", "Zeros");
    config_expect_null(config, "alpha_regularizer");
    config_expect_null(config, "alpha_constraint");
    const json_t *axes = config_value(config, "shared_axes");
    if (axes != NULL && !json_is_array(axes))
        config_fail(config, STATUS_INVALID_ARGUMENT, "shared_axes is neither null nor a list");
    for (size_t i = 0; i < json_array_size(axes); i++) {
        json_int_t axis = json_integer_value(json_array_get(axes, i));
        if (axis < 1 || axis > SHAPE_RANK_MAX) {
            config_fail(config, STATUS_INVALID_ARGUMENT,
                        "shared_axes[%zu] is no axis after the batch (1 .. %d)", i, SHAPE_RANK_MAX);
            return;
        }
        prelu->shared[axis - 1] = true;
    }
}

static enum status prelu_build(struct layer *layer, struct error *err)
{
    const struct prelu *prelu = layer->own;
    struct shape alpha = layer->input_shape;
    (void)err;
    for (size_t i = 0; i < alpha.rank; i++)
        alpha.size[i] = prelu->shared[i] ? 1 : alpha.size[i];
    layer_add_weight(layer, "alpha", &alpha, &prelu->alpha_initializer, true);
    layer->output_shape = layer->input_shape;
    return STATUS_OK;
}

/* The element of alpha that belongs to element `at` of an example. */
static size_t alpha_place(const struct layer *layer, size_t at)
{
    const struct shape *input = &layer->input_shape, *alpha = &layer->weights[0].shape;
    size_t place = 0, step = 1;
    for (size_t i = input->rank; i-- > 0;) {
        size_t index = at % input->size[i];
        at /= input->size[i];
        place += alpha->size[i] == 1 ? 0 : index * step;
        step *= alpha->size[i];
    }
    return place;
}

static void prelu_forward(const struct layer *layer, const struct layer_pass *pass)
{
    size_t elements = shape_elements(&layer->input_shape);
    for (size_t e = 0; e < elements; e++) {
        float alpha = pass->weight[0][alpha_place(layer, e)];
        for (size_t i = e; i < pass->rows * elements; i += elements)
            pass->output[i] = pass->input[i] > 0 ? pass->input[i] : alpha * pass->input[i];
    }
}

static void prelu_backward_weights(const struct layer *layer, const struct layer_pass *pass)
{
    size_t elements = shape_elements(&layer->input_shape);
    if (pass->weight_grad[0] == NULL)
        return;
    memset(pass->weight_grad[0], 0, shape_elements(&layer->weights[0].shape) * sizeof(float));
    for (size_t e = 0; e < elements; e++) {
        float sum = 0;
        for (size_t i = e; i < pass->rows * elements; i += elements)
            sum += pass->input[i] < 0 ? pass->input[i] * pass->output_grad[i] : 0;
        pass->weight_grad[0][alpha_place(layer, e)] += sum;
    }
}

/* 0 at 0: Keras computes relu(x) - alpha relu(-x), and both pass nothing there. */
static void prelu_backward_input(const struct layer *layer, const struct layer_pass *pass)
{
    size_t elements = shape_elements(&layer->input_shape);
    for (size_t e = 0; e < elements; e++) {
        float alpha = pass->weight[0][alpha_place(layer, e)];
        for (size_t i = e; i < pass->rows * elements; i += elements) {
            float slope = pass->input[i] > 0 ? 1 : pass->input[i] < 0 ? alpha : 0;
            pass->input_grad[i] = pass->output_grad[i] * slope;
        }
    }
}

const struct layer_kind layer_prelu = {
    .class_name = "PReLU",
    .own_bytes = sizeof(struct prelu),
    .configure = prelu_configure,
    .build = prelu_build,
    .forward = prelu_forward,
    .backward_weights = prelu_backward_weights,
    .backward_input = prelu_backward_input,
};
