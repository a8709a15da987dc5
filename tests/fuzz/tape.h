/* A fuzzer's input read as a tape of choices. After its end everything is 0, so that things fit. */
#ifndef PARAMD_TESTS_FUZZ_TAPE_H
#define PARAMD_TESTS_FUZZ_TAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tape {
    const uint8_t *at, *end;
};

bool tape_ended(const struct tape *tape);
uint8_t tape_byte(struct tape *tape);

/* Mostly what fits, else a neighbour, an extreme, a power of two or a small number. */
uint64_t tape_number(struct tape *tape, uint64_t fitting);
/* Mostly what fits, else 0, a negative, a huge or an infinite number, or none. */
double tape_real(struct tape *tape, double fitting);
/* Mostly what fits, else one of count others. */
const char *tape_word(struct tape *tape, const char *fitting, const char *const *others,
                      size_t count);

#endif
