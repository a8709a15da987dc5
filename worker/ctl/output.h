/* Where the values of `get` go: stdout, or a file that appears whole or not at all. */
#ifndef PARAMD_WORKER_CTL_OUTPUT_H
#define PARAMD_WORKER_CTL_OUTPUT_H

#include "common/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct output {
    FILE *stream;
    const char *path;  /* borrowed; NULL: stdout */
    char beside[4096]; /* what is written, and takes the name `path` at the end */
    bool spooled;      /* to stdout at the end, from a file without a name */
    bool begun;
};

/* path NULL: stdout; may_begin_again: through a file, as stdout cannot take back what it has.
 * UNAVAILABLE: the file cannot be written. */
NODISCARD enum status output_open(struct output *ret_output, const char *path, bool may_begin_again,
                                  struct error *err);

/* Before the first byte; again if everything is to be written anew. */
NODISCARD enum status output_begin(struct output *output, struct error *err);
NODISCARD enum status output_write(struct output *output, const void *bytes, size_t count,
                                   struct error *err);
/* Any error of writing that has gone unnoticed so far is told here. */
NODISCARD enum status output_finish(struct output *output, struct error *err);
/* Without output_finish nothing is left of the file. */
void output_release(struct output *output);

#endif
