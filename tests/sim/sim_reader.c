/*
 * A reader of the live model, in raw frames: a snapshot from the coordinator, then values, slots or
 * digests of all blocks from all servers, each compared with what that one step must be. Between
 * reads it may change the learning rate. When a connection breaks it begins anew.
 */
#include "tests/sim/sim.h"

#include "common/base/hash.h"
#include "common/wire/message.h"
#include "proto/query.pb-c.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum reader_phase {
    READER_DOWN,
    READER_HELLO,
    READER_IDLE,
    READER_SNAPSHOT,
    READER_LIST,
    READER_CONNECT,
    READER_READ,
    READER_SET
};

static const char *const phase_names[] = {
    "down",    "hello",  "idle", "waiting for a snapshot", "listing", "connecting to the servers",
    "reading", "setting"};

struct expected { /* an unanswered READ */
    uint64_t request;
    uint32_t slot;
    uint32_t missing; /* blocks */
};

struct sim_reader {
    struct sim_process *process;
    enum reader_phase phase;
    struct link *control, *bulk[SIM_SERVERS_MAX];
    bool up[SIM_SERVERS_MAX];
    char addresses[SIM_SERVERS_MAX][64];
    bool addresses_known;
    struct registry registry;
    bool registry_complete;
    struct placement placement;
    uint64_t next_request, asked;
    uint64_t hold, step, gone, commit_plus_1;
    bool slots, digests;
    struct expected expected[SIM_SERVERS_MAX * (1 + SIM_SLOTS)];
    size_t expected_count;
    uint64_t wait_until_ns, beat_ns;
    bool last; /* this read is the one after the end */
    bool done;
    double learning_rate;
    struct arena arena;
    /* The frame being received. */
    struct frame_head head;
    uint8_t *header, *payload; /* owned */
};

static struct sim *sim_of(const struct sim_reader *reader)
{
    return reader->process->sim;
}

/* ---- sending ---- */

static void send(struct sim_reader *reader, struct link *link, enum frame_type type,
                 const ProtobufCMessage *message, uint64_t request)
{
    struct link_frame frame = {.type = type,
                               .message = message,
                               .request = request,
                               .commit_plus_1 = reader->commit_plus_1};
    struct link_io *io = &reader->process->io;

    if (io->send(io->context, link, &frame))
        io->close(io->context, link, false, NULL); /* and everything begins anew */
}

static void reset(struct sim_reader *reader)
{
    struct link_io *io = &reader->process->io;

    if (reader->control)
        io->close(io->context, reader->control, false, NULL);
    for (uint32_t s = 0; s < SIM_SERVERS_MAX; s++) {
        if (reader->bulk[s])
            io->close(io->context, reader->bulk[s], false, NULL);
        reader->bulk[s] = NULL;
        reader->up[s] = false;
    }
    reader->control = NULL;
    reader->phase = READER_DOWN;
    reader->addresses_known = reader->registry_complete = false;
    registry_release(&reader->registry);
    placement_release(&reader->placement);
    reader->registry = (struct registry){0};
    reader->placement = (struct placement){0};
    reader->expected_count = 0;
    reader->wait_until_ns = sim_of(reader)->now_ns + sim_below(sim_of(reader), 30 * SIM_MS);
}

static struct link *connect_to(struct sim_reader *reader, const char *address, bool bulk)
{
    struct link_io *io = &reader->process->io;
    struct link *link = NULL;
    struct error err;

    if (io->connect(io->context, address, bulk, 3000, reader, &link, &err))
        abort();
    return link;
}

static void hello(struct sim_reader *reader, struct link *link)
{
    Pmd__Hello message = PMD__HELLO__INIT;

    message.protocol_major = PROTOCOL_MAJOR;
    message.protocol_minor = PROTOCOL_MINOR;
    message.features = FEATURE_PAYLOAD_HASH;
    message.job = "";
    message.token.data = (uint8_t *)"secret";
    message.token.len = 6;
    message.role = PMD__ROLE__ROLE_READER;
    message.channel = link == reader->control ? PMD__CHANNEL__CHANNEL_CONTROL
                                              : PMD__CHANNEL__CHANNEL_BULK;
    message.program = reader->process->name;
    send(reader, link, FRAME_HELLO, &message.base, 1);
}

static void ask_snapshot(struct sim_reader *reader)
{
    struct sim *sim = sim_of(reader);
    Pmd__Snapshot message = PMD__SNAPSHOT__INIT;

    reader->last = sim->final_read;
    reader->slots = reader->last || sim_chance(sim, 500);
    message.slots = reader->slots;
    reader->digests = sim_chance(sim, 200);
    message.gone = reader->gone;
    reader->phase = READER_SNAPSHOT;
    reader->asked = ++reader->next_request;
    send(reader, reader->control, FRAME_SNAPSHOT, &message.base, reader->asked);
}

