#include "common/optim/optimizer.h"

#include "common/tensor/kernels.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct optimizer make(const char *name, const struct optimizer_option *options, size_t count)
{
    struct optimizer optimizer;
    struct error err;

    assert_int_equal(optimizer_init(&optimizer, name, options, count, &err), STATUS_OK);
    return optimizer;
}

/* The message must name what is wrong. */
static void assert_refused(enum status expected, const char *name, const char *key, double value,
                           const char *part_of_message)
{
    struct optimizer_option option = {.value = value};
    struct optimizer optimizer = {.kind = NULL};
    struct error err;

    strncpy(option.key, key, sizeof option.key - 1);
    assert_int_equal(optimizer_init(&optimizer, name, &option, key[0] != '\0', &err), expected);
    assert_null(optimizer.kind);
    assert_non_null(strstr(err.message, part_of_message));
}

static void test_defaults_are_those_of_keras(void **state)
{
    struct optimizer sgd = make("SGD", NULL, 0), adam = make("Adam", NULL, 0);
    struct optimizer adagrad = make("adagrad", NULL, 0);

    (void)state;
    assert_true(optimizer_option_value(&sgd, "learning_rate") == 0.01);
    assert_true(optimizer_option_value(&sgd, "momentum") == 0.0);
    assert_true(optimizer_option_value(&adam, "learning_rate") == 0.001);
    assert_true(optimizer_option_value(&adam, "beta_1") == 0.9);
    assert_true(optimizer_option_value(&adam, "beta_2") == 0.999);
    assert_true(optimizer_option_value(&adam, "epsilon") == 1e-7);
    assert_true(optimizer_option_value(&adagrad, "learning_rate") == 0.001);
    assert_true(optimizer_option_value(&adagrad, "initial_accumulator_value") == 0.1);
}

static void test_slots_have_keras_names(void **state)
{
    const struct optimizer_option amsgrad = {"amsgrad", 1}, momentum = {"momentum", 0.9};
    struct optimizer adam = make("adam", &amsgrad, 1), sgd = make("sgd", NULL, 0);
    struct optimizer moving = make("sgd", &momentum, 1), adagrad = make("adagrad", NULL, 0);

    (void)state;
    assert_int_equal(optimizer_slot_count(&adam), 3);
    assert_string_equal(optimizer_slot_name(&adam, 0), "momentum");
    assert_string_equal(optimizer_slot_name(&adam, 1), "velocity");
    assert_string_equal(optimizer_slot_name(&adam, 2), "velocity_hat");
    assert_int_equal(optimizer_slot_count(&sgd), 0);
    assert_int_equal(optimizer_slot_count(&moving), 1);
    assert_string_equal(optimizer_slot_name(&moving, 0), "momentum");
    assert_true(optimizer_slot_initial(&adagrad, 0) == 0.1f);
}

static void test_unknown_names_are_refused_with_the_nearest(void **state)
{
    (void)state;
    assert_refused(STATUS_NOT_FOUND, "adamm", "", 0, "did you mean adam?");
    assert_refused(STATUS_NOT_FOUND, "", "", 0, "adagrad, adam, sgd");
    assert_refused(STATUS_INVALID_ARGUMENT, "adam", "beta1", 0.9, "did you mean beta_1?");
    assert_refused(STATUS_INVALID_ARGUMENT, "sgd", "beta_1", 0.9, "momentum");
}

static void test_values_out_of_range_are_refused(void **state)
{
    (void)state;
    assert_refused(STATUS_INVALID_ARGUMENT, "sgd", "momentum", -0.1, "momentum is -0.1");
    assert_refused(STATUS_INVALID_ARGUMENT, "sgd", "momentum", 1.01, "[0, 1]");
    assert_refused(STATUS_INVALID_ARGUMENT, "sgd", "nesterov", 0.5, "0 or 1");
    assert_refused(STATUS_INVALID_ARGUMENT, "sgd", "learning_rate", NAN, "learning_rate");
    assert_refused(STATUS_INVALID_ARGUMENT, "sgd", "learning_rate", 1e39, "float32");
    assert_refused(STATUS_INVALID_ARGUMENT, "sgd", "weight_decay", -1, "weight_decay");
    assert_refused(STATUS_INVALID_ARGUMENT, "sgd", "clipvalue", INFINITY, "clipvalue");
    assert_refused(STATUS_INVALID_ARGUMENT, "adam", "beta_1", 1.0, "[0, 1)");
    assert_refused(STATUS_INVALID_ARGUMENT, "adam", "beta_2", 1.0 - 1e-12, "beta_2");
    assert_refused(STATUS_INVALID_ARGUMENT, "adam", "beta_2", NAN, "beta_2");
    assert_refused(STATUS_INVALID_ARGUMENT, "adam", "epsilon", -1e-9, "epsilon");
    assert_refused(STATUS_INVALID_ARGUMENT, "adam", "amsgrad", 2, "amsgrad");
    assert_refused(STATUS_INVALID_ARGUMENT, "adagrad", "initial_accumulator_value", -1,
                   "0 or more");
}

