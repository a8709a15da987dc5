/*
 * A network in virtual time behind struct link_io. A connection is two streams of frames. A frame
 * is packed when it is sent, its pieces stay the sender's until it is written (then on_released),
 * and their bytes are compared with those at the time of sending; it arrives later, its head first,
 * its payload in two parts with time between.
 *
 * Connections break at any moment, each end learns of it in its own time; what was under way is
 * lost or still arrives. A frozen process handles nothing, but what its kernel does goes on.
 */
#include "tests/sim/sim_frame.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct sim_end *end_of(struct link *link)
{
    return ((struct sim_link *)link)->end;
}

/* ---- ends ---- */

static struct sim_end *end_new(struct sim_process *process, const char *peer)
{
    struct sim *sim = process->sim;
    struct sim_end *end = sim_alloc(sizeof *end);

    end->sim = sim;
    end->process = process;
    end->id = ++sim->next_end;
    end->link = sim_alloc(sizeof *end->link);
    end->link->end = end;
    end->link->link.id = end->id;
    snprintf(end->link->link.peer, sizeof end->link->link.peer, "%s", peer);
    end->next = sim->ends;
    sim->ends = end;
    return end;
}

static void end_drop(struct sim_end *end)
{
    struct sim_frames *lists[] = {&end->outbox, &end->inbox, &end->released};

    for (size_t i = 0; i < 3; i++) {
        struct sim_frame *frame;
        while ((frame = frames_take(lists[i])) != NULL)
            frame_free(frame);
    }
    free(end->incoming);
    end->incoming = NULL;
    free(end->link);
    end->link = NULL;
    end->closed = true;
}

static void read_at(struct sim_end *end, uint64_t at_ns)
{
    if (end->read_scheduled || end->closed)
        return;
    end->read_scheduled = true;
    sim_push_event(end->sim, at_ns, EVENT_READ, end, 0);
}

static void write_at(struct sim_end *end, uint64_t at_ns)
{
    if (end->write_scheduled || end->closed || !end->open || !end->outbox.first)
        return;
    end->write_scheduled = true;
    sim_push_event(end->sim, at_ns, EVENT_WRITE, end, 0);
}

static void close_at(struct sim_end *end, uint64_t at_ns, const char *why)
{
    if (end->closed)
        return;
    if (end->why.status == STATUS_OK)
        error_set(&end->why, STATUS_UNAVAILABLE, "%s: %s", end->link->link.peer, why);
    sim_push_event(end->sim, at_ns, EVENT_CLOSED, end, 0);
}

/* The bytes have left the sender's memory; they arrive at the peer, if there still is one. */
static void put_on_wire(struct sim_end *end, struct sim_frame *frame)
{
    struct sim *sim = end->sim;
    struct sim_end *peer = end->peer;
    size_t at = 0;

    if (frame_pieces_hash(frame) != frame->sent_hash)
        sim_fail(sim, "bytes-unchanged", "%s: bytes of a %s frame changed between send and write",
                 end->process->name, frame_type_name(frame->type));
    if (!peer || peer->closed || peer->closing) {
        sim->totals.dropped++;
        frame_free(frame);
        return;
    }
    frame->payload = sim_alloc(frame->payload_bytes);
    for (size_t i = 0; i < frame->piece_count; i++) {
        memcpy(frame->payload + at, frame->pieces[i].data, frame->pieces[i].bytes);
        at += frame->pieces[i].bytes;
    }
    frame_let_go(frame);
    uint64_t arrives = sim->now_ns + sim_delay(sim);
    if (frame->type == FRAME_HELLO && sim->faults_on && sim_chance(sim, 40)) {
        /* Its sender sees the connection break and makes a new one, whose hello may be the first to
         * arrive. */
        arrives += 60 * SIM_MS + sim_below(sim, 400 * SIM_MS);
        sim->totals.resets++;
        close_at(end, sim->now_ns + sim_below(sim, 5 * SIM_MS), "connection reset");
    }
    if (arrives < peer->last_arrival_ns)
        arrives = peer->last_arrival_ns;
    if (arrives < peer->muted_until_ns)
        arrives = peer->muted_until_ns;
    frame->arrives_ns = peer->last_arrival_ns = arrives;
    struct sim_frame *twice = NULL;
    if (frame_may_double(frame->type) && sim_chance(sim, sim->plan.double_per_mille)) {
        twice = frame_double(frame);
        sim->totals.doubled++;
    }
    frames_append(&peer->inbox, frame);
    if (twice)
        frames_append(&peer->inbox, twice);
    if (!peer->held)
        read_at(peer, peer->inbox.first->arrives_ns);
}

