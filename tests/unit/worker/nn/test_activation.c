#include "common/tensor/kernels.h"
#include "tests/unit/worker/nn/nn_test.h"
#include "worker/nn/activation.h"
#include "worker/nn/exponential.h"

enum { ROWS = 5, COLS = 6, COUNT = ROWS * COLS };

struct probe {
    struct activation activation;
    float x[COUNT], y[COUNT], upstream[COUNT];
};

static double probe_value(void *context)
{
    struct probe *probe = context;
    size_t count = ROWS * activation_output_cols(&probe->activation, COLS);
    double sum = 0;

    activation_forward(&probe->activation, probe->x, probe->y, ROWS, COLS);
    for (size_t i = 0; i < count; i++)
        sum += (double)probe->y[i] * (double)probe->upstream[i];
    return sum;
}

static void check_activation(struct activation activation, const char *name)
{
    struct probe probe = {.activation = activation};
    float grad[COUNT];

    fill_random(probe.x, COUNT, 4, 1);
    fill_random(probe.upstream, COUNT, 1, 2);
    probe_value(&probe);
    activation_backward(&activation, activation.kind->needs_input ? probe.x : NULL, probe.y,
                        probe.upstream, grad, ROWS, COLS);
    check_gradient(probe.x, grad, COUNT, probe_value, &probe, name);
}

static void test_gradients_are_those_of_differences(void **state)
{
    size_t count;
    const struct activation_kind *const *kinds = activation_kinds(&count);

    (void)state;
    assert_int_equal(count, 29);
    for (size_t i = 0; i < count; i++) {
        struct activation activation;
        struct error err;

        assert_ok(activation_init(&activation, kinds[i]->name, &err), &err);
        /* sparsemax is not continuous where its support changes, as Keras computes it. */
        if (kinds[i] != &activation_sparsemax)
            check_activation(activation, kinds[i]->name);
    }
    check_activation((struct activation){&activation_relu_bounded, {3.1f, 0.2f, 0.6f}}, "bounded");
    check_activation((struct activation){&activation_relu_bounded, {NAN, 0.2f, 0.0f}}, "sloped");
    check_activation((struct activation){&activation_elu, {0.3f}}, "elu 0.3");
    check_activation((struct activation){&activation_leaky_relu, {-0.3f}}, "leaky_relu -0.3");
}

/* Layers save an array by running in place; the numbers may not depend on it. */
static void test_in_place_gives_the_same_bits(void **state)
{
    size_t count;
    const struct activation_kind *const *kinds = activation_kinds(&count);

    (void)state;
    for (size_t i = 0; i < count; i++) {
        struct activation activation;
        struct error err;
        float x[COUNT], apart[COUNT], grad[COUNT], grad_apart[COUNT];

        if (kinds[i]->halves_columns)
            continue;
        assert_ok(activation_init(&activation, kinds[i]->name, &err), &err);
        fill_random(x, COUNT, 5, 3);
        fill_random(grad, COUNT, 1, 4);
        activation_forward(&activation, x, apart, ROWS, COLS);
        activation_backward(&activation, x, apart, grad, grad_apart, ROWS, COLS);
        activation_backward(&activation, x, apart, grad, grad, ROWS, COLS);
        assert_memory_equal(grad, grad_apart, sizeof grad);
        activation_forward(&activation, x, x, ROWS, COLS);
        assert_memory_equal(x, apart, sizeof x);
    }
}

static void test_every_width_gives_the_same_bits(void **state)
{
    size_t count;
    const struct activation_kind *const *kinds = activation_kinds(&count);
    enum { MANY = 1000 };
    static float x[MANY], y[3][MANY];

    (void)state;
    fill_random(x, MANY, 20, 5);
    for (size_t i = 0; i < count; i++) {
        struct activation activation;
        struct error err;

        assert_ok(activation_init(&activation, kinds[i]->name, &err), &err);
        for (int width = KERNELS_SSE2; width <= KERNELS_AVX512; width++) {
            kernels_limit((enum kernels_width)width);
            activation_forward(&activation, x, y[width], MANY / 10, 10);
        }
        assert_memory_equal(y[0], y[1], sizeof y[0]);
        assert_memory_equal(y[0], y[2], sizeof y[0]);
    }
}

/* A NaN must stay visible, or a broken run looks healthy. */
static void test_nan_is_passed_on(void **state)
{
    size_t count;
    const struct activation_kind *const *kinds = activation_kinds(&count);

    (void)state;
    for (size_t i = 0; i < count; i++) {
        struct activation activation;
        struct error err;
        float x[2] = {NAN, NAN}, y[2] = {0};

        assert_ok(activation_init(&activation, kinds[i]->name, &err), &err);
        activation_forward(&activation, x, y, 1, 2);
        if (!isnan(y[0]))
            fail_msg("%s(NaN) is %g", kinds[i]->name, (double)y[0]);
    }
}

static void test_softmax_of_large_numbers_is_finite(void **state)
{
    struct activation activation;
    struct error err;
    float x[3] = {1000, 999, -1000}, y[3];

    (void)state;
    assert_ok(activation_init(&activation, "softmax", &err), &err);
    activation_forward(&activation, x, y, 1, 3);
    assert_true(fabsf(y[0] - 0.7310586f) < 1e-6f && fabsf(y[1] - 0.2689414f) < 1e-6f);
    assert_true(y[2] == 0);
}

static void test_names(void **state)
{
    struct activation activation;
    struct error err;

    (void)state;
    assert_ok(activation_init(&activation, NULL, &err), &err);
    assert_ptr_equal(activation.kind, &activation_linear);
    assert_ok(activation_init(&activation, "swish", &err), &err);
    assert_ptr_equal(activation.kind, &activation_silu);
    assert_refused(activation_init(&activation, "rellu", &err), STATUS_NOT_FOUND, &err, "'rellu'");
    assert_refused(activation_init(&activation, "rellu", &err), STATUS_NOT_FOUND, &err,
                   "relu, relu6");
}

static void test_exponential_is_near_expf(void **state)
{
    double worst = 0;

    (void)state;
    for (float x = -87.3f; x < 88.7f; x += 0.00093f) {
        double exact = exp((double)x), error = fabs((double)exponential(x) - exact) / exact;

        worst = error > worst ? error : worst;
    }
    if (worst > 1.3e-7)
        fail_msg("relative error of %g", worst);
    assert_true(exponential(0.0f) == 1.0f);
    assert_true(exponential(-200.0f) == 0.0f && exponential(-INFINITY) == 0.0f);
    assert_true(isinf(exponential(89.0f)) && isinf(exponential(INFINITY)));
    assert_true(isfinite(exponential(88.72f)));
    assert_true(isnan(exponential(NAN)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients_are_those_of_differences),
        cmocka_unit_test(test_in_place_gives_the_same_bits),
        cmocka_unit_test(test_every_width_gives_the_same_bits),
        cmocka_unit_test(test_nan_is_passed_on),
        cmocka_unit_test(test_softmax_of_large_numbers_is_finite),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_exponential_is_near_expf),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
