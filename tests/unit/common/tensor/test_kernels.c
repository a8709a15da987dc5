#include "common/tensor/kernels.h"

#include "common/base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { COUNT_MAX = 3000, OFFSET_MAX = 3, SPACE = COUNT_MAX + OFFSET_MAX + 1 };

/* Bytes are compared, so that the sign of a zero counts; but any NaN is as good as another. */
static void assert_same_floats(const float *actual, const float *expected, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!isnan(actual[i]) || !isnan(expected[i]))
            assert_memory_equal(&actual[i], &expected[i], sizeof actual[i]);
    }
}

/* Any bits: a quarter are ordinary numbers, the rest has denormals, infinities, NaN and both zeros.
 */
static void fill_any(float *x, size_t count, uint64_t seed)
{
    static const uint32_t special[] = {0x00000000, 0x80000000, 0x7F800000, 0xFF800000,
                                       0x7FC00000, 0x00000001, 0x807FFFFF, 0x7F7FFFFF};
    struct rng_sequence rng = {seed};

    for (size_t i = 0; i < count; i++) {
        uint64_t word = rng_next(&rng);
        uint32_t bits = (uint32_t)word;
        if ((word >> 32) % 4 == 0)
            bits = special[(word >> 40) % 8];
        else if ((word >> 32) % 4 == 1)
            bits = 0x3F000000u | (bits & 0x80FFFFFFu);
        memcpy(&x[i], &bits, sizeof bits);
    }
}

static enum kernels_width widest(void)
{
    kernels_limit(KERNELS_AVX512);
    return kernels_width();
}

/* Applies every kernel to its own copy of y. */
static void apply_all(float ret_y[3][SPACE], const float *y, const float *x, size_t offset,
                      size_t count)
{
    for (size_t i = 0; i < 3; i++)
        memcpy(ret_y[i] + offset, y, count * sizeof *y);
    kernels_scale(ret_y[0] + offset, x, 1.7f, count);
    kernels_add_scaled(ret_y[1] + offset, x, -0.3f, count);
    kernels_add(ret_y[2] + offset, x, count);
}

static void test_every_width_gives_the_same_bytes(void **state)
{
    static const size_t counts[] = {0, 1, 3, 7, 8, 15, 16, 17, 31, 33, 64, 1000, COUNT_MAX};
    static float y[SPACE], x[SPACE], narrow[3][SPACE], wide[3][SPACE];
    enum kernels_width limit = widest();

    (void)state;
    fill_any(y, SPACE, 1);
    fill_any(x, SPACE, 2);
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        for (size_t offset = 0; offset <= OFFSET_MAX; offset++) {
            kernels_limit(KERNELS_SSE2);
            apply_all(narrow, y, x + offset, 0, counts[c]);
            for (enum kernels_width width = KERNELS_SSE2; width <= limit; width++) {
                kernels_limit(width);
                assert_int_equal(kernels_width(), width);
                apply_all(wide, y, x + offset, offset, counts[c]);
                for (size_t i = 0; i < 3; i++)
                    assert_same_floats(wide[i] + offset, narrow[i], counts[c]);
            }
        }
    }
}

static void test_results_are_those_of_one_rounding_each(void **state)
{
    static float x[1003], y[1003], sum[1003];
    struct rng_sequence rng = {3};

    (void)state;
    (void)widest();
    for (size_t i = 0; i < 1003; i++) {
        x[i] = (float)rng_next(&rng) * 0x1p-64f;
        y[i] = (float)rng_next(&rng) * 0x1p-64f;
        sum[i] = y[i];
    }
    kernels_add_scaled(sum, x, 0.1f, 1003);
    for (size_t i = 0; i < 1003; i++) {
        volatile float product = 0.1f * x[i]; /* volatile: not even this test may contract */
        volatile float expected = y[i] + product;
        assert_true(sum[i] == expected);
    }
}

static void test_scale_works_in_place(void **state)
{
    float x[37];

    (void)state;
    for (size_t i = 0; i < 37; i++)
        x[i] = (float)i;
    kernels_scale(x, x, 2.0f, 37);
    for (size_t i = 0; i < 37; i++)
        assert_true(x[i] == 2.0f * (float)i);
}

static void test_nonfinite_is_found_wherever_it_stands(void **state)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    static float x[2100];
    enum kernels_width limit = widest();

    (void)state;
    for (enum kernels_width width = KERNELS_SSE2; width <= limit; width++) {
        kernels_limit(width);
        for (size_t i = 0; i < 2100; i++)
            x[i] = i % 2 ? 3.4e38f : 1e-45f;
        assert_int_equal(kernels_find_nonfinite(x, 2100), 2100);
        assert_int_equal(kernels_find_nonfinite(x, 0), 0);
        for (size_t i = 0; i < 2100; i += 1 + i / 50) {
            float kept = x[i];
            x[i] = bad[i % 3];
            assert_int_equal(kernels_find_nonfinite(x, 2100), i);
            assert_int_equal(kernels_find_nonfinite(x, i), i);
            x[i] = kept;
        }
        x[2099] = NAN;
        x[5] = INFINITY;
        assert_int_equal(kernels_find_nonfinite(x, 2100), 5);
    }
}

static void test_flushed_denormals_are_zero(void **state)
{
    volatile float smallest = 1e-38f; /* the smallest normal number is 1.18e-38 */
    float y = 1e-38f, x = 1.0f;

    (void)state;
    const char *preloaded = getenv("LD_PRELOAD");
    if (preloaded && strstr(preloaded, "vgpreload")) {
        print_message("skipped: valgrind computes with denormals whatever the CPU is told\n");
        skip();
    }
    kernels_flush_denormals();
    assert_true(smallest * 1.0f == 0.0f);
    kernels_scale(&y, &x, 1e-39f, 1);
    assert_true(y == 0.0f);
}

static void test_a_width_is_limited_by_name(void **state)
{
    enum kernels_width limit = widest();
    struct error err;

    (void)state;
    assert_int_equal(kernels_limit_named("sse2", &err), STATUS_OK);
    assert_int_equal(kernels_width(), KERNELS_SSE2);
    assert_int_equal(kernels_limit_named("avx512", &err), STATUS_OK);
    assert_int_equal(kernels_width(), limit);
    assert_int_equal(kernels_limit_named("avx", &err), STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "avx512"));
    assert_int_equal(kernels_limit_named(NULL, &err), STATUS_OK);
    assert_int_equal(kernels_limit_named("", &err), STATUS_OK);
    assert_int_equal(kernels_width(), limit);
    assert_string_equal(kernels_width_name((enum kernels_width)9), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_width_gives_the_same_bytes),
        cmocka_unit_test(test_results_are_those_of_one_rounding_each),
        cmocka_unit_test(test_scale_works_in_place),
        cmocka_unit_test(test_nonfinite_is_found_wherever_it_stands),
        cmocka_unit_test(test_flushed_denormals_are_zero),
        cmocka_unit_test(test_a_width_is_limited_by_name),
    };
    return cmocka_run_group_tests_name("kernels", tests, NULL, NULL);
}
