/* What callers ask of pushes: may it be, and which blocks of which bytes go out. The blocks go into
 * the frames of core_push_frame.c. */
#include "worker/client/core_state.h"

#include <assert.h>

/* ---- whole arrays ---- */

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

static enum status push_queue(struct core *core, uint32_t variable, uint64_t step,
                              const void *values, enum ps_push_kind kind, uint32_t *ret_index,
                              struct error *err)
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
        status = push_queue(core, variable, core->last_begun, values, kind, &index, err);
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
    status = push_queue(core, variable, 0, values, PS_PUSH_ASSIGN, &index, err);
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
    /* Also those that are acknowledged and still leave. */
    for (struct core_push_frame *frame = core->frames; frame; frame = frame->all_next) {
        struct core_link *link = &core->bulk[frame->server];
        /* an assign is flushed at once: its frames are its own */
        if (frame->push_count == 0 || frame->pushes[0] != index)
            continue;
        if (frame->queued)
            core_link_drop(link, &why);
        if (frame->listed)
            core_push_drop(link, frame);
    }
}
