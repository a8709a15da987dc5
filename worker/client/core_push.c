/*
 * Pushes. A variable's blocks go into frames, one list a server; small variables share a frame
 * until it is full or something must go out. A frame stays in its server's list until it is
 * acknowledged or its step is committed, and in memory until no link refers to its bytes. A push
 * ends when its step is committed and no frame with its bytes is queued.
 */
#include "worker/client/core_state.h"

#include "common/base/alloc.h"
#include "common/base/mutant.h"

#include <assert.h>
#include <string.h>

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

    if (push->memory) {
        push->memory->next = core->free_memory;
        core->free_memory = push->memory;
    }
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

enum status core_push_take(struct core *core, uint32_t variable, uint64_t step, uint32_t *ret_index,
                           struct error *err)
{
    if (!core_pool_take(&core->pushes, ret_index))
        return error_no_memory(err, "a push");
    struct core_push *push = core_pool_at(&core->pushes, *ret_index);
    push->step = step;
    push->variable = variable;
    return STATUS_OK;
}

enum status core_push_queue(struct core *core, uint32_t variable, uint64_t step, const void *values,
                            enum ps_push_kind kind, uint32_t *ret_index, struct error *err)
{
    size_t element_bytes = dtype_bytes(core->registry.variables[variable].dtype);
    uint32_t count = placement_block_count(&core->placement, variable);
    uint32_t index;
    enum status status = core_push_take(core, variable, step, &index, err);

    if (status)
        return status;
    for (uint32_t block = 0; block < count; block++) {
        const uint8_t *data = (const uint8_t *)values +
                              (size_t)placement_first_element(&core->placement, variable, block) *
                                  element_bytes;
        size_t bytes = placement_block_bytes(&core->placement, variable, block);
        status = core_push_block(core, index, block, kind, false, 0, data, bytes, err);
        if (status) {
            core_push_undo(core, index);
            return status;
        }
    }
    *ret_index = index;
    return STATUS_OK;
}

/* ---- what callers ask ---- */

enum status core_ended_error(const struct core *core, struct error *err)
{
    if (err)
        *err = core->end;
    return core->end.status;
}

enum status core_variable_check(const struct core *core, const char *verb, uint32_t variable,
                                struct error *err)
{
    if (core->ended)
        return core_ended_error(core, err);
    if (!core->registry_known)
        return error_set(err, STATUS_FAILED_PRECONDITION, "%s variable %u: call ps_start first",
                         verb, variable);
    if (variable >= core->registry.variable_count)
        return error_set(err, STATUS_NOT_FOUND, "%s variable %u: the job has %zu variables", verb,
                         variable, core->registry.variable_count);
    return STATUS_OK;
}

/* ret_send: false if nothing needs to go out (no examples, or another rank's word counts). */
enum status core_push_check(struct core *core, uint32_t variable, enum ps_push_kind kind,
                            bool *ret_send, struct error *err)
{
    enum status status = core_variable_check(core, "push", variable, err);

    if (status)
        return status;
    const struct variable_spec *spec = &core->registry.variables[variable];
    if (!core_step_open(core))
        return error_set(err, STATUS_FAILED_PRECONDITION, "push '%s': no step was begun",
                         spec->name);
    const struct core_step *step = &core->steps[core->last_begun % CORE_STEPS];
    if ((unsigned)kind > PS_ADD)
        return error_set(err, STATUS_INVALID_ARGUMENT, "push '%s': no kind has the number %d",
                         spec->name, (int)kind);
    if (kind == PS_GRADIENT && !spec->trainable)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "push '%s': it is not trainable, so it takes values but no gradient",
                         spec->name);
    if (core->pushed_step_plus_1[variable] > step->step)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "push '%s': it was pushed before in step %llu", spec->name,
                         (unsigned long long)step->step);
    if (step->examples == 0 && (kind == PS_ADD || kind == PS_PUSH_ASSIGN))
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "push '%s': a rank without examples takes no part in step %llu",
                         spec->name, (unsigned long long)step->step);
    *ret_send = step->examples > 0 && (kind != PS_PUSH_ASSIGN || core->rank_plus_1 == 1);
    return STATUS_OK;
}

void core_push_send(struct core *core)
{
    for (uint32_t s = 0; s < core->servers; s++) {
        if (core->bulk[s].push_unsent)
            core_send_bulk(&core->bulk[s]);
    }
}

ps_handle core_push_handle(const struct core *core, uint32_t index)
{
    const struct core_push *push = core_pool_at(&core->pushes, index);

    return core_handle_make(CORE_KIND_PUSH, push->slot.generation, index);
}

