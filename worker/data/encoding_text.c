/*
 * The saved form of an encoding. It is read as strictly as it is written: equal encodings are equal
 * text, so that equal weights make equal files.
 */
#include "worker/data/encoding_text.h"

#include "common/base/alloc.h"
#include "worker/data/lines.h"
#include "worker/data/number.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { ESCAPED_BYTES = 6 }; /* \u001f, the longest that one byte becomes */

static const char key_classes[] = "classes";
static const char key_scale[] = "scale";
static const char key_deviation[] = "scale_deviation";
static const char key_mean[] = "scale_mean";

/* ---- writing ---- */

static char *print_string(char *to, const char *text)
{
    *to++ = '"';
    for (; *text; text++) {
        if ((unsigned char)*text < 0x20) {
            to += snprintf(to, ESCAPED_BYTES + 1, "\\u%04x", (unsigned)*text);
            continue;
        }
        if (*text == '"' || *text == '\\')
            *to++ = '\\';
        *to++ = *text;
    }
    *to++ = '"';
    return to;
}

static char *print_classes(const struct names *classes)
{
    size_t bytes = 3; /* brackets and the zero */
    size_t i;
    char *text, *to;

    for (i = 0; i < classes->count; i++)
        bytes += strlen(classes->items[i]) * ESCAPED_BYTES + 3;
    text = to = alloc_zero(bytes);
    if (!text)
        return NULL;
    *to++ = '[';
    for (i = 0; i < classes->count; i++) {
        if (i)
            *to++ = ',';
        to = print_string(to, classes->items[i]);
    }
    *to = ']';
    return text;
}

static char *print_numbers(const double *numbers, size_t count)
{
    char *text = alloc_array(count, NUMBER_TEXT_BYTES);
    char *to = text;
    size_t i;

    for (i = 0; text && i < count; i++) {
        if (i)
            *to++ = ' ';
        number_print_float64(numbers[i], to);
        to += strlen(to);
    }
    return text;
}

/* Takes value, which is NULL where memory ran out. */
static enum status add_pair(struct encoding_text *text, const char *key, char *value,
                            struct error *err)
{
    if (!value)
        return error_no_memory(err, "saving the encoding");
    text->values[text->pair_count] = value;
    text->pairs[text->pair_count] = (struct encoding_pair){key, value};
    text->pair_count++;
    return STATUS_OK;
}

enum status encoding_print(const struct encoding *encoding, struct encoding_text *ret_text,
                           struct error *err)
{
    struct encoding_text text = {0};
    size_t count = encoding->feature_count;
    enum status status = STATUS_OK;

    if (encoding->classes.count)
        status = add_pair(&text, key_classes, print_classes(&encoding->classes), err);
    if (!status)
        status = add_pair(&text, key_scale, alloc_string(scale_kind_name(encoding->scale)), err);
    if (!status && encoding->scale == SCALE_STANDARD)
        status = add_pair(&text, key_deviation, print_numbers(encoding->deviation, count), err);
    if (!status && encoding->scale == SCALE_STANDARD)
        status = add_pair(&text, key_mean, print_numbers(encoding->mean, count), err);
    if (status)
        encoding_text_release(&text);
    else
        *ret_text = text;
    return status;
}

void encoding_text_release(struct encoding_text *text)
{
    size_t i;

    if (!text)
        return;
    for (i = 0; i < text->pair_count; i++)
        alloc_free(text->values[i]);
    *text = (struct encoding_text){0};
}

/* ---- reading ---- */

static enum status malformed(const char *key, const char *at, const char *wanted, struct error *err)
{
    char excerpt[LINES_EXCERPT_BYTES];

    lines_excerpt(at, strlen(at), excerpt);
    return error_set(err, STATUS_INVALID_ARGUMENT, "metadata '%s': %s is wanted, not '%s'", key,
                     wanted, excerpt);
}

/* The value of \u00XX's two digits, or -1: only control characters are written so. */
static int parse_escape(const char *at)
{
    static const char digits[] = "0123456789abcdef";
    const char *low;

    if (strncmp(at, "u00", 3) != 0 || (at[3] != '0' && at[3] != '1') || at[4] == '\0')
        return -1;
    low = strchr(digits, at[4]);
    return low ? (at[3] - '0') * 16 + (int)(low - digits) : -1;
}

/* One string at *at, which points at its first quote, into buffer (as long as what is left). */
static bool parse_string(const char **at, char *buffer, size_t *ret_size)
{
    const char *from = *at;
    char *to = buffer;

    if (*from++ != '"')
        return false;
    while (*from != '"') {
        if ((unsigned char)*from < 0x20) /* also the end */
            return false;
        if (*from != '\\') {
            *to++ = *from++;
        } else if (from[1] == '"' || from[1] == '\\') {
            *to++ = from[1];
            from += 2;
        } else {
            int byte = parse_escape(from + 1);
            if (byte <= 0)
                return false;
            *to++ = (char)byte;
            from += ESCAPED_BYTES;
        }
    }
    *at = from + 1;
    *ret_size = (size_t)(to - buffer);
    return true;
}

