/*
 * The coordinator and the servers of one worker, for fuzz targets of the client: they hear what it
 * says and answer with the truth or, when they lie, with something near it that a tape chooses.
 *
 * The other ranks are thought to be ahead always, so a step is committed when this worker's part
 * is there.
 */
#ifndef PARAMD_TESTS_FUZZ_CLIENT_PEERS_H
#define PARAMD_TESTS_FUZZ_CLIENT_PEERS_H

#include "common/tensor/placement.h"
#include "common/wire/registry.h"
#include "tests/fuzz/tape.h"
#include "tests/lib/fake_link.h"

enum {
    PEERS_SERVERS_MAX = 3,
    PEERS_ASKED_MAX = 64,
    PEERS_BLANK = 0xEE, /* a byte that no value has that servers send */
};

/* A PULL that has not been answered in full. */
struct peers_asked {
    struct fake_link *link;
    const struct fake_heard *heard;
    size_t answered; /* blocks */
};

struct peers {
    struct tape tape;
    bool lying;
    bool lied; /* something else than the truth was said, or a truth was not said */
    struct fake_net net;
    uint32_t servers, rank;
    struct registry registry;
    struct placement placement;

    bool started, finished;
    bool assigned; /* version 0 of the assigned variable is there */
    uint64_t committed_plus_1;
    uint64_t ended;                     /* the last step with a STEP_END */
    uint64_t closed[PEERS_SERVERS_MAX]; /* the last step that is whole on a server */
    struct peers_asked asked[PEERS_ASKED_MAX];
    size_t asked_count;
};

/* Variables of the job, by id. */
enum {
    PEERS_DENSE,    /* float32 (6, 2), trainable */
    PEERS_ROWS,     /* float32 (50, 3), trainable */
    PEERS_INTEGERS, /* int64 (3) */
    PEERS_SCALAR,   /* float64 */
    PEERS_ASSIGNED, /* float32 (5), of rank 0 */
    PEERS_LARGE,    /* float32 (70000), trainable: two blocks; not in every job */
    PEERS_VARIABLES,
};

/* large: with PEERS_LARGE. */
void peers_init(struct peers *peers, struct tape tape, uint32_t servers, uint32_t rank, bool large);
/* After the engine is gone. */
void peers_release(struct peers *peers);

/* The coordinator's address, which a client is given. */
const char *peers_coordinator(void);
size_t peers_bytes(const struct peers *peers, uint32_t variable);
/* The byte of which a value after a step consists. */
uint8_t peers_value(uint64_t step);

/* Some live connection, or NULL. */
struct fake_link *peers_link(struct peers *peers, uint8_t choice);
/* Brings up what is being connected. */
void peers_up(struct peers *peers);
/* Answers the next frame of a link; false: there is none. */
bool peers_answer(struct peers *peers, struct fake_link *link);
/* Answers everything that was said and can be answered. */
void peers_serve(struct peers *peers);
/* The next commit, if it is due; liars commit anyway. */
void peers_commit(struct peers *peers);
/* Something that nobody asked for, on some link. */
void peers_gossip(struct peers *peers, struct fake_link *link);

/* Tears, holds up or resumes a connection. */
void peers_trouble(struct peers *peers, struct fake_link *link);
/* All connections work again. */
void peers_heal(struct peers *peers);

#endif
