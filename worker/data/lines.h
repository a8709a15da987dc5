/* A text file line by line, in a buffer that grows up to a bound; and how its text is quoted in
 * messages. */
#ifndef PARAMD_WORKER_DATA_LINES_H
#define PARAMD_WORKER_DATA_LINES_H

#include "common/base/error.h"
#include "common/base/status.h"
#include "worker/data/source.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LINES_BUFFER_BYTES = 256 * 1024,
    LINES_LINE_BYTES_MAX = 16 * 1024 * 1024, /* a million columns of 16 characters */
    LINES_EXCERPT_BYTES = 64,
};

struct lines {
    struct source *source; /* borrowed */
    char *buffer;          /* owned; one byte longer than capacity */
    size_t capacity;
    size_t used; /* bytes of the buffer that belong to lines already given out */
    size_t end;  /* bytes in the buffer */
    bool source_ended;
    uint64_t number; /* of the line given out last, from 1 */
};

/* The source is borrowed until lines_release. RESOURCE_EXHAUSTED if there is no memory. */
NODISCARD enum status lines_init(struct lines *lines, struct source *source, struct error *err);
void lines_release(struct lines *lines);

/*
 * The next line, without its end (newline, or carriage return and newline) and, for the first,
 * without a UTF-8 byte order mark. *ret_text is NULL at the end of the file. The text may be
 * changed, stays until the next call, and text[size] is readable: a line end or a zero.
 *
 * INVALID_ARGUMENT if a line is longer than LINES_LINE_BYTES_MAX; what source_read returns.
 */
NODISCARD enum status lines_next(struct lines *lines, char **ret_text, size_t *ret_size,
                                 struct error *err);

/* Text from a file as a message shows it: cut with "..." where it is long, control characters as
 * '?'. */
void lines_excerpt(const char *text, size_t size, char ret_excerpt[LINES_EXCERPT_BYTES]);

#endif
