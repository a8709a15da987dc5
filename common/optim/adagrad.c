/*
 * Adagrad: steps shrink with the sum of squared gradients of each element. The order of Keras 3's
 * operations:
 *
 *     a = a + g * g;  w = w - (lr * g) / sqrt(a + epsilon)
 *
 * Source: Duchi, Hazan & Singer 2011, https://jmlr.org/papers/v12/duchi11a.html
 */
#include "common/optim/kinds.h"
#include "common/tensor/dispatch.h"

#include <math.h>

enum { OPTION_INITIAL_ACCUMULATOR_VALUE = OPTION_COMMON_COUNT, OPTION_EPSILON, OPTION_COUNT };
enum { SCALAR_EPSILON };

static const struct optimizer_option options[OPTION_COUNT] = {
    OPTIONS_COMMON(0.001),
    {"initial_accumulator_value", 0.1},
    {"epsilon", 1e-7},
};

static enum status check(const struct optimizer *optimizer, struct error *err)
{
    enum status status = option_check_range(optimizer, OPTION_INITIAL_ACCUMULATOR_VALUE, 0.0,
                                            INFINITY, err);

    return status != STATUS_OK ? status
                               : option_check_range(optimizer, OPTION_EPSILON, 0.0, INFINITY, err);
}

static size_t slot_count(const struct optimizer *optimizer)
{
    (void)optimizer;
    return 1;
}

static const char *slot_name(const struct optimizer *optimizer, size_t slot)
{
    (void)optimizer;
    (void)slot;
    return "accumulator";
}

static float slot_initial(const struct optimizer *optimizer, size_t slot)
{
    (void)slot;
    return (float)optimizer->option[OPTION_INITIAL_ACCUMULATOR_VALUE];
}

static void begin_step(const struct optimizer *optimizer, uint64_t step, double learning_rate,
                       struct optimizer_scalars *ret_scalars)
{
    (void)step;
    (void)learning_rate;
    ret_scalars->value[SCALAR_EPSILON] = (float)optimizer->option[OPTION_EPSILON];
}

DISPATCH_BODY void adagrad_body(const float *value_in, float *value_out, float *accumulator,
                                const float *grad, float lr, float epsilon, size_t count)
{
    DISPATCH_LOOP
    for (size_t i = 0; i < count; i++) {
        float g = grad[i];
        float a = accumulator[i] + g * g;
        accumulator[i] = a;
        value_out[i] = value_in[i] - (lr * g) / sqrtf(a + epsilon);
    }
}
DISPATCH_VARIANTS(adagrad,
                  (const float *value_in, float *value_out, float *accumulator, const float *grad,
                   float lr, float epsilon, size_t count),
                  (value_in, value_out, accumulator, grad, lr, epsilon, count));

static void apply(const struct optimizer *optimizer, const struct optimizer_scalars *scalars,
                  const float *value_in, float *value_out, float *const *slots, const float *grad,
                  size_t count)
{
    (void)optimizer;
    adagrad_by_width[kernels_width()](value_in, value_out, slots[0], grad, scalars->learning_rate,
                                      scalars->value[SCALAR_EPSILON], count);
}

const struct optimizer_kind optimizer_adagrad = {
    .name = "adagrad",
    .options = options,
    .option_count = OPTION_COUNT,
    .check = check,
    .slot_count = slot_count,
    .slot_name = slot_name,
    .slot_initial = slot_initial,
    .begin_step = begin_step,
    .apply = apply,
};
