/*
 * Who turns the event loop. One lock guards engine and sockets. A caller that waits turns the loop
 * itself, so an answer wakes the thread that needs it and no other. The I/O thread turns it while
 * no caller has been here for a millisecond: it beats the heart, writes what is half sent, reads
 * what comes in.
 */
#ifndef PARAMD_WORKER_CLIENT_PS_LOOP_H
#define PARAMD_WORKER_CLIENT_PS_LOOP_H

#include "common/net/driver.h"
#include "worker/client/client_core.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct ps_loop {
    struct net_driver *driver; /* owned */
    struct core *core;         /* borrowed */

    /* The lock: first come, first served, so that a thread that turns the loop cannot keep others
     * out. */
    pthread_mutex_t mutex; /* of the fields below, held for moments only */
    pthread_cond_t served;
    uint64_t next_ticket, serving;
    bool polling; /* the holder is in the sockets: wake it when the lock is wanted */

    /* Callers that wait while another caller turns the loop. */
    pthread_cond_t progressed;
    uint64_t progress_count;
    uint32_t sleepers;

    /* The I/O thread. */
    pthread_t thread;
    bool thread_runs;
    bool stopping;
    pthread_cond_t parked;
    bool parked_deeply; /* until a caller that has waited long says so */
    uint64_t calls;     /* by callers, so far */

    /* Under the lock. */
    uint64_t progress_seen; /* core_progress when sleepers were last told */
    bool caller_turns;      /* a waiting caller has taken the loop over */
};

/* RESOURCE_EXHAUSTED: no memory, no descriptors. */
NODISCARD enum status ps_loop_init(struct ps_loop *loop, struct error *err);
/* RESOURCE_EXHAUSTED: no thread. From here on others may use the loop. */
NODISCARD enum status ps_loop_start(struct ps_loop *loop, struct error *err);
/* Stops the I/O thread. */
void ps_loop_stop(struct ps_loop *loop);
/* Stopped; no caller is left. A zeroed one may be released. */
void ps_loop_release(struct ps_loop *loop);

void ps_loop_lock(struct ps_loop *loop);
void ps_loop_unlock(struct ps_loop *loop);

/* With the lock held: writes what was queued, reads what is there, does not wait. */
void ps_loop_turn(struct ps_loop *loop);
/* With the lock held: writes what was queued. */
void ps_loop_send(struct ps_loop *loop);

/*
 * With the lock held (it is let go in between): turns the loop, or sleeps while another caller
 * does, until is_done() or the deadline (UINT64_MAX: none); false at the deadline.
 */
bool ps_loop_wait(struct ps_loop *loop, bool (*is_done)(void *context), void *context,
                  uint64_t deadline_ns);

uint64_t ps_loop_now_ns(void);

#endif
