/* What arrives: from which link which frame may come, and what it means. */
#include "worker/client/core_state.h"

#include "common/base/alloc.h"
#include "common/base/exit_code.h"
#include "common/wire/message.h"
#include "proto/data.pb-c.h"

#include <string.h>

/* ---- control ---- */

static void on_members(struct core_link *link, const void *message)
{
    struct core *core = link->core;
    const Pmd__Members *members = message;

    core->servers_present = members->servers_present;
    core->workers_present = members->workers_present;
    core->progress++;
    if (members->n_server_address != core->servers)
        return;
    for (uint32_t s = 0; s < core->servers; s++) {
        size_t length = strlen(members->server_address[s]);
        if (length >= sizeof core->bulk[s].address)
            return; /* message_unpack bounds it; a longer one could not be connected to */
        memcpy(core->bulk[s].address, members->server_address[s], length + 1);
    }
    core->addresses_known = true;
}

static void on_create_reply(struct core_link *link, const void *message)
{
    const Pmd__CreateReply *reply = message;
    struct core_request *request = core_request_find(link->core, FRAME_CREATE, link->head.request);

    if (!request)
        return;
    request->variable = reply->variable;
    core_request_answer(link->core, request);
}

static void on_registry(struct core_link *link, const void *message)
{
    struct core *core = link->core;
    struct core_request *request = core_request_find(core, FRAME_START, link->head.request);
    struct error err = {0};
    bool complete = false;

    if (core_registry_add(core, message, &complete, &err)) {
        if (!request)
            return;
        request->error = err;
        error_wrap(&request->error, "start");
        core_request_answer(core, request);
    } else if (complete && request) {
        core_request_answer(core, request);
    }
}

static void on_done(struct core_link *link, const void *message)
{
    struct core_request *request = core_request_find(link->core, FRAME_INVALID, link->head.request);

    (void)message;
    if (request && (request->type == FRAME_CONFIGURE || request->type == FRAME_FINISH))
        core_request_answer(link->core, request);
}

static void on_barrier_reply(struct core_link *link, const void *message)
{
    struct core *core = link->core;
    const Pmd__BarrierReply *reply = message;
    struct core_request *request = core_request_find(core, FRAME_BARRIER, link->head.request);

    if (!request)
        return;
    request->metrics = alloc_array(reply->n_totals, sizeof *request->metrics);
    for (size_t i = 0; request->metrics && i < reply->n_totals; i++) {
        request->metrics[i].name = core_name_keep(core, reply->totals[i]->name);
        request->metrics[i].sum = reply->totals[i]->sum;
        request->metrics[i].count = reply->totals[i]->count;
        if (!request->metrics[i].name)
            core_name_error(core, reply->totals[i]->name, &request->error);
    }
    if (!request->metrics)
        error_no_memory(&request->error, "a barrier's totals");
    request->metric_count = reply->n_totals;
    core_request_answer(core, request);
}

static void on_commit(struct core_link *link, const void *message)
{
    const Pmd__Commit *commit = message;

    core_granted(link->core, commit->grant);
    core_commit(link->core, commit->step + 1);
    core_totals_keep(link->core, commit);
}

static void on_end(struct core_link *link, const void *message)
{
    const Pmd__End *end = message;
    struct error why;

    if (end->status == STATUS_OK)
        error_set(&why, STATUS_UNAVAILABLE, "the job is over: %s", end->message);
    else
        error_set(&why, status_of_failure(end->status), "%s",
                  end->message[0] ? end->message
                                  : "the coordinator ended the job and did not say why");
    /* What a shell would take for success is none. */
    bool sound = end->exit_code > 0 && end->exit_code < 256;
    core_end(link->core, &why, sound ? (int)end->exit_code : EXIT_CODE_FAILED);
}

static void on_hello_reply(struct core_link *link, const void *message)
{
    core_link_greeted(link, message);
}

static void on_failure(struct core_link *link, const void *message)
{
    struct core *core = link->core;
    const Pmd__Failure *failure = message;
    char name[LIMIT_ADDRESS_BYTES + 32];
    struct error why;

    if (link->state == CORE_LINK_GREETING) {
        core_link_refused(link, failure);
        return;
    }
    error_set(&why, status_of_failure(failure->status), "%s", failure->message);
    struct core_request *request = link->control
                                       ? core_request_find(core, FRAME_INVALID, link->head.request)
                                       : NULL;
    if (request) {
        request->error = why;
        error_wrap(&request->error, "%s", request->what);
        core_request_answer(core, request);
        return;
    }
    if (!link->control && core_pull_failed(link, link->head.request, &why))
        return;
    if (link->head.request && (link->control || !core_push_waits(link, link->head.request)))
        return; /* of a request that was given up */
    core_link_name(link, name, sizeof name);
    error_wrap(&why, "%s", name);
    core_end(core, &why, why.status == STATUS_ABORTED ? EXIT_CODE_FENCED : EXIT_CODE_FAILED);
}

