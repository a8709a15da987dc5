#include "common/net/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

static const char unix_prefix[] = "unix:";

enum { UNIX_PREFIX_BYTES = sizeof unix_prefix - 1 };

static enum status wrong(struct error *err, const char *text, const char *reason)
{
    return error_set(err, STATUS_INVALID_ARGUMENT,
                     "address '%s': %s (right would be host:port, [::1]:port or unix:/path)", text,
                     reason);
}

static enum status parse_unix(const char *text, struct address *ret_address, struct error *err)
{
    const char *path = text + UNIX_PREFIX_BYTES;

    if (path[0] != '/')
        return wrong(err, text, "the path of a Unix socket begins with /");
    if (strlen(path) >= sizeof((struct sockaddr_un *)NULL)->sun_path)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "address '%s': the path of a Unix socket has at most %zu bytes", text,
                         sizeof((struct sockaddr_un *)NULL)->sun_path - 1);
    *ret_address = (struct address){.kind = ADDRESS_UNIX};
    memcpy(ret_address->host, path, strlen(path) + 1);
    return STATUS_OK;
}

static bool parse_port(const char *text, uint16_t *ret_port)
{
    unsigned long port = 0;
    size_t digits = strspn(text, "0123456789");

    if (digits == 0 || digits > 5 || text[digits] != '\0')
        return false;
    port = strtoul(text, NULL, 10);
    if (port > UINT16_MAX)
        return false;
    *ret_port = (uint16_t)port;
    return true;
}

static bool host_characters(const char *host, size_t size, bool numeric_v6)
{
    for (size_t i = 0; i < size; i++) {
        char c = host[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '.' || c == '-' || c == '_';
        if (!plain && !(numeric_v6 && (c == ':' || c == '%')))
            return false;
    }
    return size > 0;
}

static bool is_v6(const char *host)
{
    struct in6_addr ignored;
    char plain[INET6_ADDRSTRLEN];
    size_t size = strcspn(host, "%");

    if (size >= sizeof plain)
        return false;
    memcpy(plain, host, size);
    plain[size] = '\0';
    return inet_pton(AF_INET6, plain, &ignored) == 1;
}

enum status address_parse(const char *text, struct address *ret_address, struct error *err)
{
    struct address address = {.kind = ADDRESS_HOST};

    if (strlen(text) >= ADDRESS_TEXT_BYTES)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "an address of %zu bytes: at most %d are allowed", strlen(text),
                         ADDRESS_TEXT_BYTES - 1);
    if (strncmp(text, unix_prefix, UNIX_PREFIX_BYTES) == 0)
        return parse_unix(text, ret_address, err);
    const char *colon = strrchr(text, ':');
    if (!colon)
        return wrong(err, text, "it has no port");
    if (!parse_port(colon + 1, &address.port))
        return wrong(err, text, "the port is not a number from 0 to 65535");

    const char *host = text;
    size_t size = (size_t)(colon - text);
    bool brackets = size >= 2 && text[0] == '[' && colon[-1] == ']';
    if (brackets) {
        host++;
        size -= 2;
    }
    memcpy(address.host, host, size);
    if (!brackets && memchr(host, ':', size))
        return wrong(err, text, "an IPv6 address stands in brackets");
    if (!host_characters(host, size, brackets) || (brackets && !is_v6(address.host)))
        return wrong(err, text, "the host is no name and no numeric address");
    *ret_address = address;
    return STATUS_OK;
}

void address_print(const struct address *address, char *ret_text, size_t text_bytes)
{
    if (address->kind == ADDRESS_UNIX)
        snprintf(ret_text, text_bytes, "unix:%s", address->host);
    else if (strchr(address->host, ':'))
        snprintf(ret_text, text_bytes, "[%s]:%u", address->host, address->port);
    else
        snprintf(ret_text, text_bytes, "%s:%u", address->host, address->port);
}

