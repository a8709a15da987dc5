#include "tests/lib/test.h"
#include "worker/nn/metric.h"

/* Keras's choice for "accuracy". */
static void test_accuracy_depends_on_shapes(void **state)
{
    static const struct {
        struct shape y, p;
        const char *name;
    } cases[] = {
        {{1, {4}}, {2, {4, 1}}, "binary_accuracy"},
        {{2, {4, 1}}, {2, {4, 1}}, "binary_accuracy"},
        {{1, {4}}, {2, {4, 3}}, "sparse_categorical_accuracy"},
        {{2, {4, 1}}, {2, {4, 3}}, "sparse_categorical_accuracy"},
        {{2, {4, 3}}, {2, {4, 3}}, "categorical_accuracy"},
        {{2, {4, 5}}, {3, {4, 5, 3}}, "sparse_categorical_accuracy"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct metric metric;
        struct error err;

        assert_ok(metric_from_text(&metric, "accuracy", &err), &err);
        metric_resolve(&metric, &cases[i].y, &cases[i].p);
        assert_string_equal(metric.kind->name, cases[i].name);
        assert_string_equal(metric.name, "accuracy");
    }
}

static void test_names(void **state)
{
    struct metric metric;
    struct error err;

    (void)state;
    assert_ok(metric_from_text(&metric, "mse", &err), &err);
    assert_string_equal(metric.name, "mse");
    assert_ok(metric_from_text(&metric, "MeanSquaredError", &err), &err);
    assert_string_equal(metric.name, "mean_squared_error");
    assert_ok(metric_from_text(&metric,
                               "{\"class_name\": \"BinaryAccuracy\", \"config\": {\"name\": \"b\", "
                               "\"threshold\": 0.7}}",
                               &err),
              &err);
    assert_string_equal(metric.name, "b");
    assert_true(metric.threshold == 0.7f);
    assert_refused(metric_from_text(&metric, "accurate", &err), STATUS_NOT_FOUND, &err,
                   "'accurate'");
    assert_refused(metric_from_text(&metric, "{", &err), STATUS_INVALID_ARGUMENT, &err, "no JSON");
    assert_refused(metric_from_text(&metric, "{}", &err), STATUS_INVALID_ARGUMENT, &err,
                   "class_name");
    assert_refused(metric_from_text(&metric,
                                    "{\"class_name\": \"BinaryAccuracy\", \"config\": {\"k\": 1}}",
                                    &err),
                   STATUS_INVALID_ARGUMENT, &err, "unknown key 'k'");
}

static void test_shapes_that_do_not_fit_are_refused(void **state)
{
    const float y[6] = {0}, p[6] = {0}, weight[3] = {1, 1, 1};
    struct metric_input input = {.y_shape = {2, {2, 3}}, .p_shape = {2, {3, 2}}, .y = y, .p = p};
    struct metric_total total = {0};
    struct metric metric;
    struct error err;

    (void)state;
    assert_ok(metric_from_text(&metric, "categorical_accuracy", &err), &err);
    assert_refused(metric_update(&metric, &input, &total, &err), STATUS_INVALID_ARGUMENT, &err,
                   "(2, 3) do not fit predictions of shape (3, 2)");
    input.p_shape = input.y_shape;
    input.weight = weight;
    input.weight_shape = (struct shape){1, {3}};
    assert_refused(metric_update(&metric, &input, &total, &err), STATUS_INVALID_ARGUMENT, &err,
                   "(3,) do not fit values of shape (2,)");
    assert_true(total.count == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accuracy_depends_on_shapes),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_shapes_that_do_not_fit_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
