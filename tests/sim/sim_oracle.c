/*
 * What every version has to be: a plain loop over steps and ranks on whole variables, with the
 * kernels that servers use. It knows nothing of servers, blocks, frames or time, but for the step
 * from which a changed learning rate holds.
 */
#include "tests/sim/sim.h"

#include "common/optim/initializer.h"
#include "common/tensor/kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void *must_alloc(size_t bytes)
{
    /* Kernels may want their arrays aligned. */
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);

    if (!memory)
        abort();
    memset(memory, 0, bytes);
    return memory;
}

size_t oracle_slot_count(struct sim *sim, uint32_t v)
{
    const struct sim_variable *variable = &sim->plan.variables[v];

    return variable->trainable ? optimizer_slot_count(&sim->oracle.optimizers[variable->optimizer])
                               : 0;
}

static void fill(float *values, float value, size_t count)
{
    for (size_t i = 0; i < count; i++)
        values[i] = value;
}

static void first_version(struct sim *sim)
{
    struct sim_plan *plan = &sim->plan;
    struct sim_version *version = &sim->oracle.versions[0];
    struct error err;

    version->values = must_alloc(plan->bytes);
    for (size_t k = 0; k < SIM_SLOTS; k++)
        version->slots[k] = must_alloc(plan->bytes);
    for (uint32_t v = 0; v < plan->variable_count; v++) {
        const struct sim_variable *variable = &plan->variables[v];
        struct initializer initializer = {.kind = (enum initializer_kind)variable->initializer,
                                          .a = variable->a,
                                          .b = variable->b,
                                          .seed = variable->seed};
        if (variable->initializer == PS_ASSIGNED)
            plan_initial(plan, v, version->values + variable->offset);
        else if (initializer_fill(&initializer, variable->dtype, 0, variable->elements,
                                  version->values + variable->offset, &err))
            abort();
        for (size_t k = 0; k < oracle_slot_count(sim, v); k++)
            fill((float *)(void *)(version->slots[k] + variable->offset),
                 optimizer_slot_initial(&sim->oracle.optimizers[variable->optimizer], k),
                 variable->elements);
    }
    sim->oracle.count = 1;
}

void oracle_init(struct sim *sim)
{
    struct sim_oracle *oracle = &sim->oracle;
    struct error err;

    *oracle = (struct sim_oracle){0};
    for (size_t i = 0; i < sizeof oracle->changes / sizeof oracle->changes[0]; i++)
        oracle->changes[i] = NAN;
    for (uint32_t i = 0; i < sim->plan.optimizer_count; i++) {
        const struct sim_optimizer *optimizer = &sim->plan.optimizers[i];
        if (optimizer_init(&oracle->optimizers[i], optimizer->name, optimizer->options,
                           optimizer->option_count, &err))
            abort();
        oracle->learning_rates[i] = (double)(float)optimizer_option_value(&oracle->optimizers[i],
                                                                          "learning_rate");
    }
    first_version(sim);
}

void oracle_release(struct sim *sim)
{
    for (size_t i = 0; i <= SIM_STEPS_MAX; i++) {
        free(sim->oracle.versions[i].values);
        for (size_t k = 0; k < SIM_SLOTS; k++)
            free(sim->oracle.versions[i].slots[k]);
    }
    sim->oracle = (struct sim_oracle){0};
}

void oracle_learning_rate(struct sim *sim, double learning_rate, uint64_t from_step)
{
    if (from_step < sim->oracle.count)
        sim_fail(sim, "learning-rate", "a change holds from step %llu, which is computed already",
                 (unsigned long long)from_step);
    if (from_step < sizeof sim->oracle.changes / sizeof sim->oracle.changes[0])
        sim->oracle.changes[from_step] = learning_rate;
}

/* ---- a step ---- */

/* sum = weight * more, or sum = sum + weight * more, each operation rounded once; weight < 0: no
 * multiplication. */
