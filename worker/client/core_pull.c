/*
 * Pulls. Blocks wanted from a server are asked for together; what comes is read straight into the
 * callers' arrays, block by block, in any order. A pull whose caller went away leaves its blocks
 * without a place: they are read into nowhere.
 */
#include "worker/client/core_state.h"

#include "common/base/alloc.h"
#include "common/base/mutant.h"

#include <assert.h>

enum { LATEST_TRIES = 100 };

/* ---- frames ---- */

static struct core_pull_frame *frame_find(const struct core_link *link, uint64_t request)
{
    struct core_pull_frame *frame = link->pull_first;

    while (frame && frame->request != request)
        frame = frame->next;
    return frame;
}

static struct core_pull_frame *frame_take(struct core_link *link, uint64_t step)
{
    struct core *core = link->core;
    struct core_pull_frame *frame = core->free_pulls;

    if (frame)
        core->free_pulls = frame->next;
    else
        frame = alloc_zero(sizeof *frame);
    if (!frame)
        return NULL;
    frame->request = core->next_request++;
    frame->step = step;
    frame->server = link->server;
    frame->sealed = frame->sent = false;
    frame->count = frame->missing = frame->found = frame->replies = 0;
    frame->next = NULL;
    frame->previous = link->pull_last;
    if (link->pull_last)
        link->pull_last->next = frame;
    else
        link->pull_first = frame;
    link->pull_last = frame;
    return frame;
}

static void frame_give(struct core_link *link, struct core_pull_frame *frame)
{
    struct core *core = link->core;

    if (frame->previous)
        frame->previous->next = frame->next;
    else
        link->pull_first = frame->next;
    if (frame->next)
        frame->next->previous = frame->previous;
    else
        link->pull_last = frame->previous;
    link->pull_in_flight -= frame->sent;
    frame->next = core->free_pulls;
    core->free_pulls = frame;
}

void core_pull_seal(struct core_link *link)
{
    if (link->pull_last)
        link->pull_last->sealed = true;
}

/* ---- asking ---- */

static enum status pull_block(struct core *core, uint32_t index, uint32_t block, struct error *err)
{
    struct core_pull *pull = core_pool_at(&core->pulls, index);
    struct core_link *link =
        &core->bulk[placement_server_of(&core->placement, pull->variable, block)];
    size_t element_bytes = dtype_bytes(core->registry.variables[pull->variable].dtype);
    struct core_pull_frame *frame = link->pull_last;

    if (!frame || frame->sealed || frame->step != pull->step) {
        core_pull_seal(link);
        frame = frame_take(link, pull->step);
        if (!frame)
            return error_no_memory(err, "a list of pulled blocks");
    }
    frame->blocks[frame->count++] = (struct core_pull_block){
        .place = pull->values +
                 (size_t)placement_first_element(&core->placement, pull->variable, block) *
                     element_bytes,
        .bytes = (uint32_t)placement_block_bytes(&core->placement, pull->variable, block),
        .variable = pull->variable,
        .block = block,
        .pull = index,
    };
    frame->missing++;
    frame->sealed = frame->count == LIMIT_FRAME_BLOCKS;
    pull->missing++;
    return STATUS_OK;
}

static enum status pull_queue(struct core *core, uint32_t index, struct error *err)
{
    struct core_pull *pull = core_pool_at(&core->pulls, index);
    uint32_t count = placement_block_count(&core->placement, pull->variable);

    pull->missing = 0;
    for (uint32_t block = 0; block < count; block++) {
        enum status status = pull_block(core, index, block, err);
        if (status) {
            core_pull_abandon(core, index);
            return status;
        }
    }
    return STATUS_OK;
}

enum status core_pull(struct core *core, uint32_t variable, uint64_t step, void *values,
                      ps_handle *ret_handle, struct error *err)
{
    enum status status = core_variable_check(core, "pull", variable, err);
    uint64_t committed = core->commit_plus_1 ? core->commit_plus_1 - 1 : 0;
    uint32_t index;

    if (status)
        return status;
    if (core->pulls_failed >= CORE_FAILED_PULLS)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "pull '%s': %u pulls have failed and nobody waited for them",
                         core->registry.variables[variable].name, core->pulls_failed);
    if (!core_pool_take(&core->pulls, &index))
        return error_no_memory(err, "a pull");
    struct core_pull *pull = core_pool_at(&core->pulls, index);
    pull->latest_tries = step == PS_LATEST ? LATEST_TRIES : 0;
    if (step == PS_LATEST)
        step = core->last_begun > committed ? core->last_begun : committed;
    pull->step = step;
    pull->variable = variable;
    pull->values = values;
    status = pull_queue(core, index, err);
    if (status) {
        core_pool_give(&core->pulls, index);
        return status;
    }
    *ret_handle = core_handle_make(CORE_KIND_PULL, pull->slot.generation, index);
    return STATUS_OK;
}

