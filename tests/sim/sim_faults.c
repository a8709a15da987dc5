/*
 * What goes wrong, and when: resets, crashes with restarts, freezes (with a replacement started
 * meanwhile, so that two processes hold one rank), one-way silence on control links, slow links.
 * Everything stays within what a cluster must survive: servers freeze but do not die, nobody is
 * away for longer than its deadline.
 */
#include "tests/sim/sim.h"

#define FAULTS_SLOW_NS (15 * SIM_S)
/* Three of these in a row still end before a server is given up. */
#define SERVER_AWAY_NS (3 * SIM_S)
#define SUPERVISE_NS   (3 * SIM_S)

enum {
    FORCED_EACH = 2, /* crashes and resets that every seed has */
};

void faults_start(struct sim *sim)
{
    sim->faults_on = true;
    sim_push_event(sim, sim->now_ns + SUPERVISE_NS, EVENT_SUPERVISE, NULL, 0);
    sim_push_event(sim, sim->now_ns + sim_below(sim, 200 * SIM_MS), EVENT_FAULT, NULL, 0);
}

void faults_restart_worker(struct sim *sim, uint32_t slot, uint64_t delay_ns, uint32_t rank_plus_1)
{
    sim->restarts[slot]++;
    sim_push_event(sim, sim->now_ns + delay_ns, EVENT_START, NULL,
                   (uint64_t)slot << 32 | rank_plus_1);
}

/* A rank that has something left to do and that no living process holds. */
static uint32_t orphan_plus_1(struct sim *sim)
{
    for (uint32_t rank = 0; rank < sim->plan.workers; rank++) {
        bool held = false;
        for (size_t i = 0; i < sim->process_count; i++) {
            const struct sim_process *process = sim->processes[i];
            held = held || (process->role == SIM_WORKER && process->alive &&
                            worker_rank_plus_1(process) == rank + 1);
        }
        if (!held && !(sim->done_ranks >> rank & 1))
            return rank + 1;
    }
    return 0;
}

/* Where ranks are left to the coordinator, two places may meet at one rank: whoever is left without
 * work takes the orphan. */
void faults_supervise(struct sim *sim)
{
    sim_push_event(sim, sim->now_ns + SUPERVISE_NS, EVENT_SUPERVISE, NULL, 0);
    for (uint32_t slot = 0; slot < sim->plan.workers; slot++) {
        if (!sim->workers[slot] || sim->workers[slot]->alive || sim->restarts[slot])
            continue;
        if (orphan_plus_1(sim))
            faults_restart_worker(sim, slot, SIM_MS, orphan_plus_1(sim));
        return;
    }
}

/* How long something lasts: mostly short, sometimes long, but never so that a cluster cannot form
 * in its time. */
static uint64_t lasts(struct sim *sim, uint64_t short_per_mille, uint64_t short_ns,
                      uint64_t long_ns)
{
    uint64_t for_ns = sim_chance(sim, short_per_mille) ? sim_below(sim, short_ns)
                                                       : sim_below(sim, long_ns);

    return sim_coordinator(sim)->committed_plus_1 == 0 && for_ns > SIM_S ? SIM_S : for_ns;
}

static struct sim_process *random_worker(struct sim *sim)
{
    struct sim_process *process = sim->workers[sim_below(sim, sim->plan.workers)];

    return process && process->alive ? process : NULL;
}

/* A launcher knows the rank of what it starts again, or leaves it to the coordinator. */
static uint32_t rank_for_restart(struct sim *sim, const struct sim_process *process)
{
    return sim->plan.explicit_ranks || sim_chance(sim, 300) ? worker_rank_plus_1(process) : 0;
}

static void crash(struct sim *sim)
{
    struct sim_process *process = random_worker(sim);

    if (!process)
        return;
    uint32_t rank_plus_1 = rank_for_restart(sim, process);
    uint64_t delay = lasts(sim, 800, 100 * SIM_MS, 4 * SIM_S);
    bool silent = sim_chance(sim, 150);
    sim_trace(sim, "%s crashes%s", process->name, silent ? " without a word" : "");
    sim_note(sim, 2000, process->number, 0);
    sim->totals.crashes++;
    net_process_gone(process, silent);
    faults_restart_worker(sim, process->slot, 5 * SIM_MS + delay, rank_plus_1);
}

