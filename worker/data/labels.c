#include "worker/data/labels.h"

#include "common/base/alloc.h"
#include "worker/data/lines.h"
#include "worker/data/number.h"

#include <math.h>

void labels_init(struct labels *labels, const struct data_options *options)
{
    *labels = (struct labels){.options = options};
    if (options->classes && options->classes->count)
        labels->written = LABELS_TEXTS;
    else if (options->classes || options->label_kind == DATA_LABELS_VALUES)
        labels->written = LABELS_NUMBERS;
}

void labels_release(struct labels *labels)
{
    if (!labels)
        return;
    names_release(&labels->found);
    *labels = (struct labels){0};
}

enum status labels_check(const struct labels *labels, float value, struct error *err)
{
    size_t class_count = labels->options->class_count;

    if (labels->options->label_kind == DATA_LABELS_VALUES)
        return STATUS_OK;
    if (!(value >= 0) || value != floorf(value))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%g is not a class; classes are 0, 1, 2, ...", (double)value);
    if (class_count && value >= (float)class_count)
        return error_set(
            err, STATUS_INVALID_ARGUMENT,
            "class %.0f is outside 0 to %zu, the %zu classes that the model tells apart",
            (double)value, class_count - 1, class_count);
    if (value > LABELS_INDEX_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "class %.0f is too large; the largest possible is %d", (double)value,
                         LABELS_INDEX_MAX);
    return STATUS_OK;
}

static enum status not_a_number(const struct labels *labels, const char *text, size_t size,
                                struct error *err)
{
    char excerpt[LINES_EXCERPT_BYTES];
    const char *because = labels->options->label_kind == DATA_LABELS_VALUES
                              ? "the loss needs numbers"
                          : labels->options->classes ? "the labels of the training data are numbers"
                          : labels->written == LABELS_NUMBERS ? "the labels above it are numbers"
                                                              : "a class has a name or a number";

    lines_excerpt(text, size, excerpt);
    return error_set(err, STATUS_INVALID_ARGUMENT, "label '%s' is not a number, but %s", excerpt,
                     because);
}

static enum status read_text(struct labels *labels, const char *text, size_t size, float *ret_label,
                             struct error *err)
{
    const struct names *known = labels->options->classes ? labels->options->classes
                                                         : &labels->found;
    char excerpt[LINES_EXCERPT_BYTES];
    size_t index;

    if (!names_find(known, text, size, &index)) {
        enum status status;
        lines_excerpt(text, size, excerpt);
        if (labels->options->classes)
            return error_set(
                err, STATUS_INVALID_ARGUMENT,
                "label '%s' is none of the %zu classes of the training data ('%s' to '%s')",
                excerpt, known->count, known->items[0], known->items[known->count - 1]);
        if (!names_text_is_valid(text, size))
            return error_set(err, STATUS_INVALID_ARGUMENT, "label '%s' is not valid UTF-8",
                             excerpt);
        if (known->count == LABELS_CLASS_COUNT_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "label '%s' would be class number %d; is this a column of classes?",
                             excerpt, LABELS_CLASS_COUNT_MAX + 1);
        index = known->count;
        status = names_append(&labels->found, text, size, err);
        if (status)
            return status;
    }
    *ret_label = (float)index;
    return STATUS_OK;
}

enum status labels_read(struct labels *labels, const char *text, size_t size, float *ret_label,
                        struct error *err)
{
    float value = 0;
    enum number_result result;
    enum status status;

    if (size == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "the label is empty");
    if (labels->written == LABELS_TEXTS)
        return read_text(labels, text, size, ret_label, err);
    result = number_parse_all(text, size, &value);
    if (labels->written == LABELS_UNSEEN && result == NUMBER_ABSENT &&
        !number_is_nonfinite(text, size)) {
        labels->written = LABELS_TEXTS;
        return read_text(labels, text, size, ret_label, err);
    }
    if (result == NUMBER_ABSENT)
        return not_a_number(labels, text, size, err);
    if (result == NUMBER_TOO_LARGE)
        return error_set(err, STATUS_INVALID_ARGUMENT, "the label is too large for a float32");
    status = labels_check(labels, value, err);
    if (status)
        return status;
    labels->written = LABELS_NUMBERS;
    *ret_label = value;
    return STATUS_OK;
}

enum status labels_finish(struct labels *labels, struct dataset *dataset, struct error *err)
{
    size_t class_count = labels->options->class_count;
    uint32_t *moved;
    enum status status;
    size_t i;

    if (labels->found.count == 0)
        return STATUS_OK;
    if (class_count && labels->found.count > class_count)
        return error_set(
            err, STATUS_INVALID_ARGUMENT,
            "there are %zu different labels, but the model tells only %zu classes apart",
            labels->found.count, class_count);
    moved = alloc_array(labels->found.count, sizeof *moved);
    if (!moved)
        return error_no_memory(err, "sorting classes");
    status = names_sort(&labels->found, moved, err);
    if (!status) {
        for (i = 0; i < dataset->example_count; i++)
            dataset->labels[i] = (float)moved[(size_t)dataset->labels[i]];
        dataset->classes = labels->found;
        labels->found = (struct names){0};
    }
    alloc_free(moved);
    return status;
}
