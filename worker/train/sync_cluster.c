/*
 * Training on a cluster: the gradient of a weight leaves as soon as backward has made it, and its
 * next value is waited for where forward needs it.
 *
 * Params and grads exist twice. A pull of version t may arrive while backward of t still reads the
 * values of t - 1; pushed gradients are lent until their step is committed, which is known when the
 * step after the next begins.
 */
#include "common/base/alloc.h"
#include "common/base/exit_code.h"
#include "worker/client/ps.h"
#include "worker/train/sync.h"

#include <stdio.h>
#include <string.h>

enum { TOTALS_MAX = 1 + MODEL_METRICS_MAX };

struct sync_cluster {
    struct sync sync;
    struct ps_client *ps; /* owned */
    uint32_t *ids;        /* owned; one a weight */
    ps_handle *pulls;     /* owned; one a weight; 0: none under way */
    float *params[2],
        *grads[2];   /* [step % 2]; the first of each is the model's, the second owned */
    uint64_t step;   /* begun last */
    size_t examples; /* of it */
};

static struct sync_cluster *cluster_of(struct sync *sync)
{
    return (struct sync_cluster *)sync;
}

/* A failure of the client library as ours; its exit code is kept for the end of the program. */
static enum status failed(struct sync *sync, const struct ps_error *from, struct error *err)
{
    sync->exit_code = from->exit_code;
    return error_set(err, (enum status)from->status, "%s", from->message);
}

/* ---- totals ---- */

static size_t to_metrics(const struct model *model, const struct model_totals *totals,
                         struct ps_metric metrics[TOTALS_MAX])
{
    metrics[0] = (struct ps_metric){"loss", totals->loss.sum, totals->loss.count};
    for (size_t i = 0; i < model->metric_count; i++)
        metrics[1 + i] = (struct ps_metric){model->metrics[i].name, totals->metrics[i].sum,
                                            totals->metrics[i].count};
    return 1 + model->metric_count;
}

static struct metric_total find_total(const struct ps_metric *metrics, size_t count,
                                      const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(metrics[i].name, name) == 0)
            return (struct metric_total){metrics[i].sum, metrics[i].count};
    }
    return (struct metric_total){0, 0};
}

static void from_metrics(const struct model *model, const struct ps_metric *metrics, size_t count,
                         struct model_totals *ret_totals)
{
    ret_totals->loss = find_total(metrics, count, "loss");
    for (size_t i = 0; i < model->metric_count; i++)
        ret_totals->metrics[i] = find_total(metrics, count, model->metrics[i].name);
}

/* ---- a step ---- */

static enum status weight_needed(struct sync *sync, size_t weight, struct error *err)
{
    struct sync_cluster *cluster = cluster_of(sync);
    struct ps_error error;
    ps_handle pull = cluster->pulls[weight];

    if (pull == 0)
        return STATUS_OK;
    cluster->pulls[weight] = 0;
    if (ps_wait(cluster->ps, pull, PS_NO_TIMEOUT, &error))
        return failed(sync, &error, err);
    return STATUS_OK;
}

static enum status wait_for_all(struct sync *sync, struct error *err)
{
    enum status status = STATUS_OK;

    for (size_t i = 0; i < sync->model->weight_count && !status; i++)
        status = weight_needed(sync, i, err);
    return status;
}

static enum status step_begin(struct sync *sync, uint64_t step, size_t examples, struct error *err)
{
    struct sync_cluster *cluster = cluster_of(sync);
    struct ps_error error;

    /* Without examples there will be no forward, which would have waited. */
    if (examples == 0) {
        enum status status = wait_for_all(sync, err);
        if (status)
            return status;
    }
    if (ps_step_begin(cluster->ps, step, examples, &error))
        return failed(sync, &error, err);
    if (step > 2 && cluster->step + 1 == step &&
        ps_wait_step(cluster->ps, step - 2, PS_NO_TIMEOUT, &error))
        return failed(sync, &error, err);
    cluster->step = step;
    cluster->examples = examples;
    sync->model->grads = cluster->grads[step % 2];
    return STATUS_OK;
}

static enum status gradient_ready(struct sync *sync, size_t weight, struct error *err)
{
    struct sync_cluster *cluster = cluster_of(sync);
    size_t offset = sync->model->weights[weight].offset;
    struct ps_error error;

    if (ps_push_pull(cluster->ps, cluster->ids[weight], sync->model->grads + offset,
                     cluster->params[cluster->step % 2] + offset, &cluster->pulls[weight], &error))
        return failed(sync, &error, err);
    return STATUS_OK;
}

/* What push_pull does for a rank that has examples. */
static enum status pull_all(struct sync *sync, uint64_t step, bool frozen_too, struct error *err)
{
    struct sync_cluster *cluster = cluster_of(sync);
    struct ps_error error;

