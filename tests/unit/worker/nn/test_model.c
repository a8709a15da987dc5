#include "common/base/alloc.h"
#include "common/tensor/kernels.h"
#include "common/tensor/safetensors.h"
#include "tests/lib/fail_alloc.h"
#include "tests/lib/temp_dir.h"
#include "tests/unit/worker/nn/nn_test.h"
#include "worker/nn/model_json.h"
#include "worker/nn/weights.h"

enum { ROWS = 6, INPUTS = 4 };

#define LAYER(class_name, config) "{\"class_name\": \"" class_name "\", \"config\": {" config "}}"
#define MODEL(layers)                                                                              \
    "{\"class_name\": \"Sequential\", \"config\": {\"name\": \"m\", \"layers\": [" layers "]}}"
#define INPUT_LAYER LAYER("InputLayer", "\"batch_shape\": [null, 4]")

static const char classifier[] = MODEL(
    INPUT_LAYER
    "," LAYER("Dense", "\"name\": \"a\", \"units\": 5, \"activation\": \"tanh\"") "," LAYER(
        "Dense", "\"name\": \"b\", \"units\": 3, \"activation\": \"softmax\""));
static const char frozen[] = MODEL(INPUT_LAYER "," LAYER(
    "Dense",
    "\"name\": \"a\", \"units\": 5, \"activation\": "
    "\"gelu\"") "," LAYER("Dense",
                          "\"name\": \"b\", "
                          "\"units\": 4, "
                          "\"trainable\": "
                          "false") "," LAYER("PReLU",
                                             "\"name\": \"p\"") "," LAYER("Dense",
                                                                          "\"name\": \"c\", "
                                                                          "\"units\": 1") "," LAYER("Activation",
                                                                                                    "\"name\": "
                                                                                                    "\"s\", "
                                                                                                    "\"activation\""
                                                                                                    ": "
                                                                                                    "\"sigmoid\""));

struct fixture {
    struct model model;
    float x[ROWS * INPUTS], y[ROWS], weight[ROWS];
    struct model_batch batch;
};

static void fixture_init(struct fixture *fixture, const char *text, const char *loss_text,
                         const char *metric_text)
{
    struct loss loss;
    struct metric metric;
    struct shape target = {.rank = 0};
    struct error err;

    memset(fixture, 0, sizeof *fixture);
    kernels_flush_denormals();
    assert_ok(model_from_json(&fixture->model, text, strlen(text), &err), &err);
    assert_ok(model_build(&fixture->model, NULL, &err), &err);
    assert_ok(model_allocate(&fixture->model, &err), &err);
    assert_ok(model_initialize(&fixture->model, 7, &err), &err);
    assert_ok(loss_from_text(&loss, loss_text, &err), &err);
    assert_ok(metric_from_text(&metric, metric_text, &err), &err);
    assert_ok(model_compile(&fixture->model, &loss, &metric, 1, &target, &err), &err);
    assert_ok(model_reserve(&fixture->model, ROWS, true, &err), &err);
    fill_random(fixture->x, ROWS * INPUTS, 2, 11);
    for (size_t r = 0; r < ROWS; r++) {
        fixture->y[r] = (float)(loss.kind->sparse ? r % 3 : r % 2);
        fixture->weight[r] = 0.5f + (float)r;
    }
    fixture->batch = (struct model_batch){.rows = ROWS, .x = fixture->x, .y = fixture->y};
}

static double mean_loss(void *context)
{
    struct fixture *fixture = context;
    struct model_totals totals = {0};
    struct error err;

    assert_ok(model_evaluate(&fixture->model, &fixture->batch, NULL, &totals, &err), &err);
    assert_true(totals.loss.count == (double)fixture->batch.rows);
    return metric_mean(&totals.loss);
}

static void check_model(struct fixture *fixture)
{
    struct model *model = &fixture->model;
    struct model_totals totals = {0};
    struct error err;

    fill_random(model->params, model->block_floats, 1, 12);
    assert_ok(model_step(model, &fixture->batch, NULL, &totals, &err), &err);
    for (size_t i = 0; i < model->weight_count; i++) {
        const struct model_weight *weight = &model->weights[i];

        if (weight->trainable)
            check_gradient(model->params + weight->offset, model->grads + weight->offset,
                           weight->count, mean_loss, fixture, weight->path);
        else
            for (size_t e = 0; e < weight->count; e++)
                assert_true(model->grads[weight->offset + e] == 0);
    }
}

