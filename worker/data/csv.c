/*
 * The first line decides how many columns there are, whether it names them, and which one is the
 * label. From then on each line is read once, field after field, straight into its row: a number
 * that is followed by a comma is taken as it stands, and only what is not that simple is cut out
 * and unquoted first.
 */
#include "worker/data/csv.h"

#include "common/base/alloc.h"
#include "worker/data/labels.h"
#include "worker/data/lines.h"
#include "worker/data/number.h"

#include <stdio.h>
#include <string.h>

enum { NAMES_SHOWN = 8 };

/* No column is the label: the file has only features. */
#define LABEL_NONE SIZE_MAX

struct csv {
    const char *name; /* borrowed from the source */
    const struct data_options *options;
    struct lines lines;
    struct labels labels;
    struct dataset *dataset; /* borrowed */
    struct dataset_builder builder;

    struct names columns; /* of the header; empty without one */
    size_t column_count;
    size_t label_column;
    uint64_t first_line;  /* number of the line that decided column_count */
    bool header_declined; /* the first line has a number in it, so it was not taken as a header */
};

/* A field cut out of its line. text[size] is readable and continues no number. */
struct field {
    char *text;
    size_t size;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static char *skip_spaces(char *at, const char *limit)
{
    while (at < limit && is_space(*at))
        at++;
    return at;
}

/* Puts file, line and column in front of the message; the column's name, or its number without a
 * header. */
static enum status column_error(const struct csv *csv, size_t column, enum status status,
                                struct error *err)
{
    char name[LINES_EXCERPT_BYTES];

    if (!err)
        return status;
    if (column < csv->columns.count)
        lines_excerpt(csv->columns.items[column], strlen(csv->columns.items[column]), name);
    else
        snprintf(name, sizeof name, "%zu", column);
    error_wrap(err, "%s:%llu: column '%s'", csv->name, (unsigned long long)csv->lines.number, name);
    return status;
}

static enum status line_error(const struct csv *csv, struct error *err, const char *what)
{
    return error_set(err, STATUS_INVALID_ARGUMENT, "%s:%llu: %s", csv->name,
                     (unsigned long long)csv->lines.number, what);
}

/* Moves what is between quotes to the front, with "" made one quote. NULL: there is no closing
 * quote. */
static char *unquote(char *at, const char *limit, struct field *ret_field)
{
    char *to = at + 1;
    char *from = at + 1;

    ret_field->text = to;
    for (;; from++) {
        if (from == limit)
            return NULL;
        if (*from == '"') {
            if (from + 1 == limit || from[1] != '"')
                break;
            from++;
        }
        *to++ = *from;
    }
    ret_field->size = (size_t)(to - ret_field->text);
    *to = '\0'; /* over the closing quote, or something before it */
    return from + 1;
}

/*
 * The field that begins at *at, which then points behind the field, at a comma or the limit.
 * Changes the line where the field is quoted.
 */
static enum status next_field(const struct csv *csv, char **at, char *limit,
                              struct field *ret_field, struct error *err)
{
    char *start = skip_spaces(*at, limit);
    char *end;

    if (start < limit && *start == '"') {
        end = unquote(start, limit, ret_field);
        if (!end)
            return line_error(csv, err, "a quoted field is not closed before the end of the line");
        end = skip_spaces(end, limit);
        if (end < limit && *end != ',')
            return line_error(csv, err,
                              "a closing quote is followed by something other than a comma");
        *at = end;
        return STATUS_OK;
    }
    end = memchr(start, ',', (size_t)(limit - start));
    *at = end = end ? end : limit;
    while (end > start && is_space(end[-1]))
        end--;
    *ret_field = (struct field){start, (size_t)(end - start)};
    return STATUS_OK;
}

/* Cuts a line into its fields' texts. ret_names is an empty list before. */
static enum status read_names(const struct csv *csv, char *text, size_t size,
                              struct names *ret_names, bool *ret_has_number, struct error *err)
{
    char *limit = text + size;
    char *at = text;

    *ret_has_number = false;
    for (;; at++) {
        struct field field;
        float ignored;
        enum status status = next_field(csv, &at, limit, &field, err);
        if (!status && ret_names->count == DATASET_FEATURE_COUNT_MAX)
            status = line_error(csv, err,
                                "the line has more than 1048576 fields, the most there may be");
        if (!status)
            status = names_append(ret_names, field.text, field.size, err);
        if (status)
            return status;
        if (number_parse_all(field.text, field.size, &ignored) != NUMBER_ABSENT)
            *ret_has_number = true;
        if (at == limit)
            return STATUS_OK;
    }
}

static enum status unknown_label(const struct csv *csv, struct error *err)
{
    char list[NAMES_SHOWN * (LINES_EXCERPT_BYTES + 4)] = "";
    size_t used = 0;
    size_t i;

