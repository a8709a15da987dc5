/* What is trained on what: model, loss, optimizer and data as a run's configuration names them. */
#ifndef PARAMD_WORKER_TRAIN_TASK_H
#define PARAMD_WORKER_TRAIN_TASK_H

#include "common/base/error.h"
#include "common/optim/optimizer.h"
#include "common/tensor/safetensors.h"
#include "worker/data/dataset.h"
#include "worker/data/encoding.h"
#include "worker/nn/model.h"
#include "worker/train/run.h"

#include <stdbool.h>

/* Zeroed, it may be released. */
struct task {
    struct model model;
    struct optimizer optimizer;
    struct loss loss;
    struct metric metrics[MODEL_METRICS_MAX];
    size_t metric_count;
    struct safetensors weights; /* the file of first weights; of no tensors: none */
    bool has_weights;
    struct encoding encoding;
    bool has_encoding; /* the weights' file had one */
    struct dataset train_file, test_file, predict_file;
    struct examples train, validation, test, predict; /* of those; of count 0: none */
};

void task_release(struct task *task);

/*
 * Reads everything and checks that it fits together, before anything is computed: description,
 * loss, metrics and optimizer (those of the description where the configuration has none), weights,
 * data files with their scale. The model is allocated; its params hold the weights if there are
 * any. One message says what is wrong with which file or option.
 */
NODISCARD enum status task_init(struct task *task, const struct run_config *config,
                                struct error *err);

/* task_model.c: the parts that need no data. */
NODISCARD enum status task_read_model(struct task *task, const struct run_config *config,
                                      struct error *err);
NODISCARD enum status task_read_weights(struct task *task, const struct run_config *config,
                                        struct error *err);

#endif
