#include "worker/client/ps_options.h"

#include "common/base/version.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* An empty variable counts as unset. */
static const char *environment(const char *name)
{
    const char *value = getenv(name);

    return value && value[0] ? value : NULL;
}

static enum status copy(char *ret_text, size_t capacity, const char *text, const char *what,
                        struct error *err)
{
    if (strlen(text) >= capacity)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s '%.100s...' is longer than %zu bytes",
                         what, text, capacity - 1);
    memcpy(ret_text, text, strlen(text) + 1);
    return STATUS_OK;
}

static enum status gather_coordinator(const struct ps_options *options,
                                      struct ps_settings *settings, struct error *err)
{
    const char *address = options->coordinator ? options->coordinator
                                               : environment("PARAMD_COORDINATOR");
    const char *host = environment("DMLC_PS_ROOT_URI");
    const char *port = environment("DMLC_PS_ROOT_PORT");

    if (address)
        return copy(settings->coordinator, sizeof settings->coordinator, address,
                    "the coordinator's address", err);
    if (!host || !port)
        return error_set(
            err, STATUS_INVALID_ARGUMENT,
            "no coordinator: give its address as an option, or set PARAMD_COORDINATOR to "
            "host:port or unix:/path (or DMLC_PS_ROOT_URI and DMLC_PS_ROOT_PORT)");
    bool bare_ipv6 = strchr(host, ':') && host[0] != '[';
    int length = snprintf(settings->coordinator, sizeof settings->coordinator,
                          bare_ipv6 ? "[%s]:%s" : "%s:%s", host, port);
    if (length < 0 || (size_t)length >= sizeof settings->coordinator)
        return error_set(err, STATUS_INVALID_ARGUMENT, "DMLC_PS_ROOT_URI '%.100s...' is too long",
                         host);
    return STATUS_OK;
}

static enum status parse_rank(const char *name, const char *text, uint32_t *ret_rank_plus_1,
                              struct error *err)
{
    char *end;

    errno = 0;
    unsigned long rank = strtoul(text, &end, 10);
    if (errno || *end || text[0] < '0' || text[0] > '9' || rank >= LIMIT_WORKERS)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s is '%.40s': a rank is a number from 0 to %d", name, text,
                         LIMIT_WORKERS - 1);
    *ret_rank_plus_1 = (uint32_t)rank + 1;
    return STATUS_OK;
}

static enum status gather_rank(const struct ps_options *options, struct ps_settings *settings,
                               struct error *err)
{
    static const char *const names[] = {"PARAMD_RANK", "DMLC_RANK", "DMLC_WORKER_ID"};

    if (options->rank_plus_1 < 0 || options->rank_plus_1 > LIMIT_WORKERS)
        return error_set(err, STATUS_INVALID_ARGUMENT, "rank %d: a rank is a number from 0 to %d",
                         options->rank_plus_1 - 1, LIMIT_WORKERS - 1);
    settings->rank_plus_1 = (uint32_t)options->rank_plus_1;
    for (size_t i = 0; settings->rank_plus_1 == 0 && i < sizeof names / sizeof names[0]; i++) {
        const char *text = environment(names[i]);
        enum status status = text ? parse_rank(names[i], text, &settings->rank_plus_1, err)
                                  : STATUS_OK;
        if (status)
            return status;
    }
    return STATUS_OK;
}

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
    return value ? value : otherwise;
}

enum status ps_settings_gather(const struct ps_options *options, struct ps_settings *ret_settings,
                               struct error *err)
{
    struct ps_settings settings = {0};
    const char *job = options->job ? options->job : environment("PARAMD_JOB");
    const char *token_file = options->token_file ? options->token_file
                                                 : environment("PARAMD_TOKEN_FILE");
    enum status status = gather_coordinator(options, &settings, err);

    if (!status && job)
        status = copy(settings.job, sizeof settings.job, job, "the job's name", err);
    if (!status)
        status = gather_rank(options, &settings, err);
    if (!status && token_file)
        status = token_read(token_file, &settings.token, err);
    if (status)
        return status;
    snprintf(settings.program, sizeof settings.program, "%.80s %s, pid %ld",
             options->program ? options->program : program_invocation_short_name, PARAMD_VERSION,
             (long)getpid());
    settings.join_timeout_ms = or_default(options->join_timeout_ms, 15000);
    settings.timeout_ms = options->timeout_ms;
    settings.heartbeat_ms = or_default(options->heartbeat_ms, 500);
    settings.dead_ms = or_default(options->dead_ms, 10000);
    *ret_settings = settings;
    return STATUS_OK;
}