static void ask_set(struct sim_reader *reader)
{
    struct sim *sim = sim_of(reader);
    Pmd__Set message = PMD__SET__INIT;

    message.key = "learning-rate";
    message.value = reader->learning_rate = 0.001 + (double)sim_below(sim, 1000000) * 1e-7;
    reader->phase = READER_SET;
    reader->asked = ++reader->next_request;
    send(reader, reader->control, FRAME_SET, &message.base, reader->asked);
}

static void ask_simple(struct sim_reader *reader, enum frame_type type)
{
    Pmd__List list = PMD__LIST__INIT;
    Pmd__Status status = PMD__STATUS__INIT;
    Pmd__Release release = PMD__RELEASE__INIT;

    reader->asked = ++reader->next_request;
    release.hold = reader->hold;
    const ProtobufCMessage *message = type == FRAME_LIST     ? &list.base
                                      : type == FRAME_STATUS ? &status.base
                                                             : &release.base;
    send(reader, reader->control, type, message, reader->asked);
}

/* All blocks of a server that have this slot, in one request. */
static void ask_blocks(struct sim_reader *reader, uint32_t server, uint32_t slot)
{
    Pmd__Read message = PMD__READ__INIT;
    uint32_t variables[LIMIT_FRAME_BLOCKS], blocks[LIMIT_FRAME_BLOCKS];
    struct placement_block at;
    size_t count = 0;

    for (bool more = placement_first(&reader->placement, server, &at); more;
         more = placement_next(&reader->placement, server, &at)) {
        uint32_t v = plan_variable(reader->registry.variables[at.variable].name);
        if (slot > oracle_slot_count(sim_of(reader), v))
            continue;
        variables[count] = at.variable;
        blocks[count++] = at.block;
    }
    if (count == 0)
        return;
    message.hold = reader->hold;
    message.slot = slot;
    message.digest = reader->digests;
    message.n_variable = message.n_block = count;
    message.variable = variables;
    message.block = blocks;
    reader->expected[reader->expected_count++] = (struct expected){
        .request = ++reader->next_request, .slot = slot, .missing = (uint32_t)count};
    send(reader, reader->bulk[server], FRAME_READ, &message.base, reader->next_request);
}

static void ask_all(struct sim_reader *reader)
{
    uint32_t servers = sim_of(reader)->plan.servers;
    uint32_t first = (uint32_t)sim_below(sim_of(reader), servers);

    reader->phase = READER_READ;
    for (uint32_t i = 0; i < servers; i++) {
        for (uint32_t slot = 0; slot <= (reader->slots ? SIM_SLOTS : 0); slot++)
            ask_blocks(reader, (first + i) % servers, slot);
    }
}

static void connect_all(struct sim_reader *reader)
{
    for (uint32_t s = 0; s < sim_of(reader)->plan.servers; s++) {
        if (!reader->bulk[s])
            reader->bulk[s] = connect_to(reader, reader->addresses[s], true);
        if (!reader->up[s])
            reader->phase = READER_CONNECT;
    }
}

/* Everything that a read needs is there, or is asked for. */
static void go_on(struct sim_reader *reader)
{
    if (!reader->registry_complete) {
        reader->phase = READER_LIST;
        ask_simple(reader, FRAME_LIST);
        return;
    }
    reader->phase = READER_READ;
    connect_all(reader);
    if (reader->phase == READER_READ)
        ask_all(reader);
}

/* ---- answers ---- */

static void place(struct sim_reader *reader)
{
    struct placement_variable placed[SIM_VARIABLES_MAX];
    struct error err;

    if (reader->registry.variable_count != sim_of(reader)->plan.variable_count)
        sim_fail(sim_of(reader), "registry", "a reader sees %zu variables",
                 reader->registry.variable_count);
    for (size_t i = 0; i < reader->registry.variable_count; i++)
        placed[i] = (struct placement_variable){
            .id = (uint32_t)i,
            .dtype = reader->registry.variables[i].dtype,
            .element_count = reader->registry.variables[i].elements};
    if (placement_init(&reader->placement, placed, reader->registry.variable_count,
                       sim_of(reader)->plan.servers, &err))
        abort();
}

static void on_registry(struct sim_reader *reader, const Pmd__Registry *page)
{
    struct error err;

    if (reader->phase != READER_LIST || reader->registry_complete)
        return;
    if (registry_page_add(&reader->registry, page, &reader->registry_complete, &err))
        sim_fail(sim_of(reader), "registry", "%s", err.message);
    if (!reader->registry_complete)
        return;
    place(reader);
    go_on(reader);
}