static void test_bounds_themselves_are_allowed(void **state)
{
    const struct optimizer_option one = {"momentum", 1.0}, zero = {"beta_1", 0.0};
    const struct optimizer_option negative = {"learning_rate", -0.5};

    (void)state;
    (void)make("sgd", &one, 1);
    (void)make("adam", &zero, 1);
    (void)make("sgd", &negative, 1);
}

static void test_an_option_given_twice_is_refused(void **state)
{
    const struct optimizer_option options[] = {{"momentum", 0.5}, {"momentum", 0.5}};
    struct optimizer optimizer;
    struct error err;

    (void)state;
    assert_int_equal(optimizer_init(&optimizer, "sgd", options, 2, &err), STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "momentum is given twice"));
}

/* A key from the network need not end within its array. */
static void test_an_endless_key_is_refused(void **state)
{
    struct optimizer_option option;
    struct optimizer optimizer;
    struct error err;

    (void)state;
    memset(&option, 'x', sizeof option);
    assert_int_equal(optimizer_init(&optimizer, "sgd", &option, 1, &err), STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "xxxx"));
}

static void test_clipping_and_decay_come_before_the_rule(void **state)
{
    const struct optimizer_option options[] = {{"clipvalue", 0.5}, {"weight_decay", 0.1}};
    struct optimizer optimizer = make("sgd", options, 2);
    struct optimizer_scalars scalars;
    static float value[2500], grad[2500], expected[2500];

    (void)state;
    for (size_t i = 0; i < 2500; i++) {
        float lr = 0.25f, g = (float)i * 0.001f - 1.0f;
        float clipped = g > 0.5f ? 0.5f : g < -0.5f ? -0.5f : g;
        volatile float decay = value[i] = (float)i * 0.01f, step;

        decay = (value[i] * 0.1f) * lr;
        step = clipped * lr;
        expected[i] = (value[i] - decay) - step;
        grad[i] = g;
    }
    optimizer_begin_step(&optimizer, 1, 0.25, &scalars);
    optimizer_apply(&optimizer, &scalars, value, value, NULL, grad, 2500);
    assert_memory_equal(value, expected, sizeof value);
}

static void test_clipping_keeps_nan_and_bounds_infinity(void **state)
{
    const struct optimizer_option clip = {"clipvalue", 0.5};
    struct optimizer optimizer = make("sgd", &clip, 1);
    struct optimizer_scalars scalars;
    float value[3] = {0, 0, 0};
    const float grad[3] = {NAN, INFINITY, -INFINITY};

    (void)state;
    optimizer_begin_step(&optimizer, 1, 1.0, &scalars);
    optimizer_apply(&optimizer, &scalars, value, value, NULL, grad, 3);
    assert_true(isnan(value[0]));
    assert_true(value[1] == -0.5f && value[2] == 0.5f);
}

static void test_kinds_are_in_alphabetical_order_and_whole(void **state)
{
    const struct optimizer_kind *const *kinds;
    size_t count;

    (void)state;
    kinds = optimizer_kinds(&count);
    for (size_t i = 0; i < count; i++) {
        struct optimizer optimizer = make(kinds[i]->name, NULL, 0);
        assert_ptr_equal(optimizer.kind, kinds[i]);
        assert_true(kinds[i]->option_count <= OPTIMIZER_OPTIONS_MAX);
        assert_true(optimizer_slot_count(&optimizer) <= OPTIMIZER_SLOTS_MAX);
        assert_true(i == 0 || strcmp(kinds[i - 1]->name, kinds[i]->name) < 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_those_of_keras),
        cmocka_unit_test(test_slots_have_keras_names),
        cmocka_unit_test(test_unknown_names_are_refused_with_the_nearest),
        cmocka_unit_test(test_values_out_of_range_are_refused),
        cmocka_unit_test(test_bounds_themselves_are_allowed),
        cmocka_unit_test(test_an_option_given_twice_is_refused),
        cmocka_unit_test(test_an_endless_key_is_refused),
        cmocka_unit_test(test_clipping_and_decay_come_before_the_rule),
        cmocka_unit_test(test_clipping_keeps_nan_and_bounds_infinity),
        cmocka_unit_test(test_kinds_are_in_alphabetical_order_and_whole),
    };
    kernels_flush_denormals();
    return cmocka_run_group_tests_name("optimizer", tests, NULL, NULL);
}
