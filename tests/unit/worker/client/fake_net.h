/* Links that keep what the engine sends and say what a test tells them to; time stands still until
 * the test moves it. */
#ifndef PARAMD_TESTS_UNIT_WORKER_CLIENT_FAKE_NET_H
#define PARAMD_TESTS_UNIT_WORKER_CLIENT_FAKE_NET_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/wire/message.h"
#include "proto/cluster.pb-c.h"
#include "proto/data.pb-c.h"
#include "worker/client/client_core.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAKE_SENT_MAX = 512, FAKE_LINKS_MAX = 64, FAKE_SERVERS_MAX = 8 };

struct fake_sent {
    enum frame_type type;
    uint64_t request, commit_plus_1;
    uint8_t header[4096];
    size_t header_bytes;
    uint8_t *payload; /* a copy; owned */
    size_t payload_bytes;
    const void *first_piece;
    void (*on_released)(void *owner, bool written);
    void *owner;
};

struct fake_link {
    struct link link; /* first */
    char address[64];
    bool bulk;
    bool open;
    bool closing; /* the engine closed it */
    bool gone;    /* on_closed was called */
    struct fake_sent sent[FAKE_SENT_MAX];
    size_t sent_count, read_count, released_count;
};

struct fake_net {
    struct core *core;
    struct link_engine engine;
    struct fake_link *links[FAKE_LINKS_MAX]; /* in order of connect */
    size_t link_count;
    uint64_t now_ns;
    uint64_t random;
    uint64_t send_fails; /* the n-th send from now; 0: none */
    uint32_t servers, workers, rank;
    uint64_t commit_plus_1; /* in the preamble of what is told */
    char notice[256];
};

static inline enum status fake_send(void *context, struct link *link,
                                    const struct link_frame *frame)
{
    struct fake_net *net = context;
    struct fake_link *fake = (struct fake_link *)(void *)link;

    assert_true(fake->open && !fake->closing);
    if (net->send_fails && --net->send_fails == 0)
        return STATUS_RESOURCE_EXHAUSTED;
    assert_true(fake->sent_count < FAKE_SENT_MAX);
    struct fake_sent *sent = &fake->sent[fake->sent_count++];
    *sent = (struct fake_sent){.type = frame->type,
                               .request = frame->request,
                               .commit_plus_1 = frame->commit_plus_1,
                               .on_released = frame->on_released,
                               .owner = frame->owner};
    sent->header_bytes = message_packed_bytes(frame->message);
    assert_true(sent->header_bytes <= sizeof sent->header);
    if (frame->message)
        message_pack(frame->message, sent->header);
    for (size_t i = 0; i < frame->piece_count; i++)
        sent->payload_bytes += frame->pieces[i].bytes;
    sent->payload = malloc(sent->payload_bytes + 1);
    sent->first_piece = frame->piece_count ? frame->pieces[0].data : NULL;
    for (size_t i = 0, at = 0; i < frame->piece_count; i++) {
        memcpy(sent->payload + at, frame->pieces[i].data, frame->pieces[i].bytes);
        at += frame->pieces[i].bytes;
    }
    return STATUS_OK;
}

static inline void fake_close(void *context, struct link *link, bool flush, const struct error *why)
{
    struct fake_link *fake = (struct fake_link *)(void *)link;

    (void)context;
    (void)flush;
    (void)why;
    assert_false(fake->closing);
    fake->closing = true;
}

static inline enum status fake_connect(void *context, const char *address, bool bulk,
                                       uint64_t timeout_ms, void *user, struct link **ret_link,
                                       struct error *err)
{
    struct fake_net *net = context;
    struct fake_link *fake = calloc(1, sizeof *fake);

    (void)timeout_ms;
    (void)err;
    assert_true(net->link_count < FAKE_LINKS_MAX);
    net->links[net->link_count++] = fake;
    snprintf(fake->address, sizeof fake->address, "%s", address);
    fake->bulk = bulk;
    fake->link.user = user;
    fake->link.id = net->link_count;
    *ret_link = &fake->link;
    return STATUS_OK;
}

