/* Decimal numbers in data files: correctly rounded, and the same under every locale. */
#ifndef PARAMD_WORKER_DATA_NUMBER_H
#define PARAMD_WORKER_DATA_NUMBER_H

#include <stdbool.h>
#include <stddef.h>

enum { NUMBER_TEXT_BYTES = 32 };

enum number_result {
    NUMBER_OK,
    NUMBER_ABSENT,    /* the text does not begin with a number */
    NUMBER_TOO_LARGE, /* beyond what a float32 holds */
};

/*
 * Parse the number at the beginning of text, which ends at limit: digits with an optional sign,
 * point and exponent, of any length; no spaces, hexadecimal, nan or inf. The result is the float32
 * nearest to the decimal value, ties to even; too small for a float32 gives a denormal or zero.
 * *ret_end is where the number ends.
 *
 * *limit must be readable and not continue a number: a zero, a newline, a comma.
 */
enum number_result number_parse(const char *text, const char *limit, float *ret_value,
                                const char **ret_end);

/* The whole text, with spaces or tabs around it, is a number. The same rule about text[size]. */
enum number_result number_parse_all(const char *text, size_t size, float *ret_value);

/* The text is how programs write "no number": nan, inf, infinity, in any case, with or without a
 * sign. */
bool number_is_nonfinite(const char *text, size_t size);

/* A float64 as text that number_parse_float64 turns into the same bits. value is finite. */
void number_print_float64(double value, char ret_text[NUMBER_TEXT_BYTES]);

/* The whole terminated text is one finite float64; false if not. */
bool number_parse_float64(const char *text, double *ret_value);

#endif
