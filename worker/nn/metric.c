#include "worker/nn/metric.h"

#include "worker/nn/config.h"

#include <stdio.h>
#include <string.h>

/* ---- values ---- */

static float equal_value(const struct metric *metric, const float *y, const float *p, size_t cols)
{
    (void)metric;
    (void)cols;
    return *y == *p ? 1 : 0;
}

/* Strictly above the threshold counts as 1. */
static float binary_accuracy_value(const struct metric *metric, const float *y, const float *p,
                                   size_t cols)
{
    (void)cols;
    return *y == (*p > metric->threshold ? 1.0f : 0.0f) ? 1 : 0;
}

/* Of equal ones the first. */
static size_t largest(const float *x, size_t cols)
{
    size_t at = 0;
    for (size_t i = 1; i < cols; i++)
        at = x[i] > x[at] ? i : at;
    return at;
}

static float categorical_accuracy_value(const struct metric *metric, const float *y, const float *p,
                                        size_t cols)
{
    (void)metric;
    return largest(y, cols) == largest(p, cols) ? 1 : 0;
}

static float sparse_accuracy_value(const struct metric *metric, const float *y, const float *p,
                                   size_t cols)
{
    (void)metric;
    return *y == (float)largest(p, cols) ? 1 : 0;
}

static float loss_value(const struct metric *metric, const float *y, const float *p, size_t cols)
{
    float value;
    metric->loss.kind->values(&metric->loss, metric->loss.from_logits, y, p, 1, cols, &value);
    return value;
}

/* ---- the table ---- */

static const struct metric_kind kinds[] = {
    {"accuracy", "Accuracy", false, true, equal_value},
    {"binary_accuracy", "BinaryAccuracy", false, true, binary_accuracy_value},
    {"categorical_accuracy", "CategoricalAccuracy", false, false, categorical_accuracy_value},
    {"sparse_categorical_accuracy", "SparseCategoricalAccuracy", true, false,
     sparse_accuracy_value},
};
enum { KIND_COUNT = sizeof kinds / sizeof kinds[0], BINARY = 1, CATEGORICAL = 2, SPARSE = 3 };

/* Metrics that are losses go by the loss's names. */
static const struct metric_kind loss_metric = {"loss", "Loss", false, false, loss_value},
                                sparse_loss_metric = {"loss", "Loss", true, false, loss_value};

static enum status unknown_metric(const char *name, struct error *err)
{
    char known[400];
    size_t used = 0, loss_count;
    const struct loss_kind *const *losses = loss_kinds(&loss_count);
    for (size_t i = 0; i < KIND_COUNT; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i > 0 ? ", " : "",
                                 kinds[i].name);
    for (size_t i = 0; i < loss_count; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, ", %s", losses[i]->name);
    return error_set(err, STATUS_NOT_FOUND, "unknown metric '%.64s'; there are: %s", name, known);
}

static const struct metric_kind *kind_named(const char *name)
{
    for (size_t i = 0; i < KIND_COUNT; i++) {
        if (strcmp(name, kinds[i].name) == 0 || strcmp(name, kinds[i].class_name) == 0)
            return &kinds[i];
    }
    return NULL;
}

static void name_metric(struct metric *metric, const char *name)
{
    snprintf(metric->name, sizeof metric->name, "%s", name);
}

static enum status init_from_loss(struct metric *metric, const char *name, const json_t *object,
                                  struct error *err)
{
    struct error why;
    enum status status = loss_init(&metric->loss, name, object, &why);
    if (status == STATUS_NOT_FOUND)
        return unknown_metric(name, err);
    if (status != STATUS_OK)
        return error_set(err, status, "metric: %s", why.message);
    metric->kind = metric->loss.kind->sparse ? &sparse_loss_metric : &loss_metric;
    /* Keras calls a metric what the user called it: "mse" stays "mse", a class becomes its long
     * name. */
    bool is_class = strcmp(name, metric->loss.kind->class_name) == 0;
    name_metric(metric, is_class ? metric->loss.kind->name : name);
    return STATUS_OK;
}

