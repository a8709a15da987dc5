/* Dense: activation(input kernel + bias), over the last axis of an input of any rank. */
#include "common/tensor/blas.h"
#include "common/tensor/kernels.h"
#include "worker/nn/layer.h"

#include <string.h>

struct dense {
    size_t units;
    bool use_bias;
    struct activation activation;
    struct initializer_config kernel_initializer, bias_initializer;
};

static void dense_configure(struct layer *layer, struct config *config)
{
    struct dense *dense = layer->own;
    dense->units = (size_t)config_int(config, "units", 0, 1, 1 << 24);
    if (dense->units == 0)
        config_fail(config, STATUS_INVALID_ARGUMENT, "units is missing");
    dense->activation = config_activation(config, "activation");
    dense->use_bias = config_bool(config, "use_bias", true);
    dense->kernel_initializer = config_initializer(config, "kernel_initializer", "GlorotUniform");
    dense->bias_initializer = config_initializer(config, "bias_initializer", "Zeros");
    config_expect_null(config, "kernel_regularizer");
    config_expect_null(config, "bias_regularizer");
    config_expect_null(config, "activity_regularizer");
    config_expect_null(config, "kernel_constraint");
    config_expect_null(config, "bias_constraint");
    config_expect_null(config, "lora_rank");
    config_expect_null(config, "lora_alpha");
    config_expect_null(config, "quantization_config");
}

/* Whether the sum before the activation is kept apart from the output. */
static bool keeps_sum(const struct layer *layer)
{
    const struct dense *dense = layer->own;
    return dense->activation.kind->needs_input || layer->from_logits;
}

static enum status dense_build(struct layer *layer, struct error *err)
{
    const struct dense *dense = layer->own;
    const struct shape *input = &layer->input_shape;
    char text[SHAPE_TEXT_BYTES];
    if (input->rank == 0 || shape_last(input) == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "layer '%.64s': Dense needs an input of at least (None, features), got %s",
                         layer->name, shape_text(input, true, text));
    if (dense->activation.kind->halves_columns && dense->units % 2 != 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "layer '%.64s': units is %zu, and %s needs an even number", layer->name,
                         dense->units, dense->activation.kind->name);
    struct shape kernel = {.rank = 2, .size = {shape_last(input), dense->units}};
    struct shape bias = {.rank = 1, .size = {dense->units}};
    layer_add_weight(layer, "kernel", &kernel, &dense->kernel_initializer, true);
    if (dense->use_bias)
        layer_add_weight(layer, "bias", &bias, &dense->bias_initializer, true);
    layer->output_shape = *input;
    layer->output_shape.size[input->rank - 1] = activation_output_cols(&dense->activation,
                                                                       dense->units);
    if (keeps_sum(layer))
        layer->scratch_floats = shape_elements(input) / shape_last(input) * dense->units;
    return STATUS_OK;
}

/* Rows of the matrix product: the batch and every axis but the last. */
static size_t matrix_rows(const struct layer *layer, const struct layer_pass *pass)
{
    return pass->rows * (shape_elements(&layer->input_shape) / shape_last(&layer->input_shape));
}

static void dense_forward(const struct layer *layer, const struct layer_pass *pass)
{
    const struct dense *dense = layer->own;
    size_t rows = matrix_rows(layer, pass), inputs = shape_last(&layer->input_shape),
           units = dense->units;
    float *sum = keeps_sum(layer) ? pass->scratch : pass->output;
    struct blas_matrix input = {.data = pass->input, .stride = inputs};
    struct blas_matrix kernel = {.data = pass->weight[0], .stride = units};
    blas_sgemm(rows, units, inputs, 1, input, kernel, 0, sum, units);
    for (size_t r = 0; r < rows && dense->use_bias; r++)
        kernels_add(sum + r * units, pass->weight[1], units);
    if (sum != pass->output || dense->activation.kind != &activation_linear)
        activation_forward(&dense->activation, sum, pass->output, rows, units);
}

/* The gradient with respect to the sum takes output_grad's place; only glu, whose sum is wider,
 * needs another one. */
static float *sum_grad(const struct layer *layer, const struct layer_pass *pass)
{
    const struct dense *dense = layer->own;
    return dense->activation.kind->halves_columns ? pass->scratch : pass->output_grad;
}

static void dense_backward_weights(const struct layer *layer, const struct layer_pass *pass)
{
    const struct dense *dense = layer->own;
    size_t rows = matrix_rows(layer, pass), inputs = shape_last(&layer->input_shape),
           units = dense->units;
    float *grad = sum_grad(layer, pass);
    if (!layer->from_logits && dense->activation.kind != &activation_linear)
        activation_backward(&dense->activation, keeps_sum(layer) ? pass->scratch : NULL,
                            pass->output, pass->output_grad, grad, rows, units);
    if (pass->weight_grad[0] != NULL) {
        struct blas_matrix input = {.data = pass->input, .stride = inputs, .transpose = true};
        struct blas_matrix upstream = {.data = grad, .stride = units};
        blas_sgemm(inputs, units, rows, 1, input, upstream, 0, pass->weight_grad[0], units);
    }
    if (dense->use_bias && pass->weight_grad[1] != NULL) {
        memset(pass->weight_grad[1], 0, units * sizeof(float));
        for (size_t r = 0; r < rows; r++)
            kernels_add(pass->weight_grad[1], grad + r * units, units);
    }
}

static void dense_backward_input(const struct layer *layer, const struct layer_pass *pass)
{
    const struct dense *dense = layer->own;
    size_t rows = matrix_rows(layer, pass), inputs = shape_last(&layer->input_shape),
           units = dense->units;
    struct blas_matrix upstream = {.data = sum_grad(layer, pass), .stride = units};
    struct blas_matrix kernel = {.data = pass->weight[0], .stride = units, .transpose = true};
    blas_sgemm(rows, inputs, units, 1, upstream, kernel, 0, pass->input_grad, inputs);
}

static const struct activation *dense_activation(const struct layer *layer)
{
    const struct dense *dense = layer->own;
    return &dense->activation;
}

const struct layer_kind layer_dense = {
    .class_name = "Dense",
    .own_bytes = sizeof(struct dense),
    .configure = dense_configure,
    .build = dense_build,
    .forward = dense_forward,
    .backward_weights = dense_backward_weights,
    .backward_input = dense_backward_input,
    .activation = dense_activation,
};
