/* Labels as a file writes them into class indices or values; the same rules for every text format.
 */
#ifndef PARAMD_WORKER_DATA_LABELS_H
#define PARAMD_WORKER_DATA_LABELS_H

#include "common/base/error.h"
#include "common/base/status.h"
#include "worker/data/data_file.h"
#include "worker/data/dataset.h"
#include "worker/data/names.h"

#include <stddef.h>

enum {
    LABELS_CLASS_COUNT_MAX = 1 << 16, /* different texts in a label column */
    LABELS_INDEX_MAX = 1 << 24,       /* whole numbers up to here are exact in float32 */
};

/* What the first label of the file was; the others must be like it. */
enum labels_written { LABELS_UNSEEN, LABELS_NUMBERS, LABELS_TEXTS };

struct labels {
    const struct data_options *options; /* borrowed */
    enum labels_written written;
    struct names found; /* texts of the training file, in the order of their first appearance */
};

/* options are borrowed until labels_release. */
void labels_init(struct labels *labels, const struct data_options *options);
void labels_release(struct labels *labels);

/*
 * One label, from its text (text[size] as number_parse wants it). A text gets a provisional index,
 * until labels_finish. The message of an error says what is wrong with the text; file, line and
 * column are the caller's to add.
 *
 * INVALID_ARGUMENT: not a number where one is needed; no whole number from 0 on; not below
 * options->class_count; not one of options->classes.
 */
NODISCARD enum status labels_read(struct labels *labels, const char *text, size_t size,
                                  float *ret_label, struct error *err);

/* The same for a label that is a number already. */
NODISCARD enum status labels_check(const struct labels *labels, float value, struct error *err);

/*
 * After the last row: sorts the texts found into dataset->classes and renumbers dataset->labels.
 * INVALID_ARGUMENT if there are more than options->class_count.
 */
NODISCARD enum status labels_finish(struct labels *labels, struct dataset *dataset,
                                    struct error *err);

#endif
