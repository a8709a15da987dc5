/*
 * A training program on top of the client engine, as a user would write it: create, start, then
 * step by step pull, compute, push, end, finish; with pauses in between, so that a crash finds it
 * half done. No step without a grant, no call fails, and only a process that another one has
 * replaced ends before its time.
 */
#include "tests/sim/sim_worker.h"

#include "common/base/exit_code.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint32_t worker_rank_plus_1(const struct sim_process *process)
{
    return core_incarnation(process->worker->core) ? core_rank(process->worker->core) + 1 : 0;
}

/* ---- before the first step ---- */

static bool requests_done(struct sim_worker *worker)
{
    struct core_result result = {0};
    enum status status;
    struct error err = {0};

    for (size_t i = 0; i < worker->request_count; i++) {
        if (!worker->requests[i])
            continue;
        if (!core_done(worker->core, worker->requests[i], &status, &result, &err))
            return false;
        worker_must_ok(worker, "request", status, &err);
        if (worker->phase == PHASE_CREATE && i >= worker_plan(worker)->optimizer_count)
            worker->ids[worker->order[i - worker_plan(worker)->optimizer_count]] = result.variable;
        worker->requests[i] = 0;
    }
    worker->request_count = 0;
    return true;
}

static void shuffle(struct sim_worker *worker)
{
    struct sim *sim = worker_sim(worker);
    uint32_t count = worker_plan(worker)->variable_count;

    for (uint32_t v = 0; v < count; v++)
        worker->order[v] = v;
    for (uint32_t v = count - 1; v > 0 && sim_chance(sim, 500); v--) {
        uint32_t other = (uint32_t)sim_below(sim, v + 1);
        uint32_t swap = worker->order[v];
        worker->order[v] = worker->order[other];
        worker->order[other] = swap;
    }
}

static void ask_create(struct sim_worker *worker)
{
    const struct sim_plan *plan = worker_plan(worker);
    struct error err = {0};

    shuffle(worker);
    for (uint32_t i = 0; i < plan->optimizer_count; i++) {
        const struct sim_optimizer *optimizer = &plan->optimizers[i];
        struct ps_setting settings[2];
        for (size_t k = 0; k < optimizer->option_count; k++)
            settings[k] = (struct ps_setting){optimizer->options[k].key,
                                              optimizer->options[k].value};
        worker_must_ok(worker, "configure",
                       core_configure(worker->core, i, optimizer->name, settings,
                                      optimizer->option_count,
                                      &worker->requests[worker->request_count++], &err),
                       &err);
    }
    for (uint32_t i = 0; i < plan->variable_count; i++) {
        const struct sim_variable *from = &plan->variables[worker->order[i]];
        struct ps_variable variable = {.name = from->name,
                                       .dtype = (enum ps_dtype)from->dtype,
                                       .shape = from->shape,
                                       .rank = from->rank,
                                       .initializer = (enum ps_initializer)from->initializer,
                                       .a = from->a,
                                       .b = from->b,
                                       .seed = from->seed,
                                       .has_seed = true,
                                       .not_trainable = !from->trainable,
                                       .optimizer = from->optimizer};
        worker_must_ok(
            worker, "create",
            core_create(worker->core, &variable, &worker->requests[worker->request_count++], &err),
            &err);
    }
}

static void ask_assign(struct sim_worker *worker)
{
    const struct sim_plan *plan = worker_plan(worker);
    struct error err = {0};

    for (uint32_t v = 0; v < plan->variable_count; v++) {
        if (plan->variables[v].initializer != PS_ASSIGNED)
            continue;
        plan_initial(plan, v, worker_part(worker, worker->arrays[0], v));
        worker_must_ok(worker, "assign",
                       core_assign(worker->core, worker->ids[v],
                                   worker_part(worker, worker->arrays[0], v),
                                   &worker->pushes[0][v].handle, &err),
                       &err);
        worker->pushes[0][v].step = 0;
    }
}

static void ask_barrier(struct sim_worker *worker)
{
    char name[32];
    struct ps_metric metric = {"rank", core_rank(worker->core) + 1.0, 1};
    struct error err = {0};

    snprintf(name, sizeof name, "step-%llu", (unsigned long long)worker->step);
    worker->request_count = 1;
    worker_must_ok(worker, "barrier",
                   core_barrier(worker->core, name, &metric, 1, &worker->requests[0], &err), &err);
}

static bool barrier_done(struct sim_worker *worker)
{
    struct ps_metric total;
    struct core_result result = {.metrics = &total, .metric_capacity = 1};
    double workers = worker_plan(worker)->workers;
    enum status status;
    struct error err = {0};

    if (!core_done(worker->core, worker->requests[0], &status, &result, &err))
        return false;
    worker_must_ok(worker, "barrier", status, &err);
    if (result.metric_count != 1 || total.count != workers ||
        total.sum != workers * (workers + 1) / 2)
        sim_fail(worker_sim(worker), "barrier", "%s: a barrier's total is %g of %g ranks",
                 worker->process->name, total.sum, total.count);
    worker->request_count = 0;
    return true;
}