enum status core_push(struct core *core, uint32_t variable, const void *values,
                      enum ps_push_kind kind, ps_handle *ret_handle, struct error *err)
{
    bool send;
    uint32_t index;
    enum status status = core_push_check(core, variable, kind, &send, err);

    if (status)
        return status;
    if (send)
        status = core_push_queue(core, variable, core->last_begun, values, kind, &index, err);
    else
        status = core_push_take(core, variable, core->last_begun, &index, err);
    if (status)
        return status;
    core->pushed_step_plus_1[variable] = core->last_begun + 1;
    if (ret_handle)
        *ret_handle = core_push_handle(core, index);
    core_push_send(core);
    return STATUS_OK;
}

enum status core_push_pull(struct core *core, uint32_t variable, const void *gradient, void *values,
                           ps_handle *ret_handle, struct error *err)
{
    ps_handle push_is, pull_is;
    bool send;
    enum status status = core_push_check(core, variable, PS_GRADIENT, &send, err);

    if (!status)
        status = core_pull(core, variable, core->last_begun, values, &pull_is, err);
    if (status)
        return status;
    status = core_push(core, variable, gradient, PS_GRADIENT, &push_is, err);
    struct core_pull *pull = core_pool_find(&core->pulls, pull_is);
    if (status) {
        if (pull)
            core_pull_forget(core, core_handle_index(pull_is));
        return status;
    }
    struct core_push *push = core_pool_find(&core->pushes, push_is);
    if (pull && push) {
        pull->push = push_is;
        push->pull = pull_is;
    }
    *ret_handle = pull_is;
    return STATUS_OK;
}

/* ---- version 0 ---- */

enum status core_assign(struct core *core, uint32_t variable, const void *values,
                        ps_handle *ret_handle, struct error *err)
{
    enum status status = core_variable_check(core, "assign", variable, err);
    uint32_t index;

    if (status)
        return status;
    const struct variable_spec *spec = &core->registry.variables[variable];
    if (spec->initializer != PMD__INITIALIZER_KIND__INITIALIZER_KIND_ASSIGNED)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "assign '%s': it was created with another initializer than PS_ASSIGNED",
                         spec->name);
    *ret_handle = 0;
    if (core->rank_plus_1 != 1 || core->commit_plus_1 > 0 || core->pushed_step_plus_1[variable] > 0)
        return STATUS_OK;
    status = core_push_queue(core, variable, 0, values, PS_PUSH_ASSIGN, &index, err);
    if (status)
        return status;
    core->pushed_step_plus_1[variable] = 1;
    *ret_handle = core_push_handle(core, index);
    core_flush(core);
    return STATUS_OK;
}

bool core_assign_incomplete(const struct core *core)
{
    for (size_t i = 0; i < core->registry.variable_count; i++) {
        if (core->registry.variables[i].initializer ==
                PMD__INITIALIZER_KIND__INITIALIZER_KIND_ASSIGNED &&
            core->pushed_step_plus_1[i] == 0)
            return true;
    }
    return false;
}

void core_assign_withdraw(struct core *core, ps_handle handle)
{
    uint32_t index = core_handle_index(handle);
    struct core_push *push = core_pool_find(&core->pushes, handle);
    struct error why;

    if (core_handle_kind(handle) != CORE_KIND_PUSH || !push)
        return;
    assert(push->step == 0);
    error_set(&why, STATUS_CANCELLED, "an assign was taken back");
    core->pushed_step_plus_1[push->variable] = 0;
    for (uint32_t s = 0; s < core->servers; s++) {
        struct core_link *link = &core->bulk[s];
        struct core_push_frame *next;
        for (struct core_push_frame *frame = link->push_first; frame; frame = next) {
            next = frame->next;
            /* an assign is flushed at once: its frames are its own */
            if (frame->pushes[0] != index)
                continue;
            if (frame->queued)
                core_link_drop(link, &why);
            core_push_drop(link, frame);
        }
    }
}

/* ---- memory ---- */

struct core_memory *core_memory_take(struct core *core, size_t bytes)
{
    size_t capacity = 256;

    for (struct core_memory **at = &core->free_memory; *at; at = &(*at)->next) {
        struct core_memory *memory = *at;
        if (memory->capacity < bytes || memory->capacity / 4 > bytes + 1024)
            continue;
        *at = memory->next;
        memory->next = NULL;
        return memory;
    }
    while (capacity < bytes)
        capacity *= 2;
    struct core_memory *memory = alloc_zero(sizeof *memory + capacity);
    if (memory)
        memory->capacity = capacity;
    return memory;
}

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
