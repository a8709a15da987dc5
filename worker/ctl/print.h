/* How results look: lines and tables for people, JSON for programs. */
#ifndef PARAMD_WORKER_CTL_PRINT_H
#define PARAMD_WORKER_CTL_PRINT_H

#include "common/base/error.h"
#include "common/wire/registry.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* Prints the object as one line on stdout and releases it. NULL (it was not built): no memory. */
NODISCARD enum status print_json(json_t *object, struct error *err);

/* A number; "NaN", "Infinity" and "-Infinity" as text, since JSON has no such numbers. */
json_t *json_of_double(double value);
json_t *json_of_shape(const uint64_t *shape, size_t rank);

enum { TABLE_COLUMNS_MAX = 8 };

/* Rows with columns under each other; numbers to the right. */
struct table {
    size_t column_count;
    size_t widths[TABLE_COLUMNS_MAX];
    char *cells; /* owned; texts, each with its end */
    size_t used, capacity, cell_count;
};

/* texts: column_count of them. Without memory the row is left out, and table_print says so. */
void table_add(struct table *table, const char *const *texts);
/* right: a letter a column, 'r' to the right, 'l' to the left. Releases the table. */
NODISCARD enum status table_print(struct table *table, const char *right, struct error *err);

/* "4,810" */
void print_count(uint64_t number, char *ret_text, size_t capacity);
/* "19.2 KB" */
void print_bytes(uint64_t bytes, char *ret_text, size_t capacity);
/* "(64, 10)" */
void print_shape(const uint64_t *shape, size_t rank, char *ret_text, size_t capacity);
/* The shortest decimal number that reads back as the same value. */
void print_value(enum dtype dtype, const void *values, uint64_t index, char *ret_text,
                 size_t capacity);

#endif
