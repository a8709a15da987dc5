/* Training alone: the servers' arithmetic without servers. */
#include "common/base/alloc.h"
#include "worker/train/digest.h"
#include "worker/train/sync.h"

#include <stdio.h>
#include <string.h>

struct sync_local {
    struct sync sync;
    struct optimizer optimizer;
    double learning_rate;
    float *slots[OPTIMIZER_SLOTS_MAX]; /* owned; laid out as model->params */
    size_t slot_count;
    struct model_totals running;
    size_t examples; /* of the step under way */
    FILE *trace;     /* owned; NULL: none */
};

static struct sync_local *local_of(struct sync *sync)
{
    return (struct sync_local *)sync;
}

static enum status write_trace(struct sync_local *local, struct error *err)
{
    char digest[HASH_SHA256_TEXT_BYTES];
    enum status status;

    if (!local->trace)
        return STATUS_OK;
    status = digest_model(local->sync.model, &local->optimizer, local->slots, digest, err);
    if (status)
        return status;
    if (fprintf(local->trace, "%llu %s\n", (unsigned long long)local->sync.step, digest) < 0 ||
        fflush(local->trace) != 0)
        return error_set(err, STATUS_UNAVAILABLE, "write a line of the digests' file: %m");
    return STATUS_OK;
}

static enum status step_begin(struct sync *sync, uint64_t step, size_t examples, struct error *err)
{
    (void)err;
    (void)step;
    local_of(sync)->examples = examples;
    return STATUS_OK;
}

static enum status gradient_ready(struct sync *sync, size_t weight, struct error *err)
{
    (void)sync; /* applied when all are there: backward still reads the weights */
    (void)weight;
    (void)err;
    return STATUS_OK;
}

static enum status weight_needed(struct sync *sync, size_t weight, struct error *err)
{
    (void)sync;
    (void)weight;
    (void)err;
    return STATUS_OK;
}

/* Block by block as on a server: the bytes do not depend on it, but a block and its slots stay in
 * cache. */
static void apply_weight(struct sync_local *local, const struct model_weight *weight,
                         const struct optimizer_scalars *scalars)
{
    struct model *model = local->sync.model;

    for (size_t first = 0; first < weight->count; first += LIMIT_BLOCK_ELEMENTS) {
        size_t at = weight->offset + first, count = weight->count - first;
        float *slots[OPTIMIZER_SLOTS_MAX] = {NULL};

        if (count > LIMIT_BLOCK_ELEMENTS)
            count = LIMIT_BLOCK_ELEMENTS;
        for (size_t i = 0; i < local->slot_count; i++)
            slots[i] = local->slots[i] + at;
        optimizer_apply(&local->optimizer, scalars, model->params + at, model->params + at, slots,
                        model->grads + at, count);
    }
}

static void add_totals(struct metric_total *total, const struct metric_total *more)
{
    total->sum += more->sum;
    total->count += more->count;
}

static enum status step_end(struct sync *sync, const struct model_totals *totals, bool restart,
                            struct error *err)
{
    struct sync_local *local = local_of(sync);
    struct optimizer_scalars scalars;

    sync->step++;
    optimizer_begin_step(&local->optimizer, sync->step, local->learning_rate, &scalars);
    for (size_t i = 0; i < sync->model->weight_count && local->examples > 0; i++) {
        if (sync->model->weights[i].trainable)
            apply_weight(local, &sync->model->weights[i], &scalars);
    }
    if (restart)
        local->running = (struct model_totals){0};
    add_totals(&local->running.loss, &totals->loss);
    for (size_t i = 0; i < sync->model->metric_count; i++)
        add_totals(&local->running.metrics[i], &totals->metrics[i]);
    return write_trace(local, err);
}

static bool running(struct sync *sync, uint64_t *ret_step, struct model_totals *ret_running)
{
    *ret_step = sync->step;
    *ret_running = local_of(sync)->running;
    return true;
}

static enum status settle(struct sync *sync, struct model_totals *ret_running, struct error *err)
{
    (void)err;
    *ret_running = local_of(sync)->running;
    return STATUS_OK;
}

static enum status add_up(struct sync *sync, const char *name, struct model_totals *totals,
                          struct error *err)
{
    (void)sync; /* the only rank has them all */
    (void)name;
    (void)totals;
    (void)err;
    return STATUS_OK;
}

static enum status finish(struct sync *sync, struct error *err)
{
    (void)sync;
    (void)err;
    return STATUS_OK;
}

static void local_free(struct sync *sync)
{
    struct sync_local *local = local_of(sync);

    for (size_t i = 0; i < local->slot_count; i++)
        alloc_free_tensor(local->slots[i], sync->model->block_floats * sizeof(float));
    if (local->trace)
        fclose(local->trace);
    alloc_free(local);
}

static const struct sync_kind local_kind = {
    .step_begin = step_begin,
    .gradient_ready = gradient_ready,
    .step_end = step_end,
    .weight_needed = weight_needed,
    .running = running,
    .settle = settle,
    .add_up = add_up,
    .finish = finish,
    .free = local_free,
};

const float *sync_local_slot(const struct sync *sync, size_t slot)
{
    const struct sync_local *local = (const struct sync_local *)sync;

    return slot < local->slot_count ? local->slots[slot] : NULL;
}

static enum status make_slots(struct sync_local *local, struct error *err)
{
    const struct model *model = local->sync.model;

    for (size_t i = 0; i < optimizer_slot_count(&local->optimizer); i++) {
        float initial = optimizer_slot_initial(&local->optimizer, i);

        local->slots[i] = alloc_tensor(model->block_floats * sizeof(float));
        if (!local->slots[i])
            return error_no_memory(err, "the optimizer's state");
        local->slot_count++;
        for (size_t k = 0; k < model->block_floats && initial != 0; k++)
            local->slots[i][k] = initial;
    }
    return STATUS_OK;
}

enum status sync_local_new(const struct sync_options *options, const char *trace_path,
                           struct sync **ret_sync, struct error *err)
{
    struct sync_local *local = alloc_zero(sizeof *local);
    enum status status = STATUS_OK;

    if (!local)
        return error_no_memory(err, "a training");
    local->sync = (struct sync){.kind = &local_kind, .model = options->model, .rank_count = 1};
    local->optimizer = *options->optimizer;
    local->learning_rate = (double)(float)optimizer_option_value(&local->optimizer,
                                                                 "learning_rate");
    if (!options->has_weights)
        status = model_initialize(options->model, options->seed, err);
    if (!status)
        status = make_slots(local, err);
    if (!status && trace_path) {
        local->trace = fopen(trace_path, "w");
        if (!local->trace)
            status = error_set(err, STATUS_UNAVAILABLE, "write digests to '%s': %m", trace_path);
    }
    if (!status)
        status = write_trace(local, err);
    if (status) {
        local_free(&local->sync);
        return status;
    }
    *ret_sync = &local->sync;
    return STATUS_OK;
}