static inline uint64_t fake_now(void *context)
{
    return ((struct fake_net *)context)->now_ns;
}

static inline uint64_t fake_random(void *context)
{
    return ((struct fake_net *)context)->random += 0x9E3779B97F4A7C15u;
}

static inline void fake_resume(void *context, struct link *link)
{
    (void)context;
    (void)link;
}

static inline struct link_io fake_io(struct fake_net *net)
{
    return (struct link_io){.context = net,
                            .send = fake_send,
                            .close = fake_close,
                            .resume = fake_resume,
                            .connect = fake_connect,
                            .now_ns = fake_now,
                            .random = fake_random};
}

static inline uint64_t fake_turn(struct fake_net *net)
{
    return net->engine.on_turn(net->engine.context);
}

/* ---- the network's side ---- */

/* The bytes of all that was sent so far are no longer needed. */
static inline void fake_write(struct fake_link *fake, bool written)
{
    for (; fake->released_count < fake->sent_count; fake->released_count++) {
        struct fake_sent *sent = &fake->sent[fake->released_count];
        if (sent->on_released)
            sent->on_released(sent->owner, written);
    }
}

/* A long test forgets what it has looked at. */
static inline void fake_forget(struct fake_link *fake)
{
    fake_write(fake, true);
    for (size_t i = 0; i < fake->sent_count; i++)
        free(fake->sent[i].payload);
    fake->sent_count = fake->read_count = fake->released_count = 0;
}

/* The link is gone: the peer left, or the engine's own close comes to its end. */
static inline void fake_break(struct fake_net *net, struct fake_link *fake)
{
    struct error why;

    assert_false(fake->gone);
    error_set(&why, STATUS_UNAVAILABLE, "connection reset");
    fake_write(fake, false);
    fake->gone = true;
    fake->open = false;
    net->engine.on_closed(net->engine.context, &fake->link, &why);
}

static inline void fake_settle(struct fake_net *net)
{
    for (size_t i = 0; i < net->link_count; i++) {
        if (net->links[i]->closing && !net->links[i]->gone)
            fake_break(net, net->links[i]);
    }
}

/* The newest link to an address, or NULL: of the control kind or the bulk kind. */
static inline struct fake_link *fake_newest(struct fake_net *net, bool bulk, const char *address)
{
    for (size_t i = net->link_count; i > 0; i--) {
        struct fake_link *fake = net->links[i - 1];
        if (fake->bulk == bulk && strcmp(fake->address, address) == 0)
            return fake;
    }
    return NULL;
}

static inline struct fake_link *fake_control(struct fake_net *net)
{
    return fake_newest(net, false, "127.0.0.1:7000");
}

static inline struct fake_link *fake_bulk(struct fake_net *net, uint32_t server)
{
    char address[64];

    snprintf(address, sizeof address, "127.0.0.1:70%02u", server);
    return fake_newest(net, true, address);
}

/* on_head of a frame; LINK_TAKE fills incoming. */
static inline enum link_verdict fake_head(struct fake_net *net, struct fake_link *fake,
                                          enum frame_type type, const ProtobufCMessage *message,
                                          uint64_t request, size_t payload_bytes,
                                          struct link_incoming *incoming, struct error *err)
{
    static uint8_t header[LIMIT_HEADER_BYTES];
    struct frame_head head = {.type = type,
                              .request = request,
                              .header_bytes = (uint32_t)message_packed_bytes(message),
                              .payload_bytes = (uint32_t)payload_bytes,
                              .commit_plus_1 = net->commit_plus_1,
                              .lineage = 1,
                              .map_version = 1};

    if (message)
        message_pack(message, header);
    return net->engine.on_head(net->engine.context, &fake->link, &head, header, incoming, err);
}

