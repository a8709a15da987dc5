/* The bounds of a probability before its logarithm is taken, as float32 has them in Keras. */
#ifndef PARAMD_WORKER_NN_PROBABILITY_H
#define PARAMD_WORKER_NN_PROBABILITY_H

#include <stdbool.h>

#define PROBABILITY_MIN 1e-7f
#define PROBABILITY_MAX 0.99999988f /* the nearest float32 to 1 - 1e-7 */

/* A plain clip: its gradient passes inside and at the bounds, and is 0 outside. */
static inline float probability_clip(float p)
{
    float above = p < PROBABILITY_MIN ? PROBABILITY_MIN : p;
    return above > PROBABILITY_MAX ? PROBABILITY_MAX : above;
}

static inline bool probability_inside(float p)
{
    return p >= PROBABILITY_MIN && p <= PROBABILITY_MAX;
}

#endif
