/* A Sequential model: layers in a row, all weights in one block, all gradients in another of the
 * same layout. */
#ifndef PARAMD_WORKER_NN_MODEL_H
#define PARAMD_WORKER_NN_MODEL_H

#include "common/base/error.h"
#include "common/base/limits.h"
#include "worker/nn/layer.h"
#include "worker/nn/loss.h"
#include "worker/nn/metric.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MODEL_LAYERS_MAX = 1024,
    MODEL_METRICS_MAX = 16,
    MODEL_WEIGHT_ALIGNMENT = 16, /* floats: every weight starts on a cache line */
};

/* 64 GiB of float32: more is a mistake in a file, not a model for one worker. */
#define MODEL_BLOCK_FLOATS_MAX ((size_t)1 << 34)

struct model_weight {
    char path
        /* "dense/kernel": layer and weight, the same for every way to build the model */
        [LIMIT_NAME_BYTES];
    size_t layer, index; /* model->layers[layer].weights[index] */
    struct shape shape;
    size_t offset, count; /* floats in the blocks */
    bool trainable;
};

/*
 * Life: model_init and model_add_layer (or model_from_json), model_build, model_allocate,
 * model_compile, then any number of steps. A zeroed model may be released. Fields are for reading.
 */
struct model {
    char name[LIMIT_NAME_BYTES];
    struct layer *layers; /* owned */
    size_t layer_count, layer_capacity;

    bool has_input_shape;
    struct shape input_shape; /* of an example; from the description, or given to model_build */

    /* From model_build. */
    bool is_built;
    struct shape output_shape;
    struct model_weight *weights; /* owned; in Keras's order */
    size_t weight_count;
    size_t block_floats; /* of params and of grads; what lies between weights stays 0 */

    /* From model_allocate. */
    float *params, *grads; /* owned, aligned to 64 bytes */

    /* From model_compile. */
    bool is_compiled;
    struct loss loss;
    bool loss_from_logits; /* the last layer hands over its logits */
    struct metric metrics[MODEL_METRICS_MAX];
    size_t metric_count;
    struct shape target_shape; /* of an example */

    /* From model_reserve; workspace.h. */
    struct model_workspace *workspace; /* owned */

    /* As in compile_config of the description: Keras's names or JSON objects as text, owned; NULL:
     * none given. */
    char *optimizer_text, *loss_text, *metric_texts[MODEL_METRICS_MAX];
    size_t metric_text_count;
};

NODISCARD enum status model_init(struct model *ret_model, const char *name, struct error *err);
void model_release(struct model *model);

/* Takes the layer (also when it fails). ALREADY_EXISTS: its name; RESOURCE_EXHAUSTED: too many. */
NODISCARD enum status model_add_layer(struct model *model, struct layer *layer, struct error *err);

/*
 * Works out shapes and the place of every weight; allocates only the list of weights.
 *
 *   input_shape  of an example; NULL: the description's. Where both are there they must be equal.
 *
 * FAILED_PRECONDITION: no shape known, or no layers; INVALID_ARGUMENT: a layer that does not fit,
 * by name, with shapes; RESOURCE_EXHAUSTED: larger than MODEL_BLOCK_FLOATS_MAX.
 */
NODISCARD enum status model_build(struct model *model, const struct shape *input_shape,
                                  struct error *err);

/* Allocates params and grads, zeroed. The model is built. */
NODISCARD enum status model_allocate(struct model *model, struct error *err);

/* The initializer of a weight: the seed of its description, else rng_variable_seed(job_seed, path).
 */
NODISCARD enum status model_weight_initializer(const struct model *model, size_t weight,
                                               uint64_t job_seed,
                                               struct initializer *ret_initializer,
                                               struct error *err);

/* Fills params with initial values, the same that servers make of the same initializers. */
NODISCARD enum status model_initialize(struct model *model, uint64_t job_seed, struct error *err);

/* The weight of that path, "<layer>/<weight>" or "<any>/<layer>/<weight>"; weight_count if there is
 * none. */
size_t model_find_weight(const struct model *model, const char *path);

/* Sum of all weights' counts. */
uint64_t model_parameter_count(const struct model *model);

/*
 * Sets the loss and metrics that steps compute. metric_count up to MODEL_METRICS_MAX; they are
 * copied.
 *
 *   target_shape  of an example as the data has it: rank 0 or (1,) for one number.
 *
 * INVALID_ARGUMENT: targets that do not fit the model's output, with what would.
 * FAILED_PRECONDITION: not built. Drops the workspace.
 */
NODISCARD enum status model_compile(struct model *model, const struct loss *loss,
                                    const struct metric *metrics, size_t metric_count,
                                    const struct shape *target_shape, struct error *err);

/* Workspace for batches of up to rows_max; training also for backward. A later call may only grow
 * it. */
NODISCARD enum status model_reserve(struct model *model, size_t rows_max, bool training,
                                    struct error *err);

/* One batch, row-major float32, borrowed for the call. */
struct model_batch {
    size_t rows;
    const float *x; /* (rows, input_shape) */
    const float *
        /* (rows, target_shape); class numbers for sparse losses and metrics; predict: not read */
        y;
    const float *weight; /* (rows): sample weights, or NULL */
};

/* Sums over the batch, to be added up over shares and workers. */
struct model_totals {
    struct metric_total
        loss; /* sum over examples of their (weighted) loss, and number of examples */
    struct metric_total metrics[MODEL_METRICS_MAX];
};

/* How a caller overlaps talking to servers with computing. Members may be NULL. Neither may call
 * the model. */
struct model_hooks {
    void *context;
    /* Before a layer's forward, for each of its weights: returns when params may be read. Not OK
     * ends the step. */
    enum status (*on_weight_needed)(void *context, size_t weight, struct error *err);
    /* During backward, last layer first: grads of this weight are complete. Not called for frozen
     * weights. */
    enum status (*on_gradient_ready)(void *context, size_t weight, struct error *err);
};

/*
 * Forward and backward on a batch: grads become the gradient of the batch's MEAN loss (sum over
 * examples, times weight, divided by rows), so shares of a batch average with their row counts.
 * Adds to totals (loss and metrics of the predictions made with the present params). Denormals must
 * be flushed on this thread. Allocates nothing.
 *
 * INVALID_ARGUMENT: a label out of range; OUT_OF_RANGE: more rows than reserved;
 * FAILED_PRECONDITION: not compiled or reserved for training; or what a hook returned. rows of 0
 * give zero gradients and call every hook.
 */
NODISCARD enum status model_step(struct model *model, const struct model_batch *batch,
                                 const struct model_hooks *hooks, struct model_totals *totals,
                                 struct error *err);

/* Forward, loss and metrics only. */
NODISCARD enum status model_evaluate(struct model *model, const struct model_batch *batch,
                                     const struct model_hooks *hooks, struct model_totals *totals,
                                     struct error *err);

/* Forward only; *ret_predictions is (rows, output_shape), valid until the next call. */
NODISCARD enum status model_predict(struct model *model, const struct model_batch *batch,
                                    const struct model_hooks *hooks, const float **ret_predictions,
                                    struct error *err);

#endif