/* ---- bulk ---- */

static void on_push_ack(struct core_link *link, const void *message)
{
    core_push_acked(link, message);
    core_send_bulk(link); /* the window moved */
}

static void on_pull_reply(struct core_link *link, const void *message)
{
    (void)message; /* read in on_head */
    core_pull_frame_read(link);
}

static void on_heartbeat(struct core_link *link, const void *message)
{
    (void)link;
    (void)message;
}

/* ---- which frame may come where ---- */

struct arrival {
    enum frame_type type;
    bool control, bulk;
    bool greeting; /* as the answer to HELLO too */
    void (*on_message)(struct core_link *link, const void *message);
};

static const struct arrival arrivals[] = {
    {FRAME_HELLO_REPLY, true, true, true, on_hello_reply},
    {FRAME_FAILURE, true, true, true, on_failure},
    {FRAME_END, true, true, true, on_end},
    {FRAME_HEARTBEAT, true, true, false, on_heartbeat},
    {FRAME_DONE, true, false, false, on_done},
    {FRAME_MEMBERS, true, false, false, on_members},
    {FRAME_CREATE_REPLY, true, false, false, on_create_reply},
    {FRAME_REGISTRY, true, false, false, on_registry},
    {FRAME_COMMIT, true, false, false, on_commit},
    {FRAME_BARRIER_REPLY, true, false, false, on_barrier_reply},
    {FRAME_PUSH_ACK, false, true, false, on_push_ack},
    {FRAME_PULL_REPLY, false, true, false, on_pull_reply},
};

static const struct arrival *arrival_find(const struct core_link *link, enum frame_type type)
{
    for (size_t i = 0; i < sizeof arrivals / sizeof arrivals[0]; i++) {
        const struct arrival *arrival = &arrivals[i];
        if (arrival->type != type || !(link->control ? arrival->control : arrival->bulk))
            continue;
        bool fits = link->state == CORE_LINK_UP ? type != FRAME_HELLO_REPLY : arrival->greeting;
        return fits ? arrival : NULL;
    }
    return NULL;
}

static bool header_keep(struct core_link *link, const uint8_t *header, size_t bytes)
{
    if (bytes > link->header_capacity) {
        uint8_t *grown = alloc_resize(link->header, bytes, 1);
        if (!grown)
            return false;
        link->header = grown;
        link->header_capacity = bytes;
    }
    if (bytes)
        memcpy(link->header, header, bytes);
    return true;
}

enum link_verdict core_frame_head(struct core_link *link, const struct frame_head *head,
                                  const uint8_t *header, struct link_incoming *ret_incoming,
                                  struct error *err)
{
    struct core *core = link->core;
    const void *message;

    link->heard_ns = core->io.now_ns(core->io.context);
    link->head = *head;
    ret_incoming->place_count = 0;
    if (head->lineage != FRAME_LINEAGE || head->map_version != FRAME_MAP_VERSION) {
        error_set(err, STATUS_FAILED_PRECONDITION,
                  "a %s frame of lineage %u, map version %u; here are %d, %d",
                  frame_type_name(head->type), head->lineage, head->map_version, FRAME_LINEAGE,
                  FRAME_MAP_VERSION);
        return LINK_REFUSE;
    }
    if (!arrival_find(link, head->type)) {
        error_set(err, STATUS_INVALID_ARGUMENT, "a %s frame does not belong here",
                  frame_type_name(head->type));
        return LINK_REFUSE;
    }
    if (head->type != FRAME_PULL_REPLY) {
        if (head->payload_bytes) {
            error_set(err, STATUS_INVALID_ARGUMENT,
                      "a %s frame has no payload, this one has %u bytes",
                      frame_type_name(head->type), head->payload_bytes);
            return LINK_REFUSE;
        }
        if (header_keep(link, header, head->header_bytes))
            return LINK_TAKE;
        error_no_memory(err, "a header");
        return LINK_REFUSE;
    }
    arena_clear(&core->arena);
    if (message_unpack(head->type, header, head->header_bytes, &core->arena, &message, err))
        return LINK_REFUSE;
    return core_pull_head(link, message, ret_incoming, err);
}

void core_frame_read(struct core_link *link)
{
    struct core *core = link->core;
    const struct arrival *arrival = arrival_find(link, link->head.type);
    const void *message = NULL;
    struct error err;

    if (!arrival)
        return;
    core_commit(core, link->head.commit_plus_1);
    if (link->head.type != FRAME_PULL_REPLY) {
        arena_clear(&core->arena);
        if (message_unpack(link->head.type, link->header, link->head.header_bytes, &core->arena,
                           &message, &err)) {
            core_link_drop(link, &err);
            return;
        }
    }
    arrival->on_message(link, message);
}
