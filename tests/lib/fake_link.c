#include "tests/lib/fake_link.h"

#include "common/base/arena.h"
#include "common/wire/message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A frame on its way to the engine. */
struct fake_said {
    struct frame_head head;
    uint8_t *header;
    uint8_t *payload;
    struct fake_said *next;
};

/* A frame on its way from the engine. */
struct fake_queued {
    struct fake_heard *heard; /* what the peer will get */
    struct link_piece *pieces;
    size_t piece_count;
    void (*on_released)(void *owner, bool written);
    void *owner;
    struct fake_queued *next;
};

static void require(bool truth, const char *what)
{
    if (truth)
        return;
    fprintf(stderr, "fake_link: %s\n", what);
    abort();
}

static void *take(size_t bytes)
{
    void *memory = calloc(1, bytes ? bytes : 1);

    require(memory != NULL, "out of memory");
    return memory;
}

static void *copy(const void *bytes, size_t count)
{
    void *memory = take(count);

    if (count)
        memcpy(memory, bytes, count);
    return memory;
}

/* For the message at hand. Kept for good: fuzz targets make a net for each of millions of inputs.
 */
static struct arena *scratch(void)
{
    static struct arena arena;

    if (!arena.memory)
        require(arena_init(&arena, LIMIT_MESSAGE_ARENA_BYTES) == STATUS_OK, "out of memory");
    arena_clear(&arena);
    return &arena;
}

static struct fake_link *of(struct link *link)
{
    return (struct fake_link *)(void *)link;
}

/* ---- what the engine calls ---- */

static void gather(const struct link_piece *pieces, size_t count, uint8_t *ret_bytes)
{
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].bytes)
            memcpy(ret_bytes, pieces[i].data, pieces[i].bytes);
        ret_bytes += pieces[i].bytes;
    }
}

/* As its receiver would read it: what an engine says must never be refused. */
static ProtobufCMessage *through_the_wire(const struct link_frame *frame)
{
    const ProtobufCMessageDescriptor *descriptor = message_descriptor(frame->type);
    size_t bytes = message_packed_bytes(frame->message);
    uint8_t *header = take(bytes);
    const void *unpacked;
    struct error err;

    require((descriptor != NULL) == (frame->message != NULL),
            "a header where none belongs, or none");
    require(!descriptor || frame->message->descriptor == descriptor, "a message of another type");
    message_pack(frame->message, header);
    enum status status = message_unpack(frame->type, header, bytes, scratch(), &unpacked, &err);
    require(status == STATUS_OK, status ? err.message : "");
    ProtobufCMessage *message = descriptor
                                    ? protobuf_c_message_unpack(descriptor, NULL, bytes, header)
                                    : NULL;
    require(!descriptor || message, "a message that does not unpack");
    free(header);
    return message;
}

static enum status net_send(void *context, struct link *to, const struct link_frame *frame)
{
    struct fake_net *net = context;
    struct fake_link *link = of(to);
    size_t bytes = 0;

    require(!link->closed, "a frame for a link that is gone");
    if (link->closing || !link->open)
        return STATUS_UNAVAILABLE;
    if (link->full)
        return STATUS_RESOURCE_EXHAUSTED;
    if (net->send_fails && (net->send_fails == 1 || --net->send_fails == 1))
        return STATUS_RESOURCE_EXHAUSTED;
    require(frame->piece_count <= LIMIT_FRAME_BLOCKS, "too many pieces");
    for (size_t i = 0; i < frame->piece_count; i++)
        bytes += frame->pieces[i].bytes;
    require(bytes <= LIMIT_PAYLOAD_BYTES, "too large a payload");
    struct fake_heard *heard = take(sizeof *heard);
    *heard = (struct fake_heard){.type = frame->type,
                                 .request = frame->request,
                                 .commit_plus_1 = frame->commit_plus_1,
                                 .message = through_the_wire(frame),
                                 .payload = take(bytes),
                                 .payload_bytes = bytes};
    gather(frame->pieces, frame->piece_count, heard->payload);
    struct fake_queued *queued = take(sizeof *queued);
    *queued = (struct fake_queued){
        .heard = heard,
        .pieces = copy(frame->pieces, frame->piece_count * sizeof *frame->pieces),
        .piece_count = frame->piece_count,
        .on_released = frame->on_released,
        .owner = frame->owner};
    for (size_t i = 0; i < queued->piece_count; i++) {
        if (queued->pieces[i].buf)
            buf_ref(queued->pieces[i].buf);
    }
    *link->queued_end = queued;
    link->queued_end = &queued->next;
    link->queued_count++;
    return STATUS_OK;
}

