/* Arrays of golden cases as float32 with their shapes, whatever integers or booleans they were. */
#ifndef PARAMD_TESTS_GOLDEN_NUMBERS_H
#define PARAMD_TESTS_GOLDEN_NUMBERS_H

#include "tests/golden/golden.h"
#include "worker/nn/shape.h"

struct numbers {
    struct shape shape;
    size_t count;
    float *values; /* owned */
};

/* The array of that name (a JSON string, or a member of object). false: the case has failed. */
bool numbers_read(struct golden_case *golden, const json_t *name, struct numbers *ret_numbers);
/* Room for count results, zeroed. false: the case has failed. */
bool numbers_make(struct golden_case *golden, size_t count, struct numbers *ret_numbers);
void numbers_release(struct numbers *numbers);

/* Compares with the array of that name; the counts must be equal. */
bool numbers_compare(struct golden_case *golden, const json_t *compare, const json_t *name,
                     const float *values, size_t count);

#endif
