/*
 * A whole training of Keras done again by the trainer: means after every batch and every epoch,
 * validation, final weights and optimizer state, evaluation, predictions. A "data-parallel loop" is
 * done by one rank ("whole") and by several ("two"), whose shares are weighted by their rows.
 */
#include "common/base/alloc.h"
#include "tests/golden/numbers.h"
#include "tests/lib/shares_sync.h"
#include "worker/data/data_file.h"
#include "worker/nn/model_json.h"
#include "worker/nn/optimizer_text.h"
#include "worker/train/progress.h"
#include "worker/train/trainer.h"

#include <stdio.h>
#include <string.h>

enum { BATCHES_MAX = 1024, NAME_BYTES = 256, RANKS_MAX = 2, PATH_BYTES = 512 };

struct fit {
    struct golden_case *golden;
    struct optimizer optimizer;
    struct loss loss;
    struct metric metrics[MODEL_METRICS_MAX];
    size_t metric_count;
    struct model models[RANKS_MAX];
    struct numbers x, y; /* from the case */
    struct dataset file; /* or from a data set */
    struct examples train, validation;
    struct fit_options options;
    /* What the training told. */
    struct logs running[BATCHES_MAX], history[BATCHES_MAX];
    size_t batch_count, epoch_count;
    bool too_many;
};

static bool failed(const struct fit *fit)
{
    return fit->golden->message[0] != '\0';
}

static json_t *part(const struct fit *fit, const char *a, const char *b)
{
    return json_object_get(json_object_get(fit->golden->json, a), b);
}

/* ---- what is not built ---- */

static enum golden_outcome not_built(struct fit *fit, enum status status, const struct error *err)
{
    bool unknown = status == STATUS_UNIMPLEMENTED || status == STATUS_NOT_FOUND ||
                   strstr(err->message, "has no option") != NULL;

    return unknown ? golden_skip(fit->golden, "%s", err->message)
                   : golden_fail(fit->golden, "%s", err->message);
}

static const char *unbuilt_option(const struct fit *fit)
{
    static const char *const keys[] = {"class_weight",  "sample_weight",   "steps_per_epoch",
                                       "initial_epoch", "validation_freq", "validation_batch_size"};
    json_t *arguments = part(fit, "config", "fit"), *compile = part(fit, "config", "compile");

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (json_is_true(json_object_get(arguments, keys[i])) ||
            json_is_number(json_object_get(arguments, keys[i])) ||
            json_is_object(json_object_get(arguments, keys[i])))
            return keys[i];
    }
    if (json_array_size(json_object_get(arguments, "callbacks")) > 0)
        return "callbacks";
    if (json_array_size(json_object_get(compile, "weighted_metrics")) > 0)
        return "weighted_metrics";
    if (part(fit, "data", "sample_weight"))
        return "sample_weight";
    if (json_is_true(json_object_get(arguments, "shuffle")))
        return "the order of tf.data's shuffle";
    return NULL;
}

/* ---- model, loss, metrics, optimizer ---- */

/* A name, or an object as its JSON; freed with alloc_free. */
static char *text_of(const json_t *value)
{
    char text[4096];

    if (json_is_string(value))
        return alloc_string(json_string_value(value));
    size_t bytes = json_dumpb(value, text, sizeof text - 1, JSON_ENCODE_ANY);
    text[bytes < sizeof text ? bytes : 0] = '\0';
    return alloc_string(text);
}

static enum golden_outcome read_compile(struct fit *fit, const json_t *compile)
{
    char *optimizer = text_of(json_object_get(compile, "optimizer"));
    char *loss = text_of(json_object_get(compile, "loss"));
    json_t *list = json_object_get(compile, "metrics"), *entry;
    enum status status = STATUS_RESOURCE_EXHAUSTED;
    struct error err = {0};
    size_t i;

    if (optimizer && loss)
        status = optimizer_from_text(&fit->optimizer, optimizer, &err);
    if (!status)
        status = loss_from_text(&fit->loss, loss, &err);
    alloc_free(optimizer);
    alloc_free(loss);
    json_array_foreach(list, i, entry)
    {
        char *text = text_of(entry);
        if (!status && text && fit->metric_count < MODEL_METRICS_MAX)
            status = metric_from_text(&fit->metrics[fit->metric_count++], text, &err);
        alloc_free(text);
    }
    return status ? not_built(fit, status, &err) : GOLDEN_PASSED;
}

