/* A reader's connections: made when they are needed, and what arrives on them. */
#include "worker/client/reader_state.h"

#include "common/base/alloc.h"

#include <stdio.h>
#include <string.h>

uint64_t reader_now_ns(const struct reader *reader)
{
    return reader->io.now_ns(reader->io.context);
}

uint64_t reader_deadline(const struct reader *reader)
{
    return reader_now_ns(reader) + reader->timeout_ns;
}

bool reader_wait(struct reader *reader, bool (*is_done)(const struct reader *reader),
                 uint64_t deadline_ns)
{
    while (!is_done(reader)) {
        uint64_t now = reader_now_ns(reader);
        if (now >= deadline_ns)
            return false;
        reader->run_once(reader->loop, deadline_ns - now);
    }
    return true;
}

static void link_name(const struct reader_link *link, char *ret_text, size_t capacity)
{
    if (link->control)
        snprintf(ret_text, capacity, "coordinator %s", link->address);
    else
        snprintf(ret_text, capacity, "server %u (%s)", link->server, link->address);
}

/* ---- links ---- */

static void link_down(struct reader_link *link, const struct error *why)
{
    struct reader *reader = link->reader;

    link->link = NULL;
    link->up = false;
    link->receiving = false;
    if (!link->refused)
        link->why = *why;
    if (link->control && reader->request && !reader->answered) {
        reader->failure = *why;
        reader->failure.status = STATUS_UNAVAILABLE;
        reader->answered = true;
    }
    if (!link->control)
        reader_read_failed(link, why);
}

void reader_drop(struct reader_link *link, const struct error *why)
{
    struct link *old = link->link;

    if (!old)
        return;
    link_down(link, why);
    link->reader->io.close(link->reader->io.context, old, false, why);
}

bool reader_send(struct reader_link *link, enum frame_type type, const ProtobufCMessage *message,
                 uint64_t request)
{
    struct reader *reader = link->reader;
    struct link_frame frame = {.type = type, .message = message, .request = request};
    struct error why;

    if (!link->link)
        return false;
    enum status status = reader->io.send(reader->io.context, link->link, &frame);
    if (link->control)
        reader->said_ns = reader_now_ns(reader);
    if (!status)
        return true;
    error_set(&why, status, "cannot queue a %s frame: %s", frame_type_name(type),
              status_name(status));
    reader_drop(link, &why);
    return false;
}

static bool settled(const struct reader *reader, const struct reader_link *link)
{
    return !link->link || (link->up && (!link->control || reader->addresses_known));
}

/* Connects once and waits for hello's answer. */
static enum status link_try(struct reader_link *link, uint64_t deadline_ns, struct error *err)
{
    struct reader *reader = link->reader;

    link->refused = false;
    link->why = (struct error){.status = STATUS_UNAVAILABLE, .message = "no answer"};
    if (link->control)
        reader->addresses_known = false;
    uint64_t now = reader_now_ns(reader);
    uint64_t wait_ms = deadline_ns > now ? (deadline_ns - now) / 1000000 + 1 : 1;
    enum status status = reader->io.connect(reader->io.context, link->address, !link->control,
                                            wait_ms, link, &link->link, err);
    if (status)
        return status;
    while (!settled(reader, link)) {
        now = reader_now_ns(reader);
        if (now >= deadline_ns) {
            struct error why;
            error_set(&why, STATUS_DEADLINE_EXCEEDED,
                      link->up ? "not all servers are there" : "no answer");
            reader_drop(link, &why);
            break;
        }
        reader->run_once(reader->loop, deadline_ns - now);
    }
    if (link->link)
        return STATUS_OK;
    *err = link->why;
    return err->status;
}

enum status reader_link_up(struct reader_link *link, struct error *err)
{
    struct reader *reader = link->reader;
    uint64_t deadline = reader_deadline(reader);
    uint64_t patience = reader_now_ns(reader) + reader->connect_ns;
    char name[LIMIT_ADDRESS_BYTES + 32];

    if (reader->end.status) {
        *err = reader->end;
        return err->status;
    }
    if (link->link && settled(reader, link))
        return STATUS_OK;
    for (;;) {
        enum status status = link_try(link, deadline, err);
        if (!status)
            return STATUS_OK;
        bool again = status == STATUS_UNAVAILABLE && !link->refused &&
                     reader_now_ns(reader) < patience;
        if (!again)
            break;
        reader_idle(reader, 100);
    }
    link_name(link, name, sizeof name);
    return error_wrap(err, "%s", name);
}

/* ---- what arrives ---- */

static struct reader_link *link_of(struct link *link)
{
    struct reader_link *ours = link->user;

    return ours->link == link ? ours : NULL;
}

