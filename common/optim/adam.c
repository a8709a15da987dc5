/*
 * Adam, the order of Keras 3's operations (which folds both bias corrections into one factor of the
 * step):
 *
 *     alpha = (lr * sqrt(1 - beta_2^t)) / (1 - beta_1^t)
 *     m = m + (g - m) * (1 - beta_1)
 *     v = v + (g * g - v) * (1 - beta_2)
 *     amsgrad: h = max(h, v), and h stands for v below
 *     w = w - (m * alpha) / (sqrt(v) + epsilon)
 *
 * Source: Kingma & Ba 2015, section 2, https://arxiv.org/abs/1412.6980; amsgrad: Reddi, Kale &
 * Kumar 2018, https://openreview.net/forum?id=ryQu7f-RZ
 */
#include "common/optim/kinds.h"
#include "common/tensor/dispatch.h"

#include <math.h>

enum {
    OPTION_BETA_1 = OPTION_COMMON_COUNT,
    OPTION_BETA_2,
    OPTION_EPSILON,
    OPTION_AMSGRAD,
    OPTION_COUNT
};
enum { SCALAR_ALPHA, SCALAR_ONE_MINUS_BETA_1, SCALAR_ONE_MINUS_BETA_2, SCALAR_EPSILON };
enum { SLOT_MOMENTUM, SLOT_VELOCITY, SLOT_VELOCITY_HAT };

static const struct optimizer_option options[OPTION_COUNT] = {
    OPTIONS_COMMON(0.001), {"beta_1", 0.9}, {"beta_2", 0.999}, {"epsilon", 1e-7}, {"amsgrad", 0},
};

static enum status check(const struct optimizer *optimizer, struct error *err)
{
    enum status status;

    /* With a beta of 1 the bias correction divides by 0 in the first step. */
    status = option_check_below(optimizer, OPTION_BETA_1, 0.0, 1.0, err);
    if (status == STATUS_OK)
        status = option_check_below(optimizer, OPTION_BETA_2, 0.0, 1.0, err);
    if (status == STATUS_OK)
        status = option_check_range(optimizer, OPTION_EPSILON, 0.0, INFINITY, err);
    if (status == STATUS_OK)
        status = option_check_boolean(optimizer, OPTION_AMSGRAD, err);
    return status;
}

static size_t slot_count(const struct optimizer *optimizer)
{
    return optimizer->option[OPTION_AMSGRAD] != 0.0 ? 3 : 2;
}

static const char *slot_name(const struct optimizer *optimizer, size_t slot)
{
    static const char *const names[] = {
        [SLOT_MOMENTUM] = "momentum",
        [SLOT_VELOCITY] = "velocity",
        [SLOT_VELOCITY_HAT] = "velocity_hat",
    };

    (void)optimizer;
    return names[slot];
}

static float slot_initial(const struct optimizer *optimizer, size_t slot)
{
    (void)optimizer;
    (void)slot;
    return 0.0f;
}

/* The differences 1 - beta are taken in double and rounded once; those with powers are float32, as
 * in Keras. */
static void begin_step(const struct optimizer *optimizer, uint64_t step, double learning_rate,
                       struct optimizer_scalars *ret_scalars)
{
    double beta_1 = optimizer->option[OPTION_BETA_1];
    double beta_2 = optimizer->option[OPTION_BETA_2];
    float power_1 = powf((float)beta_1, (float)step);
    float power_2 = powf((float)beta_2, (float)step);
    float lr = (float)learning_rate;

    ret_scalars->value[SCALAR_ALPHA] = (lr * sqrtf(1.0f - power_2)) / (1.0f - power_1);
    ret_scalars->value[SCALAR_ONE_MINUS_BETA_1] = (float)(1.0 - beta_1);
    ret_scalars->value[SCALAR_ONE_MINUS_BETA_2] = (float)(1.0 - beta_2);
    ret_scalars->value[SCALAR_EPSILON] = (float)optimizer->option[OPTION_EPSILON];
}

DISPATCH_BODY void adam_body(const float *value_in, float *value_out, float *momentum,
                             float *velocity, const float *grad, const float *scalars, size_t count)
{
    float alpha = scalars[SCALAR_ALPHA], epsilon = scalars[SCALAR_EPSILON];
    float rest_1 = scalars[SCALAR_ONE_MINUS_BETA_1], rest_2 = scalars[SCALAR_ONE_MINUS_BETA_2];

    DISPATCH_LOOP
    for (size_t i = 0; i < count; i++) {
        float g = grad[i];
        float m = momentum[i] + (g - momentum[i]) * rest_1;
        float v = velocity[i] + (g * g - velocity[i]) * rest_2;
        momentum[i] = m;
        velocity[i] = v;
        value_out[i] = value_in[i] - (m * alpha) / (sqrtf(v) + epsilon);
    }
}
DISPATCH_VARIANTS(adam,
                  (const float *value_in, float *value_out, float *momentum, float *velocity,
                   const float *grad, const float *scalars, size_t count),
                  (value_in, value_out, momentum, velocity, grad, scalars, count));

DISPATCH_BODY void amsgrad_body(const float *value_in, float *value_out, float *momentum,
                                float *velocity, float *velocity_hat, const float *grad,
                                const float *scalars, size_t count)
{
    float alpha = scalars[SCALAR_ALPHA], epsilon = scalars[SCALAR_EPSILON];
    float rest_1 = scalars[SCALAR_ONE_MINUS_BETA_1], rest_2 = scalars[SCALAR_ONE_MINUS_BETA_2];

    DISPATCH_LOOP
    for (size_t i = 0; i < count; i++) {
        float g = grad[i];
        float m = momentum[i] + (g - momentum[i]) * rest_1;
        float v = velocity[i] + (g * g - velocity[i]) * rest_2;
        float h = velocity_hat[i];
        /* TensorFlow's maximum: NaN if either one is. */
        h = !(v <= h) && h == h ? v : h;
        momentum[i] = m;
        velocity[i] = v;
        velocity_hat[i] = h;
        value_out[i] = value_in[i] - (m * alpha) / (sqrtf(h) + epsilon);
    }
}
DISPATCH_VARIANTS(amsgrad,
                  (const float *value_in, float *value_out, float *momentum, float *velocity,
                   float *velocity_hat, const float *grad, const float *scalars, size_t count),
                  (value_in, value_out, momentum, velocity, velocity_hat, grad, scalars, count));

static void apply(const struct optimizer *optimizer, const struct optimizer_scalars *scalars,
                  const float *value_in, float *value_out, float *const *slots, const float *grad,
                  size_t count)
{
    enum kernels_width width = kernels_width();

    if (optimizer->option[OPTION_AMSGRAD] != 0.0)
        amsgrad_by_width[width](value_in, value_out, slots[SLOT_MOMENTUM], slots[SLOT_VELOCITY],
                                slots[SLOT_VELOCITY_HAT], grad, scalars->value, count);
    else
        adam_by_width[width](value_in, value_out, slots[SLOT_MOMENTUM], slots[SLOT_VELOCITY], grad,
                             scalars->value, count);
}

const struct optimizer_kind optimizer_adam = {
    .name = "adam",
    .options = options,
    .option_count = OPTION_COUNT,
    .check = check,
    .slot_count = slot_count,
    .slot_name = slot_name,
    .slot_initial = slot_initial,
    .begin_step = begin_step,
    .apply = apply,
};
