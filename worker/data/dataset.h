/* Examples in memory: a float32 matrix of features and a label each; growing, splitting, comparing.
 */
#ifndef PARAMD_WORKER_DATA_DATASET_H
#define PARAMD_WORKER_DATA_DATASET_H

#include "common/base/error.h"
#include "common/base/status.h"
#include "worker/data/names.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DATASET_FEATURE_COUNT_MAX = 1 << 20, /* columns; a row of the matrix is then 4 MiB */
    DATASET_RANK_MAX = 8,                /* axes of one example, for instance 28 x 28 */
    DATASET_MEMORY_PERCENT = 75, /* of the machine's memory, the most that one data set may take */
};

/* Examples are numbered in 32 bits: the order of an epoch is an array of such numbers. */
#define DATASET_EXAMPLE_COUNT_MAX ((size_t)UINT32_MAX)

struct dataset {
    char *name; /* owned; the file as the user named it */
    size_t example_count;
    size_t feature_count; /* of one example: the product of shape */
    size_t rank;
    size_t shape[DATASET_RANK_MAX];
    float *features; /* owned; (example_count, feature_count), row-major */
    float *labels;   /* owned; (example_count): class index or value; NULL: the file has none */
    struct names columns; /* of the features, as the header names them; empty without a header */
    struct names classes; /* of a training file with labels of text, sorted; else empty */
};

void dataset_release(struct dataset *dataset);

/* Some examples of a data set, one after another. Borrows its arrays. */
struct examples {
    const float *features; /* (count, feature_count) */
    const float *labels;   /* (count), or NULL */
    size_t count;
    size_t feature_count;
};

/* All of them. Borrows from dataset. */
struct examples dataset_examples(const struct dataset *dataset);

/*
 * Keras's validation_split: the last part, in the order of the file, is for validation; the first
 * floor(count * (1 - fraction)) examples are for training. fraction 0: all are for training.
 *
 * INVALID_ARGUMENT if fraction is outside [0, 1), or leaves one side without an example.
 */
NODISCARD enum status dataset_split(const struct dataset *dataset, double fraction,
                                    struct examples *ret_train, struct examples *ret_validation,
                                    struct error *err);

/*
 * Whether `other` (a test file) can be used where `train` was: as many features and, where both
 * files name them, the same names in the same order. INVALID_ARGUMENT, saying which differs.
 */
NODISCARD enum status dataset_check_alike(const struct dataset *train, const struct dataset *other,
                                          struct error *err);

/*
 * Fills a data set row by row, with memory for what has arrived and no copy at the end: the arrays
 * grow by realloc, which moves pages, not bytes, at these sizes.
 */
struct dataset_builder {
    struct dataset *dataset; /* borrowed */
    size_t capacity;         /* rows */
    uint64_t bytes_max;
    bool labelled;
};

/* The data set has its name and shape, and no rows. Its feature_count is set here. */
void dataset_builder_init(struct dataset_builder *builder, struct dataset *dataset, bool labelled);

/*
 * Room for one more row; *ret_row is its features, not yet set, valid until the next call. It
 * counts after dataset_builder_add. RESOURCE_EXHAUSTED if memory or DATASET_EXAMPLE_COUNT_MAX does
 * not allow it.
 */
NODISCARD enum status dataset_builder_row(struct dataset_builder *builder, float **ret_row,
                                          struct error *err);

/* The row begun last is complete; label is dropped where the data set has none. */
void dataset_builder_add(struct dataset_builder *builder, float label);

/* Gives unused memory back. */
void dataset_builder_finish(struct dataset_builder *builder);

#endif