static void released(struct sim_end *end, struct sim_frame *frame, bool written)
{
    if (!frame->on_released)
        return;
    void (*on_released)(void *, bool) = frame->on_released;
    void *owner = frame->owner;
    frame->on_released = NULL;
    (void)end;
    on_released(owner, written);
}

static void on_write(struct sim_end *end)
{
    struct sim *sim = end->sim;

    end->write_scheduled = false;
    if (end->closed || end->closing || !end->process->alive || !end->outbox.first)
        return;
    if (sim_frozen(end->process)) {
        write_at(end, end->process->frozen_until_ns);
        return;
    }
    if (sim->now_ns < end->slow_until_ns) {
        write_at(end, end->slow_until_ns);
        return;
    }
    if (end->peer && !end->peer->closed && end->peer->inbox.first &&
        end->peer->inbox.bytes + end->outbox.first->payload_bytes > sim->plan.window_bytes) {
        end->stalled = true;
        return;
    }
    struct sim_frame *frame = frames_take(&end->outbox);
    void (*on_released)(void *, bool) = frame->on_released;
    void *owner = frame->owner;
    frame->on_released = NULL;
    put_on_wire(end, frame);
    if (on_released) {
        on_released(owner, true);
        sim_turn_at(end->process, sim->now_ns);
    }
    write_at(end, sim->now_ns + sim_below(sim, 30 * SIM_US));
}

/* ---- what arrives ---- */

static void copy_into_places(struct sim_end *end, const struct sim_frame *frame, size_t until)
{
    size_t start = 0;

    for (size_t i = 0; i < end->incoming->place_count; i++) {
        const struct link_place *place = &end->incoming->places[i];
        size_t from = end->copied > start ? end->copied : start;
        size_t to = start + place->bytes < until ? start + place->bytes : until;
        if (place->data && to > from)
            memcpy((uint8_t *)place->data + (from - start), frame->payload + from, to - from);
        start += place->bytes;
    }
    end->copied = until;
}

static void check_places(struct sim_end *end, const struct sim_frame *frame)
{
    size_t total = 0;

    for (size_t i = 0; i < end->incoming->place_count; i++)
        total += end->incoming->places[i].bytes;
    if (total != frame->payload_bytes)
        sim_fail(end->sim, "places", "%s gives a %s frame of %zu bytes places for %zu",
                 end->process->name, frame_type_name(frame->type), frame->payload_bytes, total);
}

static void wake_writer(struct sim_end *end)
{
    struct sim_end *peer = end->peer;

    if (!peer || !peer->stalled)
        return;
    peer->stalled = false;
    write_at(peer, end->sim->now_ns);
}

static void head_arrives(struct sim_end *end, struct sim_frame *frame)
{
    struct sim *sim = end->sim;
    struct sim_process *process = end->process;
    struct frame_head head;
    struct error err = {0};

    if (frame_decode(frame->preamble, &head, &err) ||
        frame_check_header(&head, frame->header, &err))
        sim_fail(sim, "codec", "%s frame to %s: %s", frame_type_name(frame->type), process->name,
                 err.message);
    end->incoming = sim_alloc(sizeof *end->incoming);
    end->copied = 0;
    /* A copy, so that a header used after the call is seen. */
    uint8_t *header = sim_alloc(frame->header_bytes);
    memcpy(header, frame->header, frame->header_bytes);
    enum link_verdict verdict = process->engine.on_head(process->engine.context, &end->link->link,
                                                        &head, header, end->incoming, &err);
    memset(header, 0xA5, frame->header_bytes);
    free(header);
    sim_turn_at(process, sim->now_ns + (sim_chance(sim, 300) ? sim_below(sim, 200 * SIM_US) : 0));
    sim_trace(sim, "%s <- %s: %s %llu (%zu bytes, commit %lld)%s", process->name,
              end->peer ? end->peer->process->name : "?", frame_type_name(frame->type),
              (unsigned long long)head.request, frame->payload_bytes,
              (long long)head.commit_plus_1 - 1,
              verdict == LINK_WAIT     ? " waits"
              : verdict == LINK_REFUSE ? " is refused"
                                       : "");
    if (process->role == SIM_SERVER && frame->type == FRAME_HELLO && end->peer)
        check_hello(process, end->peer->process, frame->header, frame->header_bytes);
    if (verdict == LINK_WAIT) {
        free(end->incoming);
        end->incoming = NULL;
        end->held = !end->closing;
        sim->totals.waits++;
        return;
    }
    if (verdict == LINK_REFUSE) {
        sim->totals.refused++;
        if (!end->closing)
            process->io.close(process, &end->link->link, false, &err);
        return;
    }
    if (end->closing)
        return;
    check_places(end, frame);
    sim->totals.frames++;
    end->taken = true;
    if (frame->payload_bytes > 0)
        copy_into_places(end, frame, sim_below(sim, frame->payload_bytes + 1));
}

