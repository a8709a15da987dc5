/*
 * The seam between decisions and I/O: what a protocol engine (server, coordinator, client) asks of
 * connections, and what connections tell an engine. One implementation reads and writes sockets
 * (common/net), one is a simulated network in virtual time (tests/sim). Everything happens on one
 * thread.
 *
 * A frame comes in two steps. on_head gets preamble and header and says where the payload goes;
 * then the payload is read straight into these places, and on_frame follows. A connection that
 * breaks between the two calls on_closed only. At most one frame of a connection is between the
 * two.
 */
#ifndef PARAMD_COMMON_WIRE_LINK_H
#define PARAMD_COMMON_WIRE_LINK_H

#include "common/base/buf.h"
#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/wire/frame.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LINK_PEER_BYTES = 128 };

/* One connection, as an engine sees it. The driver embeds it; it lives until on_closed has
 * returned. */
struct link {
    void *user;                 /* the engine's; NULL at on_open of an accepted connection */
    uint64_t id;                /* never used twice by one driver */
    char peer[LINK_PEER_BYTES]; /* "127.0.0.1:7070" or "unix:/run/x", for messages */
    bool hash_payload;          /* set by the engine after hello: send payload hashes */
};

/* Bytes to send after the header. buf, where not NULL, gets a reference of its own until they are
 * written. */
struct link_piece {
    const void *data;
    size_t bytes;
    struct buf *buf;
};

struct link_frame {
    enum frame_type type;
    const ProtobufCMessage *message; /* NULL: no header; packed before send returns */
    uint64_t request;
    uint64_t commit_plus_1; /* last commit that this engine knows, plus 1 */
    /* copied before send returns; the bytes themselves are borrowed */
    const struct link_piece *pieces;
    size_t piece_count; /* at most LIMIT_FRAME_BLOCKS */
    /*
     * Called once, when the bytes are no longer needed: written is true when the kernel has them
     * all, false when the connection closed first. Never called from inside send. May be NULL.
     */
    void (*on_released)(void *owner, bool written);
    void *owner;
};

/* What an engine asks for. None of these calls back into the engine before it returns. */
struct link_io {
    void *context;

    /*
     * Queues a frame. RESOURCE_EXHAUSTED: out of memory, or too much is queued (then the engine
     * closes the link); UNAVAILABLE: the link is closing. After an error on_released is not called.
     */
    enum status (*send)(void *context, struct link *link, const struct link_frame *frame);

    /*
     * Ends a link; on_closed follows later, unless the engine called this from within on_closed.
     * What is queued is still written if flush is set (bounded by a second), dropped otherwise.
     * Frames that arrive are not delivered.
     */
    void (*close)(void *context, struct link *link, bool flush, const struct error *why);

    /* The frame that on_head left in the socket may be offered again (at the next turn). */
    void (*resume)(void *context, struct link *link);

    /*
     * Starts a connection to an address ("host:port", "[::1]:port", "unix:/path"). The link is
     * returned at once with its user pointer set; on_open follows when it is up, or on_closed when
     * it could not be made in timeout_ms. An error (bad address, no memory) means neither follows.
     * bulk: large frames (socket options).
     */
    enum status (*connect)(void *context, const char *address, bool bulk, uint64_t timeout_ms,
                           void *user, struct link **ret_link, struct error *err);

    /* Monotonic time. */
    uint64_t (*now_ns)(void *context);

    /* 64 random bits (process numbers, jitter). */
    uint64_t (*random)(void *context);
};

enum link_verdict {
    LINK_TAKE,   /* read the payload into ret_incoming's places, then on_frame */
    LINK_WAIT,   /* leave the frame where it is; offered again after resume() */
    LINK_REFUSE, /* close the link; err has been filled */
};

/* One stretch of payload. data NULL: to be read and thrown away. */
struct link_place {
    void *data;
    size_t bytes;
};

/* Where a payload goes: places whose bytes add up to head->payload_bytes. */
struct link_incoming {
    struct link_place places[LIMIT_FRAME_BLOCKS];
    size_t place_count;
};

/* What a driver calls. */
struct link_engine {
    void *context;

    void (*on_open)(void *context, struct link *link);

    /* header: head->header_bytes bytes, checked against their hash, valid during the call. */
    enum link_verdict (*on_head)(void *context, struct link *link, const struct frame_head *head,
                                 const uint8_t *header, struct link_incoming *ret_incoming,
                                 struct error *err);

    /* The payload (perhaps of 0 bytes) is in its places and its hash, if it has one, is right. */
    void (*on_frame)(void *context, struct link *link);

    /* The link is gone: the peer left, an error, a refusal, or the engine's own close. why is never
     * NULL. */
    void (*on_closed)(void *context, struct link *link, const struct error *why);

    /*
     * After every batch of the calls above and on each tick: the engine acts on what has changed.
     * Returns the time (now_ns) at which it wants to be called again at the latest; UINT64_MAX: no
     * need.
     */
    uint64_t (*on_turn)(void *context);
};

#endif
