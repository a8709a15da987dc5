/* Random arrays from a Philox stream, to TensorFlow's bits; any range of a stream by itself. */
#ifndef PARAMD_COMMON_TENSOR_RANDOM_H
#define PARAMD_COMMON_TENSOR_RANDOM_H

#include "common/base/rng.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Each writes the elements first .. first + count - 1 of the float32 array that TensorFlow's
 * stateless op makes of this stream (rng_stateless), the same bytes however the array is cut. Where
 * elements lie in the stream, and how words become numbers, is written above each function in
 * random.c. The bits are those of glibc's logf, sinf and cosf.
 */

/* In [low, high): u * (high - low) + low, each operation rounded. tf.random.stateless_uniform. */
void random_uniform(const struct rng_philox *stream, float low, float high, uint64_t first,
                    size_t count, float *ret_values);

/* tf.random.stateless_normal. */
void random_normal(const struct rng_philox *stream, float mean, float stddev, uint64_t first,
                   size_t count, float *ret_values);

/* Normal numbers drawn again while they are 2 standard deviations or more away.
 * tf.random.stateless_truncated_normal. */
void random_truncated_normal(const struct rng_philox *stream, float mean, float stddev,
                             uint64_t first, size_t count, float *ret_values);

#endif
