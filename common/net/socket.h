/* Making sockets: listening, connecting, and the options that each gets. */
#ifndef PARAMD_COMMON_NET_SOCKET_H
#define PARAMD_COMMON_NET_SOCKET_H

#include "common/net/address.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Who holds a Unix socket's file: removed at the end only if it is still ours. */
struct socket_file {
    char path[ADDRESS_TEXT_BYTES]; /* empty: there is none */
    dev_t device;
    ino_t inode;
};

/*
 * A listening socket, non-blocking. A Unix socket's file has mode 0600 from its first moment; one
 * that nobody listens on any more is replaced.
 *
 *   ret_bound  the real address, with the port that the kernel chose for port 0.
 *
 * UNAVAILABLE: "127.0.0.1:7070 is in use: ...", or what else the kernel says.
 */
NODISCARD enum status socket_listen(const struct address *address, int *ret_fd,
                                    struct socket_address *ret_bound, struct socket_file *ret_file,
                                    struct error *err);

void socket_file_remove(struct socket_file *file);

/* Begins to connect, without waiting. UNAVAILABLE: refused at once; the message is the reason
 * alone. */
NODISCARD enum status socket_connect(const struct socket_address *to, int *ret_fd,
                                     struct error *err);

/* OK when a socket that has become writable is connected; UNAVAILABLE with the reason alone
 * otherwise. */
NODISCARD enum status socket_connected(int fd, struct error *err);

/* What is pending on the socket, for a message: "Connection reset by peer". */
const char *socket_error_text(int fd);

/*
 * Options of a connection, after it is made; where the system refuses one, it is done without.
 *
 *   bulk      large frames.
 *   stall_ms  until unacknowledged bytes end a TCP connection; 0: left to the kernel.
 */
void socket_tune(int fd, bool bulk, uint64_t stall_ms);

/* Bytes that were written and that the peer's system has not acknowledged; 0 if the kernel does not
 * say. */
size_t socket_unacknowledged(int fd);

/* The other end; its size is 0 if the kernel does not say. */
struct socket_address socket_peer(int fd);

#endif
