/* The workload as a function of the seed alone: it can be asked anywhere, by workers and by the
 * oracle, and never changes. */
#include "tests/sim/sim.h"

#include "common/base/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t plan_dice(const struct sim_plan *plan, const char *what, uint64_t a, uint64_t b,
                   uint64_t c)
{
    uint64_t words[5] = {plan->seed, hash_xxh3(what, strlen(what)), a, b, c};

    return hash_xxh3(words, sizeof words);
}

static uint64_t choose(const struct sim_plan *plan, const char *what, uint64_t bound)
{
    return plan_dice(plan, what, 0, 0, 0) % bound;
}

/* ---- variables ---- */

static void make_optimizers(struct sim_plan *plan)
{
    static const struct sim_optimizer optimizers[] = {
        {"adam", {{"learning_rate", 0.05}}, 1},
        {"sgd", {{"learning_rate", 0.1}, {"momentum", 0.9}}, 2},
        {"adagrad", {{"learning_rate", 0.2}}, 1},
        {"sgd", {{"learning_rate", 0.03}}, 1},
    };

    plan->optimizer_count = 4;
    memcpy(plan->optimizers, optimizers, sizeof optimizers);
}

static void set_shape(struct sim_variable *variable, uint64_t rows, uint64_t columns)
{
    variable->rank = columns ? 2 : rows ? 1 : 0;
    variable->shape[0] = rows;
    variable->shape[1] = columns;
    variable->elements = (rows ? rows : 1) * (columns ? columns : 1);
    variable->row_elements = columns ? columns : 1;
}

/* One variable in a while has several blocks, to be spread over the servers. */
static void make_shape(struct sim_plan *plan, struct sim_variable *variable, uint32_t v)
{
    uint64_t dice = plan_dice(plan, "shape", v, 0, 0);

    if (v == 0 && choose(plan, "big", 16) == 0)
        set_shape(variable, 3 * 1024 + dice % 1500, 64 + dice % 3);
    else if (v == 0)
        set_shape(variable, 24 + dice % 60, 3 + dice % 7);
    else if (dice % 8 == 0)
        set_shape(variable, 0, 0);
    else if (dice % 3 == 0)
        set_shape(variable, 1 + dice % 97, 1 + dice / 97 % 5);
    else
        set_shape(variable, 1 + dice % 211, 0);
}

static void make_variable(struct sim_plan *plan, uint32_t v)
{
    struct sim_variable *variable = &plan->variables[v];
    uint64_t dice = plan_dice(plan, "variable", v, 0, 0);

    snprintf(variable->name, sizeof variable->name, "v%u", v);
    make_shape(plan, variable, v);
    variable->dtype = DTYPE_FLOAT32;
    variable->seed = (int64_t)(dice % 1000);
    variable->trainable = v % 4 != 3;
    variable->usual = ACTION_GRADIENT;
    variable->optimizer = v == 0 && variable->elements > 65536
                              ? 3
                              : (uint32_t)(dice % plan->optimizer_count);
    variable->rows = variable->rank == 2 && dice / 16 % 2;
    variable->initializer = PS_UNIFORM;
    variable->a = -1;
    variable->b = 1;
    if (!variable->trainable) {
        static const enum sim_action actions[] = {ACTION_ASSIGN_MEAN, ACTION_ADD, ACTION_ASSIGN};
        variable->usual = actions[dice / 32 % 3];
        variable->dtype = dice / 128 % 3 == 0   ? DTYPE_FLOAT64
                          : dice / 128 % 3 == 1 ? DTYPE_INT64
                                                : DTYPE_FLOAT32;
        variable->initializer = PS_ONES;
        if (variable->dtype == DTYPE_INT64 && variable->usual == ACTION_ASSIGN_MEAN)
            variable->usual = ACTION_ADD;
    }
    if (dice / 512 % 5 == 0)
        variable->initializer = PS_ASSIGNED;
    variable->bytes = variable->elements * dtype_bytes(variable->dtype);
    variable->offset = plan->bytes;
    plan->bytes += (variable->bytes + 63) / 64 * 64;
}

uint32_t plan_variable(const char *name)
{
    return (uint32_t)strtoul(name + 1, NULL, 10);
}

/* ---- the run ---- */

