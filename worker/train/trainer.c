/*
 * The loop over epochs and batches. Which examples a rank computes in a step depends on (seed,
 * epoch, step, rank) only, so a restarted rank simply goes on after the last committed step.
 */
#include "worker/train/trainer.h"

#include "common/base/alloc.h"
#include "common/tensor/kernels.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct trainer {
    struct sync *sync;                 /* borrowed */
    const struct fit_options *options; /* borrowed */
    struct batches batches;
    float *x, *y; /* owned; this rank's share of a batch */
    size_t share_max;
    uint64_t step;
};

/* ---- hooks of a step ---- */

static enum status on_weight_needed(void *context, size_t weight, struct error *err)
{
    struct trainer *trainer = context;

    return trainer->sync->kind->weight_needed(trainer->sync, weight, err);
}

/* What is not finite is not pushed: it would be in every rank's weights, and the cause would be
 * gone. */
static enum status on_gradient_ready(void *context, size_t index, struct error *err)
{
    struct trainer *trainer = context;
    struct sync *sync = trainer->sync;
    const struct model_weight *weight = &sync->model->weights[index];
    const float *grad = sync->model->grads + weight->offset;
    size_t at = kernels_find_nonfinite(grad, weight->count);

    if (at < weight->count)
        return error_set(
            err, STATUS_INVALID_ARGUMENT,
            "step %llu: the gradient of '%s' is %s at element %zu (rank %u); a smaller "
            "--learning-rate or --scale may help",
            (unsigned long long)trainer->step, weight->path,
            isnan(grad[at]) ? "not a number" : "infinite", at, sync->rank);
    return sync->kind->gradient_ready(sync, index, err);
}

/* ---- one step ---- */

static bool stopped(const struct fit_options *options)
{
    return options->stop && *options->stop != 0;
}

static void tell_step(struct trainer *trainer, uint64_t epoch)
{
    const struct trainer_listener *listener = trainer->options->listener;
    uint64_t before = epoch * trainer->batches.steps_per_epoch, reached;
    struct model_totals totals;

    /* The totals known may still be those of the epoch before. */
    if (listener && listener->on_step &&
        trainer->sync->kind->running(trainer->sync, &reached, &totals) && reached > before)
        listener->on_step(listener->context, reached - before, &totals);
}

static enum status train_step(struct trainer *trainer, uint64_t step, struct error *err)
{
    struct sync *sync = trainer->sync;
    struct batch_position at = batches_position(&trainer->batches, step);
    struct batch_share share = batches_share(&trainer->batches, at.batch, sync->rank,
                                             sync->rank_count);
    struct model_hooks hooks = {trainer, on_weight_needed, on_gradient_ready};
    struct model_batch batch = {.rows = share.count, .x = trainer->x, .y = trainer->y};
    struct model_totals totals = {0};
    enum status status;

    if (stopped(trainer->options))
        return error_set(err, STATUS_CANCELLED, "interrupted after step %llu",
                         (unsigned long long)step - 1);
    trainer->step = step;
    status = sync->kind->step_begin(sync, step, share.count, err);
    if (!status && share.count > 0) {
        batches_gather(&trainer->batches, trainer->options->train, at.epoch, share, trainer->x,
                       trainer->y);
        status = model_step(sync->model, &batch, &hooks, &totals, err);
    }
    if (!status)
        status = sync->kind->step_end(sync, &totals, at.batch == 0, err);
    if (!status)
        tell_step(trainer, at.epoch);
    return status;
}

/* ---- epochs ---- */

static enum status end_epoch(struct trainer *trainer, uint64_t epoch, struct error *err)
{
    const struct fit_options *options = trainer->options;
    const struct trainer_listener *listener = options->listener;
    bool validates = options->validation && options->validation->count > 0;
    struct model_totals totals = {0}, validation = {0};
    char name[64];
    enum status status = trainer->sync->kind->settle(trainer->sync, &totals, err);

    if (!status && validates) {
        snprintf(name, sizeof name, "validation/%llu", (unsigned long long)epoch + 1);
        status = trainer_evaluate(trainer->sync, options->validation, name, &validation, err);
    }
    if (!status && listener && listener->on_epoch_end)
        status = listener->on_epoch_end(listener->context, epoch, &totals,
                                        validates ? &validation : NULL, err);
    return status;
}

static enum status train(struct trainer *trainer, struct error *err)
{
    const struct fit_options *options = trainer->options;
    const struct trainer_listener *listener = options->listener;
    uint64_t steps = trainer->batches.steps_per_epoch, step = trainer->sync->step;
    enum status status = STATUS_OK;