/* ---- steps ---- */

static bool begin(struct sim_worker *worker)
{
    struct sim *sim = worker_sim(worker);
    const struct sim_plan *plan = worker_plan(worker);
    struct error err = {0};

    if (arrays_pulls_pending(worker) || arrays_pushes_pending(worker, worker->step % 2) ||
        !core_step_granted(worker->core, worker->step))
        return false;
    if (worker->step > sim_coordinator(sim)->committed_plus_1 + 1)
        sim_fail(sim, "grant", "%s begins step %llu; the last committed step is %lld",
                 worker->process->name, (unsigned long long)worker->step,
                 (long long)sim_coordinator(sim)->committed_plus_1 - 1);
    worker_must_ok(worker, "step_begin",
                   core_step_begin(worker->core, worker->step,
                                   plan_examples(plan, core_rank(worker->core), worker->step),
                                   &err),
                   &err);
    sim_trace(sim, "%s, rank %u, begins step %llu", worker->process->name, core_rank(worker->core),
              (unsigned long long)worker->step);
    shuffle(worker);
    worker->at = 0;
    worker->wait_until_ns = sim->now_ns + sim_below(sim, plan->compute_max_ns);
    return true;
}

/* One variable after the other, with pauses, so that a crash finds the step half done. */
static bool push_some(struct sim_worker *worker)
{
    struct sim *sim = worker_sim(worker);

    while (worker->at < worker_plan(worker)->variable_count) {
        arrays_push_and_pull(worker, worker->order[worker->at++]);
        if (sim_chance(sim, 100)) {
            core_flush(worker->core);
            worker->wait_until_ns = sim->now_ns + sim_below(sim, 3 * SIM_MS);
            return false;
        }
    }
    worker->wait_until_ns = sim->now_ns + sim_below(sim, SIM_MS);
    return true;
}

static void end(struct sim_worker *worker)
{
    struct sim *sim = worker_sim(worker);
    struct ps_metric metrics[SIM_METRICS_MAX];
    struct error err = {0};
    size_t count = plan_metrics(worker_plan(worker), core_rank(worker->core), worker->step,
                                metrics);

    /* A call that is wrong costs the call, not the connection. */
    const struct ps_metric wrong = {"two words", 1, 1};
    if (core_step_end(worker->core, &wrong, 1, false, &err) != STATUS_INVALID_ARGUMENT)
        sim_fail(sim, "calls-succeed", "a metric name that receivers refuse is taken");
    worker_must_ok(
        worker, "step_end",
        core_step_end(worker->core, metrics, count, plan_restarts_totals(worker->step), &err),
        &err);
    worker->step++;
    worker->wait_until_ns = sim->now_ns + sim_below(sim, worker_plan(worker)->compute_max_ns);
}

static bool first_pull(struct sim_worker *worker)
{
    if (!worker->pull_steps[0] && !worker->pulls[0] && !worker->have[0] && !worker->scribbled[0]) {
        for (uint32_t v = 0; v < worker_plan(worker)->variable_count; v++)
            arrays_pull(worker, v, worker->step - 1);
        core_flush(worker->core);
    }
    return !arrays_pulls_pending(worker);
}

/* ---- the program ---- */

/* After step 0 a program goes on where the committed steps end. */
static void choose_first_step(struct sim_worker *worker)
{
    uint64_t committed_plus_1 = core_commit_plus_1(worker->core);

    worker->step = worker->first = committed_plus_1 > 1 ? committed_plus_1 : 1;
    worker->totals_seen = worker->first > 3 ? worker->first - 3 : 0;
}

static bool ended_all(const struct sim_worker *worker)
{
    return core_commit_plus_1(worker->core) > worker_last_step(worker) &&
           !arrays_pushes_pending(worker, 0) && !arrays_pushes_pending(worker, 1) &&
           !arrays_pulls_pending(worker);
}

static enum worker_phase after_steps(struct sim_worker *worker)
{
    if (worker->step > worker_last_step(worker) || core_finished(worker->core))
        return PHASE_FINISH;
    if (!worker_plan(worker)->barriers || worker->step % 16 != 1)
        return PHASE_BEGIN;
    ask_barrier(worker);
    return PHASE_BARRIER;
}

/* One function a phase: true when there was something to do. */

static bool do_form(struct sim_worker *worker)
{
    if (!core_formed(worker->core))
        return false;
    choose_first_step(worker);
    worker->phase = PHASE_CREATE;
    ask_create(worker);
    return true;
}

