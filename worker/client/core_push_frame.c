/*
 * Frames of pushed blocks: one list a server; small variables share a frame until it is full or
 * something must go out. A frame stays in its server's list until it is acknowledged or its step is
 * committed, and in memory until no link refers to its bytes. A push ends when its step is
 * committed and no frame with its bytes is queued.
 */
#include "worker/client/core_state.h"

#include "common/base/alloc.h"
#include "common/base/mutant.h"

/* ---- frames ---- */

static void frame_free(struct core_push_frame *frame)
{
    if (!frame)
        return;
    alloc_free(frame->variables);
    alloc_free(frame->pieces);
    alloc_free(frame);
}

static struct core_push_frame *frame_new(struct core *core, uint32_t block_capacity)
{
    struct core_push_frame *frame = alloc_zero(sizeof *frame);

    if (!frame)
        return NULL;
    frame->block_capacity = block_capacity;
    frame->variables = alloc_array((size_t)block_capacity * 4, sizeof(uint32_t));
    frame->pieces = alloc_array(block_capacity, sizeof *frame->pieces);
    if (!frame->variables || !frame->pieces) {
        frame_free(frame);
        return NULL;
    }
    frame->blocks = frame->variables + block_capacity;
    frame->rows = frame->blocks + block_capacity;
    frame->pushes = frame->rows + block_capacity;
    frame->core = core;
    frame->all_next = core->frames;
    core->frames = frame;
    return frame;
}

static struct core_push_frame **free_list(struct core *core, uint32_t block_capacity)
{
    return block_capacity == CORE_FEW_BLOCKS ? &core->free_few : &core->free_many;
}

static struct core_push_frame *frame_take(struct core *core, uint32_t block_capacity)
{
    struct core_push_frame **list = free_list(core, block_capacity);
    struct core_push_frame *frame = *list;

    if (!frame)
        return frame_new(core, block_capacity);
    *list = frame->next;
    frame->next = NULL;
    return frame;
}

static void frame_give(struct core *core, struct core_push_frame *frame)
{
    struct core_push_frame **list = free_list(core, frame->block_capacity);

    frame->sealed = frame->sent = frame->listed = false;
    frame->block_count = frame->push_count = 0;
    frame->payload_bytes = 0;
    frame->previous = NULL;
    frame->next = *list;
    *list = frame;
}

static void list_append(struct core_link *link, struct core_push_frame *frame)
{
    frame->previous = link->push_last;
    frame->next = NULL;
    if (link->push_last)
        link->push_last->next = frame;
    else
        link->push_first = frame;
    link->push_last = frame;
    if (!link->push_unsent)
        link->push_unsent = frame;
    frame->listed = true;
}

static void list_remove(struct core_link *link, struct core_push_frame *frame)
{
    if (link->push_unsent == frame)
        link->push_unsent = frame->next;
    if (frame->previous)
        frame->previous->next = frame->next;
    else
        link->push_first = frame->next;
    if (frame->next)
        frame->next->previous = frame->previous;
    else
        link->push_last = frame->previous;
    frame->next = frame->previous = NULL;
    frame->listed = false;
    if (frame->sent)
        link->push_in_flight--;
}

/* ---- records ---- */

static void push_give(struct core *core, uint32_t index)
{
    struct core_push *push = core_pool_at(&core->pushes, index);

    if (push->memory)
        core_memory_give(core, push->memory);
    core_pool_give(&core->pushes, index);
    core->progress++;
}

/* Ends the push if its time has come, and tells a pull that waits for the end of the loan. */
static void push_settle(struct core *core, uint32_t index)
{
    struct core_push *push = core_pool_at(&core->pushes, index);
    ps_handle pull = push->unacked == 0 && push->queued == 0 ? push->pull : 0;
    bool committed = core->commit_plus_1 > push->step ||
                     (MUTANT(LOAN_ENDS_AT_ACK) && push->unacked == 0);

    if (push->unacked == 0 && push->queued == 0)
        core->progress++; /* staged */
    if (committed && push->unacked == 0 && push->queued == 0)
        push_give(core, index);
    if (pull && core_pool_find(&core->pulls, pull))
        core_pull_settle(core, core_handle_index(pull));
}

/* The server has what is in the frame, or will never need it. */
void core_push_drop(struct core_link *link, struct core_push_frame *frame)
{
    struct core *core = link->core;

    list_remove(link, frame);
    for (uint32_t i = 0; i < frame->push_count; i++) {
        struct core_push *push = core_pool_at(&core->pushes, frame->pushes[i]);
        push->unacked--;
    }
    for (uint32_t i = 0; frame->queued == 0 && i < frame->push_count; i++)
        push_settle(core, frame->pushes[i]);
    if (frame->queued == 0)
        frame_give(core, frame);
}

void core_push_released(void *owner, bool written)
{
    struct core_push_frame *frame = owner;
    struct core *core = frame->core;

    (void)written; /* the acknowledgement says what arrived */
    if (--frame->queued)
        return;
    for (uint32_t i = 0; i < frame->push_count; i++) {
        struct core_push *push = core_pool_at(&core->pushes, frame->pushes[i]);
        push->queued--;
    }
    for (uint32_t i = 0; i < frame->push_count; i++)
        push_settle(core, frame->pushes[i]);
    if (!frame->listed)
        frame_give(core, frame);
}