static void net_close(void *context, struct link *to, bool flush, const struct error *why)
{
    struct fake_link *link = of(to);

    (void)context;
    require(!link->closed, "a close of a link that is gone");
    require(why->status != STATUS_OK && why->message[0], "a close without a reason");
    if (link->closing)
        return;
    link->closing = true;
    link->flush = flush;
    link->why = *why;
}

static void net_resume(void *context, struct link *to)
{
    (void)context;
    require(!of(to)->closed, "a resume of a link that is gone");
    of(to)->waiting = false;
}

static struct fake_link *link_new(struct fake_net *net, const char *peer)
{
    struct fake_link *link = take(sizeof *link);

    link->net = net;
    link->next = net->links;
    net->links = link;
    link->link.id = ++net->next_id;
    link->said_end = &link->said;
    link->queued_end = &link->queued;
    link->heard_end = &link->heard;
    snprintf(link->link.peer, sizeof link->link.peer, "%s", peer);
    return link;
}

static enum status net_connect(void *context, const char *address, bool bulk, uint64_t timeout_ms,
                               void *user, struct link **ret_link, struct error *err)
{
    struct fake_net *net = context;

    (void)timeout_ms;
    net->connects++;
    if (net->refuse_connects)
        return error_set(err, STATUS_INVALID_ARGUMENT, "'%s' is no address", address);
    struct fake_link *link = link_new(net, address);
    snprintf(link->address, sizeof link->address, "%s", address);
    link->outgoing = true;
    link->bulk = bulk;
    link->link.user = user;
    *ret_link = &link->link;
    return STATUS_OK;
}

static uint64_t net_now_ns(void *context)
{
    return ((struct fake_net *)context)->now_ns;
}

static uint64_t net_random(void *context)
{
    return ((struct fake_net *)context)->random++;
}

void fake_net_init(struct fake_net *net)
{
    *net = (struct fake_net){.now_ns = (uint64_t)1000 * 1000000000, .random = 4711};
    net->io = (struct link_io){.context = net,
                               .send = net_send,
                               .close = net_close,
                               .resume = net_resume,
                               .connect = net_connect,
                               .now_ns = net_now_ns,
                               .random = net_random};
    scratch();
}

/* ---- the life of a frame and of a link ---- */

static void heard_free(struct fake_heard *heard)
{
    if (heard->message)
        protobuf_c_message_free_unpacked(heard->message, NULL);
    free(heard->payload);
    free(heard);
}

static void said_drop(struct fake_link *link)
{
    struct fake_said *said = link->said;

    link->said = said->next;
    if (!link->said)
        link->said_end = &link->said;
    free(said->header);
    free(said->payload);
    free(said);
}

/* The first queued frame leaves: to the peer, or into nothing. */
static void release_first(struct fake_link *link, bool written)
{
    struct fake_queued *queued = link->queued;
    uint8_t *now = take(queued->heard->payload_bytes);

    link->queued = queued->next;
    if (!link->queued)
        link->queued_end = &link->queued;
    link->queued_count--;
    gather(queued->pieces, queued->piece_count, now);
    require(memcmp(now, queued->heard->payload, queued->heard->payload_bytes) == 0,
            "bytes have changed while a frame referred to them");
    free(now);
    if (written) {
        *link->heard_end = queued->heard;
        link->heard_end = &queued->heard->next;
    } else {
        heard_free(queued->heard);
    }
    for (size_t i = 0; i < queued->piece_count; i++)
        buf_unref(queued->pieces[i].buf);
    if (queued->on_released)
        queued->on_released(queued->owner, written);
    free(queued->pieces);
    free(queued);
}