static void on_snapshot(struct sim_reader *reader, const Pmd__SnapshotReply *reply)
{
    struct sim *sim = sim_of(reader);

    if (reader->phase != READER_SNAPSHOT || reader->head.request != reader->asked)
        return;
    if (reader->gone && reply->hold <= reader->gone)
        sim_fail(sim, "hold-number", "hold %llu is gone, and hold %llu is named after it",
                 (unsigned long long)reader->gone, (unsigned long long)reply->hold);
    if (reply->step + 1 > sim_coordinator(sim)->committed_plus_1)
        sim_fail(sim, "snapshot-committed", "a snapshot of step %llu, which is not committed",
                 (unsigned long long)reply->step);
    reader->hold = reply->hold;
    reader->step = reply->step;
    go_on(reader);
}

static void on_set(struct sim_reader *reader, const Pmd__SetReply *reply)
{
    struct sim *sim = sim_of(reader);

    if (reader->phase != READER_SET || reader->head.request != reader->asked)
        return;
    sim->totals.rate_changes++;
    if (reply->from_step < sizeof sim->oracle.changes / sizeof sim->oracle.changes[0] &&
        isnan(sim->oracle.changes[reply->from_step]))
        sim_fail(sim, "learning-rate", "a change is said to hold from step %llu, and does not",
                 (unsigned long long)reply->from_step);
    reader->phase = READER_IDLE;
    /* Several in a row, so that they meet before they hold. */
    reader->wait_until_ns = sim->now_ns +
                            sim_below(sim, sim_chance(sim, 500) ? 5 * SIM_MS : 200 * SIM_MS);
}

static void finished(struct sim_reader *reader)
{
    struct sim *sim = sim_of(reader);

    sim->totals.snapshots++;
    sim->totals.slot_reads += reader->slots;
    sim->totals.digests += reader->digests;
    sim_trace(sim, "%s has read snapshot %llu of step %llu", reader->process->name,
              (unsigned long long)reader->hold, (unsigned long long)reader->step);
    reader->gone = 0;
    reader->phase = READER_IDLE;
    /* For a second readers share a hold that is not of the last step. */
    reader->done = reader->last && reader->step == sim->plan.steps;
    reader->wait_until_ns = sim->now_ns + sim_below(sim, sim_chance(sim, 20)    ? 7 * SIM_S
                                                         : sim_chance(sim, 300) ? 2 * SIM_MS
                                                                                : 150 * SIM_MS);
    if (sim_chance(sim, 250))
        ask_simple(reader, sim_chance(sim, 500) ? FRAME_RELEASE : FRAME_STATUS);
}

static void check_block(struct sim_reader *reader, const Pmd__ReadReply *reply, uint32_t v,
                        uint32_t variable, uint32_t block, const uint8_t *bytes)
{
    struct sim *sim = sim_of(reader);
    size_t first = placement_first_element(&reader->placement, variable, block);
    size_t count = placement_element_count(&reader->placement, variable, block);
    const struct sim_version *version = oracle_version(sim, reader->step);
    const struct sim_variable *spec = &sim->plan.variables[v];
    uint8_t digest[HASH_SHA256_BYTES];

    if (!reader->digests) {
        oracle_compare(sim, "snapshot-bytes", reader->process->name, reader->step, v, reply->slot,
                       first, count, bytes);
        return;
    }
    const uint8_t *right = (reply->slot ? version->slots[reply->slot - 1] : version->values) +
                           spec->offset;
    hash_sha256(right + first * dtype_bytes(spec->dtype), count * dtype_bytes(spec->dtype), digest);
    if (memcmp(digest, bytes, sizeof digest) != 0)
        sim_fail(sim, "snapshot-digest", "step %llu: the digest of a block of '%s'%s is wrong",
                 (unsigned long long)reader->step, spec->name, reply->slot ? "'s slot" : "");
}

