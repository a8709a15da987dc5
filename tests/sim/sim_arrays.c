/*
 * The program's arrays: what it lends to pushes, what it has pulled.
 *
 * Checked here: what a pull brings is the version it asked for; a pull's array is left alone once
 * it is given up; a push ends when its step is committed, not before (then its array is written
 * over at once); totals of every committed step.
 */
#include "tests/sim/sim_worker.h"

#include <stdio.h>
#include <string.h>

static uint8_t scribble_byte(const struct sim_worker *worker, uint32_t v)
{
    return (uint8_t)(0xC1 + v * 7 + worker->step % 5);
}

void worker_must_ok(const struct sim_worker *worker, const char *what, enum status status,
                    const struct error *err)
{
    if (status)
        sim_fail(worker_sim(worker), "calls-succeed", "%s, rank %u: %s: %s: %s",
                 worker->process->name, core_rank(worker->core), what, status_name(status),
                 err->message);
}

uint64_t worker_last_step(const struct sim_worker *worker)
{
    return worker_plan(worker)->finish_step[core_rank(worker->core)];
}

/* ---- pushes ---- */

/* A loan that has ended: the array belongs to the program again, and is used. */
void arrays_check_pushes(struct sim_worker *worker)
{
    struct sim *sim = worker_sim(worker);
    enum status status;
    struct error err = {0};

    for (uint32_t parity = 0; parity < 2; parity++) {
        for (uint32_t v = 0; v < worker_plan(worker)->variable_count; v++) {
            struct pushed *pushed = &worker->pushes[parity][v];
            if (!pushed->handle || pushed->handle == PS_LATEST ||
                !core_done(worker->core, pushed->handle, &status, NULL, &err))
                continue;
            worker_must_ok(worker, "push", status, &err);
            if (core_commit_plus_1(worker->core) <= pushed->step ||
                sim_coordinator(sim)->committed_plus_1 <= pushed->step)
                sim_fail(sim, "push-committed", "%s: a push of step %llu ended before its commit",
                         worker->process->name, (unsigned long long)pushed->step);
            memset(worker_part(worker, worker->arrays[parity], v), 0xEE,
                   worker_plan(worker)->variables[v].bytes);
            pushed->handle = 0;
        }
    }
}

/* A push that is said to be staged is on its servers, whole. */
void arrays_check_staged(struct sim_worker *worker)
{
    struct sim *sim = worker_sim(worker);
    uint32_t v = (uint32_t)sim_below(sim, worker_plan(worker)->variable_count);
    const struct pushed *pushed = &worker->pushes[sim_below(sim, 2)][v];

    if (!pushed->handle || pushed->handle == PS_LATEST || pushed->step == 0 ||
        plan_action(worker_plan(worker), v, core_rank(worker->core), pushed->step) == ACTION_NONE ||
        !core_staged(worker->core, pushed->handle))
        return;
    check_push_arrived(sim, worker->process, worker->ids[v], core_rank(worker->core), pushed->step);
}

bool arrays_pushes_pending(const struct sim_worker *worker, uint32_t parity)
{
    for (uint32_t v = 0; v < worker_plan(worker)->variable_count; v++) {
        if (worker->pushes[parity][v].handle)
            return true;
    }
    return false;
}

static enum ps_push_kind push_kind(enum sim_action action)
{
    return action == ACTION_ASSIGN        ? PS_PUSH_ASSIGN
           : action == ACTION_ASSIGN_MEAN ? PS_ASSIGN_MEAN
           : action == ACTION_ADD         ? PS_ADD
                                          : PS_GRADIENT;
}

/* ---- pulls ---- */

static void check_scribble(struct sim_worker *worker, uint32_t v)
{
    const struct sim_variable *variable = &worker_plan(worker)->variables[v];
    const uint8_t *bytes = worker_part(worker, worker->values, v);

    if (!worker->scribbled[v])
        return;
    for (size_t i = 0; i < variable->bytes; i++) {
        if (bytes[i] != 0x5A)
            sim_fail(worker_sim(worker), "pull-given-up",
                     "%s: '%s' was written to after its pull was given up", worker->process->name,
                     variable->name);
    }
    worker->scribbled[v] = false;
}