enum status metric_init(struct metric *ret_metric, const char *name, const json_t *object,
                        struct error *err)
{
    struct metric metric = {.threshold = 0.5f};
    if (strcmp(name, "accuracy") == 0 || strcmp(name, "acc") == 0) {
        name_metric(&metric, name);
        *ret_metric = metric;
        return STATUS_OK;
    }
    metric.kind = kind_named(name);
    enum status status = STATUS_OK;
    if (metric.kind == NULL) {
        status = init_from_loss(&metric, name, object, err);
    } else {
        name_metric(&metric, metric.kind->name);
        struct config config = config_open(object, "metric", metric.kind->name, err);
        config_ignore(&config, "name");
        if (strcmp(config_text(&config, "dtype", "float32"), "float32") != 0)
            config_fail(&config, STATUS_UNIMPLEMENTED, "only dtype float32 is supported");
        if (metric.kind == &kinds[BINARY])
            metric.threshold = (float)config_number(&config, "threshold", 0.5, NULL);
        status = config_finish(&config);
    }
    if (status != STATUS_OK)
        return status;
    if (json_is_string(json_object_get(object, "name")))
        name_metric(&metric, json_string_value(json_object_get(object, "name")));
    *ret_metric = metric;
    return STATUS_OK;
}

enum status metric_from_text(struct metric *ret_metric, const char *text, struct error *err)
{
    if (text[0] != '{')
        return metric_init(ret_metric, text, NULL, err);
    json_error_t where;
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, &where);
    const char *class_name;
    const json_t *config;
    enum status status;
    if (object == NULL)
        status = error_set(err, STATUS_INVALID_ARGUMENT, "the metric is no JSON: %.100s",
                           where.text);
    else if (!config_is_class(object, &class_name, &config))
        status = error_set(err, STATUS_INVALID_ARGUMENT, "the metric's JSON has no class_name");
    else
        status = metric_init(ret_metric, class_name, config, err);
    json_decref(object);
    return status;
}

void metric_resolve(struct metric *metric, const struct shape *y_shape, const struct shape *p_shape)
{
    if (metric->kind != NULL)
        return;
    if (shape_last(p_shape) == 1)
        metric->kind = &kinds[BINARY];
    else if (y_shape->rank < p_shape->rank || shape_last(y_shape) == 1)
        metric->kind = &kinds[SPARSE];
    else
        metric->kind = &kinds[CATEGORICAL];
}

/* ---- batches ---- */

/* How the values of a batch are laid out and weighted. */
struct layout {
    size_t count, inner; /* values; of one example */
    size_t per_weight;   /* values that share a weight */
    bool weighted;
    size_t weight_count, weight_inner; /* weights; of one example */
    bool one_weight;                   /* a scalar, for all */
};

/* A weight's shape must be a leading part of the values' shape, or a scalar. */
static enum status layout_init(struct layout *layout, struct shape shape,
                               const struct shape *given_weight, bool weighted, struct error *err)
{
    struct shape weight = weighted ? *given_weight : (struct shape){.rank = 0};
    if (weighted)
        shape_align_ranks(&shape, &weight);
    size_t examples = shape.rank > 0 ? shape.size[0] : 1;
    *layout = (struct layout){
        .count = shape_elements(&shape), .weighted = weighted, .per_weight = 1};
    layout->inner = examples > 0 ? layout->count / examples : 1;
    bool fits = weight.rank <= shape.rank;
    for (size_t i = 0; i < weight.rank && fits; i++)
        fits = weight.size[i] == shape.size[i];
    if (!fits) {
        char text[SHAPE_TEXT_BYTES], weight_text[SHAPE_TEXT_BYTES];
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "sample weights of shape %s do not fit values of shape %s",
                         shape_text(&weight, false, weight_text), shape_text(&shape, false, text));
    }
    layout->weight_count = shape_elements(&weight);
    layout->one_weight = weight.rank == 0;
    layout->weight_inner = weight.rank > 0 && examples > 0 ? layout->weight_count / examples : 1;
    if (weight.rank > 0 && layout->weight_count > 0)
        layout->per_weight = layout->count / layout->weight_count;
    return STATUS_OK;
}