void address_print_socket(const struct socket_address *socket_address, char *ret_text,
                          size_t text_bytes)
{
    const struct sockaddr_storage *storage = &socket_address->storage;
    char host[NI_MAXHOST];
    char port[NI_MAXSERV];

    if (storage->ss_family == AF_UNIX) {
        const struct sockaddr_un *local = (const struct sockaddr_un *)storage;
        size_t path_bytes = socket_address->size - offsetof(struct sockaddr_un, sun_path);
        bool named = socket_address->size > offsetof(struct sockaddr_un, sun_path);
        snprintf(ret_text, text_bytes, "unix:%.*s",
                 named ? (int)strnlen(local->sun_path, path_bytes) : 0, local->sun_path);
    } else if (getnameinfo((const struct sockaddr *)storage, socket_address->size, host,
                           sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) == 0) {
        snprintf(ret_text, text_bytes, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
    } else {
        snprintf(ret_text, text_bytes, "an unknown address");
    }
}

static bool v4_is_loopback(const uint8_t bytes[4])
{
    return bytes[0] == 127;
}

bool address_is_loopback(const struct address *address)
{
    struct in_addr v4;
    struct in6_addr v6;

    if (address->kind == ADDRESS_UNIX || strcmp(address->host, "localhost") == 0)
        return true;
    if (inet_pton(AF_INET, address->host, &v4) == 1)
        return v4_is_loopback((const uint8_t *)&v4.s_addr);
    if (inet_pton(AF_INET6, address->host, &v6) != 1)
        return false;
    return IN6_IS_ADDR_LOOPBACK(&v6) ||
           (IN6_IS_ADDR_V4MAPPED(&v6) && v4_is_loopback(v6.s6_addr + 12));
}

/* 0, or a number of getaddrinfo. */
static int look_up(const struct address *address, int flags, struct socket_addresses *ret_addresses)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
    struct addrinfo *found;
    char port[8];

    snprintf(port, sizeof port, "%u", address->port);
    int code = getaddrinfo(address->host, port, &hints, &found);
    if (code)
        return code;
    ret_addresses->count = 0;
    for (struct addrinfo *item = found; item && ret_addresses->count < ADDRESS_RESOLVED_MAX;
         item = item->ai_next) {
        if (item->ai_addrlen > sizeof(struct sockaddr_storage))
            continue;
        struct socket_address *slot = &ret_addresses->items[ret_addresses->count++];
        memset(slot, 0, sizeof *slot);
        memcpy(&slot->storage, item->ai_addr, item->ai_addrlen);
        slot->size = item->ai_addrlen;
    }
    freeaddrinfo(found);
    return ret_addresses->count ? 0 : EAI_NONAME;
}

bool address_numeric(const struct address *address, struct socket_addresses *ret_addresses)
{
    if (address->kind == ADDRESS_HOST)
        return look_up(address, AI_NUMERICHOST, ret_addresses) == 0;
    struct socket_address *slot = &ret_addresses->items[0];
    struct sockaddr_un *local = (struct sockaddr_un *)&slot->storage;
    memset(slot, 0, sizeof *slot);
    local->sun_family = AF_UNIX;
    snprintf(local->sun_path, sizeof local->sun_path, "%s", address->host);
    slot->size = sizeof *local;
    ret_addresses->count = 1;
    return true;
}

enum status address_resolve(const struct address *address, struct socket_addresses *ret_addresses,
                            struct error *err)
{
    if (address_numeric(address, ret_addresses))
        return STATUS_OK;
    int code = look_up(address, AI_ADDRCONFIG, ret_addresses);
    if (code == EAI_NONAME || code == EAI_ADDRFAMILY)
        code = look_up(address, 0,
                       ret_addresses); /* a machine without any network has its own names still */
    if (code)
        return error_set(err, STATUS_UNAVAILABLE, "look up %s: %s", address->host,
                         gai_strerror(code));
    return STATUS_OK;
}

bool address_same_host(const struct socket_address *local, const struct socket_address *peer)
{
    if (local->storage.ss_family != peer->storage.ss_family)
        return false;
    if (local->storage.ss_family == AF_INET) {
        const struct sockaddr_in *a = (const struct sockaddr_in *)&local->storage;
        const struct sockaddr_in *b = (const struct sockaddr_in *)&peer->storage;
        return a->sin_addr.s_addr == b->sin_addr.s_addr ||
               v4_is_loopback((const uint8_t *)&b->sin_addr.s_addr);
    }
    if (local->storage.ss_family == AF_INET6) {
        const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)&local->storage;
        const struct sockaddr_in6 *b = (const struct sockaddr_in6 *)&peer->storage;
        return memcmp(&a->sin6_addr, &b->sin6_addr, sizeof a->sin6_addr) == 0;
    }
    return true;
}