static inline void fake_fill(const struct link_incoming *incoming, const void *payload)
{
    const uint8_t *from = payload;

    for (size_t i = 0; i < incoming->place_count; i++) {
        if (incoming->places[i].data)
            memcpy(incoming->places[i].data, from, incoming->places[i].bytes);
        from += incoming->places[i].bytes;
    }
}

/* A whole frame arrives. */
static inline void fake_tell(struct fake_net *net, struct fake_link *fake, enum frame_type type,
                             const ProtobufCMessage *message, uint64_t request, const void *payload,
                             size_t payload_bytes)
{
    static struct link_incoming incoming;
    struct error err = {0};

    if (fake_head(net, fake, type, message, request, payload_bytes, &incoming, &err) != LINK_TAKE)
        fail_msg("refused: %s", err.message);
    size_t total = 0;
    for (size_t i = 0; i < incoming.place_count; i++)
        total += incoming.places[i].bytes;
    assert_int_equal(total, payload_bytes);
    fake_fill(&incoming, payload);
    net->engine.on_frame(net->engine.context, &fake->link);
}

/* The next frame that was sent on a link; its type is checked. */
static inline struct fake_sent *fake_next(struct fake_link *fake, enum frame_type type)
{
    if (fake->read_count == fake->sent_count)
        fail_msg("no %s was sent", frame_type_name(type));
    struct fake_sent *sent = &fake->sent[fake->read_count++];
    assert_string_equal(frame_type_name(sent->type), frame_type_name(type));
    return sent;
}

static inline bool fake_idle(const struct fake_link *fake)
{
    return fake->read_count == fake->sent_count;
}

/* ---- a cluster that is there ---- */

static inline void fake_open_link(struct fake_net *net, struct fake_link *fake)
{
    fake->open = true;
    net->engine.on_open(net->engine.context, &fake->link);
}

static inline void fake_greet(struct fake_net *net, struct fake_link *fake, uint64_t grant,
                              uint64_t committed_plus_1)
{
    Pmd__HelloReply reply = PMD__HELLO_REPLY__INIT;

    fake_next(fake, FRAME_HELLO);
    reply.rank = net->rank;
    reply.server = fake->bulk ? (uint32_t)strtoul(fake->address + strlen("127.0.0.1:70"), NULL, 10)
                              : 0;
    reply.incarnation = 7;
    reply.workers = net->workers;
    reply.servers = net->servers;
    reply.grant = grant;
    reply.committed_plus_1 = committed_plus_1;
    fake_tell(net, fake, FRAME_HELLO_REPLY, &reply.base, 1, NULL, 0);
}

static inline void fake_members(struct fake_net *net, uint32_t present)
{
    Pmd__Members members = PMD__MEMBERS__INIT;
    char texts[FAKE_SERVERS_MAX][64];
    char *addresses[FAKE_SERVERS_MAX];

    for (uint32_t s = 0; s < net->servers; s++) {
        snprintf(texts[s], sizeof texts[s], "127.0.0.1:70%02u", s);
        addresses[s] = texts[s];
    }
    members.servers = net->servers;
    members.servers_present = present;
    members.workers = members.workers_present = net->workers;
    members.n_server_address = present == net->servers ? net->servers : 0;
    members.server_address = addresses;
    fake_tell(net, fake_control(net), FRAME_MEMBERS, &members.base, 0, NULL, 0);
}

static inline void fake_init(struct fake_net *net, uint32_t servers)
{
    struct error err;
    struct link_io io = fake_io(net);
    struct core_options options = {.coordinator = "127.0.0.1:7000", .program = "test"};

    *net = (struct fake_net){.servers = servers, .workers = 2, .now_ns = 1000000000};
    if (core_new(&options, &io, &net->core, &err))
        fail_msg("%s", err.message);
    net->engine = core_engine(net->core);
}

