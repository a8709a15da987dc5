#include "tests/unit/worker/nn/nn_test.h"
#include "worker/nn/activation.h"
#include "worker/nn/loss.h"
#include "worker/nn/optimizer_text.h"

enum { ROWS = 4, COLS = 3, COUNT = ROWS * COLS };

struct probe {
    struct loss loss;
    bool from_logits;
    float y[COUNT], p[COUNT], upstream[ROWS], values[ROWS];
};

static double probe_value(void *context)
{
    struct probe *probe = context;
    double sum = 0;

    probe->loss.kind->values(&probe->loss, probe->from_logits, probe->y, probe->p, ROWS, COLS,
                             probe->values);
    for (size_t r = 0; r < ROWS; r++)
        sum += (double)probe->values[r] * (double)probe->upstream[r];
    return sum;
}

static void check_loss(const struct loss_kind *kind, bool from_logits, float smoothing)
{
    struct probe probe = {.loss = {.kind = kind, .label_smoothing = smoothing, .axis = -1},
                          .from_logits = from_logits};
    float grad[COUNT];

    fill_random(probe.p, COUNT, 2, 1);
    fill_random(probe.upstream, ROWS, 1, 2);
    for (size_t i = 0; i < COUNT; i++) {
        /* One-hot for the distributions, any numbers else; probabilities where they are needed. */
        probe.y[i] = kind->uses_logits ? (i % COLS == i / COLS % COLS) : (float)i / 7.0f;
        if (kind->uses_logits && !from_logits)
            probe.p[i] = 0.5f + 0.2f * probe.p[i];
    }
    for (size_t r = 0; r < ROWS && kind->sparse; r++)
        probe.y[r] = (float)(r % COLS);
    kind->gradient(&probe.loss, from_logits, probe.y, probe.p, probe.upstream, ROWS, COLS, grad);
    check_gradient(probe.p, grad, COUNT, probe_value, &probe, kind->name);
}

static void test_gradients_are_those_of_differences(void **state)
{
    size_t count;
    const struct loss_kind *const *kinds = loss_kinds(&count);

    (void)state;
    for (size_t i = 0; i < count; i++) {
        check_loss(kinds[i], false, 0);
        if (kinds[i]->uses_logits)
            check_loss(kinds[i], true, 0);
        if (kinds[i]->smooths) {
            check_loss(kinds[i], false, 0.2f);
            check_loss(kinds[i], true, 0.2f);
        }
    }
}

static void test_names_and_objects(void **state)
{
    struct loss loss;
    struct error err;

    (void)state;
    assert_ok(loss_from_text(&loss, "mse", &err), &err);
    assert_ptr_equal(loss.kind, &loss_mean_squared_error);
    assert_int_equal(loss.reduction, LOSS_MEAN);
    assert_ok(loss_from_text(&loss,
                             "{\"class_name\": \"SparseCategoricalCrossentropy\", \"config\": "
                             "{\"from_logits\": true, \"ignore_class\": -1}}",
                             &err),
              &err);
    assert_true(loss.from_logits && loss.has_ignored_class && loss.ignored_class == -1);
    assert_false(loss_takes_logits(&loss));
    assert_refused(loss_from_text(&loss, "mean_square", &err), STATUS_NOT_FOUND, &err,
                   "'mean_square'");
    assert_refused(loss_from_text(&loss, "{", &err), STATUS_INVALID_ARGUMENT, &err, "no JSON");
    assert_refused(loss_from_text(&loss, "{}", &err), STATUS_INVALID_ARGUMENT, &err, "class_name");
    assert_refused(loss_from_text(&loss,
                                  "{\"class_name\": \"MeanSquaredError\", \"config\": "
                                  "{\"reduction\": \"average\"}}",
                                  &err),
                   STATUS_INVALID_ARGUMENT, &err, "'average'");
    assert_refused(loss_from_text(&loss,
                                  "{\"class_name\": \"MeanSquaredError\", \"config\": "
                                  "{\"from_logits\": true}}",
                                  &err),
                   STATUS_INVALID_ARGUMENT, &err, "unknown key 'from_logits'");
}

static void test_labels_out_of_range_are_refused(void **state)
{
    struct loss loss;
    struct error err;
    const float wrong[] = {3, -1, 0.5f, NAN, INFINITY};

    (void)state;
    assert_ok(loss_from_text(&loss, "sparse_categorical_crossentropy", &err), &err);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        float y[] = {0, 2, wrong[i]};

        assert_refused(loss_check_labels(&loss, y, 3, 3, &err), STATUS_INVALID_ARGUMENT, &err,
                       "row 2");
        assert_ok(loss_check_labels(&loss, y, 2, 3, &err), &err);
    }
}

