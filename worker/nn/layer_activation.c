/* Layers that are an activation and nothing else: Activation, ReLU, LeakyReLU, ELU. */
#include "worker/nn/layer.h"

struct activation_layer {
    struct activation activation;
};

static void activation_configure(struct layer *layer, struct config *config)
{
    struct activation_layer *own = layer->own;
    own->activation = config_activation(config, "activation");
    config_expect_null(config, "activity_regularizer");
}

static void relu_configure(struct layer *layer, struct config *config)
{
    struct activation_layer *own = layer->own;
    own->activation = config_relu(config);
}

static void leaky_relu_configure(struct layer *layer, struct config *config)
{
    struct activation_layer *own = layer->own;
    own->activation = config_leaky_relu(config);
}

static void elu_configure(struct layer *layer, struct config *config)
{
    struct activation_layer *own = layer->own;
    own->activation = config_elu(config);
}

static enum status activation_build(struct layer *layer, struct error *err)
{
    const struct activation_layer *own = layer->own;
    const struct shape *input = &layer->input_shape;
    char text[SHAPE_TEXT_BYTES];
    layer->output_shape = *input;
    if (own->activation.kind->halves_columns) {
        if (input->rank == 0 || shape_last(input) % 2 != 0)
            return error_set(
                err, STATUS_INVALID_ARGUMENT,
                "layer '%.64s': %s needs an even number of features, got an input of shape %s",
                layer->name, own->activation.kind->name, shape_text(input, true, text));
        layer->output_shape.size[input->rank - 1] = shape_last(input) / 2;
    }
    return STATUS_OK;
}

/* With an input of rank 1, which is the batch alone, the last axis is the batch. */
static void matrix_of(const struct layer *layer, const struct layer_pass *pass, size_t *ret_rows,
                      size_t *ret_cols)
{
    size_t elements = pass->rows * shape_elements(&layer->input_shape);
    *ret_cols = layer->input_shape.rank > 0 ? shape_last(&layer->input_shape) : elements;
    *ret_rows = *ret_cols > 0 ? elements / *ret_cols : 0;
}

static void activation_layer_forward(const struct layer *layer, const struct layer_pass *pass)
{
    const struct activation_layer *own = layer->own;
    size_t rows, cols;
    matrix_of(layer, pass, &rows, &cols);
    activation_forward(&own->activation, pass->input, pass->output, rows, cols);
}

static void activation_layer_backward(const struct layer *layer, const struct layer_pass *pass)
{
    const struct activation_layer *own = layer->own;
    static const struct activation passed_on = {.kind = &activation_linear};
    size_t rows, cols;
    matrix_of(layer, pass, &rows, &cols);
    activation_backward(layer->from_logits ? &passed_on : &own->activation, pass->input,
                        pass->output, pass->output_grad, pass->input_grad, rows, cols);
}

static const struct activation *activation_of_layer(const struct layer *layer)
{
    const struct activation_layer *own = layer->own;
    return &own->activation;
}

#define ACTIVATION_LAYER(name, class, configure_own)                                               \
    const struct layer_kind layer_##name = {                                                       \
        .class_name = class,                                                                       \
        .own_bytes = sizeof(struct activation_layer),                                              \
        .configure = configure_own,                                                                \
        .build = activation_build,                                                                 \
        .forward = activation_layer_forward,                                                       \
        .backward_input = activation_layer_backward,                                               \
        .activation = activation_of_layer,                                                         \
    }

ACTIVATION_LAYER(activation, "Activation", activation_configure);
ACTIVATION_LAYER(relu, "ReLU", relu_configure);
ACTIVATION_LAYER(leaky_relu, "LeakyReLU", leaky_relu_configure);
ACTIVATION_LAYER(elu, "ELU", elu_configure);
