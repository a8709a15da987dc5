/* Metrics that are a mean: kept as (sum, count) in double, so that shares of a batch and workers
 * add up. */
#ifndef PARAMD_WORKER_NN_METRIC_H
#define PARAMD_WORKER_NN_METRIC_H

#include "common/base/error.h"
#include "common/base/limits.h"
#include "worker/nn/loss.h"
#include "worker/nn/shape.h"

struct metric;

struct metric_kind {
    const char *name, *class_name; /* "binary_accuracy", "BinaryAccuracy" */
    bool sparse;                   /* y has one class number a row */
    bool elementwise;              /* a value per element of p, not per row */
    /* The value of one row of cols predictions (of one element if elementwise). */
    float (*value)(const struct metric *metric, const float *y, const float *p, size_t cols);
};

struct metric {
    const struct metric_kind *kind;     /* static; NULL: "accuracy", not resolved yet */
    char name[LIMIT_METRIC_NAME_BYTES]; /* what logs call it */
    float threshold;                    /* of binary_accuracy */
    struct loss loss;                   /* of a metric that is a loss */
};

struct metric_total {
    double sum, count;
};

static inline double metric_mean(const struct metric_total *total)
{
    return total->count != 0 ? total->sum / total->count : 0;
}

/*
 * The metric of that name ("accuracy", "mse", "SparseCategoricalAccuracy") with an object's
 * "config" (NULL: defaults). "accuracy" and "acc" choose when they see shapes, see metric_resolve.
 *
 * NOT_FOUND: no such metric; the message lists them. INVALID_ARGUMENT: an option. err is not NULL.
 */
NODISCARD enum status metric_init(struct metric *ret_metric, const char *name, const json_t *config,
                                  struct error *err);

/* A name, or Keras's JSON object, as text. */
NODISCARD enum status metric_from_text(struct metric *ret_metric, const char *text,
                                       struct error *err);

/*
 * Keras's choice for "accuracy": binary for predictions with a last size of 1, sparse categorical
 * for targets of lower rank or with a last size of 1, else categorical. Nothing happens to another
 * metric.
 */
void metric_resolve(struct metric *metric, const struct shape *y_shape,
                    const struct shape *p_shape);

/* Arrays float32, row-major; shapes with the batch. */
struct metric_input {
    struct shape y_shape, p_shape, weight_shape;
    const float *y, *p;
    const float *weight; /* NULL: none */
};

/*
 * Adds a batch: one value per example (the mean of its values), weighted. Changes nothing unless
 * OK. Allocates nothing.
 *
 * INVALID_ARGUMENT: shapes or labels that do not fit, named.
 */
NODISCARD enum status metric_update(const struct metric *metric, const struct metric_input *input,
                                    struct metric_total *total, struct error *err);

/* Keras's Mean: one value per example, weighted. shape and weight_shape with the batch; rank 0 is
 * one example. */
NODISCARD enum status metric_update_mean(const struct shape *shape, const float *values,
                                         const struct shape *weight_shape, const float *weight,
                                         struct metric_total *total, struct error *err);

#endif
