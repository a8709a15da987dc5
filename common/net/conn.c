#include "common/net/conn.h"

#include "common/base/alloc.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/*
 * Callbacks of the engine run only from on_poll, conns_advance and conns_flush, never from what the engine calls. Each
 * may close any connection, this one too; so a connection that ends is only marked (CONN_ENDED) and put on the ready
 * list. Its on_closed comes from conns_advance, its memory goes in conns_free_dead, when no list has it any more.
 */

enum {
    WRITE_TURN_BYTES = 8 * 1024 * 1024, /* of one connection, before others have their turn */
    FLUSH_MS = 1000,
    TIMEOUT_MAX_MS = 24 * 60 * 60 * 1000,
    DISCARD_READS_MAX = 16,
    BEATS_PER_STALL = 5,
};

#define NS_PER_MS ((uint64_t)1000000)

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

static void list_insert(struct conn *conn)
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

static void list_remove(struct conn *conn)
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

static void poll_update(struct conn *conn)
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
    /* It is about to be written to, and as likely as not blocks again: changing the poll costs two calls. */
    if (conn->in_dirty && conn->state != CONN_ENDED)
        events |= conn->polled & UV_WRITABLE;
    if (!conn->poll || events == conn->polled)
        return;
    conn->polled = events;
    net_poll_set(conn->poll, events, on_poll);
}

static void close_socket(struct conn *conn)
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

static void conn_end(struct conn *conn, const struct error *why)
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
    poll_update(conn);
    mark_ready(conn);
}

static void conn_finish(struct conn *conn)
{
    struct net_driver *driver = conn->driver;
    const struct link_engine *engine = &driver->engine;

    conn->state = CONN_DEAD;
    list_remove(conn);
    close_socket(conn);
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

static struct conn *conn_new(struct net_driver *driver, bool outgoing, const char *peer)
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

static void conn_discard_new(struct conn *conn)
{
    close_socket(conn);
    reader_release(&conn->reader);
    alloc_free(conn);
}

static void conn_opened(struct conn *conn)
{
    const struct link_engine *engine = &conn->driver->engine;

    conn->state = CONN_OPEN;
    /*
     * The kernel ends a connection whose window has been shut for so long, although the peer answers. A server lets
     * pushes wait in their sockets for slower workers, so on the pushing side stalled() judges alone.
     */
    bool may_wait = conn->bulk && conn->outgoing;
    socket_tune(conn->fd, conn->bulk, may_wait ? 0 : conn->driver->options.stall_ms);
    if (conn->writer.first)
        mark_dirty(conn);
    poll_update(conn);
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
    list_insert(conn);
    conn_opened(conn);
}

/* ---- connecting ---- */

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

    close_socket(conn);
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
        poll_update(conn);
        return;
    }
    connect_failed(conn, &reason);
}

static void connect_finished(struct conn *conn)
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
    list_insert(conn);
    if (numeric)
        connect_next(conn, &nothing);
    *ret_link = &conn->link;
    return STATUS_OK;
}

/* ---- reading ---- */

static uint64_t beat_interval_ns(const struct conn *conn)
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
        conn->beat_ns = net_now_ns() + beat_interval_ns(conn);
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
        connect_finished(conn);
    else if (status < 0)
        socket_broken(conn);
    else if (conn->state == CONN_OPEN)
        open_event(conn, events);
    else if (conn->state == CONN_FLUSHING || conn->state == CONN_DRAINING)
        closing_event(conn, events);
    poll_update(conn);
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
            poll_update(conn);
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
        poll_update(conn);
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
    poll_update(conn);
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
    poll_update(conn);
}

void conn_resume(struct conn *conn)
{
    if (conn->state != CONN_OPEN || !conn->held)
        return;
    conn->held = false;
    reader_resume(&conn->reader);
    conn->read_more = true;
    mark_ready(conn);
    poll_update(conn);
}

/* ---- deadlines ---- */

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
    conn->beat_ns = now_ns + beat_interval_ns(conn);
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

static void end_late(struct conn *conn, uint64_t now_ns)
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
            end_late(conn, now_ns);
        next_ns = earlier(next_ns, deadline_of(conn));
    }
    return next_ns;
}

void conns_end_all(struct net_driver *driver)
{
    struct error why;

    error_set(&why, STATUS_CANCELLED, "the program is closing");
    for (struct conn *conn = driver->conns; conn; conn = conn->next)
        conn_end(conn, &why);
}
