#include "common/net/sniff.h"

#include <stdbool.h>
#include <string.h>

/*
 * One port for everything: each protocol begins with bytes that no other has. Only SNIFF_RAW is
 * answered so far; a protocol that is added gets its row here and its branch where reader.c looks
 * at the first bytes.
 */
struct opening {
    enum sniff protocol;
    const char *bytes;
    size_t size;
};

static const struct opening openings[] = {
    {SNIFF_RAW, "PMD1", 4},     {SNIFF_HTTP2, "PRI * HTTP/2", 12}, {SNIFF_HTTP1, "GET ", 4},
    {SNIFF_HTTP1, "HEAD ", 5},  {SNIFF_HTTP1, "POST ", 5},         {SNIFF_HTTP1, "HTTP/1", 6},
    {SNIFF_TLS, "\x16\x03", 2},
};

enum sniff sniff_protocol(const uint8_t *bytes, size_t size)
{
    bool undecided = false;

    for (size_t i = 0; i < sizeof openings / sizeof openings[0]; i++) {
        const struct opening *opening = &openings[i];
        size_t common = size < opening->size ? size : opening->size;
        if (memcmp(bytes, opening->bytes, common) != 0)
            continue;
        if (common == opening->size)
            return opening->protocol;
        undecided = true;
    }
    return undecided ? SNIFF_MORE : SNIFF_UNKNOWN;
}

const char *sniff_name(enum sniff protocol)
{
    switch (protocol) {
    case SNIFF_RAW:
        return "paramd's frames";
    case SNIFF_HTTP2:
        return "HTTP/2";
    case SNIFF_HTTP1:
        return "HTTP/1";
    case SNIFF_TLS:
        return "TLS";
    case SNIFF_MORE:
    case SNIFF_UNKNOWN:
        break;
    }
    return "an unknown protocol";
}