static double layout_weight(const struct layout *layout, const float *weight, size_t at)
{
    if (!layout->weighted)
        return 1;
    return (double)weight[layout->one_weight ? 0 : at / layout->per_weight];
}

/* What the batch adds to the count: examples, or the sum of their mean weights. */
static double layout_examples(const struct layout *layout, const float *weight)
{
    double sum = 0;
    if (!layout->weighted || layout->one_weight)
        return (double)(layout->count / layout->inner) * layout_weight(layout, weight, 0);
    for (size_t i = 0; i < layout->weight_count; i++)
        sum += (double)weight[i];
    return sum / (double)layout->weight_inner;
}

enum status metric_update_mean(const struct shape *shape, const float *values,
                               const struct shape *weight_shape, const float *weight,
                               struct metric_total *total, struct error *err)
{
    struct layout layout;
    enum status status = layout_init(&layout, *shape, weight_shape, weight != NULL, err);
    if (status != STATUS_OK)
        return status;
    double sum = 0;
    for (size_t i = 0; i < layout.count; i++)
        sum += (double)values[i] * layout_weight(&layout, weight, i);
    total->sum += layout.count > 0 ? sum / (double)layout.inner : 0;
    total->count += layout.count > 0 ? layout_examples(&layout, weight) : 0;
    return STATUS_OK;
}

static enum status shapes_differ(const struct metric *metric, const struct metric_input *input,
                                 struct error *err)
{
    char y_text[SHAPE_TEXT_BYTES], p_text[SHAPE_TEXT_BYTES];
    return error_set(err, STATUS_INVALID_ARGUMENT,
                     "metric '%.64s': targets of shape %s do not fit predictions of shape %s",
                     metric->name, shape_text(&input->y_shape, false, y_text),
                     shape_text(&input->p_shape, false, p_text));
}

enum status metric_update(const struct metric *given, const struct metric_input *input,
                          struct metric_total *total, struct error *err)
{
    struct metric metric = *given;
    metric_resolve(&metric, &input->y_shape, &input->p_shape);
    struct shape y_shape = input->y_shape, p_shape = input->p_shape, values;
    if (!metric.kind->sparse)
        shape_align_ranks(&y_shape, &p_shape);
    values = p_shape;
    if (!metric.kind->elementwise && values.rank > 0)
        values.rank--;
    if (metric.kind->sparse && y_shape.rank == p_shape.rank && shape_last(&y_shape) == 1)
        y_shape.rank--;
    if (p_shape.rank == 0 || !shape_equal(&y_shape, metric.kind->sparse ? &values : &p_shape))
        return shapes_differ(&metric, input, err);

    size_t cols = metric.kind->elementwise ? 1 : shape_last(&p_shape),
           y_cols = metric.kind->sparse ? 1 : cols;
    struct layout layout;
    enum status status = layout_init(&layout, values, &input->weight_shape, input->weight != NULL,
                                     err);
    if (status == STATUS_OK && metric.loss.kind != NULL)
        status = loss_check_labels(&metric.loss, input->y, layout.count, cols, err);
    if (status != STATUS_OK)
        return status;
    double sum = 0;
    for (size_t i = 0; i < layout.count; i++)
        sum += (double)metric.kind->value(&metric, input->y + i * y_cols, input->p + i * cols,
                                          cols) *
               layout_weight(&layout, input->weight, i);
    total->sum += layout.count > 0 ? sum / (double)layout.inner : 0;
    total->count += layout.count > 0 ? layout_examples(&layout, input->weight) : 0;
    return STATUS_OK;
}
