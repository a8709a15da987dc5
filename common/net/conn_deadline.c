#include "common/net/conn.h"

/*
 * Connections have few deadlines and rarely meet one: driver->sweep_ns is the earliest that any may
 * have, and when it has come all of them are looked at.
 */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* When it is to be looked at, as things stand; UINT64_MAX: never. */
static uint64_t deadline_of(const struct conn *conn)
{
    uint64_t deadline_ns = UINT64_MAX;

    switch (conn->state) {
    case CONN_RESOLVING:
    case CONN_CONNECTING:
        return conn->open_by_ns;
    case CONN_OPEN:
        if (conn->stranger)
            deadline_ns = conn->open_by_ns;
        if (conn->held)
            deadline_ns = earlier(deadline_ns, conn->beat_ns);
        if (conn->awaiting)
            deadline_ns = earlier(deadline_ns,
                                  conn->alive_ns + conn->driver->options.stall_ms * NS_PER_MS);
        break;
    case CONN_FLUSHING:
    case CONN_DRAINING:
        return conn->closed_by_ns;
    case CONN_ENDED:
    case CONN_DEAD:
        break;
    }
    return deadline_ns;
}

/* The peer waits, perhaps for long, until its frame is read: it hears that we live. */
static void beat(struct conn *conn, uint64_t now_ns)
{
    const struct link_frame heartbeat = {.type = FRAME_HEARTBEAT};

    if (!conn->held || now_ns < conn->beat_ns)
        return;
    conn->beat_ns = now_ns + conn_beat_interval_ns(conn);
    if (!conn->writer.first)
        status_ignore(conn_send(conn, &heartbeat), "without memory the next one is tried");
}

/* Bytes wait for the peer, and it has neither taken nor sent any for stall_ms. */
static bool stalled(struct conn *conn, uint64_t now_ns)
{
    if (!conn->awaiting || now_ns < conn->alive_ns + conn->driver->options.stall_ms * NS_PER_MS)
        return false;
    size_t kernel_bytes = socket_unacknowledged(conn->fd);
    if (!conn->writer.first && kernel_bytes == 0) {
        conn->awaiting = false;
        return false;
    }
    bool moved = kernel_bytes != conn->kernel_bytes;
    conn->kernel_bytes = kernel_bytes;
    if (moved)
        conn->alive_ns = now_ns;
    return !moved;
}

static void conn_late(struct conn *conn, uint64_t now_ns)
{
    const struct net_options *options = &conn->driver->options;
    const char *peer = conn->link.peer;
    struct error why = conn->why;

    if (conn->state < CONN_OPEN) {
        error_set(&why, STATUS_UNAVAILABLE, "connect %s: no answer in %llu ms", peer,
                  (unsigned long long)conn->timeout_ms);
    } else if (conn->state == CONN_OPEN) {
        beat(conn, now_ns);
        if (conn->stranger && now_ns >= conn->open_by_ns)
            error_set(&why, STATUS_DEADLINE_EXCEEDED, "%s: it has not said hello in %u ms", peer,
                      options->hello_ms);
        else if (stalled(conn, now_ns))
            error_set(&why, STATUS_UNAVAILABLE,
                      "%s: no sign of life in %u ms, with %llu bytes waiting for it", peer,
                      options->stall_ms,
                      (unsigned long long)(conn->writer.bytes + conn->kernel_bytes));
        else
            return;
    }
    conn_end(conn, &why);
}

uint64_t conns_sweep(struct net_driver *driver, uint64_t now_ns)
{
    uint64_t next_ns = UINT64_MAX;

    for (struct conn *conn = driver->conns; conn; conn = conn->next) {
        if (deadline_of(conn) <= now_ns)
            conn_late(conn, now_ns);
        next_ns = earlier(next_ns, deadline_of(conn));
    }
    return next_ns;
}
