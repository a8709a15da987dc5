/* A status with a message for a person; each layer that knows more puts its context in front. */
#ifndef PARAMD_COMMON_BASE_ERROR_H
#define PARAMD_COMMON_BASE_ERROR_H

#include "common/base/status.h"

enum { ERROR_MESSAGE_BYTES = 512 };

struct error {
    enum status status;
    char message[ERROR_MESSAGE_BYTES]; /* always terminated; cut, never grown */
};

/* Fills err (which may be NULL) and returns status, so `return error_set(err, ...)` reads well. */
enum status error_set(struct error *err, enum status status, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* Puts "context: " in front of the message; returns the status already in err (INTERNAL if err is
 * NULL). */
enum status error_wrap(struct error *err, const char *format, ...) PRINTF_LIKE(2, 3);

/* RESOURCE_EXHAUSTED, "out of memory for <what>". */
enum status error_no_memory(struct error *err, const char *what);

void error_clear(struct error *err);

#endif
