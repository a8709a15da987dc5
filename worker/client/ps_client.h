/* What the files of the blocking library share: a client, and how a call begins, waits and ends. */
#ifndef PARAMD_WORKER_CLIENT_PS_CLIENT_H
#define PARAMD_WORKER_CLIENT_PS_CLIENT_H

#include "worker/client/client_core.h"
#include "worker/client/ps_loop.h"
#include "worker/client/ps_options.h"

struct ps_client {
    struct ps_loop loop;
    struct core *core; /* owned */
    struct ps_settings settings;
    bool quiet;
    bool closing;        /* under the lock */
    uint32_t calls;      /* inside the library, under the lock */
    uint64_t fork_count; /* of the process that made it */
};

/* One call: its client with the lock held, and what it is about. */
struct ps_call {
    struct ps_client *client;
    struct error error;
    bool forming;               /* a deadline means that the cluster did not form */
    struct ps_error *ret_error; /* may be NULL */
};

/* Counts the forks of this process; starts counting at the first call. */
uint64_t ps_fork_count(void);

/* Takes the lock; the status to return at once if there is nothing to be done with this client. */
NODISCARD enum ps_status ps_enter(struct ps_call *call, struct ps_client *client,
                                  struct ps_error *ret_error);
/* Lets the lock go; what the call returns. status not OK: call->error says why. */
enum ps_status ps_leave(struct ps_call *call, enum status status);
/* Fills an error outside of a call. */
enum ps_status ps_fail(struct ps_error *ret_error, const struct error *why, int exit_code);

/* Milliseconds from now, PS_DEFAULT_TIMEOUT or PS_NO_TIMEOUT, as a time. INVALID_ARGUMENT: another
 * negative number. */
enum status ps_deadline(struct ps_call *call, int timeout_ms, uint64_t *ret_deadline_ns);
/* Sends what is queued and waits for a handle; gives up at the deadline as core_expire says. */
enum status ps_wait_handle(struct ps_call *call, ps_handle handle, uint64_t deadline_ns,
                           struct core_result *ret_result);
/* Waits for a condition; false at the deadline. what: for the line after 10 s; may be NULL. */
bool ps_wait_until(struct ps_call *call, bool (*is_done)(void *context), void *context,
                   ps_handle handle, uint64_t deadline_ns);

#endif
