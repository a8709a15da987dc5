/* A list of texts that also finds them: column names, class names. */
#ifndef PARAMD_WORKER_DATA_NAMES_H
#define PARAMD_WORKER_DATA_NAMES_H

#include "common/base/error.h"
#include "common/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct names {
    char **items; /* owned, each terminated */
    size_t count;
    size_t capacity;
    uint32_t *slots; /* owned; open addressing: 0 or an item's index + 1; a power of two of them */
    size_t slot_count;
};

void names_release(struct names *names);

/*
 * Append a copy of the text, also where it is there already; a lookup finds the first of equals.
 * RESOURCE_EXHAUSTED if there is no memory; then nothing is changed.
 */
NODISCARD enum status names_append(struct names *names, const char *text, size_t size,
                                   struct error *err);

/* True and the index of the text, if it is there. */
bool names_find(const struct names *names, const char *text, size_t size, size_t *ret_index);

/*
 * Sort by bytes (for UTF-8 the order of code points, as Python's sorted()). The texts are distinct.
 *
 *   ret_moved   count indices: where each text has gone; NULL if nobody asks.
 */
NODISCARD enum status names_sort(struct names *names, uint32_t *ret_moved, struct error *err);

/* ret_names is new, an empty list before. */
NODISCARD enum status names_copy(const struct names *names, struct names *ret_names,
                                 struct error *err);

/* Same texts in the same order. */
bool names_equal(const struct names *a, const struct names *b);

/* A text that can be a name in a saved file: UTF-8 (RFC 3629) without a zero byte. */
bool names_text_is_valid(const char *text, size_t size);

#endif
