/* The public calls of a step: begin, push, pull, end, wait. */
#include "worker/client/ps.h"
#include "worker/client/ps_client.h"

/* ---- steps ---- */

struct step_wait {
    struct core *core;
    uint64_t step;
};

static bool granted_or_ended(void *context)
{
    const struct step_wait *wait = context;

    return core_step_granted(wait->core, wait->step) || core_ended(wait->core, NULL, NULL);
}

enum ps_status ps_step_begin(struct ps_client *client, uint64_t step, uint64_t examples,
                             struct ps_error *ret_error)
{
    struct ps_call call;
    uint64_t deadline_ns;
    enum ps_status refused = ps_enter(&call, client, ret_error);

    if (refused)
        return refused;
    struct step_wait wait = {client->core, step};
    enum status status = core_step_check(client->core, step, &call.error);
    if (!status)
        status = ps_deadline(&call, PS_DEFAULT_TIMEOUT, &deadline_ns);
    if (!status && !ps_wait_until(&call, granted_or_ended, &wait, 0, deadline_ns))
        status = error_set(
            &call.error, STATUS_DEADLINE_EXCEEDED,
            "begin step %llu: the coordinator allows steps up to %llu so far (a rank has not ended "
            "its step)",
            (unsigned long long)step, (unsigned long long)core_grant(client->core));
    if (!status)
        status = core_step_begin(client->core, step, examples, &call.error);
    if (!status)
        ps_loop_send(&client->loop);
    return ps_leave(&call, status);
}

static enum ps_status step_end(struct ps_client *client, const struct ps_metric *metrics,
                               size_t metric_count, bool restart_totals, struct ps_error *ret_error)
{
    struct ps_call call;
    enum ps_status refused = ps_enter(&call, client, ret_error);

    if (refused)
        return refused;
    enum status status = core_step_end(client->core, metrics, metric_count, restart_totals,
                                       &call.error);
    if (!status)
        ps_loop_send(&client->loop);
    return ps_leave(&call, status);
}

enum ps_status ps_step_end(struct ps_client *client, const struct ps_metric *metrics,
                           size_t metric_count, struct ps_error *ret_error)
{
    return step_end(client, metrics, metric_count, false, ret_error);
}

enum ps_status ps_step_end_restart(struct ps_client *client, const struct ps_metric *metrics,
                                   size_t metric_count, struct ps_error *ret_error)
{
    return step_end(client, metrics, metric_count, true, ret_error);
}

static bool step_done_or_ended(void *context)
{
    const struct step_wait *wait = context;

    return core_step_done(wait->core, wait->step) || core_ended(wait->core, NULL, NULL);
}

enum ps_status ps_wait_step(struct ps_client *client, uint64_t step, int timeout_ms,
                            struct ps_error *ret_error)
{
    struct ps_call call;
    uint64_t deadline_ns;
    enum ps_status refused = ps_enter(&call, client, ret_error);

    if (refused)
        return refused;
    struct step_wait wait = {client->core, step};
    enum status status = ps_deadline(&call, timeout_ms, &deadline_ns);
    if (!status && !ps_wait_until(&call, step_done_or_ended, &wait, 0, deadline_ns))
        status = error_set(&call.error, STATUS_DEADLINE_EXCEEDED,
                           "wait for step %llu: the last committed step is %llu",
                           (unsigned long long)step,
                           (unsigned long long)(core_commit_plus_1(client->core)
                                                    ? core_commit_plus_1(client->core) - 1
                                                    : 0));
    else if (!status && !core_step_done(client->core, step)) {
        core_ended(client->core, &call.error, NULL);
        status = call.error.status;
    }
    return ps_leave(&call, status);
}

struct totals_wait {
    struct core *core;
    uint64_t step;
};

static bool totals_known(void *context)
{
    const struct totals_wait *wait = context;

    return core_totals(wait->core, wait->step, NULL, NULL, 0, NULL, NULL) != STATUS_UNAVAILABLE ||
           core_ended(wait->core, NULL, NULL);
}

enum ps_status ps_totals(struct ps_client *client, uint64_t step, struct ps_metric *ret_totals,
                         struct ps_metric *ret_running, size_t capacity, size_t *ret_count,
                         struct ps_error *ret_error)
{
    struct ps_call call;
    uint64_t deadline_ns;
    enum ps_status refused = ps_enter(&call, client, ret_error);

    if (refused)
        return refused;
    struct totals_wait wait = {client->core, step};
    enum status status = ps_deadline(&call, PS_DEFAULT_TIMEOUT, &deadline_ns);
    if (!status) {
        bool in_time = ps_wait_until(&call, totals_known, &wait, 0, deadline_ns);
        status = core_totals(client->core, step, ret_totals, ret_running, capacity, ret_count,
                             &call.error);
        if (!in_time)
            status = call.error.status = STATUS_DEADLINE_EXCEEDED;
    }
    return ps_leave(&call, status);
}

/* ---- pushes and pulls ---- */

/* Small arrays wait in an open frame for others; only complete frames are worth a turn of the loop.
 */