static bool set_initial(struct fit *fit, struct model *model)
{
    json_t *weights = json_object_get(fit->golden->json, "weights"), *entry;
    size_t i;

    json_array_foreach(weights, i, entry)
    {
        const char *path = json_string_value(json_object_get(entry, "path"));
        size_t at = path ? model_find_weight(model, path) : model->weight_count, count;
        char name[NAME_BYTES];
        float *values;

        if (at == model->weight_count) {
            golden_fail(fit->golden, "the model has no weight '%s'", path ? path : "");
            return false;
        }
        snprintf(name, sizeof name, "initial/%s", path);
        values = golden_floats(fit->golden, name, &count);
        if (!values)
            return false;
        if (count == model->weights[at].count)
            memcpy(model->params + model->weights[at].offset, values, count * sizeof(float));
        else
            golden_fail(fit->golden, "'%s' has %zu elements", name, count);
        alloc_free(values);
        if (failed(fit))
            return false;
    }
    return true;
}

static enum golden_outcome make_model(struct fit *fit, struct model *model)
{
    static const struct shape one_number = {.rank = 0};
    const char *text = json_string_value(json_object_get(fit->golden->json, "model_json"));
    struct error err;
    enum status status;

    if (!text)
        return golden_fail(fit->golden, "the case has no model_json");
    status = model_from_json(model, text, strlen(text), &err);
    if (!status)
        status = model_build(model, NULL, &err);
    if (!status)
        status = model_compile(model, &fit->loss, fit->metrics, fit->metric_count, &one_number,
                               &err);
    if (!status)
        status = model_allocate(model, &err);
    if (status)
        return not_built(fit, status, &err);
    return set_initial(fit, model) ? GOLDEN_PASSED : GOLDEN_FAILED;
}

/* ---- data ---- */

static size_t number_at(const json_t *list, size_t index)
{
    return (size_t)json_integer_value(json_array_get(list, index));
}

static bool take_rows(struct fit *fit, const json_t *rows, struct examples *ret_examples)
{
    size_t first = number_at(rows, 0), end = number_at(rows, 1);

    if (first > end || end > fit->file.example_count)
        return false;
    *ret_examples = dataset_examples(&fit->file);
    ret_examples->features += first * ret_examples->feature_count;
    ret_examples->labels += first;
    ret_examples->count = end - first;
    return true;
}

/* Rows of a data set of this repository: all columns but the label's, divided by a number. */
static enum golden_outcome read_set(struct fit *fit, const json_t *data)
{
    const char *set = json_string_value(json_object_get(data, "set"));
    const char *file = json_string_value(json_object_get(data, "file"));
    double divisor = json_number_value(json_object_get(data, "x_divide_by"));
    struct data_options options = {.header = DATA_HEADER_NO};
    char path[PATH_BYTES];
    struct error err;

    snprintf(path, sizeof path, "deploy/data/%s/%s", set, file ? file : "");
    if (data_file_read(path, &options, &fit->file, &err))
        return golden_skip(fit->golden, "%s", err.message);
    for (size_t i = 0; i < fit->file.example_count * fit->file.feature_count && divisor > 0; i++)
        fit->file.features[i] /= (float)divisor;
    if (!take_rows(fit, json_object_get(data, "rows"), &fit->train) ||
        !take_rows(fit, json_object_get(json_object_get(data, "validation"), "rows"),
                   &fit->validation))
        return golden_fail(fit->golden, "'%s' has no such rows", path);
    return GOLDEN_PASSED;
}

static enum golden_outcome read_data(struct fit *fit)
{
    const json_t *data = json_object_get(fit->golden->json, "data");
    double split = json_number_value(
        json_object_get(part(fit, "config", "fit"), "validation_split"));
    struct dataset all = {.name = NULL};
    struct error err;

