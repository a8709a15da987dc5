#include "common/net/driver.h"

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/rng.h"
#include "common/net/conn.h"

#include <assert.h>
#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

enum { STALL_MS = 10 * 1000 };

uint64_t net_now_ns(void)
{
    const struct clock clock = clock_machine();

    return clock_now_ns(&clock);
}

void net_complain(struct net_driver *driver, const char *who, const char *what)
{
    struct net_complaints *complaints = &driver->complaints;
    uint64_t now_ns = net_now_ns();

    if (now_ns < complaints->next_ns) {
        complaints->dropped++;
        return;
    }
    if (complaints->dropped)
        log_warning("%s: %s (and %llu like it)", who, what,
                    (unsigned long long)complaints->dropped);
    else
        log_warning("%s: %s", who, what);
    complaints->dropped = 0;
    complaints->next_ns = now_ns + 1000 * NS_PER_MS;
}

/* ---- handles of libuv ---- */

struct net_poll *net_poll_new(struct net_driver *driver, int fd, void *owner)
{
    struct net_poll *poll = alloc_zero(sizeof *poll);

    if (!poll)
        return NULL;
    if (uv_poll_init(&driver->loop, &poll->handle, fd) != 0) {
        alloc_free(poll);
        return NULL;
    }
    poll->handle.data = poll;
    poll->owner = owner;
    return poll;
}

void net_poll_set(struct net_poll *poll, int events, uv_poll_cb on_event)
{
    /* Both fail only for a handle that is closing, which is our own mistake. */
    int failed = events ? uv_poll_start(&poll->handle, events, on_event)
                        : uv_poll_stop(&poll->handle);
    assert(failed == 0);
}

static void on_poll_closed(uv_handle_t *handle)
{
    alloc_free(handle->data);
}

void net_poll_close(struct net_poll *poll)
{
    poll->owner = NULL;
    uv_close((uv_handle_t *)&poll->handle, on_poll_closed);
}

static void on_timer(uv_timer_t *timer)
{
    (void)timer; /* it only ends the wait */
}

static void on_wake(uv_async_t *wake)
{
    (void)wake; /* it only ends the wait */
}

void net_sweep_by(struct net_driver *driver, uint64_t deadline_ns)
{
    if (deadline_ns < driver->sweep_ns)
        driver->sweep_ns = deadline_ns;
}

/* ---- life ---- */

static void fill_options(struct net_options *options)
{
    options->calls = options->calls ? options->calls : &net_calls_system;
    options->connections_max = options->connections_max ? options->connections_max
                                                        : LIMIT_CONNECTIONS;
    options->strangers_max = options->strangers_max ? options->strangers_max : LIMIT_STRANGERS;
    options->hello_ms = options->hello_ms ? options->hello_ms : LIMIT_HELLO_MS;
    options->stall_ms = options->stall_ms ? options->stall_ms : STALL_MS;
    options->queued_bytes_max = options->queued_bytes_max ? options->queued_bytes_max
                                                          : LIMIT_QUEUED_BYTES;
}

enum status net_driver_new(const struct net_options *options, struct net_driver **ret_driver,
                           struct error *err)
{
    struct net_driver *driver = alloc_zero(sizeof *driver);

    if (!driver)
        return error_no_memory(err, "the event loop");
    if (options)
        driver->options = *options;
    fill_options(&driver->options);
    driver->calls = driver->options.calls;
    driver->sweep_ns = UINT64_MAX;
    driver->turn_again = true; /* the engine is asked at once when it wants to run */
    int failed = uv_loop_init(&driver->loop);
    if (failed) {
        alloc_free(driver);
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "event loop: %s", uv_strerror(failed));
    }
    uv_timer_init(&driver->loop, &driver->timer);
    failed = uv_async_init(&driver->loop, &driver->wake, on_wake);
    if (failed) {
        uv_close((uv_handle_t *)&driver->timer, NULL);
        uv_run(&driver->loop, UV_RUN_DEFAULT);
        uv_loop_close(&driver->loop);
        alloc_free(driver);
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "event loop: %s", uv_strerror(failed));
    }
    driver->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    *ret_driver = driver;
    return STATUS_OK;
}

void net_driver_free(struct net_driver *driver)
{
    if (!driver)
        return;
    driver->closing = true;
    listeners_close(driver);
    conns_end_all(driver);
    while (driver->ready)
        conns_advance(driver);
    driver->dirty = NULL; /* every connection has ended: there is nothing to write to */
    for (struct conn *conn = driver->dead; conn; conn = conn->ready_next)
        conn->in_dirty = false;
    conns_free_dead(driver);
    uv_close((uv_handle_t *)&driver->timer, NULL);
    uv_close((uv_handle_t *)&driver->wake, NULL);
    uv_run(&driver->loop, UV_RUN_DEFAULT);
    int failed = uv_loop_close(&driver->loop);
    assert(failed == 0);
    writer_pool_release(&driver->writer_pool);
    if (driver->spare_fd >= 0)
        close(driver->spare_fd);
    alloc_free(driver);
}

