/* mean((y - p)^2) over the last axis. */
#include "worker/nn/loss.h"

static void mean_squared_error_values(const struct loss *loss, bool from_logits, const float *y,
                                      const float *p, size_t rows, size_t cols, float *ret_values)
{
    (void)loss;
    (void)from_logits;
    for (size_t r = 0; r < rows; r++, y += cols, p += cols) {
        float sum = 0;
        for (size_t i = 0; i < cols; i++)
            sum += (y[i] - p[i]) * (y[i] - p[i]);
        ret_values[r] = sum / (float)cols;
    }
}

static void mean_squared_error_gradient(const struct loss *loss, bool from_logits, const float *y,
                                        const float *p, const float *upstream, size_t rows,
                                        size_t cols, float *ret_grad)
{
    (void)loss;
    (void)from_logits;
    for (size_t r = 0; r < rows; r++, y += cols, p += cols, ret_grad += cols) {
        float scale = upstream[r] / (float)cols;
        for (size_t i = 0; i < cols; i++)
            ret_grad[i] = scale * (2.0f * (p[i] - y[i]));
    }
}

const struct loss_kind loss_mean_squared_error = {
    .name = "mean_squared_error",
    .class_name = "MeanSquaredError",
    .alias = "mse",
    .values = mean_squared_error_values,
    .gradient = mean_squared_error_gradient,
};
