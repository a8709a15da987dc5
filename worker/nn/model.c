#include "worker/nn/model.h"

#include "common/base/alloc.h"
#include "common/base/rng.h"
#include "worker/nn/workspace.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum status model_init(struct model *ret_model, const char *name, struct error *err)
{
    if (name[0] == '\0' || strlen(name) >= LIMIT_NAME_BYTES / 2)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "model name '%.64s': 1 to %d bytes are needed", name,
                         LIMIT_NAME_BYTES / 2 - 1);
    *ret_model = (struct model){.layer_count = 0};
    snprintf(ret_model->name, sizeof ret_model->name, "%s", name);
    return STATUS_OK;
}

void model_release(struct model *model)
{
    if (model == NULL)
        return;
    for (size_t i = 0; i < model->layer_count; i++)
        layer_release(&model->layers[i]);
    alloc_free(model->layers);
    alloc_free(model->weights);
    alloc_free_tensor(model->params, model->block_floats * sizeof(float));
    alloc_free_tensor(model->grads, model->block_floats * sizeof(float));
    workspace_free(model->workspace);
    alloc_free(model->optimizer_text);
    alloc_free(model->loss_text);
    for (size_t i = 0; i < model->metric_text_count; i++)
        alloc_free(model->metric_texts[i]);
    *model = (struct model){.layer_count = 0};
}

static enum status make_room(struct model *model, struct error *err)
{
    if (model->layer_count < model->layer_capacity)
        return STATUS_OK;
    size_t capacity = model->layer_capacity == 0 ? 8 : 2 * model->layer_capacity;
    struct layer *layers = alloc_resize(model->layers, capacity, sizeof *layers);
    if (layers == NULL)
        return error_no_memory(err, "a layer");
    model->layers = layers;
    model->layer_capacity = capacity;
    return STATUS_OK;
}

enum status model_add_layer(struct model *model, struct layer *layer, struct error *err)
{
    enum status status = STATUS_OK;
    assert(!model->is_built);
    for (size_t i = 0; i < model->layer_count && status == STATUS_OK; i++) {
        if (strcmp(model->layers[i].name, layer->name) == 0)
            status = error_set(err, STATUS_ALREADY_EXISTS,
                               "model '%.64s' has two layers named '%.64s'", model->name,
                               layer->name);
    }
    if (status == STATUS_OK && model->layer_count == MODEL_LAYERS_MAX)
        status = error_set(err, STATUS_RESOURCE_EXHAUSTED, "model '%.64s' has more than %d layers",
                           model->name, MODEL_LAYERS_MAX);
    if (status == STATUS_OK)
        status = make_room(model, err);
    if (status != STATUS_OK) {
        layer_release(layer);
        return status;
    }
    model->layers[model->layer_count++] = *layer;
    *layer = (struct layer){.kind = NULL};
    return STATUS_OK;
}

/* ---- build ---- */

static enum status choose_input_shape(struct model *model, const struct shape *given,
                                      struct error *err)
{
    char text[SHAPE_TEXT_BYTES], given_text[SHAPE_TEXT_BYTES];
    if (model->layer_count == 0)
        return error_set(err, STATUS_FAILED_PRECONDITION, "model '%.64s' has no layers",
                         model->name);
    if (given == NULL && !model->has_input_shape)
        return error_set(
            err, STATUS_FAILED_PRECONDITION,
            "model '%.64s' does not say the shape of its input, and there is no data to tell it",
            model->name);
    if (given != NULL && model->has_input_shape && !shape_equal(given, &model->input_shape))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "model '%.64s' takes input of shape %s; the data has %s", model->name,
                         shape_text(&model->input_shape, true, text),
                         shape_text(given, true, given_text));
    if (given != NULL)
        model->input_shape = *given;
    model->has_input_shape = true;
    if (model->input_shape.rank >= SHAPE_RANK_MAX) /* the batch is one more */
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "model '%.64s': an input of more than %d axes", model->name,
                         SHAPE_RANK_MAX - 1);
    if (!shape_fits(&model->input_shape) ||
        shape_elements(&model->input_shape) > LAYER_ELEMENTS_MAX)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "model '%.64s': an input of shape %s is too large", model->name,
                         shape_text(&model->input_shape, true, text));
    return STATUS_OK;
}

static enum status build_layers(struct model *model, struct error *err)
{
    struct shape shape = model->input_shape;
    model->weight_count = 0;
    for (size_t i = 0; i < model->layer_count; i++) {
        enum status status = layer_build(&model->layers[i], &shape, err);
        if (status != STATUS_OK)
            return status;
        shape = model->layers[i].output_shape;
        model->weight_count += model->layers[i].weight_count;
    }
    model->output_shape = shape;
    return STATUS_OK;
}

