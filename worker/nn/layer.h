/* What a layer is: a table row of functions; it says its weights, the model finds them and gives
 * them their place. */
#ifndef PARAMD_WORKER_NN_LAYER_H
#define PARAMD_WORKER_NN_LAYER_H

#include "common/base/error.h"
#include "common/base/limits.h"
#include "worker/nn/config.h"
#include "worker/nn/shape.h"

#include <stdbool.h>
#include <stddef.h>

enum { LAYER_WEIGHTS_MAX = 4, LAYER_WEIGHT_NAME_BYTES = 32 };

/* A layer of a model may have no more than this many numbers per example in or out. */
#define LAYER_ELEMENTS_MAX ((size_t)1 << 28)

struct layer_weight {
    char name[LAYER_WEIGHT_NAME_BYTES]; /* "kernel" */
    struct shape shape;
    struct initializer_config initializer;
    bool trainable;
};

struct layer {
    const struct layer_kind *kind; /* static */
    char name[LIMIT_NAME_BYTES];
    bool trainable;
    void *own; /* owned; kind->own_bytes of what the layer read from its config */

    /* Known after layer_build; shapes without the batch. */
    struct shape input_shape, output_shape;
    struct layer_weight weights[LAYER_WEIGHTS_MAX]; /* in Keras's order */
    size_t weight_count;
    size_t scratch_floats; /* per example: what forward keeps for backward */

    /*
     * Set by the model for its last layer if the loss is computed from the logits: forward then
     * keeps the argument of its softmax or sigmoid (logits finds it), and backward gets the
     * gradient with respect to that.
     */
    bool from_logits;
};

/* One batch on its way through one layer. Arrays are row-major, rows first, float32. */
struct layer_pass {
    size_t rows;
    const float *input;
    float *output;
    float *scratch; /* rows * scratch_floats; NULL if that is 0 */
    const float *weight[LAYER_WEIGHTS_MAX];
    /* For backward. */
    float *output_grad;                    /* in; backward may use it as scratch */
    float *weight_grad[LAYER_WEIGHTS_MAX]; /* out; NULL for a weight that is not trainable */
    float *input_grad; /* out of backward_input; rows x input; never output_grad itself */
};

struct layer_kind {
    const char *class_name; /* Keras's, "Dense" */
    size_t own_bytes;
    /* Reads own from the config; name, trainable and dtype are read already. */
    void (*configure)(struct layer *layer, struct config *config);
    /* From input_shape: output_shape, scratch_floats and, through layer_add_weight, the weights. */
    enum status (*build)(struct layer *layer, struct error *err);
    void (*forward)(const struct layer *layer, const struct layer_pass *pass);
    /*
     * Backward comes in two halves, so that a weight's gradient can leave while the input's is
     * computed. The first writes weight_grad; the second, input_grad, is left out where nothing
     * needs it. backward_weights may be NULL.
     */
    void (*backward_weights)(const struct layer *layer, const struct layer_pass *pass);
    void (*backward_input)(const struct layer *layer, const struct layer_pass *pass);
    /* The activation whose argument are the logits; NULL if the kind has none. */
    const struct activation *(*activation)(const struct layer *layer);
};

/* All rows, in alphabetical order. */
const struct layer_kind *const *layer_kinds(size_t *ret_count);

/* The row of that class, or NULL. */
const struct layer_kind *layer_kind_named(const char *class_name);

/*
 * Sets up a layer from the "config" object of its class in Keras's JSON (NULL: an empty one).
 *
 * UNIMPLEMENTED: a class or an option that is not supported, by name, with what is.
 * INVALID_ARGUMENT: a key that is unknown or has a wrong value. ret_layer is written on success
 * only; release it. err is not NULL.
 */
NODISCARD enum status layer_init(struct layer *ret_layer, const char *class_name,
                                 const json_t *config, struct error *err);
void layer_release(struct layer *layer);

/* INVALID_ARGUMENT: the shape does not fit; the message names the layer, the shape and what would
 * fit. */
NODISCARD enum status layer_build(struct layer *layer, const struct shape *input_shape,
                                  struct error *err);

/* For a kind's build: the layer has one more weight. trainable also takes the layer's own flag. */
void layer_add_weight(struct layer *layer, const char *name, const struct shape *shape,
                      const struct initializer_config *initializer, bool trainable);

/* Whether the gradient of a cross-entropy may be given for the argument of the layer's activation.
 */
bool layer_gives_logits(const struct layer *layer);

/* The logits that forward kept; from_logits is set. */
const float *layer_logits(const struct layer *layer, const struct layer_pass *pass);

extern const struct layer_kind layer_activation, layer_dense, layer_elu, layer_flatten,
    layer_leaky_relu, layer_prelu, layer_relu, layer_rescaling, layer_softmax;

#endif
