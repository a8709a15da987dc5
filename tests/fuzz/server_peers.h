/* What the peers of a server say in fuzz_server: messages built properly, of numbers that mostly
 * fit the state of the job. */
#ifndef PARAMD_TESTS_FUZZ_SERVER_PEERS_H
#define PARAMD_TESTS_FUZZ_SERVER_PEERS_H

#include "server/server.h"

#include "tests/lib/fake_link.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PEER_LINKS = 10 };

struct server_run {
    const uint8_t *at, *end; /* the tape */
    struct fake_net net;
    struct server server;
    bool coordinator;
    uint32_t workers;
    struct fake_link *links[PEER_LINKS];
    uint64_t connection, request, elements;
    int connects;
};

/* The next byte of the tape; 0 after its end. */
uint8_t run_next(struct server_run *run);
/* Mostly what fits, else something else. */
uint64_t run_number(struct server_run *run, uint64_t fitting);
/* The link of a place, if there is one that is up. */
struct fake_link *run_link(struct server_run *run, uint8_t place);

/* Places 0 to 3: control and bulk of ranks 0 and 1; 4 and 5 readers, 6 and 7 servers, 8 and 9
 * anybody. */
void peer_connects(struct server_run *run, uint8_t place);

void peer_says_control(struct server_run *run, struct fake_link *link, uint8_t place);
void peer_says_data(struct server_run *run, struct fake_link *link, uint8_t place);
void peer_says_plain(struct server_run *run, struct fake_link *link);
/* A header of bytes from the tape. */
void peer_says_raw(struct server_run *run, struct fake_link *link);

/* What the coordinator says to a server that is not the first. */
void coordinator_says(struct server_run *run);

/* A rank does its part of a step as it should: so the tape gets far with few bytes. */
void peer_does_step(struct server_run *run, uint32_t rank, bool rows, bool pulls);

#endif
