#include "worker/nn/optimizer_text.h"

#include "worker/nn/config.h"

#include <stdio.h>
#include <string.h>

/* Whether a key of the config adds nothing: its value is null, or it belongs to something that is
 * switched off. */
static bool says_nothing(const char *key, const json_t *value, const json_t *config)
{
    static const char *const averaging[] = {"use_ema", "ema_momentum", "ema_overwrite_frequency"};
    if (json_is_null(value) || strcmp(key, "name") == 0)
        return true;
    for (size_t i = 0; i < sizeof averaging / sizeof averaging[0]; i++) {
        if (strcmp(key, averaging[i]) == 0)
            return !json_is_true(json_object_get(config, "use_ema"));
    }
    return false;
}

static enum status read_option(const char *name, const char *key, const json_t *value,
                               struct optimizer_option *ret_option, struct error *err)
{
    if (json_is_object(value) && strcmp(key, "learning_rate") == 0)
        return error_set(err, STATUS_UNIMPLEMENTED,
                         "optimizer %.40s: learning rate schedules are not supported", name);
    if (strcmp(key, "use_ema") == 0)
        return error_set(err, STATUS_UNIMPLEMENTED, "optimizer %.40s: use_ema is not supported",
                         name);
    if (!json_is_number(value) && !json_is_boolean(value))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "optimizer %.40s: %.40s is neither a number nor true or false", name, key);
    if (strlen(key) >= sizeof ret_option->key)
        return error_set(err, STATUS_INVALID_ARGUMENT, "optimizer %.40s: unknown option %.64s",
                         name, key);
    snprintf(ret_option->key, sizeof ret_option->key, "%s", key);
    ret_option->value = json_is_boolean(value) ? json_is_true(value) : json_number_value(value);
    return STATUS_OK;
}

static enum status from_json(struct optimizer *ret_optimizer, const json_t *json, struct error *err)
{
    struct optimizer_option options[OPTIMIZER_OPTIONS_MAX];
    size_t count = 0;
    const char *class_name, *key;
    const json_t *config;
    json_t *value;
    if (!config_is_class(json, &class_name, &config))
        return error_set(err, STATUS_INVALID_ARGUMENT, "the optimizer's JSON has no class_name");
    json_object_foreach((json_t *)config, key, value)
    {
        if (says_nothing(key, value, config))
            continue;
        if (count == OPTIMIZER_OPTIONS_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT, "optimizer %.40s: more than %d options",
                             class_name, OPTIMIZER_OPTIONS_MAX);
        enum status status = read_option(class_name, key, value, &options[count], err);
        if (status != STATUS_OK)
            return status;
        count++;
    }
    return optimizer_init(ret_optimizer, class_name, options, count, err);
}

enum status optimizer_from_text(struct optimizer *ret_optimizer, const char *text,
                                struct error *err)
{
    if (text[0] != '{')
        return optimizer_init(ret_optimizer, text, NULL, 0, err);
    json_error_t where;
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, &where);
    enum status status = json != NULL ? from_json(ret_optimizer, json, err)
                                      : error_set(err, STATUS_INVALID_ARGUMENT,
                                                  "the optimizer is no JSON: %.100s", where.text);
    json_decref(json);
    return status;
}
