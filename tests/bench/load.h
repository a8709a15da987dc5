/* What else the machine does, and what machine it is. */
#ifndef PARAMD_TESTS_BENCH_LOAD_H
#define PARAMD_TESTS_BENCH_LOAD_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

/* A process of the benchmark's own, whose time is not somebody else's. */
void load_own_process(pid_t pid, bool alive);

/* CPU time until now; take two. */
struct load_mark {
    double at_s;
    double busy_s;   /* all processes, user and system */
    double own_s;    /* ours among them */
    double stolen_s; /* by the host of a virtual machine */
};
struct load_mark load_now(void);

/* Share of all CPUs that others used (the host included) between the mark and now, 0 to 1. */
double load_of_others(const struct load_mark *since);

/* CPU, cores, kernels' width, congestion control, huge pages, load: the lines at the top. */
void machine_print(FILE *out);

#endif
