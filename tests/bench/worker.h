/* The measured worker: a process with libparamd that does one thing again and again. */
#ifndef PARAMD_TESTS_BENCH_WORKER_H
#define PARAMD_TESTS_BENCH_WORKER_H

#include "tests/bench/subject.h"

#include <stddef.h>
#include <stdint.h>

enum worker_work {
    WORKER_PUSH, /* ps_push until ps_wait_staged returns */
    WORKER_PULL, /* ps_pull of the present version until it is there */
    /* a whole step: begin, push and pull of every variable, end; until the new values are there */
    WORKER_STEP,
    WORKER_SUM,     /* a step without pulls, until it is committed */
    WORKER_BARRIER, /* ps_barrier */
};

/* What it does and where; set before subject_start, which forks. */
struct worker_job {
    const char *coordinator;
    unsigned rank;
    unsigned variables;
    size_t bytes; /* of each variable */
    const char *optimizer;
    int cpu; /* -1: any; process_pin */
    /*
     * Rank 1 of 2 lives in the same process, takes part in steps with no examples, and begins each
     * only after rank 0's push has been acknowledged: until then the servers don't know the step's
     * weights, so they keep pushes and compute nothing.
     */
    bool late_partner;
};

/* The body for subject_start; context is a struct worker_job. */
void worker_run(struct orders *orders, void *context);

#endif