static void on_read_reply(struct sim_reader *reader, const Pmd__ReadReply *reply)
{
    struct sim *sim = sim_of(reader);
    struct expected *expected = NULL;
    const uint8_t *bytes = reader->payload;

    for (size_t i = 0; i < reader->expected_count; i++) {
        if (reader->expected[i].request == reader->head.request)
            expected = &reader->expected[i];
    }
    if (!expected)
        return; /* of a read that was given up */
    if (reply->step != reader->step || reply->hold != reader->hold || reply->slot != expected->slot)
        sim_fail(sim, "snapshot-mixed",
                 "a read of hold %llu, step %llu is answered with hold %llu, step %llu",
                 (unsigned long long)reader->hold, (unsigned long long)reader->step,
                 (unsigned long long)reply->hold, (unsigned long long)reply->step);
    for (size_t i = 0; i < reply->n_block; i++) {
        uint32_t v = plan_variable(reader->registry.variables[reply->variable[i]].name);
        check_block(reader, reply, v, reply->variable[i], reply->block[i], bytes);
        bytes += reader->digests ? (size_t)HASH_SHA256_BYTES
                                 : placement_block_bytes(&reader->placement, reply->variable[i],
                                                         reply->block[i]);
    }
    expected->missing -= (uint32_t)reply->n_block;
    for (size_t i = 0; i < reader->expected_count; i++) {
        if (reader->expected[i].missing)
            return;
    }
    reader->expected_count = 0;
    finished(reader);
}

static void on_failure(struct sim_reader *reader, const Pmd__Failure *failure)
{
    struct sim *sim = sim_of(reader);

    if (reader->head.request == 0)
        sim_fail(sim, "reader", "%s is refused: %s", reader->process->name, failure->message);
    if (reader->phase == READER_SET && reader->head.request == reader->asked) {
        reader->phase = READER_IDLE; /* the job does not train (yet, or any more) */
        return;
    }
    if (failure->status == STATUS_RESOURCE_EXHAUSTED) {
        reader->phase = READER_IDLE;
        reader->expected_count = 0;
        return;
    }
    if (failure->status != STATUS_NOT_FOUND)
        sim_fail(sim, "reader", "%s: request %llu: %s", reader->process->name,
                 (unsigned long long)reader->head.request, failure->message);
    if (reader->phase != READER_READ)
        return;
    sim->totals.gone++;
    reader->gone = reader->hold;
    reader->expected_count = 0;
    reader->phase = READER_IDLE;
    reader->wait_until_ns = sim->now_ns;
}

static void on_members(struct sim_reader *reader, const Pmd__Members *members)
{
    if (members->n_server_address != sim_of(reader)->plan.servers)
        return;
    for (size_t s = 0; s < members->n_server_address; s++)
        snprintf(reader->addresses[s], sizeof reader->addresses[s], "%s",
                 members->server_address[s]);
    reader->addresses_known = true;
    if (reader->phase == READER_HELLO)
        reader->phase = READER_IDLE;
}

/* ---- the engine ---- */

static bool is_mine(const struct sim_reader *reader, const struct link *link)
{
    bool mine = link == reader->control;

    for (uint32_t s = 0; s < SIM_SERVERS_MAX; s++)
        mine = mine || link == reader->bulk[s];
    return mine;
}

static void engine_open(void *context, struct link *link)
{
    struct sim_reader *reader = context;

    if (is_mine(reader, link))
        hello(reader, link);
}

static enum link_verdict engine_head(void *context, struct link *link,
                                     const struct frame_head *head, const uint8_t *header,
                                     struct link_incoming *ret_incoming, struct error *err)
{
    struct sim_reader *reader = context;

    if (!is_mine(reader, link)) {
        error_set(err, STATUS_CANCELLED, "an older link");
        return LINK_REFUSE;
    }
    ret_incoming->place_count = head->payload_bytes > 0;
    ret_incoming->places[0].bytes = head->payload_bytes;
    /* Frames of several links may be under way at a time: each keeps its own bytes, until on_frame.
     */
    uint8_t *memory = malloc(sizeof *head + head->header_bytes + head->payload_bytes + 1);
    if (!memory)
        abort();
    memcpy(memory, head, sizeof *head);
    memcpy(memory + sizeof *head, header, head->header_bytes);
    ret_incoming->places[0].data = memory + sizeof *head + head->header_bytes;
    free(link->user == reader ? NULL : link->user);
    link->user = memory;
    return LINK_TAKE;
}

static void on_message(struct sim_reader *reader, struct link *link, const void *message)
{
    if (reader->head.commit_plus_1 > reader->commit_plus_1)
        reader->commit_plus_1 = reader->head.commit_plus_1;
    switch (reader->head.type) {
    case FRAME_HELLO_REPLY:
        for (uint32_t s = 0; s < SIM_SERVERS_MAX; s++)
            reader->up[s] = reader->up[s] || link == reader->bulk[s];
        if (reader->phase == READER_CONNECT)
            go_on(reader);
        break;
    case FRAME_MEMBERS:
        on_members(reader, message);
        break;
    case FRAME_REGISTRY:
        on_registry(reader, message);
        break;
    case FRAME_SNAPSHOT_REPLY:
        on_snapshot(reader, message);
        break;
    case FRAME_SET_REPLY:
        on_set(reader, message);
        break;
    case FRAME_READ_REPLY:
        on_read_reply(reader, message);
        break;
    case FRAME_FAILURE:
        if (link == reader->control || reader->up[0] || reader->phase == READER_READ)
            on_failure(reader, message);
        break;
    default:
        break; /* HEARTBEAT, DONE, STATUS_REPLY, END */
    }
}