/* ---- the end of a pull ---- */

bool core_pull_complete(const struct core *core, const struct core_pull *pull)
{
    const struct core_push *push = pull->push ? core_pool_find(&core->pushes, pull->push) : NULL;

    return !pull->error.status && pull->missing == 0 &&
           (!push || (push->unacked == 0 && push->queued == 0));
}

void core_pull_settle(struct core *core, uint32_t index)
{
    const struct core_pull *pull = core_pool_at(&core->pulls, index);

    if (!core_pull_complete(core, pull))
        return;
    core_pool_give(&core->pulls, index);
    core->progress++;
}

/* Is the frame being received on this link partly for this pull? */
static bool receives_for(const struct core_link *link, const struct core_pull_frame *frame,
                         uint32_t index)
{
    if (link->receiving != frame)
        return false;
    for (uint32_t i = 0; i < link->received_count; i++) {
        const struct core_pull_block *block = &frame->blocks[link->received[i]];
        if (block->pull == index && block->place && !block->done)
            return true;
    }
    return false;
}

static void frame_abandon(struct core_link *link, struct core_pull_frame *frame, uint32_t index)
{
    struct error why;

    if (receives_for(link, frame, index) && !MUTANT(PULL_STILL_WRITES)) {
        error_set(&why, STATUS_CANCELLED, "a pull was given up while its bytes were arriving");
        core_link_drop(link, &why);
    }
    for (uint32_t i = 0; i < frame->count; i++) {
        struct core_pull_block *block = &frame->blocks[i];
        if (block->pull != index || !block->place || block->done)
            continue;
        block->place = NULL;
        frame->missing--;
    }
    if (frame->missing == 0 && link->receiving == frame)
        link->receiving = NULL; /* the rest goes nowhere: its places are no longer anybody's */
    if (frame->missing == 0)
        frame_give(link, frame);
}

void core_pull_abandon(struct core *core, uint32_t index)
{
    for (uint32_t s = 0; s < core->servers; s++) {
        struct core_link *link = &core->bulk[s];
        struct core_pull_frame *next;
        for (struct core_pull_frame *frame = link->pull_first; frame; frame = next) {
            next = frame->next;
            frame_abandon(link, frame, index);
        }
    }
}

void core_pull_forget(struct core *core, uint32_t index)
{
    struct core_pull *pull = core_pool_at(&core->pulls, index);

    if (pull->error.status)
        core->pulls_failed--;
    else
        core_pull_abandon(core, index);
    core_pool_give(&core->pulls, index);
}

void core_pull_expire(struct core *core, uint32_t index)
{
    struct core_pull *pull = core_pool_at(&core->pulls, index);

    pull->slot.failed_generation = pull->slot.generation;
    core_pull_forget(core, index);
}

/* ---- failures ---- */

/* A version that is gone is no loss to a caller who wants the latest one. */
static bool pull_newer(struct core *core, struct core_pull *pull, uint32_t index,
                       const struct error *why)
{
    if (why->status != STATUS_OUT_OF_RANGE || pull->latest_tries == 0 || core->commit_plus_1 == 0 ||
        core->commit_plus_1 - 1 <= pull->step)
        return false;
    pull->latest_tries--;
    pull->step = core->commit_plus_1 - 1;
    if (pull_queue(core, index, NULL))
        return false;
    core_flush(core);
    return true;
}

static void pull_fail(struct core *core, uint32_t index, const struct core_link *link,
                      const struct error *why)
{
    struct core_pull *pull = core_pool_at(&core->pulls, index);
    char name[LIMIT_ADDRESS_BYTES + 32];

    core_pull_abandon(core, index);
    if (pull_newer(core, pull, index, why))
        return;
    core_link_name(link, name, sizeof name);
    error_set(&pull->error, why->status, "pull '%s' of step %llu: %s: %s",
              core->registry.variables[pull->variable].name, (unsigned long long)pull->step, name,
              why->message);
    core->pulls_failed++;
    core->progress++;
}

bool core_pull_failed(struct core_link *link, uint64_t request, const struct error *why)
{
    struct core_pull_frame *frame = frame_find(link, request);

    if (!frame)
        return false;
    while (frame_find(link, request) == frame) {
        uint32_t i = 0;
        while (frame->blocks[i].done || !frame->blocks[i].place)
            i++;
        assert(i < frame->count);
        pull_fail(link->core, frame->blocks[i].pull, link, why);
    }
    return true;
}

