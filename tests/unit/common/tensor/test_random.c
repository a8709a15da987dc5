#include "common/tensor/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { COUNT = 1003 };

typedef void random_function(const struct rng_philox *stream, float a, float b, uint64_t first,
                             size_t count, float *ret_values);

static random_function *const functions[] = {random_uniform, random_normal,
                                             random_truncated_normal};

static void test_a_range_has_the_same_bytes_however_it_is_cut(void **state)
{
    static const size_t cuts[] = {0, 1, 2, 3, 4, 5, 7, 500, 1002, 1003};
    struct rng_philox stream = rng_stateless(7, 9);
    float whole[COUNT], parts[COUNT];

    (void)state;
    for (size_t f = 0; f < 3; f++) {
        functions[f](&stream, 0.25f, 2.0f, 0, COUNT, whole);
        for (size_t c = 0; c < sizeof cuts / sizeof cuts[0]; c++) {
            memset(parts, 0, sizeof parts);
            functions[f](&stream, 0.25f, 2.0f, 0, cuts[c], parts);
            functions[f](&stream, 0.25f, 2.0f, cuts[c], COUNT - cuts[c], parts + cuts[c]);
            assert_memory_equal(parts, whole, sizeof whole);
        }
    }
}

/* The block of the third variable of a 1 TiB job: 64-bit element numbers. */
static void test_far_elements_follow_from_their_number(void **state)
{
    struct rng_philox stream = rng_stateless(1, 0), moved = stream;
    const uint64_t first = (uint64_t)1 << 40;
    float far[8], near[8];

    (void)state;
    rng_skip(&moved, first / 4);
    random_normal(&stream, 0.0f, 1.0f, first, 8, far);
    random_normal(&moved, 0.0f, 1.0f, 0, 8, near);
    assert_memory_equal(far, near, sizeof far);
}

static void test_numbers_keep_their_bounds(void **state)
{
    struct rng_philox stream = rng_stateless(42, 0);
    float values[COUNT];

    (void)state;
    random_uniform(&stream, -3.0f, 5.0f, 0, COUNT, values);
    for (size_t i = 0; i < COUNT; i++)
        assert_true(values[i] >= -3.0f && values[i] < 5.0f);
    random_truncated_normal(&stream, 0.0f, 1.0f, 0, COUNT, values);
    for (size_t i = 0; i < COUNT; i++)
        assert_true(fabsf(values[i]) < 2.0f && values[i] != 0.0f);
}

static void test_nothing_asked_for_writes_nothing(void **state)
{
    struct rng_philox stream = rng_stateless(42, 0);
    float value = 7.0f;

    (void)state;
    random_uniform(&stream, 0.0f, 1.0f, 5, 0, &value);
    assert_true(value == 7.0f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_range_has_the_same_bytes_however_it_is_cut),
        cmocka_unit_test(test_far_elements_follow_from_their_number),
        cmocka_unit_test(test_numbers_keep_their_bounds),
        cmocka_unit_test(test_nothing_asked_for_writes_nothing),
    };
    return cmocka_run_group_tests_name("random", tests, NULL, NULL);
}
