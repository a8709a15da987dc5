/* The part of a task that needs no data: description, loss, metrics, optimizer, saved weights. */
#include "common/base/alloc.h"
#include "common/base/options.h"
#include "common/tensor/array_file.h"
#include "worker/data/encoding_text.h"
#include "worker/nn/model_json.h"
#include "worker/nn/optimizer_text.h"
#include "worker/train/task.h"

#include <stdio.h>
#include <string.h>

enum { OPTION_TEXT_BYTES_MAX = 64 * 1024, NAMES_MAX = 96 };

/* ---- texts of options ---- */

/* "did you mean" for a name that is in none of the tables. */
static void suggest(struct error *err, const char *text, const char *const *names, size_t count)
{
    const char *name = option_suggest(text, names, count);
    size_t used = strlen(err->message);

    if (name && !strstr(err->message, "did you mean"))
        snprintf(err->message + used, sizeof err->message - used, "; did you mean %s?", name);
}

static size_t add_name(const char **names, size_t count, const char *name)
{
    if (name && count < NAMES_MAX)
        names[count++] = name;
    return count;
}

static size_t loss_names(const char **names)
{
    size_t kind_count, count = 0;
    const struct loss_kind *const *kinds = loss_kinds(&kind_count);

    for (size_t i = 0; i < kind_count; i++) {
        count = add_name(names, count, kinds[i]->name);
        count = add_name(names, count, kinds[i]->alias);
        count = add_name(names, count, kinds[i]->class_name);
    }
    return count;
}

/* Keras's JSON may stand in a file; then its text is new. A name, or JSON itself, stays as it is
 * (*ret_text NULL). */
static enum status read_option_file(const char *text, char **ret_text, struct error *err)
{
    size_t length = strlen(text);
    struct array_file file;
    enum status status;

    *ret_text = NULL;
    if (text[0] == '{' || length < 5 || strcmp(text + length - 5, ".json") != 0)
        return STATUS_OK;
    status = array_file_open(&file, text, err);
    if (status)
        return status;
    if (file.size > OPTION_TEXT_BYTES_MAX) {
        status = error_set(err, STATUS_INVALID_ARGUMENT,
                           "'%s' has %zu bytes, more than any optimizer", text, file.size);
    } else {
        *ret_text = alloc_zero(file.size + 1);
        if (!*ret_text)
            status = error_no_memory(err, "an optimizer's description");
        else
            memcpy(*ret_text, file.bytes, file.size);
    }
    array_file_release(&file);
    return status;
}

/* ---- loss and metrics ---- */

static enum status read_loss(struct task *task, const struct run_config *config, struct error *err)
{
    const char *text = config->loss ? config->loss : task->model.loss_text;
    const char *names[NAMES_MAX];
    enum status status;

    if (!text)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "--loss is missing, and '%s' has no compile_config with one",
                         config->model);
    status = loss_from_text(&task->loss, text, err);
    if (status == STATUS_NOT_FOUND)
        suggest(err, text, names, loss_names(names));
    return status ? error_wrap(err, "%s", config->loss ? "--loss" : config->model) : STATUS_OK;
}

static enum status add_metric(struct task *task, const char *text, const char *from,
                              struct error *err)
{
    static const char *const own[] = {"accuracy", "binary_accuracy", "categorical_accuracy",
                                      "sparse_categorical_accuracy"};
    const char *names[NAMES_MAX];
    size_t count = loss_names(names);
    enum status status;

    if (task->metric_count == MODEL_METRICS_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: more than %d metrics", from,
                         MODEL_METRICS_MAX);
    status = metric_from_text(&task->metrics[task->metric_count], text, err);
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        count = add_name(names, count, own[i]);
    if (status == STATUS_NOT_FOUND)
        suggest(err, text, names, count);
    if (status)
        return error_wrap(err, "%s", from);
    for (size_t i = 0; i < task->metric_count; i++) {
        if (strcmp(task->metrics[i].name, task->metrics[task->metric_count].name) == 0)
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s: '%s' is there twice", from,
                             task->metrics[i].name);
    }
    task->metric_count++;
    return STATUS_OK;
}

/* "a,b", or one object of Keras's JSON. */
static enum status read_metric_list(struct task *task, const char *list, struct error *err)
{
    enum status status = STATUS_OK;
    char *copy;