static void test_gradients_are_those_of_differences(void **state)
{
    static const struct {
        const char *model, *loss;
    } cases[] = {
        {classifier, "sparse_categorical_crossentropy"},
        {frozen, "binary_crossentropy"},
        {frozen, "mse"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture fixture;

        fixture_init(&fixture, cases[i].model, cases[i].loss, "accuracy");
        check_model(&fixture);
        fixture.batch.weight = fixture.weight;
        check_model(&fixture);
        model_release(&fixture.model);
    }
}

static void test_weights_lie_apart_in_one_block(void **state)
{
    struct fixture fixture;
    const struct model *model = &fixture.model;

    (void)state;
    fixture_init(&fixture, frozen, "mse", "mae");
    assert_int_equal(model->weight_count, 7);
    assert_string_equal(model->weights[0].path, "a/kernel");
    assert_string_equal(model->weights[4].path, "p/alpha");
    assert_int_equal(model_parameter_count(model), 4 * 5 + 5 + 5 * 4 + 4 + 4 + 4 + 1);
    for (size_t i = 0; i < model->weight_count; i++) {
        assert_int_equal(model->weights[i].offset % MODEL_WEIGHT_ALIGNMENT, 0);
        if (i > 0)
            assert_true(model->weights[i].offset >=
                        model->weights[i - 1].offset + model->weights[i - 1].count);
    }
    assert_int_equal((uintptr_t)model->params % 64, 0);
    assert_int_equal(model_find_weight(model, "c/bias"), 6);
    assert_int_equal(model_find_weight(model, "sequential_1/c/bias"), 6);
    assert_int_equal(model_find_weight(model, "c/kernels"), 7);
    assert_int_equal(model_find_weight(model, ""), 7);
    model_release(&fixture.model);
}

/* What a server does with the gradients of two workers: the mean weighted with their rows. */
static void test_shares_of_a_batch_add_up(void **state)
{
    enum { FIRST = 4 };
    struct fixture fixture;
    struct model *model = &fixture.model;
    struct model_totals whole = {0}, shares = {0};
    struct error err;
    struct model_batch part;
    float *sum;

    (void)state;
    fixture_init(&fixture, classifier, "sparse_categorical_crossentropy", "accuracy");
    sum = alloc_array(model->block_floats, sizeof *sum);
    part = (struct model_batch){.rows = FIRST, .x = fixture.x, .y = fixture.y};
    assert_ok(model_step(model, &part, NULL, &shares, &err), &err);
    kernels_add_scaled(sum, model->grads, (float)FIRST / ROWS, model->block_floats);
    part = (struct model_batch){
        .rows = ROWS - FIRST, .x = fixture.x + FIRST * INPUTS, .y = fixture.y + FIRST};
    assert_ok(model_step(model, &part, NULL, &shares, &err), &err);
    kernels_add_scaled(sum, model->grads, (float)(ROWS - FIRST) / ROWS, model->block_floats);
    assert_ok(model_step(model, &fixture.batch, NULL, &whole, &err), &err);
    for (size_t i = 0; i < model->block_floats; i++)
        assert_true(fabsf(sum[i] - model->grads[i]) < 1e-6f);
    assert_true(fabs(whole.loss.sum - shares.loss.sum) < 1e-5);
    assert_true(whole.loss.count == ROWS && shares.loss.count == ROWS);
    assert_true(whole.metrics[0].sum == shares.metrics[0].sum && whole.metrics[0].count == ROWS);
    alloc_free(sum);
    model_release(&fixture.model);
}

static void test_a_worker_without_examples_has_zero_gradients(void **state)
{
    struct fixture fixture;
    struct model_totals totals = {0};
    struct model_batch empty = {.rows = 0};
    struct error err;

    (void)state;
    fixture_init(&fixture, classifier, "sparse_categorical_crossentropy", "accuracy");
    fill_random(fixture.model.grads, fixture.model.block_floats, 1, 1);
    assert_ok(model_step(&fixture.model, &empty, NULL, &totals, &err), &err);
    for (size_t i = 0; i < fixture.model.weight_count; i++) {
        for (size_t e = 0; e < fixture.model.weights[i].count; e++)
            assert_true(fixture.model.grads[fixture.model.weights[i].offset + e] == 0);
    }
    assert_true(totals.loss.count == 0 && totals.loss.sum == 0 && totals.metrics[0].count == 0);
    model_release(&fixture.model);
}

struct trace {
    size_t needed[16], ready[16], needed_count, ready_count;
    size_t fail_at; /* weight whose pull fails; SIZE_MAX: none */
};

static enum status note_needed(void *context, size_t weight, struct error *err)
{
    struct trace *trace = context;

    assert_int_equal(trace->ready_count, 0);
    trace->needed[trace->needed_count++] = weight;
    return weight == trace->fail_at ? error_set(err, STATUS_UNAVAILABLE, "gone") : STATUS_OK;
}

static enum status note_ready(void *context, size_t weight, struct error *err)
{
    struct trace *trace = context;

    (void)err;
    trace->ready[trace->ready_count++] = weight;
    return STATUS_OK;
}

static void test_hooks_follow_the_layers(void **state)
{
    struct fixture fixture;
    struct trace trace = {.fail_at = SIZE_MAX};
    struct model_hooks hooks = {&trace, note_needed, note_ready};
    struct model_totals totals = {0};
    struct error err;
    const size_t needed[] = {0, 1, 2, 3, 4, 5, 6}, ready[] = {5, 6, 4, 0, 1};

    (void)state;
    fixture_init(&fixture, frozen, "mse", "mae");
    assert_ok(model_step(&fixture.model, &fixture.batch, &hooks, &totals, &err), &err);
    assert_int_equal(trace.needed_count, 7);
    assert_memory_equal(trace.needed, needed, sizeof needed);
    assert_int_equal(trace.ready_count, 5);
    assert_memory_equal(trace.ready, ready, sizeof ready);
    trace = (struct trace){.fail_at = 2};
    assert_refused(model_step(&fixture.model, &fixture.batch, &hooks, &totals, &err),
                   STATUS_UNAVAILABLE, &err, "gone");
    assert_int_equal(trace.needed_count, 3);
    model_release(&fixture.model);
}

static void test_a_step_allocates_nothing(void **state)
{
    struct fixture fixture;
    struct model_totals totals = {0};
    struct error err;
    uint64_t before;

    (void)state;
    fixture_init(&fixture, frozen, "binary_crossentropy", "accuracy");
    before = alloc_count();
    assert_ok(model_step(&fixture.model, &fixture.batch, NULL, &totals, &err), &err);
    assert_int_equal(alloc_count(), before);
    model_release(&fixture.model);
}

static void test_initial_values_depend_on_seed_and_path_only(void **state)
{
    struct fixture a, b;
    struct error err;
    const struct model_weight *kernel;

    (void)state;
    fixture_init(&a, classifier, "sparse_categorical_crossentropy", "accuracy");
    fixture_init(&b, classifier, "sparse_categorical_crossentropy", "accuracy");
    assert_memory_equal(a.model.params, b.model.params, a.model.block_floats * sizeof(float));
    assert_ok(model_initialize(&b.model, 8, &err), &err);
    assert_memory_not_equal(a.model.params, b.model.params, a.model.block_floats * sizeof(float));
    kernel = &a.model.weights[0];
    for (size_t i = 0; i < kernel->count; i++) /* GlorotUniform: sqrt(6 / (4 + 5)) */
        assert_true(fabsf(a.model.params[kernel->offset + i]) <= 0.8165f);
    model_release(&a.model);
    model_release(&b.model);
}

static void test_targets_that_do_not_fit_are_refused(void **state)
{
    struct model model;
    struct loss loss;
    struct shape two = {1, {2}}, one = {1, {1}};
    struct error err;

    (void)state;
    assert_ok(model_from_json(&model, classifier, strlen(classifier), &err), &err);
    assert_ok(loss_from_text(&loss, "mse", &err), &err);
    assert_refused(model_compile(&model, &loss, NULL, 0, &one, &err), STATUS_FAILED_PRECONDITION,
                   &err, "not built");
    assert_ok(model_build(&model, NULL, &err), &err);
    assert_refused(model_compile(&model, &loss, NULL, 0, &two, &err), STATUS_INVALID_ARGUMENT, &err,
                   "layer 'b', whose output has shape (None, 3); targets of shape (None, 3) would");
    assert_ok(loss_from_text(&loss, "sparse_categorical_crossentropy", &err), &err);
    assert_refused(model_compile(&model, &loss, NULL, 0, &two, &err), STATUS_INVALID_ARGUMENT, &err,
                   "targets of shape (None,) would");
    assert_ok(model_compile(&model, &loss, NULL, 0, &one, &err), &err);
    model_release(&model);
}

static void test_wrong_batches_are_refused(void **state)
{
    struct fixture fixture;
    struct model_totals totals = {0};
    struct model_batch large;
    struct error err;

    (void)state;
    fixture_init(&fixture, classifier, "sparse_categorical_crossentropy", "accuracy");
    large = fixture.batch;
    large.rows = ROWS + 1;
    assert_refused(model_step(&fixture.model, &large, NULL, &totals, &err), STATUS_OUT_OF_RANGE,
                   &err, "7 examples");
    fixture.y[4] = 3;
    assert_refused(model_step(&fixture.model, &fixture.batch, NULL, &totals, &err),
                   STATUS_INVALID_ARGUMENT, &err, "label 3 of row 4");
    model_release(&fixture.model);
}

static void test_input_may_come_from_the_data(void **state)
{
    static const char text[] = MODEL(LAYER("Dense", "\"units\": 2"));
    struct shape shape = {1, {9}}, other = {1, {3}};
    struct model model;
    struct error err;

    (void)state;
    assert_ok(model_from_json(&model, text, strlen(text), &err), &err);
    assert_refused(model_build(&model, NULL, &err), STATUS_FAILED_PRECONDITION, &err, "input");
    assert_ok(model_build(&model, &shape, &err), &err);
    assert_int_equal(model.weights[0].shape.size[0], 9);
    model_release(&model);
    assert_ok(model_from_json(&model, classifier, strlen(classifier), &err), &err);
    assert_refused(model_build(&model, &other, &err), STATUS_INVALID_ARGUMENT, &err,
                   "takes input of shape (None, 4); the data has (None, 3)");
    model_release(&model);
}

static enum status build_all(void *context)
{
    struct model model = {0};
    struct loss loss;
    struct shape target = {.rank = 0};
    struct error err;
    enum status status = model_from_json(&model, classifier, strlen(classifier), &err);

    (void)context;
    if (status == STATUS_OK)
        status = loss_from_text(&loss, "sparse_categorical_crossentropy", &err);
    if (status == STATUS_OK)
        status = model_build(&model, NULL, &err);
    if (status == STATUS_OK)
        status = model_allocate(&model, &err);
    if (status == STATUS_OK)
        status = model_compile(&model, &loss, NULL, 0, &target, &err);
    if (status == STATUS_OK)
        status = model_reserve(&model, ROWS, true, &err);
    model_release(&model);
    return status;
}

static void test_out_of_memory_is_a_status(void **state)
{
    (void)state;
    assert_true(fail_alloc_each(build_all, NULL) > 5);
}

static void test_weights_are_saved_and_loaded(void **state)
{
    struct temp_dir dir;
    char path[TEMP_PATH_BYTES];
    struct safetensors_text metadata[] = {{"classes", "3"}};
    struct safetensors file;
    struct fixture a, b;
    struct error err;

    (void)state;
    temp_dir_init(&dir);
    temp_dir_path(&dir, "w.safetensors", path);
    fixture_init(&a, classifier, "sparse_categorical_crossentropy", "accuracy");
    fixture_init(&b, classifier, "sparse_categorical_crossentropy", "accuracy");
    assert_ok(model_initialize(&b.model, 99, &err), &err);
    assert_ok(weights_save(&a.model, path, metadata, 1, &err), &err);
    assert_ok(safetensors_open(&file, path, &err), &err);
    assert_string_equal(safetensors_metadata(&file, "classes"), "3");
    assert_ok(weights_load(&b.model, &file, &err), &err);
    assert_memory_equal(a.model.params, b.model.params, a.model.block_floats * sizeof(float));
    safetensors_release(&file);
    model_release(&a.model);

    fixture_init(&a, frozen, "mse", "mae");
    assert_ok(safetensors_open(&file, path, &err), &err);
    assert_refused(weights_load(&a.model, &file, &err), STATUS_INVALID_ARGUMENT, &err, "'b/");
    safetensors_release(&file);
    model_release(&a.model);
    model_release(&b.model);
    temp_dir_release(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients_are_those_of_differences),
        cmocka_unit_test(test_weights_lie_apart_in_one_block),
        cmocka_unit_test(test_shares_of_a_batch_add_up),
        cmocka_unit_test(test_a_worker_without_examples_has_zero_gradients),
        cmocka_unit_test(test_hooks_follow_the_layers),
        cmocka_unit_test(test_a_step_allocates_nothing),
        cmocka_unit_test(test_initial_values_depend_on_seed_and_path_only),
        cmocka_unit_test(test_targets_that_do_not_fit_are_refused),
        cmocka_unit_test(test_wrong_batches_are_refused),
        cmocka_unit_test(test_input_may_come_from_the_data),
        cmocka_unit_test(test_out_of_memory_is_a_status),
        cmocka_unit_test(test_weights_are_saved_and_loaded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
