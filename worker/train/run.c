#include "worker/train/run.h"

#include "common/base/alloc.h"
#include "common/base/exit_code.h"
#include "common/base/version.h"
#include "common/tensor/blas.h"
#include "common/tensor/kernels.h"
#include "common/tensor/npy.h"
#include "worker/data/encoding_text.h"
#include "worker/nn/weights.h"
#include "worker/train/history.h"
#include "worker/train/progress.h"
#include "worker/train/task.h"
#include "worker/train/trainer.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct run {
    const struct run_config *config; /* borrowed */
    struct task task;
    struct sync *sync; /* owned; NULL: nothing is trained */
    struct progress progress;
    FILE *history; /* owned; NULL: none */
};

/* ---- before ---- */

/* A file that cannot be written is better known before the training than after it. */
static enum status check_writable(const char *option, const char *path, struct error *err)
{
    const char *slash = path ? strrchr(path, '/') : NULL;
    char folder[4096] = ".";
    struct stat info;

    if (!path)
        return STATUS_OK;
    if (slash)
        snprintf(folder, sizeof folder, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    if (access(folder, W_OK) != 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s %s: cannot write into folder '%s': %m",
                         option, path, folder);
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s %s: not a regular file", option, path);
    return STATUS_OK;
}

static enum status check_config(const struct run_config *config, struct error *err)
{
    enum status status = STATUS_OK;

    if (config->predict && !(config->weights && config->out))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "--predict needs --weights FILE and --out FILE.npy");
    if (config->out && !config->predict)
        return error_set(err, STATUS_INVALID_ARGUMENT, "--out is for the predictions of --predict");
    if (!config->predict && !config->train && !(config->test && config->weights))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "--train is missing (or --weights with --test or --predict)");
    if (config->predict && config->train)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "--predict is instead of training: leave out --train");
    if (config->history && !config->train)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "--history is for a training: --train is missing");
    if (config->save && !config->train)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "--save is for a training: --train is missing");
    status = check_writable("--save", config->save, err);
    if (!status)
        status = check_writable("--out", config->out, err);
    if (!status)
        status = check_writable("--history", config->history, err);
    return status;
}

/* What the bytes of a result depend on besides data, seed and number of workers. */
static void print_start(const struct run *run)
{
    const struct sync *sync = run->sync;
    char place[96] = "alone";

    if (sync->server_count > 0)
        snprintf(place, sizeof place, "%u worker%s, %u server%s", sync->rank_count,
                 sync->rank_count == 1 ? "" : "s", sync->server_count,
                 sync->server_count == 1 ? "" : "s");
    fprintf(stderr, "paramd-worker %s: %s, %u thread%s, BLAS %s, kernels %s, %llu parameters\n",
            PARAMD_VERSION, place, run->config->threads, run->config->threads == 1 ? "" : "s",
            blas_core_name(), kernels_width_name(kernels_width()),
            (unsigned long long)model_parameter_count(&run->task.model));
    if (sync->step > 0)
        fprintf(stderr, "paramd-worker: goes on after step %llu\n", (unsigned long long)sync->step);
}

/* ---- training ---- */

static void on_epoch_begin(void *context, uint64_t epoch, uint64_t steps)
{
    struct run *run = context;

    progress_epoch_begin(&run->progress, epoch, steps);
}

static void on_step(void *context, uint64_t step, const struct model_totals *totals)
{
    struct run *run = context;
    struct logs logs;

    logs_set(&logs, &run->task.model, totals, NULL);
    progress_step(&run->progress, step, &logs);
}

static enum status open_history(struct run *run, uint64_t epoch, struct error *err)
{
    if (!run->config->history || run->history)
        return STATUS_OK;
    return history_open(run->config->history, epoch, &run->history, err);
}

static enum status on_epoch_end(void *context, uint64_t epoch, const struct model_totals *totals,
                                const struct model_totals *validation, struct error *err)
{
    struct run *run = context;
    struct logs logs;
    enum status status;

    logs_set(&logs, &run->task.model, totals, validation);
    progress_epoch_end(&run->progress, &logs);
    status = open_history(run, epoch, err);
    if (status || !run->history)
        return status;
    status = history_add(run->history, epoch, &logs, err);
    return status ? error_wrap(err, "--history %s", run->config->history) : STATUS_OK;
}

static enum status fit(struct run *run, struct error *err)
{
    const struct run_config *config = run->config;
    bool bar = isatty(STDOUT_FILENO);
    const struct trainer_listener listener = {run, on_epoch_begin, bar ? on_step : NULL,
                                              on_epoch_end};
    struct fit_options options = {.train = &run->task.train,
                                  .validation = &run->task.validation,
                                  .batch_size = config->batch_size,
                                  .epochs = config->epochs,
                                  .seed = config->seed,
                                  .shuffle = !config->no_shuffle,
                                  .listener = run->sync->rank == 0 ? &listener : NULL,
                                  .stop = config->stop};

