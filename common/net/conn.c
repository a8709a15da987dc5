#include "common/net/conn.h"

#include "common/base/alloc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/*
 * Callbacks of the engine run only from on_poll, conns_advance and conns_flush, never from what the
 * engine calls. Each may close any connection, this one too; so a connection that ends is only
 * marked (CONN_ENDED) and put on the ready list. Its on_closed comes from conns_advance, its memory
 * goes in conns_free_dead, when no list has it any more.
 */

enum {
    WRITE_TURN_BYTES = 8 * 1024 * 1024, /* of one connection, before others have their turn */
    FLUSH_MS = 1000,
    DISCARD_READS_MAX = 16,
    BEATS_PER_STALL = 5,
};

static void on_poll(uv_poll_t *handle, int status, int events);

/* ---- lists ---- */

static void mark_ready(struct conn *conn)
{
    if (conn->in_ready)
        return;
    conn->in_ready = true;
    conn->ready_next = conn->driver->ready;
    conn->driver->ready = conn;
}

static void mark_dirty(struct conn *conn)
{
    if (conn->in_dirty)
        return;
    conn->in_dirty = true;
    conn->dirty_next = conn->driver->dirty;
    conn->driver->dirty = conn;
}

void conn_list_insert(struct conn *conn)
{
    struct net_driver *driver = conn->driver;

    conn->next = driver->conns;
    conn->previous = &driver->conns;
    if (conn->next)
        conn->next->previous = &conn->next;
    driver->conns = conn;
    driver->conn_count++;
    driver->accepted_count += !conn->outgoing;
    driver->stranger_count += conn->stranger;
}

static void conn_list_remove(struct conn *conn)
{
    struct net_driver *driver = conn->driver;

    *conn->previous = conn->next;
    if (conn->next)
        conn->next->previous = conn->previous;
    driver->conn_count--;
    driver->accepted_count -= !conn->outgoing;
    driver->stranger_count -= conn->stranger;
}

/* ---- beginning and end ---- */

void conn_update_poll(struct conn *conn)
{
    int events = 0;

    switch (conn->state) {
    case CONN_CONNECTING:
        events = UV_WRITABLE;
        break;
    case CONN_OPEN:
        /* While a frame waits nothing is read, but a peer that leaves is noticed. */
        events = conn->held ? UV_DISCONNECT : UV_READABLE;
        events |= conn->write_blocked ? UV_WRITABLE : 0;
        break;
    case CONN_FLUSHING:
        events = UV_READABLE | (conn->write_blocked ? UV_WRITABLE : 0);
        break;
    case CONN_DRAINING:
        events = UV_READABLE;
        break;
    case CONN_RESOLVING:
    case CONN_ENDED:
    case CONN_DEAD:
        break;
    }
    /* It is about to be written to, and as likely as not blocks again: changing the poll costs two
     * calls. */
    if (conn->in_dirty && conn->state != CONN_ENDED)
        events |= conn->polled & UV_WRITABLE;
    if (!conn->poll || events == conn->polled)
        return;
    conn->polled = events;
    net_poll_set(conn->poll, events, on_poll);
}

void conn_close_socket(struct conn *conn)
{
    if (conn->poll)
        net_poll_close(conn->poll);
    conn->poll = NULL;
    conn->polled = 0;
    if (conn->fd >= 0)
        close(conn->fd);
    conn->fd = -1;
}

/* The first cause stands. */
static void remember_why(struct conn *conn, const struct error *why)
{
    if (conn->why.status == STATUS_OK)
        conn->why = *why;
    if (conn->why.status == STATUS_OK)
        error_set(&conn->why, STATUS_CANCELLED, "%s: the connection was closed", conn->link.peer);
}

void conn_end(struct conn *conn, const struct error *why)
{
    if (conn->state >= CONN_ENDED)
        return;
    remember_why(conn, why);
    /* One that came and went without a byte is a probe, and no news. */
    if (conn->stranger && !conn->driver->closing &&
        (conn->reader.sniffed || conn->why.status != STATUS_UNAVAILABLE))
        net_complain(conn->driver, "a connection is refused", conn->why.message);
    if (conn->state == CONN_RESOLVING)
        conn->driver->resolving_count--;
    conn->state = CONN_ENDED;
    conn->reader.stopped = true;
    conn_update_poll(conn);
    mark_ready(conn);
}

