/* Initial values: functions of (kind, seed, shape, element) only, made anywhere. */
#ifndef PARAMD_COMMON_OPTIM_INITIALIZER_H
#define PARAMD_COMMON_OPTIM_INITIALIZER_H

#include "common/base/error.h"
#include "common/tensor/dtype.h"

#include <stddef.h>
#include <stdint.h>

/* Numbers are those of proto/tensor.proto. */
enum initializer_kind {
    INITIALIZER_ZEROS = 0,
    INITIALIZER_ONES = 1,
    INITIALIZER_CONSTANT = 2,         /* a: the value */
    INITIALIZER_UNIFORM = 3,          /* a: min, b: max */
    INITIALIZER_NORMAL = 4,           /* a: mean, b: stddev */
    INITIALIZER_TRUNCATED_NORMAL = 5, /* a: mean, b: stddev */
    INITIALIZER_ASSIGNED = 6,         /* rank 0 pushes the values (assign at step 0) */
};

struct initializer {
    enum initializer_kind kind;
    double a, b;
    int64_t seed; /* Keras's int seed: the stream of the seed pair (seed, 0) */
};

/*
 * Writes elements first .. first+count-1 (row-major) of the variable's initial value; the same
 * bytes however the range is cut. Random kinds are for float32 only (INVALID_ARGUMENT otherwise),
 * to TensorFlow's bits.
 */
NODISCARD enum status initializer_fill(const struct initializer *initializer, enum dtype dtype,
                                       uint64_t first, size_t count, void *ret_values,
                                       struct error *err);

/*
 * The initializer that Keras's class name and arguments stand for, given the variable's shape:
 * GlorotUniform, GlorotNormal, HeUniform, HeNormal, LecunUniform, LecunNormal, VarianceScaling
 * (fans from the shape), RandomUniform, RandomNormal, TruncatedNormal, Zeros, Ones, Constant; also
 * Keras's snake case ("glorot_uniform").
 *
 *   arguments   (key, double) pairs of its config ("scale", "mean", "stddev", "minval", "maxval",
 * "value"); absent
 *               ones have Keras's defaults. mode and distribution of VarianceScaling are texts
 * (NULL: default).
 *
 * NOT_FOUND: no such initializer; INVALID_ARGUMENT: a value out of range.
 */
struct initializer_argument {
    const char *key;
    double value;
};
NODISCARD enum status initializer_named(const char *name,
                                        const struct initializer_argument *arguments,
                                        size_t argument_count, const char *mode,
                                        const char *distribution, const uint64_t *shape,
                                        size_t rank, int64_t seed,
                                        struct initializer *ret_initializer, struct error *err);

#endif