    run->progress = (struct progress){
        .out = stdout, .bar = bar, .clock = clock_machine(), .epoch_count = config->epochs};
    return trainer_fit(run->sync, &options, err);
}

/* Equal weights are equal files: the metadata has no time, host or version. */
static enum status save(const struct run *run, struct error *err)
{
    struct safetensors_text metadata[ENCODING_PAIR_COUNT_MAX];
    struct encoding_text text;
    enum status status = encoding_print(&run->task.encoding, &text, err);

    if (status)
        return status;
    for (size_t i = 0; i < text.pair_count; i++)
        metadata[i] = (struct safetensors_text){text.pairs[i].key, text.pairs[i].value};
    status = weights_save(&run->task.model, run->config->save, metadata, text.pair_count, err);
    encoding_text_release(&text);
    return status ? error_wrap(err, "--save") : STATUS_OK;
}

/* Keras's order: the loss, then the metrics as they were given. */
static enum status test(const struct run *run, struct error *err)
{
    const struct model *model = &run->task.model;
    struct model_totals totals;
    enum status status = trainer_evaluate(run->sync, &run->task.test, "test", &totals, err);

    if (status || run->sync->rank != 0)
        return status;
    printf("test loss=%.4f", metric_mean(&totals.loss));
    for (size_t i = 0; i < model->metric_count; i++)
        printf(" %s=%.4f", model->metrics[i].name, metric_mean(&totals.metrics[i]));
    printf("\n");
    fflush(stdout);
    return STATUS_OK;
}

static enum status connect(struct run *run, int *ret_exit_code, struct error *err)
{
    const struct run_config *config = run->config;
    struct sync_options options = {.model = &run->task.model,
                                   .optimizer = &run->task.optimizer,
                                   .seed = config->seed,
                                   .has_weights = run->task.has_weights};

    *ret_exit_code = EXIT_CODE_FAILED;
    if (config->coordinator)
        return sync_cluster_new(&options, config->coordinator, config->join_timeout_ms, &run->sync,
                                ret_exit_code, err);
    return sync_local_new(&options, config->digests, &run->sync, err);
}

static enum status train(struct run *run, int *ret_exit_code, struct error *err)
{
    enum status status = connect(run, ret_exit_code, err);

    if (status)
        return status;
    if (run->sync->rank == 0)
        print_start(run);
    status = fit(run, err);
    if (!status && run->config->save && run->sync->rank == 0)
        status = save(run, err);
    if (!status && run->config->test)
        status = test(run, err);
    if (!status)
        status = run->sync->kind->finish(run->sync, err);
    if (status && run->sync->rank_count > 1)
        error_wrap(err, "rank %u", run->sync->rank);
    *ret_exit_code = status == STATUS_OK         ? EXIT_CODE_DONE
                     : run->sync->exit_code != 0 ? run->sync->exit_code
                                                 : EXIT_CODE_FAILED;
    return status;
}

/* ---- without training ---- */

static enum status evaluate_only(struct run *run, struct error *err)
{
    static const struct optimizer_option none[1];
    struct sync_options options = {.model = &run->task.model, .has_weights = true};
    enum status status = optimizer_init(&run->task.optimizer, "sgd", none, 0, err);

    options.optimizer = &run->task.optimizer;
    if (!status)
        status = sync_local_new(&options, NULL, &run->sync, err);
    return status ? status : test(run, err);
}

static enum status predict(struct run *run, struct error *err)
{
    const struct model *model = &run->task.model;
    uint64_t shape[LIMIT_RANK] = {run->task.predict.count};
    size_t count = run->task.predict.count * shape_elements(&model->output_shape);
    float *predictions = alloc_array(count, sizeof *predictions);
    enum status status;

    if (!predictions)
        return error_no_memory(err, "the predictions");
    for (size_t i = 0; i < model->output_shape.rank && i + 1 < LIMIT_RANK; i++)
        shape[1 + i] = model->output_shape.size[i];
    status = trainer_predict(&run->task.model, &run->task.predict, predictions, err);
    if (!status)
        status = npy_save(run->config->out, ELEMENT_F32, 1 + model->output_shape.rank, shape,
                          predictions, err);
    alloc_free(predictions);
    return status;
}

enum status run(const struct run_config *config, int *ret_exit_code, struct error *err)
{
    struct run run = {.config = config};
    enum status status = check_config(config, err);

    if (!status)
        status = task_init(&run.task, config, err);
    if (status) {
        *ret_exit_code = status == STATUS_RESOURCE_EXHAUSTED ? EXIT_CODE_FAILED
                                                             : EXIT_CODE_WRONG_USE;
    } else if (config->train) {
        status = train(&run, ret_exit_code, err);
    } else {
        status = config->predict ? predict(&run, err) : evaluate_only(&run, err);
        *ret_exit_code = status ? EXIT_CODE_FAILED : EXIT_CODE_DONE;
    }
    if (run.history)
        fclose(run.history);
    sync_free(run.sync);
    task_release(&run.task);
    return status;
}
