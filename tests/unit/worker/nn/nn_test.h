/* What the tests of worker/nn share: small random arrays, and gradients by central differences. */
#ifndef PARAMD_TESTS_UNIT_WORKER_NN_NN_TEST_H
#define PARAMD_TESTS_UNIT_WORKER_NN_NN_TEST_H

#include "common/base/rng.h"
#include "tests/lib/test.h"

#include <math.h>

/* Numbers in -range .. range that keep off multiples of 0.25, where activations have corners. */
static inline void fill_random(float *values, size_t count, float range, uint64_t seed)
{
    struct rng_sequence rng = {.state = seed};

    for (size_t i = 0; i < count; i++) {
        do {
            values[i] = range * ((float)rng_below(&rng, 20001) / 10000.0f - 1.0f);
        } while (fabsf(values[i] * 4 - roundf(values[i] * 4)) < 0.1f);
    }
}

/*
 * Checks grad against central differences of scalar(context), one element of values after the
 * other. The step of 1/256 costs about 1e-5 of curvature and 3e-5 of float32 rounding.
 */
static inline void check_gradient(float *values, const float *grad, size_t count,
                                  double (*scalar)(void *context), void *context, const char *what)
{
    const float step = 1.0f / 256;

    for (size_t i = 0; i < count; i++) {
        float old = values[i];
        double above, below, slope;

        values[i] = old + step;
        above = scalar(context);
        values[i] = old - step;
        below = scalar(context);
        values[i] = old;
        slope = (above - below) / (2 * (double)step);
        if (!(fabs(slope - (double)grad[i]) <= 5e-4 + 2e-3 * fabs(slope)))
            fail_msg("%s: gradient %zu at %g is %g, by differences %g", what, i, (double)old,
                     (double)grad[i], slope);
    }
}

#endif
