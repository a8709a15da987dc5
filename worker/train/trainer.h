/* fit, evaluate and predict over a model, alone or as one rank of a cluster. */
#ifndef PARAMD_WORKER_TRAIN_TRAINER_H
#define PARAMD_WORKER_TRAIN_TRAINER_H

#include "common/base/error.h"
#include "worker/data/batches.h"
#include "worker/data/dataset.h"
#include "worker/nn/model.h"
#include "worker/train/sync.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Examples in one go where there is no batch size to keep to: evaluation and prediction. */
enum { TRAINER_ROWS = 256 };

/* What a training tells while it goes on; epochs from 0. Members may be NULL. */
struct trainer_listener {
    void *context;
    void (*on_epoch_begin)(void *context, uint64_t epoch, uint64_t steps);
    /* `step` of the epoch's steps are done; totals over all ranks since its beginning. On a cluster
     * not for every step. */
    void (*on_step)(void *context, uint64_t step, const struct model_totals *totals);
    /* validation: NULL if there is none. Not OK ends the training. */
    enum status (*on_epoch_end)(void *context, uint64_t epoch, const struct model_totals *totals,
                                const struct model_totals *validation, struct error *err);
};

struct fit_options {
    const struct examples *train;
    const struct examples *validation; /* NULL or of count 0: none */
    size_t batch_size;                 /* of all ranks together */
    uint64_t epochs;
    uint64_t seed; /* of the order of examples */
    bool shuffle;
    const struct trainer_listener *listener; /* NULL: nobody */
    const volatile sig_atomic_t *stop;       /* not 0: end after the step under way; NULL: never */
};

/*
 * Trains model of sync for so many epochs. All ranks call it with the same options; each computes
 * its share of every batch. In a process that takes a dead one's place it goes on after the last
 * committed step, and ends an epoch again that was complete.
 *
 * INVALID_ARGUMENT: a label out of range, or a gradient that is not finite, with weight and step.
 * CANCELLED: stopped. FAILED_PRECONDITION: the job is past the last step of this training. Or what
 * sync returns.
 */
NODISCARD enum status trainer_fit(struct sync *sync, const struct fit_options *options,
                                  struct error *err);

/*
 * Loss and metrics over all examples with the present params: each rank computes a contiguous
 * share.
 *
 *   name  of this evaluation, the same on all ranks and used once in a job.
 */
NODISCARD enum status trainer_evaluate(struct sync *sync, const struct examples *examples,
                                       const char *name, struct model_totals *ret_totals,
                                       struct error *err);

/* ret_predictions: (examples->count, output_shape) float32. Here and alone. */
NODISCARD enum status trainer_predict(struct model *model, const struct examples *examples,
                                      float *ret_predictions, struct error *err);

#endif