    for (size_t i = 0; i < sync->model->weight_count; i++) {
        const struct model_weight *weight = &sync->model->weights[i];
        uint64_t version = frozen_too ? PS_LATEST : step;

        if ((weight->trainable || frozen_too) &&
            ps_pull(cluster->ps, cluster->ids[i], version,
                    cluster->params[step % 2] + weight->offset, &cluster->pulls[i], &error))
            return failed(sync, &error, err);
    }
    return STATUS_OK;
}

static enum status step_end(struct sync *sync, const struct model_totals *totals, bool restart,
                            struct error *err)
{
    struct sync_cluster *cluster = cluster_of(sync);
    struct ps_metric metrics[TOTALS_MAX];
    size_t count = to_metrics(sync->model, totals, metrics);
    struct ps_error error;

    if (cluster->examples == 0) {
        enum status status = pull_all(sync, cluster->step, false, err);
        if (status)
            return status;
    }
    if (restart ? ps_step_end_restart(cluster->ps, metrics, count, &error)
                : ps_step_end(cluster->ps, metrics, count, &error))
        return failed(sync, &error, err);
    sync->step = cluster->step;
    sync->model->params = cluster->params[cluster->step % 2];
    return STATUS_OK;
}

static bool running(struct sync *sync, uint64_t *ret_step, struct model_totals *ret_running)
{
    struct sync_cluster *cluster = cluster_of(sync);
    struct ps_metric totals[TOTALS_MAX];
    uint64_t step = ps_step(cluster->ps);
    size_t count;

    if (ps_totals(cluster->ps, step, NULL, totals, TOTALS_MAX, &count, NULL))
        return false;
    *ret_step = step;
    from_metrics(sync->model, totals, count, ret_running);
    return true;
}

static enum status settle(struct sync *sync, struct model_totals *ret_running, struct error *err)
{
    struct sync_cluster *cluster = cluster_of(sync);
    struct ps_metric totals[TOTALS_MAX];
    struct ps_error error;
    size_t count;
    enum status status = wait_for_all(sync, err);

    if (status)
        return status;
    if (ps_wait_step(cluster->ps, sync->step, PS_NO_TIMEOUT, &error) ||
        ps_totals(cluster->ps, sync->step, NULL, totals, TOTALS_MAX, &count, &error))
        return failed(sync, &error, err);
    from_metrics(sync->model, totals, count, ret_running);
    return STATUS_OK;
}

static enum status add_up(struct sync *sync, const char *name, struct model_totals *totals,
                          struct error *err)
{
    struct ps_metric metrics[TOTALS_MAX];
    size_t count = to_metrics(sync->model, totals, metrics);
    struct ps_error error;

    if (ps_barrier(cluster_of(sync)->ps, name, metrics, count, PS_NO_TIMEOUT, &error))
        return failed(sync, &error, err);
    from_metrics(sync->model, metrics, count, totals);
    return STATUS_OK;
}

static enum status finish(struct sync *sync, struct error *err)
{
    struct ps_error error;

    if (ps_finish(cluster_of(sync)->ps, &error))
        return failed(sync, &error, err);
    return STATUS_OK;
}

/* ---- joining and leaving ---- */

static void cluster_free(struct sync *sync)
{
    struct sync_cluster *cluster = cluster_of(sync);
    size_t bytes = sync->model->block_floats * sizeof(float);

    ps_close(cluster->ps); /* first: it ends the loans */
    sync->model->params = cluster->params[0];
    sync->model->grads = cluster->grads[0];
    alloc_free_tensor(cluster->params[1], bytes);
    alloc_free_tensor(cluster->grads[1], bytes);
    alloc_free(cluster->ids);
    alloc_free(cluster->pulls);
    alloc_free(cluster);
}

static const struct sync_kind cluster_kind = {
    .step_begin = step_begin,
    .gradient_ready = gradient_ready,
    .step_end = step_end,
    .weight_needed = weight_needed,
    .running = running,
    .settle = settle,
    .add_up = add_up,
    .finish = finish,
    .free = cluster_free,
};

static enum status allocate(struct sync_cluster *cluster, struct error *err)
{
    struct model *model = cluster->sync.model;
    size_t bytes = model->block_floats * sizeof(float);

    cluster->params[0] = model->params;
    cluster->grads[0] = model->grads;
    cluster->params[1] = alloc_tensor(bytes);
    cluster->grads[1] = alloc_tensor(bytes);
    cluster->ids = alloc_array(model->weight_count, sizeof *cluster->ids);
    cluster->pulls = alloc_array(model->weight_count, sizeof *cluster->pulls);
    if (!cluster->params[1] || !cluster->grads[1] || !cluster->ids || !cluster->pulls)
        return error_no_memory(err, "the second copy of the weights and gradients");
    return STATUS_OK;
}