static bool do_create(struct sim_worker *worker)
{
    struct error err = {0};

    if (!requests_done(worker))
        return false;
    worker->created = true;
    worker->request_count = 1;
    worker_must_ok(worker, "start", core_start(worker->core, &worker->requests[0], &err), &err);
    worker->phase = PHASE_START;
    return true;
}

static bool do_start(struct sim_worker *worker)
{
    if (!requests_done(worker))
        return false;
    worker->phase = PHASE_FINISH;
    if (core_finished(worker->core))
        return true; /* the process before this one was through */
    ask_assign(worker);
    worker->phase = PHASE_ASSIGN;
    return true;
}

static bool do_assign(struct sim_worker *worker)
{
    if (arrays_pushes_pending(worker, 0))
        return false;
    worker->phase = PHASE_FIRST_PULL;
    return true;
}

static bool do_barrier(struct sim_worker *worker)
{
    if (!barrier_done(worker))
        return false;
    worker->phase = PHASE_BEGIN;
    return true;
}

static bool do_first_pull(struct sim_worker *worker)
{
    if (!first_pull(worker))
        return false;
    worker->phase = after_steps(worker);
    return true;
}

static bool do_begin(struct sim_worker *worker)
{
    if (!begin(worker))
        return false;
    worker->phase = PHASE_PUSH;
    return true;
}

static bool do_push(struct sim_worker *worker)
{
    if (!push_some(worker))
        return false;
    worker->phase = PHASE_END;
    return true;
}

static bool do_end(struct sim_worker *worker)
{
    end(worker);
    worker->phase = after_steps(worker);
    return true;
}

static bool do_finish(struct sim_worker *worker)
{
    struct error err = {0};

    /* A finished rank holds up nobody: what it still wants to pull may be gone then. */
    if (arrays_pulls_pending(worker))
        return false;
    if (!worker->finish_asked && !core_finished(worker->core)) {
        worker_must_ok(worker, "finish", core_finish(worker->core, &worker->requests[0], &err),
                       &err);
        worker->finish_asked = true;
        worker->request_count = 1;
    }
    if (!requests_done(worker))
        return false;
    worker->phase = PHASE_LAST;
    return true;
}

static bool do_last(struct sim_worker *worker)
{
    if (!ended_all(worker))
        return false;
    worker->phase = PHASE_DONE;
    worker_sim(worker)->done_ranks |= (uint64_t)1 << core_rank(worker->core);
    sim_trace(worker_sim(worker), "%s, rank %u, has finished", worker->process->name,
              core_rank(worker->core));
    return true;
}

static bool do_done(struct sim_worker *worker)
{
    (void)worker;
    return false;
}

static const struct {
    const char *name;
    bool (*move)(struct sim_worker *worker);
} phases[] = {
    [PHASE_FORM] = {"forming", do_form},
    [PHASE_CREATE] = {"creating", do_create},
    [PHASE_START] = {"starting", do_start},
    [PHASE_ASSIGN] = {"assigning", do_assign},
    [PHASE_BARRIER] = {"at a barrier", do_barrier},
    [PHASE_FIRST_PULL] = {"first pull", do_first_pull},
    [PHASE_BEGIN] = {"before a step", do_begin},
    [PHASE_PUSH] = {"pushing", do_push},
    [PHASE_END] = {"ending a step", do_end},
    [PHASE_FINISH] = {"finishing", do_finish},
    [PHASE_LAST] = {"waiting for its last commit", do_last},
    [PHASE_DONE] = {"done", do_done},
};

/* A process that another one has replaced, or that found no free rank, goes away; anything else is
 * wrong. */
static void client_ended(struct sim_worker *worker, const struct error *why, int exit_code)
{
    struct sim_process *process = worker->process;
    struct sim *sim = process->sim;

    if (sim->scenario) {
        sim->worker_exits[process->slot] = exit_code;
        net_process_gone(process, false);
        return;
    }
    if (exit_code == EXIT_CODE_FENCED && !check_superseded(sim, process))
        sim_fail(sim, "fence", "%s, rank %u, was fenced though no newer process holds its rank: %s",
                 process->name, core_rank(worker->core), why->message);
    /* The word that it is fenced may be lost, and its patience end first. */
    bool lost = exit_code == EXIT_CODE_PEER_LOST && check_superseded(sim, process);
    if (exit_code != EXIT_CODE_FENCED && !lost &&
        !(why->status == STATUS_RESOURCE_EXHAUSTED && worker->phase == PHASE_FORM))
        sim_fail(sim, "client-lives", "%s, rank %u, ended with %d: %s", process->name,
                 worker_rank_plus_1(process) - 1, exit_code, why->message);
    sim_trace(sim, "%s ends: %s", process->name, why->message);
    sim->totals.fenced += exit_code == EXIT_CODE_FENCED;
    net_process_gone(process, false);
    /* Who found no free rank waits for one that is left alone: faults_supervise. */
    if (sim->workers[process->slot] == process && why->status != STATUS_RESOURCE_EXHAUSTED)
        faults_restart_worker(sim, process->slot, 20 * SIM_MS + sim_below(sim, SIM_S), 0);
}