static void link_end(struct fake_link *link, const char *why)
{
    const struct link_engine *engine = &link->net->engine;

    if (link->closed)
        return;
    while (link->queued)
        release_first(link, link->closing && link->flush && !link->stalled);
    while (link->said)
        said_drop(link);
    if (!link->why.status)
        error_set(&link->why, STATUS_UNAVAILABLE, "%s", why);
    link->closing = true;
    link->received = false;
    if (engine->on_closed)
        engine->on_closed(engine->context, &link->link, &link->why);
    link->closed = true;
}

void fake_link_forget(struct fake_link *link)
{
    struct fake_heard *lists[] = {link->heard, link->taken};

    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        while (lists[i]) {
            struct fake_heard *heard = lists[i];
            lists[i] = heard->next;
            heard_free(heard);
        }
    }
    link->heard = link->taken = NULL;
    link->heard_end = &link->heard;
}

void fake_net_release(struct fake_net *net)
{
    for (struct fake_link *link = net->links; link; link = link->next)
        link_end(link, "the net is gone");
    while (net->links) {
        struct fake_link *link = net->links;
        net->links = link->next;
        fake_link_forget(link);
        free(link);
    }
}

struct fake_link *fake_link_accept(struct fake_net *net, const char *peer)
{
    struct fake_link *link = link_new(net, peer);

    link->open = true;
    net->engine.on_open(net->engine.context, &link->link);
    return link;
}

struct fake_link *fake_link_made(struct fake_net *net)
{
    for (struct fake_link *link = net->links; link; link = link->next) {
        if (link->outgoing)
            return link;
    }
    return NULL;
}

void fake_link_up(struct fake_link *link)
{
    link->open = true;
    link->net->engine.on_open(link->net->engine.context, &link->link);
}

void fake_link_break(struct fake_link *link)
{
    link_end(link, "the peer left");
}

/* ---- what the peers say ---- */

void fake_link_say_raw(struct fake_link *link, const struct frame_head *head, const uint8_t *header,
                       size_t header_bytes, const void *payload, size_t payload_bytes)
{
    if (link->closed)
        return;
    struct fake_said *said = take(sizeof *said);
    said->head = *head;
    said->head.header_bytes = (uint32_t)header_bytes;
    said->head.payload_bytes = (uint32_t)payload_bytes;
    said->header = copy(header, header_bytes);
    said->payload = copy(payload, payload_bytes);
    *link->said_end = said;
    link->said_end = &said->next;
}

void fake_link_say_payload(struct fake_link *link, enum frame_type type, const void *message,
                           uint64_t request, uint64_t commit_plus_1, const void *payload,
                           size_t bytes)
{
    struct frame_head head = {.type = type, .request = request, .commit_plus_1 = commit_plus_1};
    size_t header_bytes = message_packed_bytes(message);
    uint8_t *header = take(header_bytes);

    if (type != FRAME_HELLO) {
        head.lineage = FRAME_LINEAGE;
        head.map_version = FRAME_MAP_VERSION;
    }
    message_pack(message, header);
    fake_link_say_raw(link, &head, header, header_bytes, payload, bytes);
    free(header);
}

void fake_link_say(struct fake_link *link, enum frame_type type, const void *message,
                   uint64_t request, uint64_t commit_plus_1)
{
    fake_link_say_payload(link, type, message, request, commit_plus_1, NULL, 0);
}

