#include "tests/sim/sim_raw.h"

#include "common/wire/message.h"
#include "proto/query.pb-c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINKS_MAX = 128, WAIT_S = 2 };

struct sim_raw {
    struct sim_process *process;
    struct raw_link links[LINKS_MAX];
    size_t link_count;
    uint64_t connection, number, next_request;
    struct frame_head head;
    uint8_t header[LIMIT_HEADER_BYTES];
    uint8_t payload[LIMIT_PAYLOAD_BYTES];
    struct arena arena;
    const struct raw_link *waiting; /* until a frame comes on it, or it closes */
    uint64_t waiting_frames;
    uint64_t wanted; /* request whose answer is waited for; 0: any frame */
};

static struct sim_raw *waiting_raw; /* sim_run_until asks without a context */

static void on_open(void *context, struct link *link)
{
    (void)context;
    ((struct raw_link *)link->user)->open = true;
}

static enum link_verdict on_head(void *context, struct link *link, const struct frame_head *head,
                                 const uint8_t *header, struct link_incoming *ret_incoming,
                                 struct error *err)
{
    struct sim_raw *raw = context;

    (void)link;
    (void)err;
    raw->head = *head;
    memcpy(raw->header, header, head->header_bytes);
    ret_incoming->place_count = head->payload_bytes > 0;
    ret_incoming->places[0] = (struct link_place){raw->payload, head->payload_bytes};
    return LINK_TAKE;
}

static void note(struct raw_link *link, const void *message)
{
    if (link->type == FRAME_FAILURE) {
        const Pmd__Failure *failure = message;
        link->status = (enum status)failure->status;
        snprintf(link->text, sizeof link->text, "%s", failure->message);
    } else if (link->type == FRAME_END) {
        const Pmd__End *end = message;
        link->status = (enum status)end->status;
        link->exit_code = end->exit_code;
        snprintf(link->text, sizeof link->text, "%s", end->message);
    } else if (link->type == FRAME_CREATE_REPLY) {
        link->number = ((const Pmd__CreateReply *)message)->variable;
    } else if (link->type == FRAME_SNAPSHOT_REPLY) {
        link->number = ((const Pmd__SnapshotReply *)message)->hold;
    } else if (link->type == FRAME_HELLO_REPLY) {
        link->number = ((const Pmd__HelloReply *)message)->incarnation;
        link->finished = ((const Pmd__HelloReply *)message)->finished;
    }
}

static void on_frame(void *context, struct link *link)
{
    struct sim_raw *raw = context;
    struct raw_link *mine = link->user;
    const void *message;
    struct error err;

    if (raw->head.type == FRAME_HEARTBEAT || raw->head.type == FRAME_MEMBERS)
        return;
    arena_clear(&raw->arena);
    if (message_unpack(raw->head.type, raw->header, raw->head.header_bytes, &raw->arena, &message,
                       &err))
        sim_fail(raw->process->sim, "codec", "%s", err.message);
    if (raw->wanted && raw->head.request != raw->wanted && raw->head.type != FRAME_END &&
        !(raw->head.type == FRAME_FAILURE && raw->head.request == 0))
        return;
    mine->type = raw->head.type;
    mine->request = raw->head.request;
    note(mine, message);
    mine->frames++;
}

static void on_closed(void *context, struct link *link, const struct error *why)
{
    struct raw_link *mine = link->user;

    (void)context;
    (void)why;
    mine->link = NULL;
}

static uint64_t on_turn(void *context)
{
    (void)context;
    return SIM_NEVER;
}

struct sim_raw *raw_new(struct sim *sim)
{
    struct sim_process *process = sim_process_new(sim, SIM_READER, 0);
    struct sim_raw *raw = calloc(1, sizeof *raw);

    if (!raw || arena_init(&raw->arena, LIMIT_MESSAGE_ARENA_BYTES))
        abort();
    raw->process = process;
    raw->number = rng_next(&sim->rng) | 1;
    raw->next_request = 2;
    process->raw = raw;
    process->engine = (struct link_engine){.context = raw,
                                           .on_open = on_open,
                                           .on_head = on_head,
                                           .on_frame = on_frame,
                                           .on_closed = on_closed,
                                           .on_turn = on_turn};
    return raw;
}

void raw_gone(struct sim_process *process)
{
    if (!process->raw)
        return;
    arena_release(&process->raw->arena);
    free(process->raw);
    process->raw = NULL;
}

static bool came(struct sim *sim)
{
    const struct raw_link *link = waiting_raw->waiting;

    (void)sim;
    return !link->link || link->frames > waiting_raw->waiting_frames;
}

static bool opened(struct sim *sim)
{
    const struct raw_link *link = waiting_raw->waiting;

    (void)sim;
    return !link->link || link->open;
}

struct raw_link *raw_connect(struct sim_raw *raw, const char *address)
{
    struct sim *sim = raw->process->sim;
    struct raw_link *link = &raw->links[raw->link_count++];
    struct link_io *io = &raw->process->io;
    struct error err;

    if (raw->link_count == LINKS_MAX)
        abort();
    *link = (struct raw_link){.raw = raw};
    if (io->connect(io->context, address, false, 3000, link, &link->link, &err))
        abort();
    raw->waiting = link;
    waiting_raw = raw;
    sim_run_until(sim, sim->now_ns + WAIT_S * SIM_S, opened);
    if (!link->open)
        sim_fail(sim, "scenario", "%s cannot be connected to", address);
    return link;
}

void raw_send_bytes(struct raw_link *link, enum frame_type type, const ProtobufCMessage *message,
                    uint64_t request, const void *data, size_t bytes)
{
    struct link_io *io = &link->raw->process->io;
    struct link_piece piece = {.data = data, .bytes = bytes};
    struct link_frame frame = {.type = type,
                               .message = message,
                               .request = request,
                               .pieces = &piece,
                               .piece_count = bytes > 0};

    if (link->link)
        status_ignore(io->send(io->context, link->link, &frame), "then no answer comes");
}

void raw_send(struct raw_link *link, enum frame_type type, const ProtobufCMessage *message,
              uint64_t request)
{
    raw_send_bytes(link, type, message, request, NULL, 0);
}

enum frame_type raw_wait(struct raw_link *link)
{
    struct sim *sim = link->raw->process->sim;

    link->type = FRAME_INVALID;
    link->raw->waiting = link;
    link->raw->waiting_frames = link->frames;
    waiting_raw = link->raw;
    sim_run_until(sim, sim->now_ns + WAIT_S * SIM_S, came);
    return link->type;
}

enum frame_type raw_ask(struct raw_link *link, enum frame_type type,
                        const ProtobufCMessage *message)
{
    link->raw->wanted = type == FRAME_HELLO ? 1 : link->raw->next_request++;
    raw_send(link, type, message, link->raw->wanted);
    enum frame_type answer = raw_wait(link);
    link->raw->wanted = 0;
    return answer;
}

uint64_t raw_process(const struct sim_raw *raw)
{
    return raw->number;
}

Pmd__Hello raw_hello(struct sim_raw *raw, Pmd__Role role, Pmd__Channel channel)
{
    Pmd__Hello hello = PMD__HELLO__INIT;

    hello.protocol_major = PROTOCOL_MAJOR;
    hello.protocol_minor = PROTOCOL_MINOR;
    hello.job = "sim";
    hello.token.data = (uint8_t *)"secret";
    hello.token.len = 6;
    hello.role = role;
    hello.channel = channel;
    hello.process = raw->number;
    hello.connection = ++raw->connection;
    hello.program = "raw";
    return hello;
}
