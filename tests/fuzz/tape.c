#include "tests/fuzz/tape.h"

#include <math.h>

enum { FITS = 192 }; /* bytes below it */

bool tape_ended(const struct tape *tape)
{
    return tape->at == tape->end;
}

uint8_t tape_byte(struct tape *tape)
{
    return tape->at < tape->end ? *tape->at++ : 0;
}

uint64_t tape_number(struct tape *tape, uint64_t fitting)
{
    uint8_t byte = tape_byte(tape);

    if (byte < FITS)
        return fitting;
    switch (byte % 8) {
    case 0:
        return 0;
    case 1:
        return fitting + 1;
    case 2:
        return fitting - 1;
    case 3:
        return UINT64_MAX;
    case 4:
        return UINT32_MAX;
    case 5:
        return (uint64_t)1 << (tape_byte(tape) % 64);
    default:
        return tape_byte(tape);
    }
}

double tape_real(struct tape *tape, double fitting)
{
    static const double others[] = {0, -1, 1e308, -1e308, INFINITY, NAN};
    uint8_t byte = tape_byte(tape);

    return byte < FITS ? fitting : others[byte % (sizeof others / sizeof others[0])];
}

const char *tape_word(struct tape *tape, const char *fitting, const char *const *others,
                      size_t count)
{
    uint8_t byte = tape_byte(tape);

    return byte < FITS ? fitting : others[byte % count];
}