    if (json_object_get(data, "set"))
        return read_set(fit, data);
    if (!numbers_read(fit->golden, json_object_get(data, "x"), &fit->x) ||
        !numbers_read(fit->golden, json_object_get(data, "y"), &fit->y))
        return GOLDEN_FAILED;
    if (fit->x.shape.rank < 2 || fit->y.count != fit->x.shape.size[0])
        return golden_skip(fit->golden, "targets of more than one number per example");
    all.example_count = fit->x.shape.size[0];
    all.feature_count = fit->x.count / all.example_count;
    all.features = fit->x.values;
    all.labels = fit->y.values;
    if (dataset_split(&all, split, &fit->train, &fit->validation, &err))
        return golden_fail(fit->golden, "%s", err.message);
    return GOLDEN_PASSED;
}

/* ---- the training ---- */

static void on_step(void *context, uint64_t step, const struct model_totals *totals)
{
    struct fit *fit = context;

    (void)step;
    fit->too_many = fit->too_many || fit->batch_count == BATCHES_MAX;
    if (!fit->too_many)
        logs_set(&fit->running[fit->batch_count++], &fit->models[0], totals, NULL);
}

static enum status on_epoch_end(void *context, uint64_t epoch, const struct model_totals *totals,
                                const struct model_totals *validation, struct error *err)
{
    struct fit *fit = context;

    (void)epoch;
    (void)err;
    fit->too_many = fit->too_many || fit->epoch_count == BATCHES_MAX;
    if (!fit->too_many)
        logs_set(&fit->history[fit->epoch_count++], &fit->models[0], totals, validation);
    return STATUS_OK;
}

static struct fit_options options_of(const struct fit *fit, const json_t *arguments)
{
    return (struct fit_options){
        .train = &fit->train,
        .validation = &fit->validation,
        .batch_size = (size_t)json_integer_value(json_object_get(arguments, "batch_size")),
        .epochs = (uint64_t)json_integer_value(json_object_get(arguments, "epochs"))};
}

/* ---- comparing ---- */

static const json_t *tolerance(const struct fit *fit, const char *name)
{
    const json_t *own = part(fit, "tolerances", name);

    return own ? own : json_object_get(fit->golden->json, "compare");
}

static double log_value(const struct logs *logs, const char *name)
{
    for (size_t i = 0; i < logs->count; i++) {
        if (strcmp(logs->items[i].name, name) == 0)
            return logs->items[i].value;
    }
    return -1;
}

static bool compare_logs(struct fit *fit, json_t *names, const struct logs *logs, size_t count)
{
    static float values[BATCHES_MAX];
    const char *key;
    json_t *name;

    json_object_foreach(names, key, name)
    {
        for (size_t i = 0; i < count; i++)
            values[i] = (float)log_value(&logs[i], key);
        if (!numbers_compare(fit->golden, tolerance(fit, json_string_value(name)), name, values,
                             count))
            return false;
    }
    return true;
}

static bool compare_weights(struct fit *fit, const struct model *model, const char *prefix)
{
    json_t *weights = json_object_get(fit->golden->json, "weights"), *entry;
    size_t i;

    json_array_foreach(weights, i, entry)
    {
        const char *path = json_string_value(json_object_get(entry, "path"));
        const struct model_weight *weight = &model->weights[model_find_weight(model, path)];
        char name[NAME_BYTES];

        snprintf(name, sizeof name, "%s/%s", prefix, path);
        if (!golden_compare(fit->golden, tolerance(fit, name), name, ELEMENT_F32,
                            model->params + weight->offset, weight->count))
            return false;
    }
    return true;
}

/* "optimizer/adam/sequential_dense_kernel_momentum" */
static bool compare_slot(struct fit *fit, const struct sync *sync, const char *path, size_t slot)
{
    const struct model *model = &fit->models[0];
    const struct model_weight *weight = &model->weights[model_find_weight(model, path)];
    char name[NAME_BYTES];
    int head = snprintf(name, sizeof name, "optimizer/%s/", fit->optimizer.kind->name);

    snprintf(name + head, sizeof name - (size_t)head, "%s_%s", path,
             optimizer_slot_name(&fit->optimizer, slot));
    for (char *c = name + head; *c; c++)
        *c = *c == '/' ? '_' : *c;
    return golden_compare(fit->golden, tolerance(fit, name), name, ELEMENT_F32,
                          sync_local_slot(sync, slot) + weight->offset, weight->count);
}

