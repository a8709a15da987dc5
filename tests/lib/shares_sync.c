#include "tests/lib/shares_sync.h"

#include "common/tensor/kernels.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct shares;

struct shares_rank {
    struct sync sync;
    struct shares *shares;
    struct fit_options options;
    size_t examples;
    struct model_totals totals;
    enum status status;
    struct error err;
};

struct shares {
    uint32_t count;
    pthread_barrier_t barrier;
    struct shares_rank ranks[SHARES_RANKS_MAX];
    struct sync *inner; /* of rank 0's model: values and slots */
    struct model_totals sum;
};

static struct shares_rank *rank_of(struct sync *sync)
{
    return (struct shares_rank *)sync;
}

static void meet(struct shares *shares)
{
    pthread_barrier_wait(&shares->barrier);
}

static enum status step_begin(struct sync *sync, uint64_t step, size_t examples, struct error *err)
{
    (void)err;
    assert(step == sync->step + 1);
    rank_of(sync)->examples = examples;
    return STATUS_OK;
}

static enum status nothing_to_do(struct sync *sync, size_t weight, struct error *err)
{
    (void)sync;
    (void)weight;
    (void)err;
    return STATUS_OK;
}

static void add_totals(struct shares *shares)
{
    shares->sum = shares->ranks[0].totals;
    for (uint32_t r = 1; r < shares->count; r++) {
        const struct model_totals *more = &shares->ranks[r].totals;
        shares->sum.loss.sum += more->loss.sum;
        shares->sum.loss.count += more->loss.count;
        for (size_t i = 0; i < MODEL_METRICS_MAX; i++) {
            shares->sum.metrics[i].sum += more->metrics[i].sum;
            shares->sum.metrics[i].count += more->metrics[i].count;
        }
    }
}

/* The sum lands in rank 0's grads. */
static size_t fold(struct shares *shares)
{
    struct model *first = shares->ranks[0].sync.model;
    size_t all = 0, folded = 0;

    for (uint32_t r = 0; r < shares->count; r++)
        all += shares->ranks[r].examples;
    for (uint32_t r = 0; r < shares->count; r++) {
        float weight = (float)((double)shares->ranks[r].examples / (double)all);
        const float *grads = shares->ranks[r].sync.model->grads;

        if (shares->ranks[r].examples == 0)
            continue;
        if (folded++ == 0)
            kernels_scale(first->grads, grads, weight, first->block_floats);
        else
            kernels_add_scaled(first->grads, grads, weight, first->block_floats);
    }
    return all;
}

static enum status step_end(struct sync *sync, const struct model_totals *totals, bool restart,
                            struct error *err)
{
    struct shares_rank *rank = rank_of(sync);
    struct shares *shares = rank->shares;
    enum status status = STATUS_OK;

    rank->totals = *totals;
    meet(shares);
    if (sync->rank == 0) {
        size_t examples = fold(shares);
        add_totals(shares);
        status = shares->inner->kind->step_begin(shares->inner, sync->step + 1, examples, err);
        if (!status)
            status = shares->inner->kind->step_end(shares->inner, &shares->sum, restart, err);
    }
    meet(shares);
    if (sync->rank != 0)
        memcpy(sync->model->params, shares->ranks[0].sync.model->params,
               sync->model->block_floats * sizeof(float));
    sync->step++;
    return status;
}

static bool running(struct sync *sync, uint64_t *ret_step, struct model_totals *ret_running)
{
    struct sync *inner = rank_of(sync)->shares->inner;

    return sync->rank == 0 && inner->kind->running(inner, ret_step, ret_running);
}

static enum status settle(struct sync *sync, struct model_totals *ret_running, struct error *err)
{
    struct sync *inner = rank_of(sync)->shares->inner;

    return inner->kind->settle(inner, ret_running, err);
}

static enum status add_up(struct sync *sync, const char *name, struct model_totals *totals,
                          struct error *err)
{
    struct shares_rank *rank = rank_of(sync);

    (void)name;
    (void)err;
    rank->totals = *totals;
    meet(rank->shares);
    if (sync->rank == 0)
        add_totals(rank->shares);
    meet(rank->shares);
    *totals = rank->shares->sum;
    return STATUS_OK;
}

static const struct sync_kind shares_kind = {
    .step_begin = step_begin,
    .gradient_ready = nothing_to_do,
    .step_end = step_end,
    .weight_needed = nothing_to_do,
    .running = running,
    .settle = settle,
    .add_up = add_up,
};

static void *run_rank(void *context)
{
    struct shares_rank *rank = context;

    kernels_flush_denormals();
    rank->status = trainer_fit(&rank->sync, &rank->options, &rank->err);
    return NULL;
}

enum status shares_fit(struct model *const *models, uint32_t rank_count,
                       const struct optimizer *optimizer, const struct fit_options *options,
                       const char *trace_path, struct error *err)
{
    static struct shares shares;
    struct sync_options sync_options = {
        .model = models[0], .optimizer = optimizer, .has_weights = true};
    pthread_t threads[SHARES_RANKS_MAX];
    enum status status = sync_local_new(&sync_options, trace_path, &shares.inner, err);

    if (status)
        return status;
    shares.count = rank_count;
    if (pthread_barrier_init(&shares.barrier, NULL, rank_count) != 0)
        abort();
    for (uint32_t r = 0; r < rank_count; r++) {
        shares.ranks[r] = (struct shares_rank){.shares = &shares, .options = *options};
        shares.ranks[r].sync = (struct sync){
            .kind = &shares_kind, .model = models[r], .rank = r, .rank_count = rank_count};
        if (r > 0)
            shares.ranks[r].options.listener = NULL;
    }
    for (uint32_t r = 0; r < rank_count; r++) {
        if (pthread_create(&threads[r], NULL, run_rank, &shares.ranks[r]) != 0)
            abort();
    }
    for (uint32_t r = 0; r < rank_count; r++)
        pthread_join(threads[r], NULL);
    pthread_barrier_destroy(&shares.barrier);
    sync_free(shares.inner);
    *err = shares.ranks[0].err;
    return shares.ranks[0].status;
}
