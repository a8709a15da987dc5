#include "worker/nn/model_json.h"

#include "common/base/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* jansson recurses with the depth of the text: brackets are counted before it sees them. */
static enum status check_depth(const char *text, size_t size, struct error *err)
{
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > MODEL_JSON_DEPTH_MAX)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                                 "the model's JSON is nested deeper than %d", MODEL_JSON_DEPTH_MAX);
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return STATUS_OK;
}

static enum status parse(const char *text, size_t size, json_t **ret_json, struct error *err)
{
    json_error_t where;
    if (size > MODEL_JSON_BYTES_MAX)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "the model's JSON has %zu bytes; the limit is %d", size,
                         MODEL_JSON_BYTES_MAX);
    enum status status = check_depth(text, size, err);
    if (status != STATUS_OK)
        return status;
    json_t *json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &where);
    if (json == NULL && json_error_code(&where) == json_error_out_of_memory)
        return error_no_memory(err, "the model's JSON");
    if (json == NULL)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "the model is no JSON: line %d, column %d: %.160s", where.line,
                         where.column, where.text);
    *ret_json = json;
    return STATUS_OK;
}

/* A shape with the batch first, [null, 4]: the rest of it. */
static enum status read_shape(const json_t *value, const char *where, struct shape *ret_shape,
                              struct error *err)
{
    size_t rank = json_array_size(value);
    if (!json_is_array(value) || rank == 0 || rank > SHAPE_RANK_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%.80s is no list of 1 to %d sizes, the first of them the batch's", where,
                         SHAPE_RANK_MAX);
    ret_shape->rank = rank - 1;
    for (size_t i = 1; i < rank; i++) {
        const json_t *size = json_array_get(value, i);
        if (json_is_null(size))
            return error_set(err, STATUS_UNIMPLEMENTED,
                             "%.80s leaves size %zu open; only the batch may be", where, i);
        if (!json_is_integer(size) || json_integer_value(size) < 1 ||
            (uint64_t)json_integer_value(size) > LAYER_ELEMENTS_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "%.80s: size %zu is no whole number from 1 to %zu", where, i,
                             LAYER_ELEMENTS_MAX);
        ret_shape->size[i - 1] = (size_t)json_integer_value(size);
    }
    return STATUS_OK;
}

static enum status set_input_shape(struct model *model, const json_t *value, const char *where,
                                   struct error *err)
{
    struct shape shape;
    char text[SHAPE_TEXT_BYTES], other[SHAPE_TEXT_BYTES];
    enum status status = read_shape(value, where, &shape, err);
    if (status != STATUS_OK)
        return status;
    if (model->has_input_shape && !shape_equal(&shape, &model->input_shape))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "model '%.64s': %.80s says %s, but the input layer says %s", model->name,
                         where, shape_text(&shape, true, text),
                         shape_text(&model->input_shape, true, other));
    model->input_shape = shape;
    model->has_input_shape = true;
    return STATUS_OK;
}

/* InputLayer is not among the layers: it says the shape. Keras 2 called the key batch_input_shape.
 */
static enum status read_input_layer(struct model *model, const json_t *object, struct error *err)
{
    const json_t *name = json_object_get(object, "name");
    struct config config = config_open(
        object, "layer", json_is_string(name) ? json_string_value(name) : "InputLayer", err);
    config_ignore(&config, "name");
    const json_t *shape = config_value(&config, "batch_shape"),
                 *older = config_value(&config, "batch_input_shape");
    const char *dtype = config_text(&config, "dtype", "float32");
    if (strcmp(dtype, "float32") != 0)
        config_fail(&config, STATUS_UNIMPLEMENTED,
                    "input of dtype %.40s is not supported; float32 is", dtype);
    if (config_bool(&config, "sparse", false) || config_bool(&config, "ragged", false) ||
        config_bool(&config, "optional", false))
        config_fail(&config, STATUS_UNIMPLEMENTED,
                    "sparse, ragged or optional input is not supported");
    if (model->layer_count > 0 || model->has_input_shape)
        config_fail(&config, STATUS_INVALID_ARGUMENT,
                    "an InputLayer must be the first and only one");
    enum status status = config_finish(&config);
    if (status == STATUS_OK && (shape != NULL || older != NULL))
        status = set_input_shape(model, shape != NULL ? shape : older,
                                 "the InputLayer's batch_shape", err);
    return status;
}

