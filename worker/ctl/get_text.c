/* `get` as text (a comment, then rows as numpy.loadtxt reads them) and as JSON (nested lists). */
#include "worker/ctl/get_format.h"
#include "worker/ctl/print.h"

#include <string.h>

enum { VALUE_BYTES = 40 };

static enum status write_text(struct get *get, const char *text, struct error *err)
{
    return output_write(&get->output, text, strlen(text), err);
}

/* How many of the innermost axes begin (or end) at the element of this number. */
static size_t axes_at(const struct get *get, uint64_t element)
{
    uint64_t size = 1;
    size_t count = 0;

    for (size_t i = get->rank; i-- > 0; count++) {
        size *= get->shape[i];
        if (size == 0 || element % size != 0)
            break;
    }
    return count;
}

/* ---- text ---- */

static enum status text_begin(struct get *get, struct error *err)
{
    char shape[256];
    char line[1024];

    print_shape(get->shape, get->rank, shape, sizeof shape);
    snprintf(line, sizeof line, "# %s%.200s %s %s step %llu\n", get->name, get->slice,
             dtype_name(get->dtype), shape, (unsigned long long)get->step);
    return write_text(get, line, err);
}

static enum status text_take(struct get *get, const void *values, uint64_t count, struct error *err)
{
    char value[VALUE_BYTES];

    for (uint64_t i = 0; i < count; i++) {
        print_value(get->dtype, values, i, value, sizeof value);
        enum status status = write_text(get, value, err);
        get->written++;
        size_t ends = axes_at(get, get->written);
        if (!status)
            status = write_text(get, ends || get->rank == 0 ? "\n" : " ", err);
        /* An empty line between matrices, unless it was the last. */
        if (!status && ends > 1 && get->written < get->element_count && get->rank > 2)
            status = write_text(get, "\n", err);
        if (status)
            return status;
    }
    return STATUS_OK;
}

static enum status text_end(struct get *get, struct error *err)
{
    (void)get;
    (void)err;
    return STATUS_OK;
}

const struct get_format get_text = {.begin = text_begin, .take = text_take, .end = text_end};

/* ---- JSON ---- */

static enum status json_begin(struct get *get, struct error *err)
{
    char line[1024];
    size_t used = (size_t)snprintf(line, sizeof line,
                                   "{\"name\": \"%s\", \"slice\": \"%.200s\", \"dtype\": \"%s\", "
                                   "\"shape\": [",
                                   get->name, get->slice, dtype_name(get->dtype));

    for (size_t i = 0; i < get->rank; i++)
        used += (size_t)snprintf(line + used, sizeof line - used, "%s%llu", i ? ", " : "",
                                 (unsigned long long)get->shape[i]);
    snprintf(line + used, sizeof line - used,
             "], \"step\": %llu, \"values\": ", (unsigned long long)get->step);
    return write_text(get, line, err);
}

static enum status write_repeated(struct get *get, const char *text, size_t count,
                                  struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        enum status status = write_text(get, text, err);
        if (status)
            return status;
    }
    return STATUS_OK;
}

/* JSON has no words for what is no number. */
static void json_value(char *value)
{
    if (strstr(value, "nan"))
        snprintf(value, VALUE_BYTES, "\"NaN\"");
    else if (strstr(value, "inf"))
        snprintf(value, VALUE_BYTES, value[0] == '-' ? "\"-Infinity\"" : "\"Infinity\"");
}

static enum status json_take(struct get *get, const void *values, uint64_t count, struct error *err)
{
    char value[VALUE_BYTES];

    for (uint64_t i = 0; i < count; i++) {
        enum status status = get->written ? write_text(get, ", ", err) : STATUS_OK;
        if (!status)
            status = write_repeated(get, "[", axes_at(get, get->written), err);
        print_value(get->dtype, values, i, value, sizeof value);
        json_value(value);
        if (!status)
            status = write_text(get, value, err);
        get->written++;
        if (!status)
            status = write_repeated(get, "]", axes_at(get, get->written), err);
        if (status)
            return status;
    }
    return STATUS_OK;
}

static enum status json_end(struct get *get, struct error *err)
{
    return write_text(get, get->element_count ? "}\n" : "[]}\n", err);
}

const struct get_format get_json = {.begin = json_begin, .take = json_take, .end = json_end};
