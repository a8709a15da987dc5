/* Time and statistics of the benchmark; libc only, so that floors may use it too. */
#ifndef PARAMD_TESTS_BENCH_TIMING_H
#define PARAMD_TESTS_BENCH_TIMING_H

#include <stddef.h>
#include <stdlib.h>
#include <time.h>

static inline double now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static inline int timing_by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Sorts values; fraction 0.5 is the median. count > 0. */
static inline double quantile(double *values, size_t count, double fraction)
{
    qsort(values, count, sizeof values[0], timing_by_value);
    double at = fraction * (double)(count - 1);
    size_t low = (size_t)at;
    double rest = at - (double)low;
    return low + 1 < count ? values[low] * (1 - rest) + values[low + 1] * rest : values[low];
}

#endif