static void freeze(struct sim *sim, struct sim_process *process, uint64_t for_ns)
{
    sim_trace(sim, "%s freezes for %.3f s", process->name, (double)for_ns / 1e9);
    sim_note(sim, 2001, process->number, for_ns);
    process->frozen_until_ns = sim->now_ns + for_ns;
    /* Often what its kernel takes in for it is full at once: then its peers keep all that they have
     * for it. */
    if (sim_chance(sim, 400))
        net_not_read(process, sim->now_ns + for_ns);
}

static void freeze_worker(struct sim *sim)
{
    struct sim_process *process = random_worker(sim);

    if (!process || sim_frozen(process))
        return;
    sim->totals.freezes++;
    freeze(sim, process, lasts(sim, 900, 600 * SIM_MS, 16 * SIM_S));
    if (!sim_chance(sim, 300) || worker_rank_plus_1(process) == 0)
        return;
    /* Somebody takes it for dead and starts another: when it wakes there are two. */
    sim->totals.zombies++;
    sim_trace(sim, "%s gets a successor", process->name);
    faults_restart_worker(sim, process->slot, sim_below(sim, 300 * SIM_MS),
                          worker_rank_plus_1(process));
}

static void freeze_server(struct sim *sim)
{
    struct sim_process *process = sim->servers[sim_below(sim, sim->plan.servers)];

    if (sim_frozen(process))
        return;
    sim->totals.server_freezes++;
    freeze(sim, process, lasts(sim, 950, 400 * SIM_MS, SERVER_AWAY_NS));
}

static void reset(struct sim *sim)
{
    struct sim_end *end = net_random_end(sim, false);

    if (!end)
        return;
    sim_trace(sim, "reset of link %llu, %s to %s", (unsigned long long)end->id, end->process->name,
              end->peer->process->name);
    net_reset(end);
}

/* One direction is silent for a while; then the connection breaks, or everything comes at once. */
static void blackout(struct sim *sim)
{
    struct sim_end *end = net_random_end(sim, sim_chance(sim, 600));

    if (!end)
        return;
    bool servers = end->process->role == SIM_SERVER && end->peer->process->role == SIM_SERVER;
    uint64_t for_ns = lasts(sim, 900, 300 * SIM_MS, servers ? SERVER_AWAY_NS : 8 * SIM_S);
    sim_trace(sim, "%s hears nothing from %s for %.3f s", end->process->name,
              end->peer->process->name, (double)for_ns / 1e9);
    sim->totals.blackouts++;
    end->muted_until_ns = sim->now_ns + for_ns;
    if (sim_chance(sim, 500))
        sim_push_event(sim, sim->now_ns + for_ns, EVENT_CLOSED, end, 0);
}

/* A reader that stops reading: its server keeps what is still to be written, also when newer
 * versions come. */
static void freeze_reader(struct sim *sim)
{
    struct sim_process *process = sim->readers[sim_below(sim, sim->plan.readers)];

    if (!process || sim_frozen(process))
        return;
    sim->totals.reader_freezes++;
    freeze(sim, process, lasts(sim, 700, 300 * SIM_MS, 8 * SIM_S));
}

/* A link that is written to slowly keeps references to what is still to be written. */
static void slow_link(struct sim *sim)
{
    struct sim_end *end = net_random_end(sim, false);

    if (!end)
        return;
    end->slow_until_ns = sim->now_ns + sim_below(sim, 200 * SIM_MS);
}

static void one_fault(struct sim *sim)
{
    uint64_t dice = sim_below(sim, 100);

    if (dice < 40)
        reset(sim);
    else if (dice < 52)
        crash(sim);
    else if (dice < 64)
        freeze_worker(sim);
    else if (dice < 72)
        freeze_server(sim);
    else if (dice < 80)
        blackout(sim);
    else if (dice < 88)
        freeze_reader(sim);
    else
        slow_link(sim);
}

void faults_event(struct sim *sim)
{
    if (!sim->faults_on)
        return;
    if (sim->forced_faults < 2 * FORCED_EACH &&
        sim_coordinator(sim)->committed_plus_1 > 4 * sim->forced_faults) {
        if (sim->forced_faults++ % 2)
            reset(sim);
        else
            crash(sim);
    } else {
        one_fault(sim);
    }
    /* A seed that gets nowhere has less to suffer as time goes on. */
    uint64_t mean_ns = sim->plan.fault_mean_ns * (1 + sim->now_ns / FAULTS_SLOW_NS);
    sim_push_event(sim, sim->now_ns + 1 + sim_below(sim, 2 * mean_ns), EVENT_FAULT, NULL, 0);
}