    if (csv->columns.count == 0)
        return error_set(
            err, STATUS_INVALID_ARGUMENT,
            "%s: no column '%s'; the first line has a number in it, so it names no columns, "
            "and they are called 0 to %zu (--header yes makes it names)",
            csv->name, csv->options->label, csv->column_count - 1);
    for (i = 0; i < csv->columns.count && i < NAMES_SHOWN; i++) {
        char name[LINES_EXCERPT_BYTES];
        lines_excerpt(csv->columns.items[i], strlen(csv->columns.items[i]), name);
        used += (size_t)snprintf(list + used, sizeof list - used, "%s'%s'", i ? ", " : "", name);
    }
    return error_set(err, STATUS_INVALID_ARGUMENT,
                     "%s: no column '%s' for the label; there %s %s%s", csv->name,
                     csv->options->label, csv->columns.count == 1 ? "is" : "are", list,
                     i < csv->columns.count ? ", ..." : "");
}

static bool find_column(const struct csv *csv, const char *name, size_t *ret_column)
{
    char number[LINES_EXCERPT_BYTES];
    size_t i;

    if (csv->columns.count)
        return names_find(&csv->columns, name, strlen(name), ret_column);
    for (i = 0; i < csv->column_count; i++) {
        snprintf(number, sizeof number, "%zu", i);
        if (strcmp(number, name) == 0) {
            *ret_column = i;
            return true;
        }
    }
    return false;
}

static bool label_is_doubled(const struct csv *csv)
{
    size_t i;

    for (i = csv->label_column + 1; i < csv->columns.count; i++) {
        if (strcmp(csv->columns.items[i], csv->columns.items[csv->label_column]) == 0)
            return true;
    }
    return false;
}

static enum status choose_label(struct csv *csv, struct error *err)
{
    const char *label = csv->options->label;
    bool found = label && find_column(csv, label, &csv->label_column);

    if (found && label_is_doubled(csv))
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: more than one column is called '%s'",
                         csv->name, label);
    if (!found && csv->column_count == csv->options->unlabelled_feature_count) {
        csv->label_column = LABEL_NONE;
        return STATUS_OK;
    }
    if (!found && label)
        return unknown_label(csv, err);
    if (csv->column_count < 2)
        return error_set(
            err, STATUS_INVALID_ARGUMENT,
            "%s: there is one column, but a label and at least one feature are needed; are "
            "the fields separated by commas?",
            csv->name);
    if (!found)
        csv->label_column = csv->column_count - 1;
    return STATUS_OK;
}

/* The header's names but the label's become those of the features. */
static enum status name_features(struct csv *csv, struct error *err)
{
    size_t i;

    for (i = 0; i < csv->columns.count; i++) {
        const char *name = csv->columns.items[i];
        enum status status;
        if (i == csv->label_column)
            continue;
        status = names_append(&csv->dataset->columns, name, strlen(name), err);
        if (status)
            return status;
    }
    return STATUS_OK;
}

/* The first line: *ret_header is whether it is used up as names. The line itself is not changed. */
static enum status read_first_line(struct csv *csv, const char *line, size_t size, bool *ret_header,
                                   struct error *err)
{
    bool has_number;
    char *copy = alloc_zero(size + 1);
    enum status status;

    if (!copy)
        return error_no_memory(err, "the first line");
    memcpy(copy, line, size);
    status = read_names(csv, copy, size, &csv->columns, &has_number, err);
    alloc_free(copy);
    if (status)
        return status;
    csv->first_line = csv->lines.number;
    csv->column_count = csv->columns.count;
    *ret_header = csv->options->header == DATA_HEADER_YES ||
                  (csv->options->header == DATA_HEADER_AUTO && !has_number);
    csv->header_declined = csv->options->header == DATA_HEADER_AUTO && has_number;
    if (!*ret_header)
        names_release(&csv->columns);
    status = choose_label(csv, err);
    if (!status)
        status = name_features(csv, err);
    if (status)
        return status;
    csv->dataset->rank = 1;
    csv->dataset->shape[0] = csv->column_count - (csv->label_column != LABEL_NONE);
    dataset_builder_init(&csv->builder, csv->dataset, csv->label_column != LABEL_NONE);
    return STATUS_OK;
}

/* Says what is wrong with a feature's text. */
static enum status no_number(const struct csv *csv, const struct field *field,
                             enum number_result result, struct error *err)
{
    char excerpt[LINES_EXCERPT_BYTES];
    const char *hint =
        csv->header_declined && csv->lines.number == csv->first_line
            ? " (the first line has a number in it, so it was taken as data; --header yes "
              "makes it the names of the columns)"
            : "";

    lines_excerpt(field->text, field->size, excerpt);
    if (result == NUMBER_TOO_LARGE)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s is too large for a float32", excerpt);
    if (field->size == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "there is nothing where a number is needed");
    if (number_is_nonfinite(field->text, field->size))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "'%s' is not a finite number; leave the line out, or put in a value",
                         excerpt);
    return error_set(err, STATUS_INVALID_ARGUMENT, "'%s' is not a number%s", excerpt, hint);
}