/* ---- answers ---- */

/* The entry that a part of a reply is for. Of several for the same block, one that still waits:
 * those that were given up may not have been asked for, and another part may serve one already. */
static bool block_find(struct core_pull_frame *frame, uint32_t variable, uint32_t block,
                       uint32_t *ret_index)
{
    bool found = false;

    for (uint32_t n = 0; n < frame->count; n++) {
        uint32_t i = (frame->found + n) % frame->count;
        const struct core_pull_block *entry = &frame->blocks[i];
        bool waits = !entry->done && entry->place && entry->reply != frame->replies;
        if (entry->variable != variable || entry->block != block || (found && !waits))
            continue;
        *ret_index = i;
        found = true;
        if (waits)
            break;
    }
    if (found)
        frame->found = *ret_index + 1;
    return found;
}

static enum link_verdict head_places(struct core_link *link, struct core_pull_frame *frame,
                                     const Pmd__PullReply *reply,
                                     struct link_incoming *ret_incoming, struct error *err)
{
    uint64_t total = 0;

    frame->replies++;
    for (size_t i = 0; i < reply->n_variable; i++) {
        uint32_t index;
        if (!block_find(frame, reply->variable[i], reply->block[i], &index)) {
            error_set(err, STATUS_INVALID_ARGUMENT,
                      "PULL_REPLY of step %llu: block %u of variable %u was not asked for",
                      (unsigned long long)reply->step, reply->block[i], reply->variable[i]);
            return LINK_REFUSE;
        }
        struct core_pull_block *block = &frame->blocks[index];
        ret_incoming->places[i] = (struct link_place){block->done ? NULL : block->place,
                                                      block->bytes};
        block->reply = frame->replies;
        link->received[i] = index;
        total += block->bytes;
    }
    if (total != link->head.payload_bytes) {
        error_set(
            err, STATUS_INVALID_ARGUMENT, "PULL_REPLY of step %llu: %u bytes, its blocks have %llu",
            (unsigned long long)reply->step, link->head.payload_bytes, (unsigned long long)total);
        return LINK_REFUSE;
    }
    ret_incoming->place_count = reply->n_variable;
    link->received_count = (uint32_t)reply->n_variable;
    link->receiving = frame;
    return LINK_TAKE;
}

enum link_verdict core_pull_head(struct core_link *link, const Pmd__PullReply *reply,
                                 struct link_incoming *ret_incoming, struct error *err)
{
    struct core_pull_frame *frame = frame_find(link, link->head.request);

    link->receiving = NULL;
    link->received_grant = reply->grant;
    if (link->head.request == 0 || link->head.request >= link->core->next_request ||
        reply->n_variable > LIMIT_FRAME_BLOCKS || (frame && reply->step != frame->step)) {
        error_set(err, STATUS_INVALID_ARGUMENT,
                  "PULL_REPLY %llu of step %llu answers no pull of this client",
                  (unsigned long long)link->head.request, (unsigned long long)reply->step);
        return LINK_REFUSE;
    }
    if (frame)
        return head_places(link, frame, reply, ret_incoming, err);
    ret_incoming->places[0] = (struct link_place){NULL, link->head.payload_bytes};
    ret_incoming->place_count = link->head.payload_bytes > 0;
    return LINK_TAKE;
}

void core_pull_frame_read(struct core_link *link)
{
    struct core *core = link->core;
    struct core_pull_frame *frame = link->receiving;

    link->receiving = NULL;
    core_granted(core, link->received_grant);
    if (!frame)
        return;
    for (uint32_t i = 0; i < link->received_count; i++) {
        struct core_pull_block *block = &frame->blocks[link->received[i]];
        if (block->done)
            continue;
        block->done = true;
        if (!block->place)
            continue;
        struct core_pull *pull = core_pool_at(&core->pulls, block->pull);
        frame->missing--;
        pull->missing--;
        if (pull->missing == 0)
            core_pull_settle(core, block->pull);
    }
    if (frame->missing == 0)
        frame_give(link, frame);
}

void core_pulls_release(struct core *core)
{
    for (uint32_t s = 0; core->bulk && s < core->servers; s++) {
        struct core_link *link = &core->bulk[s];
        while (link->pull_first)
            frame_give(link, link->pull_first);
    }
    while (core->free_pulls) {
        struct core_pull_frame *next = core->free_pulls->next;
        alloc_free(core->free_pulls);
        core->free_pulls = next;
    }
    alloc_free(core->pulls.records);
}
