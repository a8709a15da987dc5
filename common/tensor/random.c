#include "common/tensor/random.h"

#include <math.h>
#include <string.h>

enum {
    GROUP_ELEMENTS = 4, /* a block of the generator makes four numbers */
    /* from the start of one group of truncated numbers to the next one */
    TRUNCATED_BLOCKS_PER_GROUP = 256,
};

static const float TRUNCATION_BOUND = 2.0f; /* standard deviations */
/* below it the logarithm of a normal number is taken of this */
static const float SMALLEST_UNIFORM = 1e-7f;

/* The low 23 bits of a word as the mantissa of a number in [1, 2), less 1. */
static float unit_uniform(uint32_t word)
{
    uint32_t bits = 0x3F800000u | (word & 0x007FFFFFu);
    float value;

    memcpy(&value, &bits, sizeof value);
    return value - 1.0f;
}

/* Box and Muller's two normal numbers from two words, sine first. The angle is a product in double,
 * rounded once. */
static void normal_pair(uint32_t word_radius, uint32_t word_angle, float ret_pair[2])
{
    float u = unit_uniform(word_radius);
    float angle = (float)(2.0 * M_PI * (double)unit_uniform(word_angle));
    float radius = sqrtf(-2.0f * logf(u < SMALLEST_UNIFORM ? SMALLEST_UNIFORM : u));

    ret_pair[0] = sinf(angle) * radius;
    ret_pair[1] = cosf(angle) * radius;
}

static void uniform_group(const struct rng_philox *stream, uint64_t group,
                          float ret_group[GROUP_ELEMENTS])
{
    struct rng_philox at = *stream;
    uint32_t words[4];

    rng_skip(&at, group);
    rng_block(&at, words);
    for (int i = 0; i < GROUP_ELEMENTS; i++)
        ret_group[i] = unit_uniform(words[i]);
}

static void normal_group(const struct rng_philox *stream, uint64_t group,
                         float ret_group[GROUP_ELEMENTS])
{
    struct rng_philox at = *stream;
    uint32_t words[4];

    rng_skip(&at, group);
    rng_block(&at, words);
    normal_pair(words[0], words[1], ret_group);
    normal_pair(words[2], words[3], ret_group + 2);
}

/*
 * Keeps the first four numbers inside the bound. 95 of 100 are, so that one block in hundreds needs
 * a third one; if all blocks up to the next group had too few (no stream is known to), the rest
 * would be zeros.
 */
static void truncated_group(const struct rng_philox *stream, uint64_t group,
                            float ret_group[GROUP_ELEMENTS])
{
    struct rng_philox at = *stream;
    int kept = 0;

    memset(ret_group, 0, GROUP_ELEMENTS * sizeof *ret_group);
    rng_skip(&at, group * TRUNCATED_BLOCKS_PER_GROUP);
    for (int block = 0; block < TRUNCATED_BLOCKS_PER_GROUP && kept < GROUP_ELEMENTS; block++) {
        uint32_t words[4];
        float candidates[4];

        rng_block(&at, words);
        rng_skip(&at, 1);
        normal_pair(words[0], words[1], candidates);
        normal_pair(words[2], words[3], candidates + 2);
        for (int i = 0; i < 4 && kept < GROUP_ELEMENTS; i++) {
            if (fabsf(candidates[i]) < TRUNCATION_BOUND)
                ret_group[kept++] = candidates[i];
        }
    }
}

typedef void make_group(const struct rng_philox *stream, uint64_t group,
                        float ret_group[GROUP_ELEMENTS]);

/* Cuts the wanted range out of whole groups, and scales: two operations, each rounded. */
static void fill(const struct rng_philox *stream, make_group *make, float factor, float offset,
                 uint64_t first, size_t count, float *ret_values)
{
    size_t done = 0;

    while (done < count) {
        uint64_t element = first + done;
        size_t skipped = (size_t)(element % GROUP_ELEMENTS);
        float values[GROUP_ELEMENTS];

        make(stream, element / GROUP_ELEMENTS, values);
        for (size_t i = skipped; i < GROUP_ELEMENTS && done < count; i++)
            ret_values[done++] = values[i] * factor + offset;
    }
}

void random_uniform(const struct rng_philox *stream, float low, float high, uint64_t first,
                    size_t count, float *ret_values)
{
    fill(stream, uniform_group, high - low, low, first, count, ret_values);
}

void random_normal(const struct rng_philox *stream, float mean, float stddev, uint64_t first,
                   size_t count, float *ret_values)
{
    fill(stream, normal_group, stddev, mean, first, count, ret_values);
}

void random_truncated_normal(const struct rng_philox *stream, float mean, float stddev,
                             uint64_t first, size_t count, float *ret_values)
{
    fill(stream, truncated_group, stddev, mean, first, count, ret_values);
}