void core_push_acked(struct core_link *link, const Pmd__PushAck *ack)
{
    for (size_t i = 0; i < ack->n_request; i++) {
        struct core_push_frame *frame = link->push_first;
        while (frame && frame->request != ack->request[i])
            frame = frame->next;
        if (frame) /* else acknowledged before, or committed meanwhile */
            core_push_drop(link, frame);
    }
}

void core_push_committed(struct core *core)
{
    for (uint32_t s = 0; core->bulk && s < core->servers; s++) {
        struct core_link *link = &core->bulk[s];
        while (link->push_first && link->push_first->step < core->commit_plus_1)
            core_push_drop(link, link->push_first);
    }
    for (uint32_t i = 0; core->pushes.used && i < core->pushes.capacity; i++) {
        struct core_push *push = (struct core_push *)core->pushes.records + i;
        if (push->slot.used && push->step < core->commit_plus_1)
            push_settle(core, i);
    }
}

bool core_push_waits(const struct core_link *link, uint64_t request)
{
    const struct core_push_frame *frame = link->push_first;

    while (frame && frame->request != request)
        frame = frame->next;
    return frame != NULL;
}

bool core_push_loaned(const struct core *core, uint64_t step)
{
    for (uint32_t i = 0; core->pushes.used && i < core->pushes.capacity; i++) {
        const struct core_push *push = (const struct core_push *)core->pushes.records + i;
        if (push->slot.used && push->step <= step)
            return true;
    }
    return false;
}

void core_push_forget(struct core *core, uint32_t index)
{
    push_give(core, index);
}

/* ---- building frames ---- */

void core_push_seal(struct core_link *link)
{
    if (link->push_last)
        link->push_last->sealed = true;
}

/* The frame in the making that takes this block, or a new one. */
static struct core_push_frame *frame_for(struct core_link *link, const struct core_push *push,
                                         enum ps_push_kind kind, bool rows_encoded, size_t bytes)
{
    struct core *core = link->core;
    struct core_push_frame *frame = link->push_last;

    if (frame && !frame->sealed && frame->step == push->step && frame->kind == kind &&
        frame->rows_encoded == rows_encoded && frame->block_count < frame->block_capacity &&
        frame->payload_bytes + bytes <= LIMIT_PAYLOAD_BYTES)
        return frame;
    core_push_seal(link);
    frame = frame_take(core,
                       bytes >= CORE_SMALL_BLOCK_BYTES ? CORE_FEW_BLOCKS : LIMIT_FRAME_BLOCKS);
    if (!frame)
        return NULL;
    frame->request = core->next_request++;
    frame->step = push->step;
    frame->server = link->server;
    frame->kind = kind;
    frame->rows_encoded = rows_encoded;
    list_append(link, frame);
    return frame;
}

enum status core_push_block(struct core *core, uint32_t index, uint32_t block,
                            enum ps_push_kind kind, bool rows_encoded, uint32_t rows,
                            const uint8_t *data, size_t bytes, struct error *err)
{
    struct core_push *push = core_pool_at(&core->pushes, index);
    uint32_t server = placement_server_of(&core->placement, push->variable, block);
    struct core_push_frame *frame = frame_for(&core->bulk[server], push, kind, rows_encoded, bytes);

    if (!frame)
        return error_no_memory(err, "a frame of pushed blocks");
    uint32_t i = frame->block_count++;
    frame->variables[i] = push->variable;
    frame->blocks[i] = block;
    frame->rows[i] = rows;
    frame->pieces[i] = (struct link_piece){.data = data, .bytes = bytes};
    frame->payload_bytes += bytes;
    if (frame->push_count == 0 || frame->pushes[frame->push_count - 1] != index) {
        frame->pushes[frame->push_count++] = index;
        push->unacked++;
    }
    if (frame->payload_bytes == LIMIT_PAYLOAD_BYTES || frame->block_count == frame->block_capacity)
        frame->sealed = true;
    return STATUS_OK;
}

/* Takes back the last blocks of a frame, as far as they are of this push. */
static void frame_cut(struct core_link *link, struct core_push_frame *frame, uint32_t index)
{
    struct core *core = link->core;
    struct core_push *push = core_pool_at(&core->pushes, index);

    while (frame->block_count && frame->variables[frame->block_count - 1] == push->variable)
        frame->payload_bytes -= frame->pieces[--frame->block_count].bytes;
    frame->push_count--;
    push->unacked--;
    if (frame->block_count == 0) {
        list_remove(link, frame);
        frame_give(core, frame);
    }
}

void core_push_undo(struct core *core, uint32_t index)
{
    for (uint32_t s = 0; s < core->servers; s++) {
        struct core_link *link = &core->bulk[s];
        struct core_push_frame *frame = link->push_last;
        while (frame && frame->push_count && frame->pushes[frame->push_count - 1] == index) {
            struct core_push_frame *previous = frame->previous;
            frame_cut(link, frame, index);
            frame = previous;
        }
    }
    push_give(core, index);
}

/* ---- the end ---- */

void core_pushes_release(struct core *core)
{
    for (uint32_t i = 0; i < core->pushes.capacity; i++) {
        struct core_push *push = (struct core_push *)core->pushes.records + i;
        if (push->slot.used)
            alloc_free(push->memory);
    }
    alloc_free(core->pushes.records);
    while (core->frames) {
        struct core_push_frame *next = core->frames->all_next;
        frame_free(core->frames);
        core->frames = next;
    }
    while (core->free_memory) {
        struct core_memory *next = core->free_memory->next;
        alloc_free(core->free_memory);
        core->free_memory = next;
    }
}
