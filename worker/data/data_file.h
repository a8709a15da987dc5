/* Data files of every known format into data sets: the table of formats and what a reader is given.
 */
#ifndef PARAMD_WORKER_DATA_DATA_FILE_H
#define PARAMD_WORKER_DATA_DATA_FILE_H

#include "common/base/error.h"
#include "common/base/status.h"
#include "worker/data/dataset.h"
#include "worker/data/names.h"
#include "worker/data/source.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DATA_FILE_PART_COUNT_MAX = 2 };

enum data_header {
    DATA_HEADER_AUTO, /* the first line names the columns unless one of its fields is a number */
    DATA_HEADER_YES,
    DATA_HEADER_NO,
};

enum data_label_kind {
    DATA_LABELS_CLASSES, /* text, or whole numbers from 0: for the cross-entropy losses */
    DATA_LABELS_VALUES,  /* any number: for regression */
};

/* Zeroed, it reads classes from the last column. */
struct data_options {
    const char *label; /* name of the label column; NULL: the last one */
    enum data_header header;
    enum data_label_kind label_kind;

    /* Classes that the model tells apart: a label past them is an error. 0: not checked. */
    size_t class_count;

    /* The classes of the training file, for another file of the same data. NULL: this is the
     * training file. */
    const struct names *classes;

    /* A file with exactly this many columns, or images without their label file, has no labels. 0:
     * every file must have them. */
    size_t unlabelled_feature_count;
};

/*
 * Read a whole data file, or, where path is "images,labels", the pair. Each may be gzip, and is
 * known by its content: CSV (csv.h) or IDX (idx.h).
 *
 *   ret_dataset   new, to be released with dataset_release. Its classes are set if options->classes
 * is
 *                 NULL and the labels are text.
 *
 * INVALID_ARGUMENT: content that is wrong or does not fit the options, with file, line and column;
 * NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE: the file cannot be read; DATA_LOSS: damaged gzip;
 * UNIMPLEMENTED: a variant of a known format that is not supported; RESOURCE_EXHAUSTED: memory.
 */
NODISCARD enum status data_file_read(const char *path, const struct data_options *options,
                                     struct dataset *ret_dataset, struct error *err);

/* The same from parts that are open already, as tests and fuzzers have them. `name` is for
 * messages. */
NODISCARD enum status data_file_read_parts(const char *name, struct source *const *parts,
                                           size_t part_count, const struct data_options *options,
                                           struct dataset *ret_dataset, struct error *err);

/* A format: one file and one row of the table in data_file.c. */
struct data_format {
    const char *name;
    const char
        *part_names[DATA_FILE_PART_COUNT_MAX]; /* "images", "labels"; NULL where there is none */

    /* Whether a file that begins with these bytes (all of it, if shorter than SOURCE_HEAD_BYTES) is
     * one. */
    bool (*recognize)(const uint8_t *head, size_t size);

    /*
     * Reads into a data set that has only its name; it is released by the caller, on failure too.
     * There are as many parts as part_names, or one fewer if options->unlabelled_feature_count is
     * set.
     */
    enum status (*read)(struct source *const *parts, size_t part_count,
                        const struct data_options *options, struct dataset *dataset,
                        struct error *err);
};

#endif
