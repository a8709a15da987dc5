/*
 * A training program on top of the client engine, as a user would write it: create, start, then step by step pull, compute,
 * push, end; and, whenever a handle has ended, an array that is used for something else at once.
 *
 * Checked here: what a pull brings is the version it asked for; a pull's array is left alone before and after; a push ends when its
 * step is committed, not before; totals of every committed step; no step without a grant; nothing fails.
 */
#include "tests/sim/sim.h"

#include "common/base/exit_code.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum phase {
    PHASE_FORM,
    PHASE_CREATE,
    PHASE_START,
    PHASE_ASSIGN,
    PHASE_BARRIER,
    PHASE_FIRST_PULL,
    PHASE_BEGIN,
    PHASE_PUSH,
    PHASE_END,
    PHASE_FINISH,
    PHASE_LAST,
    PHASE_DONE,
};

static const char *const phase_names[] = {"forming", "creating",  "starting",  "assigning", "at a barrier", "first pull",
                                          "begin",   "pushing",   "at the end", "finishing", "last wait",    "done"};

struct pushed {
    ps_handle handle; /* 0: none */
    uint64_t step;
};

struct sim_worker {
    struct sim_process *process;
    struct core *core; /* owned */
    enum phase phase;
    uint64_t wait_until_ns; /* the program computes */
    ps_handle requests[SIM_VARIABLES_MAX + SIM_OPTIMIZERS_MAX];
    size_t request_count;
    uint32_t ids[SIM_VARIABLES_MAX];
    bool created; /* ids are known */
    bool closing;
    uint64_t step;  /* at work, or the next one */
    uint64_t first; /* the first step of this process */
    uint32_t at;    /* the variable at work */
    uint32_t order[SIM_VARIABLES_MAX];
    uint8_t *values;          /* owned; what was pulled */
    uint8_t *arrays[2];       /* owned; what is pushed, [step % 2] */
    uint8_t *scratch;         /* owned */
    struct pushed pushes[2][SIM_VARIABLES_MAX];
    ps_handle pulls[SIM_VARIABLES_MAX];
    uint64_t pull_steps[SIM_VARIABLES_MAX];
    bool pull_expires[SIM_VARIABLES_MAX], scribbled[SIM_VARIABLES_MAX], have[SIM_VARIABLES_MAX];
    uint64_t expire_ns[SIM_VARIABLES_MAX];
    uint64_t totals_seen; /* steps up to this one are checked */
    ps_handle latest;     /* of a rank that has finished and looks on */
    uint32_t latest_of;
    uint64_t latest_from, latest_ns;
    bool finish_asked;
};

/* ---- small things ---- */

static struct sim *sim_of(const struct sim_worker *worker)
{
    return worker->process->sim;
}

static const struct sim_plan *plan_of(const struct sim_worker *worker)
{
    return &worker->process->sim->plan;
}

static uint8_t *part(const struct sim_worker *worker, uint8_t *array, uint32_t v)
{
    return array + plan_of(worker)->variables[v].offset;
}

static uint8_t scribble_byte(const struct sim_worker *worker, uint32_t v)
{
    return (uint8_t)(0xC1 + v * 7 + worker->step % 5);
}

static void must_ok(const struct sim_worker *worker, const char *what, enum status status, const struct error *err)
{
    if (status)
        sim_fail(sim_of(worker), "calls-succeed", "%s, rank %u: %s: %s: %s", worker->process->name,
                 core_rank(worker->core), what, status_name(status), err->message);
}

uint32_t worker_rank_plus_1(const struct sim_process *process)
{
    return core_incarnation(process->worker->core) ? core_rank(process->worker->core) + 1 : 0;
}

/* ---- pushes ---- */

/* A loan that has ended: the array belongs to the program again, and is used. */
static void check_pushes(struct sim_worker *worker)
{
    struct sim *sim = sim_of(worker);
    enum status status;
    struct error err = {0};

    for (uint32_t parity = 0; parity < 2; parity++) {
        for (uint32_t v = 0; v < plan_of(worker)->variable_count; v++) {
            struct pushed *pushed = &worker->pushes[parity][v];
            if (!pushed->handle || pushed->handle == PS_LATEST ||
                !core_done(worker->core, pushed->handle, &status, NULL, &err))
                continue;
            must_ok(worker, "push", status, &err);
            if (core_commit_plus_1(worker->core) <= pushed->step ||
                sim_coordinator(sim)->committed_plus_1 <= pushed->step)
                sim_fail(sim, "push-committed", "%s: a push of step %llu ended before its commit",
                         worker->process->name, (unsigned long long)pushed->step);
            memset(part(worker, worker->arrays[parity], v), 0xEE, plan_of(worker)->variables[v].bytes);
            pushed->handle = 0;
        }
    }
}