static void make_cluster(struct sim_plan *plan)
{
    bool usual = choose(plan, "usual cluster", 10) < 7;

    plan->servers = usual ? 3 : 1 + (uint32_t)choose(plan, "servers", SIM_SERVERS_MAX);
    plan->workers = usual ? 3 : 1 + (uint32_t)choose(plan, "workers", SIM_WORKERS_MAX);
    plan->readers = 1 + (uint32_t)choose(plan, "readers", SIM_READERS_MAX);
    plan->steps = 42 + choose(plan, "steps", 12);
    bool early = choose(plan, "early", 10) < 3;
    for (uint32_t rank = 0; rank < plan->workers; rank++) {
        plan->finish_step[rank] = plan->steps;
        if (early && rank > 0 && plan_dice(plan, "early rank", rank, 0, 0) % 2)
            plan->finish_step[rank] = 5 +
                                      plan_dice(plan, "early step", rank, 0, 0) % (plan->steps - 5);
    }
    plan->barriers = !early && choose(plan, "barriers", 2);
}

/* Small pools make pushes wait in their sockets; but every frame alone fits, without the reserve.
 */
static void choose_staging(struct sim_plan *plan)
{
    uint64_t frame_bytes = 0;

    for (uint32_t v = 0; v < plan->variable_count; v++) {
        size_t bytes = plan->variables[v].bytes;
        frame_bytes += bytes > LIMIT_PAYLOAD_BYTES / 4 ? (uint64_t)LIMIT_PAYLOAD_BYTES
                                                       : buf_class_bytes(bytes);
    }
    plan->staging_bytes = frame_bytes + choose(plan, "staging bytes", frame_bytes / 2);
    if (choose(plan, "staging", 3) == 0)
        plan->staging_bytes = 16 * (uint64_t)LIMIT_PAYLOAD_BYTES;
}

void plan_make(struct sim_plan *ret_plan, uint64_t seed)
{
    struct sim_plan *plan = ret_plan;

    *plan = (struct sim_plan){.seed = seed};
    make_cluster(plan);
    make_optimizers(plan);
    /* With one or two variables there are servers without a block. */
    plan->variable_count = choose(plan, "few", 10) == 0
                               ? 1 + (uint32_t)choose(plan, "variables", 2)
                               : 5 + (uint32_t)choose(plan, "variables", SIM_VARIABLES_MAX - 5);
    for (uint32_t v = 0; v < plan->variable_count; v++)
        make_variable(plan, v);
    plan->payload_hash = choose(plan, "hash", 2);
    plan->explicit_ranks = choose(plan, "ranks", 3) > 0;
    plan->zeros = choose(plan, "zeros", 3) > 0;
    plan->leaves = choose(plan, "leaves", 2);
    plan->sets = choose(plan, "sets", 4) > 0;
    choose_staging(plan);
    plan->window_bytes = (uint64_t)256 << choose(plan, "window", 12);
    plan->fault_mean_ns = (30 + choose(plan, "faults", 120)) * SIM_MS;
    plan->compute_max_ns = (1 + choose(plan, "compute", 8)) * SIM_MS;
    plan->delay_max_ns = (uint64_t)100 * SIM_US << choose(plan, "delay", 6);
    plan->double_per_mille = choose(plan, "double", 3) == 0 ? 0 : 10;
    plan->send_fails_per_million = choose(plan, "send fails", 4) == 0 ? 300 : 0;
}

bool plan_takes_part(const struct sim_plan *plan, uint32_t rank, uint64_t step)
{
    return step <= plan->finish_step[rank];
}

uint64_t plan_examples(const struct sim_plan *plan, uint32_t rank, uint64_t step)
{
    uint64_t dice = plan_dice(plan, "examples", rank, step, 0);

    if (!plan_takes_part(plan, rank, step))
        return 0;
    /* Now and then a rank has nothing for several steps on end. */
    if (plan->zeros && (dice % 6 == 0 || plan_dice(plan, "idle", rank, step / 4, 0) % 8 == 0))
        return 0;
    return 1 + dice / 8 % 64;
}

/* What all ranks do with a variable in a step. */
static enum sim_action action_of_all(const struct sim_plan *plan, uint32_t v, uint64_t step)
{
    const struct sim_variable *variable = &plan->variables[v];
    uint64_t dice = plan_dice(plan, "action", v, step, 0);

    if (dice % 8 == 0)
        return ACTION_NONE;
    if (dice % 8 == 1 && variable->dtype == DTYPE_FLOAT32)
        return dice / 8 % 3 == 0   ? ACTION_ASSIGN
               : dice / 8 % 3 == 1 ? ACTION_ASSIGN_MEAN
                                   : ACTION_ADD;
    return variable->usual;
}