static void add_part(enum dtype dtype, void *sum, const void *more, float weight, bool first,
                     size_t count)
{
    if (first && weight < 0) {
        memcpy(sum, more, count * dtype_bytes(dtype));
    } else if (dtype == DTYPE_FLOAT32) {
        if (first)
            kernels_scale(sum, more, weight, count);
        else if (weight < 0)
            kernels_add(sum, more, count);
        else
            kernels_add_scaled(sum, more, weight, count);
    } else if (dtype == DTYPE_FLOAT64) {
        double *to = sum;
        const double *from = more;
        for (size_t i = 0; i < count; i++) {
            double part = weight < 0 ? from[i] : (double)weight * from[i];
            to[i] = first ? part : to[i] + part;
        }
    } else {
        int64_t *to = sum;
        const int64_t *from = more;
        for (size_t i = 0; i < count; i++)
            to[i] = first ? from[i] : to[i] + from[i];
    }
}

/* The rows as a whole array; a row given twice counts twice, in the order of its appearance. */
static void spread_rows(const struct sim_variable *variable, const int64_t *rows, size_t row_count,
                        const float *values, float *ret_whole)
{
    size_t width = variable->row_elements;
    bool *seen = calloc(variable->shape[0], sizeof *seen);

    if (!seen)
        abort();
    memset(ret_whole, 0, variable->bytes);
    for (size_t r = 0; r < row_count; r++) {
        float *to = ret_whole + (size_t)rows[r] * width;
        for (size_t k = 0; k < width; k++)
            to[k] = seen[rows[r]] ? to[k] + values[r * width + k] : values[r * width + k];
        seen[rows[r]] = true;
    }
    free(seen);
}

struct scratch {
    void *part, *rows_part, *sum;
    int64_t rows[256];
};

static void rank_part(struct sim *sim, uint32_t v, uint32_t rank, uint64_t step, const void *before,
                      struct scratch *scratch)
{
    const struct sim_plan *plan = &sim->plan;
    size_t row_count = plan_rows(plan, v, rank, step, scratch->rows);

    if (row_count == 0) {
        plan_values(plan, v, rank, step, before, NULL, 0, scratch->part);
        return;
    }
    plan_values(plan, v, rank, step, before, scratch->rows, row_count, scratch->rows_part);
    spread_rows(&plan->variables[v], scratch->rows, row_count, scratch->rows_part, scratch->part);
}

/* What the ranks bring for a variable, added up; ACTION_NONE: nothing. */
static enum sim_action sum_of_ranks(struct sim *sim, uint32_t v, uint64_t step, const void *before,
                                    struct scratch *scratch)
{
    const struct sim_plan *plan = &sim->plan;
    const struct sim_variable *variable = &plan->variables[v];
    enum sim_action all = ACTION_NONE;
    uint64_t total = 0;

    for (uint32_t rank = 0; rank < plan->workers; rank++)
        total += plan_examples(plan, rank, step);
    for (uint32_t rank = 0; rank < plan->workers; rank++) {
        enum sim_action action = plan_action(plan, v, rank, step);
        if (action == ACTION_NONE)
            continue;
        bool weighted = action == ACTION_GRADIENT || action == ACTION_ASSIGN_MEAN;
        float weight = (float)((double)plan_examples(plan, rank, step) / (double)total);
        rank_part(sim, v, rank, step, before, scratch);
        add_part(variable->dtype, scratch->sum, scratch->part, weighted ? weight : -1,
                 all == ACTION_NONE, variable->elements);
        all = action;
    }
    return all;
}

static void apply(struct sim *sim, uint32_t v, uint64_t step, enum sim_action action,
                  struct sim_version *version, void *sum)
{
    const struct sim_variable *variable = &sim->plan.variables[v];
    uint8_t *value = version->values + variable->offset;
    struct optimizer_scalars scalars;
    float *slots[OPTIMIZER_SLOTS_MAX] = {0};

    switch (action) {
    case ACTION_NONE:
        break;
    case ACTION_ASSIGN:
    case ACTION_ASSIGN_MEAN:
        memcpy(value, sum, variable->bytes);
        break;
    case ACTION_ADD:
        add_part(variable->dtype, value, sum, -1, false, variable->elements);
        break;
    case ACTION_GRADIENT:
        for (size_t k = 0; k < SIM_SLOTS; k++)
            slots[k] = (float *)(void *)(version->slots[k] + variable->offset);
        optimizer_begin_step(&sim->oracle.optimizers[variable->optimizer], step,
                             sim->oracle.learning_rates[variable->optimizer], &scalars);
        optimizer_apply(&sim->oracle.optimizers[variable->optimizer], &scalars,
                        (float *)(void *)value, (float *)(void *)value, slots, sum,
                        variable->elements);
        break;
    }
}

