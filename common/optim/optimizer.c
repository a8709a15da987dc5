/*
 * The table of optimizers, what is the same for all of them, and the two options that are:
 * clipvalue and weight_decay. A new optimizer is one file with one struct optimizer_kind, and one
 * row here.
 */
#include "common/optim/optimizer.h"

#include "common/base/options.h"
#include "common/optim/kinds.h"
#include "common/tensor/dispatch.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum {
    /* clipped gradients of so many elements wait on the stack, in the L1 cache */
    PREPARE_ELEMENTS = 1024,
    LIST_BYTES = 256, /* names listed in a message */
};

static const struct optimizer_kind *const kinds[] = {
    &optimizer_adagrad,
    &optimizer_adam,
    &optimizer_sgd,
};
enum { KIND_COUNT = sizeof kinds / sizeof kinds[0] };

const struct optimizer_kind *const *optimizer_kinds(size_t *ret_count)
{
    *ret_count = KIND_COUNT;
    return kinds;
}

/* Writes "a, b, c", and "; did you mean b?" behind it if one of the names is near to the given one.
 */
static void list_names(const char *given, const char *const *names, size_t count,
                       char ret_text[LIST_BYTES])
{
    const char *meant = option_suggest(given, names, count);
    size_t used = 0;

    ret_text[0] = '\0';
    for (size_t i = 0; i < count && used < LIST_BYTES; i++)
        used += (size_t)snprintf(ret_text + used, LIST_BYTES - used, "%s%s", i ? ", " : "",
                                 names[i]);
    if (meant && used < LIST_BYTES)
        snprintf(ret_text + used, LIST_BYTES - used, "; did you mean %s?", meant);
}

static enum status find_kind(const char *name, const struct optimizer_kind **ret_kind,
                             struct error *err)
{
    const char *names[KIND_COUNT];
    char terminated[OPTIMIZER_NAME_BYTES + 1];
    char list[LIST_BYTES];

    for (size_t i = 0; i < KIND_COUNT; i++) {
        if (strcasecmp(name, kinds[i]->name) == 0) {
            *ret_kind = kinds[i];
            return STATUS_OK;
        }
        names[i] = kinds[i]->name;
    }
    snprintf(terminated, sizeof terminated, "%.*s", OPTIMIZER_NAME_BYTES, name);
    list_names(terminated, names, KIND_COUNT, list);
    return error_set(err, STATUS_NOT_FOUND, "no optimizer '%s'; there are: %s", terminated, list);
}

/* The place of an option in the kind's table; option_count if it has none of that name. */
static size_t option_index(const struct optimizer_kind *kind, const char *key)
{
    size_t i = 0;

    while (i < kind->option_count && strncmp(key, kind->options[i].key, OPTIMIZER_NAME_BYTES) != 0)
        i++;
    return i;
}

static enum status unknown_option(const struct optimizer_kind *kind, const char *key,
                                  struct error *err)
{
    const char *names[OPTIMIZER_OPTIONS_MAX];
    char terminated[OPTIMIZER_NAME_BYTES + 1];
    char list[LIST_BYTES];

    snprintf(terminated, sizeof terminated, "%.*s", OPTIMIZER_NAME_BYTES, key);
    for (size_t i = 0; i < kind->option_count; i++)
        names[i] = kind->options[i].key;
    list_names(terminated, names, kind->option_count, list);
    return error_set(err, STATUS_INVALID_ARGUMENT, "optimizer %s has no option '%s'; there are: %s",
                     kind->name, terminated, list);
}

static enum status set_options(struct optimizer *optimizer, const struct optimizer_option *options,
                               size_t option_count, struct error *err)
{
    const struct optimizer_kind *kind = optimizer->kind;
    bool given[OPTIMIZER_OPTIONS_MAX] = {false};

    for (size_t i = 0; i < kind->option_count; i++)
        optimizer->option[i] = kind->options[i].value;
    for (size_t i = 0; i < option_count; i++) {
        size_t index = option_index(kind, options[i].key);
        if (index == kind->option_count)
            return unknown_option(kind, options[i].key, err);
        if (given[index])
            return error_set(err, STATUS_INVALID_ARGUMENT, "optimizer %s: option %s is given twice",
                             kind->name, kind->options[index].key);
        given[index] = true;
        optimizer->option[index] = options[i].value;
    }
    return STATUS_OK;
}

static enum status check_common(const struct optimizer *optimizer, struct error *err)
{
    enum status status;

    /* A negative learning rate climbs; Keras allows it, and so it is not refused. */
    status = option_check_range(optimizer, OPTION_LEARNING_RATE, -INFINITY, INFINITY, err);
    if (status == STATUS_OK)
        status = option_check_range(optimizer, OPTION_WEIGHT_DECAY, 0.0, INFINITY, err);
    if (status == STATUS_OK)
        status = option_check_range(optimizer, OPTION_CLIPVALUE, 0.0, INFINITY, err);
    return status;
}

enum status optimizer_init(struct optimizer *ret_optimizer, const char *name,
                           const struct optimizer_option *options, size_t option_count,
                           struct error *err)
{
    struct optimizer optimizer = {0};
    enum status status = find_kind(name, &optimizer.kind, err);

    if (status == STATUS_OK)
        status = set_options(&optimizer, options, option_count, err);
    if (status == STATUS_OK)
        status = check_common(&optimizer, err);
    if (status == STATUS_OK)
        status = optimizer.kind->check(&optimizer, err);
    if (status == STATUS_OK)
        *ret_optimizer = optimizer;
    return status;
}

/* What is finite in double must be so in float32 too, where the arithmetic is. */
static bool is_float(double value)
{
    return isfinite(value) && isfinite((float)value);
}