static void on_open(void *context, struct link *link)
{
    struct reader *reader = context;
    struct reader_link *ours = link_of(link);
    Pmd__Hello hello = PMD__HELLO__INIT;

    if (!ours)
        return;
    hello.protocol_major = PROTOCOL_MAJOR;
    hello.protocol_minor = PROTOCOL_MINOR;
    hello.job = reader->job_name;
    hello.token.data = reader->token.bytes;
    hello.token.len = reader->token.count;
    hello.role = PMD__ROLE__ROLE_READER;
    hello.channel = ours->control ? PMD__CHANNEL__CHANNEL_CONTROL : PMD__CHANNEL__CHANNEL_BULK;
    hello.process = reader->process;
    hello.connection = ++reader->connection;
    hello.program = reader->program;
    reader_send(ours, FRAME_HELLO, &hello.base, 1);
}

static void answer(struct reader *reader)
{
    reader->answered = true;
}

static void on_hello_reply(struct reader_link *link, const Pmd__HelloReply *reply)
{
    struct reader *reader = link->reader;
    struct error why;

    link->link->hash_payload = (reply->features & FEATURE_PAYLOAD_HASH) != 0;
    if (!link->control || reader->bulk) {
        link->up = true;
        return;
    }
    if (reply->servers == 0 || reply->servers > LIMIT_SERVERS) {
        error_set(&why, STATUS_INVALID_ARGUMENT, "hello answered with %u servers", reply->servers);
        reader_drop(link, &why);
        return;
    }
    reader->bulk = alloc_array(reply->servers, sizeof *reader->bulk);
    if (!reader->bulk) {
        error_no_memory(&why, "the connections to the servers");
        reader_drop(link, &why);
        return;
    }
    reader->servers = reply->servers;
    for (uint32_t s = 0; s < reader->servers; s++) {
        reader->bulk[s].reader = reader;
        reader->bulk[s].server = s;
    }
    link->up = true;
}

/* Status and list are for whoever asks before all servers are there, too. */
static void on_members(struct reader *reader, const Pmd__Members *members)
{
    for (uint32_t s = 0; members->n_server_address == reader->servers && s < reader->servers; s++)
        snprintf(reader->bulk[s].address, sizeof reader->bulk[s].address, "%s",
                 members->server_address[s]);
    reader->addresses_known = true;
}

static void on_failure(struct reader_link *link, const Pmd__Failure *failure)
{
    struct reader *reader = link->reader;
    struct error why;

    error_set(&why, status_of_failure(failure->status), "%s",
              failure->message[0] ? failure->message : "it did not say why");
    if (!link->up || link->head.request == 0) {
        link->refused = true;
        link->why = why;
        reader_drop(link, &why);
    } else if (link->control && link->head.request == reader->request) {
        reader->failure = why;
        answer(reader);
    } else if (!link->control && link->head.request >= reader->job.first_request) {
        reader_read_failed(link, &why);
    }
}

static void on_end(struct reader_link *link, const Pmd__End *end)
{
    struct reader *reader = link->reader;

    error_set(&reader->end, end->status ? status_of_failure(end->status) : STATUS_UNAVAILABLE,
              "the job is over: %s", end->message);
    link->refused = true;
    link->why = reader->end;
    reader_drop(link, &reader->end);
}

static void on_registry(struct reader *reader, const Pmd__Registry *page)
{
    struct error err;

    if (registry_page_add(&reader->registry, page, &reader->list_complete, &err)) {
        reader->failure = err;
        answer(reader);
    } else if (reader->list_complete) {
        answer(reader);
    }
}

/* Kept packed in the link's header buffer; unpacked once more into an arena that outlives the next
 * message. */
static void on_status_reply(struct reader_link *link)
{
    struct reader *reader = link->reader;
    const void *message;

    arena_clear(&reader->status_arena);
    reader->status = NULL;
    if (!message_unpack(FRAME_STATUS_REPLY, link->header, link->head.header_bytes,
                        &reader->status_arena, &message, &reader->failure))
        reader->status = message;
    answer(reader);
}

static void on_answer(struct reader_link *link, const void *message)
{
    struct reader *reader = link->reader;
    struct error why;

    if (link->head.request != reader->request || reader->answered)
        return;
    if (link->head.type != reader->expected) {
        error_set(&why, STATUS_INVALID_ARGUMENT, "a %s frame came where %s was expected",
                  frame_type_name(link->head.type), frame_type_name(reader->expected));
        reader_drop(link, &why);
        return;
    }
    switch (link->head.type) {
    case FRAME_REGISTRY:
        on_registry(reader, message);
        return;
    case FRAME_SNAPSHOT_REPLY:
        reader->hold = ((const Pmd__SnapshotReply *)message)->hold;
        reader->step = ((const Pmd__SnapshotReply *)message)->step;
        break;
    case FRAME_STATUS_REPLY:
        on_status_reply(link);
        return;
    case FRAME_SET_REPLY:
        reader->from_step = ((const Pmd__SetReply *)message)->from_step;
        break;
    default:
        break;
    }
    answer(reader);
}

