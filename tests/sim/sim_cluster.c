/* One seed: a cluster is formed, trains under faults, then in peace to its end, is read a last
 * time, and is taken down. */
#include "tests/sim/sim_raw.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE_NS (150 * SIM_S) /* without faults, for what is left of a seed */
#define LIFE_NS     (400 * SIM_S)

enum { EVENTS_MAX = 4000000 };

/* ---- processes ---- */

struct sim_process *sim_process_new(struct sim *sim, enum sim_role role, uint32_t slot)
{
    static const char *const role_names[] = {"server", "worker", "reader"};
    struct sim_process *process = calloc(1, sizeof *process);

    if (!process || sim->process_count == SIM_PROCESSES_MAX)
        abort();
    process->sim = sim;
    process->role = role;
    process->slot = slot;
    process->number = sim->process_count;
    process->alive = true;
    process->turn_ns = SIM_NEVER;
    process->io = net_io(process);
    snprintf(process->name, sizeof process->name, "%s %u (process %llu)", role_names[role], slot,
             (unsigned long long)process->number);
    sim->processes[sim->process_count++] = process;
    return process;
}

bool sim_frozen(struct sim_process *process)
{
    return process->frozen_until_ns > process->sim->now_ns;
}

void sim_turn_at(struct sim_process *process, uint64_t at_ns)
{
    if (at_ns >= process->turn_ns)
        return;
    process->turn_ns = at_ns;
    sim_push_event(process->sim, at_ns, EVENT_TURN, process, ++process->turn_generation);
}

static void turn(struct sim_process *process, uint64_t generation)
{
    struct sim *sim = process->sim;

    if (!process->alive || generation != process->turn_generation)
        return;
    process->turn_ns = SIM_NEVER;
    if (sim_frozen(process)) {
        sim_turn_at(process, process->frozen_until_ns);
        return;
    }
    uint64_t wake = process->engine.on_turn(process->engine.context);
    if (process->program) {
        uint64_t program_wake = process->program(process);
        if (!process->alive)
            return;
        /* the program may have changed what is due */
        wake = process->engine.on_turn(process->engine.context);
        wake = program_wake < wake ? program_wake : wake;
    }
    if (process->role == SIM_SERVER)
        check_server(process);
    /* Time goes on even for an engine that wants to be called at once, for ever: that is seen as
     * too many events. */
    if (wake != SIM_NEVER)
        sim_turn_at(process, wake > sim->now_ns ? wake : sim->now_ns + SIM_US);
}

/* ---- servers ---- */

static void on_notice(void *context, const char *line)
{
    struct sim_process *process = context;

    sim_trace(process->sim, "%s says: %s", process->name, line);
}

void sim_start_server(struct sim *sim, uint32_t slot)
{
    struct sim_process *process = sim_process_new(sim, SIM_SERVER, slot);
    const char *token = sim->server_token ? sim->server_token : "secret";
    struct error err = {0};

    snprintf(process->address, sizeof process->address, "10.0.0.%u:7070", slot + 1);
    process->server = calloc(1, sizeof *process->server);
    if (!process->server)
        abort();
    struct server_settings settings = {.coordinator = slot == 0 ? NULL : "10.0.0.1:7070",
                                       .address = process->address,
                                       .job = "sim",
                                       .token = (const uint8_t *)token,
                                       .token_bytes = strlen(token),
                                       .program = process->name,
                                       .workers = sim->plan.workers,
                                       .servers = sim->plan.servers,
                                       .payload_hash = sim->plan.payload_hash,
                                       .staging_bytes = sim->plan.staging_bytes,
                                       .notice = on_notice,
                                       .notice_context = process};
    if (server_init(process->server, &process->io, &settings, &err))
        sim_fail(sim, "start", "server %u: %s", slot, err.message);
    process->engine = server_engine(process->server);
    sim->servers[slot] = process;
    sim_turn_at(process, sim->now_ns);
}

struct coordinator *sim_coordinator(struct sim *sim)
{
    return &sim->servers[0]->server->coordinator;
}

