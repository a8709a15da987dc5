/* A peer that says what a test tells it to, frame by frame, in a cluster of tests/sim. */
#ifndef PARAMD_TESTS_SIM_SIM_RAW_H
#define PARAMD_TESTS_SIM_SIM_RAW_H

#include "proto/cluster.pb-c.h"
#include "tests/sim/sim.h"

struct sim_raw;

/* One connection of it, with the last answer that came. */
struct raw_link {
    struct sim_raw *raw;
    struct link *link; /* NULL: closed */
    bool open;
    enum frame_type type; /* of the last frame that was no heartbeat and no MEMBERS */
    uint64_t request;
    uint64_t frames;
    /* FAILURE and END. */
    enum status status;
    uint32_t exit_code;
    char text[512];
    /* Others. */
    uint64_t number; /* CREATE_REPLY: variable; HELLO_REPLY: incarnation; SNAPSHOT_REPLY: hold */
    bool finished;
};

struct sim_raw *raw_new(struct sim *sim);
void raw_gone(struct sim_process *process);

/* Waits until it is open; fails the scenario if it is refused. */
struct raw_link *raw_connect(struct sim_raw *raw, const char *address);
void raw_send(struct raw_link *link, enum frame_type type, const ProtobufCMessage *message,
              uint64_t request);
void raw_send_bytes(struct raw_link *link, enum frame_type type, const ProtobufCMessage *message,
                    uint64_t request, const void *data, size_t bytes);
/* The frame that answers; link->type is FRAME_INVALID if the link closed, or nothing came in two
 * seconds. */
enum frame_type raw_ask(struct raw_link *link, enum frame_type type,
                        const ProtobufCMessage *message);
/* Waits for one more frame. */
enum frame_type raw_wait(struct raw_link *link);

/* A hello that fits, to be changed. connection counts up. */
Pmd__Hello raw_hello(struct sim_raw *raw, Pmd__Role role, Pmd__Channel channel);
uint64_t raw_process(const struct sim_raw *raw);

#endif
