/*
 * Categorical cross-entropy over the last axis, y being one distribution a row. From probabilities:
 * p divided by its sum, clipped, -sum(y log p). From logits: sum(y (log(sum(exp(x))) - x)),
 * everything less the largest x.
 */
#include "worker/nn/loss.h"
#include "worker/nn/probability.h"

#include <math.h>

/* Label smoothing s over k classes: y (1 - s) + s / k. */
static float smooth(const struct loss *loss, float y, size_t cols)
{
    float s = loss->label_smoothing;
    return s != 0 ? y * (1.0f - s) + s / (float)cols : y;
}

/* Returns the largest of the row; *ret_sum is the sum of exp(x - largest). */
static float row_exponentials(const float *x, size_t cols, float *ret_sum)
{
    float max = x[0], sum = 0;
    for (size_t i = 1; i < cols; i++)
        max = x[i] > max ? x[i] : max;
    for (size_t i = 0; i < cols; i++)
        sum += expf(x[i] - max);
    *ret_sum = sum;
    return max;
}

static float value_from_logits(const struct loss *loss, const float *y, const float *x, size_t cols)
{
    float sum, max = row_exponentials(x, cols, &sum), value = 0, log_sum = logf(sum);
    for (size_t i = 0; i < cols; i++)
        value += smooth(loss, y[i], cols) * (log_sum - (x[i] - max));
    return value;
}

static float row_sum(const float *p, size_t cols)
{
    float sum = 0;
    for (size_t i = 0; i < cols; i++)
        sum += p[i];
    return sum;
}

static float value_from_probabilities(const struct loss *loss, const float *y, const float *p,
                                      size_t cols)
{
    float sum = row_sum(p, cols), value = 0;
    for (size_t i = 0; i < cols; i++)
        value -= smooth(loss, y[i], cols) * logf(probability_clip(p[i] / sum));
    return value;
}

static void categorical_crossentropy_values(const struct loss *loss, bool from_logits,
                                            const float *y, const float *p, size_t rows,
                                            size_t cols, float *ret_values)
{
    for (size_t r = 0; r < rows; r++, y += cols, p += cols)
        ret_values[r] = from_logits ? value_from_logits(loss, y, p, cols)
                                    : value_from_probabilities(loss, y, p, cols);
}

/* softmax(x) - y, as TensorFlow's kernel has it, which takes for granted that y sums to 1. */
static void gradient_from_logits(const struct loss *loss, const float *y, const float *x,
                                 float upstream, size_t cols, float *ret_grad)
{
    float sum, max = row_exponentials(x, cols, &sum);
    for (size_t i = 0; i < cols; i++)
        ret_grad[i] = upstream * (expf(x[i] - max) / sum - smooth(loss, y[i], cols));
}

/* With q = p / sum: dq_i / dp_j = ((i == j) - q_i) / sum, and d / dq_i = -y_i / q_i inside the
 * clip. */
static void gradient_from_probabilities(const struct loss *loss, const float *y, const float *p,
                                        float upstream, size_t cols, float *ret_grad)
{
    float sum = row_sum(p, cols), dot = 0;
    for (size_t i = 0; i < cols; i++) {
        float q = p[i] / sum;
        ret_grad[i] = probability_inside(q) ? -smooth(loss, y[i], cols) / q : 0;
        dot += ret_grad[i] * q;
    }
    for (size_t i = 0; i < cols; i++)
        ret_grad[i] = upstream * ((ret_grad[i] - dot) / sum);
}

static void categorical_crossentropy_gradient(const struct loss *loss, bool from_logits,
                                              const float *y, const float *p, const float *upstream,
                                              size_t rows, size_t cols, float *ret_grad)
{
    for (size_t r = 0; r < rows; r++, y += cols, p += cols, ret_grad += cols) {
        if (from_logits)
            gradient_from_logits(loss, y, p, upstream[r], cols, ret_grad);
        else
            gradient_from_probabilities(loss, y, p, upstream[r], cols, ret_grad);
    }
}

const struct loss_kind loss_categorical_crossentropy = {
    .name = "categorical_crossentropy",
    .class_name = "CategoricalCrossentropy",
    .same_shape = true,
    .uses_logits = true,
    .smooths = true,
    .values = categorical_crossentropy_values,
    .gradient = categorical_crossentropy_gradient,
};
