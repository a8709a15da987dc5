/*
 * What goes out on a link, and in which order. Everything is sent from the lists of what is not
 * finished, so a new connection only has to forget what the old one had sent: per step STEP_BEGIN,
 * the pushes without an acknowledgement, STEP_CLOSE; then the unanswered pulls.
 */
#include "worker/client/core_state.h"

#include "common/base/mutant.h"

static bool send_frame(struct core_link *link, struct link_frame *frame)
{
    struct core *core = link->core;

    if (!link->link)
        return false;
    frame->commit_plus_1 = MUTANT(COMMIT_NOT_NAMED) ? 0 : core->commit_plus_1;
    enum status status = core->io.send(core->io.context, link->link, frame);
    if (status) {
        struct error why;
        error_set(&why, status, "cannot queue a %s frame: %s", frame_type_name(frame->type),
                  status_name(status));
        core_link_drop(link, &why);
        return false;
    }
    if (link->control)
        link->said_ns = core->io.now_ns(core->io.context);
    return true;
}

bool core_send(struct core_link *link, enum frame_type type, const ProtobufCMessage *message,
               uint64_t request)
{
    struct link_frame frame = {.type = type, .message = message, .request = request};

    return send_frame(link, &frame);
}

/* ---- control ---- */

static bool send_step_end(struct core *core, struct core_step *step)
{
    Pmd__StepEnd message = PMD__STEP_END__INIT;
    Pmd__Metric metrics[LIMIT_METRICS];
    Pmd__Metric *pointers[LIMIT_METRICS];

    message.step = step->step;
    message.restart_totals = step->restart_totals;
    for (size_t i = 0; i < step->metric_count; i++) {
        pmd__metric__init(&metrics[i]);
        metrics[i].name = (char *)step->metrics[i].name;
        metrics[i].sum = step->metrics[i].sum;
        metrics[i].count = step->metrics[i].count;
        pointers[i] = &metrics[i];
    }
    message.n_metrics = step->metric_count;
    message.metrics = pointers;
    step->end_sent = core_send(&core->control, FRAME_STEP_END, &message.base, 0);
    return step->end_sent;
}

void core_send_control(struct core *core)
{
    if (core->control.state != CORE_LINK_UP)
        return;
    for (uint64_t t = core->step_first; t <= core->last_begun; t++) {
        struct core_step *step = core_step_find(core, t);
        if (step && step->ended && !step->end_sent && !send_step_end(core, step))
            return;
    }
    core_request_send_all(core);
}

/* ---- bulk ---- */

static bool send_begin(struct core_link *link, struct core_step *step)
{
    Pmd__StepBegin message = PMD__STEP_BEGIN__INIT;

    message.step = step->step;
    message.examples = step->examples;
    step->begin_sent[link->server] = core_send(link, FRAME_STEP_BEGIN, &message.base, 0);
    return step->begin_sent[link->server];
}

static bool send_close(struct core_link *link, struct core_step *step)
{
    Pmd__StepClose message = PMD__STEP_CLOSE__INIT;

    message.step = step->step;
    step->close_sent[link->server] = core_send(link, FRAME_STEP_CLOSE, &message.base, 0);
    return step->close_sent[link->server];
}

static bool send_push(struct core_link *link, struct core_push_frame *frame)
{
    struct core *core = link->core;
    Pmd__Push message = PMD__PUSH__INIT;

    message.step = frame->step;
    message.kind = (Pmd__PushKind)frame->kind;
    message.encoding = frame->rows_encoded ? PMD__PUSH_ENCODING__PUSH_ENCODING_ROWS
                                           : PMD__PUSH_ENCODING__PUSH_ENCODING_DENSE;
    message.n_variable = message.n_block = frame->block_count;
    message.variable = frame->variables;
    message.block = frame->blocks;
    message.n_rows = frame->rows_encoded ? frame->block_count : 0;
    message.rows = frame->rows;
    struct link_frame out = {.type = FRAME_PUSH,
                             .message = &message.base,
                             .request = frame->request,
                             .pieces = frame->pieces,
                             .piece_count = frame->block_count,
                             .on_released = core_push_released,
                             .owner = frame};
    if (!send_frame(link, &out))
        return false;
    if (frame->queued++ == 0) {
        for (uint32_t i = 0; i < frame->push_count; i++) {
            struct core_push *push = core_pool_at(&core->pushes, frame->pushes[i]);
            push->queued++;
        }
    }
    frame->sent = true;
    link->push_in_flight++;
    link->push_unsent = frame->next;
    return true;
}

