/* How a training shows itself: Keras's progress bar on a terminal, one line an epoch elsewhere. */
#ifndef PARAMD_WORKER_TRAIN_PROGRESS_H
#define PARAMD_WORKER_TRAIN_PROGRESS_H

#include "common/base/clock.h"
#include "common/base/limits.h"
#include "worker/nn/model.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* A log as Keras has it: "loss", "accuracy", "val_loss", ... and a mean. */
enum { LOGS_MAX = 2 * (1 + MODEL_METRICS_MAX), LOG_NAME_BYTES = LIMIT_METRIC_NAME_BYTES + 8 };
struct logs {
    struct {
        char name[LOG_NAME_BYTES];
        double value;
    } items[LOGS_MAX];
    size_t count;
};

/* Loss and metrics in alphabetical order, then those of the validation (NULL: none) likewise. */
void logs_set(struct logs *ret_logs, const struct model *model, const struct model_totals *totals,
              const struct model_totals *validation);

/* "0.9012", or "9.0120e-05" from 0.001 down. */
enum { LOG_NUMBER_BYTES = 48 };
void log_print_number(double value, char ret_text[LOG_NUMBER_BYTES]);

struct progress {
    FILE *out; /* borrowed */
    bool bar;  /* redraws a bar; otherwise writes a line at the end of an epoch */
    struct clock clock;
    uint64_t epoch_count;

    uint64_t epoch, steps;
    double start_s, first_step_s, last_draw_s;
    bool has_first_step;
    size_t width; /* columns of the line drawn last */
};

void progress_epoch_begin(struct progress *progress, uint64_t epoch, uint64_t steps);
/* So many steps of the epoch are done. Draws at most every 0.05 s. */
void progress_step(struct progress *progress, uint64_t step, const struct logs *logs);
void progress_epoch_end(struct progress *progress, const struct logs *logs);

#endif
