/* Rescaling: input * scale + offset, each a number or one number per feature (last axis). */
#include "worker/nn/layer.h"

enum { RESCALING_FEATURES_MAX = 4096 };

struct rescaling {
    float scale[RESCALING_FEATURES_MAX], offset[RESCALING_FEATURES_MAX];
    size_t scale_count, offset_count; /* 1: the same for all */
};

static size_t read_numbers(struct config *config, const char *key, float otherwise,
                           float *ret_numbers)
{
    const json_t *value = config_value(config, key);
    ret_numbers[0] = json_is_number(value) ? (float)json_number_value(value) : otherwise;
    if (value == NULL || json_is_number(value))
        return 1;
    if (!json_is_array(value) || json_array_size(value) == 0 ||
        json_array_size(value) > RESCALING_FEATURES_MAX) {
        config_fail(config, STATUS_INVALID_ARGUMENT,
                    "%s is neither a number nor a list of up to %d", key, RESCALING_FEATURES_MAX);
        return 1;
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        if (!json_is_number(json_array_get(value, i)))
            config_fail(config, STATUS_INVALID_ARGUMENT, "%s[%zu] is no number", key, i);
        ret_numbers[i] = (float)json_number_value(json_array_get(value, i));
    }
    return json_array_size(value);
}

static void rescaling_configure(struct layer *layer, struct config *config)
{
    struct rescaling *rescaling = layer->own;
    rescaling->scale_count = read_numbers(config, "scale", 1, rescaling->scale);
    rescaling->offset_count = read_numbers(config, "offset", 0, rescaling->offset);
}

static enum status rescaling_build(struct layer *layer, struct error *err)
{
    const struct rescaling *rescaling = layer->own;
    size_t features = shape_last(&layer->input_shape);
    char text[SHAPE_TEXT_BYTES];
    if ((rescaling->scale_count != 1 && rescaling->scale_count != features) ||
        (rescaling->offset_count != 1 && rescaling->offset_count != features))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "layer '%.64s': %zu scales and %zu offsets do not fit an input of shape "
                         "%s; 1 or %zu would",
                         layer->name, rescaling->scale_count, rescaling->offset_count,
                         shape_text(&layer->input_shape, true, text), features);
    layer->output_shape = layer->input_shape;
    return STATUS_OK;
}

static void rescaling_forward(const struct layer *layer, const struct layer_pass *pass)
{
    const struct rescaling *own = layer->own;
    size_t features = shape_last(&layer->input_shape),
           count = pass->rows * shape_elements(&layer->input_shape);
    size_t scale_step = own->scale_count == 1 ? 0 : 1, offset_step = own->offset_count == 1 ? 0 : 1;
    for (size_t i = 0; i < count; i++) {
        size_t feature = i % features;
        pass->output[i] = pass->input[i] * own->scale[feature * scale_step] +
                          own->offset[feature * offset_step];
    }
}

static void rescaling_backward(const struct layer *layer, const struct layer_pass *pass)
{
    const struct rescaling *own = layer->own;
    size_t features = shape_last(&layer->input_shape),
           count = pass->rows * shape_elements(&layer->input_shape);
    size_t scale_step = own->scale_count == 1 ? 0 : 1;
    for (size_t i = 0; i < count; i++)
        pass->input_grad[i] = pass->output_grad[i] * own->scale[i % features * scale_step];
}

const struct layer_kind layer_rescaling = {
    .class_name = "Rescaling",
    .own_bytes = sizeof(struct rescaling),
    .configure = rescaling_configure,
    .build = rescaling_build,
    .forward = rescaling_forward,
    .backward_input = rescaling_backward,
};
