/* How a training file's contents became numbers, saved beside the weights: names of classes and
 * scale of features. */
#ifndef PARAMD_WORKER_DATA_ENCODING_H
#define PARAMD_WORKER_DATA_ENCODING_H

#include "common/base/error.h"
#include "common/base/status.h"
#include "worker/data/dataset.h"
#include "worker/data/names.h"

#include <stddef.h>

enum scale_kind {
    SCALE_NONE,
    SCALE_UNIT,     /* x / 255 */
    SCALE_STANDARD, /* (x - mean) / deviation of its column */
};

/* Zeroed, it changes nothing. */
struct encoding {
    struct names classes; /* sorted; empty where labels are numbers */
    enum scale_kind scale;
    size_t feature_count; /* length of the arrays; 0 unless SCALE_STANDARD */
    double *mean;         /* owned */
    double *deviation;    /* owned; above 0 */
};

void encoding_release(struct encoding *encoding);

/* Zeroed mean and deviation for so many features. On failure the encoding is still to be released.
 */
NODISCARD enum status encoding_allocate(struct encoding *encoding, size_t feature_count,
                                        struct error *err);

/* "none", "unit" or "standard". */
const char *scale_kind_name(enum scale_kind kind);

/*
 * The kind named none, unit or standard; INVALID_ARGUMENT, listing them, for another name.
 */
NODISCARD enum status scale_kind_named(const char *name, enum scale_kind *ret_kind,
                                       struct error *err);

/*
 * Learn the encoding of a training file: the classes of the data set (copied) and, for
 * SCALE_STANDARD, mean and deviation of each column over the training examples alone.
 *
 * The deviation is that of the population (divided by n, as scikit-learn's StandardScaler), and 1
 * for a column of equal values. Sums are made in float64, example after example: the same file
 * gives the same bits on every rank. ret_encoding is new.
 */
NODISCARD enum status encoding_fit(enum scale_kind kind, const struct names *classes,
                                   const struct examples *train, struct encoding *ret_encoding,
                                   struct error *err);

/*
 * Scale count examples in place.
 *
 *   features   (count, feature_count) float32.
 *              SCALE_UNIT divides in float32; SCALE_STANDARD computes in float64 and rounds once.
 *
 * INVALID_ARGUMENT if feature_count is not the encoding's (SCALE_STANDARD), or a result is no
 * finite float32; then some of the features are changed.
 */
NODISCARD enum status encoding_apply(const struct encoding *encoding, float *features, size_t count,
                                     size_t feature_count, struct error *err);

#endif
