/* A whole run of the stock worker, from what the command line says to weights in a file. */
#ifndef PARAMD_WORKER_TRAIN_RUN_H
#define PARAMD_WORKER_TRAIN_RUN_H

#include "common/base/error.h"
#include "worker/data/data_file.h"
#include "worker/data/encoding.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

/* Texts are borrowed; NULL: not given. */
struct run_config {
    const char *model;
    const char *train, *test, *label;
    const char *loss, *optimizer, *metrics;
    const char *coordinator;
    const char *weights, *save;
    const char *predict, *out;
    const char *history;
    const char *digests; /* file for the digest of every step, when alone */
    double learning_rate, validation_split;
    bool has_learning_rate, has_scale, no_shuffle;
    enum scale_kind scale;
    enum data_header header;
    uint64_t batch_size, epochs, seed;
    unsigned threads;
    uint32_t join_timeout_ms;
    const volatile sig_atomic_t *stop; /* not 0: end soon */
};

/*
 * Trains, then evaluates and saves; or, with predict, writes predictions; or, with weights and test
 * but no train, evaluates. *ret_exit_code is what the program should return, 0 if all went well.
 */
NODISCARD enum status run(const struct run_config *config, int *ret_exit_code, struct error *err);

#endif