static bool belongs(const struct reader_link *link, enum frame_type type)
{
    switch (type) {
    case FRAME_HELLO_REPLY:
        return !link->up;
    case FRAME_FAILURE:
    case FRAME_HEARTBEAT:
    case FRAME_END:
        return true;
    case FRAME_READ_REPLY:
        return link->up && !link->control;
    case FRAME_MEMBERS:
    case FRAME_REGISTRY:
    case FRAME_SNAPSHOT_REPLY:
    case FRAME_STATUS_REPLY:
    case FRAME_SET_REPLY:
    case FRAME_DONE:
        return link->up && link->control;
    default:
        return false;
    }
}

static enum link_verdict on_head(void *context, struct link *link, const struct frame_head *head,
                                 const uint8_t *header, struct link_incoming *ret_incoming,
                                 struct error *err)
{
    struct reader *reader = context;
    struct reader_link *ours = link_of(link);
    const void *message;

    ret_incoming->place_count = 0;
    if (head->lineage != FRAME_LINEAGE || head->map_version != FRAME_MAP_VERSION) {
        error_set(err, STATUS_FAILED_PRECONDITION,
                  "a %s frame of lineage %u, map version %u; here are %d, %d",
                  frame_type_name(head->type), head->lineage, head->map_version, FRAME_LINEAGE,
                  FRAME_MAP_VERSION);
        return LINK_REFUSE;
    }
    if (!ours || !belongs(ours, head->type) ||
        (head->payload_bytes && head->type != FRAME_READ_REPLY)) {
        error_set(err, STATUS_INVALID_ARGUMENT, "a %s frame does not belong here",
                  frame_type_name(head->type));
        return LINK_REFUSE;
    }
    ours->head = *head;
    if (head->type == FRAME_READ_REPLY) {
        arena_clear(&reader->arena);
        if (message_unpack(head->type, header, head->header_bytes, &reader->arena, &message, err))
            return LINK_REFUSE;
        return reader_read_head(ours, message, ret_incoming, err);
    }
    if (head->header_bytes > ours->header_capacity) {
        uint8_t *grown = alloc_resize(ours->header, head->header_bytes, 1);
        if (!grown) {
            error_no_memory(err, "a header");
            return LINK_REFUSE;
        }
        ours->header = grown;
        ours->header_capacity = head->header_bytes;
    }
    if (head->header_bytes)
        memcpy(ours->header, header, head->header_bytes);
    return LINK_TAKE;
}

static void on_frame(void *context, struct link *link)
{
    struct reader *reader = context;
    struct reader_link *ours = link_of(link);
    const void *message = NULL;
    struct error err;

    if (!ours)
        return;
    if (ours->head.type == FRAME_READ_REPLY) {
        reader_read_frame(ours);
        return;
    }
    arena_clear(&reader->arena);
    if (message_unpack(ours->head.type, ours->header, ours->head.header_bytes, &reader->arena,
                       &message, &err)) {
        reader_drop(ours, &err);
        return;
    }
    switch (ours->head.type) {
    case FRAME_HELLO_REPLY:
        on_hello_reply(ours, message);
        break;
    case FRAME_MEMBERS:
        on_members(reader, message);
        break;
    case FRAME_FAILURE:
        on_failure(ours, message);
        break;
    case FRAME_END:
        on_end(ours, message);
        break;
    case FRAME_HEARTBEAT:
        break;
    default:
        on_answer(ours, message);
    }
}

static void on_closed(void *context, struct link *link, const struct error *why)
{
    struct reader_link *ours = link_of(link);

    (void)context;
    if (ours)
        link_down(ours, why);
}

static uint64_t on_turn(void *context)
{
    struct reader *reader = context;

    if (!reader->control.up)
        return UINT64_MAX;
    if (reader_now_ns(reader) >= reader->said_ns + READER_HEARTBEAT_NS)
        reader_send(&reader->control, FRAME_HEARTBEAT, NULL, 0);
    return reader->said_ns + READER_HEARTBEAT_NS;
}

struct link_engine reader_engine(struct reader *reader)
{
    return (struct link_engine){.context = reader,
                                .on_open = on_open,
                                .on_head = on_head,
                                .on_frame = on_frame,
                                .on_closed = on_closed,
                                .on_turn = on_turn};
}
