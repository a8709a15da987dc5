/*
 * What must hold after every event of a server. The checks read the state of the production
 * objects, and change nothing.
 *
 * Commits come one after the other, on no server before the coordinator's; published values and
 * slots are the oracle's; of a rank's connections and processes the newer one stays; a changed
 * learning rate holds from two steps after the last commit; no server complains, the job does not
 * end by itself.
 */
#include "tests/sim/sim.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct check_rank {
    uint64_t incarnation, connection; /* as a server has it */
};

struct sim_check {
    uint64_t committed_plus_1[SIM_SERVERS_MAX];
    struct check_rank ranks[SIM_SERVERS_MAX][SIM_WORKERS_MAX];
    uint64_t coordinator_plus_1;
    double learning_rate;
    /* Of each rank at the coordinator: its incarnation, and the process that claimed it. */
    uint64_t incarnations[SIM_WORKERS_MAX];
    uint64_t holders[SIM_WORKERS_MAX];
    uint64_t held[SIM_WORKERS_MAX][SIM_PROCESSES_MAX / 64]; /* who ever did, as bits */
};

void check_init(struct sim *sim)
{
    sim->check = calloc(1, sizeof *sim->check);
    if (!sim->check)
        abort();
    sim->check->learning_rate = NAN;
}

void check_release(struct sim *sim)
{
    free(sim->check);
    sim->check = NULL;
}

/* ---- commits ---- */

static void compare_block(struct sim *sim, const struct sim_process *process,
                          const struct store *store, const struct block *block, uint64_t step)
{
    const struct registry *registry = &process->server->service.registry;
    uint32_t v = plan_variable(registry->variables[block->variable].name);
    size_t first = (size_t)block->number * LIMIT_BLOCK_ELEMENTS;

    oracle_compare(sim, "commit-bytes", process->name, step, v, 0, first, block->elements,
                   block->value->data);
    for (size_t k = 0; k < oracle_slot_count(sim, v); k++)
        oracle_compare(sim, "commit-slots", process->name, step, v, (uint32_t)k + 1, first,
                       block->elements, block->slots[k]->data);
    if (block->previous)
        sim_fail(sim, "versions", "%s: a version before %llu is still kept", process->name,
                 (unsigned long long)step);
    (void)store;
}

void check_on_commit(void *context, uint64_t step)
{
    struct sim_process *process = context;
    struct sim *sim = process->sim;
    const struct store *store = &process->server->service.store;
    uint64_t *committed_plus_1 = &sim->check->committed_plus_1[process->slot];

    sim_trace(sim, "%s commits step %llu", process->name, (unsigned long long)step);
    if (step != *committed_plus_1)
        sim_fail(sim, "commit-order", "%s commits step %llu after %lld", process->name,
                 (unsigned long long)step, (long long)*committed_plus_1 - 1);
    *committed_plus_1 = step + 1;
    if (sim->scenario)
        return;
    if (step + 1 > sim_coordinator(sim)->committed_plus_1)
        sim_fail(sim, "commit-order", "%s commits step %llu before the coordinator", process->name,
                 (unsigned long long)step);
    for (uint32_t i = 0; i < store->block_count; i++) {
        if (store->blocks[i].version != step)
            sim_fail(sim, "versions", "%s commits step %llu with a block at step %llu",
                     process->name, (unsigned long long)step,
                     (unsigned long long)store->blocks[i].version);
        compare_block(sim, process, store, &store->blocks[i], step);
    }
}

/* ---- the coordinator ---- */

static void check_coordinator(struct sim *sim, struct coordinator *coordinator)
{
    struct sim_check *check = sim->check;

    if (coordinator->committed_plus_1 > check->coordinator_plus_1) {
        check->coordinator_plus_1 = coordinator->committed_plus_1;
        sim->committed_ns = sim->now_ns;
    }
    if (isnan(coordinator->learning_rate) || coordinator->learning_rate == check->learning_rate)
        return;
    /* c + 1 may be under way somewhere, so c + 2 is the first step that can have it everywhere. */
    check->learning_rate = coordinator->learning_rate;
    oracle_learning_rate(sim, check->learning_rate, coordinator->committed_plus_1 + 1);
}

/*
 * peer: the process that has just said hello. One that lost its rank to another never gets it back,
 * whatever its hello says and whenever it comes.
 */