static void conn_finish(struct conn *conn)
{
    struct net_driver *driver = conn->driver;
    const struct link_engine *engine = &driver->engine;

    conn->state = CONN_DEAD;
    conn_list_remove(conn);
    conn_close_socket(conn);
    resolve_abandon(conn->resolve);
    conn->resolve = NULL;
    reader_release(&conn->reader);
    conn->ready_next = driver->dead;
    driver->dead = conn;
    if (conn->stranger)
        listeners_update(driver);
    writer_clear(&conn->writer);
    engine->on_closed(engine->context, &conn->link, &conn->why);
}

void conns_free_dead(struct net_driver *driver)
{
    struct conn *dead = driver->dead;

    driver->dead = NULL;
    while (dead) {
        struct conn *conn = dead;
        dead = conn->ready_next;
        if (conn->in_dirty) { /* it was marked before it ended: the next flush lets go of it */
            conn->ready_next = driver->dead;
            driver->dead = conn;
        } else {
            alloc_free(conn);
        }
    }
}

struct conn *conn_new(struct net_driver *driver, bool outgoing, const char *peer)
{
    struct conn *conn = alloc_zero(sizeof *conn);

    if (!conn)
        return NULL;
    conn->driver = driver;
    conn->outgoing = outgoing;
    conn->stranger = !outgoing;
    conn->fd = -1;
    if (reader_init(&conn->reader, driver->calls, &driver->engine, &conn->link,
                    &driver->reader_shared)) {
        alloc_free(conn);
        return NULL;
    }
    conn->reader.stranger = !outgoing;
    writer_init(&conn->writer, driver->calls, &driver->writer_pool,
                driver->options.queued_bytes_max);
    conn->link.id = ++driver->next_id;
    snprintf(conn->link.peer, sizeof conn->link.peer, "%s", peer);
    return conn;
}

void conn_discard_new(struct conn *conn)
{
    conn_close_socket(conn);
    reader_release(&conn->reader);
    alloc_free(conn);
}

void conn_opened(struct conn *conn)
{
    const struct link_engine *engine = &conn->driver->engine;

    conn->state = CONN_OPEN;
    /*
     * The kernel ends a connection whose window has been shut for so long, although the peer
     * answers. A server lets pushes wait in their sockets for slower workers, so on the pushing
     * side stalled() judges alone.
     */
    bool may_wait = conn->bulk && conn->outgoing;
    socket_tune(conn->fd, conn->bulk, may_wait ? 0 : conn->driver->options.stall_ms);
    if (conn->writer.first)
        mark_dirty(conn);
    conn_update_poll(conn);
    engine->on_open(engine->context, &conn->link);
}

void conn_accept(struct net_driver *driver, int fd, const char *peer)
{
    struct conn *conn = conn_new(driver, false, peer);

    if (!conn) {
        close(fd);
        net_complain(driver, peer, "out of memory for its connection");
        return;
    }
    conn->fd = fd;
    conn->bulk =
        true; /* unknown until its HELLO; only a larger buffer of a Unix socket depends on it */
    conn->poll = net_poll_new(driver, fd, conn);
    if (!conn->poll) {
        conn_discard_new(conn);
        net_complain(driver, peer, "out of memory for its connection");
        return;
    }
    conn->open_by_ns = net_now_ns() + driver->options.hello_ms * NS_PER_MS;
    net_sweep_by(driver, conn->open_by_ns);
    conn_list_insert(conn);
    conn_opened(conn);
}

/* ---- reading ---- */

uint64_t conn_beat_interval_ns(const struct conn *conn)
{
    return conn->driver->options.stall_ms * NS_PER_MS / BEATS_PER_STALL;
}

static void no_longer_stranger(struct conn *conn)
{
    conn->stranger = false;
    conn->driver->stranger_count--;
    conn->open_by_ns = 0;
    listeners_update(conn->driver);
}