enum sim_action plan_action(const struct sim_plan *plan, uint32_t v, uint32_t rank, uint64_t step)
{
    enum sim_action action = action_of_all(plan, v, step);

    if (!plan_takes_part(plan, rank, step) || plan_examples(plan, rank, step) == 0)
        return ACTION_NONE;
    return action == ACTION_ASSIGN && rank != 0 ? ACTION_NONE : action;
}

size_t plan_rows(const struct sim_plan *plan, uint32_t v, uint32_t rank, uint64_t step,
                 int64_t *ret_rows)
{
    const struct sim_variable *variable = &plan->variables[v];
    uint64_t dice = plan_dice(plan, "rows", v, rank, step);

    if (!variable->rows || plan_action(plan, v, rank, step) != ACTION_GRADIENT || dice % 4 == 0)
        return 0;
    size_t count = 1 + dice / 4 % (variable->shape[0] / 2 + 1);
    if (count > 64)
        count = 64;
    for (size_t i = 0; i < count; i++)
        ret_rows[i] = (int64_t)(plan_dice(plan, "row", dice, i, 0) % variable->shape[0]);
    return count;
}

/* ---- values ---- */

static uint32_t mix(uint32_t x)
{
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x ^ x >> 16;
}

/* In -1 .. 1. */
static float unit(uint32_t x)
{
    return (float)((int32_t)mix(x) >> 8) * (1.0f / 8388608.0f);
}

static void element_value(enum dtype dtype, const void *before, size_t from, uint32_t noise,
                          void *ret_values, size_t at)
{
    if (dtype == DTYPE_FLOAT32)
        ((float *)ret_values)[at] = (before ? 0.25f * ((const float *)before)[from] : 0) +
                                    unit(noise) * 0.125f;
    else if (dtype == DTYPE_FLOAT64)
        ((double *)ret_values)[at] = (before ? 0.25 * ((const double *)before)[from] : 0) +
                                     (double)unit(noise) * 0.125;
    else
        ((int64_t *)ret_values)[at] = (before ? ((const int64_t *)before)[from] % 1000 : 0) +
                                      (int64_t)(mix(noise) % 64);
}

void plan_values(const struct sim_plan *plan, uint32_t v, uint32_t rank, uint64_t step,
                 const void *before, const int64_t *rows, size_t row_count, void *ret_values)
{
    const struct sim_variable *variable = &plan->variables[v];
    uint32_t noise = (uint32_t)plan_dice(plan, "values", v, rank, step);
    size_t width = variable->row_elements;

    for (size_t i = 0; row_count == 0 && i < variable->elements; i++)
        element_value(variable->dtype, before, i, noise + (uint32_t)i, ret_values, i);
    for (size_t r = 0; r < row_count; r++) {
        for (size_t k = 0; k < width; k++)
            element_value(variable->dtype, before, (size_t)rows[r] * width + k,
                          noise + (uint32_t)(r * width + k), ret_values, r * width + k);
    }
}

void plan_initial(const struct sim_plan *plan, uint32_t v, void *ret_values)
{
    const struct sim_variable *variable = &plan->variables[v];
    uint32_t noise = (uint32_t)plan_dice(plan, "initial", v, 0, 0);

    for (size_t i = 0; i < variable->elements; i++)
        element_value(variable->dtype, NULL, 0, noise + (uint32_t)i, ret_values, i);
}

/* ---- metrics ---- */

size_t plan_metrics(const struct sim_plan *plan, uint32_t rank, uint64_t step,
                    struct ps_metric *ret_metrics)
{
    uint64_t dice = plan_dice(plan, "metrics", rank, step, 0);
    size_t count = 0;

    if (dice % 9 == 0)
        return 0;
    ret_metrics[count++] = (struct ps_metric){"loss", (double)(dice >> 12) / 3e15,
                                              (double)(dice % 64)};
    if (dice / 64 % 2)
        ret_metrics[count++] = (struct ps_metric){"accuracy", (double)(dice >> 20) / 7e12,
                                                  (double)(dice % 32)};
    if (rank == 1)
        ret_metrics[count++] = (struct ps_metric){"of_one_rank", (double)step * 0.1, 1};
    return count;
}

bool plan_restarts_totals(uint64_t step)
{
    return step % 10 == 1;
}
