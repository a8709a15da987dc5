/* Making and freeing the engine, the driver's entry points, and what callers may ask about its
 * state. */
#include "worker/client/client_core.h"

#include "common/base/alloc.h"
#include "worker/client/core_state.h"

#include <stdio.h>
#include <string.h>

/* ---- making ---- */

static enum status copy_text(char *ret_text, size_t capacity, const char *text, const char *what,
                             struct error *err)
{
    size_t length = text ? strlen(text) : 0;

    if (length >= capacity)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s '%.100s...' is longer than %zu bytes",
                         what, text, capacity - 1);
    if (length)
        memcpy(ret_text, text, length);
    ret_text[length] = 0;
    return STATUS_OK;
}

static enum status copy_options(struct core *core, const struct core_options *options,
                                struct error *err)
{
    enum status status = copy_text(core->control.address, sizeof core->control.address,
                                   options->coordinator, "the coordinator's address", err);

    if (!status && !core->control.address[0])
        status = error_set(err, STATUS_INVALID_ARGUMENT, "no address of a coordinator was given");
    if (!status)
        status = copy_text(core->job, sizeof core->job, options->job, "the job's name", err);
    if (!status && options->token_bytes > sizeof core->token)
        status = error_set(err, STATUS_INVALID_ARGUMENT,
                           "the token has %zu bytes, at most %zu are possible",
                           options->token_bytes, sizeof core->token);
    if (status)
        return status;
    snprintf(core->program, sizeof core->program, "%s", options->program ? options->program : "");
    if (options->token_bytes)
        memcpy(core->token, options->token, options->token_bytes);
    core->token_bytes = options->token_bytes;
    core->rank_plus_1 = options->rank_plus_1;
    core->seed = options->seed;
    core->heartbeat_ns = options->heartbeat_ns ? options->heartbeat_ns : CORE_HEARTBEAT_NS;
    core->dead_ns = options->dead_ns ? options->dead_ns : CORE_DEAD_NS;
    core->on_notice = options->on_notice;
    core->user = options->user;
    return STATUS_OK;
}

enum status core_new(const struct core_options *options, const struct link_io *io,
                     struct core **ret_core, struct error *err)
{
    struct core *core = alloc_zero(sizeof *core);

    if (!core)
        return error_no_memory(err, "a client");
    enum status status = copy_options(core, options, err);
    if (!status && arena_init(&core->arena, LIMIT_MESSAGE_ARENA_BYTES))
        status = error_no_memory(err, "a client's messages");
    if (status) {
        core_free(core);
        return status;
    }
    core->io = *io;
    core->control.core = core;
    core->control.control = true;
    core->process = io->random(io->context);
    core->process += core->process == 0; /* 0 would be no number */
    core->next_request = 2;              /* 1 is every link's HELLO */
    core->step_first = 1;
    core->pushes.record_bytes = sizeof(struct core_push);
    core->pulls.record_bytes = sizeof(struct core_pull);
    core->requests.record_bytes = sizeof(struct core_request);
    core->began_ns = core->changed_ns = io->now_ns(io->context);
    *ret_core = core;
    return STATUS_OK;
}

void core_free(struct core *core)
{
    if (!core)
        return;
    core_requests_release(core);
    core_pulls_release(core);
    core_pushes_release(core);
    core_steps_release(core);
    registry_release(&core->registry);
    placement_release(&core->placement);
    alloc_free(core->pushed_step_plus_1);
    core_link_release(&core->control);
    for (uint32_t s = 0; core->bulk && s < core->servers; s++)
        core_link_release(&core->bulk[s]);
    alloc_free(core->bulk);
    arena_release(&core->arena);
    alloc_free(core);
}

bool core_closed(const struct core *core)
{
    return core->closing && core->open_links == 0;
}

/* ---- what the driver calls ---- */

/* NULL for a link that the engine has left already. */
static struct core_link *link_of(struct link *link)
{
    struct core_link *ours = link->user;

    return ours->link == link ? ours : NULL;
}

static void on_open(void *context, struct link *link)
{
    struct core_link *ours = link_of(link);

    (void)context;
    if (ours)
        core_link_open(ours);
}

static enum link_verdict on_head(void *context, struct link *link, const struct frame_head *head,
                                 const uint8_t *header, struct link_incoming *ret_incoming,
                                 struct error *err)
{
    struct core_link *ours = link_of(link);

    (void)context;
    if (ours)
        return core_frame_head(ours, head, header, ret_incoming, err);
    error_set(err, STATUS_CANCELLED, "the link was left");
    return LINK_REFUSE;
}

static void on_frame(void *context, struct link *link)
{
    struct core_link *ours = link_of(link);

    (void)context;
    if (ours)
        core_frame_read(ours);
}

static void on_closed(void *context, struct link *link, const struct error *why)
{
    struct core *core = context;
    struct core_link *ours = link_of(link);

    core->open_links--;
    if (ours)
        core_link_closed(ours, why);
}

