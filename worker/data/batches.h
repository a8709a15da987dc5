/* Which examples a rank computes in which step: a function of seed, epoch, batch and rank, nothing
 * else. */
#ifndef PARAMD_WORKER_DATA_BATCHES_H
#define PARAMD_WORKER_DATA_BATCHES_H

#include "common/base/error.h"
#include "common/base/status.h"
#include "worker/data/dataset.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Every epoch goes once through all examples, in global batches of batch_size, the last one perhaps
 * smaller. The order of an epoch is a permutation that depends on (seed, epoch) only; each rank
 * takes a contiguous share of every batch. So a run with n workers sees the same examples in the
 * same step as a run with one, and a worker that starts again knows its share of step t without
 * having seen the steps before.
 */
struct batches {
    size_t example_count;
    size_t batch_size;
    bool shuffle;
    uint64_t seed;
    uint64_t steps_per_epoch; /* ceil(example_count / batch_size) */
    uint32_t *order;          /* owned; the permutation of order_epoch; NULL without shuffling */
    uint64_t order_epoch;     /* UINT64_MAX: none yet */
};

/*
 * INVALID_ARGUMENT if example_count is 0 or above DATASET_EXAMPLE_COUNT_MAX, or batch_size is 0;
 * RESOURCE_EXHAUSTED if there is no memory for the order (4 bytes an example). Nothing allocates
 * after this.
 */
NODISCARD enum status batches_init(struct batches *batches, size_t example_count, size_t batch_size,
                                   bool shuffle, uint64_t seed, struct error *err);
void batches_release(struct batches *batches);

/* Where a step is: epoch and batch from 0, steps from 1 as the cluster counts them. */
struct batch_position {
    uint64_t epoch;
    uint64_t batch;
};
struct batch_position batches_position(const struct batches *batches, uint64_t step);

/* The step of that batch. */
uint64_t batches_step(const struct batches *batches, struct batch_position position);

/* Part of a global batch: places first .. first + count - 1 in the order of the epoch. */
struct batch_share {
    size_t first;
    size_t count;       /* may be 0 */
    size_t batch_count; /* examples of the whole batch, all ranks */
};

/*
 * The share of rank 0 .. rank_count - 1 of a batch: shares follow one another in rank order and
 * differ by at most one example.
 */
struct batch_share batches_share(const struct batches *batches, uint64_t batch, uint32_t rank,
                                 uint32_t rank_count);

/*
 * Copy the examples of a share, as they stand in the order of the epoch, into one block.
 *
 *   examples       of which there are batches->example_count; only read.
 *   ret_features   (share.count, feature_count) float32.
 *   ret_labels     (share.count) float32; may be NULL.
 *
 * Makes the order of the epoch when it is another than last time, in O(example_count). Allocates
 * nothing.
 */
void batches_gather(struct batches *batches, const struct examples *examples, uint64_t epoch,
                    struct batch_share share, float *ret_features, float *ret_labels);

/*
 * The permutation of 0 .. count-1 for (seed, epoch): Fisher and Yates's shuffle from the last place
 * to the second, where place i is exchanged with place floor(r * (i + 1) / 2^64). r is 64 bits of
 * Philox4x32-10: words 2 (i mod 2) (low) and 2 (i mod 2) + 1 (high) of block floor(i / 2) of the
 * stateless stream of (rng_mix(seed + BATCHES_STREAM), epoch).
 *
 *   ret_order   count numbers.
 *
 * Source: Durstenfeld 1964, Algorithm 235, https://doi.org/10.1145/364520.364540
 */
#define BATCHES_STREAM UINT64_C(0x6261746368657321)
void batches_permute(uint64_t seed, uint64_t epoch, size_t count, uint32_t *ret_order);

#endif
