#include "worker/data/dataset.h"

#include "common/base/alloc.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

enum { BUILDER_FIRST_BYTES = 64 * 1024 };

void dataset_release(struct dataset *dataset)
{
    if (!dataset)
        return;
    alloc_free(dataset->name);
    alloc_free(dataset->features);
    alloc_free(dataset->labels);
    names_release(&dataset->columns);
    names_release(&dataset->classes);
    *dataset = (struct dataset){0};
}

struct examples dataset_examples(const struct dataset *dataset)
{
    return (struct examples){
        .features = dataset->features,
        .labels = dataset->labels,
        .count = dataset->example_count,
        .feature_count = dataset->feature_count,
    };
}

enum status dataset_split(const struct dataset *dataset, double fraction,
                          struct examples *ret_train, struct examples *ret_validation,
                          struct error *err)
{
    struct examples train = dataset_examples(dataset);
    struct examples validation = train;
    size_t kept;

    if (!(fraction >= 0 && fraction < 1))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "the validation split is %g; it must be at least 0 and less than 1",
                         fraction);
    kept = (size_t)floor((double)train.count * (1 - fraction));
    if (kept == 0 || (fraction > 0 && kept == train.count))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "a validation split of %g of the %zu examples in %s leaves none for %s",
                         fraction, train.count, dataset->name, kept ? "validation" : "training");
    train.count = kept;
    validation.count -= kept;
    validation.features += kept * validation.feature_count;
    if (validation.labels)
        validation.labels += kept;
    *ret_train = train;
    *ret_validation = validation;
    return STATUS_OK;
}

enum status dataset_check_alike(const struct dataset *train, const struct dataset *other,
                                struct error *err)
{
    size_t i;

    if (train->feature_count != other->feature_count)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s has %zu features, but %s has %zu",
                         other->name, other->feature_count, train->name, train->feature_count);
    if (train->columns.count == 0 || other->columns.count == 0)
        return STATUS_OK;
    for (i = 0; i < train->feature_count; i++) {
        if (strcmp(train->columns.items[i], other->columns.items[i]) != 0)
            return error_set(
                err, STATUS_INVALID_ARGUMENT,
                "feature column %zu is '%s' in %s, but '%s' in %s; the columns must be the "
                "same, in the same order",
                i + 1, other->columns.items[i], other->name, train->columns.items[i], train->name);
    }
    return STATUS_OK;
}

static uint64_t memory_bytes_max(void)
{
    long pages = sysconf(_SC_PHYS_PAGES);
    long page_bytes = sysconf(_SC_PAGESIZE);

    if (pages <= 0 || page_bytes <= 0)
        return UINT64_MAX;
    return (uint64_t)pages / 100 * DATASET_MEMORY_PERCENT * (uint64_t)page_bytes;
}

void dataset_builder_init(struct dataset_builder *builder, struct dataset *dataset, bool labelled)
{
    size_t i;

    dataset->feature_count = 1;
    for (i = 0; i < dataset->rank; i++)
        dataset->feature_count *= dataset->shape[i];
    *builder = (struct dataset_builder){
        .dataset = dataset, .labelled = labelled, .bytes_max = memory_bytes_max()};
}

/* Both arrays to `rows` rows; on failure what was there is kept. */
static enum status builder_resize(struct dataset_builder *builder, size_t rows)
{
    struct dataset *dataset = builder->dataset;
    size_t elements;
    float *features;

    if (__builtin_mul_overflow(rows, dataset->feature_count, &elements))
        return STATUS_RESOURCE_EXHAUSTED;
    features = alloc_resize(dataset->features, elements, sizeof *features);
    if (!features)
        return STATUS_RESOURCE_EXHAUSTED;
    dataset->features = features;
    if (builder->labelled) {
        float *labels = alloc_resize(dataset->labels, rows, sizeof *labels);
        if (!labels)
            return STATUS_RESOURCE_EXHAUSTED;
        dataset->labels = labels;
    }
    builder->capacity = rows;
    return STATUS_OK;
}

/* Half as much again, at least BUILDER_FIRST_BYTES, at most what the machine's memory allows. */
static enum status builder_grow(struct dataset_builder *builder, struct error *err)
{
    struct dataset *dataset = builder->dataset;
    size_t row_bytes = (dataset->feature_count + 1) * sizeof(float);
    uint64_t rows_max = builder->bytes_max / row_bytes;
    size_t rows = builder->capacity + builder->capacity / 2;

    if (rows < BUILDER_FIRST_BYTES / row_bytes + 1)
        rows = BUILDER_FIRST_BYTES / row_bytes + 1;
    if (rows > DATASET_EXAMPLE_COUNT_MAX)
        rows = DATASET_EXAMPLE_COUNT_MAX;
    if (rows > rows_max)
        rows = (size_t)rows_max;
    if (rows <= builder->capacity)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "%s: more than %zu examples of %zu features do not fit (%s)",
                         dataset->name, builder->capacity, dataset->feature_count,
                         builder->capacity == DATASET_EXAMPLE_COUNT_MAX
                             ? "the most a data set may have"
                             : "three quarters of this machine's memory");
    if (builder_resize(builder, rows))
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "%s: out of memory for %zu examples of %zu features", dataset->name, rows,
                         dataset->feature_count);
    return STATUS_OK;
}

enum status dataset_builder_row(struct dataset_builder *builder, float **ret_row, struct error *err)
{
    struct dataset *dataset = builder->dataset;

    if (dataset->example_count == builder->capacity) {
        enum status status = builder_grow(builder, err);
        if (status)
            return status;
    }
    *ret_row = dataset->features + dataset->example_count * dataset->feature_count;
    return STATUS_OK;
}

void dataset_builder_add(struct dataset_builder *builder, float label)
{
    struct dataset *dataset = builder->dataset;

    if (builder->labelled)
        dataset->labels[dataset->example_count] = label;
    dataset->example_count++;
}

void dataset_builder_finish(struct dataset_builder *builder)
{
    status_ignore(builder_resize(builder, builder->dataset->example_count),
                  "the larger arrays serve as well");
}