static void metric_add(struct ps_metric *metrics, size_t *count, const struct ps_metric *more)
{
    for (size_t i = 0; i < *count; i++) {
        if (strcmp(metrics[i].name, more->name) == 0) {
            metrics[i].sum += more->sum;
            metrics[i].count += more->count;
            return;
        }
    }
    metrics[(*count)++] = *more;
}

static void add_metrics(struct sim *sim, uint64_t step)
{
    struct sim_version *version = &sim->oracle.versions[step];
    const struct sim_version *before = &sim->oracle.versions[step - 1];
    struct ps_metric metrics[SIM_METRICS_MAX];

    if (!plan_restarts_totals(step)) {
        version->running_count = before->running_count;
        memcpy(version->running, before->running, sizeof version->running);
    }
    for (uint32_t rank = 0; rank < sim->plan.workers; rank++) {
        size_t count = plan_takes_part(&sim->plan, rank, step)
                           ? plan_metrics(&sim->plan, rank, step, metrics)
                           : 0;
        for (size_t i = 0; i < count; i++)
            metric_add(version->totals, &version->total_count, &metrics[i]);
    }
    for (size_t i = 0; i < version->total_count; i++)
        metric_add(version->running, &version->running_count, &version->totals[i]);
}

static void next_version(struct sim *sim)
{
    const struct sim_plan *plan = &sim->plan;
    struct sim_oracle *oracle = &sim->oracle;
    uint64_t step = oracle->count;
    const struct sim_version *before = &oracle->versions[step - 1];
    struct sim_version *version = &oracle->versions[step];
    struct scratch scratch = {.part = must_alloc(plan->bytes),
                              .rows_part = must_alloc(plan->bytes * 2 + 65536),
                              .sum = must_alloc(plan->bytes)};

    version->values = must_alloc(plan->bytes);
    memcpy(version->values, before->values, plan->bytes);
    for (size_t k = 0; k < SIM_SLOTS; k++) {
        version->slots[k] = must_alloc(plan->bytes);
        memcpy(version->slots[k], before->slots[k], plan->bytes);
    }
    for (uint32_t i = 0; !isnan(oracle->changes[step]) && i < plan->optimizer_count; i++)
        oracle->learning_rates[i] = oracle->changes[step];
    for (uint32_t v = 0; v < plan->variable_count; v++) {
        enum sim_action action = sum_of_ranks(sim, v, step,
                                              before->values + plan->variables[v].offset, &scratch);
        apply(sim, v, step, action, version, scratch.sum);
    }
    add_metrics(sim, step);
    free(scratch.part);
    free(scratch.rows_part);
    free(scratch.sum);
    oracle->count++;
}

const struct sim_version *oracle_version(struct sim *sim, uint64_t step)
{
    if (step > sim->plan.steps)
        sim_fail(sim, "steps", "step %llu exists somewhere, the last one is %llu",
                 (unsigned long long)step, (unsigned long long)sim->plan.steps);
    while (sim->oracle.count <= step)
        next_version(sim);
    return &sim->oracle.versions[step];
}

void oracle_compare(struct sim *sim, const char *check, const char *who, uint64_t step, uint32_t v,
                    uint32_t slot, size_t first, size_t count, const void *values)
{
    const struct sim_version *version = oracle_version(sim, step);
    const struct sim_variable *variable = &sim->plan.variables[v];
    size_t element_bytes = dtype_bytes(variable->dtype);
    const uint8_t *right = (slot ? version->slots[slot - 1] : version->values) + variable->offset;

    if (memcmp(right + first * element_bytes, values, count * element_bytes) == 0)
        return;
    size_t at = 0;
    while (memcmp(right + (first + at) * element_bytes,
                  (const uint8_t *)values + at * element_bytes, element_bytes) == 0)
        at++;
    if (variable->dtype == DTYPE_FLOAT32)
        sim_fail(sim, check, "%s: step %llu, '%s'%s element %zu is %.9g, must be %.9g", who,
                 (unsigned long long)step, variable->name, slot ? " slot" : "", first + at,
                 (double)((const float *)values)[at],
                 (double)((const float *)(const void *)right)[first + at]);
    sim_fail(sim, check, "%s: step %llu, '%s' element %zu is not what it must be", who,
             (unsigned long long)step, variable->name, first + at);
}
