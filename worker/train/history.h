/* The history of a training as a CSV file: one row an epoch, as Keras's CSVLogger writes it. */
#ifndef PARAMD_WORKER_TRAIN_HISTORY_H
#define PARAMD_WORKER_TRAIN_HISTORY_H

#include "common/base/error.h"
#include "worker/train/progress.h"

#include <stdint.h>

/*
 * Begins a file of rows "epoch,<names in order>", epochs from 0. Where a process goes on with a
 * training (epoch_first > 0), rows of earlier epochs that are there already are kept.
 */
NODISCARD enum status history_open(const char *path, uint64_t epoch_first, FILE **ret_file,
                                   struct error *err);

/* Adds the row of an epoch; the first one of a file is preceded by the names. */
NODISCARD enum status history_add(FILE *file, uint64_t epoch, const struct logs *logs,
                                  struct error *err);

#endif