void arrays_pull(struct sim_worker *worker, uint32_t v, uint64_t step)
{
    struct sim *sim = worker_sim(worker);
    struct error err = {0};

    check_scribble(worker, v);
    memset(worker_part(worker, worker->values, v), scribble_byte(worker, v),
           worker_plan(worker)->variables[v].bytes);
    worker_must_ok(worker, "pull",
                   core_pull(worker->core, worker->ids[v], step,
                             worker_part(worker, worker->values, v), &worker->pulls[v], &err),
                   &err);
    worker->pull_steps[v] = step;
    worker->have[v] = false;
    worker->pull_expires[v] = sim_chance(sim, 15);
    worker->expire_ns[v] = sim->now_ns + sim_below(sim, 8 * SIM_MS);
    sim->totals.pulls++;
}

/* The program loses its patience, uses the array, and asks again later. */
static void give_up_pull(struct sim_worker *worker, uint32_t v)
{
    struct sim *sim = worker_sim(worker);
    struct error err;

    sim_trace(sim, "%s gives up its pull of '%s'", worker->process->name,
              worker_plan(worker)->variables[v].name);
    if (core_expire(worker->core, worker->pulls[v], 5, &err) != STATUS_DEADLINE_EXCEEDED)
        sim_fail(sim, "expire", "core_expire says %s", err.message);
    memset(worker_part(worker, worker->values, v), 0x5A, worker_plan(worker)->variables[v].bytes);
    worker->scribbled[v] = true;
    worker->pull_expires[v] = false;
    worker->pulls[v] = 0;
    worker->expire_ns[v] = sim->now_ns + sim_below(sim, 20 * SIM_MS);
    sim->totals.expired++;
}

/* The process before this one said finish, so the job went on after its last step: its values may
 * be gone. */
static bool may_be_gone(const struct sim_worker *worker, uint32_t v, enum status status)
{
    const struct coordinator *coordinator = sim_coordinator(worker_sim(worker));

    return status == STATUS_OUT_OF_RANGE &&
           coordinator->workers[core_rank(worker->core)].last_step == worker->pull_steps[v];
}

static void pull_ended(struct sim_worker *worker, uint32_t v, enum status status,
                       const struct error *err)
{
    worker->pulls[v] = 0;
    worker->have[v] = status == STATUS_OK;
    if (!may_be_gone(worker, v, status)) {
        worker_must_ok(worker, "pull", status, err);
        oracle_compare(worker_sim(worker), "pull-bytes", worker->process->name,
                       worker->pull_steps[v], v, 0, 0, worker_plan(worker)->variables[v].elements,
                       worker_part(worker, worker->values, v));
    }
    /* A push_pull's loan has ended with it. */
    for (uint32_t parity = 0; parity < 2; parity++) {
        struct pushed *pushed = &worker->pushes[parity][v];
        if (pushed->handle != PS_LATEST || pushed->step != worker->pull_steps[v])
            continue;
        memset(worker_part(worker, worker->arrays[parity], v), 0xEE,
               worker_plan(worker)->variables[v].bytes);
        pushed->handle = 0;
    }
}

/* Returns when a pull wants to be looked at again. */
uint64_t arrays_check_pulls(struct sim_worker *worker)
{
    struct sim *sim = worker_sim(worker);
    uint64_t wake = SIM_NEVER;
    enum status status;
    struct error err = {0};

    for (uint32_t v = 0; v < worker_plan(worker)->variable_count; v++) {
        if (worker->scribbled[v] && !worker->pulls[v] && sim->now_ns >= worker->expire_ns[v])
            arrays_pull(worker, v, worker->pull_steps[v]);
        if (worker->scribbled[v] && worker->expire_ns[v] < wake)
            wake = worker->expire_ns[v];
        if (!worker->pulls[v])
            continue;
        if (core_done(worker->core, worker->pulls[v], &status, NULL, &err))
            pull_ended(worker, v, status, &err);
        else if (worker->pull_expires[v] && sim->now_ns >= worker->expire_ns[v])
            give_up_pull(worker, v);
        if (worker->pulls[v] && worker->pull_expires[v] && worker->expire_ns[v] < wake)
            wake = worker->expire_ns[v];
    }
    return wake;
}

