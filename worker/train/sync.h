/* Where the parameters live during a training: in this process, or on the servers of a cluster. */
#ifndef PARAMD_WORKER_TRAIN_SYNC_H
#define PARAMD_WORKER_TRAIN_SYNC_H

#include "common/base/error.h"
#include "common/optim/optimizer.h"
#include "worker/nn/model.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sync;

/*
 * One step is step_begin, then (if this rank has examples) weight_needed for every weight and
 * gradient_ready for every trainable one, then step_end. model->params and model->grads may change
 * to other arrays from step to step.
 */
struct sync_kind {
    /* Begins step 1, 2, ... of a batch of which this rank has `examples`, perhaps none. */
    enum status (*step_begin)(struct sync *sync, uint64_t step, size_t examples, struct error *err);
    /* model->grads of this weight are complete, and stay as they are until the step after the next
     * begins. */
    enum status (*gradient_ready)(struct sync *sync, size_t weight, struct error *err);
    /* totals: of this rank's examples; restart: the running totals start anew with this step. */
    enum status (*step_end)(struct sync *sync, const struct model_totals *totals, bool restart,
                            struct error *err);
    /* Returns when params of this weight are those after the last step that was ended. */
    enum status (*weight_needed)(struct sync *sync, size_t weight, struct error *err);
    /* Running totals over all ranks as they are known now, and the step that they reach to; false:
     * none are. */
    bool (*running)(struct sync *sync, uint64_t *ret_step, struct model_totals *ret_running);
    /* Waits until the last step counts for ever and all params are there; running totals over all
     * ranks. */
    enum status (*settle)(struct sync *sync, struct model_totals *ret_running, struct error *err);
    /* Adds up totals over all ranks, each of which calls it with the same name. */
    enum status (*add_up)(struct sync *sync, const char *name, struct model_totals *totals,
                          struct error *err);
    /* This rank takes part in no further step. */
    enum status (*finish)(struct sync *sync, struct error *err);
    void (*free)(struct sync *sync);
};

struct sync {
    const struct sync_kind *kind;
    struct model *model;                     /* borrowed */
    uint32_t rank, rank_count, server_count; /* server_count 0: alone */
    uint64_t
        /* ended last; at the start 0 or, where this process takes a dead one's place, the committed
         * one */
        step;
    int exit_code; /* what the program should return after a failure; 0: the status says all */
};

struct sync_options {
    struct model *model;               /* built, compiled, allocated; borrowed until sync_free */
    const struct optimizer *optimizer; /* copied */
    uint64_t seed;                     /* of initial values that have none of their own */
    bool
        /* params hold the first values; otherwise the weights' initializers make them */
        has_weights;
};

/*
 * Alone: variables and optimizer slots in this process, updated by the same kernels in the same
 * blocks as on a server, so that one worker on one server gives the same bytes.
 *
 *   trace_path  file that gets a line "step digest" for step 0 and each one after it; NULL: none.
 */
NODISCARD enum status sync_local_new(const struct sync_options *options, const char *trace_path,
                                     struct sync **ret_sync, struct error *err);

/* A slot of the optimizer of such a sync, laid out as model->params; NULL: there are not so many.
 */
const float *sync_local_slot(const struct sync *sync, size_t slot);

/*
 * On a cluster: joins it, makes or finds the variables (named by their paths), waits for all ranks,
 * pulls the values.
 * *ret_exit_code is set on failure.
 */
NODISCARD enum status sync_cluster_new(const struct sync_options *options, const char *coordinator,
                                       uint32_t join_timeout_ms, struct sync **ret_sync,
                                       int *ret_exit_code, struct error *err);

static inline void sync_free(struct sync *sync)
{
    if (sync)
        sync->kind->free(sync);
}

#endif