/* The pushes of one step that wait to be sent; false: stop, the link is gone or the window full. */
static bool send_pushes(struct core_link *link, uint64_t step)
{
    while (link->push_unsent && link->push_unsent->step == step && link->push_unsent->sealed) {
        if (link->push_in_flight >= CORE_WINDOW_FRAMES || !send_push(link, link->push_unsent))
            return false;
    }
    return !link->push_unsent || link->push_unsent->step != step;
}

static bool send_step(struct core_link *link, struct core_step *step)
{
    bool *begun = &step->begin_sent[link->server];

    if (!*begun && !(MUTANT(STEP_BEGIN_LAST) && link->push_unsent) && !send_begin(link, step))
        return false;
    if (!send_pushes(link, step->step) || (!*begun && !send_begin(link, step)))
        return false;
    if (!step->ended)
        return false; /* the last one, and more of it may come */
    return step->examples == 0 || step->close_sent[link->server] || send_close(link, step);
}

static bool send_pull(struct core_link *link, struct core_pull_frame *frame)
{
    struct core *core = link->core;
    Pmd__Pull message = PMD__PULL__INIT;
    uint32_t count = 0;

    for (uint32_t i = 0; i < frame->count; i++) {
        if (frame->blocks[i].done || !frame->blocks[i].place)
            continue;
        core->message_variables[count] = frame->blocks[i].variable;
        core->message_blocks[count++] = frame->blocks[i].block;
    }
    message.step = frame->step;
    message.n_variable = message.n_block = count;
    message.variable = core->message_variables;
    message.block = core->message_blocks;
    frame->sent = core_send(link, FRAME_PULL, &message.base, frame->request);
    link->pull_in_flight += frame->sent;
    return frame->sent;
}

/* Servers answer for committed steps and the two that may be open; a pull of a later one waits
 * here. */
static bool pull_is_early(const struct core *core, uint64_t step)
{
    return step > 0 && (core->commit_plus_1 == 0 || step > core->commit_plus_1 + 1);
}

static void send_pulls(struct core_link *link)
{
    struct core *core = link->core;

    link->pull_window_full = false;
    for (struct core_pull_frame *frame = link->pull_first; frame; frame = frame->next) {
        if (frame->sent || !frame->sealed)
            continue;
        if (pull_is_early(core, frame->step)) {
            core->pulls_held_back = true;
            continue;
        }
        if (link->pull_in_flight >= CORE_WINDOW_PULLS) {
            link->pull_window_full = true;
            return;
        }
        if (!send_pull(link, frame))
            return;
    }
}

bool core_has_sealed(const struct core *core)
{
    for (uint32_t s = 0; s < core->servers; s++) {
        const struct core_link *link = &core->bulk[s];
        if (link->push_unsent && link->push_unsent->sealed)
            return true;
        for (const struct core_pull_frame *frame = link->pull_last; frame && !frame->sent;
             frame = frame->previous) {
            if (frame->sealed)
                return true;
        }
    }
    return false;
}

void core_send_bulk(struct core_link *link)
{
    struct core *core = link->core;

    if (link->state != CORE_LINK_UP || !send_pushes(link, 0))
        goto pulls;
    for (uint64_t t = core->step_first; t <= core->last_begun; t++) {
        struct core_step *step = core_step_find(core, t);
        if (step && !send_step(link, step))
            break;
    }
pulls:
    if (link->state == CORE_LINK_UP)
        send_pulls(link);
}

static void forget_sent_control(struct core *core)
{
    for (uint64_t t = core->step_first; t <= core->last_begun; t++) {
        struct core_step *step = core_step_find(core, t);
        if (step)
            step->end_sent = false;
    }
}

void core_send_again(struct core_link *link)
{
    struct core *core = link->core;

    if (link->control) {
        forget_sent_control(core);
        core_requests_unsent(core);
        return;
    }
    for (uint64_t t = core->step_first; t <= core->last_begun; t++) {
        struct core_step *step = core_step_find(core, t);
        if (!step)
            continue;
        if (!MUTANT(STEP_BEGIN_NOT_REPEATED))
            step->begin_sent[link->server] = false;
        step->close_sent[link->server] = false;
    }
    if (!MUTANT(PUSH_NOT_RESENT))
        link->push_unsent = link->push_first;
    link->push_in_flight = 0;
    for (struct core_push_frame *frame = link->push_unsent; frame; frame = frame->next)
        frame->sent = false;
    link->pull_in_flight = 0;
    for (struct core_pull_frame *frame = link->pull_first; frame; frame = frame->next)
        frame->sent = false;
}