static void rest_arrives(struct sim_end *end)
{
    struct sim *sim = end->sim;
    struct sim_process *process = end->process;
    struct sim_frame *frame = frames_take(&end->inbox);

    end->taken = false;
    copy_into_places(end, frame, frame->payload_bytes);
    free(end->incoming);
    end->incoming = NULL;
    sim_note(sim, (uint64_t)frame->type, end->id, frame->sent_hash);
    frame_free(frame);
    wake_writer(end);
    process->engine.on_frame(process->engine.context, &end->link->link);
    sim_turn_at(process, sim->now_ns + (sim_chance(sim, 300) ? sim_below(sim, 200 * SIM_US) : 0));
}

static void on_read(struct sim_end *end)
{
    struct sim *sim = end->sim;

    end->read_scheduled = false;
    if (end->closed || end->closing || !end->open || end->held || !end->inbox.first ||
        !end->process->alive)
        return;
    if (sim_frozen(end->process)) {
        read_at(end, end->process->frozen_until_ns);
        return;
    }
    if (sim->now_ns < end->inbox.first->arrives_ns) {
        read_at(end, end->inbox.first->arrives_ns);
        return;
    }
    if (!end->taken) {
        head_arrives(end, end->inbox.first);
        if (end->taken && (end->inbox.first->payload_bytes == 0 || sim_chance(sim, 500)))
            rest_arrives(end);
    } else {
        rest_arrives(end);
    }
    if (end->process->role == SIM_SERVER)
        check_server(end->process);
    if (end->closed || end->held || !end->inbox.first)
        return;
    uint64_t next = end->taken ? sim->now_ns + sim_delay(sim) : end->inbox.first->arrives_ns;
    read_at(end, next);
}

/* ---- beginning and end ---- */

static struct sim_process *find_listener(struct sim *sim, const char *address)
{
    for (uint32_t i = 0; i < SIM_SERVERS_MAX; i++) {
        if (sim->servers[i] && sim->servers[i]->alive &&
            strcmp(sim->servers[i]->address, address) == 0)
            return sim->servers[i];
    }
    return NULL;
}

static void on_connect(struct sim_end *end)
{
    struct sim *sim = end->sim;

    if (end->closed || end->closing || !end->process->alive)
        return;
    struct sim_process *target = find_listener(sim, end->address);
    if (!target) {
        close_at(end, sim->now_ns, "connection refused");
        return;
    }
    struct sim_end *other = end_new(target, end->process->name);
    other->peer = end;
    end->peer = other;
    other->bulk = end->bulk;
    other->control = end->control;
    sim_push_event(sim, sim->now_ns + sim_delay(sim), EVENT_OPEN, other, 0);
    sim_push_event(sim, sim->now_ns + sim_delay(sim), EVENT_OPEN, end, 0);
}

static void on_open(struct sim_end *end)
{
    if (end->closed || end->closing || !end->process->alive)
        return;
    if (sim_frozen(end->process)) {
        sim_push_event(end->sim, end->process->frozen_until_ns, EVENT_OPEN, end, 0);
        return;
    }
    end->open = true;
    sim_trace(end->sim, "%s: link %llu to %s is open", end->process->name,
              (unsigned long long)end->id, end->link->link.peer);
    end->process->engine.on_open(end->process->engine.context, &end->link->link);
    sim_turn_at(end->process, end->sim->now_ns);
    if (end->inbox.first)
        read_at(end, end->inbox.first->arrives_ns);
    write_at(end, end->sim->now_ns);
}