static enum status create(struct sync_cluster *cluster, const struct sync_options *options,
                          size_t index, struct error *err)
{
    const struct model_weight *weight = &options->model->weights[index];
    struct ps_variable variable = {.name = weight->path,
                                   .initializer = PS_ASSIGNED,
                                   .rank = weight->shape.rank,
                                   .not_trainable = !weight->trainable};
    struct initializer initializer;
    uint64_t shape[SHAPE_RANK_MAX];
    struct ps_error error;

    for (size_t i = 0; i < weight->shape.rank; i++)
        shape[i] = weight->shape.size[i];
    variable.shape = shape;
    if (!options->has_weights) {
        enum status status = model_weight_initializer(options->model, index, options->seed,
                                                      &initializer, err);
        if (status)
            return status;
        variable.initializer = (enum ps_initializer)initializer.kind;
        variable.a = initializer.a;
        variable.b = initializer.b;
        variable.seed = initializer.seed;
        variable.has_seed = true;
    }
    if (ps_create(cluster->ps, &variable, &cluster->ids[index], &error))
        return failed(&cluster->sync, &error, err);
    return STATUS_OK;
}

static enum status configure(struct sync_cluster *cluster, const struct optimizer *optimizer,
                             struct error *err)
{
    struct ps_setting settings[OPTIMIZER_OPTIONS_MAX];
    struct ps_error error;

    for (size_t i = 0; i < optimizer->kind->option_count; i++)
        settings[i] = (struct ps_setting){optimizer->kind->options[i].key, optimizer->option[i]};
    if (ps_configure(cluster->ps, 0, optimizer->kind->name, settings, optimizer->kind->option_count,
                     &error))
        return failed(&cluster->sync, &error, err);
    return STATUS_OK;
}

/* Rank 0's params become version 0. */
static enum status assign(struct sync_cluster *cluster, struct error *err)
{
    const struct model *model = cluster->sync.model;
    struct ps_error error;

    for (size_t i = 0; i < model->weight_count; i++) {
        if (ps_assign(cluster->ps, cluster->ids[i], model->params + model->weights[i].offset,
                      &error))
            return failed(&cluster->sync, &error, err);
    }
    return STATUS_OK;
}

/* Both copies get all values: those of frozen weights never change. */
static enum status fetch(struct sync_cluster *cluster, struct error *err)
{
    struct sync *sync = &cluster->sync;
    enum status status;

    sync->step = cluster->step = ps_step(cluster->ps);
    status = pull_all(sync, sync->step, true, err);
    if (!status)
        status = wait_for_all(sync, err);
    if (status)
        return status;
    memcpy(cluster->params[(sync->step + 1) % 2], cluster->params[sync->step % 2],
           sync->model->block_floats * sizeof(float));
    sync->model->params = cluster->params[sync->step % 2];
    return STATUS_OK;
}

static enum status join(struct sync_cluster *cluster, const struct sync_options *options,
                        const char *coordinator, uint32_t join_timeout_ms, struct error *err)
{
    struct ps_options ps_options = {.coordinator = coordinator,
                                    .join_timeout_ms = join_timeout_ms,
                                    .program = "paramd-worker",
                                    .seed = options->seed};
    struct ps_error error;
    enum status status = STATUS_OK;

    if (ps_connect(&ps_options, &cluster->ps, &error))
        return failed(&cluster->sync, &error, err);
    cluster->sync.rank = ps_rank(cluster->ps);
    cluster->sync.rank_count = ps_workers(cluster->ps);
    cluster->sync.server_count = ps_servers(cluster->ps);
    for (size_t i = 0; i < options->model->weight_count && !status; i++)
        status = create(cluster, options, i, err);
    if (!status)
        status = configure(cluster, options->optimizer, err);
    if (!status && ps_start(cluster->ps, &error))
        status = failed(&cluster->sync, &error, err);
    if (!status && options->has_weights && ps_step(cluster->ps) == 0)
        status = assign(cluster, err);
    if (!status)
        status = fetch(cluster, err);
    return status;
}

enum status sync_cluster_new(const struct sync_options *options, const char *coordinator,
                             uint32_t join_timeout_ms, struct sync **ret_sync, int *ret_exit_code,
                             struct error *err)
{
    struct sync_cluster *cluster = alloc_zero(sizeof *cluster);
    enum status status;

    *ret_exit_code = EXIT_CODE_FAILED;
    if (!cluster)
        return error_no_memory(err, "a training");
    cluster->sync = (struct sync){.kind = &cluster_kind, .model = options->model};
    status = allocate(cluster, err);
    if (!status)
        status = join(cluster, options, coordinator, join_timeout_ms, err);
    if (status) {
        if (cluster->sync.exit_code != 0)
            *ret_exit_code = cluster->sync.exit_code;
        cluster_free(&cluster->sync);
        return status;
    }
    *ret_sync = &cluster->sync;
    return STATUS_OK;
}
