/* What the tests of worker/train share: a small classifier and examples for it. */
#ifndef PARAMD_TESTS_UNIT_WORKER_TRAIN_TRAIN_TEST_H
#define PARAMD_TESTS_UNIT_WORKER_TRAIN_TRAIN_TEST_H

#include "common/base/rng.h"
#include "common/tensor/kernels.h"
#include "tests/lib/test.h"
#include "worker/nn/model_json.h"
#include "worker/train/trainer.h"

enum { TRAIN_EXAMPLES = 50, TRAIN_FEATURES = 6, TRAIN_CLASSES = 3 };

static const char train_model_text[] =
    "{\"class_name\": \"Sequential\", \"config\": {\"name\": \"small\", \"layers\": ["
    "{\"class_name\": \"InputLayer\", \"config\": {\"batch_shape\": [null, 6], \"name\": \"in\"}},"
    "{\"class_name\": \"Dense\", \"config\": {\"name\": \"a\", \"units\": 5, \"activation\": "
    "\"tanh\"}},"
    "{\"class_name\": \"Dense\", \"config\": {\"name\": \"b\", \"units\": 3, \"activation\": "
    "\"softmax\"}}"
    "]}}";

struct train_data {
    float features[TRAIN_EXAMPLES * TRAIN_FEATURES];
    float labels[TRAIN_EXAMPLES];
};

/* The class is the largest of the first three features, so there is something to learn. */
static inline void train_data_fill(struct train_data *data)
{
    struct rng_sequence rng = {.state = 5};

    for (size_t i = 0; i < TRAIN_EXAMPLES; i++) {
        float *x = data->features + i * TRAIN_FEATURES;
        for (size_t k = 0; k < TRAIN_FEATURES; k++)
            x[k] = (float)rng_below(&rng, 2001) / 1000.0f - 1.0f;
        size_t best = x[1] > x[0] ? 1 : 0;
        data->labels[i] = (float)(x[2] > x[best] ? 2 : best);
    }
}

static inline struct examples train_examples(const struct train_data *data, size_t count)
{
    return (struct examples){data->features, data->labels, count, TRAIN_FEATURES};
}

/* Built, compiled with accuracy, with initial values of the seed. */
static inline enum status train_model_make(struct model *ret_model, uint64_t seed,
                                           struct error *err)
{
    static const struct shape one_number = {.rank = 0};
    struct metric accuracy;
    struct loss loss;
    enum status status = model_from_json(ret_model, train_model_text, strlen(train_model_text),
                                         err);

    if (!status)
        status = model_build(ret_model, NULL, err);
    if (!status)
        status = loss_init(&loss, "sparse_categorical_crossentropy", NULL, err);
    if (!status)
        status = metric_init(&accuracy, "accuracy", NULL, err);
    if (!status)
        status = model_compile(ret_model, &loss, &accuracy, 1, &one_number, err);
    if (!status)
        status = model_allocate(ret_model, err);
    if (!status)
        status = model_initialize(ret_model, seed, err);
    return status;
}

static inline struct optimizer train_optimizer(const char *name, double learning_rate)
{
    struct optimizer_option option = {"learning_rate", learning_rate};
    struct optimizer optimizer;
    struct error err;

    assert_ok(optimizer_init(&optimizer, name, &option, 1, &err), &err);
    return optimizer;
}

#endif
