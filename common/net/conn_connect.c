#include "common/net/conn.h"

#include "common/base/alloc.h"

#include <stdio.h>

/*
 * An address is looked up (a name on a thread of its own), and what it stands for is tried one
 * after the other until one connects. The engine hears of it once: on_open, or on_closed with the
 * last reason.
 */

enum { TIMEOUT_MAX_MS = 24 * 60 * 60 * 1000 };

static void connect_failed(struct conn *conn, const struct error *reason)
{
    struct error why = *reason;

    error_wrap(&why, "connect %s", conn->link.peer);
    conn_end(conn, &why);
}

/* Tries the addresses from address_next on, until one may work. */
static void connect_next(struct conn *conn, const struct error *last)
{
    struct error reason = *last;

    conn_close_socket(conn);
    while (conn->address_next < conn->addresses.count) {
        if (socket_connect(&conn->addresses.items[conn->address_next++], &conn->fd, &reason))
            continue;
        conn->poll = net_poll_new(conn->driver, conn->fd, conn);
        if (!conn->poll) {
            error_no_memory(&reason, "a connection");
            break;
        }
        if (conn->state == CONN_RESOLVING)
            conn->driver->resolving_count--;
        conn->state = CONN_CONNECTING;
        conn_update_poll(conn);
        return;
    }
    connect_failed(conn, &reason);
}

void conn_connect_finished(struct conn *conn)
{
    struct error reason = {0};

    if (socket_connected(conn->fd, &reason)) {
        connect_next(conn, &reason);
        return;
    }
    conn->open_by_ns = 0;
    conn_opened(conn);
}

static void wake_driver(void *context)
{
    net_driver_wake(context);
}

void conns_resolved(struct net_driver *driver)
{
    for (struct conn *conn = driver->conns, *next; conn && driver->resolving_count; conn = next) {
        struct error reason = {0};
        enum status status = STATUS_OK;
        next = conn->next;
        if (conn->state != CONN_RESOLVING ||
            !resolve_finished(conn->resolve, &status, &conn->addresses, &reason))
            continue;
        resolve_abandon(conn->resolve);
        conn->resolve = NULL;
        if (status)
            connect_failed(conn, &reason);
        else
            connect_next(conn, &reason);
    }
}

enum status conn_connect(struct net_driver *driver, const char *address, bool bulk,
                         uint64_t timeout_ms, void *user, struct link **ret_link, struct error *err)
{
    struct address parsed;
    struct error nothing = {0};
    enum status status = address_parse(address, &parsed, err);

    if (status)
        return status;
    if (parsed.kind == ADDRESS_HOST && parsed.port == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "address '%s': nobody can be reached at port 0", address);
    if (driver->closing)
        return error_set(err, STATUS_CANCELLED, "connect %s: the program is closing", address);
    struct conn *conn = conn_new(driver, true, address);
    if (!conn)
        return error_no_memory(err, "a connection");
    conn->link.user = user;
    conn->bulk = bulk;
    conn->timeout_ms = timeout_ms < TIMEOUT_MAX_MS ? timeout_ms : TIMEOUT_MAX_MS;
    conn->state = CONN_RESOLVING;
    bool numeric = address_numeric(&parsed, &conn->addresses);
    if (!numeric) {
        conn->resolve = resolve_start(&parsed, wake_driver, driver);
        if (!conn->resolve) {
            conn_discard_new(conn);
            return error_no_memory(err, "looking up a name");
        }
    }
    driver->resolving_count++;
    conn->open_by_ns = net_now_ns() + conn->timeout_ms * NS_PER_MS;
    net_sweep_by(driver, conn->open_by_ns);
    conn_list_insert(conn);
    if (numeric)
        connect_next(conn, &nothing);
    *ret_link = &conn->link;
    return STATUS_OK;
}
