/* What a handle still waits for, in words, and the end of a caller's patience. */
#include "worker/client/core_state.h"

#include <stdio.h>

/* The first server that owes something, or NULL. */
static const struct core_link *owing_push(const struct core *core, uint32_t index)
{
    for (uint32_t s = 0; s < core->servers; s++) {
        for (const struct core_push_frame *frame = core->bulk[s].push_first; frame;
             frame = frame->next) {
            for (uint32_t i = 0; i < frame->push_count; i++) {
                if (frame->pushes[i] == index)
                    return &core->bulk[s];
            }
        }
    }
    return NULL;
}

static const struct core_link *owing_pull(const struct core *core, uint32_t index)
{
    for (uint32_t s = 0; s < core->servers; s++) {
        for (const struct core_pull_frame *frame = core->bulk[s].pull_first; frame;
             frame = frame->next) {
            for (uint32_t i = 0; i < frame->count; i++) {
                if (frame->blocks[i].pull == index && !frame->blocks[i].done &&
                    frame->blocks[i].place)
                    return &core->bulk[s];
            }
        }
    }
    return NULL;
}

static void link_text(const struct core_link *link, char *ret_text, size_t capacity)
{
    char name[LIMIT_ADDRESS_BYTES + 32];

    core_link_name(link, name, sizeof name);
    if (link->state == CORE_LINK_UP)
        snprintf(ret_text, capacity, "%s", name);
    else
        snprintf(ret_text, capacity, "%s, which is not connected: %s", name,
                 link->why[0] ? link->why : "no answer yet");
}

static void describe_push(const struct core *core, const struct core_push *push, uint32_t index,
                          char *ret_text, size_t capacity)
{
    const struct core_link *link = owing_push(core, index);
    char peer[700];

    int used = snprintf(ret_text, capacity,
                        "push '%s' of step %llu: ", core->registry.variables[push->variable].name,
                        (unsigned long long)push->step);
    if (used < 0 || (size_t)used >= capacity)
        return;
    if (link) {
        link_text(link, peer, sizeof peer);
        snprintf(ret_text + used, capacity - (size_t)used, "not acknowledged by %s", peer);
    } else {
        snprintf(ret_text + used, capacity - (size_t)used,
                 "the servers have it, but the step is not committed (a rank has not ended it)");
    }
}

static void describe_pull(const struct core *core, const struct core_pull *pull, uint32_t index,
                          char *ret_text, size_t capacity)
{
    const struct core_link *link = owing_pull(core, index);
    char peer[700] = "";

    if (link)
        link_text(link, peer, sizeof peer);
    snprintf(ret_text, capacity,
             "pull '%s' of step %llu: %u of %u blocks are missing%s%s (committed: %s%llu)",
             core->registry.variables[pull->variable].name, (unsigned long long)pull->step,
             pull->missing, placement_block_count(&core->placement, pull->variable),
             link ? ", from " : "", peer, core->commit_plus_1 ? "step " : "nothing, ",
             (unsigned long long)(core->commit_plus_1 ? core->commit_plus_1 - 1 : 0));
}

static void describe_request(const struct core *core, const struct core_request *request,
                             char *ret_text, size_t capacity)
{
    char text[256];

    if (request->type == FRAME_START || request->type == FRAME_BARRIER) {
        bool waiting = core_waiting(core, text, sizeof text);
        snprintf(ret_text, capacity, "%s: %u of %u workers are there%s%s", request->what,
                 core->workers_present, core->workers, waiting ? "; " : "", waiting ? text : "");
        return;
    }
    link_text(&core->control, text, sizeof text);
    snprintf(ret_text, capacity, "%s: no answer from %s", request->what, text);
}

/* What a push_pull waits for, once its pull waits for nothing: the end of the gradient's loan. */
static const struct core_push *lent_to(const struct core *core, const struct core_pull *pull)
{
    bool over = pull->missing == 0 || pull->error.status != STATUS_OK;

    return over && pull->push ? core_pool_find(&core->pushes, pull->push) : NULL;
}

void core_describe(const struct core *core, ps_handle handle, char *ret_text, size_t capacity)
{
    uint32_t index = core_handle_index(handle);
    const struct core_push *push;
    const void *record;

    ret_text[0] = 0;
    switch (core_handle_kind(handle)) {
    case CORE_KIND_PUSH:
        record = core_pool_find(&core->pushes, handle);
        if (record)
            describe_push(core, record, index, ret_text, capacity);
        break;
    case CORE_KIND_PULL:
        record = core_pool_find(&core->pulls, handle);
        push = record ? lent_to(core, record) : NULL;
        if (push)
            describe_push(core, push, core_handle_index(((const struct core_pull *)record)->push),
                          ret_text, capacity);
        else if (record)
            describe_pull(core, record, index, ret_text, capacity);
        break;
    case CORE_KIND_REQUEST:
        record = core_pool_find(&core->requests, handle);
        if (record)
            describe_request(core, record, ret_text, capacity);
        break;
    case CORE_KIND_NONE:
        break;
    }
}

enum status core_expire(struct core *core, ps_handle handle, uint64_t waited_ms, struct error *err)
{
    uint32_t index = core_handle_index(handle);
    char text[ERROR_MESSAGE_BYTES];

    core_describe(core, handle, text, sizeof text);
    if (core_handle_kind(handle) == CORE_KIND_PULL && core_pool_find(&core->pulls, handle))
        core_pull_expire(core, index);
    if (core_handle_kind(handle) == CORE_KIND_REQUEST && core_pool_find(&core->requests, handle))
        core_request_forget(core, index);
    return error_set(err, STATUS_DEADLINE_EXCEEDED, "after %.1f s: %s", (double)waited_ms / 1000,
                     text);
}
