/* Philox4x32-10, the counter generator of TensorFlow: any element of a stream by its index alone.
 */
#ifndef PARAMD_COMMON_BASE_RNG_H
#define PARAMD_COMMON_BASE_RNG_H

#include <stdint.h>

struct rng_philox {
    uint32_t counter[4]; /* lowest word first */
    uint32_t key[2];
};

/* The stream that TensorFlow's stateless ops use for the seed pair (a, b). */
struct rng_philox rng_stateless(int64_t a, int64_t b);

/* Moves the stream on by blocks, with carries through all 128 bits. */
void rng_skip(struct rng_philox *rng, uint64_t blocks);

/* The four words of the present block; the stream is not moved. */
void rng_block(const struct rng_philox *rng, uint32_t ret_words[4]);

/* SplitMix64: a good 64-bit mixer; for seeds of seeds and for tests and simulations. */
uint64_t rng_mix(uint64_t x);

/* A small sequential generator (SplitMix64 stream) for tests, simulators, jitter. */
struct rng_sequence {
    uint64_t state;
};
uint64_t rng_next(struct rng_sequence *rng);
/* Uniform in 0 .. bound-1 (bound > 0), without modulo bias beyond 2^-32 for bounds below 2^32. */
uint64_t rng_below(struct rng_sequence *rng, uint64_t bound);

/* The seed of a variable: a function of the job's seed and the variable's name only, below 2^31. */
int64_t rng_variable_seed(uint64_t job_seed, const char *name);

#endif
