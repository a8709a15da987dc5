#include "common/base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum status error_set(struct error *err, enum status status, const char *format, ...)
{
    if (err) {
        va_list args;
        va_start(args, format);
        err->status = status;
        vsnprintf(err->message, sizeof err->message, format, args);
        va_end(args);
    }
    return status;
}

enum status error_wrap(struct error *err, const char *format, ...)
{
    char context[ERROR_MESSAGE_BYTES];
    char cause[ERROR_MESSAGE_BYTES];
    va_list args;

    if (!err)
        return STATUS_INTERNAL;
    va_start(args, format);
    vsnprintf(context, sizeof context, format, args);
    va_end(args);
    memcpy(cause, err->message, sizeof cause);
    size_t used = strlen(context);
    memcpy(err->message, context, used);
    snprintf(err->message + used, sizeof err->message - used, ": %s", cause);
    return err->status;
}

enum status error_no_memory(struct error *err, const char *what)
{
    return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory for %s", what);
}

void error_clear(struct error *err)
{
    err->status = STATUS_OK;
    err->message[0] = '\0';
}
