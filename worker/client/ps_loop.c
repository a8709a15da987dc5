#include "worker/client/ps_loop.h"

#include "common/base/clock.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

enum { PARK_NS = 1000000, PARKS_BEFORE_DEEP = 8 };

uint64_t ps_loop_now_ns(void)
{
    const struct clock clock = clock_machine();

    return clock_now_ns(&clock);
}

static struct timespec timespec_at(uint64_t at_ns)
{
    return (struct timespec){.tv_sec = (time_t)(at_ns / 1000000000),
                             .tv_nsec = (long)(at_ns % 1000000000)};
}

/* ---- life ---- */

static void cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;

    /* None of these can fail on Linux. */
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    int failed = pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
    assert(failed == 0);
}

enum status ps_loop_init(struct ps_loop *loop, struct error *err)
{
    enum status status = net_driver_new(NULL, &loop->driver, err);

    if (status)
        return status;
    pthread_mutex_init(&loop->mutex, NULL);
    cond_init(&loop->served);
    cond_init(&loop->progressed);
    cond_init(&loop->parked);
    return STATUS_OK;
}

void ps_loop_release(struct ps_loop *loop)
{
    if (!loop->driver)
        return;
    net_driver_free(loop->driver);
    loop->driver = NULL;
    pthread_cond_destroy(&loop->parked);
    pthread_cond_destroy(&loop->progressed);
    pthread_cond_destroy(&loop->served);
    pthread_mutex_destroy(&loop->mutex);
}

/* ---- the lock ---- */

/* With loop->mutex held: something happened that a sleeping caller may wait for, or somebody must
 * take over. */
static void wake_sleepers(struct ps_loop *loop)
{
    loop->progress_count++;
    if (loop->sleepers)
        pthread_cond_broadcast(&loop->progressed);
}

/* With loop->mutex and the lock held. */
static void announce(struct ps_loop *loop)
{
    uint64_t progress = core_progress(loop->core);

    if (progress != loop->progress_seen)
        wake_sleepers(loop);
    loop->progress_seen = progress;
}

static void take_turn(struct ps_loop *loop)
{
    uint64_t ticket = loop->next_ticket++;

    if (ticket != loop->serving && loop->polling)
        net_driver_wake(loop->driver);
    while (ticket != loop->serving)
        pthread_cond_wait(&loop->served, &loop->mutex);
}

static void give_turn(struct ps_loop *loop)
{
    loop->serving++;
    if (loop->serving != loop->next_ticket)
        pthread_cond_broadcast(&loop->served);
}

void ps_loop_lock(struct ps_loop *loop)
{
    pthread_mutex_lock(&loop->mutex);
    loop->calls++;
    take_turn(loop);
    pthread_mutex_unlock(&loop->mutex);
}

void ps_loop_unlock(struct ps_loop *loop)
{
    pthread_mutex_lock(&loop->mutex);
    announce(loop);
    give_turn(loop);
    pthread_mutex_unlock(&loop->mutex);
}

/* ---- turning ---- */

void ps_loop_turn(struct ps_loop *loop)
{
    net_driver_run_once(loop->driver, 0);
}

void ps_loop_send(struct ps_loop *loop)
{
    net_driver_turn(loop->driver);
}

/* One turn that may wait; then whoever wants the lock gets it first. */
static void turn_waiting(struct ps_loop *loop, uint64_t max_wait_ns)
{
    pthread_mutex_lock(&loop->mutex);
    bool wanted = loop->next_ticket - loop->serving > 1;
    loop->polling = true;
    pthread_mutex_unlock(&loop->mutex);
    net_driver_run_once(loop->driver, wanted ? 0 : max_wait_ns);
    pthread_mutex_lock(&loop->mutex);
    loop->polling = false;
    announce(loop);
    if (loop->next_ticket - loop->serving > 1) {
        give_turn(loop);
        take_turn(loop);
    }
    pthread_mutex_unlock(&loop->mutex);
}

