/* Processes that train a small model for the benchmark: alone, through a server, and the matrix
 * products only. */
#ifndef PARAMD_TESTS_BENCH_TRAIN_JOB_H
#define PARAMD_TESTS_BENCH_TRAIN_JOB_H

#include "tests/bench/subject.h"

#include <stddef.h>

enum { TRAIN_SIZES_MAX = 4 };

struct train_model {
    const char *name;
    size_t batch;
    size_t size_count;
    size_t sizes[TRAIN_SIZES_MAX]; /* inputs, hidden layers (relu), classes (softmax) */
};

struct train_job {
    const struct train_model *model;
    const char *coordinator; /* of train_served */
};

/* Bodies for subject_start; context is a struct train_job. Each answers once unasked when it is
 * ready; then a repetition is a step. */
void train_alone(struct orders *orders, void *context);
void train_served(struct orders *orders, void *context);
void train_products_only(struct orders *orders, void *context);

#endif
