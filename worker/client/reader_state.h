/* The state of a reader, shared by the reader*.c files and nobody else. */
#ifndef PARAMD_WORKER_CLIENT_READER_STATE_H
#define PARAMD_WORKER_CLIENT_READER_STATE_H

#include "common/base/arena.h"
#include "common/base/token.h"
#include "common/net/driver.h"
#include "common/tensor/placement.h"
#include "common/wire/message.h"
#include "proto/cluster.pb-c.h"
#include "proto/data.pb-c.h"
#include "worker/client/reader.h"

enum {
    /* snapshots that were gone, connections that broke, during one read */
    READER_TRIES = 8,
    READER_VALUE_BLOCKS = 32, /* of one READ: 8 MiB of float32 */
    READER_DIGEST_BLOCKS = 256,
};

#define READER_HEARTBEAT_NS ((uint64_t)500 * 1000000)

struct reader_link {
    struct reader *reader;
    struct link *link; /* NULL when down */
    bool control;
    uint32_t server;
    bool up; /* hello was answered */
    char address[LIMIT_ADDRESS_BYTES + 1];
    struct error why; /* it is down, or was refused */
    bool refused;

    struct frame_head head;
    uint8_t *header; /* owned */
    size_t header_capacity;

    /* Bulk: the read under way. */
    bool receiving; /* into the caller's memory */
    uint32_t received[LIMIT_FRAME_BLOCKS];
    uint32_t received_count;
    uint32_t next_block;  /* from which on nothing was asked yet */
    uint32_t outstanding; /* blocks asked for and not here */
};

/* One variable or slot being read. */
struct reader_job {
    bool active;
    uint64_t first_request;
    uint32_t variable, slot;
    bool digest;
    uint64_t first, count; /* elements */
    uint32_t block_first, block_end;
    uint8_t *into;
    bool *seen; /* owned; per block from block_first on */
    uint32_t missing;
    struct error failure;
};

struct reader {
    struct net_driver *driver; /* owned; NULL: the loop is somebody else's */
    struct link_io io;
    /* Makes one turn of the loop, after waiting no longer than this. */
    void (*run_once)(void *loop, uint64_t max_wait_ns);
    void *loop;
    char job_name[LIMIT_JOB_NAME_BYTES + 1];
    char program[LIMIT_PROGRAM_BYTES + 1];
    struct token token;
    uint64_t connect_ns, timeout_ns;
    uint64_t process, connection;
    struct error end; /* the job is over */

    uint32_t servers;
    bool addresses_known;
    struct reader_link control;
    struct reader_link *bulk; /* owned; one a server */
    uint64_t said_ns;

    struct registry registry;
    bool placed; /* the registry is closed: blocks have their places */
    struct placement placement;

    /* The request on the control link. */
    uint64_t next_request;
    uint64_t request;         /* 0: none waits */
    enum frame_type expected; /* what answers it, if not FAILURE */
    bool answered;
    struct error failure; /* of the answer */
    bool list_complete;
    uint64_t from_step;
    struct arena arena;        /* of the message being looked at */
    struct arena status_arena; /* of the last STATUS_REPLY */
    const Pmd__StatusReply *status;

    uint64_t hold; /* 0: no snapshot */
    uint64_t step;
    bool hold_slots;
    uint64_t gone; /* the last snapshot that a server no longer had */

    struct reader_job job;
};

/* ---- reader.c: life ---- */

/* Without a loop yet. */
NODISCARD enum status reader_new(const struct reader_options *options, struct reader **ret_reader,
                                 struct error *err);
/* Connections, time and turns come from here: sockets, or a test's virtual time. */
void reader_set_loop(struct reader *reader, const struct link_io *io,
                     void (*run_once)(void *loop, uint64_t max_wait_ns), void *loop);

/* ---- reader_link.c ---- */

uint64_t reader_now_ns(const struct reader *reader);
struct link_engine reader_engine(struct reader *reader);

/* Turns the loop until is_done; false at the deadline. */
bool reader_wait(struct reader *reader, bool (*is_done)(const struct reader *reader),
                 uint64_t deadline_ns);
uint64_t reader_deadline(const struct reader *reader);
void reader_drop(struct reader_link *link, const struct error *why);
/* A link that is up, made if there is none. */
NODISCARD enum status reader_link_up(struct reader_link *link, struct error *err);
bool reader_send(struct reader_link *link, enum frame_type type, const ProtobufCMessage *message,
                 uint64_t request);

/* ---- reader.c: requests ---- */

/* Registry and placement of a job that has begun. */
NODISCARD enum status reader_place(struct reader *reader, struct error *err);
/* Takes a snapshot if there is none that will do. */
NODISCARD enum status reader_hold(struct reader *reader, bool slots, struct error *err);
/* May it be tried again: the snapshot was gone, a connection broke? */
bool reader_try_again(struct reader *reader, enum status status, unsigned *tries);

/* ---- reader_read.c ---- */

enum link_verdict reader_read_head(struct reader_link *link, const Pmd__ReadReply *reply,
                                   struct link_incoming *ret_incoming, struct error *err);
void reader_read_frame(struct reader_link *link);
void reader_read_failed(struct reader_link *link, const struct error *why);
/* Reads from the present snapshot. NOT_FOUND: it is gone. digest: 32 bytes a block. */
NODISCARD enum status reader_read_held(struct reader *reader, uint32_t variable, uint32_t slot,
                                       uint64_t first, uint64_t count, bool digest, void *into,
                                       struct error *err);

#endif
