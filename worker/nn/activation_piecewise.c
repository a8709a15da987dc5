/* Activations made of pieces of lines and parabolas. At the corners the gradients are TensorFlow's,
 * said at each. */
#include "worker/nn/activation_loop.h"

#include <math.h>

#define UNUSED __attribute__((unused))

/* linear */

static inline float linear_value(UNUSED const float *parameter, float x)
{
    return x;
}

static inline float linear_grad(UNUSED const float *parameter, UNUSED float x, UNUSED float y,
                                float y_grad)
{
    return y_grad;
}

ACTIVATION_ROW(linear, .needs_input = false);

/* relu: 0 at 0; a NaN stays one. The fast case; relu_bounded has the parameters. */

static inline float relu_value(UNUSED const float *parameter, float x)
{
    return x <= 0 ? 0 : x;
}

static inline float relu_grad(UNUSED const float *parameter, UNUSED float x, float y, float y_grad)
{
    return y <= 0 ? 0 : y_grad;
}

ACTIVATION_ROW(relu, .needs_input = false);

/*
 * relu with a maximum (NaN: none), a slope below the threshold and a threshold, put together as
 * Keras does it: so at 0 the gradient is 0 even with a slope if there is a maximum, and the maximum
 * itself passes it, except for 6.
 */

static inline float relu_bounded_value(const float *parameter, float x)
{
    float max = parameter[0], slope = parameter[1], threshold = parameter[2];
    float above = x <= threshold ? 0 : x;
    above = max == max && above > max ? max : above;
    above = max == max && above < 0 ? 0 : above;
    float below = threshold - x;
    return above - slope * (below > 0 ? below : 0);
}

static inline float relu_bounded_grad(const float *parameter, float x, UNUSED float y, float y_grad)
{
    float max = parameter[0], slope = parameter[1], threshold = parameter[2];
    float closed = max == 6 && threshold == 0 ? 0 : 1;
    float passes = x > threshold ? 1 : 0;
    passes = max == max && (x > max || (x == max && closed == 0) || x < 0) ? 0 : passes;
    float below = x < threshold || (max != max && threshold == 0 && x == 0) ? slope : 0;
    return y_grad * (passes + below);
}

ACTIVATION_ROW(relu_bounded, .needs_input = true);

/* relu6: 0 at both ends. */

static inline float relu6_value(UNUSED const float *parameter, float x)
{
    float above = x <= 0 ? 0 : x;
    return above > 6 ? 6 : above;
}

static inline float relu6_grad(UNUSED const float *parameter, UNUSED float x, float y, float y_grad)
{
    return y > 0 && y < 6 ? y_grad : 0;
}

ACTIVATION_ROW(relu6, .needs_input = false);

/* leaky_relu: the slope at 0. */

static inline float leaky_relu_value(const float *parameter, float x)
{
    return x > 0 ? x : parameter[0] * x;
}

static inline float leaky_relu_grad(const float *parameter, float x, UNUSED float y, float y_grad)
{
    return x > 0 ? y_grad : parameter[0] * y_grad;
}

ACTIVATION_ROW(leaky_relu, .needs_input = true);

/* hard_sigmoid, relu6(x + 3) / 6: 0 at both ends. */

static inline float hard_sigmoid_value(UNUSED const float *parameter, float x)
{
    return relu6_value(parameter, x + 3) / 6;
}

static inline float hard_sigmoid_grad(UNUSED const float *parameter, UNUSED float x, float y,
                                      float y_grad)
{
    return y > 0 && y < 1 ? y_grad / 6 : 0;
}

ACTIVATION_ROW(hard_sigmoid, .needs_input = false);

/* hard_silu, x * hard_sigmoid(x). */

static inline float hard_silu_value(UNUSED const float *parameter, float x)
{
    return x * hard_sigmoid_value(parameter, x);
}

static inline float hard_silu_grad(UNUSED const float *parameter, float x, UNUSED float y,
                                   float y_grad)
{
    float gate = hard_sigmoid_value(parameter, x);
    float slope = gate > 0 && gate < 1 ? x / 6 : 0;
    return y_grad * (gate + slope);
}

ACTIVATION_ROW(hard_silu, .needs_input = true);

/* hard_tanh, a clip to -1 .. 1: the gradient passes at both ends. */

static inline float hard_tanh_value(UNUSED const float *parameter, float x)
{
    float above = x < -1 ? -1 : x;
    return above > 1 ? 1 : above;
}

static inline float hard_tanh_grad(UNUSED const float *parameter, float x, UNUSED float y,
                                   float y_grad)
{
    return x >= -1 && x <= 1 ? y_grad : 0;
}

ACTIVATION_ROW(hard_tanh, .needs_input = true);

/* hard_shrink and soft_shrink with threshold 0.5: 0 at both ends. */

static inline float hard_shrink_value(UNUSED const float *parameter, float x)
{
    return fabsf(x) <= 0.5f ? 0 : x;
}

static inline float hard_shrink_grad(UNUSED const float *parameter, float x, UNUSED float y,
                                     float y_grad)
{
    return fabsf(x) > 0.5f ? y_grad : 0;
}

ACTIVATION_ROW(hard_shrink, .needs_input = true);

static inline float soft_shrink_value(UNUSED const float *parameter, float x)
{
    float shrunk = x > 0 ? x - 0.5f : x + 0.5f;
    return fabsf(x) <= 0.5f ? 0 : shrunk;
}

static inline float soft_shrink_grad(UNUSED const float *parameter, float x, UNUSED float y,
                                     float y_grad)
{
    return fabsf(x) > 0.5f ? y_grad : 0;
}

ACTIVATION_ROW(soft_shrink, .needs_input = true);

/* sparse_plus: 0 up to -1, (x + 1)^2 / 4, x from 1 on. */

static inline float sparse_plus_value(UNUSED const float *parameter, float x)
{
    float parabola = 0.25f * (x + 1) * (x + 1);
    float upper = x < 1 ? parabola : x;
    return x <= -1 ? 0 : upper;
}

static inline float sparse_plus_grad(UNUSED const float *parameter, float x, UNUSED float y,
                                     float y_grad)
{
    float slope = x < 1 ? 0.5f * (x + 1) : 1;
    return y_grad * (x <= -1 ? 0 : slope);
}

ACTIVATION_ROW(sparse_plus, .needs_input = true);

/* sparse_sigmoid: 0 up to -1, (x + 1) / 2, 1 from 1 on; gradient 0 at both ends. */

static inline float sparse_sigmoid_value(UNUSED const float *parameter, float x)
{
    float upper = x >= 1 ? 1 : 0.5f * (x + 1);
    return x <= -1 ? 0 : upper;
}

static inline float sparse_sigmoid_grad(UNUSED const float *parameter, float x, UNUSED float y,
                                        float y_grad)
{
    return x > -1 && x < 1 ? 0.5f * y_grad : 0;
}

ACTIVATION_ROW(sparse_sigmoid, .needs_input = true);