static void conn_read(struct conn *conn)
{
    struct error err = {0};

    uint64_t bytes = conn->reader.bytes;

    conn->read_more = false;
    enum reader_result result = reader_run(&conn->reader, conn->fd, &err);
    if (conn->awaiting && conn->reader.bytes != bytes)
        conn->alive_ns = net_now_ns();
    if (conn->stranger && !conn->reader.stranger && conn->state < CONN_ENDED)
        no_longer_stranger(conn);
    switch (result) {
    case READER_MORE:
        conn->read_more = true;
        mark_ready(conn);
        break;
    case READER_HELD:
        conn->held = true;
        conn->beat_ns = net_now_ns() + conn_beat_interval_ns(conn);
        net_sweep_by(conn->driver, conn->beat_ns);
        if (conn->write_why.status)
            conn_end(conn, &conn->write_why);
        break;
    case READER_BLOCKED:
        if (conn->write_why.status)
            conn_end(conn, &conn->write_why);
        break;
    case READER_FAILED:
        error_wrap(&err, "%s", conn->link.peer);
        conn_end(conn, &err);
        break;
    case READER_STOPPED:
        break;
    }
}

/* The engine has closed it: what still comes is thrown away, until the peer closes too. */
static void conn_discard(struct conn *conn)
{
    struct iovec part = {conn->driver->reader_shared.scratch, READER_SCRATCH_BYTES};

    for (int i = 0; i < DISCARD_READS_MAX; i++) {
        ssize_t got = conn->driver->calls->readv(conn->driver->calls->context, conn->fd, &part, 1);
        if (got > 0 || (got < 0 && errno == EINTR))
            continue;
        if (got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK))
            conn_end(conn, &conn->why);
        return;
    }
}

static void socket_broken(struct conn *conn)
{
    struct error why;

    if (conn->state == CONN_OPEN && !conn->held)
        conn_read(conn); /* what came before the break, and the kernel's reason */
    if (conn->state >= CONN_ENDED || conn->read_more)
        return;
    error_set(&why, STATUS_UNAVAILABLE, "%s: %s", conn->link.peer, socket_error_text(conn->fd));
    conn_end(conn, &why);
}

static void open_event(struct conn *conn, int events)
{
    struct error why;

    if (events & UV_WRITABLE) {
        conn->write_blocked = false;
        mark_dirty(conn);
    }
    if (!conn->held && (events & UV_READABLE)) {
        conn_read(conn);
    } else if (conn->held && (events & UV_DISCONNECT)) {
        error_set(&why, STATUS_UNAVAILABLE, "%s: it closed the connection while its frame waited",
                  conn->link.peer);
        conn_end(conn, &why);
    }
}

static void closing_event(struct conn *conn, int events)
{
    if (events & UV_WRITABLE) {
        conn->write_blocked = false;
        mark_dirty(conn);
    }
    if (events & UV_READABLE)
        conn_discard(conn);
}

static void on_poll(uv_poll_t *handle, int status, int events)
{
    struct net_poll *poll = handle->data;
    struct conn *conn = poll->owner;

    if (!conn)
        return;
    if (status < 0)
        conn->polled = 0; /* libuv has stopped watching */
    if (conn->state == CONN_CONNECTING)
        conn_connect_finished(conn);
    else if (status < 0)
        socket_broken(conn);
    else if (conn->state == CONN_OPEN)
        open_event(conn, events);
    else if (conn->state == CONN_FLUSHING || conn->state == CONN_DRAINING)
        closing_event(conn, events);
    conn_update_poll(conn);
}

void conns_advance(struct net_driver *driver)
{
    struct conn *ready = driver->ready;

    driver->ready = NULL;
    while (ready) {
        struct conn *conn = ready;
        ready = conn->ready_next;
        conn->in_ready = false;
        if (conn->state == CONN_ENDED) {
            conn_finish(conn);
            continue;
        }
        if (conn->state == CONN_OPEN && conn->read_more) {
            conn_read(conn);
            conn_update_poll(conn);
        }
    }
}

/* ---- writing ---- */