/* Keras's rule for predictions that a softmax made: nothing is lost where it saturates. */
static void test_logits_of_a_saturated_softmax_are_used(void **state)
{
    struct loss loss;
    struct error err;
    const float y[] = {1}, logits[] = {100, 0, 0};
    struct loss_input input = {
        .y_shape = {1, {1}}, .p_shape = {2, {1, 3}}, .y = y, .p = logits, .p_is_logits = true};
    struct shape shape;
    float value[8], grad[3];

    (void)state;
    assert_ok(loss_from_text(&loss, "sparse_categorical_crossentropy", &err), &err);
    assert_ok(loss_call(&loss, &input, NULL, value, &shape, grad, &err), &err);
    assert_true(value[0] == 100 && grad[0] == 1 && grad[1] == -1 && shape.rank == 0);
}

static void test_shapes_that_do_not_fit_are_refused(void **state)
{
    static const struct {
        const char *loss, *words;
        struct shape y, p;
    } wrong[] = {
        {"bce", "the same shape", {2, {2, 3}}, {2, {2, 1}}},
        {"mse", "(2, 3) do not fit predictions of shape (2, 4)", {2, {2, 3}}, {2, {2, 4}}},
        {"sparse_categorical_crossentropy", "one class number", {1, {3}}, {2, {2, 4}}},
        {"sparse_categorical_crossentropy", "one class number", {2, {2, 4}}, {2, {2, 4}}},
        {"mse", "at least one axis", {0, {0}}, {0, {0}}},
    };
    float y[16] = {0}, p[16] = {0}, value[32], grad[16];

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct loss_input input = {.y_shape = wrong[i].y, .p_shape = wrong[i].p, .y = y, .p = p};
        struct loss loss;
        struct shape shape;
        struct error err;

        assert_ok(loss_from_text(&loss, wrong[i].loss, &err), &err);
        assert_refused(loss_call(&loss, &input, NULL, value, &shape, grad, &err),
                       STATUS_INVALID_ARGUMENT, &err, wrong[i].words);
    }
}

static void test_optimizers_of_compile_config(void **state)
{
    struct optimizer optimizer;
    struct error err;

    (void)state;
    assert_ok(optimizer_from_text(&optimizer, "adam", &err), &err);
    assert_string_equal(optimizer.kind->name, "adam");
    assert_ok(optimizer_from_text(&optimizer,
                                  "{\"class_name\": \"SGD\", \"config\": {\"name\": \"SGD\", "
                                  "\"learning_rate\": 0.5, \"clipnorm\": null, \"use_ema\": "
                                  "false, \"ema_momentum\": 0.99, \"nesterov\": true, "
                                  "\"momentum\": 0.9}}",
                                  &err),
              &err);
    assert_true(optimizer_option_value(&optimizer, "learning_rate") == 0.5);
    assert_true(optimizer_option_value(&optimizer, "nesterov") == 1);
    assert_refused(optimizer_from_text(&optimizer, "adamm", &err), STATUS_NOT_FOUND, &err, "adamm");
    assert_refused(optimizer_from_text(&optimizer,
                                       "{\"class_name\": \"Adam\", \"config\": "
                                       "{\"learning_rate\": {\"class_name\": \"CosineDecay\"}}}",
                                       &err),
                   STATUS_UNIMPLEMENTED, &err, "schedules");
    assert_refused(optimizer_from_text(&optimizer,
                                       "{\"class_name\": \"Adam\", \"config\": "
                                       "{\"use_ema\": true}}",
                                       &err),
                   STATUS_UNIMPLEMENTED, &err, "use_ema");
    assert_refused(optimizer_from_text(&optimizer, "{}", &err), STATUS_INVALID_ARGUMENT, &err,
                   "class_name");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients_are_those_of_differences),
        cmocka_unit_test(test_names_and_objects),
        cmocka_unit_test(test_labels_out_of_range_are_refused),
        cmocka_unit_test(test_logits_of_a_saturated_softmax_are_used),
        cmocka_unit_test(test_shapes_that_do_not_fit_are_refused),
        cmocka_unit_test(test_optimizers_of_compile_config),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
