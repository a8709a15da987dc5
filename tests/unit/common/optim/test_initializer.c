#include "common/optim/initializer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const uint64_t MATRIX[] = {3, 64};

static struct initializer named(const char *name, const struct initializer_argument *arguments,
                                size_t count)
{
    struct initializer initializer;
    struct error err;

    assert_int_equal(
        initializer_named(name, arguments, count, NULL, NULL, MATRIX, 2, 42, &initializer, &err),
        STATUS_OK);
    return initializer;
}

static void test_any_cut_gives_the_same_bytes(void **state)
{
    static const char *const names[] = {"GlorotUniform", "HeNormal", "RandomNormal", "Ones"};
    float whole[500], parts[500];
    struct error err;

    (void)state;
    for (size_t n = 0; n < 4; n++) {
        struct initializer initializer = named(names[n], NULL, 0);

        assert_int_equal(initializer_fill(&initializer, DTYPE_FLOAT32, 100, 500, whole, &err),
                         STATUS_OK);
        for (size_t at = 0, step = 1; at < 500; at += step, step++) {
            size_t count = at + step < 500 ? step : 500 - at;
            assert_int_equal(
                initializer_fill(&initializer, DTYPE_FLOAT32, 100 + at, count, parts + at, &err),
                STATUS_OK);
        }
        assert_memory_equal(parts, whole, sizeof whole);
    }
}

/* Keras takes the seed modulo 2^31 - 2, with Python's sign. */
static void test_seeds_are_reduced_as_in_keras(void **state)
{
    static const int64_t equal[][2] = {{-1, 2147483645}, {2147483646, 0}, {2147483647, 1}};
    struct initializer initializer = {INITIALIZER_UNIFORM, 0.0, 1.0, 0};
    float first[5], second[5];
    struct error err;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        initializer.seed = equal[i][0];
        assert_int_equal(initializer_fill(&initializer, DTYPE_FLOAT32, 0, 5, first, &err),
                         STATUS_OK);
        initializer.seed = equal[i][1];
        assert_int_equal(initializer_fill(&initializer, DTYPE_FLOAT32, 0, 5, second, &err),
                         STATUS_OK);
        assert_memory_equal(first, second, sizeof first);
    }
}

static void test_constants_have_every_dtype(void **state)
{
    const struct initializer_argument value = {"value", -3.0};
    struct initializer constant = named("constant", &value, 1), ones = named("ones", NULL, 0);
    int64_t integers[2];
    double doubles[2];
    struct error err;

    (void)state;
    assert_int_equal(initializer_fill(&constant, DTYPE_INT64, 0, 2, integers, &err), STATUS_OK);
    assert_true(integers[0] == -3 && integers[1] == -3);
    assert_int_equal(initializer_fill(&ones, DTYPE_FLOAT64, 0, 2, doubles, &err), STATUS_OK);
    assert_true(doubles[0] == 1.0 && doubles[1] == 1.0);
}

static void test_what_cannot_be_made_is_refused(void **state)
{
    const double no_integers[] = {0.5, 0x1p63, NAN, -INFINITY};
    struct initializer initializer = named("GlorotUniform", NULL, 0);
    double value;
    struct error err;

    (void)state;
    assert_int_equal(initializer_fill(&initializer, DTYPE_FLOAT64, 0, 1, &value, &err),
                     STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "float64"));
    for (size_t i = 0; i < 4; i++) {
        initializer = (struct initializer){INITIALIZER_CONSTANT, no_integers[i], 0, 0};
        assert_int_equal(initializer_fill(&initializer, DTYPE_INT64, 0, 1, &value, &err),
                         STATUS_INVALID_ARGUMENT);
    }
    assert_int_equal(initializer_fill(&initializer, DTYPE_INVALID, 0, 1, &value, &err),
                     STATUS_INVALID_ARGUMENT);
    initializer.kind = (enum initializer_kind)99;
    assert_int_equal(initializer_fill(&initializer, DTYPE_FLOAT32, 0, 1, &value, &err),
                     STATUS_INVALID_ARGUMENT);
}

static void test_names_and_defaults_are_those_of_keras(void **state)
{
    struct initializer glorot = named("glorot_uniform", NULL, 0);
    struct initializer normal = named("RandomNormal", NULL, 0);

    (void)state;
    assert_int_equal(glorot.kind, INITIALIZER_UNIFORM);
    assert_true(glorot.b == sqrt(3.0 / 33.5) && glorot.a == -glorot.b);
    assert_int_equal(glorot.seed, 42);
    assert_int_equal(normal.kind, INITIALIZER_NORMAL);
    assert_true(normal.a == 0.0 && normal.b == 0.05);
    assert_int_equal(named("he_normal", NULL, 0).kind, INITIALIZER_TRUNCATED_NORMAL);
    assert_int_equal(named("zeros", NULL, 0).kind, INITIALIZER_ZEROS);
}

static void test_fans_count_the_receptive_field(void **state)
{
    static const uint64_t kernel[] = {3, 3, 2, 8};
    struct initializer initializer;
    struct error err;

    (void)state;
    assert_int_equal(initializer_named("VarianceScaling", NULL, 0, "fan_out", "uniform", kernel, 4,
                                       1, &initializer, &err),
                     STATUS_OK);
    assert_true(initializer.b == sqrt(3.0 / 72.0));
    assert_int_equal(
        initializer_named("LecunUniform", NULL, 0, NULL, NULL, kernel, 0, 1, &initializer, &err),
        STATUS_OK);
    assert_true(initializer.b == sqrt(3.0));
}

static void assert_refused(enum status expected, const char *name, const char *key, double value,
                           const char *mode, const char *distribution, const char *part_of_message)
{
    const struct initializer_argument argument = {key, value};
    struct initializer initializer = {.seed = 7};
    struct error err;

    assert_int_equal(initializer_named(name, &argument, key != NULL, mode, distribution, MATRIX, 2,
                                       1, &initializer, &err),
                     expected);
    assert_int_equal(initializer.seed, 7);
    assert_non_null(strstr(err.message, part_of_message));
}

static void test_wrong_arguments_are_refused(void **state)
{
    (void)state;
    assert_refused(STATUS_NOT_FOUND, "Orthogonal", NULL, 0, NULL, NULL, "Orthogonal");
    assert_refused(STATUS_INVALID_ARGUMENT, "Zeros", "value", 0, NULL, NULL, "value");
    assert_refused(STATUS_INVALID_ARGUMENT, "GlorotUniform", "scale", 1, NULL, NULL, "scale");
    assert_refused(STATUS_INVALID_ARGUMENT, "RandomNormal", "mean", NAN, NULL, NULL, "mean");
    assert_refused(STATUS_INVALID_ARGUMENT, "VarianceScaling", "scale", 0, NULL, NULL, "above 0");
    assert_refused(STATUS_INVALID_ARGUMENT, "VarianceScaling", NULL, 0, "fan", NULL, "fan_in");
    assert_refused(STATUS_INVALID_ARGUMENT, "VarianceScaling", NULL, 0, NULL, "gauss", "uniform");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_cut_gives_the_same_bytes),
        cmocka_unit_test(test_seeds_are_reduced_as_in_keras),
        cmocka_unit_test(test_constants_have_every_dtype),
        cmocka_unit_test(test_what_cannot_be_made_is_refused),
        cmocka_unit_test(test_names_and_defaults_are_those_of_keras),
        cmocka_unit_test(test_fans_count_the_receptive_field),
        cmocka_unit_test(test_wrong_arguments_are_refused),
    };
    return cmocka_run_group_tests_name("initializer", tests, NULL, NULL);
}
