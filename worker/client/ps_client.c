#include "worker/client/ps_client.h"

#include "common/base/exit_code.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* A wait is mentioned once when it has lasted so long. */
#define LONG_WAIT_NS ((uint64_t)10 * 1000000000)

/* ---- fork ---- */

static atomic_uint_fast64_t fork_count;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void on_fork_child(void)
{
    atomic_fetch_add(&fork_count, 1);
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, on_fork_child);
}

uint64_t ps_fork_count(void)
{
    pthread_once(&fork_once, watch_forks);
    return atomic_load(&fork_count);
}

/* ---- errors ---- */

enum ps_status ps_fail(struct ps_error *ret_error, const struct error *why, int exit_code)
{
    if (ret_error) {
        ret_error->status = (enum ps_status)why->status;
        ret_error->exit_code = exit_code;
        snprintf(ret_error->message, sizeof ret_error->message, "%s", why->message);
    }
    return (enum ps_status)why->status;
}

static int exit_code_of(const struct ps_call *call, enum status status)
{
    struct error end;
    int exit_code;

    if (call->client->core && core_ended(call->client->core, &end, &exit_code) &&
        end.status == status)
        return exit_code;
    if (status == STATUS_DEADLINE_EXCEEDED)
        return call->forming ? EXIT_CODE_NOT_FORMED : EXIT_CODE_PEER_LOST;
    return EXIT_CODE_FAILED;
}

/* ---- calls ---- */

enum ps_status ps_enter(struct ps_call *call, struct ps_client *client, struct ps_error *ret_error)
{
    *call = (struct ps_call){.client = client, .ret_error = ret_error};
    if (!client) {
        error_set(&call->error, STATUS_INVALID_ARGUMENT, "the client is NULL");
        return ps_fail(ret_error, &call->error, EXIT_CODE_FAILED);
    }
    if (client->fork_count != ps_fork_count()) {
        error_set(
            &call->error, STATUS_FAILED_PRECONDITION,
            "this client was made before fork(): a child process makes its own with ps_connect");
        return ps_fail(ret_error, &call->error, EXIT_CODE_FAILED);
    }
    ps_loop_lock(&client->loop);
    client->calls++;
    return PS_OK;
}

enum ps_status ps_leave(struct ps_call *call, enum status status)
{
    struct ps_client *client = call->client;
    int exit_code = status ? exit_code_of(call, status) : EXIT_CODE_DONE;

    client->calls--;
    ps_loop_unlock(&client->loop);
    return status ? ps_fail(call->ret_error, &call->error, exit_code) : PS_OK;
}

/* ---- waiting ---- */

enum status ps_deadline(struct ps_call *call, int timeout_ms, uint64_t *ret_deadline_ns)
{
    uint64_t ms = timeout_ms == PS_DEFAULT_TIMEOUT ? call->client->settings.timeout_ms
                                                   : (uint64_t)timeout_ms;

    if (timeout_ms < PS_NO_TIMEOUT)
        return error_set(
            &call->error, STATUS_INVALID_ARGUMENT,
            "a timeout of %d ms: milliseconds, PS_DEFAULT_TIMEOUT or PS_NO_TIMEOUT are possible",
            timeout_ms);
    bool unbounded = timeout_ms == PS_NO_TIMEOUT || (timeout_ms == PS_DEFAULT_TIMEOUT && ms == 0);
    *ret_deadline_ns = unbounded ? UINT64_MAX : ps_loop_now_ns() + ms * 1000000;
    return STATUS_OK;
}

static void mention(struct ps_call *call, ps_handle handle)
{
    char text[ERROR_MESSAGE_BYTES];

    if (call->client->quiet || !handle)
        return;
    core_describe(call->client->core, handle, text, sizeof text);
    if (text[0])
        fprintf(stderr, "%s: still waiting after 10 s: %s\n", call->client->settings.program, text);
}

bool ps_wait_until(struct ps_call *call, bool (*is_done)(void *context), void *context,
                   ps_handle handle, uint64_t deadline_ns)
{
    struct ps_loop *loop = &call->client->loop;
    uint64_t long_ns = ps_loop_now_ns() + LONG_WAIT_NS;

    if (is_done(context))
        return true;
    core_flush(call->client->core);
    if (deadline_ns <= long_ns)
        return ps_loop_wait(loop, is_done, context, deadline_ns);
    if (ps_loop_wait(loop, is_done, context, long_ns))
        return true;
    mention(call, handle);
    return ps_loop_wait(loop, is_done, context, deadline_ns);
}

struct handle_wait {
    struct core *core;
    ps_handle handle;
};

static bool handle_ended(void *context)
{
    const struct handle_wait *wait = context;

    return core_ready(wait->core, wait->handle);
}

enum status ps_wait_handle(struct ps_call *call, ps_handle handle, uint64_t deadline_ns,
                           struct core_result *ret_result)
{
    struct core *core = call->client->core;
    struct handle_wait wait = {core, handle};
    enum status status;

    if (handle_ended(&wait)) {
        core_done(core, handle, &status, ret_result, &call->error);
        return status;
    }
    uint64_t began = ps_loop_now_ns();
    if (!ps_wait_until(call, handle_ended, &wait, handle, deadline_ns))
        return core_expire(core, handle, (ps_loop_now_ns() - began) / 1000000, &call->error);
    core_done(core, handle, &status, ret_result, &call->error);
    return status;
}
