#include "common/base/options_value.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RANGE_TEXT_BYTES = 80, CHOICES_TEXT_BYTES = 256, CHOICES_MAX = 64 };

/* strtoll and strtod skip leading space and accept hexadecimal; a command line has neither. */
static bool begins_like_number(const char *text)
{
    if (*text == '-' || *text == '+')
        text++;
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
        return false;
    return isdigit((unsigned char)text[0]) || (text[0] == '.' && isdigit((unsigned char)text[1]));
}

static enum status store_integer(const struct option *row, const char *text, struct error *err)
{
    bool bounded = row->min != 0 || row->max != 0;
    char range[RANGE_TEXT_BYTES] = "";
    char *end = NULL;

    if (bounded)
        snprintf(range, sizeof range, " (%" PRId64 " to %" PRId64 ")", row->min, row->max);
    errno = 0;
    long long value = begins_like_number(text) ? strtoll(text, &end, 10) : 0;
    if (!end || end == text || *end != '\0')
        return error_set(err, STATUS_INVALID_ARGUMENT, "'%s' is not a whole number%s", text, range);
    if (bounded && (errno == ERANGE || value < row->min || value > row->max))
        return error_set(err, STATUS_INVALID_ARGUMENT, "'%s' is not within %" PRId64 " to %" PRId64,
                         text, row->min, row->max);
    if (errno == ERANGE)
        return error_set(err, STATUS_INVALID_ARGUMENT, "'%s' does not fit 64 bits", text);
    *row->integer = value;
    return STATUS_OK;
}

static enum status store_number(const struct option *row, const char *text, struct error *err)
{
    bool bounded = row->number_min < 0 || row->number_min > 0 || row->number_max < 0 ||
                   row->number_max > 0;
    char range[RANGE_TEXT_BYTES] = "";
    char *end = NULL;

    if (bounded)
        snprintf(range, sizeof range, " (%g to %g)", row->number_min, row->number_max);
    double value = begins_like_number(text) ? strtod(text, &end) : 0;
    if (!end || end == text || *end != '\0' || !isfinite(value))
        return error_set(err, STATUS_INVALID_ARGUMENT, "'%s' is not a number%s", text, range);
    if (bounded && (value < row->number_min || value > row->number_max))
        return error_set(err, STATUS_INVALID_ARGUMENT, "'%s' is not within %g to %g", text,
                         row->number_min, row->number_max);
    *row->number = value;
    return STATUS_OK;
}

/* Milliseconds of one unit; 0 for no unit we know. */
static double unit_ms(const char *unit)
{
    if (*unit == '\0' || strcmp(unit, "s") == 0)
        return 1000;
    if (strcmp(unit, "ms") == 0)
        return 1;
    if (strcmp(unit, "m") == 0)
        return 60.0 * 1000;
    if (strcmp(unit, "h") == 0)
        return 3600.0 * 1000;
    return 0;
}

/* "1500 ms" as a person writes it: "1.5s". */
static void show_duration(int64_t ms, char *ret_text, size_t size)
{
    if (ms % 1000 != 0 && ms < 1000)
        snprintf(ret_text, size, "%" PRId64 "ms", ms);
    else if (ms != 0 && ms % 60000 == 0 && ms >= 120000)
        snprintf(ret_text, size, "%" PRId64 "m", ms / 60000);
    else
        snprintf(ret_text, size, "%gs", (double)ms / 1000);
}

static enum status store_duration(const struct option *row, const char *text, struct error *err)
{
    bool bounded = row->min != 0 || row->max != 0;
    char low[32], high[32];
    char *end = NULL;

    double value = begins_like_number(text) ? strtod(text, &end) : 0;
    double unit = end ? unit_ms(end) : 0;
    if (!end || unit <= 0 || !isfinite(value))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "'%s' is not a time such as 15, 1.5s, 500ms or 2m", text);
    double ms = value * unit;
    /* Without bounds of its own, anything that a timer can be set to: a century, not below 0. */
    double ms_min = bounded ? (double)row->min : 0;
    double ms_max = bounded ? (double)row->max : 100 * 365.25 * 24 * 3600 * 1000;
    if (ms < ms_min || ms > ms_max) {
        show_duration((int64_t)ms_min, low, sizeof low);
        show_duration((int64_t)ms_max, high, sizeof high);
        return error_set(err, STATUS_INVALID_ARGUMENT, "'%s' is not within %s to %s", text, low,
                         high);
    }
    *row->duration_ms = (int64_t)(ms + 0.5);
    return STATUS_OK;
}