static bool compare_slots(struct fit *fit, const struct sync *sync)
{
    json_t *weights = json_object_get(fit->golden->json, "weights"), *entry;
    size_t i;

    json_array_foreach(weights, i, entry)
    {
        for (size_t s = 0; s < optimizer_slot_count(&fit->optimizer); s++) {
            if (json_is_true(json_object_get(entry, "trainable")) &&
                !compare_slot(fit, sync, json_string_value(json_object_get(entry, "path")), s))
                return false;
        }
    }
    return true;
}

static bool compare_evaluate(struct fit *fit, struct sync *sync)
{
    json_t *names = part(fit, "evaluate", "names"), *name;
    float values[LOGS_MAX] = {0};
    struct model_totals totals;
    struct logs logs;
    struct error err;
    size_t i;

    if (trainer_evaluate(sync, &fit->train, "evaluate", &totals, &err)) {
        golden_fail(fit->golden, "%s", err.message);
        return false;
    }
    logs_set(&logs, sync->model, &totals, NULL);
    json_array_foreach(names, i, name)
    {
        if (i < LOGS_MAX)
            values[i] = (float)log_value(&logs, json_string_value(name));
    }
    return numbers_compare(fit->golden, tolerance(fit, "evaluate"), part(fit, "evaluate", "values"),
                           values, json_array_size(names));
}

static bool compare_predict(struct fit *fit, struct model *model)
{
    json_t *rows = part(fit, "predict", "rows");
    struct examples some = fit->train;
    size_t first = number_at(rows, 0), end = number_at(rows, 1);
    struct numbers values;
    struct error err;
    bool same;

    if (first > end || end > some.count) {
        golden_fail(fit->golden, "no such rows to predict from");
        return false;
    }
    some.features += first * some.feature_count;
    some.count = end - first;
    if (!numbers_make(fit->golden, some.count * shape_elements(&model->output_shape), &values))
        return false;
    if (trainer_predict(model, &some, values.values, &err))
        golden_fail(fit->golden, "%s", err.message);
    same = !failed(fit) &&
           numbers_compare(fit->golden, tolerance(fit, "predict"), part(fit, "predict", "values"),
                           values.values, values.count);
    numbers_release(&values);
    return same;
}

/* ---- the two sorts of cases ---- */

/* Evaluation is on all examples, those held out for validation included. */
static void all_examples(struct fit *fit)
{
    if (fit->x.count > 0)
        fit->train.count = fit->x.shape.size[0];
}

static bool compare_all(struct fit *fit, struct sync *sync)
{
    if (!compare_logs(fit, json_object_get(fit->golden->json, "running"), fit->running,
                      fit->batch_count) ||
        !compare_logs(fit, json_object_get(fit->golden->json, "history"), fit->history,
                      fit->epoch_count) ||
        !compare_weights(fit, &fit->models[0], "final") || !compare_slots(fit, sync))
        return false;
    all_examples(fit);
    return compare_evaluate(fit, sync) && compare_predict(fit, &fit->models[0]);
}

static enum golden_outcome run_fit(struct fit *fit)
{
    const struct trainer_listener listener = {
        .context = fit, .on_step = on_step, .on_epoch_end = on_epoch_end};
    const char *option = unbuilt_option(fit);
    struct fit_options options;
    struct sync *sync = NULL;
    struct error err;
    enum golden_outcome outcome;

