/* mean(|y - p|) over the last axis; gradient 0 where they are equal. */
#include "worker/nn/loss.h"

#include <math.h>

static void mean_absolute_error_values(const struct loss *loss, bool from_logits, const float *y,
                                       const float *p, size_t rows, size_t cols, float *ret_values)
{
    (void)loss;
    (void)from_logits;
    for (size_t r = 0; r < rows; r++, y += cols, p += cols) {
        float sum = 0;
        for (size_t i = 0; i < cols; i++)
            sum += fabsf(y[i] - p[i]);
        ret_values[r] = sum / (float)cols;
    }
}

static void mean_absolute_error_gradient(const struct loss *loss, bool from_logits, const float *y,
                                         const float *p, const float *upstream, size_t rows,
                                         size_t cols, float *ret_grad)
{
    (void)loss;
    (void)from_logits;
    for (size_t r = 0; r < rows; r++, y += cols, p += cols, ret_grad += cols) {
        float scale = upstream[r] / (float)cols;
        for (size_t i = 0; i < cols; i++)
            ret_grad[i] = p[i] > y[i] ? scale : p[i] < y[i] ? -scale : 0;
    }
}

const struct loss_kind loss_mean_absolute_error = {
    .name = "mean_absolute_error",
    .class_name = "MeanAbsoluteError",
    .alias = "mae",
    .values = mean_absolute_error_values,
    .gradient = mean_absolute_error_gradient,
};