static void write_failed(struct conn *conn, const struct error *reason)
{
    struct error why = *reason;

    error_wrap(&why, "%s: write", conn->link.peer);
    if (conn->state != CONN_OPEN || conn->held) {
        conn_end(conn, &why);
        return;
    }
    /* The peer may have said why it left: its last frames are still to be read. */
    conn->write_why = why;
    conn->read_more = true;
    mark_ready(conn);
}

static void queue_empty(struct conn *conn)
{
    if (conn->state != CONN_FLUSHING)
        return;
    conn->state = CONN_DRAINING;
    if (shutdown(conn->fd, SHUT_WR) != 0)
        conn_end(conn, &conn->why);
}

/* Bytes have moved: from now on the peer has stall_ms for its next sign of life. */
static void await_peer(struct conn *conn)
{
    conn->awaiting = true;
    conn->alive_ns = net_now_ns();
    net_sweep_by(conn->driver, conn->alive_ns + conn->driver->options.stall_ms * NS_PER_MS);
}

static void conn_write(struct conn *conn)
{
    struct error err = {0};
    uint64_t written;
    uint64_t released = conn->writer.released;

    if ((conn->state != CONN_OPEN && conn->state != CONN_FLUSHING) || conn->write_blocked ||
        conn->write_why.status) {
        conn_update_poll(conn);
        return;
    }
    enum writer_result result = writer_flush(&conn->writer, conn->fd, WRITE_TURN_BYTES, &written,
                                             &err);
    conn->driver->turn_again |= conn->writer.released != released;
    if (conn->state >= CONN_ENDED)
        return;
    if (written || !conn->awaiting)
        await_peer(conn);
    switch (result) {
    case WRITER_EMPTY:
        queue_empty(conn);
        break;
    case WRITER_BLOCKED:
        conn->write_blocked = true;
        break;
    case WRITER_MORE:
        mark_dirty(conn);
        break;
    case WRITER_FAILED:
        write_failed(conn, &err);
        break;
    }
    conn_update_poll(conn);
}

void conns_flush(struct net_driver *driver)
{
    struct conn *dirty = driver->dirty;

    driver->dirty = NULL;
    while (dirty) {
        struct conn *conn = dirty;
        dirty = conn->dirty_next;
        conn->in_dirty = false;
        conn_write(conn);
    }
}

/* ---- what the engine asks for ---- */

enum status conn_send(struct conn *conn, const struct link_frame *frame)
{
    if (conn->state > CONN_OPEN || conn->write_why.status)
        return STATUS_UNAVAILABLE;
    enum status status = writer_add(&conn->writer, frame, conn->link.hash_payload);
    if (status)
        return status;
    if (conn->state == CONN_OPEN && !conn->write_blocked)
        mark_dirty(conn);
    return STATUS_OK;
}

void conn_close(struct conn *conn, bool flush, const struct error *why)
{
    static const struct error no_reason;

    if (conn->state >= CONN_ENDED)
        return;
    remember_why(conn, why ? why : &no_reason);
    conn->reader.stopped = true;
    if (!flush || conn->state < CONN_OPEN || conn->write_why.status) {
        conn_end(conn, &conn->why);
        return;
    }
    if (conn->state != CONN_OPEN)
        return; /* it flushes already */
    conn->state = CONN_FLUSHING;
    conn->held = false;
    conn->closed_by_ns = net_now_ns() + FLUSH_MS * NS_PER_MS;
    net_sweep_by(conn->driver, conn->closed_by_ns);
    mark_dirty(conn);
    conn_update_poll(conn);
}

void conn_resume(struct conn *conn)
{
    if (conn->state != CONN_OPEN || !conn->held)
        return;
    conn->held = false;
    reader_resume(&conn->reader);
    conn->read_more = true;
    mark_ready(conn);
    conn_update_poll(conn);
}

void conns_end_all(struct net_driver *driver)
{
    struct error why;

    error_set(&why, STATUS_CANCELLED, "the program is closing");
    for (struct conn *conn = driver->conns; conn; conn = conn->next)
        conn_end(conn, &why);
}
