/* Slices as in Python, "[0:4, -1]": which elements of a variable are meant, as contiguous runs. */
#ifndef PARAMD_WORKER_CTL_SELECTION_H
#define PARAMD_WORKER_CTL_SELECTION_H

#include "common/base/error.h"
#include "common/base/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct selection_axis {
    uint64_t length; /* of the variable */
    uint64_t first, count;
    bool dropped; /* a number, not a range: the result has no such axis */
};

struct selection {
    size_t rank;
    struct selection_axis axes[LIMIT_RANK];
    uint64_t element_count;
    uint64_t run_count;    /* contiguous runs of elements, in row-major order */
    uint64_t run_elements; /* of each */
};

/*
 * text: "" for everything, else a number, a range "a:b" (also "a:", ":b", ":") or "..." for each
 * axis, in brackets, with commas between; missing axes at the end are whole. Negative numbers count
 * from the end; ranges are cut to the axis, as in Python.
 *
 * INVALID_ARGUMENT: not such a text, a step other than 1, more parts than axes. OUT_OF_RANGE: a
 * number outside its axis; the message names axis and length.
 */
NODISCARD enum status selection_parse(const char *text, const uint64_t *shape, size_t rank,
                                      struct selection *ret_selection, struct error *err);

/* The first element (row-major, in the whole variable) of run `index`. */
uint64_t selection_run_first(const struct selection *selection, uint64_t index);

/* The shape of what is selected; returns its rank. */
size_t selection_shape(const struct selection *selection, uint64_t ret_shape[LIMIT_RANK]);

#endif
