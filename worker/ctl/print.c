#include "worker/ctl/print.h"

#include "common/base/alloc.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum status print_json(json_t *object, struct error *err)
{
    if (!object)
        return error_no_memory(err, "an answer in JSON");
    int failed = json_dumpf(object, stdout, JSON_REAL_PRECISION(15));
    json_decref(object);
    putchar('\n');
    return failed ? error_no_memory(err, "an answer in JSON") : STATUS_OK;
}

json_t *json_of_double(double value)
{
    if (isnan(value))
        return json_string("NaN");
    if (isinf(value))
        return json_string(value > 0 ? "Infinity" : "-Infinity");
    return json_real(value);
}

json_t *json_of_shape(const uint64_t *shape, size_t rank)
{
    json_t *list = json_array();

    for (size_t i = 0; i < rank; i++) {
        if (json_array_append_new(list, json_integer((json_int_t)shape[i]))) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* ---- tables ---- */

static bool table_reserve(struct table *table, size_t bytes)
{
    size_t capacity = table->capacity ? table->capacity : 1024;

    while (capacity < table->used + bytes)
        capacity *= 2;
    if (capacity == table->capacity)
        return true;
    char *cells = alloc_resize(table->cells, capacity, 1);
    if (!cells)
        return false;
    table->cells = cells;
    table->capacity = capacity;
    return true;
}

void table_add(struct table *table, const char *const *texts)
{
    size_t bytes = 0;

    for (size_t i = 0; i < table->column_count; i++)
        bytes += strlen(texts[i]) + 1;
    if (table->cell_count == SIZE_MAX || !table_reserve(table, bytes)) {
        table->cell_count = SIZE_MAX;
        return;
    }
    for (size_t i = 0; i < table->column_count; i++) {
        size_t length = strlen(texts[i]);
        memcpy(table->cells + table->used, texts[i], length + 1);
        table->used += length + 1;
        if (length > table->widths[i])
            table->widths[i] = length;
    }
    table->cell_count += table->column_count;
}

enum status table_print(struct table *table, const char *right, struct error *err)
{
    const char *cell = table->cells;
    bool whole = table->cell_count != SIZE_MAX;

    for (size_t i = 0; whole && i < table->cell_count; i++) {
        size_t column = i % table->column_count;
        bool last = column + 1 == table->column_count;
        int width = (int)table->widths[column];
        if (right[column] == 'r')
            printf("%*s%s", width, cell, last ? "\n" : "  ");
        else if (last)
            printf("%s\n", cell);
        else
            printf("%-*s  ", width, cell);
        cell += strlen(cell) + 1;
    }
    alloc_free(table->cells);
    *table = (struct table){0};
    return whole ? STATUS_OK : error_no_memory(err, "a table");
}

/* ---- numbers ---- */

void print_count(uint64_t number, char *ret_text, size_t capacity)
{
    char digits[32];
    size_t length = (size_t)snprintf(digits, sizeof digits, "%" PRIu64, number);
    size_t used = 0;

    for (size_t i = 0; i < length && used + 2 < capacity; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            ret_text[used++] = ',';
        ret_text[used++] = digits[i];
    }
    ret_text[used] = '\0';
}

void print_bytes(uint64_t bytes, char *ret_text, size_t capacity)
{
    static const char *const units[] = {"B", "KB", "MB", "GB", "TB"};
    double value = (double)bytes;
    size_t unit = 0;

    while (value >= 1000 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1000;
        unit++;
    }
    snprintf(ret_text, capacity, unit && value < 100 ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

void print_shape(const uint64_t *shape, size_t rank, char *ret_text, size_t capacity)
{
    size_t used = (size_t)snprintf(ret_text, capacity, "(");

    for (size_t i = 0; i < rank && used < capacity; i++)
        used += (size_t)snprintf(ret_text + used, capacity - used, "%s%" PRIu64, i ? ", " : "",
                                 shape[i]);
    if (used < capacity)
        snprintf(ret_text + used, capacity - used, "%s", rank == 1 ? ",)" : ")");
}

void print_value(enum dtype dtype, const void *values, uint64_t index, char *ret_text,
                 size_t capacity)
{
    if (dtype == DTYPE_INT64) {
        snprintf(ret_text, capacity, "%" PRId64, ((const int64_t *)values)[index]);
    } else if (dtype == DTYPE_FLOAT64) {
        double value = ((const double *)values)[index];
        for (int digits = 15; digits <= 17; digits++) {
            snprintf(ret_text, capacity, "%.*g", digits, value);
            if (strtod(ret_text, NULL) == value)
                break;
        }
    } else {
        float value = ((const float *)values)[index];
        for (int digits = 6; digits <= 9; digits++) {
            snprintf(ret_text, capacity, "%.*g", digits, (double)value);
            if (strtof(ret_text, NULL) == value)
                break;
        }
    }
}