static enum status parse_classes(const char *text, char *buffer, struct names *classes,
                                 struct error *err)
{
    const char *at = text;

    if (*at != '[')
        return malformed(key_classes, at, "a list of names in brackets", err);
    do {
        size_t size, count = classes->count;
        enum status status;
        at++;
        if (!parse_string(&at, buffer, &size) || !names_text_is_valid(buffer, size))
            return malformed(key_classes, at, "a name in quotes", err);
        status = names_append(classes, buffer, size, err);
        if (status)
            return status;
        if (count && strcmp(classes->items[count - 1], classes->items[count]) >= 0)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "metadata '%s': names are not sorted, or one is there twice",
                             key_classes);
    } while (*at == ',');
    if (strcmp(at, "]") != 0)
        return malformed(key_classes, at, "a comma, or the bracket at the end,", err);
    return STATUS_OK;
}

static size_t count_numbers(const char *text)
{
    size_t count = 1;

    for (; *text; text++)
        count += *text == ' ';
    return count;
}

/* As many numbers as there are spaces, and one; each in the only way in which it is written. */
static enum status parse_numbers(const char *key, const char *text, double *numbers, size_t count,
                                 struct error *err)
{
    const char *at = text;
    size_t i;

    for (i = 0; i < count; i++) {
        char number[NUMBER_TEXT_BYTES], canonical[NUMBER_TEXT_BYTES];
        size_t size = strcspn(at, " ");
        if (size >= sizeof number)
            return malformed(key, at, "a number", err);
        memcpy(number, at, size);
        number[size] = '\0';
        if (!number_parse_float64(number, &numbers[i]))
            return malformed(key, at, "a number", err);
        number_print_float64(numbers[i], canonical);
        if (strcmp(number, canonical) != 0)
            return malformed(key, at, canonical, err);
        at += size + 1;
    }
    return STATUS_OK;
}

static enum status parse_standard(const char *mean, const char *deviation,
                                  struct encoding *encoding, struct error *err)
{
    size_t count = count_numbers(mean);
    size_t i;
    enum status status;

    if (count != count_numbers(deviation))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "metadata '%s' has %zu numbers, but '%s' has %zu", key_mean, count,
                         key_deviation, count_numbers(deviation));
    status = encoding_allocate(encoding, count, err);
    if (!status)
        status = parse_numbers(key_mean, mean, encoding->mean, count, err);
    if (!status)
        status = parse_numbers(key_deviation, deviation, encoding->deviation, count, err);
    for (i = 0; !status && i < count; i++) {
        if (!(encoding->deviation[i] > 0))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "metadata '%s': number %zu is %g; it must be above 0", key_deviation,
                             i, encoding->deviation[i]);
    }
    return status;
}

/* The value of a key, NULL if it is not there. */
static enum status find_value(const struct encoding_pair *pairs, size_t pair_count, const char *key,
                              const char **ret_value, struct error *err)
{
    size_t i;

    *ret_value = NULL;
    for (i = 0; i < pair_count; i++) {
        if (strcmp(pairs[i].key, key) != 0)
            continue;
        if (*ret_value)
            return error_set(err, STATUS_INVALID_ARGUMENT, "metadata '%s' is there twice", key);
        *ret_value = pairs[i].value;
    }
    return STATUS_OK;
}

static enum status parse_values(const char *classes, const char *scale, const char *mean,
                                const char *deviation, struct encoding *encoding, struct error *err)
{
    enum status status = STATUS_OK;

    if (!scale && (classes || mean || deviation))
        return error_set(err, STATUS_INVALID_ARGUMENT, "metadata '%s' is missing", key_scale);
    if (scale)
        status = scale_kind_named(scale, &encoding->scale, err);
    if (status)
        return status;
    if ((encoding->scale == SCALE_STANDARD) != (mean != NULL) || !mean != !deviation)
        return error_set(
            err, STATUS_INVALID_ARGUMENT,
            "metadata '%s' and '%s' must be there for the scale standard, and only for it",
            key_deviation, key_mean);
    if (mean)
        status = parse_standard(mean, deviation, encoding, err);
    if (!status && classes) {
        char *buffer = alloc_zero(strlen(classes) + 1);
        status = buffer ? parse_classes(classes, buffer, &encoding->classes, err)
                        : error_no_memory(err, "the names of the classes");
        alloc_free(buffer);
    }
    return status;
}

enum status encoding_parse(const struct encoding_pair *pairs, size_t pair_count,
                           struct encoding *ret_encoding, struct error *err)
{
    struct encoding encoding = {0};
    const char *classes = NULL, *scale = NULL, *mean = NULL, *deviation = NULL;
    enum status status = find_value(pairs, pair_count, key_classes, &classes, err);

    if (!status)
        status = find_value(pairs, pair_count, key_scale, &scale, err);
    if (!status)
        status = find_value(pairs, pair_count, key_mean, &mean, err);
    if (!status)
        status = find_value(pairs, pair_count, key_deviation, &deviation, err);
    if (!status)
        status = parse_values(classes, scale, mean, deviation, &encoding, err);
    if (status)
        encoding_release(&encoding);
    else
        *ret_encoding = encoding;
    return status;
}