    if (option)
        return golden_skip(fit->golden, "fit with %s", option);
    outcome = read_compile(fit, part(fit, "config", "compile"));
    if (!outcome)
        outcome = read_data(fit);
    if (!outcome)
        outcome = make_model(fit, &fit->models[0]);
    if (outcome)
        return outcome;
    options = options_of(fit, part(fit, "config", "fit"));
    options.listener = &listener;
    struct sync_options sync_options = {
        .model = &fit->models[0], .optimizer = &fit->optimizer, .has_weights = true};
    if (sync_local_new(&sync_options, NULL, &sync, &err) || trainer_fit(sync, &options, &err))
        outcome = golden_fail(fit->golden, "%s", err.message);
    else if (fit->too_many)
        outcome = golden_fail(fit->golden, "more than %d batches or epochs", BATCHES_MAX);
    else if (!compare_all(fit, sync))
        outcome = GOLDEN_FAILED;
    sync_free(sync);
    return outcome;
}

/* One rank or two; `part_name` is "whole" or "two". */
static enum golden_outcome run_ranks(struct fit *fit, uint32_t rank_count, const char *part_name)
{
    const struct trainer_listener listener = {.context = fit, .on_epoch_end = on_epoch_end};
    struct fit_options options = options_of(fit, json_object_get(fit->golden->json, "config"));
    struct model *models[RANKS_MAX] = {&fit->models[0], &fit->models[1]};
    const char *loss = json_string_value(part(fit, part_name, "loss"));
    double losses[BATCHES_MAX];
    char prefix[NAME_BYTES];
    struct error err;

    options.listener = &listener;
    fit->epoch_count = 0;
    for (uint32_t r = 0; r < rank_count; r++) {
        if (!set_initial(fit, models[r]))
            return GOLDEN_FAILED;
    }
    if (shares_fit(models, rank_count, &fit->optimizer, &options, NULL, &err))
        return golden_fail(fit->golden, "%s", err.message);
    for (size_t i = 0; i < fit->epoch_count; i++)
        losses[i] = log_value(&fit->history[i], "loss");
    snprintf(prefix, sizeof prefix, "%s/final", part_name);
    if (!loss ||
        !golden_compare(fit->golden, tolerance(fit, loss), loss, ELEMENT_F64, losses,
                        fit->epoch_count) ||
        !compare_weights(fit, &fit->models[0], prefix))
        return golden_fail(fit->golden, "the case has no loss of '%s'", part_name);
    return GOLDEN_PASSED;
}

static enum golden_outcome run_data_parallel(struct fit *fit)
{
    const json_t *config = json_object_get(fit->golden->json, "config");
    const char *weights = json_string_value(json_object_get(config, "gradient_weights"));
    size_t batch_size = (size_t)json_integer_value(json_object_get(config, "batch_size"));
    bool even = batch_size % RANKS_MAX == 0 || (weights && strcmp(weights, "rows") == 0);
    enum golden_outcome outcome = read_compile(fit, config);

    if (json_integer_value(json_object_get(config, "workers")) != RANKS_MAX)
        return golden_skip(fit->golden, "other than %d workers", RANKS_MAX);
    if (!outcome)
        outcome = read_data(fit);
    for (size_t r = 0; r < RANKS_MAX && !outcome; r++)
        outcome = make_model(fit, &fit->models[r]);
    if (!outcome)
        outcome = run_ranks(fit, 1, "whole");
    if (!outcome && !even)
        return golden_skip(
            fit->golden,
            "two workers with uneven shares that count the same: here they count by rows");
    return outcome ? outcome : run_ranks(fit, RANKS_MAX, "two");
}

enum golden_outcome golden_fit(struct golden_case *golden)
{
    const char *name = json_string_value(json_object_get(golden->json, "name"));
    struct fit *fit = alloc_zero(sizeof *fit);
    enum golden_outcome outcome;

    if (!fit || !name) {
        alloc_free(fit);
        return golden_fail(golden, name ? "out of memory" : "the case has no name");
    }
    fit->golden = golden;
    if (strcmp(name, "Sequential.fit") == 0)
        outcome = run_fit(fit);
    else if (strcmp(name, "data-parallel loop") == 0)
        outcome = run_data_parallel(fit);
    else
        outcome = golden_skip(golden, "%s", name);
    for (size_t r = 0; r < RANKS_MAX; r++)
        model_release(&fit->models[r]);
    numbers_release(&fit->x);
    numbers_release(&fit->y);
    dataset_release(&fit->file);
    alloc_free(fit);
    return outcome;
}
