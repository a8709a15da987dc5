/* Activations made of exp, log and erf. The frequent ones (sigmoid, tanh, silu) vectorise; the
 * others call libm. */
#include "worker/nn/activation_loop.h"
#include "worker/nn/exponential.h"

#include <math.h>

#define UNUSED __attribute__((unused))

/* sigmoid */

static inline float sigmoid_value(UNUSED const float *parameter, float x)
{
    return 1.0f / (1.0f + exponential(-x));
}

static inline float sigmoid_grad(UNUSED const float *parameter, UNUSED float x, float y,
                                 float y_grad)
{
    return y_grad * y * (1.0f - y);
}

ACTIVATION_ROW(sigmoid, .needs_input = false, .gives_logits = true);

/*
 * tanh: 1 - 2 / (exp(2 |x|) + 1), and near 0, where that cancels, the odd polynomial of tanhf in
 * the Cephes library (S. Moshier, https://www.netlib.org/cephes/).
 */

static inline float tanh_value(UNUSED const float *parameter, float x)
{
    float size = fabsf(x), z = x * x;
    float p = -5.70498872745e-3f;
    p = p * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    float near_zero = p * z * x + x;
    float far = 1.0f - 2.0f / (exponential(2.0f * size) + 1.0f);
    far = copysignf(far, x);
    return size < 0.625f ? near_zero : far;
}

static inline float tanh_grad(UNUSED const float *parameter, UNUSED float x, float y, float y_grad)
{
    return y_grad * (1.0f - y * y);
}

ACTIVATION_ROW(tanh, .needs_input = false);

/* tanh_shrink, x - tanh(x) */

static inline float tanh_shrink_value(UNUSED const float *parameter, float x)
{
    return x - tanh_value(parameter, x);
}

static inline float tanh_shrink_grad(UNUSED const float *parameter, float x, UNUSED float y,
                                     float y_grad)
{
    float t = tanh_value(parameter, x);
    return y_grad * (t * t);
}

ACTIVATION_ROW(tanh_shrink, .needs_input = true);

/* silu, x * sigmoid(x) */

static inline float silu_value(UNUSED const float *parameter, float x)
{
    return x * sigmoid_value(parameter, x);
}

static inline float silu_grad(UNUSED const float *parameter, float x, UNUSED float y, float y_grad)
{
    float s = sigmoid_value(parameter, x);
    return y_grad * (s * (1.0f + x * (1.0f - s)));
}

ACTIVATION_ROW(silu, .needs_input = true);

/* exponential */

static inline float exponential_value(UNUSED const float *parameter, float x)
{
    return exponential(x);
}

static inline float exponential_grad(UNUSED const float *parameter, UNUSED float x, float y,
                                     float y_grad)
{
    return y_grad * y;
}

ACTIVATION_ROW(exponential, .needs_input = false);

/* softplus, log(1 + exp(x)) */

static inline float softplus_value(UNUSED const float *parameter, float x)
{
    return (x > 0 ? x : 0) + log1pf(exponential(-fabsf(x)));
}

static inline float softplus_grad(UNUSED const float *parameter, float x, UNUSED float y,
                                  float y_grad)
{
    return y_grad * sigmoid_value(parameter, x);
}

ACTIVATION_LIBM_ROW(softplus, .needs_input = true);

/* log_sigmoid, -softplus(-x) */

static inline float log_sigmoid_value(UNUSED const float *parameter, float x)
{
    return -softplus_value(parameter, -x);
}

static inline float log_sigmoid_grad(UNUSED const float *parameter, float x, UNUSED float y,
                                     float y_grad)
{
    return y_grad * sigmoid_value(parameter, -x);
}

ACTIVATION_LIBM_ROW(log_sigmoid, .needs_input = true);

/* softsign, x / (1 + |x|) */

static inline float softsign_value(UNUSED const float *parameter, float x)
{
    return x / (1.0f + fabsf(x));
}

static inline float softsign_grad(UNUSED const float *parameter, float x, UNUSED float y,
                                  float y_grad)
{
    float d = 1.0f + fabsf(x);
    return y_grad / (d * d);
}

ACTIVATION_ROW(softsign, .needs_input = true);

/* squareplus with b = 4, (x + sqrt(x^2 + 4)) / 2 */

static inline float squareplus_value(UNUSED const float *parameter, float x)
{
    return 0.5f * (x + sqrtf(x * x + 4.0f));
}

static inline float squareplus_grad(UNUSED const float *parameter, float x, UNUSED float y,
                                    float y_grad)
{
    return y_grad * (0.5f * (1.0f + x / sqrtf(x * x + 4.0f)));
}

ACTIVATION_ROW(squareplus, .needs_input = true);

/* gelu, exact: x / 2 (1 + erf(x / sqrt 2)) */

static inline float gelu_value(UNUSED const float *parameter, float x)
{
    return 0.5f * x * (1.0f + erff(x * 0.70710678f));
}

static inline float gelu_grad(UNUSED const float *parameter, float x, UNUSED float y, float y_grad)
{
    float density = 0.39894228f * exponential(-0.5f * x * x);
    return y_grad * (0.5f * (1.0f + erff(x * 0.70710678f)) + x * density);
}

ACTIVATION_LIBM_ROW(gelu, .needs_input = true);

/* mish, x * tanh(softplus(x)) */

static inline float mish_value(UNUSED const float *parameter, float x)
{
    return x * tanh_value(parameter, softplus_value(parameter, x));
}

static inline float mish_grad(UNUSED const float *parameter, float x, UNUSED float y, float y_grad)
{
    float t = tanh_value(parameter, softplus_value(parameter, x));
    return y_grad * (t + x * (1.0f - t * t) * sigmoid_value(parameter, x));
}

ACTIVATION_LIBM_ROW(mish, .needs_input = true);

/* elu, alpha (exp(x) - 1) below 0; alpha at 0. */

static inline float elu_value(const float *parameter, float x)
{
    return x > 0 ? x : parameter[0] * expm1f(x);
}

static inline float elu_grad(const float *parameter, float x, float y, float y_grad)
{
    return x > 0 ? y_grad : y_grad * (y + parameter[0]);
}

ACTIVATION_LIBM_ROW(elu, .needs_input = true);

/* selu, scale * elu with the alpha that keeps mean 0 and deviation 1 (Klambauer et al. 2017); scale
 * at 0. */

static const float selu_scale = 1.05070098f, selu_scale_alpha = 1.75809934f;

static inline float selu_value(UNUSED const float *parameter, float x)
{
    return x < 0 ? selu_scale_alpha * expm1f(x) : selu_scale * x;
}

static inline float selu_grad(UNUSED const float *parameter, UNUSED float x, float y, float y_grad)
{
    return y < 0 ? y_grad * (y + selu_scale_alpha) : y_grad * selu_scale;
}

ACTIVATION_LIBM_ROW(selu, .needs_input = false);

/* celu, max(x, 0) + exp(min(x, 0)) - 1; at 0 both parts pass the gradient, which makes 2. */

static inline float celu_value(UNUSED const float *parameter, float x)
{
    return x > 0 ? x : expm1f(x);
}

static inline float celu_grad(UNUSED const float *parameter, float x, float y, float y_grad)
{
    float upper = x >= 0 ? y_grad : 0;
    float lower = x <= 0 ? y_grad * (y + 1.0f) : 0;
    return upper + lower;
}

ACTIVATION_LIBM_ROW(celu, .needs_input = true);
