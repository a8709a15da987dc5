/* Addresses as people write them: "host:port", "[::1]:port", "unix:/path"; parsing, printing and
 * looking up. */
#ifndef PARAMD_COMMON_NET_ADDRESS_H
#define PARAMD_COMMON_NET_ADDRESS_H

#include "common/base/error.h"
#include "common/base/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
    ADDRESS_TEXT_BYTES = LIMIT_ADDRESS_BYTES, /* with the terminator */
    ADDRESS_RESOLVED_MAX = 8,                 /* of one name; more are ignored */
};

enum address_kind { ADDRESS_HOST, ADDRESS_UNIX };

struct address {
    enum address_kind kind;
    char host[ADDRESS_TEXT_BYTES]; /* a name, a numeric address without brackets, or a path */
    uint16_t port;
};

/* What the kernel takes. */
struct socket_address {
    struct sockaddr_storage storage;
    socklen_t size;
};

struct socket_addresses {
    struct socket_address items[ADDRESS_RESOLVED_MAX];
    size_t count;
};

/* INVALID_ARGUMENT, saying which part of the text is wrong. Port 0 is accepted: listeners mean "any
 * free one". */
NODISCARD enum status address_parse(const char *text, struct address *ret_address,
                                    struct error *err);

/* As it was written, "[::1]:7070"; always terminated. */
void address_print(const struct address *address, char *ret_text, size_t text_bytes);
void address_print_socket(const struct socket_address *socket_address, char *ret_text,
                          size_t text_bytes);

/* Nobody on another machine can reach it: 127.0.0.0/8, ::1, "localhost", a Unix socket. */
bool address_is_loopback(const struct address *address);

/* True, and ret_addresses filled, if no look-up is needed: a numeric address or a Unix socket. */
bool address_numeric(const struct address *address, struct socket_addresses *ret_addresses);

/*
 * Numeric first, else by the system's resolver, which may block for seconds. UNAVAILABLE: "look up
 * nohost: Name or service not known".
 */
NODISCARD enum status address_resolve(const struct address *address,
                                      struct socket_addresses *ret_addresses, struct error *err);

/* Are both ends of a connected socket on this machine? */
bool address_same_host(const struct socket_address *local, const struct socket_address *peer);

#endif
