/* The benchmark's frame: pairs of ours and a floor run in turns, and the table and file that come
 * of them. */
#ifndef PARAMD_TESTS_BENCH_BENCH_H
#define PARAMD_TESTS_BENCH_BENCH_H

#include "common/base/error.h"
#include "tests/bench/subject.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* SIGINT or SIGTERM has come: nothing more is measured. 0: none. */
extern volatile sig_atomic_t bench_signal;

struct bench {
    bool quick;
    bool samples;      /* every sample is printed as it comes */
    const char *only;  /* rows whose name has these words; NULL: all */
    char paramd[4096]; /* the program beside this one */
    char dir[256];     /* for logs, addresses and Unix sockets */
    double sample_s;   /* one sample takes about so long */
    double row_s;      /* a comparison's time for its pairs */
    unsigned pairs_min, pairs_max;
    FILE *json; /* NULL: none */
    unsigned rows, failures, repeated, doubtful;
};

/* One of the two that are compared: runs `what` count times, and says how long each took. */
struct contender {
    enum status (*run)(void *context, unsigned what, unsigned count, double *ret_seconds,
                       struct error *err);
    void *context;
    unsigned what;
};

struct figures {
    double p50, p99;  /* seconds: the median of the samples' medians; of all repetitions */
    double low, high; /* smallest and largest sample */
};

struct comparison {
    struct figures ours, floor;
    unsigned runs; /* pairs */
    bool doubtful; /* others used the CPUs in a sample, and still did when it was taken again */
};

/* Warms both up, then takes pairs in the order ours, floor, floor, ours, ... */
NODISCARD enum status bench_compare(struct bench *bench, const struct contender *ours,
                                    const struct contender *floor,
                                    struct comparison *ret_comparison, struct error *err);

/* For contenders that are subjects: context is the struct subject. */
enum status bench_run_subject(void *context, unsigned what, unsigned count, double *ret_seconds,
                              struct error *err);

struct row {
    const char *name, *unit;
    double value, floor;
    double low, high; /* of value */
    const char *floor_name;
    bool higher_is_better;
};

/* Whether a row of this name is asked for; a group of rows asks with its common beginning. */
bool bench_wants(const struct bench *bench, const char *name);

/* A line of the table and an entry of the file. */
void bench_row(struct bench *bench, const struct row *row, const struct comparison *comparison);
/* Milliseconds or microseconds of a comparison, times `scale`; at p99 if so asked. */
void bench_time_row(struct bench *bench, const char *name, const char *unit, double scale, bool p99,
                    const struct comparison *comparison, const char *floor_name);
/* Something per second: `amount` of it is done in each repetition of ours, and of the floor's. */
void bench_rate_row(struct bench *bench, const char *name, const char *unit, double amount,
                    double floor_amount, const struct comparison *comparison,
                    const char *floor_name);
/* Lines above a group of rows: what they include. */
void bench_heading(const char *text);
/* A group of rows could not be measured; the others go on, and the program's exit code is 1. */
void bench_failed(struct bench *bench, const char *name, const struct error *err);

/* The groups, each in a file of its own. */
void suite_transfer(struct bench *bench);
void suite_kernels(struct bench *bench);
void suite_cluster(struct bench *bench);
void suite_train(struct bench *bench);

#endif
