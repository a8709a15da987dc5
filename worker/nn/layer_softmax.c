/* Softmax over the last axis, another one, or several neighbours. */
#include "worker/nn/exponential.h"
#include "worker/nn/layer.h"

#include <math.h>

struct softmax {
    struct shape axes; /* as given: negative ones are stored as size_t of int64 */
    struct activation activation;
    size_t outer, middle, inner; /* per example, the axes being the middle */
};

static void softmax_configure(struct layer *layer, struct config *config)
{
    struct softmax *softmax = layer->own;
    const json_t *axis = config_value(config, "axis");
    softmax->activation = (struct activation){.kind = &activation_softmax};
    softmax->axes = (struct shape){.rank = 1, .size = {(size_t)-1}};
    if (json_is_integer(axis)) {
        softmax->axes.size[0] = (size_t)json_integer_value(axis);
    } else if (json_is_array(axis) && json_array_size(axis) > 0 &&
               json_array_size(axis) <= SHAPE_RANK_MAX) {
        softmax->axes.rank = json_array_size(axis);
        for (size_t i = 0; i < softmax->axes.rank; i++)
            softmax->axes.size[i] = (size_t)json_integer_value(json_array_get(axis, i));
    } else if (axis != NULL) {
        config_fail(config, STATUS_INVALID_ARGUMENT,
                    "axis is neither a number nor a list of up to %d", SHAPE_RANK_MAX);
    }
}

/* The place of an axis among the sizes of an example, 0 being the first after the batch; rank if it
 * is none. */
static size_t axis_place(size_t axis, size_t rank)
{
    int64_t place = (int64_t)axis < 0 ? (int64_t)axis + (int64_t)rank : (int64_t)axis - 1;
    return place >= 0 && place < (int64_t)rank ? (size_t)place : rank;
}

static enum status softmax_build(struct layer *layer, struct error *err)
{
    struct softmax *softmax = layer->own;
    const struct shape *input = &layer->input_shape;
    char text[SHAPE_TEXT_BYTES];
    size_t first = axis_place(softmax->axes.size[0], input->rank), count = softmax->axes.rank;
    bool neighbours = first < input->rank && first + count <= input->rank;
    for (size_t i = 1; i < count && neighbours; i++)
        neighbours = axis_place(softmax->axes.size[i], input->rank) == first + i;
    if (!neighbours)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "layer '%.64s': axis must be one axis after the batch, or neighbours in "
                         "rising order, of an "
                         "input of shape %s",
                         layer->name, shape_text(input, true, text));
    softmax->outer = softmax->middle = softmax->inner = 1;
    for (size_t i = 0; i < input->rank; i++) {
        size_t *part = i < first           ? &softmax->outer
                       : i < first + count ? &softmax->middle
                                           : &softmax->inner;
        *part *= input->size[i];
    }
    layer->output_shape = *input;
    return STATUS_OK;
}

/* One softmax over count elements that stand stride apart. */
static void strided_forward(const float *x, float *y, size_t count, size_t stride)
{
    float max = -INFINITY, sum = 0;
    for (size_t i = 0; i < count; i++)
        max = x[i * stride] > max ? x[i * stride] : max;
    for (size_t i = 0; i < count; i++) {
        y[i * stride] = exponential(x[i * stride] - max);
        sum += y[i * stride];
    }
    for (size_t i = 0; i < count; i++)
        y[i * stride] /= sum;
}

static void strided_backward(const float *y, const float *y_grad, float *x_grad, size_t count,
                             size_t stride)
{
    float sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += y_grad[i * stride] * y[i * stride];
    for (size_t i = 0; i < count; i++)
        x_grad[i * stride] = (y_grad[i * stride] - sum) * y[i * stride];
}

static void softmax_forward(const struct layer *layer, const struct layer_pass *pass)
{
    const struct softmax *softmax = layer->own;
    size_t outer = pass->rows * softmax->outer, size = softmax->middle * softmax->inner;
    if (softmax->inner == 1) {
        activation_forward(&softmax->activation, pass->input, pass->output, outer, softmax->middle);
        return;
    }
    for (size_t o = 0; o < outer; o++) {
        for (size_t i = 0; i < softmax->inner; i++)
            strided_forward(pass->input + o * size + i, pass->output + o * size + i,
                            softmax->middle, softmax->inner);
    }
}

static void softmax_backward(const struct layer *layer, const struct layer_pass *pass)
{
    const struct softmax *softmax = layer->own;
    static const struct activation passed_on = {.kind = &activation_linear};
    size_t outer = pass->rows * softmax->outer, size = softmax->middle * softmax->inner;
    if (softmax->inner == 1 || layer->from_logits) {
        activation_backward(layer->from_logits ? &passed_on : &softmax->activation, NULL,
                            pass->output, pass->output_grad, pass->input_grad, outer, size);
        return;
    }
    for (size_t o = 0; o < outer; o++) {
        for (size_t i = 0; i < softmax->inner; i++)
            strided_backward(pass->output + o * size + i, pass->output_grad + o * size + i,
                             pass->input_grad + o * size + i, softmax->middle, softmax->inner);
    }
}

static const struct activation *softmax_activation(const struct layer *layer)
{
    const struct softmax *softmax = layer->own;
    return &softmax->activation;
}

const struct layer_kind layer_softmax = {
    .class_name = "Softmax",
    .own_bytes = sizeof(struct softmax),
    .configure = softmax_configure,
    .build = softmax_build,
    .forward = softmax_forward,
    .backward_input = softmax_backward,
    .activation = softmax_activation,
};
