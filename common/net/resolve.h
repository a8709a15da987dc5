/* Looking up a host name without stopping the loop: one short-lived thread for one name. */
#ifndef PARAMD_COMMON_NET_RESOLVE_H
#define PARAMD_COMMON_NET_RESOLVE_H

#include "common/net/address.h"

#include <stdbool.h>

struct resolve;

/*
 * Starts a look-up. on_done runs once ON ANOTHER THREAD, unless resolve_abandon came first; it may
 * only wake the loop. NULL: out of memory or threads.
 */
struct resolve *resolve_start(const struct address *address, void (*on_done)(void *context),
                              void *context);

/* True when it is over: ret_status tells how, and ret_addresses or err is filled. */
bool resolve_finished(struct resolve *resolve, enum status *ret_status,
                      struct socket_addresses *ret_addresses, struct error *err);

/* The caller is done with it, finished or not; a thread that still runs frees the rest when it
 * returns. NULL is ignored. */
void resolve_abandon(struct resolve *resolve);

#endif
