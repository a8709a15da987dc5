/*
 * The quick way: the first 19 significant digits as an integer, times or over a power of ten that
 * is exact in float64. Both steps round, by at most 2 units in the last place of the float64
 * together. A float32 has 29 bits fewer, so unless those bits are within a few units of one half,
 * rounding the float64 gives what rounding the exact value would have given. The others, about one
 * in 10^7, go to strtof.
 */
#include "worker/data/number.h"

#include <locale.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    SHORT_DIGITS_MAX = 7,   /* below 2^24, so exact in float32 */
    DIGITS_MAX = 19,        /* significant decimal digits that fit an uint64_t */
    EXPONENT_MAX = 1 << 20, /* stops the counting, far outside every float64 */
    EXACT_POWER_MAX = 22,   /* 10^22 is the last power of ten that a float64 holds exactly */
    DROPPED_BITS = 29,      /* float64's mantissa has 52 bits, float32's 23 */
    DOUBT = 8,              /* units in the last place of the float64; 2 would do */
};

static const double powers_of_ten[EXACT_POWER_MAX + 1] = {
    1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
};

/* A number taken apart: digits * 10^exponent, with digits cut after DIGITS_MAX. */
struct decimal {
    uint64_t digits;
    int exponent;
    bool negative;
    bool extreme; /* the exponent was not counted to its end: one part may undo another */
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Digits from text on; `step` is what each one adds to the exponent: 0 before the point, -1 after
 * it. */
static const char *take_digits(const char *text, const char *limit, int step, int *taken,
                               struct decimal *decimal)
{
    for (; text < limit && is_digit(*text); text++) {
        if (*taken < DIGITS_MAX) {
            decimal->digits = decimal->digits * 10 + (uint64_t)(*text - '0');
            decimal->exponent += step;
            *taken += decimal->digits != 0; /* leading zeros are not significant */
        } else {
            decimal->exponent += step + 1;
        }
        if (decimal->exponent > EXPONENT_MAX || decimal->exponent < -EXPONENT_MAX) {
            decimal->exponent = 0;
            decimal->extreme = true;
        }
    }
    return text;
}

/* "e-12" at text; text itself where there is no exponent. */
static const char *take_exponent(const char *text, const char *limit, struct decimal *decimal)
{
    const char *at = text;
    bool negative = false;
    int exponent = 0;

    if (at == limit || (*at != 'e' && *at != 'E'))
        return text;
    at++;
    if (at < limit && (*at == '-' || *at == '+'))
        negative = *at++ == '-';
    if (at == limit || !is_digit(*at))
        return text;
    for (; at < limit && is_digit(*at); at++) {
        exponent = exponent * 10 + (*at - '0');
        if (exponent > EXPONENT_MAX) {
            exponent = 0;
            decimal->extreme = true;
        }
    }
    decimal->exponent += negative ? -exponent : exponent;
    return at;
}

/* The end of the number, or NULL if there is none. */
static const char *take_apart(const char *text, const char *limit, struct decimal *decimal)
{
    const char *at = text;
    const char *whole, *whole_end;
    int taken = 0;

    *decimal = (struct decimal){0};
    if (at < limit && (*at == '-' || *at == '+'))
        decimal->negative = *at++ == '-';
    whole = at;
    at = whole_end = take_digits(at, limit, 0, &taken, decimal);
    if (at < limit && *at == '.') {
        at = take_digits(at + 1, limit, -1, &taken, decimal);
        if (whole_end == whole && at == whole_end + 1)
            return NULL;
    } else if (whole_end == whole) {
        return NULL;
    }
    return take_exponent(at, limit, decimal);
}

/* True and the value where the quick way is certain. */
static bool convert_quickly(const struct decimal *decimal, float *ret_value)
{
    double value = (double)decimal->digits;
    uint64_t bits, dropped;
    const uint64_t half = UINT64_C(1) << (DROPPED_BITS - 1);

    if (decimal->digits == 0) {
        *ret_value = decimal->negative ? -0.0f : 0.0f;
        return true;
    }
    if (decimal->extreme || decimal->exponent < -EXACT_POWER_MAX ||
        decimal->exponent > EXACT_POWER_MAX)
        return false;
    if (decimal->exponent < 0)
        value /= powers_of_ten[-decimal->exponent];
    else
        value *= powers_of_ten[decimal->exponent];
    if (value >
        1e38) /* near the largest float32; the smallest is out of reach of these exponents */
        return false;
    memcpy(&bits, &value, sizeof bits);
    dropped = bits & ((UINT64_C(1) << DROPPED_BITS) - 1);
    if (dropped + DOUBT >= half && dropped <= half + DOUBT)
        return false;
    *ret_value = (float)(decimal->negative ? -value : value);
    return true;
}

/* The C locale of glibc is static: getting it neither allocates nor fails. */
static locale_t plain_locale(void)
{
    return newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

/* A short whole number without a sign, which most data files are full of. NULL: it is something
 * else. */
static const char *take_short(const char *text, const char *limit, float *ret_value)
{
    const char *at = text;
    uint32_t digits = 0;

    for (; at < limit && at - text < SHORT_DIGITS_MAX && is_digit(*at); at++)
        digits = digits * 10 + (uint32_t)(*at - '0');
    if (at == text || (at < limit && (is_digit(*at) || *at == '.' || *at == 'e' || *at == 'E')))
        return NULL;
    *ret_value = (float)digits;
    return at;
}

enum number_result number_parse(const char *text, const char *limit, float *ret_value,
                                const char **ret_end)
{
    struct decimal decimal;
    const char *end = take_short(text, limit, ret_value);

    if (end) {
        *ret_end = end;
        return NUMBER_OK;
    }
    end = take_apart(text, limit, &decimal);
    if (!end)
        return NUMBER_ABSENT;
    *ret_end = end;
    if (!convert_quickly(&decimal, ret_value)) {
        float value = strtof_l(text, NULL, plain_locale());
        if (isinf(value))
            return NUMBER_TOO_LARGE;
        *ret_value = value;
    }
    return NUMBER_OK;
}

static void trim(const char **text, size_t *size)
{
    while (*size && ((*text)[0] == ' ' || (*text)[0] == '\t')) {
        (*text)++;
        (*size)--;
    }
    while (*size && ((*text)[*size - 1] == ' ' || (*text)[*size - 1] == '\t'))
        (*size)--;
}

enum number_result number_parse_all(const char *text, size_t size, float *ret_value)
{
    enum number_result result;
    const char *end;
    float value;

    trim(&text, &size);
    result = number_parse(text, text + size, &value, &end);
    if (result == NUMBER_ABSENT || end != text + size)
        return NUMBER_ABSENT;
    if (result == NUMBER_OK)
        *ret_value = value;
    return result;
}

bool number_is_nonfinite(const char *text, size_t size)
{
    static const char *const names[] = {"nan", "inf", "infinity"};
    size_t i;

    trim(&text, &size);
    if (size && (*text == '-' || *text == '+')) {
        text++;
        size--;
    }
    for (i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (size == strlen(names[i]) && strncasecmp(text, names[i], size) == 0)
            return true;
    }
    return false;
}

void number_print_float64(double value, char ret_text[NUMBER_TEXT_BYTES])
{
    locale_t before = uselocale(plain_locale()); /* of this thread only */

    snprintf(ret_text, NUMBER_TEXT_BYTES, "%.17g", value);
    uselocale(before);
}

bool number_parse_float64(const char *text, double *ret_value)
{
    struct decimal decimal;
    const char *limit = text + strlen(text);
    double value;

    if (take_apart(text, limit, &decimal) != limit)
        return false;
    value = strtod_l(text, NULL, plain_locale());
    if (!isfinite(value))
        return false;
    *ret_value = value;
    return true;
}
