/* The promise of every optimizer: an element's result does not depend on vector width, count,
 * alignment or place. */
#include "common/base/rng.h"
#include "common/optim/optimizer.h"
#include "common/tensor/kernels.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { COUNT_MAX = 2100, OFFSET_MAX = 5, SPACE = COUNT_MAX + OFFSET_MAX, STEPS = 3 };

/* Settings that take another loop. */
struct setting {
    const char *name;
    struct optimizer_option options[4];
    size_t option_count;
};

static const struct setting settings[] = {
    {"sgd", {{"", 0}}, 0},
    {"sgd", {{"momentum", 0.9}}, 1},
    {"sgd", {{"momentum", 0.9}, {"nesterov", 1}}, 2},
    {"sgd", {{"momentum", 0.9}, {"clipvalue", 0.5}, {"weight_decay", 0.01}}, 3},
    {"adagrad", {{"", 0}}, 0},
    {"adam", {{"", 0}}, 0},
    {"adam", {{"amsgrad", 1}}, 1},
    {"adam", {{"amsgrad", 1}, {"clipvalue", 2}, {"weight_decay", 0.1}}, 3},
};
enum { SETTING_COUNT = sizeof settings / sizeof settings[0] };

struct arrays {
    float value[SPACE], slots[OPTIMIZER_SLOTS_MAX][SPACE];
};

static void fill(float *x, size_t count, uint64_t seed, bool any)
{
    static const uint32_t special[] = {0x00000000, 0x80000000, 0x7F800000, 0xFF800000,
                                       0x7FC00000, 0x00000001, 0x807FFFFF, 0x7F7FFFFF};
    struct rng_sequence rng = {seed};

    for (size_t i = 0; i < count; i++) {
        uint64_t word = rng_next(&rng);
        uint32_t bits = 0x3D000000u + (uint32_t)(word & 0x82FFFFFFu);
        if (any && (word >> 33) % 8 == 0)
            bits = special[(word >> 40) % 8];
        else if (any && (word >> 33) % 8 == 1)
            bits = (uint32_t)word;
        memcpy(&x[i], &bits, sizeof bits);
    }
}

/* Some steps; the arrays begin at an offset, so that they are aligned differently. */
static void run(const struct setting *setting, struct arrays *arrays, size_t offset, size_t count,
                bool out_of_place, bool any)
{
    static float grad[SPACE], other[SPACE];
    float *slots[OPTIMIZER_SLOTS_MAX], *value = arrays->value + offset, *next = value;
    struct optimizer optimizer;
    struct optimizer_scalars scalars;
    struct error err;

    assert_int_equal(
        optimizer_init(&optimizer, setting->name, setting->options, setting->option_count, &err),
        STATUS_OK);
    fill(value, count, 1, any);
    for (size_t slot = 0; slot < optimizer_slot_count(&optimizer); slot++) {
        slots[slot] = arrays->slots[slot] + offset;
        for (size_t i = 0; i < count; i++)
            slots[slot][i] = optimizer_slot_initial(&optimizer, slot);
    }
    for (uint64_t step = 1; step <= STEPS; step++) {
        fill(grad + OFFSET_MAX - offset, count, step + 10, any);
        optimizer_begin_step(&optimizer, step, 0.01, &scalars);
        if (out_of_place)
            next = step % 2 == 1 ? other : arrays->value + offset;
        optimizer_apply(&optimizer, &scalars, value, next, slots, grad + OFFSET_MAX - offset,
                        count);
        value = next;
    }
    memmove(arrays->value + offset, value, count * sizeof *value);
}

static void assert_same_floats(const float *actual, const float *expected, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!isnan(actual[i]) || !isnan(expected[i]))
            assert_memory_equal(&actual[i], &expected[i], sizeof actual[i]);
    }
}

static void assert_same(const struct arrays *actual, size_t offset, const struct arrays *expected,
                        size_t count)
{
    assert_same_floats(actual->value + offset, expected->value, count);
    for (size_t slot = 0; slot < OPTIMIZER_SLOTS_MAX; slot++)
        assert_same_floats(actual->slots[slot] + offset, expected->slots[slot], count);
}

static void compare_widths(bool any)
{
    static struct arrays expected, actual;
    enum kernels_width widest;

    kernels_limit(KERNELS_AVX512);
    widest = kernels_width();
    for (size_t s = 0; s < SETTING_COUNT; s++) {
        memset(&expected, 0, sizeof expected);
        kernels_limit(KERNELS_SSE2);
        run(&settings[s], &expected, 0, COUNT_MAX, false, any);
        for (enum kernels_width width = KERNELS_SSE2; width <= widest; width++) {
            for (size_t offset = 0; offset <= OFFSET_MAX; offset++) {
                memset(&actual, 0, sizeof actual);
                kernels_limit(width);
                run(&settings[s], &actual, offset, COUNT_MAX, offset % 2 == 1, any);
                assert_same(&actual, offset, &expected, COUNT_MAX);
            }
        }
    }
}

static void test_every_width_gives_the_same_bytes(void **state)
{
    (void)state;
    compare_widths(false);
}

static void test_every_width_gives_the_same_bytes_for_any_input(void **state)
{
    (void)state;
    compare_widths(true);
}

/* An element among 2,100 and among 17 ends up the same: tails of loops are no other arithmetic. */
static void test_the_count_does_not_matter(void **state)
{
    static struct arrays expected, actual;

    (void)state;
    kernels_limit(KERNELS_AVX512);
    for (size_t s = 0; s < SETTING_COUNT; s++) {
        run(&settings[s], &expected, 0, COUNT_MAX, false, true);
        for (size_t count = 1; count < 70; count++) {
            run(&settings[s], &actual, count % OFFSET_MAX, count, false, true);
            assert_same_floats(actual.value + count % OFFSET_MAX, expected.value, count);
        }
    }
}

/* Ordinary numbers: even the bytes of every element, without an exception for NaN. */
static void test_ordinary_numbers_stay_ordinary(void **state)
{
    static struct arrays arrays;

    (void)state;
    for (size_t s = 0; s < SETTING_COUNT; s++) {
        run(&settings[s], &arrays, 0, COUNT_MAX, false, false);
        assert_int_equal(kernels_find_nonfinite(arrays.value, COUNT_MAX), COUNT_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_width_gives_the_same_bytes),
        cmocka_unit_test(test_every_width_gives_the_same_bytes_for_any_input),
        cmocka_unit_test(test_the_count_does_not_matter),
        cmocka_unit_test(test_ordinary_numbers_stay_ordinary),
    };
    kernels_flush_denormals();
    return cmocka_run_group_tests_name("optimizer widths", tests, NULL, NULL);
}
