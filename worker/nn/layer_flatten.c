/* Flatten: every example becomes one row. */
#include "worker/nn/layer.h"

#include <string.h>

struct flatten {
    bool channels_first;
};

static void flatten_configure(struct layer *layer, struct config *config)
{
    struct flatten *flatten = layer->own;
    const char *format = config_text(config, "data_format", "channels_last");
    flatten->channels_first = strcmp(format, "channels_first") == 0;
    if (!flatten->channels_first && strcmp(format, "channels_last") != 0)
        config_fail(config, STATUS_INVALID_ARGUMENT,
                    "data_format is '%.40s'; channels_last and channels_first are known", format);
}

static enum status flatten_build(struct layer *layer, struct error *err)
{
    (void)err;
    layer->output_shape = (struct shape){.rank = 1, .size = {shape_elements(&layer->input_shape)}};
    return STATUS_OK;
}

/*
 * With channels_first the channels, the first axis of an example, move to its end first. Copies
 * rows examples of channels x places; backward runs the other way.
 */
static void move_channels(const float *from, float *to, size_t rows, size_t channels, size_t places,
                          bool backward)
{
    for (size_t r = 0; r < rows; r++, from += channels * places, to += channels * places) {
        for (size_t c = 0; c < channels; c++) {
            for (size_t p = 0; p < places; p++) {
                if (backward)
                    to[c * places + p] = from[p * channels + c];
                else
                    to[p * channels + c] = from[c * places + p];
            }
        }
    }
}

static void copy(const struct layer *layer, size_t rows, const float *from, float *to,
                 bool backward)
{
    const struct flatten *flatten = layer->own;
    size_t elements = shape_elements(&layer->input_shape);
    size_t channels = layer->input_shape.rank > 1 ? layer->input_shape.size[0] : 1;
    if (flatten->channels_first && channels > 1)
        move_channels(from, to, rows, channels, elements / channels, backward);
    else if (rows * elements > 0)
        memcpy(to, from, rows * elements * sizeof *to);
}

static void flatten_forward(const struct layer *layer, const struct layer_pass *pass)
{
    copy(layer, pass->rows, pass->input, pass->output, false);
}

static void flatten_backward(const struct layer *layer, const struct layer_pass *pass)
{
    copy(layer, pass->rows, pass->output_grad, pass->input_grad, true);
}

const struct layer_kind layer_flatten = {
    .class_name = "Flatten",
    .own_bytes = sizeof(struct flatten),
    .configure = flatten_configure,
    .build = flatten_build,
    .forward = flatten_forward,
    .backward_input = flatten_backward,
};