static void check_claims(struct sim *sim, struct sim_process *peer, uint64_t incarnation)
{
    const struct coordinator *coordinator = sim_coordinator(sim);
    struct sim_check *check = sim->check;

    for (uint32_t rank = 0; rank < coordinator->settings.workers; rank++) {
        if (coordinator->workers[rank].incarnation == check->incarnations[rank])
            continue;
        uint64_t *held = &check->held[rank][peer->number / 64];
        if (incarnation != 0 || *held >> peer->number % 64 & 1)
            sim_fail(
                sim, "fence",
                "rank %u goes from process %llu to process %llu (%s), which had incarnation %llu",
                rank, (unsigned long long)check->holders[rank], (unsigned long long)peer->number,
                peer->name, (unsigned long long)incarnation);
        check->incarnations[rank] = coordinator->workers[rank].incarnation;
        check->holders[rank] = peer->number;
        *held |= (uint64_t)1 << peer->number % 64;
        sim_trace(sim, "rank %u is %s's, incarnation %llu", rank, peer->name,
                  (unsigned long long)check->incarnations[rank]);
    }
}

void check_hello(struct sim_process *server, struct sim_process *peer, const uint8_t *header,
                 size_t header_bytes)
{
    struct sim *sim = server->sim;

    if (sim->scenario)
        return;
    Pmd__Hello *hello = pmd__hello__unpack(NULL, header_bytes, header);
    if (!hello)
        abort();
    if (server->slot == 0 && peer->role == SIM_WORKER)
        check_claims(sim, peer, hello->incarnation);
    pmd__hello__free_unpacked(hello, NULL);
    for (uint32_t rank = 0; server->server->service_ready && rank < sim->plan.workers; rank++) {
        const struct rank_link *now = &server->server->service.ranks[rank];
        struct check_rank *before = &sim->check->ranks[server->slot][rank];
        if (now->incarnation < before->incarnation ||
            (now->incarnation == before->incarnation && now->connection < before->connection))
            sim_fail(sim, "connection-order",
                     "%s: rank %u goes from connection (%llu, %llu) to (%llu, %llu)", server->name,
                     rank, (unsigned long long)before->incarnation,
                     (unsigned long long)before->connection, (unsigned long long)now->incarnation,
                     (unsigned long long)now->connection);
        *before = (struct check_rank){now->incarnation, now->connection};
    }
}

bool check_superseded(struct sim *sim, const struct sim_process *process)
{
    for (uint32_t rank = 0; rank < sim->plan.workers; rank++) {
        if (sim->check->held[rank][process->number / 64] >> process->number % 64 & 1)
            return sim->check->holders[rank] != process->number;
    }
    return false;
}

void check_push_arrived(struct sim *sim, const struct sim_process *process, uint32_t variable,
                        uint32_t rank, uint64_t step)
{
    for (uint32_t s = 0; s < sim->plan.servers; s++) {
        struct store *store = &sim->servers[s]->server->service.store;
        for (uint32_t i = 0; i < store->block_count; i++) {
            const struct block *block = &store->blocks[i];
            uint8_t state = store_staged(store, block, step, rank)->state;
            if (block->variable == variable && block->version < step &&
                (state == STAGED_EMPTY || state == STAGED_RECEIVING))
                sim_fail(sim, "staged",
                         "%s: block %u of variable %u, step %llu, is said to be on %s, and is not",
                         process->name, block->number, variable, (unsigned long long)step,
                         sim->servers[s]->name);
        }
    }
}

/* ---- every event ---- */

void check_server(struct sim_process *process)
{
    struct sim *sim = process->sim;
    struct server *server = process->server;

    if (sim->scenario)
        return;
    if (server->service.complaint.status)
        sim_fail(sim, "no-complaint", "%s: %s", process->name, server->service.complaint.message);
    if (server->is_coordinator) {
        check_coordinator(sim, &server->coordinator);
        if (server->coordinator.state == JOB_ENDED)
            sim_fail(sim, "job-lives", "the job ended: %s", server->coordinator.end_message);
    }
    sim->totals.starved += server->service.starved_count > 0;
    if (server->ended)
        sim_fail(sim, "server-lives", "%s ended: %s", process->name, server->end_message);
}

uint64_t check_duplicates(const struct sim *sim)
{
    uint64_t duplicates = 0;

    for (uint32_t s = 0; s < sim->plan.servers; s++)
        duplicates += sim->servers[s] ? sim->servers[s]->server->service.duplicates : 0;
    return duplicates;
}
