#include "tests/bench/cluster.h"
#include "tests/bench/timing.h"
#include "tests/bench/train_job.h"

#include <string.h>

/* A training step alone and through a server. */

enum { NAME_BYTES = 64 };

static const struct train_model models[] = {
    {"digits", 32, 3, {64, 64, 10}},
    {"mlp", 128, 4, {784, 256, 128, 10}},
};

static enum status start(struct subject *subject, void (*body)(struct orders *, void *),
                         struct train_job *job, struct error *err)
{
    enum status status = subject_start(subject, body, job, -1, err);

    return status ? status : subject_wait(subject, err); /* it says that it is ready */
}

static void compare_row(struct bench *bench, const char *name, struct subject *ours,
                        struct subject *floor, const char *floor_name)
{
    const struct contender us = {bench_run_subject, ours, 0};
    const struct contender other = {bench_run_subject, floor, 0};
    struct comparison comparison;
    struct error err;

    if (!bench_wants(bench, name))
        return;
    if (bench_compare(bench, &us, &other, &comparison, &err))
        bench_failed(bench, name, &err);
    else
        bench_time_row(bench, name, "us", 1e6, false, &comparison, floor_name);
}

static void train(struct bench *bench, const struct train_model *model)
{
    struct cluster cluster = {0};
    struct subject products = {0}, alone = {0}, served = {0};
    struct train_job job = {.model = model}, served_job;
    struct error err;
    char local_name[NAME_BYTES], served_name[NAME_BYTES];

    snprintf(local_name, sizeof local_name, "train_%s/alone", model->name);
    snprintf(served_name, sizeof served_name, "train_%s/server", model->name);
    if (!bench_wants(bench, local_name) && !bench_wants(bench, served_name))
        return;
    enum status status = start(&alone, train_alone, &job, &err);
    if (!status)
        status = start(&products, train_products_only, &job, &err);
    if (!status)
        status = cluster_start(bench, RAW_TCP, 1, 1, &cluster, &err);
    served_job = (struct train_job){.model = model, .coordinator = cluster.coordinator};
    if (!status)
        status = start(&served, train_served, &served_job, &err);
    if (status)
        bench_failed(bench, local_name, &err);
    else {
        compare_row(bench, local_name, &alone, &products, "its matrix products alone (BLAS)");
        compare_row(bench, served_name, &served, &alone, "ours: the same step alone");
    }
    subject_stop(&products);
    subject_stop(&alone);
    subject_stop(&served);
    cluster_stop(&cluster);
}

void suite_train(struct bench *bench)
{
    if (!bench_wants(bench, "train_"))
        return;
    bench_heading("train: a step (forward, loss, backward, Adam) on made-up data; digits "
                  "64-64-10, batch 32; mlp 784-256-128-10, batch 128;\n"
                  "one thread. Through a server: gradients leave during the backward pass, "
                  "values come during the next forward pass.");
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++)
        train(bench, &models[i]);
}
