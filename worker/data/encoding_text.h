/* The saved form of an encoding: keys and texts for the metadata of a safetensors file. */
#ifndef PARAMD_WORKER_DATA_ENCODING_TEXT_H
#define PARAMD_WORKER_DATA_ENCODING_TEXT_H

#include "common/base/error.h"
#include "common/base/status.h"
#include "worker/data/encoding.h"

#include <stddef.h>

enum { ENCODING_PAIR_COUNT_MAX = 4 };

struct encoding_pair {
    const char *key;
    const char *value;
};

struct encoding_text {
    size_t pair_count;
    struct encoding_pair pairs[ENCODING_PAIR_COUNT_MAX]; /* sorted by key */
    char *values[ENCODING_PAIR_COUNT_MAX];               /* owned; the pairs' values */
};

/*
 * As text that encoding_parse turns into the same encoding, bit for bit:
 *
 *   classes           JSON array of strings: ["A","B"]          where there are classes
 *   scale             none, unit or standard
 *   scale_deviation   numbers with a space between              for standard
 *   scale_mean        the same
 *
 * RESOURCE_EXHAUSTED if there is no memory. ret_text is new.
 */
NODISCARD enum status encoding_print(const struct encoding *encoding,
                                     struct encoding_text *ret_text, struct error *err);
void encoding_text_release(struct encoding_text *text);

/*
 * Read it back, from pairs in any order; other keys are somebody else's and are passed over. None
 * of the keys gives the encoding that changes nothing.
 *
 * INVALID_ARGUMENT for anything that encoding_print does not write: a key that is missing or there
 * twice, an unknown scale, text that is no list of numbers, lists of different length, a deviation
 * that is not above 0, classes that are not sorted and distinct. ret_encoding is new.
 */
NODISCARD enum status encoding_parse(const struct encoding_pair *pairs, size_t pair_count,
                                     struct encoding *ret_encoding, struct error *err);

#endif
