/*
 * Binary cross-entropy, mean over the last axis. From probabilities: -(y log p + (1 - y) log(1 -
 * p)), p clipped. From logits: max(x, 0) - x y + log(1 + exp(-|x|)), which neither overflows nor
 * clips.
 */
#include "worker/nn/loss.h"
#include "worker/nn/probability.h"

#include <math.h>

/* Label smoothing s: y (1 - s) + s / 2. */
static float smooth(const struct loss *loss, float y)
{
    float s = loss->label_smoothing;
    return s != 0 ? y * (1.0f - s) + 0.5f * s : y;
}

static float from_probability(float y, float p)
{
    float q = probability_clip(p);
    return -(y * logf(q) + (1.0f - y) * logf(1.0f - q));
}

static float from_logit(float y, float x)
{
    return (x > 0 ? x : 0) - x * y + log1pf(expf(-fabsf(x)));
}

static void binary_crossentropy_values(const struct loss *loss, bool from_logits, const float *y,
                                       const float *p, size_t rows, size_t cols, float *ret_values)
{
    for (size_t r = 0; r < rows; r++, y += cols, p += cols) {
        float sum = 0;
        for (size_t i = 0; i < cols; i++) {
            float target = smooth(loss, y[i]);
            sum += from_logits ? from_logit(target, p[i]) : from_probability(target, p[i]);
        }
        ret_values[r] = sum / (float)cols;
    }
}

static float probability_slope(float y, float p)
{
    return probability_inside(p) ? (1.0f - y) / (1.0f - p) - y / p : 0;
}

static float logit_slope(float y, float x)
{
    return 1.0f / (1.0f + expf(-x)) - y;
}

static void binary_crossentropy_gradient(const struct loss *loss, bool from_logits, const float *y,
                                         const float *p, const float *upstream, size_t rows,
                                         size_t cols, float *ret_grad)
{
    for (size_t r = 0; r < rows; r++, y += cols, p += cols, ret_grad += cols) {
        float scale = upstream[r] / (float)cols;
        for (size_t i = 0; i < cols; i++) {
            float target = smooth(loss, y[i]);
            ret_grad[i] = scale * (from_logits ? logit_slope(target, p[i])
                                               : probability_slope(target, p[i]));
        }
    }
}

const struct loss_kind loss_binary_crossentropy = {
    .name = "binary_crossentropy",
    .class_name = "BinaryCrossentropy",
    .alias = "bce",
    .same_shape = true,
    .uses_logits = true,
    .smooths = true,
    .values = binary_crossentropy_values,
    .gradient = binary_crossentropy_gradient,
};
