/* The typed values of options: text from the command line into the place that a row names. */
#ifndef PARAMD_COMMON_BASE_OPTIONS_VALUE_H
#define PARAMD_COMMON_BASE_OPTIONS_VALUE_H

#include "common/base/error.h"
#include "common/base/options.h"
#include "common/base/status.h"

#include <stddef.h>

/*
 * Stores text where the row points. INVALID_ARGUMENT, and nothing written, if it does not fit; the
 * message says what would be right and leaves naming the option to the caller.
 */
NODISCARD enum status options_value_store(const struct option *row, const char *text,
                                          struct error *err);

/* What stands there now as the help shows it, or "" for nothing worth showing; cut to size. */
void options_value_show(const struct option *row, char *ret_text, size_t size);

/* What the help calls the value: "FILE", or "none|unit|standard"; cut to size; "" for a flag. */
void options_value_name(const struct option *row, char *ret_text, size_t size);

#endif
