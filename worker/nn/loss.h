/* What a loss is: a table row of a value and a gradient per row of predictions, with Keras's
 * options. */
#ifndef PARAMD_WORKER_NN_LOSS_H
#define PARAMD_WORKER_NN_LOSS_H

#include "common/base/error.h"
#include "worker/nn/shape.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct loss;

struct loss_kind {
    const char *name, *class_name,
        *alias;      /* "mean_squared_error", "MeanSquaredError", "mse" (or NULL) */
    bool sparse;     /* y holds one class number a row, not one number a column */
    bool same_shape; /* y must have the very shape of p; otherwise they broadcast */
    bool
        /* a cross-entropy: knows from_logits, and takes a softmax's or sigmoid's argument if it can
         */
        uses_logits;
    bool smooths; /* has label_smoothing and axis */
    /*
     * ret_values[r], the loss of row r, in float32 as TensorFlow computes it.
     *
     *   y  (rows, cols) float32, or (rows) class numbers if sparse, checked by loss_check_labels.
     *   p  (rows, cols) float32: predictions, or their logits if from_logits.
     */
    void (*values)(const struct loss *loss, bool from_logits, const float *y, const float *p,
                   size_t rows, size_t cols, float *ret_values);
    /* ret_grad (rows, cols): upstream[r] times the gradient of row r's loss with respect to p. */
    void (*gradient)(const struct loss *loss, bool from_logits, const float *y, const float *p,
                     const float *upstream, size_t rows, size_t cols, float *ret_grad);
};

enum loss_reduction { LOSS_MEAN, LOSS_SUM, LOSS_MEAN_WITH_SAMPLE_WEIGHT, LOSS_NONE };

struct loss {
    const struct loss_kind *kind; /* static */
    enum loss_reduction reduction;
    bool from_logits;
    float label_smoothing;
    int64_t axis; /* of binary and categorical cross-entropy; -1 is the last */
    bool has_ignored_class;
    int64_t ignored_class;
};

/* All rows, in alphabetical order of their names. */
const struct loss_kind *const *loss_kinds(size_t *ret_count);

/*
 * The loss that a name stands for ("mse", "mean_squared_error", "MeanSquaredError") with an
 * object's "config" (NULL: Keras's defaults).
 *
 * NOT_FOUND: no such loss; the message lists them. INVALID_ARGUMENT: an option that is unknown or
 * out of range. ret_loss is written on success only. err is not NULL.
 */
NODISCARD enum status loss_init(struct loss *ret_loss, const char *name, const json_t *config,
                                struct error *err);

/* A name, or Keras's JSON object, as text: what --loss and compile_config hold. */
NODISCARD enum status loss_from_text(struct loss *ret_loss, const char *text, struct error *err);

/*
 * For sparse losses: every y is a whole number of 0 .. classes-1, or the ignored class.
 * INVALID_ARGUMENT names the first row that is not, its label and the range. Others: always OK.
 */
NODISCARD enum status loss_check_labels(const struct loss *loss, const float *y, size_t rows,
                                        size_t classes, struct error *err);

/* Whether the loss takes the logits of predictions that a softmax or sigmoid made, as Keras does.
 */
bool loss_takes_logits(const struct loss *loss);

/* What Keras's loss object is called with; arrays float32, row-major, borrowed. */
struct loss_input {
    struct shape y_shape, p_shape, weight_shape, mask_shape; /* with the batch */
    const float *y, *p;
    const float *weight; /* NULL: none */
    const float *mask;   /* 0 or 1; NULL: none */
    bool p_is_logits;    /* p is the argument of the softmax or sigmoid that made the predictions */
};

/*
 * Keras's Loss.__call__ with all that it allows: ranks that differ by one, broadcasting, any axis,
 * weights, masks, reductions.
 *
 *   ret_output  room for as many floats as y, p, weight or mask have at most; its shape goes to
 * ret_shape.
 *   upstream    of ret_shape; NULL: ones.
 *   ret_grad    of p's shape, or NULL.
 *
 * INVALID_ARGUMENT: shapes or labels that do not fit, named. Allocates; training has model_step in
 * model.h instead.
 */
NODISCARD enum status loss_call(const struct loss *loss, const struct loss_input *input,
                                const float *upstream, float *ret_output, struct shape *ret_shape,
                                float *ret_grad, struct error *err);

extern const struct loss_kind loss_binary_crossentropy, loss_categorical_crossentropy,
    loss_mean_absolute_error, loss_mean_squared_error, loss_sparse_categorical_crossentropy;

#endif