static void send_sealed(struct ps_client *client)
{
    if (core_has_sealed(client->core))
        ps_loop_send(&client->loop);
}

enum ps_status ps_push(struct ps_client *client, uint32_t variable, const void *values,
                       enum ps_push_kind kind, ps_handle *ret_handle, struct ps_error *ret_error)
{
    struct ps_call call;
    enum ps_status refused = ps_enter(&call, client, ret_error);

    if (refused)
        return refused;
    enum status status = core_push(client->core, variable, values, kind, ret_handle, &call.error);
    if (!status)
        send_sealed(client);
    return ps_leave(&call, status);
}

enum ps_status ps_push_rows(struct ps_client *client, uint32_t variable, const int64_t *rows,
                            size_t row_count, const void *values, ps_handle *ret_handle,
                            struct ps_error *ret_error)
{
    struct ps_call call;
    enum ps_status refused = ps_enter(&call, client, ret_error);

    if (refused)
        return refused;
    enum status status = core_push_rows(client->core, variable, rows, row_count, values, ret_handle,
                                        &call.error);
    if (!status)
        send_sealed(client);
    return ps_leave(&call, status);
}

enum ps_status ps_pull(struct ps_client *client, uint32_t variable, uint64_t step, void *values,
                       ps_handle *ret_handle, struct ps_error *ret_error)
{
    struct ps_call call;
    ps_handle handle;
    uint64_t deadline_ns;
    enum ps_status refused = ps_enter(&call, client, ret_error);

    if (refused)
        return refused;
    enum status status = core_pull(client->core, variable, step, values, &handle, &call.error);
    if (!status && ret_handle) {
        *ret_handle = handle;
        send_sealed(client);
    } else if (!status) {
        status = ps_deadline(&call, PS_DEFAULT_TIMEOUT, &deadline_ns);
        if (!status)
            status = ps_wait_handle(&call, handle, deadline_ns, NULL);
    }
    return ps_leave(&call, status);
}

enum ps_status ps_push_pull(struct ps_client *client, uint32_t variable, const void *gradient,
                            void *values, ps_handle *ret_handle, struct ps_error *ret_error)
{
    struct ps_call call;
    ps_handle handle;
    enum ps_status refused = ps_enter(&call, client, ret_error);

    if (refused)
        return refused;
    enum status status = core_push_pull(client->core, variable, gradient, values, &handle,
                                        &call.error);
    if (!status && ret_handle)
        *ret_handle = handle;
    if (!status)
        send_sealed(client);
    return ps_leave(&call, status);
}

enum ps_status ps_flush(struct ps_client *client, struct ps_error *ret_error)
{
    struct ps_call call;
    enum status status = STATUS_OK;
    enum ps_status refused = ps_enter(&call, client, ret_error);

    if (refused)
        return refused;
    if (core_ended(client->core, &call.error, NULL))
        status = call.error.status;
    core_flush(client->core);
    ps_loop_turn(&client->loop);
    return ps_leave(&call, status);
}

/* ---- waiting ---- */

enum ps_status ps_wait(struct ps_client *client, ps_handle handle, int timeout_ms,
                       struct ps_error *ret_error)
{
    struct ps_call call;
    uint64_t deadline_ns;
    enum ps_status refused = ps_enter(&call, client, ret_error);

    if (refused)
        return refused;
    enum status status = ps_deadline(&call, timeout_ms, &deadline_ns);
    if (!status)
        status = ps_wait_handle(&call, handle, deadline_ns, NULL);
    return ps_leave(&call, status);
}

struct staged_wait {
    struct core *core;
    ps_handle handle;
};

static bool is_staged(void *context)
{
    const struct staged_wait *wait = context;

    return core_staged(wait->core, wait->handle);
}

enum ps_status ps_wait_staged(struct ps_client *client, ps_handle handle, int timeout_ms,
                              struct ps_error *ret_error)
{
    struct ps_call call;
    uint64_t deadline_ns;
    enum ps_status refused = ps_enter(&call, client, ret_error);

    if (refused)
        return refused;
    struct staged_wait wait = {client->core, handle};
    uint64_t began = ps_loop_now_ns();
    char text[ERROR_MESSAGE_BYTES];
    enum status status = ps_deadline(&call, timeout_ms, &deadline_ns);
    if (!status && !ps_wait_until(&call, is_staged, &wait, handle, deadline_ns)) {
        core_describe(client->core, handle, text, sizeof text);
        status = error_set(&call.error, STATUS_DEADLINE_EXCEEDED, "after %.1f s: %s",
                           (double)(ps_loop_now_ns() - began) / 1e9, text);
    } else if (!status && core_ended(client->core, NULL, NULL)) {
        core_done(client->core, handle, &status, NULL, &call.error);
    }
    return ps_leave(&call, status);
}

bool ps_test(struct ps_client *client, ps_handle handle)
{
    struct ps_call call;

    if (ps_enter(&call, client, NULL))
        return true;
    if (!core_ready(client->core, handle)) {
        core_flush(client->core);
        ps_loop_turn(&client->loop);
    }
    bool ready = core_ready(client->core, handle);
    ps_leave(&call, STATUS_OK);
    return ready;
}
