/* Activation functions: Keras's keras.activations by name, each with its forward and backward side
 * by side. */
#ifndef PARAMD_WORKER_NN_ACTIVATION_H
#define PARAMD_WORKER_NN_ACTIVATION_H

#include "common/base/error.h"

#include <stdbool.h>
#include <stddef.h>

struct activation;

struct activation_kind {
    const char *name; /* Keras's, "relu" */
    /*
     * x, y, y_grad and x_grad have rows rows; x and x_grad of cols columns, y and y_grad of
     * activation_output_cols. y may be x and x_grad may be y_grad, unless the output has fewer
     * columns.
     */
    void (*forward)(const struct activation *activation, const float *x, float *y, size_t rows,
                    size_t cols);
    void (*backward)(const struct activation *activation, const float *x, const float *y,
                     const float *y_grad, float *x_grad, size_t rows, size_t cols);
    bool needs_input;    /* backward reads x; otherwise x may be gone (forward ran in place) */
    bool halves_columns; /* glu */
    bool gives_logits;   /* cross-entropies are computed from its input, as Keras does */
};

struct activation {
    const struct activation_kind *kind; /* static */
    /* relu_bounded: max (NAN: none), negative slope, threshold; leaky_relu: negative slope; elu:
     * alpha. */
    float parameter[3];
};

/*
 * The activation of that name with Keras's defaults; NULL stands for linear.
 *
 * NOT_FOUND: no such activation; the message lists those there are.
 */
NODISCARD enum status activation_init(struct activation *ret_activation, const char *name,
                                      struct error *err);

/* All rows of the table, in alphabetical order; aliases ("swish") are not among them. */
const struct activation_kind *const *activation_kinds(size_t *ret_count);

static inline size_t activation_output_cols(const struct activation *activation, size_t cols)
{
    return activation->kind->halves_columns ? cols / 2 : cols;
}

static inline void activation_forward(const struct activation *activation, const float *x, float *y,
                                      size_t rows, size_t cols)
{
    activation->kind->forward(activation, x, y, rows, cols);
}

/* x may be NULL unless kind->needs_input. */
static inline void activation_backward(const struct activation *activation, const float *x,
                                       const float *y, const float *y_grad, float *x_grad,
                                       size_t rows, size_t cols)
{
    activation->kind->backward(activation, x, y, y_grad, x_grad, rows, cols);
}

/* The rows that other files add to the table of activation.c. */
extern const struct activation_kind activation_relu, activation_relu_bounded, activation_relu6,
    activation_leaky_relu, activation_elu, activation_selu, activation_celu, activation_linear,
    activation_hard_sigmoid, activation_hard_silu, activation_hard_tanh, activation_hard_shrink,
    activation_soft_shrink, activation_sparse_plus, activation_sparse_sigmoid;
extern const struct activation_kind activation_sigmoid, activation_tanh, activation_softplus,
    activation_softsign, activation_silu, activation_gelu, activation_exponential, activation_mish,
    activation_log_sigmoid, activation_tanh_shrink, activation_squareplus;
extern const struct activation_kind activation_softmax, activation_log_softmax,
    activation_sparsemax, activation_glu;

#endif
