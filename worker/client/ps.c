/* The public calls: joining and leaving, variables, barriers. Steps, pushes and pulls are in
 * ps_step.c. */
#include "worker/client/ps.h"

#include "common/base/alloc.h"
#include "common/base/exit_code.h"
#include "worker/client/ps_client.h"

#include <stdio.h>
#include <string.h>

/* Closing connections may write what is queued for so long. */
#define CLOSE_NS ((uint64_t)1200 * 1000000)

/* ---- connect and close ---- */

static void say(void *user, const char *line)
{
    const struct ps_client *client = user;

    if (!client->quiet)
        fprintf(stderr, "%s: %s\n", client->settings.program, line);
}

static enum status make_core(struct ps_client *client, const struct ps_options *options,
                             struct error *err)
{
    const struct ps_settings *settings = &client->settings;
    enum status status = ps_loop_init(&client->loop, err);

    if (status)
        return status;
    struct link_io io = net_driver_io(client->loop.driver);
    struct core_options core_options = {
        .coordinator = settings->coordinator,
        .job = settings->job,
        .program = settings->program,
        .token = settings->token.bytes,
        .token_bytes = settings->token.count,
        .rank_plus_1 = settings->rank_plus_1,
        .seed = options->seed,
        .heartbeat_ns = (uint64_t)settings->heartbeat_ms * 1000000,
        .dead_ns = (uint64_t)settings->dead_ms * 1000000,
        .on_notice = say,
        .user = client,
    };
    status = core_new(&core_options, &io, &client->core, err);
    if (status)
        return status;
    struct link_engine engine = core_engine(client->core);
    net_driver_set_engine(client->loop.driver, &engine);
    client->loop.core = client->core;
    return STATUS_OK;
}

static bool formed_or_ended(void *context)
{
    const struct ps_client *client = context;

    return core_formed(client->core) || core_ended(client->core, NULL, NULL);
}

/* err is filled when it did not form; the exit code says whose fault it is. */
static enum status form(struct ps_client *client, struct error *err, int *ret_exit_code)
{
    uint64_t timeout_ms = client->settings.join_timeout_ms;
    char text[320];

    ps_loop_lock(&client->loop);
    bool in_time = ps_loop_wait(&client->loop, formed_or_ended, client,
                                ps_loop_now_ns() + timeout_ms * 1000000);
    bool ended = core_ended(client->core, err, ret_exit_code);
    if (!in_time)
        core_waiting(client->core, text, sizeof text);
    ps_loop_unlock(&client->loop);
    if (ended)
        return error_wrap(err, "join the cluster at %s", client->settings.coordinator);
    if (in_time)
        return STATUS_OK;
    *ret_exit_code = EXIT_CODE_NOT_FORMED;
    return error_set(err, STATUS_DEADLINE_EXCEEDED,
                     "join the cluster at %s: not complete after %.1f s, %s",
                     client->settings.coordinator, (double)timeout_ms / 1000, text);
}

/* No thread runs and nobody is inside. */
static void client_free(struct ps_client *client)
{
    ps_loop_release(&client->loop); /* the driver calls the core back once more for every link */
    core_free(client->core);
    alloc_free(client);
}

static bool core_is_closed(void *context)
{
    return core_closed(context);
}

static void client_end(struct ps_client *client)
{
    ps_loop_lock(&client->loop);
    client->closing = true;
    core_close(client->core);
    ps_loop_wait(&client->loop, core_is_closed, client->core, ps_loop_now_ns() + CLOSE_NS);
    ps_loop_unlock(&client->loop);
}

enum ps_status ps_connect(const struct ps_options *options, struct ps_client **ret_client,
                          struct ps_error *ret_error)
{
    static const struct ps_options defaults;
    struct error err = {0};
    int exit_code = EXIT_CODE_WRONG_USE;
    struct ps_client *client = alloc_zero(sizeof *client);