bool arrays_pulls_pending(const struct sim_worker *worker)
{
    for (uint32_t v = 0; v < worker_plan(worker)->variable_count; v++) {
        if (worker->pulls[v] || worker->scribbled[v])
            return true;
    }
    return false;
}

/* ---- after the end ---- */

/* The newest values, whatever their step: all of one, and not older than what was committed when
 * they were asked for. */
static void check_latest(struct sim_worker *worker, enum status status, const struct error *err)
{
    struct sim *sim = worker_sim(worker);
    const struct sim_variable *variable = &worker_plan(worker)->variables[worker->latest_of];
    const uint8_t *values = worker_part(worker, worker->values, worker->latest_of);

    worker_must_ok(worker, "pull of the latest", status, err);
    worker->latest = 0;
    worker->latest_ns = sim->now_ns + sim_below(sim, 100 * SIM_MS);
    sim->totals.latest++;
    for (uint64_t step = worker->latest_from; step <= sim_coordinator(sim)->committed_plus_1;
         step++) {
        if (step <= worker_plan(worker)->steps &&
            memcmp(oracle_version(sim, step)->values + variable->offset, values, variable->bytes) ==
                0)
            return;
    }
    sim_fail(sim, "latest-bytes", "%s: the latest values of '%s' are of no step from %llu on",
             worker->process->name, variable->name, (unsigned long long)worker->latest_from);
}

/* Reads go on after finish. Returns when it wants to be called again. */
uint64_t arrays_look_on(struct sim_worker *worker)
{
    struct sim *sim = worker_sim(worker);
    enum status status;
    struct error err = {0};

    if (worker->latest && core_done(worker->core, worker->latest, &status, NULL, &err))
        check_latest(worker, status, &err);
    if (worker->latest || !sim->faults_on)
        return SIM_NEVER;
    if (sim->now_ns < worker->latest_ns)
        return worker->latest_ns;
    worker->latest_of = (uint32_t)sim_below(sim, worker_plan(worker)->variable_count);
    worker->latest_from = core_commit_plus_1(worker->core) - 1;
    worker_must_ok(worker, "pull of the latest",
                   core_pull(worker->core, worker->ids[worker->latest_of], PS_LATEST,
                             worker_part(worker, worker->values, worker->latest_of),
                             &worker->latest, &err),
                   &err);
    core_flush(worker->core);
    return SIM_NEVER;
}

/* ---- totals ---- */

static void compare_metrics(struct sim_worker *worker, uint64_t step, const char *what,
                            const struct ps_metric *got, size_t got_count,
                            const struct ps_metric *right, size_t right_count)
{
    for (size_t i = 0; i < right_count; i++) {
        size_t k = 0;
        while (k < got_count && strcmp(got[k].name, right[i].name) != 0)
            k++;
        if (k == got_count || got[k].sum != right[i].sum || got[k].count != right[i].count)
            sim_fail(worker_sim(worker), "totals",
                     "%s: %s of step %llu: '%s' is %.17g (%g), must be %.17g (%g)",
                     worker->process->name, what, (unsigned long long)step, right[i].name,
                     k < got_count ? got[k].sum : 0, k < got_count ? got[k].count : 0, right[i].sum,
                     right[i].count);
    }
}

void arrays_check_totals(struct sim_worker *worker)
{
    struct ps_metric totals[2 * SIM_METRICS_MAX], running[2 * SIM_METRICS_MAX];
    size_t count;
    struct error err;

    while (worker->totals_seen + 1 < core_commit_plus_1(worker->core)) {
        uint64_t step = worker->totals_seen + 1;
        enum status status = core_totals(worker->core, step, totals, running, 2 * SIM_METRICS_MAX,
                                         &count, &err);
        if (status == STATUS_UNAVAILABLE || status == STATUS_FAILED_PRECONDITION)
            return; /* the step is known to be committed, its totals are on their way */
        if (status == STATUS_OK) {
            const struct sim_version *version = oracle_version(worker_sim(worker), step);
            compare_metrics(worker, step, "total", totals, count, version->totals,
                            version->total_count);
            compare_metrics(worker, step, "running total", running, count, version->running,
                            version->running_count);
        } else if (status != STATUS_OUT_OF_RANGE) {
            worker_must_ok(worker, "totals", status, &err);
        }
        worker->totals_seen++;
    }
}