enum status option_check_range(const struct optimizer *optimizer, size_t option, double low,
                               double high, struct error *err)
{
    double value = optimizer->option[option];
    const char *key = optimizer->kind->options[option].key;

    if (!is_float(value))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "optimizer %s: %s is %g, not a float32 number", optimizer->kind->name, key,
                         value);
    if (value >= low && value <= high)
        return STATUS_OK;
    if (isinf(high))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "optimizer %s: %s is %g; it must be %g or more", optimizer->kind->name,
                         key, value, low);
    return error_set(err, STATUS_INVALID_ARGUMENT, "optimizer %s: %s is %g; it must be in [%g, %g]",
                     optimizer->kind->name, key, value, low, high);
}

enum status option_check_below(const struct optimizer *optimizer, size_t option, double low,
                               double high, struct error *err)
{
    double value = optimizer->option[option];

    /* Rounded to float32 it must still be below, or a power of it is exactly `high` for ever. */
    if (value >= low && (float)value < (float)high)
        return STATUS_OK;
    return error_set(err, STATUS_INVALID_ARGUMENT, "optimizer %s: %s is %g; it must be in [%g, %g)",
                     optimizer->kind->name, optimizer->kind->options[option].key, value, low, high);
}

enum status option_check_boolean(const struct optimizer *optimizer, size_t option,
                                 struct error *err)
{
    double value = optimizer->option[option];

    if (value == 0.0 || value == 1.0)
        return STATUS_OK;
    return error_set(err, STATUS_INVALID_ARGUMENT, "optimizer %s: %s is %g; it must be 0 or 1",
                     optimizer->kind->name, optimizer->kind->options[option].key, value);
}

double optimizer_option_value(const struct optimizer *optimizer, const char *key)
{
    size_t index = option_index(optimizer->kind, key);

    assert(index < optimizer->kind->option_count);
    return optimizer->option[index];
}

size_t optimizer_slot_count(const struct optimizer *optimizer)
{
    return optimizer->kind->slot_count(optimizer);
}

const char *optimizer_slot_name(const struct optimizer *optimizer, size_t slot)
{
    assert(slot < optimizer_slot_count(optimizer));
    return optimizer->kind->slot_name(optimizer, slot);
}

float optimizer_slot_initial(const struct optimizer *optimizer, size_t slot)
{
    assert(slot < optimizer_slot_count(optimizer));
    return optimizer->kind->slot_initial(optimizer, slot);
}

void optimizer_begin_step(const struct optimizer *optimizer, uint64_t step, double learning_rate,
                          struct optimizer_scalars *ret_scalars)
{
    assert(step > 0);
    *ret_scalars = (struct optimizer_scalars){.learning_rate = (float)learning_rate};
    optimizer->kind->begin_step(optimizer, step, learning_rate, ret_scalars);
}

DISPATCH_BODY void clip_body(float *y, const float *x, float bound, size_t count)
{
    DISPATCH_LOOP
    for (size_t i = 0; i < count; i++) {
        float below = x[i] > bound ? bound : x[i];
        y[i] = below < -bound ? -bound : below; /* NaN stays NaN */
    }
}
DISPATCH_VARIANTS(clip, (float *y, const float *x, float bound, size_t count),
                  (y, x, bound, count));

DISPATCH_BODY void decay_body(float *y, const float *x, float decay, float lr, size_t count)
{
    DISPATCH_LOOP
    for (size_t i = 0; i < count; i++)
        y[i] = x[i] - (x[i] * decay) * lr;
}
DISPATCH_VARIANTS(decay, (float *y, const float *x, float decay, float lr, size_t count),
                  (y, x, decay, lr, count));

/* Clips and decays piece by piece before the rule sees the numbers, so that rules have no second
 * version of their loop. */
static void apply_prepared(const struct optimizer *optimizer,
                           const struct optimizer_scalars *scalars, const float *value_in,
                           float *value_out, float *const *slots, const float *grad, size_t count)
{
    float clipvalue = (float)optimizer->option[OPTION_CLIPVALUE];
    float weight_decay = (float)optimizer->option[OPTION_WEIGHT_DECAY];
    size_t slot_count = optimizer_slot_count(optimizer);
    enum kernels_width width = kernels_width();
    float clipped[PREPARE_ELEMENTS];

    for (size_t first = 0; first < count; first += PREPARE_ELEMENTS) {
        size_t piece = count - first < PREPARE_ELEMENTS ? count - first : PREPARE_ELEMENTS;
        const float *value = value_in + first, *gradient = grad + first;
        float *piece_slots[OPTIMIZER_SLOTS_MAX] = {NULL};

        for (size_t slot = 0; slot < slot_count; slot++)
            piece_slots[slot] = slots[slot] + first;
        if (clipvalue > 0.0f) {
            clip_by_width[width](clipped, gradient, clipvalue, piece);
            gradient = clipped;
        }
        if (weight_decay > 0.0f) {
            decay_by_width[width](value_out + first, value, weight_decay, scalars->learning_rate,
                                  piece);
            value = value_out + first;
        }
        optimizer->kind->apply(optimizer, scalars, value, value_out + first, piece_slots, gradient,
                               piece);
    }
}

void optimizer_apply(const struct optimizer *optimizer, const struct optimizer_scalars *scalars,
                     const float *value_in, float *value_out, float *const *slots,
                     const float *grad, size_t count)
{
    if (optimizer->option[OPTION_CLIPVALUE] > 0.0 || optimizer->option[OPTION_WEIGHT_DECAY] > 0.0)
        apply_prepared(optimizer, scalars, value_in, value_out, slots, grad, count);
    else
        optimizer->kind->apply(optimizer, scalars, value_in, value_out, slots, grad, count);
}
