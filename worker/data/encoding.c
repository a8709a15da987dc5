#include "worker/data/encoding.h"

#include "common/base/alloc.h"

#include <math.h>
#include <string.h>

static const char *const scale_names[] = {
    [SCALE_NONE] = "none", [SCALE_UNIT] = "unit", [SCALE_STANDARD] = "standard"};

enum { SCALE_KIND_COUNT = sizeof scale_names / sizeof scale_names[0], UNIT_DIVISOR = 255 };

const char *scale_kind_name(enum scale_kind kind)
{
    return scale_names[kind];
}

enum status scale_kind_named(const char *name, enum scale_kind *ret_kind, struct error *err)
{
    size_t i;

    for (i = 0; i < SCALE_KIND_COUNT; i++) {
        if (strcmp(name, scale_names[i]) == 0) {
            *ret_kind = (enum scale_kind)i;
            return STATUS_OK;
        }
    }
    return error_set(err, STATUS_INVALID_ARGUMENT,
                     "no scale is called '%.60s'; there are none, unit and standard", name);
}

void encoding_release(struct encoding *encoding)
{
    if (!encoding)
        return;
    names_release(&encoding->classes);
    alloc_free(encoding->mean);
    alloc_free(encoding->deviation);
    *encoding = (struct encoding){0};
}

/* Arrays for SCALE_STANDARD; what was allocated before a failure is the encoding's. */
enum status encoding_allocate(struct encoding *encoding, size_t feature_count, struct error *err)
{
    encoding->mean = alloc_array(feature_count, sizeof *encoding->mean);
    encoding->deviation = alloc_array(feature_count, sizeof *encoding->deviation);
    if (!encoding->mean || !encoding->deviation)
        return error_no_memory(err, "the scale of the features");
    encoding->feature_count = feature_count;
    return STATUS_OK;
}

/*
 * Values are taken relative to those of the first example, so that a column of equal values has a
 * deviation of exactly 0.
 */
static void fit_standard(const struct examples *train, double *mean, double *deviation)
{
    const float *first = train->features;
    double count = (double)train->count;
    size_t row, column;

    for (row = 0; row < train->count; row++) {
        const float *features = train->features + row * train->feature_count;
        for (column = 0; column < train->feature_count; column++)
            mean[column] += (double)features[column] - (double)first[column];
    }
    for (column = 0; column < train->feature_count; column++)
        mean[column] = (double)first[column] + mean[column] / count;
    for (row = 0; row < train->count; row++) {
        const float *features = train->features + row * train->feature_count;
        for (column = 0; column < train->feature_count; column++) {
            double distance = (double)features[column] - mean[column];
            deviation[column] += distance * distance;
        }
    }
    for (column = 0; column < train->feature_count; column++) {
        deviation[column] = sqrt(deviation[column] / count);
        if (!(deviation[column] > 0))
            deviation[column] = 1;
    }
}

enum status encoding_fit(enum scale_kind kind, const struct names *classes,
                         const struct examples *train, struct encoding *ret_encoding,
                         struct error *err)
{
    struct encoding encoding = {.scale = kind};
    enum status status = names_copy(classes, &encoding.classes, err);

    if (!status && kind == SCALE_STANDARD && train->count == 0)
        status = error_set(err, STATUS_INVALID_ARGUMENT,
                           "there are no training examples to learn the scale from");
    if (!status && kind == SCALE_STANDARD)
        status = encoding_allocate(&encoding, train->feature_count, err);
    if (status) {
        encoding_release(&encoding);
        return status;
    }
    if (kind == SCALE_STANDARD)
        fit_standard(train, encoding.mean, encoding.deviation);
    *ret_encoding = encoding;
    return STATUS_OK;
}

enum status encoding_apply(const struct encoding *encoding, float *features, size_t count,
                           size_t feature_count, struct error *err)
{
    size_t row, column;

    if (encoding->scale == SCALE_NONE)
        return STATUS_OK;
    if (encoding->scale == SCALE_UNIT) {
        for (row = 0; row < count * feature_count; row++)
            features[row] = features[row] / UNIT_DIVISOR;
        return STATUS_OK;
    }
    if (encoding->feature_count != feature_count)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "the saved scale is for %zu features, but the data have %zu",
                         encoding->feature_count, feature_count);
    for (row = 0; row < count; row++, features += feature_count) {
        for (column = 0; column < feature_count; column++) {
            float given = features[column];
            features[column] = (float)(((double)given - encoding->mean[column]) /
                                       encoding->deviation[column]);
            if (!isfinite(features[column]))
                return error_set(
                    err, STATUS_INVALID_ARGUMENT,
                    "example %zu, feature %zu: %g is too far from the training data (mean "
                    "%g, deviation %g) to be scaled",
                    row, column, (double)given, encoding->mean[column],
                    encoding->deviation[column]);
        }
    }
    return STATUS_OK;
}
