/* The generator, its streams, and the float32 arrays that TensorFlow's stateless functions draw
 * from them. */
#include "common/base/alloc.h"
#include "common/base/rng.h"
#include "common/tensor/random.h"
#include "tests/golden/golden.h"

#include <string.h>

enum { BLOCKS_MAX = 64 };

static uint32_t word_at(json_t *array, size_t index)
{
    return (uint32_t)json_integer_value(json_array_get(array, index));
}

static enum golden_outcome run_blocks(struct golden_case *golden, json_t *variant, size_t index)
{
    json_t *config = json_object_get(variant, "config");
    json_t *counter = json_object_get(config, "counter"), *key = json_object_get(config, "key");
    const char *output = json_string_value(json_object_get(variant, "output"));
    size_t blocks = (size_t)json_integer_value(json_object_get(config, "blocks"));
    uint32_t words[BLOCKS_MAX * 4];
    struct rng_philox rng = {
        .counter = {word_at(counter, 0), word_at(counter, 1), word_at(counter, 2),
                    word_at(counter, 3)},
        .key = {word_at(key, 0), word_at(key, 1)},
    };

    (void)index;
    if (!output || blocks > BLOCKS_MAX)
        return golden_fail(golden, "no output, or more than %d blocks", BLOCKS_MAX);
    for (size_t i = 0; i < blocks; i++) {
        rng_block(&rng, words + i * 4);
        rng_skip(&rng, 1);
    }
    return golden_compare(golden, json_object_get(variant, "compare"), output, ELEMENT_U32, words,
                          blocks * 4)
               ? GOLDEN_PASSED
               : GOLDEN_FAILED;
}

static uint64_t join(uint32_t low, uint32_t high)
{
    return (uint64_t)high << 32 | low;
}

static enum golden_outcome run_seed_pair(struct golden_case *golden, json_t *variant, size_t index)
{
    json_t *words = json_object_get(json_object_get(variant, "config"), "seed_words");
    json_t *outputs = json_object_get(variant, "outputs");
    const json_t *compare = json_object_get(variant, "compare");
    const char *key_name = json_string_value(json_array_get(outputs, 0));
    const char *counter_name = json_string_value(json_array_get(outputs, 1));
    struct rng_philox rng = rng_stateless((int64_t)join(word_at(words, 0), word_at(words, 1)),
                                          (int64_t)join(word_at(words, 2), word_at(words, 3)));
    uint64_t key = join(rng.key[0], rng.key[1]);
    uint64_t counter[2] = {join(rng.counter[0], rng.counter[1]),
                           join(rng.counter[2], rng.counter[3])};

    (void)index;
    if (!key_name || !counter_name)
        return golden_fail(golden, "the variant names no two outputs");
    return golden_compare(golden, compare, key_name, ELEMENT_U64, &key, 1) &&
                   golden_compare(golden, compare, counter_name, ELEMENT_U64, counter, 2)
               ? GOLDEN_PASSED
               : GOLDEN_FAILED;
}

/* Draws one array by the last part of the function's name; false: no such function. */
static bool draw(const char *function, json_t *config, const struct rng_philox *stream,
                 float *values, size_t count)
{
    float mean = (float)json_number_value(json_object_get(config, "mean"));
    float stddev = (float)json_number_value(json_object_get(config, "stddev"));
    float low = (float)json_number_value(json_object_get(config, "minval"));
    float high = (float)json_number_value(json_object_get(config, "maxval"));

    if (strcmp(function, "uniform") == 0)
        random_uniform(stream, low, high, 0, count, values);
    else if (strcmp(function, "normal") == 0)
        random_normal(stream, mean, stddev, 0, count, values);
    else if (strcmp(function, "truncated_normal") == 0)
        random_truncated_normal(stream, mean, stddev, 0, count, values);
    else
        return false;
    return true;
}

static enum golden_outcome draw_and_compare(struct golden_case *golden, const char *function,
                                            json_t *config, const struct rng_philox *stream,
                                            const json_t *compare, const char *output)
{
    const char *dtype = json_string_value(json_object_get(config, "dtype"));
    json_t *dimension;
    size_t i, count = 1;
    float *values;
    bool ok;

    if (!dtype || strcmp(dtype, "float32") != 0)
        return golden_skip(golden, "random numbers in %s", dtype ? dtype : "no dtype");
    json_array_foreach(json_object_get(config, "shape"), i, dimension)
    {
        count *= (size_t)json_integer_value(dimension);
    }
    values = alloc_array(count + 1, sizeof *values);
    if (!values || !output)
        ok = golden_fail(golden, "out of memory, or no output named") == GOLDEN_PASSED;
    else if (!draw(function, config, stream, values, count)) {
        alloc_free(values);
        return golden_skip(golden, "random function %s", function);
    } else
        ok = golden_compare(golden, compare, output, ELEMENT_F32, values, count);
    alloc_free(values);
    return ok ? GOLDEN_PASSED : GOLDEN_FAILED;
}

static enum golden_outcome run_stateless(struct golden_case *golden, json_t *variant, size_t index)
{
    const char *name = json_string_value(json_object_get(golden->json, "name"));
    json_t *config = json_object_get(variant, "config"), *seed = json_object_get(config, "seed");
    struct rng_philox stream = rng_stateless((int64_t)json_integer_value(json_array_get(seed, 0)),
                                             (int64_t)json_integer_value(json_array_get(seed, 1)));

    (void)index;
    return draw_and_compare(golden, name + strlen("tf.random.stateless_"), config, &stream,
                            json_object_get(variant, "compare"),
                            json_string_value(json_object_get(variant, "output")));
}

enum golden_outcome golden_random(struct golden_case *golden)
{
    const char *name = json_string_value(json_object_get(golden->json, "name"));

    if (!name)
        return golden_fail(golden, "the case has no name");
    if (strcmp(name, "Philox4x32-10") == 0)
        return golden_each_variant(golden, run_blocks);
    if (strcmp(name, "StatelessRandomGetKeyCounter") == 0)
        return golden_each_variant(golden, run_seed_pair);
    if (strncmp(name, "tf.random.stateless_", strlen("tf.random.stateless_")) == 0)
        return golden_each_variant(golden, run_stateless);
    return golden_skip(golden, "%s", name);
}
