/*
 * A link_io in virtual time: keeps what an engine sends, and says to the engine what a test or a
 * fuzz target makes its peers say.
 *
 * Every frame an engine sends is unpacked as its receiver would do it, and the bytes of its payload
 * must be the same when they are written as when they were queued; both are aborted on. Memory is
 * malloc's, so a test that makes alloc.h fail does not hit the net itself.
 */
#ifndef PARAMD_TESTS_LIB_FAKE_LINK_H
#define PARAMD_TESTS_LIB_FAKE_LINK_H

#include "common/wire/link.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fake_link;

/* A frame that the peer of a link has got. */
struct fake_heard {
    enum frame_type type;
    uint64_t request;
    uint64_t commit_plus_1;
    ProtobufCMessage *message; /* owned; NULL: no header */
    uint8_t *payload;          /* owned */
    size_t payload_bytes;
    struct fake_heard *next;
};

struct fake_net {
    struct link_io io;
    struct link_engine engine;
    struct fake_link *links; /* owned; newest first */
    uint64_t now_ns;
    uint64_t random; /* the next random number */
    uint64_t next_id;
    uint64_t wanted_ns;   /* when the engine wants to be called again */
    uint64_t connects;    /* connections asked for by the engine */
    bool refuse_connects; /* connect fails at once */
    uint64_t send_fails;  /* the n-th send from now and all later ones fail; 0: none */
};

struct fake_link {
    struct link link; /* first */
    struct fake_net *net;
    struct fake_link *next;
    char address[LIMIT_ADDRESS_BYTES + 1]; /* of a connection that the engine made */
    bool outgoing, bulk;
    bool open;
    bool closing; /* the engine has closed it */
    bool flush;
    bool closed;   /* on_closed was called: the engine knows it no more */
    bool stalled;  /* the peer reads nothing: frames stay queued */
    bool full;     /* takes no more frames from the engine */
    bool waiting;  /* the engine left the frame at hand in the socket */
    bool half;     /* stop between on_head and on_frame of the next frame with a payload */
    bool received; /* on_head took the frame at hand, on_frame has not been called */
    struct error why;
    struct fake_said *said, **said_end;       /* owned; not delivered yet */
    struct fake_queued *queued, **queued_end; /* owned; not written yet */
    size_t queued_count;
    struct fake_heard *heard, **heard_end; /* owned; written and not taken yet */
    struct fake_heard *taken;              /* owned; taken by the test */
    struct link_incoming incoming;
};

void fake_net_init(struct fake_net *net);
/* Breaks all links, so an engine gets its on_closed of each; then frees them. */
void fake_net_release(struct fake_net *net);

/* Somebody connects to the engine. */
struct fake_link *fake_link_accept(struct fake_net *net, const char *peer);

/* The newest connection that the engine has made; NULL: none. */
struct fake_link *fake_link_made(struct fake_net *net);
/* It is up, or could not be made. */
void fake_link_up(struct fake_link *link);
/* The peer goes away: what is queued is lost. */
void fake_link_break(struct fake_link *link);

/* The peer says something; it is delivered by fake_net_run, or lost on a closed link. message may
 * be NULL. */
void fake_link_say(struct fake_link *link, enum frame_type type, const void *message,
                   uint64_t request, uint64_t commit_plus_1);
void fake_link_say_payload(struct fake_link *link, enum frame_type type, const void *message,
                           uint64_t request, uint64_t commit_plus_1, const void *payload,
                           size_t bytes);
/* The same with a header of any bytes and a head of any numbers; lengths are filled in. */
void fake_link_say_raw(struct fake_link *link, const struct frame_head *head, const uint8_t *header,
                       size_t header_bytes, const void *payload, size_t payload_bytes);

/* Writes the first queued frames of a stalled link. */
void fake_link_write(struct fake_link *link, size_t count);
/* Goes on with a frame that fake_link.half has stopped. */
void fake_link_finish(struct fake_link *link);

/* Delivers and turns until nothing moves any more. */
void fake_net_run(struct fake_net *net);
/* Lets time pass, turning the engine whenever it wants. */
void fake_net_advance(struct fake_net *net, uint64_t ms);

/* The next frame that the peer has got, or NULL. The frame lives as long as its link. */
struct fake_heard *fake_link_take(struct fake_link *link);
/* The next one of a type; those before are dropped. NULL: there is none (all are dropped). */
struct fake_heard *fake_link_find(struct fake_link *link, enum frame_type type);
/* Frees all that was heard so far. */
void fake_link_forget(struct fake_link *link);

#endif
