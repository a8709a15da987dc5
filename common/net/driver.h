/* The event loop under servers, coordinator and client: sockets on one side, struct link_engine on
 * the other. */
#ifndef PARAMD_COMMON_NET_DRIVER_H
#define PARAMD_COMMON_NET_DRIVER_H

#include "common/base/error.h"
#include "common/net/address.h"
#include "common/net/calls.h"
#include "common/wire/link.h"

#include <stddef.h>
#include <stdint.h>

/*
 * One turn: what the sockets have brought goes to the engine (on_open, on_head, on_frame,
 * on_closed), then on_turn once, then everything that was sent is written. Only on_released may
 * come after on_turn; then another turn follows at once.
 *
 * While a frame waits (LINK_WAIT), the driver sends its peer a HEARTBEAT five times in stall_ms, so
 * that the peer waits for as long as it takes.
 *
 * A driver belongs to whichever thread holds the lock of its owner (a server has one thread and
 * needs no lock); net_driver_wake and net_driver_stop alone may be called by anyone at any time,
 * signal handlers too.
 */
struct net_driver;

/* Zero means the default of each. */
struct net_options {
    const struct net_calls *calls; /* net_calls_system; borrowed */
    uint32_t connections_max;      /* LIMIT_CONNECTIONS; accepted ones beyond it are closed */
    uint32_t strangers_max; /* LIMIT_STRANGERS; beyond it, new ones wait in the kernel's queue */
    uint32_t hello_ms;      /* LIMIT_HELLO_MS */
    uint32_t stall_ms; /* 10 s: a queue from which not a byte was taken for so long ends its link */
    uint64_t queued_bytes_max; /* LIMIT_QUEUED_BYTES; of one link */
};

/* RESOURCE_EXHAUSTED: no memory or no file descriptors. options may be NULL. */
NODISCARD enum status net_driver_new(const struct net_options *options,
                                     struct net_driver **ret_driver, struct error *err);

/*
 * Closes what is still open: on_released(false) and on_closed run from here for every link, then
 * all memory is freed. NULL is ignored. Never from inside a callback.
 */
void net_driver_free(struct net_driver *driver);

/* Before the first listener, connection or run; *engine is copied. */
void net_driver_set_engine(struct net_driver *driver, const struct link_engine *engine);

/* What an engine gets; valid as long as the driver. */
struct link_io net_driver_io(struct net_driver *driver);

/*
 * Accepts connections at an address; several may be called for.
 *
 *   ret_address  as others would write it, with the real port; may be NULL.
 *
 * INVALID_ARGUMENT: not an address. UNAVAILABLE: "127.0.0.1:7070 is in use: ...".
 */
NODISCARD enum status net_driver_listen(struct net_driver *driver, const char *address,
                                        char ret_address[ADDRESS_TEXT_BYTES], struct error *err);

/* Accepts no more; removes the files of Unix sockets. Links live on. */
void net_driver_close_listeners(struct net_driver *driver);

/* Turns until net_driver_stop, also one that came before. */
void net_driver_run(struct net_driver *driver);

/*
 * Does what is left to do, waits for the sockets (at most max_wait_ns, and not beyond the time that
 * on_turn asked for; waits are rounded up to milliseconds) and makes one turn. UINT64_MAX: no bound
 * of its own; 0: does not wait.
 */
void net_driver_run_once(struct net_driver *driver, uint64_t max_wait_ns);

/* One turn without looking at the sockets: what was sent from outside of callbacks goes out now. */
void net_driver_turn(struct net_driver *driver);

/* Makes a run_once that waits return early (after a turn); if none waits, the next does not wait.
 */
void net_driver_wake(struct net_driver *driver);

/* Makes net_driver_run return after its present turn. */
void net_driver_stop(struct net_driver *driver);

/* Links that are not yet closed: a shutdown runs turns until there are none. */
size_t net_driver_links(const struct net_driver *driver);

#endif
