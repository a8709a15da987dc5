#include "worker/train/trainer.h"

#include "common/base/alloc.h"
#include "tests/lib/fail_alloc.h"
#include "tests/lib/shares_sync.h"
#include "tests/unit/worker/train/train_test.h"
#include "worker/nn/workspace.h"

#include <math.h>

static struct train_data data;

static int setup(void **state)
{
    (void)state;
    kernels_flush_denormals();
    train_data_fill(&data);
    return 0;
}

struct result {
    struct model model;
    struct model_totals last, validation;
    uint64_t epochs_begun, epochs_ended, first_epoch;
    bool has_validation;
};

static void count_begin(void *context, uint64_t epoch, uint64_t steps)
{
    struct result *result = context;

    (void)steps;
    if (result->epochs_begun++ == 0)
        result->first_epoch = epoch;
}

static enum status keep_end(void *context, uint64_t epoch, const struct model_totals *totals,
                            const struct model_totals *validation, struct error *err)
{
    struct result *result = context;

    (void)epoch;
    (void)err;
    result->epochs_ended++;
    result->last = *totals;
    result->has_validation = validation != NULL;
    if (validation)
        result->validation = *validation;
    return STATUS_OK;
}

static struct trainer_listener listener_of(struct result *result)
{
    return (struct trainer_listener){
        .context = result, .on_epoch_begin = count_begin, .on_epoch_end = keep_end};
}

/* Trains alone from the values of a model, as if `step` steps were done before. */
static enum status fit_from(struct result *result, uint64_t step, const struct fit_options *given,
                            const char *optimizer_name, struct error *err)
{
    struct optimizer optimizer = train_optimizer(optimizer_name, 0.05);
    struct sync_options sync_options = {
        .model = &result->model, .optimizer = &optimizer, .has_weights = true};
    struct trainer_listener listener = listener_of(result);
    struct fit_options options = *given;
    struct sync *sync;
    enum status status = sync_local_new(&sync_options, NULL, &sync, err);

    if (status)
        return status;
    sync->step = step;
    options.listener = &listener;
    status = trainer_fit(sync, &options, err);
    sync_free(sync);
    return status;
}

static enum status fit(struct result *ret_result, uint64_t seed, const struct fit_options *options,
                       struct error *err)
{
    enum status status;

    *ret_result = (struct result){.epochs_begun = 0};
    status = train_model_make(&ret_result->model, seed, err);
    return status ? status : fit_from(ret_result, 0, options, "adam", err);
}

static bool same_params(const struct result *a, const struct result *b)
{
    return memcmp(a->model.params, b->model.params, a->model.block_floats * sizeof(float)) == 0;
}

static void test_same_seed_same_bytes(void **state)
{
    struct examples train = train_examples(&data, TRAIN_EXAMPLES);
    struct fit_options options = {
        .train = &train, .batch_size = 8, .epochs = 3, .shuffle = true, .seed = 4};
    struct result a, b, c;
    struct error err;

    (void)state;
    assert_ok(fit(&a, 4, &options, &err), &err);
    assert_ok(fit(&b, 4, &options, &err), &err);
    options.seed = 5;
    assert_ok(fit(&c, 4, &options, &err), &err);
    assert_true(same_params(&a, &b));
    assert_false(same_params(&a, &c));
    assert_true(a.last.loss.sum == b.last.loss.sum);
    model_release(&a.model);
    model_release(&b.model);
    model_release(&c.model);
}

static void test_it_learns_and_every_example_counts(void **state)
{
    struct examples train = train_examples(&data, TRAIN_EXAMPLES);
    struct fit_options options = {.train = &train, .batch_size = 8, .epochs = 60, .shuffle = true};
    struct result result;
    struct error err;

    (void)state;
    assert_ok(fit(&result, 1, &options, &err), &err);
    assert_int_equal(result.epochs_begun, 60);
    assert_int_equal(result.epochs_ended, 60);
    assert_true(result.last.loss.count == TRAIN_EXAMPLES);
    assert_true(result.last.metrics[0].count == TRAIN_EXAMPLES);
    assert_true(metric_mean(&result.last.metrics[0]) > 0.9);
    assert_false(result.has_validation);
    model_release(&result.model);
}

/* Ranks whose shares are uneven or empty; also more ranks than a batch, or than there are examples.
 */
