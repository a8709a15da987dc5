/* The one status enum: C return value, RPC reply, exit path. Numbers are gRPC's codes. */
#ifndef PARAMD_COMMON_BASE_STATUS_H
#define PARAMD_COMMON_BASE_STATUS_H

#include <stdint.h>

#define NODISCARD __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_index, first_arg)                                                       \
    __attribute__((format(printf, format_index, first_arg)))

enum status {
    STATUS_OK = 0,
    STATUS_CANCELLED = 1,           /* the caller gave up, or the client is closing */
    STATUS_UNKNOWN = 2,             /* a foreign code without a better place */
    STATUS_INVALID_ARGUMENT = 3,    /* the request is wrong whatever the state */
    STATUS_DEADLINE_EXCEEDED = 4,   /* it may or may not have happened; asking again is safe */
    STATUS_NOT_FOUND = 5,           /* no such variable, file, member */
    STATUS_ALREADY_EXISTS = 6,      /* the same name with another meaning */
    STATUS_PERMISSION_DENIED = 7,   /* known, but not allowed to */
    STATUS_RESOURCE_EXHAUSTED = 8,  /* a limit of limits.h or memory */
    STATUS_FAILED_PRECONDITION = 9, /* right request, wrong state of the job */
    STATUS_ABORTED = 10,            /* fenced: a newer holder of this rank exists */
    STATUS_OUT_OF_RANGE = 11,       /* index or step outside what exists */
    STATUS_UNIMPLEMENTED = 12,      /* a message or feature this build does not know */
    STATUS_INTERNAL = 13,           /* our own bug, seen in time */
    STATUS_UNAVAILABLE = 14,        /* peer unreachable or gone */
    STATUS_DATA_LOSS = 15,          /* a hash did not match */
    STATUS_UNAUTHENTICATED = 16,    /* no token, or a wrong one */
};

/* gRPC's name of a code, "UNAVAILABLE"; "UNKNOWN" for a number outside the enum. Static storage. */
const char *status_name(enum status status);

/* The status of a failure that a peer names by number: UNKNOWN for 0 and for a number outside the
 * enum. */
enum status status_of_failure(uint32_t number);

/* Says, with a reason, that a status is ignored on purpose. */
static inline void status_ignore(enum status status, const char *reason)
{
    (void)status;
    (void)reason;
}

#endif