    if (strcmp(list, "none") == 0)
        return STATUS_OK;
    if (list[0] == '{')
        return add_metric(task, list, "--metrics", err);
    copy = alloc_string(list);
    if (!copy)
        return error_no_memory(err, "--metrics");
    for (char *name = copy; name && !status;) {
        char *comma = strchr(name, ',');
        if (comma)
            *comma++ = 0;
        status = add_metric(task, name, "--metrics", err);
        name = comma;
    }
    alloc_free(copy);
    return status;
}

/* Whoever trains a classifier wants to see how often it is right. */
static enum status read_metrics(struct task *task, const struct run_config *config,
                                struct error *err)
{
    enum status status = STATUS_OK;

    if (config->metrics)
        return read_metric_list(task, config->metrics, err);
    if (task->model.metric_text_count == 0 && task->loss.kind->uses_logits)
        return add_metric(task, "accuracy", "--metrics", err);
    for (size_t i = 0; i < task->model.metric_text_count && !status; i++)
        status = add_metric(task, task->model.metric_texts[i], config->model, err);
    return status;
}

/* ---- optimizer ---- */

static enum status set_learning_rate(struct optimizer *optimizer, double learning_rate,
                                     struct error *err)
{
    struct optimizer_option options[OPTIMIZER_OPTIONS_MAX];
    size_t count = optimizer->kind->option_count;

    for (size_t i = 0; i < count; i++) {
        options[i] = optimizer->kind->options[i];
        options[i].value = optimizer->option[i];
        if (strcmp(options[i].key, "learning_rate") == 0)
            options[i].value = learning_rate;
    }
    enum status status = optimizer_init(optimizer, optimizer->kind->name, options, count, err);
    return status ? error_wrap(err, "--learning-rate") : STATUS_OK;
}

static enum status read_optimizer(struct task *task, const struct run_config *config,
                                  struct error *err)
{
    const char *text = config->optimizer ? config->optimizer : task->model.optimizer_text;
    char *read = NULL;
    enum status status;

    if (!text)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "--optimizer is missing, and '%s' has no compile_config with one",
                         config->model);
    status = read_option_file(text, &read, err);
    if (!status)
        status = optimizer_from_text(&task->optimizer, read ? read : text, err);
    alloc_free(read);
    if (status)
        return error_wrap(err, "%s", config->optimizer ? "--optimizer" : config->model);
    return config->has_learning_rate
               ? set_learning_rate(&task->optimizer, config->learning_rate, err)
               : STATUS_OK;
}

/* ---- description and weights ---- */

enum status task_read_model(struct task *task, const struct run_config *config, struct error *err)
{
    struct array_file file;
    enum status status = array_file_open(&file, config->model, err);

    if (status)
        return error_wrap(err, "--model");
    status = file.size == 0
                 ? error_set(err, STATUS_INVALID_ARGUMENT, "the file is empty")
                 : model_from_json(&task->model, (const char *)file.bytes, file.size, err);
    array_file_release(&file);
    if (status)
        return error_wrap(err, "%s", config->model);
    if (task->model.has_input_shape) {
        status = model_build(&task->model, NULL, err);
        if (status)
            return error_wrap(err, "%s", config->model);
    }
    if (config->predict)
        return STATUS_OK;
    status = read_loss(task, config, err);
    if (!status)
        status = read_metrics(task, config, err);
    if (!status && config->train)
        status = read_optimizer(task, config, err);
    return status;
}

enum status task_read_weights(struct task *task, const struct run_config *config, struct error *err)
{
    struct encoding_pair *pairs;
    enum status status = safetensors_open(&task->weights, config->weights, err);
    size_t count;

    if (status)
        return error_wrap(err, "--weights");
    task->has_weights = true;
    count = task->weights.metadata_count;
    pairs = alloc_array(count, sizeof *pairs);
    if (!pairs)
        return error_no_memory(err, "the weights' metadata");
    for (size_t i = 0; i < count; i++) {
        pairs[i] = (struct encoding_pair){task->weights.metadata[i].key,
                                          task->weights.metadata[i].value};
        task->has_encoding = task->has_encoding || strcmp(pairs[i].key, "scale") == 0 ||
                             strcmp(pairs[i].key, "classes") == 0;
    }
    status = encoding_parse(pairs, count, &task->encoding, err);
    alloc_free(pairs);
    return status ? error_wrap(err, "%s", config->weights) : STATUS_OK;
}