/* A push that is said to be staged is on its servers, whole. */
static void check_staged(struct sim_worker *worker)
{
    struct sim *sim = sim_of(worker);
    uint32_t v = (uint32_t)sim_below(sim, plan_of(worker)->variable_count);
    const struct pushed *pushed = &worker->pushes[sim_below(sim, 2)][v];

    if (!pushed->handle || pushed->handle == PS_LATEST || pushed->step == 0 ||
        plan_action(plan_of(worker), v, core_rank(worker->core), pushed->step) == ACTION_NONE ||
        !core_staged(worker->core, pushed->handle))
        return;
    check_push_arrived(sim, worker->process, worker->ids[v], core_rank(worker->core), pushed->step);
}

static bool pushes_pending(const struct sim_worker *worker, uint32_t parity)
{
    for (uint32_t v = 0; v < plan_of(worker)->variable_count; v++) {
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
    const struct sim_variable *variable = &plan_of(worker)->variables[v];
    const uint8_t *bytes = part(worker, worker->values, v);

    if (!worker->scribbled[v])
        return;
    for (size_t i = 0; i < variable->bytes; i++) {
        if (bytes[i] != 0x5A)
            sim_fail(sim_of(worker), "pull-given-up", "%s: '%s' was written to after its pull was given up",
                     worker->process->name, variable->name);
    }
    worker->scribbled[v] = false;
}

static void pull(struct sim_worker *worker, uint32_t v, uint64_t step)
{
    struct sim *sim = sim_of(worker);
    struct error err = {0};

    check_scribble(worker, v);
    memset(part(worker, worker->values, v), scribble_byte(worker, v), plan_of(worker)->variables[v].bytes);
    must_ok(worker, "pull",
            core_pull(worker->core, worker->ids[v], step, part(worker, worker->values, v), &worker->pulls[v], &err),
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
    struct sim *sim = sim_of(worker);
    struct error err;

    sim_trace(sim, "%s gives up its pull of '%s'", worker->process->name, plan_of(worker)->variables[v].name);
    if (core_expire(worker->core, worker->pulls[v], 5, &err) != STATUS_DEADLINE_EXCEEDED)
        sim_fail(sim, "expire", "core_expire says %s", err.message);
    memset(part(worker, worker->values, v), 0x5A, plan_of(worker)->variables[v].bytes);
    worker->scribbled[v] = true;
    worker->pull_expires[v] = false;
    worker->pulls[v] = 0;
    worker->expire_ns[v] = sim->now_ns + sim_below(sim, 20 * SIM_MS);
    sim->totals.expired++;
}

static void pull_ended(struct sim_worker *worker, uint32_t v, enum status status, const struct error *err)
{
    must_ok(worker, "pull", status, err);
    worker->pulls[v] = 0;
    worker->have[v] = true;
    oracle_compare(sim_of(worker), "pull-bytes", worker->process->name, worker->pull_steps[v], v, 0, 0,
                   plan_of(worker)->variables[v].elements, part(worker, worker->values, v));
    /* A push_pull's loan has ended with it. */
    for (uint32_t parity = 0; parity < 2; parity++) {
        struct pushed *pushed = &worker->pushes[parity][v];
        if (pushed->handle != PS_LATEST || pushed->step != worker->pull_steps[v])
            continue;
        memset(part(worker, worker->arrays[parity], v), 0xEE, plan_of(worker)->variables[v].bytes);
        pushed->handle = 0;
    }
}

/* Returns when a pull wants to be looked at again. */
static uint64_t check_pulls(struct sim_worker *worker)
{
    struct sim *sim = sim_of(worker);
    uint64_t wake = SIM_NEVER;
    enum status status;
    struct error err = {0};

    for (uint32_t v = 0; v < plan_of(worker)->variable_count; v++) {
        if (worker->scribbled[v] && !worker->pulls[v] && sim->now_ns >= worker->expire_ns[v])
            pull(worker, v, worker->pull_steps[v]);
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

static bool pulls_pending(const struct sim_worker *worker)
{
    for (uint32_t v = 0; v < plan_of(worker)->variable_count; v++) {
        if (worker->pulls[v] || worker->scribbled[v])
            return true;
    }
    return false;
}

/* ---- after the end ---- */

/* The newest values, whatever their step: all of one, and not older than what was committed when they were asked for. */
static void check_latest(struct sim_worker *worker, enum status status, const struct error *err)
{
    struct sim *sim = sim_of(worker);
    const struct sim_variable *variable = &plan_of(worker)->variables[worker->latest_of];
    const uint8_t *values = part(worker, worker->values, worker->latest_of);

    must_ok(worker, "pull of the latest", status, err);
    worker->latest = 0;
    worker->latest_ns = sim->now_ns + sim_below(sim, 100 * SIM_MS);
    sim->totals.latest++;
    for (uint64_t step = worker->latest_from; step <= sim_coordinator(sim)->committed_plus_1; step++) {
        if (step <= plan_of(worker)->steps &&
            memcmp(oracle_version(sim, step)->values + variable->offset, values, variable->bytes) == 0)
            return;
    }
    sim_fail(sim, "latest-bytes", "%s: the latest values of '%s' are of no step from %llu on", worker->process->name,
             variable->name, (unsigned long long)worker->latest_from);
}

/* Reads go on after finish. Returns when it wants to be called again. */
static uint64_t look_on(struct sim_worker *worker)
{
    struct sim *sim = sim_of(worker);
    enum status status;
    struct error err = {0};

    if (worker->latest && core_done(worker->core, worker->latest, &status, NULL, &err))
        check_latest(worker, status, &err);
    if (worker->latest || !sim->faults_on)
        return SIM_NEVER;
    if (sim->now_ns < worker->latest_ns)
        return worker->latest_ns;
    worker->latest_of = (uint32_t)sim_below(sim, plan_of(worker)->variable_count);
    worker->latest_from = core_commit_plus_1(worker->core) - 1;
    must_ok(worker, "pull of the latest",
            core_pull(worker->core, worker->ids[worker->latest_of], PS_LATEST,
                      part(worker, worker->values, worker->latest_of), &worker->latest, &err),
            &err);
    core_flush(worker->core);
    return SIM_NEVER;
}

/* ---- totals ---- */

static void compare_metrics(struct sim_worker *worker, uint64_t step, const char *what, const struct ps_metric *got,
                            size_t got_count, const struct ps_metric *right, size_t right_count)
{
    for (size_t i = 0; i < right_count; i++) {
        size_t k = 0;
        while (k < got_count && strcmp(got[k].name, right[i].name) != 0)
            k++;
        if (k == got_count || got[k].sum != right[i].sum || got[k].count != right[i].count)
            sim_fail(sim_of(worker), "totals", "%s: %s of step %llu: '%s' is %.17g (%g), must be %.17g (%g)",
                     worker->process->name, what, (unsigned long long)step, right[i].name,
                     k < got_count ? got[k].sum : 0, k < got_count ? got[k].count : 0, right[i].sum, right[i].count);
    }
}

static void check_totals(struct sim_worker *worker)
{
    struct ps_metric totals[2 * SIM_METRICS_MAX], running[2 * SIM_METRICS_MAX];
    size_t count;
    struct error err;

    while (worker->totals_seen + 1 < core_commit_plus_1(worker->core)) {
        uint64_t step = worker->totals_seen + 1;
        enum status status =
            core_totals(worker->core, step, totals, running, 2 * SIM_METRICS_MAX, &count, &err);
        if (status == STATUS_UNAVAILABLE || status == STATUS_FAILED_PRECONDITION)
            return; /* the step is known to be committed, its totals are on their way */
        if (status == STATUS_OK) {
            const struct sim_version *version = oracle_version(sim_of(worker), step);
            compare_metrics(worker, step, "total", totals, count, version->totals, version->total_count);
            compare_metrics(worker, step, "running total", running, count, version->running,
                            version->running_count);
        } else if (status != STATUS_OUT_OF_RANGE) {
            must_ok(worker, "totals", status, &err);
        }
        worker->totals_seen++;
    }
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
        must_ok(worker, "request", status, &err);
        if (worker->phase == PHASE_CREATE && i >= plan_of(worker)->optimizer_count)
            worker->ids[worker->order[i - plan_of(worker)->optimizer_count]] = result.variable;
        worker->requests[i] = 0;
    }
    worker->request_count = 0;
    return true;
}

static void shuffle(struct sim_worker *worker)
{
    struct sim *sim = sim_of(worker);
    uint32_t count = plan_of(worker)->variable_count;

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
    const struct sim_plan *plan = plan_of(worker);
    struct error err = {0};

    shuffle(worker);
    for (uint32_t i = 0; i < plan->optimizer_count; i++) {
        const struct sim_optimizer *optimizer = &plan->optimizers[i];
        struct ps_setting settings[2];
        for (size_t k = 0; k < optimizer->option_count; k++)
            settings[k] = (struct ps_setting){optimizer->options[k].key, optimizer->options[k].value};
        must_ok(worker, "configure",
                core_configure(worker->core, i, optimizer->name, settings, optimizer->option_count,
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
        must_ok(worker, "create",
                core_create(worker->core, &variable, &worker->requests[worker->request_count++], &err), &err);
    }
}

static void ask_assign(struct sim_worker *worker)
{
    const struct sim_plan *plan = plan_of(worker);
    struct error err = {0};

    for (uint32_t v = 0; v < plan->variable_count; v++) {
        if (plan->variables[v].initializer != PS_ASSIGNED)
            continue;
        plan_initial(plan, v, part(worker, worker->arrays[0], v));
        must_ok(worker, "assign",
                core_assign(worker->core, worker->ids[v], part(worker, worker->arrays[0], v),
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
    must_ok(worker, "barrier", core_barrier(worker->core, name, &metric, 1, &worker->requests[0], &err), &err);
}

static bool barrier_done(struct sim_worker *worker)
{
    struct ps_metric total;
    struct core_result result = {.metrics = &total, .metric_capacity = 1};
    double workers = plan_of(worker)->workers;
    enum status status;
    struct error err = {0};

    if (!core_done(worker->core, worker->requests[0], &status, &result, &err))
        return false;
    must_ok(worker, "barrier", status, &err);
    if (result.metric_count != 1 || total.count != workers || total.sum != workers * (workers + 1) / 2)
        sim_fail(sim_of(worker), "barrier", "%s: a barrier's total is %g of %g ranks", worker->process->name,
                 total.sum, total.count);
    worker->request_count = 0;
    return true;
}

/* ---- steps ---- */

static uint64_t last_step(const struct sim_worker *worker)
{
    return plan_of(worker)->finish_step[core_rank(worker->core)];
}

/* Does this rank look at the values before the step? One without examples may not care. */
static bool wants_values(const struct sim_worker *worker, uint64_t step)
{
    const struct sim_plan *plan = plan_of(worker);
    uint32_t rank = core_rank(worker->core);

    return step > last_step(worker) || plan_examples(plan, rank, step) > 0 ||
           plan_dice(plan, "looks", rank, step, 0) % 2;
}

static bool begin(struct sim_worker *worker)
{
    struct sim *sim = sim_of(worker);
    const struct sim_plan *plan = plan_of(worker);
    struct error err = {0};

    if (pulls_pending(worker) || pushes_pending(worker, worker->step % 2) ||
        !core_step_granted(worker->core, worker->step))
        return false;
    if (worker->step > sim_coordinator(sim)->committed_plus_1 + 1)
        sim_fail(sim, "grant", "%s begins step %llu; the last committed step is %lld", worker->process->name,
                 (unsigned long long)worker->step, (long long)sim_coordinator(sim)->committed_plus_1 - 1);
    must_ok(worker, "step_begin",
            core_step_begin(worker->core, worker->step, plan_examples(plan, core_rank(worker->core), worker->step),
                            &err),
            &err);
    sim_trace(sim, "%s, rank %u, begins step %llu", worker->process->name, core_rank(worker->core),
              (unsigned long long)worker->step);
    shuffle(worker);
    worker->at = 0;
    worker->wait_until_ns = sim->now_ns + sim_below(sim, plan->compute_max_ns);
    return true;
}

static void push_rows(struct sim_worker *worker, uint32_t v, const int64_t *rows, size_t row_count)
{
    struct pushed *pushed = &worker->pushes[worker->step % 2][v];
    struct error err = {0};
    int64_t copy[256];

    plan_values(plan_of(worker), v, core_rank(worker->core), worker->step, part(worker, worker->values, v), rows,
                row_count, worker->scratch);
    memcpy(copy, rows, row_count * sizeof copy[0]);
    must_ok(worker, "push_rows",
            core_push_rows(worker->core, worker->ids[v], copy, row_count, worker->scratch, &pushed->handle, &err),
            &err);
    /* rows and values are copied: they are ours at once */
    memset(copy, 0x77, sizeof copy);
    memset(worker->scratch, 0xEE, plan_of(worker)->bytes);
}

/* A rank without examples may go through the motions of a gradient. */
static bool pretends(const struct sim_worker *worker, uint32_t v)
{
    const struct sim_plan *plan = plan_of(worker);
    uint32_t rank = core_rank(worker->core);

    return plan_examples(plan, rank, worker->step) == 0 && plan->variables[v].trainable &&
           plan_dice(plan, "pretends", rank, worker->step, v) % 4 == 0;
}

static void push_and_pull(struct sim_worker *worker, uint32_t v)
{
    struct sim *sim = sim_of(worker);
    const struct sim_plan *plan = plan_of(worker);
    uint32_t rank = core_rank(worker->core);
    enum sim_action action = plan_action(plan, v, rank, worker->step);
    struct pushed *pushed = &worker->pushes[worker->step % 2][v];
    uint8_t *array = part(worker, worker->arrays[worker->step % 2], v);
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
            plan_values(plan, v, rank, worker->step, part(worker, worker->values, v), NULL, 0, array);
        if (wants && action == ACTION_GRADIENT && plan_dice(plan, "push_pull", v, worker->step, rank) % 3 == 0) {
            /* One handle for both. It may not be given up: the loan's end would never be told. */
            check_scribble(worker, v);
            memset(part(worker, worker->values, v), scribble_byte(worker, v), plan->variables[v].bytes);
            must_ok(worker, "push_pull",
                    core_push_pull(worker->core, worker->ids[v], array, part(worker, worker->values, v),
                                   &worker->pulls[v], &err),
                    &err);
            worker->pull_steps[v] = worker->step;
            worker->have[v] = worker->pull_expires[v] = false;
            pushed->handle = PS_LATEST; /* ends with the pull */
            sim->totals.pushes++;
            return;
        }
        must_ok(worker, "push",
                core_push(worker->core, worker->ids[v], array, push_kind(action), &pushed->handle, &err), &err);
    }
    sim->totals.pushes += action != ACTION_NONE;
    if (wants)
        pull(worker, v, worker->step);
    else
        worker->have[v] = false;
}

/* One variable after the other, with pauses, so that a crash finds the step half done. */
static bool push_some(struct sim_worker *worker)
{
    struct sim *sim = sim_of(worker);

    while (worker->at < plan_of(worker)->variable_count) {
        push_and_pull(worker, worker->order[worker->at++]);
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
    struct sim *sim = sim_of(worker);
    struct ps_metric metrics[SIM_METRICS_MAX];
    struct error err = {0};
    size_t count = plan_metrics(plan_of(worker), core_rank(worker->core), worker->step, metrics);

    must_ok(worker, "step_end",
            core_step_end(worker->core, metrics, count, plan_restarts_totals(worker->step), &err), &err);
    worker->step++;
    worker->wait_until_ns = sim->now_ns + sim_below(sim, plan_of(worker)->compute_max_ns);
}

static bool first_pull(struct sim_worker *worker)
{
    if (!worker->pull_steps[0] && !worker->pulls[0] && !worker->have[0] && !worker->scribbled[0]) {
        for (uint32_t v = 0; v < plan_of(worker)->variable_count; v++)
            pull(worker, v, worker->step - 1);
        core_flush(worker->core);
    }
    return !pulls_pending(worker);
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
    return core_commit_plus_1(worker->core) > last_step(worker) && !pushes_pending(worker, 0) &&
           !pushes_pending(worker, 1) && !pulls_pending(worker);
}

static enum phase after_steps(struct sim_worker *worker)
{
    if (worker->step > last_step(worker) || core_finished(worker->core))
        return PHASE_FINISH;
    if (!plan_of(worker)->barriers || worker->step % 16 != 1)
        return PHASE_BEGIN;
    ask_barrier(worker);
    return PHASE_BARRIER;
}

/* One move; false: nothing to do now. */
static bool move(struct sim_worker *worker)
{
    struct error err = {0};

    switch (worker->phase) {
    case PHASE_FORM:
        if (!core_formed(worker->core))
            return false;
        choose_first_step(worker);
        worker->phase = PHASE_CREATE;
        ask_create(worker);
        break;
    case PHASE_CREATE:
        if (!requests_done(worker))
            return false;
        worker->created = true;
        worker->request_count = 1;
        must_ok(worker, "start", core_start(worker->core, &worker->requests[0], &err), &err);
        worker->phase = PHASE_START;
        break;
    case PHASE_START:
        if (!requests_done(worker))
            return false;
        worker->phase = PHASE_FINISH;
        if (core_finished(worker->core))
            break; /* the process before this one was through */
        ask_assign(worker);
        worker->phase = PHASE_ASSIGN;
        break;
    case PHASE_ASSIGN:
        if (pushes_pending(worker, 0))
            return false;
        worker->phase = PHASE_FIRST_PULL;
        break;
    case PHASE_BARRIER:
        if (!barrier_done(worker))
            return false;
        worker->phase = PHASE_BEGIN;
        break;
    case PHASE_FIRST_PULL:
        if (!first_pull(worker))
            return false;
        worker->phase = after_steps(worker);
        break;
    case PHASE_BEGIN:
        if (!begin(worker))
            return false;
        worker->phase = PHASE_PUSH;
        break;
    case PHASE_PUSH:
        if (!push_some(worker))
            return false;
        worker->phase = PHASE_END;
        break;
    case PHASE_END:
        end(worker);
        worker->phase = after_steps(worker);
        break;
    case PHASE_FINISH:
        /* A finished rank holds up nobody: what it still wants to pull may be gone then. */
        if (pulls_pending(worker))
            return false;
        if (!worker->finish_asked && !core_finished(worker->core)) {
            must_ok(worker, "finish", core_finish(worker->core, &worker->requests[0], &err), &err);
            worker->finish_asked = true;
            worker->request_count = 1;
        }
        if (!requests_done(worker))
            return false;
        worker->phase = PHASE_LAST;
        break;
    case PHASE_LAST:
        if (!ended_all(worker))
            return false;
        worker->phase = PHASE_DONE;
        sim_of(worker)->done_ranks |= (uint64_t)1 << core_rank(worker->core);
        sim_trace(sim_of(worker), "%s, rank %u, has finished", worker->process->name, core_rank(worker->core));
        break;
    case PHASE_DONE:
        return false;
    }
    return true;
}

/* A process that another one has replaced, or that found no free rank, goes away; anything else is wrong. */
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
    if (sim->workers[process->slot] != process)
        return;
    /* Who finds no free rank starts that of somebody who is not through. */
    uint32_t rank_plus_1 = 0;
    for (uint32_t rank = 0; rank < sim->plan.workers && why->status == STATUS_RESOURCE_EXHAUSTED; rank++)
        rank_plus_1 = sim->done_ranks >> rank & 1 ? rank_plus_1 : rank + 1;
    faults_restart_worker(sim, process->slot, 20 * SIM_MS + sim_below(sim, SIM_S), rank_plus_1);
}

/* A program that is through looks on for a while, or closes its client and ends. */
static uint64_t leave(struct sim_worker *worker)
{
    struct sim_process *process = worker->process;

    if (!plan_of(worker)->leaves)
        return worker->created ? look_on(worker) : SIM_NEVER;
    if (!worker->closing)
        core_close(worker->core);
    worker->closing = true;
    if (!core_closed(worker->core))
        return SIM_NEVER;
    sim_trace(sim_of(worker), "%s exits", process->name);
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
        check_pushes(worker);
        wake = check_pulls(worker);
        check_totals(worker);
        if (sim_chance(sim, 100))
            check_staged(worker);
    }
    while (sim->now_ns >= worker->wait_until_ns && move(worker))
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
    for (uint32_t v = 0; v < plan_of(worker)->variable_count && !waits[0]; v++) {
        if (worker->pulls[v])
            core_describe(worker->core, worker->pulls[v], waits, sizeof waits);
    }
    snprintf(ret_text, capacity, "%s (rank %d, incarnation %llu): %s, step %llu, committed %lld, grant %llu%s%s%s",
             process->name, (int)worker_rank_plus_1(process) - 1,
             (unsigned long long)core_incarnation(worker->core), phase_names[worker->phase],
             (unsigned long long)worker->step, (long long)core_commit_plus_1(worker->core) - 1,
             (unsigned long long)core_grant(worker->core), process->frozen_until_ns > process->sim->now_ns ? ", frozen" : "",
             waits[0] ? "; " : "", waits);
}