/* The service is set up when a place in the cluster is known, so the hook is set again and again.
 */
static void hook_commits(struct sim *sim)
{
    for (uint32_t s = 0; s < SIM_SERVERS_MAX; s++) {
        if (!sim->servers[s])
            continue;
        sim->servers[s]->server->service.on_commit = check_on_commit;
        sim->servers[s]->server->service.on_commit_context = sim->servers[s];
    }
}

/* ---- events ---- */

static void start(struct sim *sim, uint64_t number)
{
    uint32_t slot = (uint32_t)(number >> 32) & 0xFFFF;
    enum sim_role role = (enum sim_role)(number >> 60);

    if (role == SIM_SERVER && number >> 59 & 1)
        sim_start_server(sim, slot);
    else if (role == SIM_READER)
        reader_start(sim, slot);
    else
        worker_start(sim, slot, (uint32_t)number);
}

static uint64_t start_number(enum sim_role role, uint32_t slot, uint32_t rank_plus_1)
{
    return (uint64_t)role << 60 | (uint64_t)(role == SIM_SERVER) << 59 | (uint64_t)slot << 32 |
           rank_plus_1;
}

static void dispatch(struct sim *sim, const struct sim_event *event)
{
    switch (event->kind) {
    case EVENT_TURN:
        turn(event->subject, event->number);
        break;
    case EVENT_START:
        start(sim, event->number);
        break;
    case EVENT_FAULT:
        faults_event(sim);
        break;
    case EVENT_SUPERVISE:
        faults_supervise(sim);
        break;
    default:
        net_event(sim, event);
    }
}

void sim_run_until(struct sim *sim, uint64_t until_ns, bool (*done)(struct sim *sim))
{
    struct sim_event event;

    while (sim->event_count && sim->events[0].at_ns <= until_ns && !(done && done(sim))) {
        sim_pop_event(sim, &event);
        sim->now_ns = event.at_ns;
        sim->totals.events++;
        if (sim->totals.events > EVENTS_MAX)
            sim_fail(sim, "progress", "more than %d events", EVENTS_MAX);
        hook_commits(sim);
        dispatch(sim, &event);
    }
    if (!(done && done(sim)) && until_ns > sim->now_ns)
        sim->now_ns = until_ns;
}

/* ---- the seed ---- */

static bool end_is_near(struct sim *sim)
{
    return sim->servers[0] && sim_coordinator(sim)->committed_plus_1 + 2 > sim->plan.steps;
}

static bool trained(struct sim *sim)
{
    return sim->done_ranks == ((uint64_t)1 << sim->plan.workers) - 1 &&
           sim_coordinator(sim)->state == JOB_FINISHED;
}

static bool all_read(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->plan.readers; i++) {
        if (!sim->readers[i] || !reader_done(sim->readers[i]))
            return false;
    }
    return true;
}

static void append(char *text, size_t capacity, const char *more)
{
    size_t used = strlen(text);

    if (used + 4 < capacity)
        snprintf(text + used, capacity - used, "\n    %s", more);
}

/* Who waits for what. */
void sim_waits(struct sim *sim, char *ret_text, size_t capacity)
{
    char line[512];
    char why[300];

    coordinator_waiting_for(sim_coordinator(sim), why, sizeof why);
    snprintf(ret_text, capacity, "committed: %lld; %s",
             (long long)sim_coordinator(sim)->committed_plus_1 - 1, why);
    for (uint32_t s = 0; s < sim->plan.servers; s++) {
        const struct server *server = sim->servers[s]->server;
        const struct service *service = &server->service;
        snprintf(
            line, sizeof line,
            "%s: committed %lld, prepared %u of %u blocks, %llu bytes staged, %u starved, log %llu",
            sim->servers[s]->name, (long long)service->consistency.committed_plus_1 - 1,
            service->prepared_blocks, service->store.block_count,
            (unsigned long long)service->store.staged_bytes, service->starved_count,
            (unsigned long long)service->log_index);
        append(ret_text, capacity, line);
    }
    for (uint32_t i = 0; i < sim->plan.workers; i++) {
        if (!sim->workers[i])
            continue;
        worker_describe(sim->workers[i], line, sizeof line);
        append(ret_text, capacity, line);
    }
    for (uint32_t i = 0; i < sim->plan.readers; i++) {
        if (!sim->readers[i])
            continue;
        reader_describe(sim->readers[i], line, sizeof line);
        append(ret_text, capacity, line);
    }
}