static void release_all(struct sim_end *end)
{
    struct sim_frame *frame;

    while ((frame = frames_take(&end->released)) != NULL) {
        released(end, frame, true);
        frame_free(frame);
    }
    while ((frame = frames_take(&end->outbox)) != NULL) {
        frame_let_go(frame);
        released(end, frame, false);
        end->sim->totals.dropped++;
        frame_free(frame);
    }
}

static void closed_now(struct sim_end *end)
{
    struct sim *sim = end->sim;
    struct sim_end *peer = end->peer;

    if (end->why.status == STATUS_OK)
        error_set(&end->why, STATUS_UNAVAILABLE, "%s: connection lost", end->link->link.peer);
    sim_trace(sim, "%s: link %llu to %s is closed: %s", end->process->name,
              (unsigned long long)end->id, end->link->link.peer, end->why.message);
    sim_note(sim, 1000, end->id, end->inbox.count);
    sim->totals.dropped += end->inbox.count;
    sim->totals.partial += end->taken && end->copied > 0;
    release_all(end);
    end->closing = true; /* no send from within on_closed */
    end->closed = true;
    end->process->engine.on_closed(end->process->engine.context, &end->link->link, &end->why);
    sim_turn_at(end->process, sim->now_ns);
    wake_writer(end);
    end_drop(end);
    if (peer && !peer->closed) {
        uint64_t at = sim->now_ns + sim_delay(sim);
        if ((sim->scenario || sim_chance(sim, 750)) && peer->last_arrival_ns > at)
            at = peer->last_arrival_ns + SIM_US;
        close_at(peer, at, "the peer closed the connection");
    }
}

static void on_closed(struct sim_end *end)
{
    if (end->closed || !end->process->alive)
        return;
    if (sim_frozen(end->process)) {
        sim_push_event(end->sim, end->process->frozen_until_ns, EVENT_CLOSED, end, 0);
        return;
    }
    closed_now(end);
    if (end->process->role == SIM_SERVER)
        check_server(end->process);
}

void net_event(struct sim *sim, const struct sim_event *event)
{
    struct sim_end *end = event->subject;

    (void)sim;
    switch (event->kind) {
    case EVENT_CONNECT:
        on_connect(end);
        break;
    case EVENT_OPEN:
        on_open(end);
        break;
    case EVENT_WRITE:
        on_write(end);
        break;
    case EVENT_READ:
        on_read(end);
        break;
    default:
        on_closed(end);
    }
}

/* ---- what engines call ---- */

static enum status io_send(void *context, struct link *link, const struct link_frame *frame)
{
    struct sim_process *process = context;
    struct sim_end *end = end_of(link);
    struct sim *sim = process->sim;

    if (end->process != process)
        sim_fail(sim, "seam", "%s sends on a link of %s", process->name, end->process->name);
    if (end->closing || end->closed)
        return STATUS_UNAVAILABLE;
    if (sim->plan.send_fails_per_million && sim->faults_on && end->open &&
        sim_below(sim, 1000000) < sim->plan.send_fails_per_million) {
        sim->totals.send_failures++;
        return STATUS_RESOURCE_EXHAUSTED;
    }
    if (end->outbox.count >= LIMIT_QUEUED_FRAMES)
        return STATUS_RESOURCE_EXHAUSTED;
    frames_append(&end->outbox, frame_make(frame, link->hash_payload));
    write_at(end, sim->now_ns + sim_below(sim, 30 * SIM_US));
    return STATUS_OK;
}

static void io_close(void *context, struct link *link, bool flush, const struct error *why)
{
    struct sim_end *end = end_of(link);
    struct sim *sim = end->sim;
    struct sim_frame *frame;

    (void)context;
    if (end->closing || end->closed)
        return;
    end->closing = true;
    if (why)
        end->why = *why;
    if (end->why.status == STATUS_OK)
        error_set(&end->why, STATUS_CANCELLED, "%s: the connection was closed", link->peer);
    while (flush && end->open && (frame = frames_take(&end->outbox)) != NULL) {
        /* on_released must not come from within close: an empty frame stays behind for it. */
        if (frame->on_released) {
            struct sim_frame *later = sim_alloc(sizeof *later);
            later->on_released = frame->on_released;
            later->owner = frame->owner;
            frame->on_released = NULL;
            frames_append(&end->released, later);
        }
        put_on_wire(end, frame);
    }
    sim_push_event(sim, sim->now_ns + sim_below(sim, SIM_MS), EVENT_CLOSED, end, 0);
}

