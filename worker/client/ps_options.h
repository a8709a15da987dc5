/* Where a client's settings come from: the caller, else the environment (the only place that reads
 * it), else defaults. */
#ifndef PARAMD_WORKER_CLIENT_PS_OPTIONS_H
#define PARAMD_WORKER_CLIENT_PS_OPTIONS_H

#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/base/token.h"
#include "worker/client/ps.h"

#include <stddef.h>
#include <stdint.h>

struct ps_settings {
    char coordinator[LIMIT_ADDRESS_BYTES + 1];
    char job[LIMIT_JOB_NAME_BYTES + 1];
    char program[LIMIT_PROGRAM_BYTES + 1];
    struct token token;
    uint32_t rank_plus_1;
    uint32_t join_timeout_ms, timeout_ms, heartbeat_ms, dead_ms;
};

/* INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED: names the option or variable, and what would be
 * right. */
NODISCARD enum status ps_settings_gather(const struct ps_options *options,
                                         struct ps_settings *ret_settings, struct error *err);

#endif