static void scatter(const struct link_incoming *incoming, const uint8_t *payload)
{
    for (size_t i = 0; i < incoming->place_count; i++) {
        if (incoming->places[i].data && incoming->places[i].bytes)
            memcpy(incoming->places[i].data, payload, incoming->places[i].bytes);
        payload += incoming->places[i].bytes;
    }
}

static size_t places_bytes(const struct link_incoming *incoming)
{
    size_t bytes = 0;

    require(incoming->place_count <= LIMIT_FRAME_BLOCKS, "too many places");
    for (size_t i = 0; i < incoming->place_count; i++)
        bytes += incoming->places[i].bytes;
    return bytes;
}

static void receive(struct fake_link *link)
{
    scatter(&link->incoming, link->said->payload);
    link->received = false;
    said_drop(link);
    link->net->engine.on_frame(link->net->engine.context, &link->link);
}

void fake_link_finish(struct fake_link *link)
{
    link->half = false;
    if (link->received && !link->closing)
        receive(link);
}

/* One frame of a link, if it has one; false: nothing moved. */
static bool deliver(struct fake_link *link)
{
    const struct link_engine *engine = &link->net->engine;
    struct error err = {0};

    if (!link->said || link->waiting || link->received || link->closing || !link->open)
        return false;
    link->incoming = (struct link_incoming){0};
    enum link_verdict verdict = engine->on_head(engine->context, &link->link, &link->said->head,
                                                link->said->header, &link->incoming, &err);
    if (verdict == LINK_WAIT) {
        link->waiting = true;
        return true;
    }
    if (verdict == LINK_REFUSE) {
        require(err.status != STATUS_OK && err.message[0], "a refusal without a reason");
        if (!link->closing)
            net_close(link->net, &link->link, true, &err);
        return true;
    }
    if (link->closing) { /* a hello that was answered by a farewell */
        said_drop(link);
        return true;
    }
    require(places_bytes(&link->incoming) == link->said->head.payload_bytes,
            "the places do not add up to the payload");
    if (link->half && link->said->head.payload_bytes) {
        link->received = true;
        return true;
    }
    receive(link);
    return true;
}

void fake_link_write(struct fake_link *link, size_t count)
{
    while (count-- > 0 && link->queued)
        release_first(link, true);
}

static bool move(struct fake_link *link)
{
    bool moved = false;

    if (link->closed)
        return false;
    if (link->closing) {
        link_end(link, "");
        return true;
    }
    while (link->queued && !link->stalled) {
        release_first(link, true);
        moved = true;
    }
    return deliver(link) || moved;
}

void fake_net_run(struct fake_net *net)
{
    bool moved;
    int rounds = 0;

    do {
        moved = false;
        for (struct fake_link *link = net->links; link; link = link->next)
            moved = move(link) || moved;
        net->wanted_ns = net->engine.on_turn(net->engine.context);
        for (struct fake_link *link = net->links; link; link = link->next)
            moved = moved || (link->closing && !link->closed) || (link->queued && !link->stalled);
        require(++rounds < 100000, "the engine never comes to rest");
    } while (moved);
}

void fake_net_advance(struct fake_net *net, uint64_t ms)
{
    uint64_t until = net->now_ns + ms * 1000000;

    fake_net_run(net);
    while (net->now_ns < until) {
        uint64_t next = net->wanted_ns < until ? net->wanted_ns : until;
        net->now_ns = next > net->now_ns ? next : net->now_ns + 1000000;
        fake_net_run(net);
    }
}

struct fake_heard *fake_link_take(struct fake_link *link)
{
    struct fake_heard *heard = link->heard;

    if (!heard)
        return NULL;
    link->heard = heard->next;
    if (!link->heard)
        link->heard_end = &link->heard;
    heard->next = link->taken;
    link->taken = heard;
    return heard;
}

struct fake_heard *fake_link_find(struct fake_link *link, enum frame_type type)
{
    struct fake_heard *heard;

    do {
        heard = fake_link_take(link);
    } while (heard && heard->type != type);
    return heard;
}