static void test_shares_add_up(void **state)
{
    static const struct {
        size_t ranks, batch, examples;
    } cases[] = {{2, 8, 50}, {3, 8, 50}, {5, 4, 50}, {8, 3, 50}, {7, 32, 5}, {1, 8, 50}};
    struct optimizer optimizer = train_optimizer("sgd", 0.05);

    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        struct examples train = train_examples(&data, cases[c].examples);
        struct examples validation = {data.features, data.labels, 4, TRAIN_FEATURES};
        struct fit_options options = {.train = &train,
                                      .validation = &validation,
                                      .batch_size = cases[c].batch,
                                      .epochs = 3,
                                      .shuffle = true};
        struct result alone = {.epochs_begun = 0}, shared = {.epochs_begun = 0};
        struct trainer_listener listener = listener_of(&shared);
        struct model models[SHARES_RANKS_MAX], *pointers[SHARES_RANKS_MAX];
        struct error err;

        assert_ok(train_model_make(&alone.model, 1, &err), &err);
        assert_ok(fit_from(&alone, 0, &options, "sgd", &err), &err);
        for (size_t r = 0; r < cases[c].ranks; r++) {
            assert_ok(train_model_make(&models[r], 1, &err), &err);
            pointers[r] = &models[r];
        }
        options.listener = &listener;
        assert_ok(shares_fit(pointers, (uint32_t)cases[c].ranks, &optimizer, &options, NULL, &err),
                  &err);
        for (size_t i = 0; i < alone.model.block_floats; i++)
            assert_true(fabsf(alone.model.params[i] - models[0].params[i]) <= 2e-6f);
        assert_true(fabs(alone.last.loss.sum - shared.last.loss.sum) < 1e-4);
        assert_true(alone.last.loss.count == shared.last.loss.count);
        assert_true(alone.last.metrics[0].sum == shared.last.metrics[0].sum);
        assert_true(shared.validation.loss.count == 4);
        assert_true(fabs(alone.validation.loss.sum - shared.validation.loss.sum) < 1e-5);
        if (cases[c].ranks == 1)
            assert_memory_equal(alone.model.params, models[0].params,
                                alone.model.block_floats * sizeof(float));
        for (size_t r = 0; r < cases[c].ranks; r++)
            model_release(&models[r]);
        model_release(&alone.model);
    }
}

/* A process that takes a dead one's place goes on after the committed step; plain SGD has no state
 * to carry over. */
static void test_goes_on_after_a_step(void **state)
{
    struct examples train = train_examples(&data, TRAIN_EXAMPLES);
    struct fit_options all = {.train = &train, .batch_size = 8, .epochs = 3, .shuffle = true};
    struct fit_options first = all;
    struct result whole = {.epochs_begun = 0}, part = {.epochs_begun = 0};
    struct error err;

    (void)state;
    assert_ok(train_model_make(&whole.model, 1, &err), &err);
    assert_ok(fit_from(&whole, 0, &all, "sgd", &err), &err);
    first.epochs = 1;
    assert_ok(train_model_make(&part.model, 1, &err), &err);
    assert_ok(fit_from(&part, 0, &first, "sgd", &err), &err);

    /* The end of the epoch that was complete comes again: others may still wait for it. */
    part.epochs_begun = part.epochs_ended = 0;
    assert_ok(fit_from(&part, 7, &all, "sgd", &err), &err);
    assert_int_equal(part.first_epoch, 0);
    assert_int_equal(part.epochs_ended, 3);
    assert_true(same_params(&whole, &part));

    part.epochs_begun = part.epochs_ended = 0;
    assert_ok(fit_from(&part, 8, &all, "sgd", &err), &err);
    assert_int_equal(part.first_epoch, 1);
    assert_int_equal(part.epochs_ended, 2);

    part.epochs_begun = part.epochs_ended = 0;
    assert_ok(fit_from(&part, 21, &all, "sgd", &err), &err);
    assert_int_equal(part.epochs_ended, 1);
    assert_refused(fit_from(&part, 22, &all, "sgd", &err), STATUS_FAILED_PRECONDITION, &err,
                   "step 22, past the 21 steps");
    model_release(&whole.model);
    model_release(&part.model);
}

static void test_stops_when_told(void **state)
{
    struct examples train = train_examples(&data, TRAIN_EXAMPLES);
    volatile sig_atomic_t stop = 1;
    struct fit_options options = {.train = &train, .batch_size = 8, .epochs = 3, .stop = &stop};
    struct result result;
    struct error err;

    (void)state;
    assert_refused(fit(&result, 1, &options, &err), STATUS_CANCELLED, &err,
                   "interrupted after step 0");
    model_release(&result.model);
}

static void test_names_what_is_not_finite(void **state)
{
    struct train_data broken = data;
    struct examples train = train_examples(&broken, TRAIN_EXAMPLES);
    struct fit_options options = {.train = &train, .batch_size = 8, .epochs = 1};
    struct result result;
    struct error err;

    (void)state;
    broken.features[9 * TRAIN_FEATURES] = NAN;
    assert_refused(fit(&result, 1, &options, &err), STATUS_INVALID_ARGUMENT, &err,
                   "step 2: the gradient of 'b/");
    if (!strstr(err.message, "is not a number"))
        fail_msg("%s", err.message);
    model_release(&result.model);
}