static void must(struct sim *sim, bool (*done)(struct sim *sim), uint64_t for_ns, const char *what)
{
    char text[900];

    sim_run_until(sim, sim->now_ns + for_ns, done);
    if (done(sim))
        return;
    sim_waits(sim, text, sizeof text);
    sim_fail(sim, "progress", "%s: not in %.0f s. %s", what, (double)for_ns / 1e9, text);
}

static void start_all(struct sim *sim)
{
    for (uint32_t s = 0; s < sim->plan.servers; s++)
        sim_push_event(sim, s == 0 ? 0 : sim_below(sim, 300 * SIM_MS), EVENT_START, NULL,
                       start_number(SIM_SERVER, s, 0));
    for (uint32_t i = 0; i < sim->plan.workers; i++)
        sim_push_event(sim, SIM_US + sim_below(sim, 300 * SIM_MS), EVENT_START, NULL,
                       start_number(SIM_WORKER, i, sim->plan.explicit_ranks ? i + 1 : 0));
    for (uint32_t i = 0; i < sim->plan.readers; i++)
        sim_push_event(sim, SIM_US + sim_below(sim, 300 * SIM_MS), EVENT_START, NULL,
                       start_number(SIM_READER, i, 0));
}

static bool everybody_started(struct sim *sim)
{
    bool all = true;

    for (uint32_t s = 0; s < sim->plan.servers; s++)
        all = all && sim->servers[s];
    for (uint32_t i = 0; i < sim->plan.workers; i++)
        all = all && sim->workers[i];
    return all;
}

static void live(struct sim *sim)
{
    start_all(sim);
    sim_run_until(sim, SIM_S, everybody_started);
    faults_start(sim);
    sim_run_until(sim, LIFE_NS, end_is_near);
    if (!end_is_near(sim))
        must(sim, end_is_near, 0, "training under faults");
    sim->faults_on = false;
    must(sim, trained, PATIENCE_NS, "the end of the training, without faults");
    sim->final_read = true;
    must(sim, all_read, PATIENCE_NS, "the last read");
}

static void count_totals(struct sim *sim)
{
    struct sim_totals *totals = &sim->totals;

    totals->seeds = 1;
    totals->steps = sim_coordinator(sim)->committed_plus_1 - 1;
    totals->duplicates = check_duplicates(sim);
    totals->seeds_with_crash = totals->crashes > 0;
    totals->seeds_with_drop = totals->dropped > 0;
    totals->seeds_with_double = totals->duplicates + totals->doubled > 0;
}

void sim_release(struct sim *sim)
{
    for (size_t i = 0; i < sim->process_count; i++) {
        struct sim_process *process = sim->processes[i];
        if (process->role == SIM_SERVER && process->server) {
            net_close_all(process);
            server_release(process->server);
            free(process->server);
        }
        worker_gone(process);
        reader_gone(process);
        raw_gone(process);
    }
    net_release(sim);
    oracle_release(sim);
    check_release(sim);
    for (size_t i = 0; i < sim->process_count; i++)
        free(sim->processes[i]);
    free(sim->events);
    sim->events = NULL;
}

bool sim_run(struct sim *sim, uint64_t seed, bool trace)
{
    memset(sim, 0, sizeof *sim);
    sim->trace = trace;
    sim->rng.state = rng_mix(seed);
    plan_make(&sim->plan, seed);
    if (setjmp(sim->failed))
        return false;
    oracle_init(sim);
    check_init(sim);
    live(sim);
    count_totals(sim);
    sim_release(sim);
    return true;
}