/* Lets the lock go until there is progress, or somebody must turn the loop. */
static void sleep_until_progress(struct ps_loop *loop, uint64_t deadline_ns)
{
    struct timespec until = timespec_at(deadline_ns);
    int result = 0;

    pthread_mutex_lock(&loop->mutex);
    uint64_t seen = loop->progress_count;
    loop->sleepers++;
    give_turn(loop);
    while (loop->progress_count == seen && result != ETIMEDOUT) {
        if (deadline_ns == UINT64_MAX)
            pthread_cond_wait(&loop->progressed, &loop->mutex);
        else
            result = pthread_cond_timedwait(&loop->progressed, &loop->mutex, &until);
    }
    loop->sleepers--;
    take_turn(loop);
    pthread_mutex_unlock(&loop->mutex);
}

static void stop_turning(struct ps_loop *loop)
{
    loop->caller_turns = false;
    pthread_mutex_lock(&loop->mutex);
    wake_sleepers(loop); /* one of them takes over */
    if (loop->parked_deeply) {
        loop->parked_deeply = false;
        pthread_cond_signal(&loop->parked);
    }
    pthread_mutex_unlock(&loop->mutex);
}

bool ps_loop_wait(struct ps_loop *loop, bool (*is_done)(void *context), void *context,
                  uint64_t deadline_ns)
{
    bool turns = false;
    bool done;

    while (!(done = is_done(context))) {
        uint64_t now = ps_loop_now_ns();
        if (now >= deadline_ns)
            break;
        if (!turns && loop->caller_turns) {
            sleep_until_progress(loop, deadline_ns);
            continue;
        }
        turns = loop->caller_turns = true;
        turn_waiting(loop, deadline_ns == UINT64_MAX ? UINT64_MAX : deadline_ns - now);
    }
    if (turns)
        stop_turning(loop);
    return done;
}

/* ---- the I/O thread ---- */

/* With loop->mutex held: waits until no caller has come for a while. */
static void park(struct ps_loop *loop)
{
    uint32_t parks = 0;
    uint64_t calls;

    do {
        calls = loop->calls;
        struct timespec until = timespec_at(ps_loop_now_ns() + PARK_NS);
        pthread_cond_timedwait(&loop->parked, &loop->mutex, &until);
        /* A caller that waits and waits has the loop in its hands; it will say when it leaves. */
        if (loop->calls == calls && loop->polling && ++parks >= PARKS_BEFORE_DEEP) {
            loop->parked_deeply = true;
            while (loop->parked_deeply && !loop->stopping)
                pthread_cond_wait(&loop->parked, &loop->mutex);
            loop->parked_deeply = false;
        }
    } while (!loop->stopping && (loop->calls != calls || loop->polling));
}

static void *io_thread(void *context)
{
    struct ps_loop *loop = context;

    pthread_mutex_lock(&loop->mutex);
    while (!loop->stopping) {
        park(loop);
        if (loop->stopping)
            break;
        uint64_t calls = loop->calls;
        take_turn(loop);
        while (!loop->caller_turns && loop->calls == calls && !loop->stopping) {
            pthread_mutex_unlock(&loop->mutex);
            turn_waiting(loop, UINT64_MAX);
            pthread_mutex_lock(&loop->mutex);
        }
        give_turn(loop);
    }
    pthread_mutex_unlock(&loop->mutex);
    return NULL;
}

enum status ps_loop_start(struct ps_loop *loop, struct error *err)
{
    sigset_t all, old;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are the program's */
    int failed = pthread_create(&loop->thread, NULL, io_thread, loop);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failed)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "cannot start the client's thread: %s",
                         strerror(failed));
    loop->thread_runs = true;
    return STATUS_OK;
}

void ps_loop_stop(struct ps_loop *loop)
{
    if (!loop->thread_runs)
        return;
    pthread_mutex_lock(&loop->mutex);
    loop->stopping = true;
    pthread_cond_broadcast(&loop->parked);
    net_driver_wake(loop->driver);
    pthread_mutex_unlock(&loop->mutex);
    pthread_join(loop->thread, NULL);
    loop->thread_runs = false;
}