void net_driver_set_engine(struct net_driver *driver, const struct link_engine *engine)
{
    driver->engine = *engine;
}

void net_driver_close_listeners(struct net_driver *driver)
{
    listeners_close(driver);
}

size_t net_driver_links(const struct net_driver *driver)
{
    return driver->conn_count;
}

/* ---- turns ---- */

void net_driver_turn(struct net_driver *driver)
{
    if (driver->resolving_count)
        conns_resolved(driver);
    conns_advance(driver);
    driver->turn_again = false;
    driver->wanted_ns = driver->engine.on_turn(driver->engine.context);
    conns_flush(driver);
}

static bool has_work(const struct net_driver *driver)
{
    return driver->ready || driver->dirty || driver->turn_again;
}

/*
 * Waits for sockets, wake or until_ns. The timer repeats because uv_run fires timers before it
 * waits: one that is due by then (a slow or a frozen machine) would be gone, and the wait without
 * end.
 */
static void wait_until(struct net_driver *driver, uint64_t now_ns, uint64_t until_ns)
{
    if (until_ns != UINT64_MAX) {
        uv_update_time(&driver->loop);
        uv_timer_start(&driver->timer, on_timer, (until_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS,
                       1);
    }
    uv_run(&driver->loop, UV_RUN_ONCE);
    uv_timer_stop(&driver->timer);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void sweep(struct net_driver *driver)
{
    uint64_t now_ns = net_now_ns();

    if (now_ns < driver->sweep_ns)
        return;
    driver->sweep_ns = UINT64_MAX;
    listeners_update(driver);
    net_sweep_by(driver, conns_sweep(driver, now_ns));
    if (driver->accept_after_ns)
        net_sweep_by(driver, driver->accept_after_ns);
}

void net_driver_run_once(struct net_driver *driver, uint64_t max_wait_ns)
{
    uint64_t now_ns = net_now_ns();
    uint64_t until_ns = max_wait_ns < UINT64_MAX - now_ns ? now_ns + max_wait_ns : UINT64_MAX;

    conns_free_dead(driver);
    until_ns = earlier(until_ns, earlier(driver->wanted_ns, driver->sweep_ns));
    if (has_work(driver) || atomic_load(&driver->woken) || until_ns <= now_ns)
        uv_run(&driver->loop, UV_RUN_NOWAIT);
    else
        wait_until(driver, now_ns, until_ns);
    atomic_store(&driver->woken, false);
    sweep(driver);
    net_driver_turn(driver);
}

void net_driver_run(struct net_driver *driver)
{
    while (!atomic_exchange(&driver->stopped, false))
        net_driver_run_once(driver, UINT64_MAX);
}

void net_driver_wake(struct net_driver *driver)
{
    atomic_store(&driver->woken, true);
    uv_async_send(&driver->wake);
}

void net_driver_stop(struct net_driver *driver)
{
    atomic_store(&driver->stopped, true);
    net_driver_wake(driver);
}

/* ---- link_io ---- */

static struct conn *conn_of(struct link *link)
{
    return (struct conn *)(void *)((char *)link - offsetof(struct conn, link));
}

static enum status io_send(void *context, struct link *link, const struct link_frame *frame)
{
    (void)context;
    return conn_send(conn_of(link), frame);
}

static void io_close(void *context, struct link *link, bool flush, const struct error *why)
{
    (void)context;
    conn_close(conn_of(link), flush, why);
}

static void io_resume(void *context, struct link *link)
{
    (void)context;
    conn_resume(conn_of(link));
}

static enum status io_connect(void *context, const char *address, bool bulk, uint64_t timeout_ms,
                              void *user, struct link **ret_link, struct error *err)
{
    return conn_connect(context, address, bulk, timeout_ms, user, ret_link, err);
}

static uint64_t io_now_ns(void *context)
{
    (void)context;
    return net_now_ns();
}

static uint64_t io_random(void *context)
{
    uint64_t value;

    if (getrandom(&value, sizeof value, 0) == (ssize_t)sizeof value)
        return value;
    return rng_mix(net_now_ns() ^ (uintptr_t)context); /* a kernel without entropy, early at boot */
}

struct link_io net_driver_io(struct net_driver *driver)
{
    return (struct link_io){
        .context = driver,
        .send = io_send,
        .close = io_close,
        .resume = io_resume,
        .connect = io_connect,
        .now_ns = io_now_ns,
        .random = io_random,
    };
}