static void test_refuses_labels_and_epochs(void **state)
{
    struct train_data wrong = data;
    struct examples train = train_examples(&wrong, TRAIN_EXAMPLES);
    struct fit_options options = {.train = &train, .batch_size = 8, .epochs = 1};
    struct result result;
    struct error err;

    (void)state;
    wrong.labels[3] = 3;
    assert_refused(fit(&result, 1, &options, &err), STATUS_INVALID_ARGUMENT, &err, "label");
    model_release(&result.model);
    train.labels = NULL;
    assert_refused(fit(&result, 1, &options, &err), STATUS_INVALID_ARGUMENT, &err, "no labels");
    model_release(&result.model);
    train.labels = data.labels;
    options.epochs = 0;
    assert_refused(fit(&result, 1, &options, &err), STATUS_INVALID_ARGUMENT, &err, "0 epochs");
    model_release(&result.model);
}

static void test_predict_is_what_evaluate_saw(void **state)
{
    enum { COUNT = TRAINER_ROWS + 44 };
    static float features[COUNT * TRAIN_FEATURES], labels[COUNT];
    static float predictions[COUNT * TRAIN_CLASSES];
    struct optimizer optimizer = train_optimizer("sgd", 0.1);
    struct examples examples = {features, labels, COUNT, TRAIN_FEATURES};
    struct sync_options options = {.optimizer = &optimizer, .has_weights = true};
    struct model_totals totals;
    struct model model;
    struct sync *sync;
    struct error err;
    size_t right = 0;

    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        memcpy(features + i * TRAIN_FEATURES, data.features + i % TRAIN_EXAMPLES * TRAIN_FEATURES,
               TRAIN_FEATURES * sizeof(float));
        labels[i] = data.labels[i % TRAIN_EXAMPLES];
    }
    assert_ok(train_model_make(&model, 2, &err), &err);
    options.model = &model;
    assert_ok(sync_local_new(&options, NULL, &sync, &err), &err);
    assert_ok(trainer_evaluate(sync, &examples, "test", &totals, &err), &err);
    assert_ok(trainer_predict(&model, &examples, predictions, &err), &err);
    for (size_t i = 0; i < COUNT; i++) {
        const float *p = predictions + i * TRAIN_CLASSES;
        size_t best = p[1] > p[0] ? 1 : 0;
        best = p[2] > p[best] ? 2 : best;
        right += best == (size_t)labels[i];
    }
    assert_true(totals.loss.count == COUNT);
    assert_true(totals.metrics[0].sum == (double)right);
    sync_free(sync);
    model_release(&model);
}

static enum status fit_with_new_workspace(void *context)
{
    struct result *result = context;
    struct examples train = train_examples(&data, TRAIN_EXAMPLES);
    struct fit_options options = {
        .train = &train, .validation = &train, .batch_size = 8, .epochs = 1, .shuffle = true};
    struct error err;

    workspace_free(result->model.workspace);
    result->model.workspace = NULL;
    return fit_from(result, 0, &options, "adam", &err);
}

static void test_every_allocation_may_fail(void **state)
{
    struct result result = {.epochs_begun = 0};
    struct error err;

    (void)state;
    assert_ok(train_model_make(&result.model, 1, &err), &err);
    /* The workspace stays with the model, so it is made anew for each run. */
    assert_true(fail_alloc_each(fit_with_new_workspace, &result) >= 6);
    model_release(&result.model);
}

/* After its preparations a training allocates nothing. */
static void test_steps_allocate_nothing(void **state)
{
    struct examples train = train_examples(&data, TRAIN_EXAMPLES);
    struct fit_options options = {.train = &train, .batch_size = 8, .epochs = 1, .shuffle = true};
    struct result result;
    struct error err;
    uint64_t before, one, many;

    (void)state;
    before = alloc_count();
    assert_ok(fit(&result, 1, &options, &err), &err);
    model_release(&result.model);
    one = alloc_count() - before;
    options.epochs = 9;
    before = alloc_count();
    assert_ok(fit(&result, 1, &options, &err), &err);
    model_release(&result.model);
    many = alloc_count() - before;
    assert_int_equal(one, many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_seed_same_bytes),
        cmocka_unit_test(test_it_learns_and_every_example_counts),
        cmocka_unit_test(test_shares_add_up),
        cmocka_unit_test(test_goes_on_after_a_step),
        cmocka_unit_test(test_stops_when_told),
        cmocka_unit_test(test_names_what_is_not_finite),
        cmocka_unit_test(test_refuses_labels_and_epochs),
        cmocka_unit_test(test_predict_is_what_evaluate_saw),
        cmocka_unit_test(test_every_allocation_may_fail),
        cmocka_unit_test(test_steps_allocate_nothing),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
