/* How an elementwise activation becomes loops: two functions of one element in, a row of the table
 * out. */
#ifndef PARAMD_WORKER_NN_ACTIVATION_LOOP_H
#define PARAMD_WORKER_NN_ACTIVATION_LOOP_H

#include "common/tensor/dispatch.h"
#include "worker/nn/activation.h"

/*
 * NAME_value(parameter, x) gives y; NAME_grad(parameter, x, y, y_grad) gives x_grad, where x is
 * only right if the row says needs_input. Written out for three vector widths; the parameters are
 * copied first, since a store to y could change them for all the compiler knows.
 */
#define ACTIVATION_LOOPS(name)                                                                     \
    DISPATCH_BODY void name##_forward_body(const float *parameter, const float *x, float *y,       \
                                           size_t count)                                           \
    {                                                                                              \
        const float own[3] = {parameter[0], parameter[1], parameter[2]};                           \
        DISPATCH_LOOP                                                                              \
        for (size_t i = 0; i < count; i++)                                                         \
            y[i] = name##_value(own, x[i]);                                                        \
    }                                                                                              \
    DISPATCH_VARIANTS(name##_forward,                                                              \
                      (const float *parameter, const float *x, float *y, size_t count),            \
                      (parameter, x, y, count));                                                   \
    DISPATCH_BODY void name##_backward_body(const float *parameter, const float *x,                \
                                            const float *y, const float *y_grad, float *x_grad,    \
                                            size_t count)                                          \
    {                                                                                              \
        const float own[3] = {parameter[0], parameter[1], parameter[2]};                           \
        DISPATCH_LOOP                                                                              \
        for (size_t i = 0; i < count; i++)                                                         \
            x_grad[i] = name##_grad(own, x[i], y[i], y_grad[i]);                                   \
    }                                                                                              \
    DISPATCH_VARIANTS(name##_backward,                                                             \
                      (const float *parameter, const float *x, const float *y,                     \
                       const float *y_grad, float *x_grad, size_t count),                          \
                      (parameter, x, y, y_grad, x_grad, count));                                   \
    static void name##_forward(const struct activation *activation, const float *x, float *y,      \
                               size_t rows, size_t cols)                                           \
    {                                                                                              \
        name##_forward_by_width[kernels_width()](activation->parameter, x, y, rows * cols);        \
    }                                                                                              \
    static void name##_backward(const struct activation *activation, const float *x,               \
                                const float *y, const float *y_grad, float *x_grad, size_t rows,   \
                                size_t cols)                                                       \
    {                                                                                              \
        name##_backward_by_width[kernels_width()](activation->parameter, x != NULL ? x : y, y,     \
                                                  y_grad, x_grad, rows * cols);                    \
    }

#define ACTIVATION_ROW(name, ...)                                                                  \
    ACTIVATION_LOOPS(name)                                                                         \
    const struct activation_kind activation_##name = {#name, name##_forward, name##_backward,      \
                                                      __VA_ARGS__}

/* The same for what calls libm, which no compiler here vectorises: plain loops, once. */
#define ACTIVATION_LIBM_ROW(name, ...)                                                             \
    static void name##_forward(const struct activation *activation, const float *x, float *y,      \
                               size_t rows, size_t cols)                                           \
    {                                                                                              \
        for (size_t i = 0; i < rows * cols; i++)                                                   \
            y[i] = name##_value(activation->parameter, x[i]);                                      \
    }                                                                                              \
    static void name##_backward(const struct activation *activation, const float *x,               \
                                const float *y, const float *y_grad, float *x_grad, size_t rows,   \
                                size_t cols)                                                       \
    {                                                                                              \
        const float *input = x != NULL ? x : y;                                                    \
        for (size_t i = 0; i < rows * cols; i++)                                                   \
            x_grad[i] = name##_grad(activation->parameter, input[i], y[i], y_grad[i]);             \
    }                                                                                              \
    const struct activation_kind activation_##name = {#name, name##_forward, name##_backward,      \
                                                      __VA_ARGS__}

#endif
