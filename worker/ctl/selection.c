#include "worker/ctl/selection.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Numbers are cut to this before any arithmetic: no axis is as long. */
#define NUMBER_MAX ((int64_t)1 << 62)

struct cursor {
    const char *text, *at;
    struct selection *selection;
    struct error *err;
};

static void skip_space(struct cursor *cursor)
{
    while (isspace((unsigned char)*cursor->at))
        cursor->at++;
}

static bool take(struct cursor *cursor, const char *word)
{
    skip_space(cursor);
    if (strncmp(cursor->at, word, strlen(word)) != 0)
        return false;
    cursor->at += strlen(word);
    return true;
}

static enum status malformed(const struct cursor *cursor, const char *wanted)
{
    return error_set(cursor->err, STATUS_INVALID_ARGUMENT,
                     "the slice '%.80s' is wrong at '%.20s': %s is needed", cursor->text,
                     *cursor->at ? cursor->at : "its end", wanted);
}

/* False: no number stands there. */
static bool take_number(struct cursor *cursor, int64_t *ret_number)
{
    int64_t number = 0;

    skip_space(cursor);
    const char *at = cursor->at;
    bool negative = *at == '-';
    if (*at == '-' || *at == '+')
        at++;
    if (!isdigit((unsigned char)*at))
        return false;
    for (; isdigit((unsigned char)*at); at++)
        number = number > NUMBER_MAX / 10 - 1 ? NUMBER_MAX : number * 10 + (*at - '0');
    cursor->at = at;
    *ret_number = negative ? -number : number;
    return true;
}

/* An end of a range, cut to the axis. */
static uint64_t bounded(int64_t number, uint64_t length)
{
    if (number < 0)
        number += (int64_t)length;
    if (number < 0)
        return 0;
    return (uint64_t)number < length ? (uint64_t)number : length;
}

static enum status take_range(struct cursor *cursor, bool has_first, int64_t first,
                              struct selection_axis *axis)
{
    uint64_t begin = has_first ? bounded(first, axis->length) : 0;
    uint64_t end = axis->length;
    int64_t number;

    if (take_number(cursor, &number))
        end = bounded(number, axis->length);
    if (take(cursor, ":") && take_number(cursor, &number) && number != 1)
        return error_set(cursor->err, STATUS_INVALID_ARGUMENT,
                         "the slice '%.80s': only steps of 1 are possible, not %lld", cursor->text,
                         (long long)number);
    axis->first = begin;
    axis->count = end > begin ? end - begin : 0;
    return STATUS_OK;
}

static enum status take_axis(struct cursor *cursor, size_t index)
{
    struct selection_axis *axis = &cursor->selection->axes[index];
    int64_t number = 0;
    bool has_number = take_number(cursor, &number);

    if (take(cursor, ":"))
        return take_range(cursor, has_number, number, axis);
    if (!has_number)
        return malformed(cursor, "a number or a range");
    int64_t from_begin = number < 0 ? number + (int64_t)axis->length : number;
    if (from_begin < 0 || (uint64_t)from_begin >= axis->length)
        return error_set(cursor->err, STATUS_OUT_OF_RANGE,
                         "the slice '%.80s': %lld is outside axis %zu, which has length %llu",
                         cursor->text, (long long)number, index, (unsigned long long)axis->length);
    axis->first = (uint64_t)from_begin;
    axis->count = 1;
    axis->dropped = true;
    return STATUS_OK;
}

/* How many axes the parts from here on are about. */
static size_t count_parts(const char *at)
{
    size_t count = 0;

    for (; *at && *at != ']'; at++) {
        if (count == 0 && !isspace((unsigned char)*at))
            count = 1;
        if (*at == ',')
            count++;
    }
    return count;
}

static enum status take_parts(struct cursor *cursor)
{
    struct selection *selection = cursor->selection;
    bool dots_seen = false;
    size_t axis = 0;

    for (;;) {
        if (!dots_seen && take(cursor, "...")) {
            dots_seen = true;
            skip_space(cursor);
            size_t left = *cursor->at == ',' ? count_parts(cursor->at + 1) : 0;
            if (axis + left <= selection->rank)
                axis = selection->rank - left;
        } else if (axis == selection->rank) {
            return error_set(cursor->err, STATUS_INVALID_ARGUMENT,
                             "the slice '%.80s' has more parts than the variable has axes (%zu)",
                             cursor->text, selection->rank);
        } else {
            enum status status = take_axis(cursor, axis++);
            if (status)
                return status;
        }
        if (take(cursor, "]"))
            break;
        if (!take(cursor, ","))
            return malformed(cursor, "',' or ']'");
    }
    skip_space(cursor);
    return *cursor->at ? malformed(cursor, "nothing more") : STATUS_OK;
}

/* Behind the last axis that is cut, everything is contiguous. */
static void count_runs(struct selection *selection)
{
    size_t cut = selection->rank;

    selection->element_count = selection->run_count = selection->run_elements = 1;
    for (size_t i = 0; i < selection->rank; i++) {
        selection->element_count *= selection->axes[i].count;
        if (selection->axes[i].count != selection->axes[i].length)
            cut = i;
    }
    for (size_t i = 0; i < selection->rank; i++) {
        if (cut < selection->rank && i < cut)
            selection->run_count *= selection->axes[i].count;
        else
            selection->run_elements *= selection->axes[i].count;
    }
    if (selection->element_count == 0)
        selection->run_count = selection->run_elements = 0;
}

enum status selection_parse(const char *text, const uint64_t *shape, size_t rank,
                            struct selection *ret_selection, struct error *err)
{
    struct selection selection = {.rank = rank};
    struct cursor cursor = {.text = text, .at = text, .selection = &selection, .err = err};
    enum status status = STATUS_OK;

    for (size_t i = 0; i < rank; i++)
        selection.axes[i] = (struct selection_axis){.length = shape[i], .count = shape[i]};
    if (*text && !take(&cursor, "["))
        status = malformed(&cursor, "'['");
    else if (*text)
        status = take_parts(&cursor);
    if (status)
        return status;
    count_runs(&selection);
    *ret_selection = selection;
    return STATUS_OK;
}

uint64_t selection_run_first(const struct selection *selection, uint64_t index)
{
    uint64_t first = 0, stride = 1;
    uint64_t left = index;
    uint64_t inner = 1; /* elements of the axes that belong to a run */

    for (size_t i = selection->rank; i-- > 0;) {
        const struct selection_axis *axis = &selection->axes[i];
        uint64_t at = axis->first;
        if (inner == selection->run_elements && axis->count > 0) {
            at += left % axis->count;
            left /= axis->count;
        } else {
            inner *= axis->count;
        }
        first += at * stride;
        stride *= axis->length;
    }
    return first;
}

size_t selection_shape(const struct selection *selection, uint64_t ret_shape[LIMIT_RANK])
{
    size_t rank = 0;

    for (size_t i = 0; i < selection->rank; i++) {
        if (!selection->axes[i].dropped)
            ret_shape[rank++] = selection->axes[i].count;
    }
    return rank;
}