/* Trainable weights of a layer come before its others, as in Keras's model.weights. */
static enum status place_weights(struct model *model, struct error *err)
{
    size_t at = 0, offset = 0;
    for (size_t l = 0; l < model->layer_count; l++) {
        const struct layer *layer = &model->layers[l];
        for (size_t pass = 0; pass < 2; pass++) {
            for (size_t i = 0; i < layer->weight_count; i++) {
                const struct layer_weight *from = &layer->weights[i];
                if (from->trainable != (pass == 0))
                    continue;
                struct model_weight *to = &model->weights[at++];
                *to = (struct model_weight){.layer = l,
                                            .index = i,
                                            .shape = from->shape,
                                            .offset = offset,
                                            .count = shape_elements(&from->shape),
                                            .trainable = from->trainable};
                snprintf(to->path, sizeof to->path, "%s/%s", layer->name, from->name);
                offset += (to->count + MODEL_WEIGHT_ALIGNMENT - 1) / MODEL_WEIGHT_ALIGNMENT *
                          MODEL_WEIGHT_ALIGNMENT;
                if (offset > MODEL_BLOCK_FLOATS_MAX)
                    return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                                     "model '%.64s' is too large, at '%.64s'", model->name,
                                     to->path);
            }
        }
    }
    model->block_floats = offset;
    return STATUS_OK;
}

enum status model_build(struct model *model, const struct shape *input_shape, struct error *err)
{
    assert(!model->is_built);
    enum status status = choose_input_shape(model, input_shape, err);
    if (status == STATUS_OK)
        status = build_layers(model, err);
    if (status != STATUS_OK)
        return status;
    alloc_free(model->weights);
    model->weights = alloc_array(model->weight_count, sizeof *model->weights);
    if (model->weights == NULL)
        return error_no_memory(err, "the list of weights");
    status = place_weights(model, err);
    model->is_built = status == STATUS_OK;
    return status;
}

enum status model_allocate(struct model *model, struct error *err)
{
    size_t bytes = model->block_floats * sizeof(float);
    assert(model->is_built && model->params == NULL);
    model->params = alloc_tensor(bytes);
    model->grads = alloc_tensor(bytes);
    if (model->params != NULL && model->grads != NULL)
        return STATUS_OK;
    alloc_free_tensor(model->params, bytes);
    alloc_free_tensor(model->grads, bytes);
    model->params = model->grads = NULL;
    return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                     "out of memory for the weights of model '%.64s' (2 x %zu bytes)", model->name,
                     bytes);
}

/* ---- weights ---- */

enum status model_weight_initializer(const struct model *model, size_t weight, uint64_t job_seed,
                                     struct initializer *ret_initializer, struct error *err)
{
    const struct model_weight *place = &model->weights[weight];
    const struct initializer_config *config =
        &model->layers[place->layer].weights[place->index].initializer;
    uint64_t shape[SHAPE_RANK_MAX];
    for (size_t i = 0; i < place->shape.rank; i++)
        shape[i] = place->shape.size[i];
    int64_t seed = config->has_seed ? config->seed : rng_variable_seed(job_seed, place->path);
    if (initializer_named(config->name, config->arguments, config->argument_count,
                          config->mode[0] != '\0' ? config->mode : NULL,
                          config->distribution[0] != '\0' ? config->distribution : NULL, shape,
                          place->shape.rank, seed, ret_initializer, err) != STATUS_OK)
        return error_wrap(err, "weight '%.64s'", place->path);
    return STATUS_OK;
}

enum status model_initialize(struct model *model, uint64_t job_seed, struct error *err)
{
    assert(model->params != NULL);
    for (size_t i = 0; i < model->weight_count; i++) {
        const struct model_weight *weight = &model->weights[i];
        struct initializer initializer;
        enum status status = model_weight_initializer(model, i, job_seed, &initializer, err);
        if (status == STATUS_OK)
            status = initializer_fill(&initializer, DTYPE_FLOAT32, 0, weight->count,
                                      model->params + weight->offset, err);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

size_t model_find_weight(const struct model *model, const char *path)
{
    const char *slash = strchr(path, '/');
    const char *inner = slash != NULL && strchr(slash + 1, '/') != NULL ? slash + 1 : path;
    for (size_t i = 0; i < model->weight_count; i++) {
        if (strcmp(model->weights[i].path, inner) == 0)
            return i;
    }
    return model->weight_count;
}

uint64_t model_parameter_count(const struct model *model)
{
    uint64_t count = 0;
    for (size_t i = 0; i < model->weight_count; i++)
        count += model->weights[i].count;
    return count;
}
