#include "worker/nn/layer.h"

#include "common/base/alloc.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const struct layer_kind *const kinds[] = {
    &layer_activation, &layer_dense, &layer_elu,       &layer_flatten, &layer_leaky_relu,
    &layer_prelu,      &layer_relu,  &layer_rescaling, &layer_softmax,
};
enum { KIND_COUNT = sizeof kinds / sizeof kinds[0] };

const struct layer_kind *const *layer_kinds(size_t *ret_count)
{
    *ret_count = KIND_COUNT;
    return kinds;
}

const struct layer_kind *layer_kind_named(const char *class_name)
{
    for (size_t i = 0; i < KIND_COUNT; i++) {
        if (strcmp(kinds[i]->class_name, class_name) == 0)
            return kinds[i];
    }
    return NULL;
}

static enum status unknown_class(const char *class_name, const char *name, struct error *err)
{
    char known[200];
    size_t used = 0;
    for (size_t i = 0; i < KIND_COUNT; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, ", %s", kinds[i]->class_name);
    return error_set(
        err, STATUS_UNIMPLEMENTED,
        "layer '%.64s' is of class %.64s, which is not supported; supported are InputLayer%s", name,
        class_name, known);
}

/* Everything is computed in float32: another policy would give other numbers. */
static void read_dtype(struct config *config)
{
    const json_t *value = config_value(config, "dtype"), *inner;
    const char *text = "float32", *class_name;
    if (json_is_string(value))
        text = json_string_value(value);
    else if (config_is_class(value, &class_name, &inner) &&
             json_is_string(json_object_get(inner, "name")))
        text = json_string_value(json_object_get(inner, "name"));
    else if (value != NULL)
        config_fail(config, STATUS_INVALID_ARGUMENT, "its dtype is neither a name nor a policy");
    if (strcmp(text, "float32") != 0)
        config_fail(config, STATUS_UNIMPLEMENTED, "dtype policy %.40s is not supported; float32 is",
                    text);
}

static void read_common(struct layer *layer, struct config *config)
{
    config_ignore(config, "name");
    layer->trainable = config_bool(config, "trainable", true);
    read_dtype(config);
}

enum status layer_init(struct layer *ret_layer, const char *class_name, const json_t *object,
                       struct error *err)
{
    const json_t *given = json_object_get(object, "name");
    const char *name = json_is_string(given) ? json_string_value(given) : class_name;
    struct layer layer = {.kind = layer_kind_named(class_name)};
    if (layer.kind == NULL)
        return unknown_class(class_name, name, err);
    if (name[0] == '\0' || strlen(name) >= sizeof layer.name / 2 || strchr(name, '/') != NULL)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "layer name '%.64s': 1 to %zu bytes without '/' are needed", name,
                         sizeof layer.name / 2 - 1);
    snprintf(layer.name, sizeof layer.name, "%s", name);
    layer.own = alloc_zero(layer.kind->own_bytes);
    if (layer.own == NULL)
        return error_no_memory(err, "a layer");

    struct config config = config_open(object, "layer", layer.name, err);
    read_common(&layer, &config);
    layer.kind->configure(&layer, &config);
    enum status status = config_finish(&config);
    if (status != STATUS_OK) {
        layer_release(&layer);
        return status;
    }
    *ret_layer = layer;
    return STATUS_OK;
}

void layer_release(struct layer *layer)
{
    if (layer == NULL)
        return;
    alloc_free(layer->own);
    *layer = (struct layer){.kind = NULL};
}

enum status layer_build(struct layer *layer, const struct shape *input_shape, struct error *err)
{
    char text[SHAPE_TEXT_BYTES];
    layer->input_shape = *input_shape;
    layer->weight_count = 0;
    layer->scratch_floats = 0;
    enum status status = layer->kind->build(layer, err);
    if (status != STATUS_OK)
        return status;
    bool fits = shape_fits(&layer->output_shape) &&
                shape_elements(&layer->output_shape) <= LAYER_ELEMENTS_MAX;
    for (size_t i = 0; i < layer->weight_count; i++)
        fits = fits && shape_fits(&layer->weights[i].shape);
    if (!fits)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "layer '%.64s' on an input of shape %s is too large", layer->name,
                         shape_text(input_shape, true, text));
    return STATUS_OK;
}

void layer_add_weight(struct layer *layer, const char *name, const struct shape *shape,
                      const struct initializer_config *initializer, bool trainable)
{
    assert(layer->weight_count < LAYER_WEIGHTS_MAX && strlen(name) < LAYER_WEIGHT_NAME_BYTES);
    struct layer_weight *weight = &layer->weights[layer->weight_count++];
    *weight = (struct layer_weight){
        .shape = *shape, .initializer = *initializer, .trainable = trainable && layer->trainable};
    snprintf(weight->name, sizeof weight->name, "%s", name);
}

bool layer_gives_logits(const struct layer *layer)
{
    const struct activation *activation = layer->kind->activation != NULL
                                              ? layer->kind->activation(layer)
                                              : NULL;
    return activation != NULL && activation->kind->gives_logits;
}

/* Dense keeps them in its scratch; a layer without scratch is the activation alone, and its input
 * are the logits. */
const float *layer_logits(const struct layer *layer, const struct layer_pass *pass)
{
    return layer->scratch_floats > 0 ? pass->scratch : pass->input;
}
