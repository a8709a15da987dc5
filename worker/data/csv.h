/*
 * Comma-separated values, RFC 4180 with what is found in the wild.
 *
 * One line is one example; lines end with a newline, or carriage return and newline, and lines
 * without anything but spaces are skipped. Fields are separated by commas; spaces and tabs around a
 * field do not belong to it. A field in double quotes may have commas, and "" for one quote, but
 * ends on its line. Every line has as many fields as the first. One column is the label, all others
 * are features, and those must be finite numbers. Columns of a file without a header are called 0,
 * 1, ...
 */
#ifndef PARAMD_WORKER_DATA_CSV_H
#define PARAMD_WORKER_DATA_CSV_H

#include "worker/data/data_file.h"

extern const struct data_format csv_format;

#endif