static enum status read_layer(struct model *model, const json_t *object, size_t index,
                              struct error *err)
{
    const char *class_name;
    const json_t *config;
    struct layer layer;
    if (!config_is_class(object, &class_name, &config))
        return error_set(err, STATUS_INVALID_ARGUMENT, "layer %zu has no class_name", index);
    if (!json_is_object(config))
        return error_set(err, STATUS_INVALID_ARGUMENT, "layer %zu, a %.40s, has no config", index,
                         class_name);
    /* A class registered by a program is that program's, whatever its name is. */
    const json_t *registered = json_object_get(object, "registered_name");
    if (json_is_string(registered) && strcmp(json_string_value(registered), class_name) != 0 &&
        strchr(json_string_value(registered), '>') != NULL)
        return error_set(err, STATUS_UNIMPLEMENTED,
                         "layer %zu is of the custom class %.80s, which is not supported", index,
                         json_string_value(registered));
    if (strcmp(class_name, "InputLayer") == 0)
        return read_input_layer(model, config, err);
    enum status status = layer_init(&layer, class_name, config, err);
    return status == STATUS_OK ? model_add_layer(model, &layer, err) : status;
}

static enum status read_layers(struct model *model, const json_t *config, struct error *err)
{
    const json_t *layers = json_object_get(config, "layers");
    if (!json_is_array(layers))
        return error_set(err, STATUS_INVALID_ARGUMENT, "model '%.64s' has no list of layers",
                         model->name);
    for (size_t i = 0; i < json_array_size(layers); i++) {
        enum status status = read_layer(model, json_array_get(layers, i), i, err);
        if (status != STATUS_OK)
            return status;
    }
    const json_t *shape = json_object_get(config, "build_input_shape");
    if (shape == NULL || json_is_null(shape))
        return STATUS_OK;
    return set_input_shape(model, shape, "build_input_shape", err);
}

/* The text of a value: a string's own, an object's JSON. NULL: out of memory, or neither. */
static char *text_of(const json_t *value)
{
    if (json_is_string(value))
        return alloc_string(json_string_value(value));
    char *dump = json_dumps(value, JSON_COMPACT), *copy = dump != NULL ? alloc_string(dump) : NULL;
    free(dump); /* lint: jansson allocated it */
    return copy;
}

static enum status keep_text(const json_t *value, char **ret_text, struct error *err)
{
    if (!json_is_string(value) && !json_is_object(value))
        return STATUS_OK;
    *ret_text = text_of(value);
    return *ret_text != NULL ? STATUS_OK : error_no_memory(err, "compile_config");
}

static enum status read_compile_config(struct model *model, const json_t *compile,
                                       struct error *err)
{
    const json_t *metrics = json_object_get(compile, "metrics");
    enum status status = keep_text(json_object_get(compile, "optimizer"), &model->optimizer_text,
                                   err);
    if (status == STATUS_OK)
        status = keep_text(json_object_get(compile, "loss"), &model->loss_text, err);
    for (size_t i = 0; i < json_array_size(metrics) && status == STATUS_OK; i++) {
        const json_t *metric = json_array_get(metrics, i);
        if (!json_is_string(metric) && !json_is_object(metric))
            continue;
        if (model->metric_text_count == MODEL_METRICS_MAX)
            return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                             "compile_config has more than %d metrics", MODEL_METRICS_MAX);
        status = keep_text(metric, &model->metric_texts[model->metric_text_count], err);
        model->metric_text_count += status == STATUS_OK;
    }
    return status;
}

static enum status read_model(struct model *model, const json_t *json, struct error *err)
{
    const char *class_name;
    const json_t *config;
    if (!config_is_class(json, &class_name, &config))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "the JSON is no model: it has no class_name (model.to_json() writes one)");
    if (strcmp(class_name, "Sequential") != 0)
        return error_set(err, STATUS_UNIMPLEMENTED,
                         "a model of class %.64s is not supported; Sequential is", class_name);
    if (!json_is_object(config))
        return error_set(err, STATUS_INVALID_ARGUMENT, "the Sequential model has no config");
    const json_t *name = json_object_get(config, "name");
    enum status status = model_init(
        model, json_is_string(name) ? json_string_value(name) : "sequential", err);
    if (status == STATUS_OK)
        status = read_layers(model, config, err);
    if (status == STATUS_OK)
        status = read_compile_config(model, json_object_get(json, "compile_config"), err);
    return status;
}

enum status model_from_json(struct model *ret_model, const char *text, size_t size,
                            struct error *err)
{
    struct model model = {.layer_count = 0};
    struct error own;
    json_t *json = NULL;
    enum status status = parse(text, size, &json, &own);
    if (status == STATUS_OK)
        status = read_model(&model, json, &own);
    json_decref(json);
    if (status == STATUS_OK) {
        *ret_model = model;
        return STATUS_OK;
    }
    model_release(&model);
    return error_set(err, status, "%s", own.message);
}
