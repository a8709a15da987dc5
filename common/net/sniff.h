/* What the first bytes of a connection say about the protocol behind them. */
#ifndef PARAMD_COMMON_NET_SNIFF_H
#define PARAMD_COMMON_NET_SNIFF_H

#include <stddef.h>
#include <stdint.h>

enum sniff {
    SNIFF_MORE,  /* too few bytes to tell */
    SNIFF_RAW,   /* our frames */
    SNIFF_HTTP2, /* the preface of HTTP/2: gRPC */
    SNIFF_HTTP1, /* a request or an answer of HTTP/1 */
    SNIFF_TLS,   /* a TLS handshake record */
    SNIFF_UNKNOWN,
};

enum sniff sniff_protocol(const uint8_t *bytes, size_t size);

/* "HTTP/2", for messages. */
const char *sniff_name(enum sniff protocol);

#endif