/* A program that is through looks on for a while, or closes its client and ends. */
static uint64_t leave(struct sim_worker *worker)
{
    struct sim_process *process = worker->process;

    if (!worker_plan(worker)->leaves)
        return worker->created ? arrays_look_on(worker) : SIM_NEVER;
    if (!worker->closing)
        core_close(worker->core);
    worker->closing = true;
    if (!core_closed(worker->core))
        return SIM_NEVER;
    sim_trace(worker_sim(worker), "%s exits", process->name);
    net_process_gone(process, false);
    return SIM_NEVER;
}

static uint64_t program(struct sim_process *process)
{
    struct sim_worker *worker = process->worker;
    struct sim *sim = process->sim;
    struct error why;
    int exit_code;

    if (worker->closing)
        return leave(worker);
    if (core_ended(worker->core, &why, &exit_code)) {
        client_ended(worker, &why, exit_code);
        return SIM_NEVER;
    }
    uint64_t wake = SIM_NEVER;
    if (worker->phase >= PHASE_ASSIGN) {
        arrays_check_pushes(worker);
        wake = arrays_check_pulls(worker);
        arrays_check_totals(worker);
        if (sim_chance(sim, 100))
            arrays_check_staged(worker);
    }
    while (sim->now_ns >= worker->wait_until_ns && phases[worker->phase].move(worker))
        continue;
    core_flush(worker->core);
    if (worker->phase == PHASE_DONE)
        return leave(worker);
    if (worker->wait_until_ns > sim->now_ns && worker->wait_until_ns < wake)
        wake = worker->wait_until_ns;
    return wake;
}

/* ---- beginning and end ---- */

void worker_start(struct sim *sim, uint32_t slot, uint32_t rank_plus_1)
{
    struct sim_process *process = sim_process_new(sim, SIM_WORKER, slot);
    struct sim_worker *worker = calloc(1, sizeof *worker);
    struct core_options options = {.coordinator = "10.0.0.1:7070",
                                   .job = "sim",
                                   .program = process->name,
                                   .token = (const uint8_t *)"secret",
                                   .token_bytes = 6,
                                   .rank_plus_1 = rank_plus_1,
                                   .seed = 7};
    struct error err = {0};
    size_t bytes = sim->plan.bytes;

    if (!worker || core_new(&options, &process->io, &worker->core, &err))
        abort();
    worker->process = process;
    process->worker = worker;
    process->engine = core_engine(worker->core);
    process->program = program;
    worker->values = calloc(1, bytes);
    worker->arrays[0] = calloc(1, bytes);
    worker->arrays[1] = calloc(1, bytes);
    worker->scratch = calloc(1, bytes * 2 + 65536);
    if (!worker->values || !worker->arrays[0] || !worker->arrays[1] || !worker->scratch)
        abort();
    sim->workers[slot] = process;
    sim->restarts[slot] -= sim->restarts[slot] > 0;
    sim_trace(sim, "%s starts, rank %d", process->name, (int)rank_plus_1 - 1);
    sim_turn_at(process, sim->now_ns);
}

void worker_gone(struct sim_process *process)
{
    struct sim_worker *worker = process->worker;

    if (!worker)
        return;
    core_free(worker->core);
    free(worker->values);
    free(worker->arrays[0]);
    free(worker->arrays[1]);
    free(worker->scratch);
    free(worker);
    process->worker = NULL;
}

void worker_describe(const struct sim_process *process, char *ret_text, size_t capacity)
{
    const struct sim_worker *worker = process->worker;
    char waits[256] = "";

    if (!worker) {
        snprintf(ret_text, capacity, "%s is gone", process->name);
        return;
    }
    for (uint32_t v = 0; v < worker_plan(worker)->variable_count && !waits[0]; v++) {
        if (worker->pulls[v])
            core_describe(worker->core, worker->pulls[v], waits, sizeof waits);
    }
    snprintf(ret_text, capacity,
             "%s (rank %d, incarnation %llu): %s, step %llu, committed %lld, grant %llu%s%s%s",
             process->name, (int)worker_rank_plus_1(process) - 1,
             (unsigned long long)core_incarnation(worker->core), phases[worker->phase].name,
             (unsigned long long)worker->step, (long long)core_commit_plus_1(worker->core) - 1,
             (unsigned long long)core_grant(worker->core),
             process->frozen_until_ns > process->sim->now_ns ? ", frozen" : "",
             waits[0] ? "; " : "", waits);
}