static void engine_frame(void *context, struct link *link)
{
    struct sim_reader *reader = context;
    const void *message;
    struct error err;

    uint8_t *memory = link->user;
    link->user = reader;
    memcpy(&reader->head, memory, sizeof reader->head);
    reader->payload = memory + sizeof reader->head + reader->head.header_bytes;
    arena_clear(&reader->arena);
    if (message_unpack(reader->head.type, memory + sizeof reader->head, reader->head.header_bytes,
                       &reader->arena, &message, &err))
        sim_fail(sim_of(reader), "codec", "%s frame to a reader: %s",
                 frame_type_name(reader->head.type), err.message);
    if (is_mine(reader, link))
        on_message(reader, link, message);
    free(memory);
}

static void engine_closed(void *context, struct link *link, const struct error *why)
{
    struct sim_reader *reader = context;
    bool mine = is_mine(reader, link);

    (void)why;
    if (link->user != reader)
        free(link->user);
    if (!mine)
        return;
    if (reader->control == link)
        reader->control = NULL;
    for (uint32_t s = 0; s < SIM_SERVERS_MAX; s++) {
        if (reader->bulk[s] == link)
            reader->bulk[s] = NULL;
    }
    reset(reader);
}

static void beat(struct sim_reader *reader)
{
    if (!reader->control || reader->phase <= READER_HELLO ||
        sim_of(reader)->now_ns < reader->beat_ns)
        return;
    reader->beat_ns = sim_of(reader)->now_ns + 500 * SIM_MS;
    send(reader, reader->control, FRAME_HEARTBEAT, NULL, 0);
}

static uint64_t engine_turn(void *context)
{
    struct sim_reader *reader = context;
    struct sim *sim = sim_of(reader);

    if (sim->now_ns >= reader->wait_until_ns) {
        if (reader->phase == READER_DOWN) {
            reader->control = connect_to(reader, "10.0.0.1:7070", false);
            reader->phase = READER_HELLO;
        } else if (reader->phase == READER_IDLE && !(reader->done && sim->final_read)) {
            if (sim->plan.sets && !sim->final_read && !reader->gone && sim_chance(sim, 400))
                ask_set(reader);
            else
                ask_snapshot(reader);
        }
    }
    if (sim->final_read && !reader->last && reader->phase == READER_IDLE)
        reader->wait_until_ns = sim->now_ns;
    beat(reader);
    uint64_t soon = sim->now_ns + 500 * SIM_MS;
    return reader->wait_until_ns > sim->now_ns && reader->wait_until_ns < soon
               ? reader->wait_until_ns
               : soon;
}

/* ---- beginning and end ---- */

void reader_start(struct sim *sim, uint32_t slot)
{
    struct sim_process *process = sim_process_new(sim, SIM_READER, slot);
    struct sim_reader *reader = calloc(1, sizeof *reader);

    if (!reader || arena_init(&reader->arena, LIMIT_MESSAGE_ARENA_BYTES))
        abort();
    reader->process = process;
    reader->next_request = 1;
    process->reader = reader;
    process->engine = (struct link_engine){.context = reader,
                                           .on_open = engine_open,
                                           .on_head = engine_head,
                                           .on_frame = engine_frame,
                                           .on_closed = engine_closed,
                                           .on_turn = engine_turn};
    sim->readers[slot] = process;
    sim_turn_at(process, sim->now_ns);
}

void reader_gone(struct sim_process *process)
{
    struct sim_reader *reader = process->reader;

    if (!reader)
        return;
    registry_release(&reader->registry);
    placement_release(&reader->placement);
    arena_release(&reader->arena);
    free(reader);
    process->reader = NULL;
}

bool reader_done(const struct sim_process *process)
{
    return process->reader->done;
}

void reader_describe(const struct sim_process *process, char *ret_text, size_t capacity)
{
    const struct sim_reader *reader = process->reader;

    snprintf(ret_text, capacity, "%s: %s, hold %llu of step %llu, %zu reads unanswered%s",
             process->name, phase_names[reader->phase], (unsigned long long)reader->hold,
             (unsigned long long)reader->step, reader->expected_count,
             reader->done ? ", done" : "");
}