    if (!client) {
        error_no_memory(&err, "a client");
        return ps_fail(ret_error, &err, EXIT_CODE_FAILED);
    }
    options = options ? options : &defaults;
    client->quiet = options->quiet;
    client->fork_count = ps_fork_count();
    enum status status = ps_settings_gather(options, &client->settings, &err);
    if (!status) {
        status = make_core(client, options, &err);
        exit_code = status == STATUS_INVALID_ARGUMENT ? EXIT_CODE_WRONG_USE : EXIT_CODE_FAILED;
    }
    if (status)
        goto fail;
    status = form(client, &err, &exit_code);
    if (!status) {
        status = ps_loop_start(&client->loop, &err);
        exit_code = EXIT_CODE_FAILED;
    }
    if (status) {
        client_end(client);
        goto fail;
    }
    *ret_client = client;
    return PS_OK;
fail:
    client_free(client);
    return ps_fail(ret_error, &err, exit_code);
}

static bool nobody_inside(void *context)
{
    const struct ps_client *client = context;

    return client->calls == 0;
}

void ps_close(struct ps_client *client)
{
    if (!client || client->fork_count != ps_fork_count())
        return;         /* in a child, sockets and event loop are the parent's */
    client_end(client); /* everybody inside gets CANCELLED */
    ps_loop_lock(&client->loop);
    ps_loop_wait(&client->loop, nobody_inside, client, UINT64_MAX);
    ps_loop_unlock(&client->loop);
    ps_loop_stop(&client->loop);
    client_free(client);
}

/* ---- facts ---- */

uint32_t ps_rank(const struct ps_client *client)
{
    return core_rank(client->core);
}

uint32_t ps_workers(const struct ps_client *client)
{
    return core_workers(client->core);
}

uint32_t ps_servers(const struct ps_client *client)
{
    return core_servers(client->core);
}

uint64_t ps_step(struct ps_client *client)
{
    struct ps_call call;

    if (ps_enter(&call, client, NULL))
        return 0;
    uint64_t commit_plus_1 = core_commit_plus_1(client->core);
    ps_leave(&call, STATUS_OK);
    return commit_plus_1 ? commit_plus_1 - 1 : 0;
}

/* ---- variables ---- */

enum ps_status ps_create(struct ps_client *client, const struct ps_variable *variable,
                         uint32_t *ret_id, struct ps_error *ret_error)
{
    struct ps_call call;
    struct core_result result = {0};
    uint64_t deadline_ns;
    ps_handle handle;
    enum ps_status refused = ps_enter(&call, client, ret_error);

    if (refused)
        return refused;
    enum status status = core_create(client->core, variable, &handle, &call.error);
    if (!status)
        status = ps_deadline(&call, PS_DEFAULT_TIMEOUT, &deadline_ns);
    if (!status)
        status = ps_wait_handle(&call, handle, deadline_ns, &result);
    if (!status)
        *ret_id = result.variable;
    return ps_leave(&call, status);
}

enum ps_status ps_configure(struct ps_client *client, uint32_t optimizer, const char *name,
                            const struct ps_setting *settings, size_t setting_count,
                            struct ps_error *ret_error)
{
    struct ps_call call;
    uint64_t deadline_ns;
    ps_handle handle;
    enum ps_status refused = ps_enter(&call, client, ret_error);

    if (refused)
        return refused;
    enum status status = core_configure(client->core, optimizer, name, settings, setting_count,
                                        &handle, &call.error);
    if (!status)
        status = ps_deadline(&call, PS_DEFAULT_TIMEOUT, &deadline_ns);
    if (!status)
        status = ps_wait_handle(&call, handle, deadline_ns, NULL);
    return ps_leave(&call, status);
}

enum ps_status ps_start(struct ps_client *client, struct ps_error *ret_error)
{
    struct ps_call call;
    uint64_t deadline_ns;
    ps_handle handle;
    enum ps_status refused = ps_enter(&call, client, ret_error);

    if (refused)
        return refused;
    call.forming = true;
    enum status status = core_start(client->core, &handle, &call.error);
    if (!status)
        status = ps_deadline(&call, PS_DEFAULT_TIMEOUT, &deadline_ns);
    if (!status)
        status = ps_wait_handle(&call, handle, deadline_ns, NULL);
    return ps_leave(&call, status);
}

