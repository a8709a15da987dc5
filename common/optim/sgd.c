/*
 * Stochastic gradient descent, with momentum and Nesterov's variant of it, in the order of Keras
 * 3's operations:
 *
 *     momentum 0    w = w - g * lr
 *     else          m = m * momentum - g * lr;  w = w + m
 *     Nesterov      m the same;                 w = w + (m * momentum - g * lr), with the new m
 */
#include "common/optim/kinds.h"
#include "common/tensor/dispatch.h"

#include <math.h>

enum { OPTION_MOMENTUM = OPTION_COMMON_COUNT, OPTION_NESTEROV, OPTION_COUNT };
enum { SCALAR_MOMENTUM };

static const struct optimizer_option options[OPTION_COUNT] = {
    OPTIONS_COMMON(0.01),
    {"momentum", 0.0},
    {"nesterov", 0},
};

static enum status check(const struct optimizer *optimizer, struct error *err)
{
    enum status status = option_check_range(optimizer, OPTION_MOMENTUM, 0.0, 1.0, err);

    return status != STATUS_OK ? status : option_check_boolean(optimizer, OPTION_NESTEROV, err);
}

static size_t slot_count(const struct optimizer *optimizer)
{
    return optimizer->option[OPTION_MOMENTUM] != 0.0 ? 1 : 0;
}

static const char *slot_name(const struct optimizer *optimizer, size_t slot)
{
    (void)optimizer;
    (void)slot;
    return "momentum";
}

static float slot_initial(const struct optimizer *optimizer, size_t slot)
{
    (void)optimizer;
    (void)slot;
    return 0.0f;
}

static void begin_step(const struct optimizer *optimizer, uint64_t step, double learning_rate,
                       struct optimizer_scalars *ret_scalars)
{
    (void)step;
    (void)learning_rate;
    ret_scalars->value[SCALAR_MOMENTUM] = (float)optimizer->option[OPTION_MOMENTUM];
}

DISPATCH_BODY void plain_body(const float *value_in, float *value_out, const float *grad, float lr,
                              size_t count)
{
    DISPATCH_LOOP
    for (size_t i = 0; i < count; i++)
        value_out[i] = value_in[i] - grad[i] * lr;
}
DISPATCH_VARIANTS(plain,
                  (const float *value_in, float *value_out, const float *grad, float lr,
                   size_t count),
                  (value_in, value_out, grad, lr, count));

DISPATCH_BODY void momentum_body(const float *value_in, float *value_out, float *slot,
                                 const float *grad, float lr, float momentum, size_t count)
{
    DISPATCH_LOOP
    for (size_t i = 0; i < count; i++) {
        float m = slot[i] * momentum - grad[i] * lr;
        slot[i] = m;
        value_out[i] = value_in[i] + m;
    }
}
DISPATCH_VARIANTS(momentum,
                  (const float *value_in, float *value_out, float *slot, const float *grad,
                   float lr, float momentum, size_t count),
                  (value_in, value_out, slot, grad, lr, momentum, count));

DISPATCH_BODY void nesterov_body(const float *value_in, float *value_out, float *slot,
                                 const float *grad, float lr, float momentum, size_t count)
{
    DISPATCH_LOOP
    for (size_t i = 0; i < count; i++) {
        float step = grad[i] * lr;
        float m = slot[i] * momentum - step;
        slot[i] = m;
        value_out[i] = value_in[i] + (m * momentum - step);
    }
}
DISPATCH_VARIANTS(nesterov,
                  (const float *value_in, float *value_out, float *slot, const float *grad,
                   float lr, float momentum, size_t count),
                  (value_in, value_out, slot, grad, lr, momentum, count));

static void apply(const struct optimizer *optimizer, const struct optimizer_scalars *scalars,
                  const float *value_in, float *value_out, float *const *slots, const float *grad,
                  size_t count)
{
    enum kernels_width width = kernels_width();
    float lr = scalars->learning_rate;
    float momentum = scalars->value[SCALAR_MOMENTUM];

    if (slot_count(optimizer) == 0)
        plain_by_width[width](value_in, value_out, grad, lr, count);
    else if (optimizer->option[OPTION_NESTEROV] != 0.0)
        nesterov_by_width[width](value_in, value_out, slots[0], grad, lr, momentum, count);
    else
        momentum_by_width[width](value_in, value_out, slots[0], grad, lr, momentum, count);
}

const struct optimizer_kind optimizer_sgd = {
    .name = "sgd",
    .options = options,
    .option_count = OPTION_COUNT,
    .check = check,
    .slot_count = slot_count,
    .slot_name = slot_name,
    .slot_initial = slot_initial,
    .begin_step = begin_step,
    .apply = apply,
};
