/* What driver.c, conn.c and listener.c share; nobody else includes it. */
#ifndef PARAMD_COMMON_NET_DRIVER_STATE_H
#define PARAMD_COMMON_NET_DRIVER_STATE_H

#include "common/net/driver.h"
#include "common/net/reader.h"
#include "common/net/resolve.h"
#include "common/net/socket.h"
#include "common/net/writer.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <uv.h>

struct conn;

/* A handle of libuv that outlives its owner by the turn that closing takes. */
struct net_poll {
    uv_poll_t handle;
    void *owner; /* NULL once the owner is gone */
};

/* Messages that a stranger can cause are counted, and one a second is written. */
struct net_complaints {
    uint64_t next_ns;
    uint64_t dropped;
};

struct listener {
    struct listener *next;
    struct net_driver *driver;
    struct net_poll *poll;
    int fd;
    bool paused; /* too many strangers */
    struct socket_file file;
    char text[ADDRESS_TEXT_BYTES];
};

struct net_driver {
    uv_loop_t loop;
    uv_timer_t timer; /* ends a wait; its callback does nothing */
    uv_async_t wake;
    struct link_engine engine;
    struct net_options options;
    const struct net_calls *calls;

    struct listener *listeners;
    uint64_t accept_after_ns; /* accepting failed: it rests until then; 0: it does not */
    int spare_fd;             /* given up to shed a connection when there are no others; -1: gone */

    struct conn *conns; /* all of them */
    struct conn *ready; /* to be read on, or ended, before the next on_turn */
    struct conn *dirty; /* to be written after it */
    struct conn *dead;  /* ended; freed before the next wait */
    size_t conn_count;
    size_t accepted_count;
    size_t stranger_count;
    size_t resolving_count;
    uint64_t next_id;

    uint64_t wanted_ns; /* when on_turn wants to run again */
    uint64_t sweep_ns;  /* when the first deadline of a connection may have passed */
    bool closing;       /* net_driver_free */
    bool turn_again;    /* something called back after on_turn */
    atomic_bool woken;
    atomic_bool stopped;

    struct writer_pool writer_pool;
    struct reader_shared reader_shared;
    struct net_complaints complaints;
};

uint64_t net_now_ns(void);

/* A log line about somebody unknown, at most one a second. */
void net_complain(struct net_driver *driver, const char *who, const char *what);

/* Watches fd; NULL: out of memory. on_event as uv_poll has it, with handle->data the net_poll. */
struct net_poll *net_poll_new(struct net_driver *driver, int fd, void *owner);
void net_poll_set(struct net_poll *poll, int events, uv_poll_cb on_event);
void net_poll_close(struct net_poll *poll);

/* The sweep looks at deadlines again at this time, if not earlier. */
void net_sweep_by(struct net_driver *driver, uint64_t deadline_ns);

/* listener.c: accepts again once there are fewer strangers. */
void listeners_update(struct net_driver *driver);
void listeners_close(struct net_driver *driver);

#endif
