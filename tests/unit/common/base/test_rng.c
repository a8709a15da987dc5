#include "common/base/rng.h"

#include "tests/lib/test.h"

static void assert_block(const struct rng_philox *rng, const uint32_t expected[4])
{
    uint32_t words[4];

    rng_block(rng, words);
    for (int i = 0; i < 4; i++)
        assert_int_equal(words[i], expected[i]);
}

/* Known answers of Random123's Philox4x32-10, https://github.com/DEShawResearch/random123 */
static void test_philox_known_answers(void **state)
{
    static const struct {
        struct rng_philox rng;
        uint32_t words[4];
    } cases[] = {
        {{{0, 0, 0, 0}, {0, 0}}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{{UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX}, {UINT32_MAX, UINT32_MAX}},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_block(&cases[i].rng, cases[i].words);
}

/* Streams of TensorFlow 2.21's stateless ops for a seed pair. */
static void test_seed_pairs_give_tensorflows_streams(void **state)
{
    static const struct {
        int64_t a, b;
        uint32_t key[2], counter_high[2];
    } cases[] = {
        {0, 0, {0xdd5b9083, 0xdf7a3ef6}, {0x33da8054, 0xff2f51a8}},
        {1, 2, {0x6d2f7fba, 0x908502c9}, {0x619cb60b, 0xf7734320}},
        {42, 0, {0x89e74cef, 0x53939b05}, {0x8e9181c6, 0xb2ca7bfa}},
        {-1, -2, {0xda7490a6, 0x3bd14d9f}, {0x72c2496e, 0x5a7501a2}},
        {INT64_MAX, INT64_MIN, {0x4911f239, 0x1c35cbcf}, {0x250965cf, 0x830b0d82}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rng_philox rng = rng_stateless(cases[i].a, cases[i].b);
        assert_memory_equal(rng.key, cases[i].key, sizeof rng.key);
        assert_int_equal(rng.counter[0], 0);
        assert_int_equal(rng.counter[1], 0);
        assert_memory_equal(rng.counter + 2, cases[i].counter_high, 8);
    }
}

/* tf.random.stateless_uniform([5], seed=[7, 9], dtype=int32) with no bounds: the words themselves.
 */
static void test_words_of_a_stream_are_tensorflows(void **state)
{
    static const uint32_t expected[5] = {0x02d6d36d, 0x2fd55762, 0x17c6efb6, 0xb93d2382,
                                         0x1b728c5f};
    struct rng_philox rng = rng_stateless(7, 9);
    uint32_t words[4];

    (void)state;
    assert_block(&rng, expected);
    rng_skip(&rng, 1);
    rng_block(&rng, words);
    assert_int_equal(words[0], expected[4]);
}

/* From a counter just below each carry: the third block is the first beyond it. */
static void test_skip_carries_through_all_128_bits(void **state)
{
    static const struct {
        uint32_t counter[4];
        uint32_t words[4];
    } cases[] = {
        {{UINT32_MAX - 1, 0, 0, 0}, {0x2ec4f55d, 0x249ef5f4, 0xf681ec7f, 0x807a6601}},
        {{UINT32_MAX - 1, UINT32_MAX, 0, 0}, {0x7ebaed90, 0x2bf6d9af, 0x4fac3b2b, 0x39acec6c}},
        {{UINT32_MAX - 1, UINT32_MAX, UINT32_MAX, 0},
         {0xd6a62573, 0x71eade72, 0x3ac9655a, 0x2affc9a4}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rng_philox rng = {.key = {7, 0}};
        memcpy(rng.counter, cases[i].counter, sizeof rng.counter);
        rng_skip(&rng, 2);
        assert_block(&rng, cases[i].words);
    }
}

static void test_skipping_in_parts_is_skipping_at_once(void **state)
{
    struct rng_philox parts = rng_stateless(3, -4), whole = parts;

    (void)state;
    rng_skip(&parts, UINT64_MAX);
    rng_skip(&parts, 5);
    rng_skip(&parts, 0);
    rng_skip(&whole, UINT64_MAX - 1);
    rng_skip(&whole, 6);
    assert_memory_equal(&parts, &whole, sizeof parts);
}

/* The published first outputs of SplitMix64 from state 1234567. */
static void test_sequence_known_answers(void **state)
{
    struct rng_sequence rng = {.state = 1234567};

    (void)state;
    assert_true(rng_next(&rng) == 6457827717110365317u);
    assert_true(rng_next(&rng) == 3203168211198807973u);
    assert_true(rng_next(&rng) == 9817491932198370423u);
}

static void test_below_stays_below_and_reaches_every_value(void **state)
{
    struct rng_sequence rng = {.state = 1};
    uint32_t counts[7] = {0};

    (void)state;
    for (int i = 0; i < 7000; i++) {
        uint64_t value = rng_below(&rng, 7);
        assert_true(value < 7);
        counts[value]++;
    }
    for (int i = 0; i < 7; i++)
        assert_in_range(counts[i], 850, 1150);
    assert_int_equal(rng_below(&rng, 1), 0);
}

static void test_variable_seed_depends_on_job_and_name_only(void **state)
{
    int64_t seed = rng_variable_seed(7, "dense/kernel");

    (void)state;
    assert_int_equal(rng_variable_seed(7, "dense/kernel"), seed);
    assert_true(rng_variable_seed(8, "dense/kernel") != seed);
    assert_true(rng_variable_seed(7, "dense/bias") != seed);
    for (uint64_t job = 0; job < 1000; job++)
        assert_in_range(rng_variable_seed(job, "x"), 0, 0x7fffffff);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox_known_answers),
        cmocka_unit_test(test_seed_pairs_give_tensorflows_streams),
        cmocka_unit_test(test_words_of_a_stream_are_tensorflows),
        cmocka_unit_test(test_skip_carries_through_all_128_bits),
        cmocka_unit_test(test_skipping_in_parts_is_skipping_at_once),
        cmocka_unit_test(test_sequence_known_answers),
        cmocka_unit_test(test_below_stays_below_and_reaches_every_value),
        cmocka_unit_test(test_variable_seed_depends_on_job_and_name_only),
    };
    return cmocka_run_group_tests_name("rng", tests, NULL, NULL);
}