static void join_choices(const struct option *row, const char *separator, char *ret_text,
                         size_t size)
{
    size_t used = 0;

    ret_text[0] = '\0';
    for (size_t i = 0; row->choices[i] && used < size; i++) {
        int wrote = snprintf(ret_text + used, size - used, "%s%s", i ? separator : "",
                             row->choices[i]);
        used += wrote > 0 ? (size_t)wrote : 0;
    }
}

static enum status store_choice(const struct option *row, const char *text, struct error *err)
{
    char all[CHOICES_TEXT_BYTES];
    size_t count = 0;

    for (; row->choices[count] && count < CHOICES_MAX; count++) {
        if (strcmp(row->choices[count], text) == 0) {
            *row->choice = (int)count;
            return STATUS_OK;
        }
    }
    join_choices(row, ", ", all, sizeof all);
    const char *meant = option_suggest(text, row->choices, count);
    if (meant)
        return error_set(err, STATUS_INVALID_ARGUMENT, "'%s' is not one of %s; did you mean %s?",
                         text, all, meant);
    return error_set(err, STATUS_INVALID_ARGUMENT, "'%s' is not one of %s", text, all);
}

static enum status store_list(const struct option *row, const char *text, struct error *err)
{
    if (row->list->count == OPTION_LIST_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "given more than %d times", OPTION_LIST_MAX);
    row->list->items[row->list->count++] = text;
    return STATUS_OK;
}

/* Only a variable of the environment gives a flag a value. */
static enum status store_flag(const struct option *row, const char *text, struct error *err)
{
    bool on = strcmp(text, "1") == 0 || strcmp(text, "yes") == 0 || strcmp(text, "true") == 0;
    bool off = strcmp(text, "0") == 0 || strcmp(text, "no") == 0 || strcmp(text, "false") == 0;

    if (!on && !off)
        return error_set(err, STATUS_INVALID_ARGUMENT, "'%s' is not 1 or 0", text);
    *row->flag = on;
    return STATUS_OK;
}

enum status options_value_store(const struct option *row, const char *text, struct error *err)
{
    if (*text == '\0')
        return error_set(err, STATUS_INVALID_ARGUMENT, "the value is empty");
    if (row->flag)
        return store_flag(row, text, err);
    if (row->integer)
        return store_integer(row, text, err);
    if (row->number)
        return store_number(row, text, err);
    if (row->duration_ms)
        return store_duration(row, text, err);
    if (row->choice)
        return store_choice(row, text, err);
    if (row->list)
        return store_list(row, text, err);
    *row->text = text;
    return STATUS_OK;
}

void options_value_show(const struct option *row, char *ret_text, size_t size)
{
    ret_text[0] = '\0';
    if (row->default_text)
        snprintf(ret_text, size, "%s", row->default_text);
    else if (row->integer)
        snprintf(ret_text, size, "%" PRId64, *row->integer);
    else if (row->number)
        snprintf(ret_text, size, "%g", *row->number);
    else if (row->duration_ms)
        show_duration(*row->duration_ms, ret_text, size);
    else if (row->choice && *row->choice >= 0)
        snprintf(ret_text, size, "%s", row->choices[*row->choice]);
    else if (row->text && *row->text)
        snprintf(ret_text, size, "%s", *row->text);
}

void options_value_name(const struct option *row, char *ret_text, size_t size)
{
    const char *name = "TEXT";

    if (row->flag) {
        ret_text[0] = '\0';
        return;
    }
    if (row->choice && !row->value) {
        join_choices(row, "|", ret_text, size);
        return;
    }
    if (row->value)
        name = row->value;
    else if (row->integer)
        name = "N";
    else if (row->number)
        name = "X";
    else if (row->duration_ms)
        name = "TIME";
    snprintf(ret_text, size, "%s", name);
}
