/* Initializers in Keras's JSON. */
#include "worker/nn/config.h"

#include <stdio.h>
#include <string.h>

/* Arguments of all of Keras's initializers that are a function of shape and seed; no class has more
 * than 3. */
static const char *const argument_keys[] = {"mean", "stddev", "minval", "maxval", "value", "scale"};

static void read_seed(struct config *inner, struct initializer_config *initializer)
{
    const json_t *seed = config_value(inner, "seed");
    if (seed == NULL)
        return;
    if (!json_is_integer(seed))
        config_fail(inner, STATUS_UNIMPLEMENTED, "its seed is neither null nor a whole number");
    initializer->has_seed = true;
    initializer->seed = json_integer_value(seed);
}

static void read_arguments(struct config *inner, struct initializer_config *initializer)
{
    for (size_t i = 0; i < sizeof argument_keys / sizeof argument_keys[0]; i++) {
        bool absent;
        double value = config_number(inner, argument_keys[i], 0, &absent);
        if (absent)
            continue;
        if (initializer->argument_count == CONFIG_INITIALIZER_ARGUMENTS) {
            config_fail(inner, STATUS_INVALID_ARGUMENT, "too many arguments");
            return;
        }
        initializer->arguments[initializer->argument_count++] = (struct initializer_argument){
            .key = argument_keys[i], .value = value};
    }
    snprintf(initializer->mode, sizeof initializer->mode, "%s", config_text(inner, "mode", ""));
    snprintf(initializer->distribution, sizeof initializer->distribution, "%s",
             config_text(inner, "distribution", ""));
}

static void read_object(struct config *config, const char *key, const char *class_name,
                        const json_t *object, struct initializer_config *initializer)
{
    struct config inner = config_open(object, "initializer", class_name, config->err);
    snprintf(initializer->name, sizeof initializer->name, "%s", class_name);
    read_seed(&inner, initializer);
    read_arguments(&inner, initializer);
    config_expect_null(&inner, "input_axes");
    config_expect_null(&inner, "output_axes");
    if (config_finish(&inner) != STATUS_OK)
        config->status = error_wrap(config->err, "%s '%.64s', %s", config->what, config->name, key);
}

struct initializer_config config_initializer(struct config *config, const char *key,
                                             const char *otherwise)
{
    struct initializer_config initializer = {.argument_count = 0};
    const json_t *value = config_value(config, key), *object;
    const char *class_name;
    snprintf(initializer.name, sizeof initializer.name, "%s", otherwise);
    if (config->status != STATUS_OK)
        return initializer;
    if (json_is_string(value))
        snprintf(initializer.name, sizeof initializer.name, "%s", json_string_value(value));
    else if (config_is_class(value, &class_name, &object))
        read_object(config, key, class_name, object, &initializer);
    else if (value != NULL)
        config_fail(config, STATUS_INVALID_ARGUMENT, "%s is neither a name nor an initializer",
                    key);
    if (config->status != STATUS_OK)
        return initializer;
    /* Any shape will do to see whether name and arguments are good. */
    struct initializer probe;
    const uint64_t shape[] = {1, 1};
    if (initializer_named(initializer.name, initializer.arguments, initializer.argument_count,
                          initializer.mode[0] != '\0' ? initializer.mode : NULL,
                          initializer.distribution[0] != '\0' ? initializer.distribution : NULL,
                          shape, 2, 0, &probe, config->err) != STATUS_OK)
        config->status = error_wrap(config->err, "%s '%.64s', %s", config->what, config->name, key);
    return initializer;
}
