#include "worker/nn/config.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct config config_open(const json_t *object, const char *what, const char *name,
                          struct error *err)
{
    struct config config = {.object = object, .what = what, .name = name, .err = err};
    if (object != NULL && !json_is_object(object))
        config_fail(&config, STATUS_INVALID_ARGUMENT, "its config is not an object");
    return config;
}

void config_fail(struct config *config, enum status status, const char *format, ...)
{
    if (config->status != STATUS_OK)
        return;
    char message[ERROR_MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    config->status = error_set(config->err, status, "%s '%.64s': %s", config->what, config->name,
                               message);
}

const json_t *config_value(struct config *config, const char *key)
{
    assert(config->read_count < CONFIG_KEYS_MAX);
    config->read[config->read_count++] = key;
    if (config->status != STATUS_OK || config->object == NULL)
        return NULL;
    const json_t *value = json_object_get(config->object, key);
    return json_is_null(value) ? NULL : value;
}

void config_ignore(struct config *config, const char *key)
{
    config_value(config, key);
}

bool config_bool(struct config *config, const char *key, bool otherwise)
{
    const json_t *value = config_value(config, key);
    if (value == NULL)
        return otherwise;
    if (!json_is_boolean(value))
        config_fail(config, STATUS_INVALID_ARGUMENT, "%s is neither true nor false", key);
    return json_is_true(value);
}

int64_t config_int(struct config *config, const char *key, int64_t otherwise, int64_t min,
                   int64_t max)
{
    const json_t *value = config_value(config, key);
    if (value == NULL)
        return otherwise;
    if (!json_is_integer(value) || json_integer_value(value) < min ||
        json_integer_value(value) > max) {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        config_fail(config, STATUS_INVALID_ARGUMENT,
                    "%s is %.40s; a whole number from %lld to %lld is needed", key,
                    text != NULL ? text : "?", (long long)min, (long long)max);
        free(text); /* lint: jansson allocated it */
        return otherwise;
    }
    return json_integer_value(value);
}

double config_number(struct config *config, const char *key, double otherwise, bool *ret_null)
{
    const json_t *value = config_value(config, key);
    if (ret_null != NULL)
        *ret_null = value == NULL;
    if (value == NULL)
        return otherwise;
    if (!json_is_number(value) || !isfinite((float)json_number_value(value))) {
        config_fail(config, STATUS_INVALID_ARGUMENT, "%s is no number that float32 can hold", key);
        return otherwise;
    }
    return json_number_value(value);
}

const char *config_text(struct config *config, const char *key, const char *otherwise)
{
    const json_t *value = config_value(config, key);
    if (value == NULL)
        return otherwise;
    if (!json_is_string(value)) {
        config_fail(config, STATUS_INVALID_ARGUMENT, "%s is no text", key);
        return otherwise;
    }
    return json_string_value(value);
}

bool config_is_class(const json_t *value, const char **ret_class_name, const json_t **ret_config)
{
    const json_t *class_name = json_object_get(value, "class_name");
    if (!json_is_string(class_name))
        return false;
    *ret_class_name = json_string_value(class_name);
    *ret_config = json_object_get(value, "config");
    return true;
}

/* The activation layers that Keras accepts in an activation's place. */
static void activation_from_class(struct config *config, const char *key, const char *class_name,
                                  const json_t *parameters, struct activation *ret_activation)
{
    struct config inner = config_open(parameters, "activation", class_name, config->err);
    if (config->status != STATUS_OK)
        return;
    config_ignore(&inner, "name");
    config_ignore(&inner, "trainable");
    config_ignore(&inner, "dtype");
    if (strcmp(class_name, "ReLU") == 0)
        *ret_activation = config_relu(&inner);
    else if (strcmp(class_name, "LeakyReLU") == 0)
        *ret_activation = config_leaky_relu(&inner);
    else if (strcmp(class_name, "ELU") == 0)
        *ret_activation = config_elu(&inner);
    else
        config_fail(&inner, STATUS_UNIMPLEMENTED,
                    "not supported as an activation; ReLU, LeakyReLU and ELU are");
    if (config_finish(&inner) != STATUS_OK)
        config->status = error_wrap(config->err, "%s '%.64s', %s", config->what, config->name, key);
}

struct activation config_activation(struct config *config, const char *key)
{
    struct activation activation = {.kind = &activation_linear};
    const json_t *value = config_value(config, key), *parameters;
    const char *class_name;
    if (value == NULL)
        return activation;
    if (json_is_string(value)) {
        if (activation_init(&activation, json_string_value(value), config->err) != STATUS_OK)
            config->status = error_wrap(config->err, "%s '%.64s'", config->what, config->name);
    } else if (config_is_class(value, &class_name, &parameters)) {
        activation_from_class(config, key, class_name, parameters, &activation);
    } else {
        config_fail(config, STATUS_INVALID_ARGUMENT, "%s is neither a name nor an activation layer",
                    key);
    }
    return activation;
}

struct activation config_relu(struct config *config)
{
    bool no_max;
    float max = (float)config_number(config, "max_value", 0, &no_max);
    float slope = (float)config_number(config, "negative_slope", 0, NULL);
    float threshold = (float)config_number(config, "threshold", 0, NULL);
    if (max < 0 || slope < 0 || threshold < 0)
        config_fail(config, STATUS_INVALID_ARGUMENT,
                    "max_value, negative_slope and threshold may not be negative");
    if (no_max && slope == 0 && threshold == 0)
        return (struct activation){.kind = &activation_relu};
    return (struct activation){.kind = &activation_relu_bounded,
                               .parameter = {no_max ? NAN : max, slope, threshold}};
}

struct activation config_leaky_relu(struct config *config)
{
    return (struct activation){
        .kind = &activation_leaky_relu,
        .parameter = {(float)config_number(config, "negative_slope", 0.3, NULL)}};
}

struct activation config_elu(struct config *config)
{
    return (struct activation){.kind = &activation_elu,
                               .parameter = {(float)config_number(config, "alpha", 1.0, NULL)}};
}

void config_expect_null(struct config *config, const char *key)
{
    const json_t *value = config_value(config, key), *inner;
    const char *class_name = "what it asks for";
    if (value == NULL)
        return;
    if (json_is_string(value))
        class_name = json_string_value(value);
    else
        config_is_class(value, &class_name, &inner);
    config_fail(config, STATUS_UNIMPLEMENTED, "%s: %.60s is not supported", key, class_name);
}

enum status config_finish(struct config *config)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)config->object, key, value)
    {
        bool known = false;
        for (size_t i = 0; i < config->read_count && !known; i++)
            known = strcmp(config->read[i], key) == 0;
        if (known || config->status != STATUS_OK)
            continue;
        char keys[300] = "";
        size_t used = 0;
        for (size_t i = 0; i < config->read_count && used < sizeof keys - 40; i++)
            used += (size_t)snprintf(keys + used, sizeof keys - used, "%s%.30s", i > 0 ? ", " : "",
                                     config->read[i]);
        config_fail(config, STATUS_INVALID_ARGUMENT, "unknown key '%.64s'; known are %s", key,
                    keys);
    }
    return config->status;
}