static void io_resume(void *context, struct link *link)
{
    struct sim_end *end = end_of(link);

    (void)context;
    if (!end->held || end->closing)
        return;
    end->held = false;
    read_at(end, end->sim->now_ns);
}

static enum status io_connect(void *context, const char *address, bool bulk, uint64_t timeout_ms,
                              void *user, struct link **ret_link, struct error *err)
{
    struct sim_process *process = context;
    struct sim *sim = process->sim;

    (void)err;
    struct sim_end *end = end_new(process, address);
    end->outgoing = true;
    end->bulk = bulk;
    end->control = !bulk;
    end->link->link.user = user;
    snprintf(end->address, sizeof end->address, "%s", address);
    uint64_t delay = sim_delay(sim);
    sim_push_event(sim, sim->now_ns + (delay < timeout_ms * SIM_MS ? delay : timeout_ms * SIM_MS),
                   EVENT_CONNECT, end, 0);
    *ret_link = &end->link->link;
    return STATUS_OK;
}

static uint64_t io_now(void *context)
{
    return ((struct sim_process *)context)->sim->now_ns;
}

static uint64_t io_random(void *context)
{
    return rng_next(&((struct sim_process *)context)->sim->rng);
}

struct link_io net_io(struct sim_process *process)
{
    return (struct link_io){.context = process,
                            .send = io_send,
                            .close = io_close,
                            .resume = io_resume,
                            .connect = io_connect,
                            .now_ns = io_now,
                            .random = io_random};
}

/* ---- for the faults ---- */

void net_reset(struct sim_end *end)
{
    struct sim *sim = end->sim;

    sim->totals.resets++;
    sim_note(sim, 1001, end->id, 0);
    close_at(end, sim->now_ns + sim_below(sim, 2 * SIM_MS), "connection reset");
    if (!end->peer)
        return;
    /* One end may be long in learning of it, and goes on with what is under way to it. */
    uint64_t later = sim_chance(sim, 300) ? sim_below(sim, 400 * SIM_MS)
                                          : sim_below(sim, 2 * SIM_MS);
    close_at(end->peer, sim->now_ns + later, "connection reset by the peer");
}

void net_not_read(struct sim_process *process, uint64_t until_ns)
{
    for (struct sim_end *end = process->sim->ends; end; end = end->next) {
        if (!end->closed && end->peer && end->peer->process == process)
            end->slow_until_ns = until_ns;
    }
}

void net_process_gone(struct sim_process *process, bool silent)
{
    struct sim *sim = process->sim;

    process->alive = false;
    for (struct sim_end *end = sim->ends; end; end = end->next) {
        if (end->process != process || end->closed)
            continue;
        struct sim_end *peer = end->peer;
        sim->totals.dropped += end->outbox.count;
        end->left = end->link;
        end->link = NULL;
        end_drop(end);
        if (!peer || peer->closed)
            continue;
        peer->stalled = false;
        close_at(peer, sim->now_ns + (silent ? 15 * SIM_S : 0) + sim_delay(sim),
                 "the peer's process is gone");
    }
}

void net_close_all(struct sim_process *process)
{
    for (struct sim_end *end = process->sim->ends; end; end = end->next) {
        if (end->process != process || end->closed)
            continue;
        if (end->why.status == STATUS_OK)
            error_set(&end->why, STATUS_CANCELLED, "the process ends");
        release_all(end);
        end->closing = end->closed = true;
        process->engine.on_closed(process->engine.context, &end->link->link, &end->why);
        end_drop(end);
    }
}

void net_release(struct sim *sim)
{
    while (sim->ends) {
        struct sim_end *end = sim->ends;
        sim->ends = end->next;
        if (!end->closed)
            end_drop(end);
        free(end->left);
        free(end);
    }
}

struct sim_end *net_random_end(struct sim *sim, bool control_only)
{
    struct sim_end *chosen = NULL;
    uint64_t seen = 0;

    for (struct sim_end *end = sim->ends; end; end = end->next) {
        if (end->closed || end->closing || !end->open || !end->peer || end->peer->closed ||
            (control_only && !end->control))
            continue;
        seen++;
        if (sim_below(sim, seen) == 0)
            chosen = end;
    }
    return chosen;
}

struct sim_process *net_peer_process(const struct link *link)
{
    const struct sim_end *end = ((const struct sim_link *)(const void *)link)->end;

    return end->peer ? end->peer->process : NULL;
}