static inline void fake_form(struct fake_net *net, uint32_t servers)
{
    fake_init(net, servers);
    fake_turn(net);
    fake_open_link(net, fake_control(net));
    fake_greet(net, fake_control(net), 0, 0);
    fake_members(net, servers);
    fake_turn(net);
    for (uint32_t s = 0; s < servers; s++) {
        fake_open_link(net, fake_bulk(net, s));
        fake_greet(net, fake_bulk(net, s), 0, 0);
    }
    assert_true(core_formed(net->core));
}

struct fake_variable {
    const char *name;
    uint64_t rows, cols; /* cols 0: one dimension */
    bool not_trainable;
    bool assigned;
};

/* Registry closed, version 0 committed, grant 2. */
static inline void fake_start(struct fake_net *net, const struct fake_variable *variables,
                              size_t count, bool commit)
{
    Pmd__Registry page = PMD__REGISTRY__INIT;
    Pmd__VariableSpec specs[8];
    Pmd__VariableSpec *pointers[8];
    uint64_t shapes[8][2];
    ps_handle handle;
    enum status status;

    assert_int_equal(core_start(net->core, &handle, NULL), STATUS_OK);
    for (size_t i = 0; i < count; i++) {
        pmd__variable_spec__init(&specs[i]);
        shapes[i][0] = variables[i].rows;
        shapes[i][1] = variables[i].cols;
        specs[i].name = (char *)variables[i].name;
        specs[i].dtype = PMD__DATA_TYPE__DATA_TYPE_FLOAT32;
        specs[i].n_shape = variables[i].cols ? 2 : 1;
        specs[i].shape = shapes[i];
        specs[i].trainable = !variables[i].not_trainable;
        specs[i].initializer = variables[i].assigned
                                   ? PMD__INITIALIZER_KIND__INITIALIZER_KIND_ASSIGNED
                                   : PMD__INITIALIZER_KIND__INITIALIZER_KIND_ZEROS;
        pointers[i] = &specs[i];
    }
    page.total = (uint32_t)count;
    page.servers = net->servers;
    page.n_variables = count;
    page.variables = pointers;
    struct fake_sent *start = fake_next(fake_control(net), FRAME_START);
    fake_tell(net, fake_control(net), FRAME_REGISTRY, &page.base, start->request, NULL, 0);
    assert_true(core_done(net->core, handle, &status, NULL, NULL));
    assert_int_equal(status, STATUS_OK);
    if (!commit)
        return;
    Pmd__Commit message = PMD__COMMIT__INIT;
    message.grant = 2;
    net->commit_plus_1 = 1;
    fake_tell(net, fake_control(net), FRAME_COMMIT, &message.base, 0, NULL, 0);
}

static inline void fake_commit(struct fake_net *net, uint64_t step)
{
    Pmd__Commit commit = PMD__COMMIT__INIT;

    commit.step = step;
    commit.grant = step + 2;
    net->commit_plus_1 = step + 1;
    fake_tell(net, fake_control(net), FRAME_COMMIT, &commit.base, 0, NULL, 0);
}

static inline void fake_ack(struct fake_net *net, struct fake_link *fake, uint64_t request)
{
    Pmd__PushAck ack = PMD__PUSH_ACK__INIT;

    ack.n_request = 1;
    ack.request = &request;
    fake_tell(net, fake, FRAME_PUSH_ACK, &ack.base, 0, NULL, 0);
}

/* A new connection after a break: waits out the pause, connects, greets. */
static inline void fake_reconnect(struct fake_net *net, uint32_t server)
{
    fake_settle(net);
    net->now_ns += 2000000000;
    fake_turn(net);
    fake_open_link(net, fake_bulk(net, server));
    fake_greet(net, fake_bulk(net, server), 0, 0);
}

/* The process is gone: nothing is told to the engine any more. */
static inline void fake_end(struct fake_net *net)
{
    core_free(net->core);
    for (size_t i = 0; i < net->link_count; i++) {
        for (size_t k = 0; k < net->links[i]->sent_count; k++)
            free(net->links[i]->sent[k].payload);
        free(net->links[i]);
    }
}

#endif
