/* One connection of the driver, from accept or connect to on_closed. */
#ifndef PARAMD_COMMON_NET_CONN_H
#define PARAMD_COMMON_NET_CONN_H

#include "common/net/driver_state.h"

/*
 *   accepted ------------------------------> OPEN --close(flush)--> FLUSHING --queue empty-->
 * DRAINING
 *   RESOLVING --> CONNECTING --connected--^   |                        |                        |
 *       |             |  ^ next address       +---- error, close() ----+------- EOF, 1 s -------+
 *       +-------------+-----------------------+--> ENDED --on_closed--> DEAD (freed before the next
 * wait)
 */
enum conn_state {
    CONN_RESOLVING,
    CONN_CONNECTING,
    CONN_OPEN,
    CONN_FLUSHING, /* closed by the engine; what is queued goes out, what comes is thrown away */
    /* all is out and the peer has been told; waits until it closes, so that no reset destroys it */
    CONN_DRAINING,
    CONN_ENDED, /* on_closed comes before the next on_turn */
    CONN_DEAD,
};

struct conn {
    struct link link;
    struct net_driver *driver;
    enum conn_state state;
    bool outgoing;
    bool bulk;
    bool stranger;      /* counted in driver->stranger_count */
    bool write_blocked; /* the kernel's buffer is full: waits for POLLOUT */
    bool held;          /* on_head said LINK_WAIT */
    bool read_more;     /* its turn of reading was over before its bytes were */
    int fd;             /* -1: none */
    int polled;         /* events that the poll waits for */
    struct net_poll *poll;
    struct reader reader;
    struct writer writer;
    struct error why;       /* from the first cause on */
    struct error write_why; /* writing failed; what can still be read is read first */

    struct conn *next; /* in driver->conns */
    struct conn **previous;
    struct conn *ready_next;
    struct conn *dirty_next;
    bool in_ready;
    bool in_dirty;

    bool
        /* bytes are, or may be, on their way: queued here or unacknowledged in the kernel */
        awaiting;
    size_t kernel_bytes; /* unacknowledged when last looked */

    /* Monotonic. */
    uint64_t open_by_ns;   /* connecting, or a stranger's hello */
    uint64_t alive_ns;     /* when the peer last took or sent bytes, or awaiting began */
    uint64_t beat_ns;      /* while held: when the peer is told again that we live */
    uint64_t closed_by_ns; /* flushing and draining */

    /* Connecting. */
    uint64_t timeout_ms;
    struct resolve *resolve; /* owned */
    struct socket_addresses addresses;
    size_t address_next;
};

/* ---- between conn.c, conn_connect.c and conn_deadline.c ---- */

#define NS_PER_MS ((uint64_t)1000000)

/* NULL: out of memory. Not in the driver's list yet. */
struct conn *conn_new(struct net_driver *driver, bool outgoing, const char *peer);
void conn_list_insert(struct conn *conn);

/* Frees what conn_new made and nobody has heard of. */
void conn_discard_new(struct conn *conn);

/* Waits for the events that its state wants. */
void conn_update_poll(struct conn *conn);
void conn_close_socket(struct conn *conn);

/* Its socket is connected: on_open follows from here. */
void conn_opened(struct conn *conn);

/* Its socket, which was connecting, has an answer. */
void conn_connect_finished(struct conn *conn);

/* Marks it as ended, for the reason that came first; on_closed follows before the next on_turn. */
void conn_end(struct conn *conn, const struct error *why);

/* How often a peer whose frame waits is told that we live. */
uint64_t conn_beat_interval_ns(const struct conn *conn);

/* ---- for the driver and its listeners ---- */

/* Takes fd, also on failure. peer is for messages. */
void conn_accept(struct net_driver *driver, int fd, const char *peer);

/* As link_io. */
enum status conn_send(struct conn *conn, const struct link_frame *frame);
void conn_close(struct conn *conn, bool flush, const struct error *why);
void conn_resume(struct conn *conn);
enum status conn_connect(struct net_driver *driver, const char *address, bool bulk,
                         uint64_t timeout_ms, void *user, struct link **ret_link,
                         struct error *err);

/* The steps of a turn: connections in driver->ready, and in driver->dirty. */
void conns_advance(struct net_driver *driver);
void conns_flush(struct net_driver *driver);

/* Ends those whose time is over; returns the next deadline. */
uint64_t conns_sweep(struct net_driver *driver, uint64_t now_ns);

/* A name has been looked up. */
void conns_resolved(struct net_driver *driver);

void conns_free_dead(struct net_driver *driver);

/* Ends all, with CANCELLED. */
void conns_end_all(struct net_driver *driver);

#endif
