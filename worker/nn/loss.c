#include "worker/nn/loss.h"

#include "worker/nn/config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct loss_kind *const kinds[] = {
    &loss_binary_crossentropy, &loss_categorical_crossentropy,        &loss_mean_absolute_error,
    &loss_mean_squared_error,  &loss_sparse_categorical_crossentropy,
};
enum { KIND_COUNT = sizeof kinds / sizeof kinds[0] };

const struct loss_kind *const *loss_kinds(size_t *ret_count)
{
    *ret_count = KIND_COUNT;
    return kinds;
}

static const struct loss_kind *kind_named(const char *name)
{
    for (size_t i = 0; i < KIND_COUNT; i++) {
        const struct loss_kind *kind = kinds[i];
        if (strcmp(name, kind->name) == 0 || strcmp(name, kind->class_name) == 0 ||
            (kind->alias != NULL && strcmp(name, kind->alias) == 0))
            return kind;
    }
    return NULL;
}

static enum status unknown_loss(const char *name, struct error *err)
{
    char known[300];
    size_t used = 0;
    for (size_t i = 0; i < KIND_COUNT; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i > 0 ? ", " : "",
                                 kinds[i]->name);
    return error_set(err, STATUS_NOT_FOUND, "unknown loss '%.64s'; there are: %s", name, known);
}

static void read_reduction(struct config *config, struct loss *loss)
{
    static const struct {
        const char *name;
        enum loss_reduction reduction;
    } reductions[] = {
        {"sum_over_batch_size", LOSS_MEAN},
        {"mean", LOSS_MEAN},
        {"sum", LOSS_SUM},
        {"mean_with_sample_weight", LOSS_MEAN_WITH_SAMPLE_WEIGHT},
        {"none", LOSS_NONE},
    };
    const char *wanted = config_text(config, "reduction", NULL);
    /* null is Keras's other way to write "none"; a missing key is the default. */
    loss->reduction = config->object != NULL &&
                              json_is_null(json_object_get(config->object, "reduction"))
                          ? LOSS_NONE
                          : LOSS_MEAN;
    if (wanted == NULL)
        return;
    for (size_t i = 0; i < sizeof reductions / sizeof reductions[0]; i++) {
        if (strcmp(wanted, reductions[i].name) == 0) {
            loss->reduction = reductions[i].reduction;
            return;
        }
    }
    config_fail(config, STATUS_INVALID_ARGUMENT,
                "reduction '%.40s' is none of sum_over_batch_size, mean, sum, "
                "mean_with_sample_weight, none",
                wanted);
}

static void read_options(struct config *config, struct loss *loss)
{
    config_ignore(config, "name");
    const char *dtype = config_text(config, "dtype", "float32");
    if (strcmp(dtype, "float32") != 0)
        config_fail(config, STATUS_UNIMPLEMENTED, "dtype %.40s is not supported; float32 is",
                    dtype);
    read_reduction(config, loss);
    loss->axis = -1;
    if (loss->kind->uses_logits)
        loss->from_logits = config_bool(config, "from_logits", false);
    if (loss->kind->smooths) {
        loss->label_smoothing = (float)config_number(config, "label_smoothing", 0, NULL);
        if (!(loss->label_smoothing >= 0 && loss->label_smoothing <= 1))
            config_fail(config, STATUS_INVALID_ARGUMENT, "label_smoothing must be from 0 to 1");
        loss->axis = config_int(config, "axis", -1, -SHAPE_RANK_MAX, SHAPE_RANK_MAX - 1);
    }
    if (loss->kind->sparse) {
        const json_t *ignored = config_value(config, "ignore_class");
        if (ignored != NULL && !json_is_integer(ignored))
            config_fail(config, STATUS_INVALID_ARGUMENT,
                        "ignore_class is neither null nor a whole number");
        loss->has_ignored_class = ignored != NULL;
        loss->ignored_class = json_integer_value(ignored);
        if (config_int(config, "axis", -1, -SHAPE_RANK_MAX, SHAPE_RANK_MAX) != -1)
            config_fail(config, STATUS_UNIMPLEMENTED, "only axis -1 is supported");
    }
}

enum status loss_init(struct loss *ret_loss, const char *name, const json_t *object,
                      struct error *err)
{
    struct loss loss = {.kind = kind_named(name)};
    if (loss.kind == NULL)
        return unknown_loss(name, err);
    struct config config = config_open(object, "loss", loss.kind->name, err);
    read_options(&config, &loss);
    enum status status = config_finish(&config);
    if (status == STATUS_OK)
        *ret_loss = loss;
    return status;
}

enum status loss_from_text(struct loss *ret_loss, const char *text, struct error *err)
{
    if (text[0] != '{')
        return loss_init(ret_loss, text, NULL, err);
    json_error_t where;
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, &where);
    const char *class_name;
    const json_t *config;
    enum status status;
    if (object == NULL)
        status = error_set(err, STATUS_INVALID_ARGUMENT, "the loss is no JSON: %.100s", where.text);
    else if (!config_is_class(object, &class_name, &config))
        status = error_set(err, STATUS_INVALID_ARGUMENT, "the loss's JSON has no class_name");
    else
        status = loss_init(ret_loss, class_name, config, err);
    json_decref(object);
    return status;
}

enum status loss_check_labels(const struct loss *loss, const float *y, size_t rows, size_t classes,
                              struct error *err)
{
    for (size_t r = 0; loss->kind->sparse && r < rows; r++) {
        bool ignored = loss->has_ignored_class && y[r] == (float)loss->ignored_class;
        if (!ignored && !(y[r] >= 0 && y[r] < (float)classes && y[r] == truncf(y[r])))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "%s: label %g of row %zu is none of the %zu classes 0 .. %zu that the "
                             "model predicts",
                             loss->kind->name, (double)y[r], r, classes, classes - 1);
    }
    return STATUS_OK;
}

/* Keras multiplies the predictions of ignored rows by 0, which loses their logits. */
bool loss_takes_logits(const struct loss *loss)
{
    return loss->kind->uses_logits && !loss->has_ignored_class;
}