    if (step > options->epochs * steps)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "the job is at step %llu, past the %llu steps of this training",
                         (unsigned long long)step, (unsigned long long)(options->epochs * steps));
    for (uint64_t epoch = step > 0 ? (step - 1) / steps : 0; epoch < options->epochs; epoch++) {
        if (listener && listener->on_epoch_begin)
            listener->on_epoch_begin(listener->context, epoch, steps);
        while (step < (epoch + 1) * steps && !status)
            status = train_step(trainer, ++step, err);
        if (!status)
            status = end_epoch(trainer, epoch, err);
        if (status)
            return status;
    }
    return STATUS_OK;
}

static enum status check_options(const struct fit_options *options, struct error *err)
{
    if (!options->train->labels)
        return error_set(err, STATUS_INVALID_ARGUMENT, "the examples to train on have no labels");
    if (options->epochs == 0 || options->epochs > UINT32_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%llu epochs; at least 1 and at most %llu",
                         (unsigned long long)options->epochs, (unsigned long long)UINT32_MAX);
    return STATUS_OK;
}

enum status trainer_fit(struct sync *sync, const struct fit_options *options, struct error *err)
{
    struct trainer trainer = {.sync = sync, .options = options};
    const struct examples *train_set = options->train;
    size_t batch_max = options->batch_size < train_set->count ? options->batch_size
                                                              : train_set->count;
    enum status status = check_options(options, err);

    if (!status)
        status = batches_init(&trainer.batches, train_set->count, options->batch_size,
                              options->shuffle, options->seed, err);
    if (status)
        return status;
    trainer.share_max = batch_max / sync->rank_count + 1;
    trainer.x = alloc_array(trainer.share_max * train_set->feature_count, sizeof(float));
    trainer.y = alloc_array(trainer.share_max, sizeof(float));
    if (!trainer.x || !trainer.y)
        status = error_no_memory(err, "a batch of examples");
    if (!status)
        status = model_reserve(sync->model, trainer.share_max, true, err);
    if (!status)
        status = train(&trainer, err);
    alloc_free(trainer.x);
    alloc_free(trainer.y);
    batches_release(&trainer.batches);
    return status;
}

/* ---- evaluate and predict ---- */

static enum status reserve_rows(struct model *model, size_t count, struct error *err)
{
    return model_reserve(model, count < TRAINER_ROWS ? count : TRAINER_ROWS, false, err);
}

/* The batch of examples from first on, before end. */
static struct model_batch batch_of(const struct examples *examples, size_t first, size_t end)
{
    size_t rows = end - first < TRAINER_ROWS ? end - first : TRAINER_ROWS;

    return (struct model_batch){.rows = rows,
                                .x = examples->features + first * examples->feature_count,
                                .y = examples->labels ? examples->labels + first : NULL};
}

enum status trainer_evaluate(struct sync *sync, const struct examples *examples, const char *name,
                             struct model_totals *ret_totals, struct error *err)
{
    struct trainer trainer = {.sync = sync};
    struct model_hooks hooks = {&trainer, on_weight_needed, NULL};
    size_t first = (size_t)((uint64_t)examples->count * sync->rank / sync->rank_count);
    size_t end = (size_t)((uint64_t)examples->count * (sync->rank + 1) / sync->rank_count);
    struct model_totals totals = {0};
    enum status status = reserve_rows(sync->model, end - first, err);

    while (first < end && !status) {
        struct model_batch batch = batch_of(examples, first, end);
        status = model_evaluate(sync->model, &batch, &hooks, &totals, err);
        first += batch.rows;
    }
    if (!status)
        status = sync->kind->add_up(sync, name, &totals, err);
    if (!status)
        *ret_totals = totals;
    return status;
}

enum status trainer_predict(struct model *model, const struct examples *examples,
                            float *ret_predictions, struct error *err)
{
    size_t outputs = shape_elements(&model->output_shape);
    enum status status = reserve_rows(model, examples->count, err);

    for (size_t first = 0; first < examples->count && !status;) {
        struct model_batch batch = batch_of(examples, first, examples->count);
        const float *predictions;

        status = model_predict(model, &batch, NULL, &predictions, err);
        if (!status)
            memcpy(ret_predictions + first * outputs, predictions,
                   batch.rows * outputs * sizeof(float));
        first += batch.rows;
    }
    return status;
}