/* Says what is waited for, once it has lasted a second, and again when it changes. */
static void turn_notice(struct core *core, uint64_t now, uint64_t *wake_ns)
{
    char text[sizeof core->noticed];

    if (!core->on_notice || core->ended)
        return;
    if (!core_waiting(core, text, sizeof text)) {
        core->noticed[0] = 0;
        core->changed_ns = now;
        return;
    }
    if (now < core->changed_ns + CORE_NOTICE_NS) {
        if (core->changed_ns + CORE_NOTICE_NS < *wake_ns)
            *wake_ns = core->changed_ns + CORE_NOTICE_NS;
        return;
    }
    if (strcmp(text, core->noticed) == 0)
        return;
    memcpy(core->noticed, text, sizeof text);
    core->on_notice(core->user, text);
}

/* Pulls that waited: for a commit, or for room in the window. */
static void turn_pulls(struct core *core)
{
    bool committed = core->pulls_held_back && core->commit_plus_1 != core->pulls_tried_at;

    if (committed) {
        core->pulls_held_back = false;
        core->pulls_tried_at = core->commit_plus_1;
    }
    for (uint32_t s = 0; core->bulk && s < core->servers; s++) {
        struct core_link *link = &core->bulk[s];
        if (committed || (link->pull_window_full && link->pull_in_flight < CORE_WINDOW_PULLS))
            core_send_bulk(link);
    }
}

static uint64_t on_turn(void *context)
{
    struct core *core = context;
    uint64_t now = core->io.now_ns(core->io.context);
    uint64_t wake_ns = UINT64_MAX;

    core_link_turn(&core->control, now, &wake_ns);
    for (uint32_t s = 0; core->greeted && s < core->servers; s++)
        core_link_turn(&core->bulk[s], now, &wake_ns);
    turn_pulls(core);
    turn_notice(core, now, &wake_ns);
    return wake_ns;
}

struct link_engine core_engine(struct core *core)
{
    return (struct link_engine){.context = core,
                                .on_open = on_open,
                                .on_head = on_head,
                                .on_frame = on_frame,
                                .on_closed = on_closed,
                                .on_turn = on_turn};
}

/* ---- state ---- */

uint64_t core_progress(const struct core *core)
{
    return core->progress;
}

static uint32_t links_up(const struct core *core)
{
    uint32_t up = 0;

    for (uint32_t s = 0; core->bulk && s < core->servers; s++)
        up += core->bulk[s].state == CORE_LINK_UP;
    return up;
}

bool core_formed(const struct core *core)
{
    return core->greeted && core->addresses_known && links_up(core) == core->servers;
}

bool core_ended(const struct core *core, struct error *err, int *ret_exit_code)
{
    if (!core->ended)
        return false;
    if (err)
        *err = core->end;
    if (ret_exit_code)
        *ret_exit_code = core->exit_code;
    return true;
}

static const char *reason(const struct core_link *link)
{
    return link->why[0] ? link->why : "no answer yet";
}

bool core_waiting(const struct core *core, char *ret_text, size_t capacity)
{
    if (core->control.state != CORE_LINK_UP) {
        snprintf(ret_text, capacity, "waiting for the coordinator %s: %s", core->control.address,
                 reason(&core->control));
        return true;
    }
    if (!core->addresses_known) {
        uint32_t missing = core->servers > core->servers_present
                               ? core->servers - core->servers_present
                               : core->servers;
        snprintf(ret_text, capacity, "waiting for %u of %u servers", missing, core->servers);
        return true;
    }
    for (uint32_t s = 0; s < core->servers; s++) {
        if (core->bulk[s].state == CORE_LINK_UP)
            continue;
        snprintf(ret_text, capacity, "waiting for server %u at %s: %s", s, core->bulk[s].address,
                 reason(&core->bulk[s]));
        return true;
    }
    if (!core->registry_known && core->workers_present < core->workers) {
        snprintf(ret_text, capacity, "waiting for %u of %u workers",
                 core->workers - core->workers_present, core->workers);
        return true;
    }
    return false;
}

uint32_t core_rank(const struct core *core)
{
    return core->rank_plus_1 - 1;
}

uint32_t core_workers(const struct core *core)
{
    return core->workers;
}

uint32_t core_servers(const struct core *core)
{
    return core->servers;
}

uint64_t core_incarnation(const struct core *core)
{
    return core->incarnation;
}

uint64_t core_commit_plus_1(const struct core *core)
{
    return core->commit_plus_1;
}

uint64_t core_grant(const struct core *core)
{
    return core->grant;
}

uint64_t core_last_begun(const struct core *core)
{
    return core->last_begun;
}

bool core_finished(const struct core *core)
{
    return core->finished || core->finish_sent;
}

const struct registry *core_registry(const struct core *core)
{
    return core->registry_known ? &core->registry : NULL;
}

void core_flush(struct core *core)
{
    for (uint32_t s = 0; core->bulk && s < core->servers; s++) {
        struct core_link *link = &core->bulk[s];
        core_push_seal(link);
        core_pull_seal(link);
        core_send_bulk(link);
    }
}