struct assign_wait {
    struct core *core;
    ps_handle handle;
};

static bool assign_done(void *context)
{
    const struct assign_wait *wait = context;

    if (!core_staged(wait->core, wait->handle))
        return false;
    return core_ended(wait->core, NULL, NULL) || core_assign_incomplete(wait->core) ||
           core_commit_plus_1(wait->core) > 0;
}

enum ps_status ps_assign(struct ps_client *client, uint32_t variable, const void *values,
                         struct ps_error *ret_error)
{
    struct ps_call call;
    uint64_t deadline_ns;
    ps_handle handle = 0;
    enum status status;
    enum ps_status refused = ps_enter(&call, client, ret_error);

    if (refused)
        return refused;
    status = core_assign(client->core, variable, values, &handle, &call.error);
    if (!status)
        status = ps_deadline(&call, PS_DEFAULT_TIMEOUT, &deadline_ns);
    if (status || handle == 0)
        return ps_leave(&call, status);
    struct assign_wait wait = {client->core, handle};
    uint64_t began = ps_loop_now_ns();
    if (!ps_wait_until(&call, assign_done, &wait, handle, deadline_ns)) {
        status = core_expire(client->core, handle, (ps_loop_now_ns() - began) / 1000000,
                             &call.error);
        if (!core_staged(client->core, handle)) { /* the caller's array is the caller's again */
            core_assign_withdraw(client->core, handle);
            ps_loop_turn(&client->loop);
        }
    } else if (core_ended(client->core, &call.error, NULL)) {
        status = call.error.status;
    }
    return ps_leave(&call, status);
}

/* ---- together ---- */

enum ps_status ps_barrier(struct ps_client *client, const char *name, struct ps_metric *metrics,
                          size_t metric_count, int timeout_ms, struct ps_error *ret_error)
{
    struct ps_call call;
    struct core_result result = {.metrics = metrics, .metric_capacity = metric_count};
    uint64_t deadline_ns;
    ps_handle handle;
    enum ps_status refused = ps_enter(&call, client, ret_error);

    if (refused)
        return refused;
    enum status status = ps_deadline(&call, timeout_ms, &deadline_ns);
    if (!status)
        status = core_barrier(client->core, name, metrics, metric_count, &handle, &call.error);
    if (!status)
        status = ps_wait_handle(&call, handle, deadline_ns, &result);
    return ps_leave(&call, status);
}

static bool committed_or_ended(void *context)
{
    const struct core *core = context;

    return core_ended(core, NULL, NULL) || core_last_begun(core) < core_commit_plus_1(core);
}

static enum status wait_for_own_steps(struct ps_call *call, uint64_t deadline_ns)
{
    struct core *core = call->client->core;

    if (core_last_begun(core) == 0)
        return STATUS_OK;
    if (!ps_wait_until(call, committed_or_ended, core, 0, deadline_ns))
        return error_set(&call->error, STATUS_DEADLINE_EXCEEDED,
                         "finish: step %llu is not committed, the last committed one is %llu",
                         (unsigned long long)core_last_begun(core),
                         (unsigned long long)core_commit_plus_1(core) - 1);
    if (core_last_begun(core) < core_commit_plus_1(core))
        return STATUS_OK;
    core_ended(core, &call->error, NULL);
    return call->error.status;
}

enum ps_status ps_finish(struct ps_client *client, struct ps_error *ret_error)
{
    struct ps_call call;
    uint64_t deadline_ns;
    ps_handle handle;
    enum ps_status refused = ps_enter(&call, client, ret_error);

    if (refused)
        return refused;
    enum status status = core_finish(client->core, &handle, &call.error);
    if (!status)
        status = ps_deadline(&call, PS_DEFAULT_TIMEOUT, &deadline_ns);
    if (!status)
        status = ps_wait_handle(&call, handle, deadline_ns, NULL);
    if (!status)
        status = wait_for_own_steps(&call, deadline_ns);
    return ps_leave(&call, status);
}
