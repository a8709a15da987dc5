/* Activations over the last axis: softmax, log_softmax, sparsemax, glu. */
#include "worker/nn/activation.h"
#include "worker/nn/exponential.h"

#include <math.h>

#define UNUSED __attribute__((unused))

static float row_max(const float *x, size_t cols)
{
    float max = -INFINITY;
    for (size_t i = 0; i < cols; i++)
        max = x[i] > max ? x[i] : max;
    return max;
}

static void softmax_forward(UNUSED const struct activation *activation, const float *x, float *y,
                            size_t rows, size_t cols)
{
    for (size_t r = 0; r < rows; r++, x += cols, y += cols) {
        float max = row_max(x, cols), sum = 0;
        for (size_t i = 0; i < cols; i++)
            y[i] = exponential(x[i] - max);
        for (size_t i = 0; i < cols; i++)
            sum += y[i];
        for (size_t i = 0; i < cols; i++)
            y[i] /= sum;
    }
}

static void softmax_backward(UNUSED const struct activation *activation, UNUSED const float *x,
                             const float *y, const float *y_grad, float *x_grad, size_t rows,
                             size_t cols)
{
    for (size_t r = 0; r < rows; r++, y += cols, y_grad += cols, x_grad += cols) {
        float sum = 0;
        for (size_t i = 0; i < cols; i++)
            sum += y_grad[i] * y[i];
        for (size_t i = 0; i < cols; i++)
            x_grad[i] = (y_grad[i] - sum) * y[i];
    }
}

const struct activation_kind activation_softmax = {"softmax", softmax_forward, softmax_backward,
                                                   .gives_logits = true};

static void log_softmax_forward(UNUSED const struct activation *activation, const float *x,
                                float *y, size_t rows, size_t cols)
{
    for (size_t r = 0; r < rows; r++, x += cols, y += cols) {
        float max = row_max(x, cols), sum = 0;
        for (size_t i = 0; i < cols; i++)
            sum += exponential(x[i] - max);
        float shift = logf(sum);
        for (size_t i = 0; i < cols; i++)
            y[i] = x[i] - max - shift;
    }
}

static void log_softmax_backward(UNUSED const struct activation *activation, UNUSED const float *x,
                                 const float *y, const float *y_grad, float *x_grad, size_t rows,
                                 size_t cols)
{
    for (size_t r = 0; r < rows; r++, y += cols, y_grad += cols, x_grad += cols) {
        float sum = 0;
        for (size_t i = 0; i < cols; i++)
            sum += y_grad[i];
        for (size_t i = 0; i < cols; i++)
            x_grad[i] = y_grad[i] - exponential(y[i]) * sum;
    }
}

const struct activation_kind activation_log_softmax = {"log_softmax", log_softmax_forward,
                                                       log_softmax_backward, .needs_input = false};

/* How many elements of the row come before x[at] in descending order; equal ones in their own
 * order. */
static size_t descending_place(const float *x, size_t cols, size_t at)
{
    size_t place = 0;
    for (size_t i = 0; i < cols; i++)
        place += x[i] > x[at] || (x[i] == x[at] && i < at);
    return place;
}

/*
 * sparsemax as Keras computes it. Of the row in descending order, z_1 >= z_2 >= ..., with running
 * sums S_j, the support are the k places with 1 + j z_j > S_j; tau = (S_1 + ... + S_k - 1) / k, and
 * y = max(x - tau, 0). (Martins & Astudillo 2016 have S_k there, not the sum of the S_j; the two
 * agree for k = 1 only.) Returns tau. No storage: O(cols^2).
 */
static float sparsemax_tau(const float *x, size_t cols, size_t *ret_support)
{
    float running = 0, total = 0;
    size_t support = 0;
    for (size_t place = 0; place < cols; place++) {
        size_t at = 0;
        while (at < cols && descending_place(x, cols, at) != place)
            at++;
        if (at == cols)
            break; /* a NaN has no place */
        running += x[at];
        if (x[at] - (running - 1.0f) / (float)(place + 1) > 0) {
            total += running;
            support++;
        }
    }
    *ret_support = support;
    return (total - 1.0f) / (float)support;
}

static void sparsemax_forward(UNUSED const struct activation *activation, const float *x, float *y,
                              size_t rows, size_t cols)
{
    for (size_t r = 0; r < rows; r++, x += cols, y += cols) {
        size_t support;
        float tau = sparsemax_tau(x, cols, &support);
        for (size_t i = 0; i < cols; i++)
            y[i] = x[i] - tau <= 0 ? 0 : x[i] - tau;
    }
}

/* d tau / d z_j = (k - j + 1) / k for j <= k, since z_j is part of S_j ... S_k. */
static void sparsemax_backward(UNUSED const struct activation *activation, const float *x,
                               UNUSED const float *y, const float *y_grad, float *x_grad,
                               size_t rows, size_t cols)
{
    for (size_t r = 0; r < rows; r++, x += cols, y_grad += cols, x_grad += cols) {
        size_t support;
        float tau = sparsemax_tau(x, cols, &support), sum = 0;
        for (size_t i = 0; i < cols; i++)
            sum += x[i] >= tau ? y_grad[i] : 0;
        for (size_t i = 0; i < cols; i++) {
            size_t place = descending_place(x, cols, i);
            float through_tau = place < support ? (float)(support - place) / (float)support : 0;
            x_grad[i] = (x[i] >= tau ? y_grad[i] : 0) - sum * through_tau;
        }
    }
}

const struct activation_kind activation_sparsemax = {"sparsemax", sparsemax_forward,
                                                     sparsemax_backward, .needs_input = true};

/* glu: the first half of the columns times the sigmoid of the second. */
static void glu_forward(UNUSED const struct activation *activation, const float *x, float *y,
                        size_t rows, size_t cols)
{
    size_t half = cols / 2;
    for (size_t r = 0; r < rows; r++, x += cols, y += half) {
        for (size_t i = 0; i < half; i++)
            y[i] = x[i] / (1.0f + exponential(-x[half + i]));
    }
}

static void glu_backward(UNUSED const struct activation *activation, const float *x,
                         UNUSED const float *y, const float *y_grad, float *x_grad, size_t rows,
                         size_t cols)
{
    size_t half = cols / 2;
    for (size_t r = 0; r < rows; r++, x += cols, y_grad += half, x_grad += cols) {
        for (size_t i = 0; i < half; i++) {
            float gate = 1.0f / (1.0f + exponential(-x[half + i])), upstream = y_grad[i];
            x_grad[half + i] = upstream * x[i] * gate * (1.0f - gate);
            x_grad[i] = upstream * gate;
        }
    }
}

const struct activation_kind activation_glu = {"glu", glu_forward, glu_backward,
                                               .needs_input = true, .halves_columns = true};
