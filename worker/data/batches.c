#include "worker/data/batches.h"

#include "common/base/alloc.h"
#include "common/base/rng.h"

#include <assert.h>
#include <string.h>

#define ORDER_EPOCH_NONE UINT64_MAX

enum status batches_init(struct batches *batches, size_t example_count, size_t batch_size,
                         bool shuffle, uint64_t seed, struct error *err)
{
    uint32_t *order = NULL;

    if (example_count == 0 || example_count > DATASET_EXAMPLE_COUNT_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%zu examples cannot be dealt into batches; 1 to %zu can", example_count,
                         DATASET_EXAMPLE_COUNT_MAX);
    if (batch_size == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "the batch size is 0; it must be at least 1");
    if (shuffle) {
        order = alloc_array(example_count, sizeof *order);
        if (!order)
            return error_no_memory(err, "the order of the examples");
    }
    *batches = (struct batches){
        .example_count = example_count,
        .batch_size = batch_size,
        .shuffle = shuffle,
        .seed = seed,
        .steps_per_epoch = (example_count - 1) / batch_size + 1,
        .order = order,
        .order_epoch = ORDER_EPOCH_NONE,
    };
    return STATUS_OK;
}

void batches_release(struct batches *batches)
{
    if (!batches)
        return;
    alloc_free(batches->order);
    *batches = (struct batches){0};
}

struct batch_position batches_position(const struct batches *batches, uint64_t step)
{
    assert(step > 0);
    return (struct batch_position){
        .epoch = (step - 1) / batches->steps_per_epoch,
        .batch = (step - 1) % batches->steps_per_epoch,
    };
}

uint64_t batches_step(const struct batches *batches, struct batch_position position)
{
    return position.epoch * batches->steps_per_epoch + position.batch + 1;
}

struct batch_share batches_share(const struct batches *batches, uint64_t batch, uint32_t rank,
                                 uint32_t rank_count)
{
    size_t first, batch_count, begin, end;

    assert(batch < batches->steps_per_epoch && rank < rank_count);
    first = (size_t)batch * batches->batch_size;
    batch_count = batches->example_count - first;
    if (batch_count > batches->batch_size)
        batch_count = batches->batch_size;
    begin = batch_count * rank / rank_count; /* both factors below 2^32 */
    end = batch_count * ((size_t)rank + 1) / rank_count;
    return (struct batch_share){
        .first = first + begin, .count = end - begin, .batch_count = batch_count};
}

/* floor(r * bound / 2^64): uniform but for 2^-32 at most. */
static uint32_t below(uint64_t r, uint64_t bound)
{
    return (uint32_t)(((unsigned __int128)r * bound) >> 64);
}

void batches_permute(uint64_t seed, uint64_t epoch, size_t count, uint32_t *ret_order)
{
    const struct rng_philox stream = rng_stateless((int64_t)rng_mix(seed + BATCHES_STREAM),
                                                   (int64_t)epoch);
    uint32_t words[4] = {0};
    size_t i;

    for (i = 0; i < count; i++)
        ret_order[i] = (uint32_t)i;
    for (i = count; i-- > 1;) {
        const uint32_t *pair = words + 2 * (i % 2);
        uint32_t other, kept;
        if (i % 2 == 1 || i + 1 == count) { /* the first of a block, going down */
            struct rng_philox block = stream;
            rng_skip(&block, i / 2);
            rng_block(&block, words);
        }
        other = below((uint64_t)pair[1] << 32 | pair[0], (uint64_t)i + 1);
        kept = ret_order[i];
        ret_order[i] = ret_order[other];
        ret_order[other] = kept;
    }
}

void batches_gather(struct batches *batches, const struct examples *examples, uint64_t epoch,
                    struct batch_share share, float *ret_features, float *ret_labels)
{
    size_t feature_count = examples->feature_count;
    size_t i;

    assert(examples->count == batches->example_count);
    assert(share.first + share.count <= examples->count);
    if (batches->shuffle && batches->order_epoch != epoch) {
        batches_permute(batches->seed, epoch, batches->example_count, batches->order);
        batches->order_epoch = epoch;
    }
    for (i = 0; i < share.count; i++) {
        size_t place = share.first + i;
        size_t example = batches->shuffle ? batches->order[place] : place;
        memcpy(ret_features + i * feature_count, examples->features + example * feature_count,
               feature_count * sizeof *ret_features);
        if (ret_labels && examples->labels)
            ret_labels[i] = examples->labels[example];
    }
}
