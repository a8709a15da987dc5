/* Bytes of one connection -> on_head, payload into its places, on_frame. Knows a file descriptor,
 * but no event loop. */
#ifndef PARAMD_COMMON_NET_READER_H
#define PARAMD_COMMON_NET_READER_H

#include "common/base/error.h"
#include "common/net/calls.h"
#include "common/wire/link.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    READER_SCRATCH_BYTES = 64 * 1024, /* where payload goes that nobody wants */
    READER_TURN_FRAMES = 64,          /* of one connection, before others have their turn */
    READER_TURN_BYTES = 1024 * 1024,
};

struct hash_xxh3_stream;

/* What the readers of one driver share; each uses it only during a call. */
struct reader_shared {
    struct link_incoming incoming;
    uint8_t scratch[READER_SCRATCH_BYTES];
};

enum reader_phase {
    READER_PREAMBLE, /* waits for the next 64 bytes */
    READER_HEADER,   /* head is known; waits for the header */
    READER_WAITING,  /* on_head said LINK_WAIT; the header is still in the buffer */
    READER_PAYLOAD,  /* fills the places */
};

struct reader {
    const struct net_calls *calls;    /* borrowed */
    const struct link_engine *engine; /* borrowed */
    struct link *link;                /* borrowed */
    struct reader_shared *shared;     /* borrowed */
    bool stranger;                    /* has not said hello: only a small HELLO is let in */
    bool stopped; /* set by the owner, also from within a callback: deliver nothing more */
    bool sniffed; /* the first bytes were ours */
    enum reader_phase phase;
    struct frame_head head; /* from READER_HEADER on */
    uint64_t frames;        /* delivered so far */
    uint64_t bytes;         /* read so far */

    uint8_t
        *buffer; /* owned; small frames, and what comes behind a payload; [begin, end) is unread */
    size_t capacity;
    size_t begin;
    size_t end;

    struct link_place *places; /* owned; those of the present payload */
    size_t place_capacity;
    size_t place_count;
    size_t place;      /* the one being filled */
    size_t place_used; /* bytes of it that are there */
    size_t payload_left;
    bool discards; /* some places are nowhere: the hash is computed as the bytes come */
    struct hash_xxh3_stream *hash; /* owned; NULL until the first such payload with a hash */
};

/* RESOURCE_EXHAUSTED: out of memory. */
NODISCARD enum status reader_init(struct reader *reader, const struct net_calls *calls,
                                  const struct link_engine *engine, struct link *link,
                                  struct reader_shared *shared);
void reader_release(struct reader *reader);

enum reader_result {
    READER_BLOCKED, /* nothing more to read now */
    READER_MORE,    /* its turn is over; call again without waiting for the socket */
    READER_HELD,    /* on_head said LINK_WAIT; call reader_resume, then reader_run */
    READER_STOPPED, /* stopped is set */
    /* err says why: the peer left, its bytes are wrong, the engine refused them, no memory */
    READER_FAILED,
};

/*
 * Reads and delivers until one of the above. The engine's callbacks run from here; one of them may
 * set stopped, and nothing of the engine is called after that.
 */
enum reader_result reader_run(struct reader *reader, int fd, struct error *err);

/* Offers the frame of READER_HELD again. */
void reader_resume(struct reader *reader);

#endif