/* ---- one step of one variable ---- */

/* Does this rank look at the values before the step? One without examples may not care. */
static bool wants_values(const struct sim_worker *worker, uint64_t step)
{
    const struct sim_plan *plan = worker_plan(worker);
    uint32_t rank = core_rank(worker->core);

    return step > worker_last_step(worker) || plan_examples(plan, rank, step) > 0 ||
           plan_dice(plan, "looks", rank, step, 0) % 2;
}

static void push_rows(struct sim_worker *worker, uint32_t v, const int64_t *rows, size_t row_count)
{
    struct pushed *pushed = &worker->pushes[worker->step % 2][v];
    struct error err = {0};
    int64_t copy[256];

    plan_values(worker_plan(worker), v, core_rank(worker->core), worker->step,
                worker_part(worker, worker->values, v), rows, row_count, worker->scratch);
    memcpy(copy, rows, row_count * sizeof copy[0]);
    worker_must_ok(worker, "push_rows",
                   core_push_rows(worker->core, worker->ids[v], copy, row_count, worker->scratch,
                                  &pushed->handle, &err),
                   &err);
    /* rows and values are copied: they are ours at once */
    memset(copy, 0x77, sizeof copy);
    memset(worker->scratch, 0xEE, worker_plan(worker)->bytes);
}

/* A rank without examples may go through the motions of a gradient. */
static bool pretends(const struct sim_worker *worker, uint32_t v)
{
    const struct sim_plan *plan = worker_plan(worker);
    uint32_t rank = core_rank(worker->core);

    return plan_examples(plan, rank, worker->step) == 0 && plan->variables[v].trainable &&
           plan_dice(plan, "pretends", rank, worker->step, v) % 4 == 0;
}

void arrays_push_and_pull(struct sim_worker *worker, uint32_t v)
{
    struct sim *sim = worker_sim(worker);
    const struct sim_plan *plan = worker_plan(worker);
    uint32_t rank = core_rank(worker->core);
    enum sim_action action = plan_action(plan, v, rank, worker->step);
    struct pushed *pushed = &worker->pushes[worker->step % 2][v];
    uint8_t *array = worker_part(worker, worker->arrays[worker->step % 2], v);
    bool wants = wants_values(worker, worker->step + 1);
    int64_t rows[256];
    struct error err = {0};

    pushed->step = worker->step;
    size_t row_count = plan_rows(plan, v, rank, worker->step, rows);
    if (action != ACTION_NONE && !worker->have[v])
        sim_fail(sim, "program", "%s has no values of '%s' for step %llu", worker->process->name,
                 plan->variables[v].name, (unsigned long long)worker->step);
    if (action != ACTION_NONE && row_count > 0)
        push_rows(worker, v, rows, row_count);
    else if (action != ACTION_NONE || pretends(worker, v)) {
        if (action != ACTION_NONE)
            plan_values(plan, v, rank, worker->step, worker_part(worker, worker->values, v), NULL,
                        0, array);
        if (wants && action == ACTION_GRADIENT &&
            plan_dice(plan, "push_pull", v, worker->step, rank) % 3 == 0) {
            /* One handle for both. It may not be given up: the loan's end would never be told. */
            check_scribble(worker, v);
            memset(worker_part(worker, worker->values, v), scribble_byte(worker, v),
                   plan->variables[v].bytes);
            worker_must_ok(worker, "push_pull",
                           core_push_pull(worker->core, worker->ids[v], array,
                                          worker_part(worker, worker->values, v), &worker->pulls[v],
                                          &err),
                           &err);
            worker->pull_steps[v] = worker->step;
            worker->have[v] = worker->pull_expires[v] = false;
            pushed->handle = PS_LATEST; /* ends with the pull */
            sim->totals.pushes++;
            return;
        }
        worker_must_ok(worker, "push",
                       core_push(worker->core, worker->ids[v], array, push_kind(action),
                                 &pushed->handle, &err),
                       &err);
    }
    sim->totals.pushes += action != ACTION_NONE;
    if (wants)
        arrays_pull(worker, v, worker->step);
    else
        worker->have[v] = false;
}