/* A feature that is quoted, empty, or no number. */
static enum status read_feature_slowly(const struct csv *csv, char **at, char *limit, size_t column,
                                       float *ret_value, struct error *err)
{
    struct field field;
    enum number_result result;
    enum status status = next_field(csv, at, limit, &field, err);

    if (status)
        return status;
    result = number_parse_all(field.text, field.size, ret_value);
    if (result == NUMBER_OK)
        return STATUS_OK;
    return column_error(csv, column, no_number(csv, &field, result, err), err);
}

static inline enum status read_feature(const struct csv *csv, char **at, char *limit, size_t column,
                                       float *ret_value, struct error *err)
{
    char *start = skip_spaces(*at, limit);
    const char *number_end;

    if (number_parse(start, limit, ret_value, &number_end) == NUMBER_OK) {
        char *end = skip_spaces(start + (number_end - start), limit);
        if (end == limit || *end == ',') {
            *at = end;
            return STATUS_OK;
        }
    }
    return read_feature_slowly(csv, at, limit, column, ret_value, err);
}

static enum status read_label(struct csv *csv, char **at, char *limit, float *ret_label,
                              struct error *err)
{
    struct field field;
    enum status status = next_field(csv, at, limit, &field, err);

    if (status)
        return status;
    status = labels_read(&csv->labels, field.text, field.size, ret_label, err);
    return status ? column_error(csv, csv->label_column, status, err) : STATUS_OK;
}

/* `done` fields were read and the rest of the line begins at `at`; counts all for the message. */
static enum status wrong_field_count(const struct csv *csv, size_t done, char *at, char *limit,
                                     struct error *err)
{
    size_t count = done;
    struct field field;

    while (at < limit) { /* at a comma */
        at++;
        count++;
        if (next_field(csv, &at, limit, &field, err))
            return STATUS_INVALID_ARGUMENT;
    }
    return error_set(err, STATUS_INVALID_ARGUMENT, "%s:%llu: %zu field%s, but line %llu has %zu",
                     csv->name, (unsigned long long)csv->lines.number, count, count == 1 ? "" : "s",
                     (unsigned long long)csv->first_line, csv->column_count);
}

static enum status read_row(struct csv *csv, char *text, size_t size, struct error *err)
{
    char *limit = text + size;
    char *at = text;
    float label = 0;
    float *feature;
    size_t column;
    enum status status = dataset_builder_row(&csv->builder, &feature, err);

    for (column = 0; !status && column < csv->column_count; column++) {
        if (column > 0) {
            if (at == limit)
                return wrong_field_count(csv, column, at, limit, err);
            at++;
        }
        if (column == csv->label_column)
            status = read_label(csv, &at, limit, &label, err);
        else
            status = read_feature(csv, &at, limit, column, feature++, err);
    }
    if (status)
        return status;
    if (at != limit)
        return wrong_field_count(csv, column, at, limit, err);
    dataset_builder_add(&csv->builder, label);
    return STATUS_OK;
}

static enum status read_lines(struct csv *csv, struct error *err)
{
    for (;;) {
        char *text;
        size_t size;
        bool header = false;
        enum status status = lines_next(&csv->lines, &text, &size, err);

        if (status || !text)
            return status;
        if (skip_spaces(text, text + size) == text + size)
            continue;
        if (csv->first_line == 0)
            status = read_first_line(csv, text, size, &header, err);
        if (!status && !header)
            status = read_row(csv, text, size, err);
        if (status)
            return status;
    }
}

static enum status csv_read(struct source *const *parts, size_t part_count,
                            const struct data_options *options, struct dataset *dataset,
                            struct error *err)
{
    struct csv csv = {.name = source_name(parts[0]), .options = options, .dataset = dataset};
    enum status status = lines_init(&csv.lines, parts[0], err);

    (void)part_count; /* one, says the format's row */
    labels_init(&csv.labels, options);
    if (!status)
        status = read_lines(&csv, err);
    if (!status && dataset->example_count == 0)
        status = error_set(err, STATUS_INVALID_ARGUMENT,
                           csv.first_line ? "%s: there are no lines of data after the header"
                                          : "%s: there are no lines of data",
                           csv.name);
    if (!status) {
        dataset_builder_finish(&csv.builder);
        status = labels_finish(&csv.labels, dataset, err);
        if (status && err)
            error_wrap(err, "%s", csv.name);
    }
    names_release(&csv.columns);
    labels_release(&csv.labels);
    lines_release(&csv.lines);
    return status;
}

/* Any text: what is no CSV gets a message that names the line. Other text encodings have zero
 * bytes. */
static bool csv_recognize(const uint8_t *head, size_t size)
{
    return memchr(head, 0, size) == NULL;
}

const struct data_format csv_format = {
    .name = "CSV",
    .recognize = csv_recognize,
    .read = csv_read,
};
