/*
 * Categorical cross-entropy with one class number a row. From logits: log(sum(exp(x))) - x_y,
 * everything less the largest x. From probabilities: the same with x = log(p), p clipped; so what
 * does not sum to 1 is normalised.
 */
#include "worker/nn/loss.h"
#include "worker/nn/probability.h"

#include <math.h>

static bool is_ignored(const struct loss *loss, float label)
{
    return loss->has_ignored_class && label == (float)loss->ignored_class;
}

static float value_from_logits(const float *x, size_t label, size_t cols)
{
    float max = x[0], sum = 0;
    for (size_t i = 1; i < cols; i++)
        max = x[i] > max ? x[i] : max;
    for (size_t i = 0; i < cols; i++)
        sum += expf(x[i] - max);
    return logf(sum) - (x[label] - max);
}

static float clipped_sum(const float *p, size_t cols)
{
    float sum = 0;
    for (size_t i = 0; i < cols; i++)
        sum += probability_clip(p[i]);
    return sum;
}

static void sparse_values(const struct loss *loss, bool from_logits, const float *y, const float *p,
                          size_t rows, size_t cols, float *ret_values)
{
    for (size_t r = 0; r < rows; r++, p += cols) {
        if (is_ignored(loss, y[r]))
            ret_values[r] = 0;
        else if (from_logits)
            ret_values[r] = value_from_logits(p, (size_t)y[r], cols);
        else
            ret_values[r] = logf(clipped_sum(p, cols)) - logf(probability_clip(p[(size_t)y[r]]));
    }
}

static void gradient_from_logits(const float *x, size_t label, float upstream, size_t cols,
                                 float *ret_grad)
{
    float max = x[0], sum = 0;
    for (size_t i = 1; i < cols; i++)
        max = x[i] > max ? x[i] : max;
    for (size_t i = 0; i < cols; i++) {
        ret_grad[i] = expf(x[i] - max);
        sum += ret_grad[i];
    }
    for (size_t i = 0; i < cols; i++)
        ret_grad[i] = upstream * (ret_grad[i] / sum - (i == label ? 1.0f : 0.0f));
}

static void gradient_from_probabilities(const float *p, size_t label, float upstream, size_t cols,
                                        float *ret_grad)
{
    float sum = clipped_sum(p, cols);
    for (size_t i = 0; i < cols; i++) {
        float inside = probability_inside(p[i]) ? upstream : 0;
        ret_grad[i] = inside * (1.0f / sum - (i == label ? 1.0f / probability_clip(p[i]) : 0.0f));
    }
}

static void sparse_gradient(const struct loss *loss, bool from_logits, const float *y,
                            const float *p, const float *upstream, size_t rows, size_t cols,
                            float *ret_grad)
{
    for (size_t r = 0; r < rows; r++, p += cols, ret_grad += cols) {
        if (is_ignored(loss, y[r])) {
            for (size_t i = 0; i < cols; i++)
                ret_grad[i] = 0;
        } else if (from_logits) {
            gradient_from_logits(p, (size_t)y[r], upstream[r], cols, ret_grad);
        } else {
            gradient_from_probabilities(p, (size_t)y[r], upstream[r], cols, ret_grad);
        }
    }
}

const struct loss_kind loss_sparse_categorical_crossentropy = {
    .name = "sparse_categorical_crossentropy",
    .class_name = "SparseCategoricalCrossentropy",
    .sparse = true,
    .uses_logits = true,
    .values = sparse_values,
    .gradient = sparse_gradient,
};
