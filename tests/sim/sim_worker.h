/* The training program's state, shared by the two files that run it: sim_worker.c (its course) and
 * sim_arrays.c (its data). */
#ifndef PARAMD_TESTS_SIM_SIM_WORKER_H
#define PARAMD_TESTS_SIM_SIM_WORKER_H

#include "tests/sim/sim.h"

enum worker_phase {
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

struct pushed {
    ps_handle handle; /* 0: none */
    uint64_t step;
};

struct sim_worker {
    struct sim_process *process;
    struct core *core; /* owned */
    enum worker_phase phase;
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
    uint8_t *values;    /* owned; what was pulled */
    uint8_t *arrays[2]; /* owned; what is pushed, [step % 2] */
    uint8_t *scratch;   /* owned */
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

static inline struct sim *worker_sim(const struct sim_worker *worker)
{
    return worker->process->sim;
}

static inline const struct sim_plan *worker_plan(const struct sim_worker *worker)
{
    return &worker->process->sim->plan;
}

/* A variable's place in an array of all of them. */
static inline uint8_t *worker_part(const struct sim_worker *worker, uint8_t *array, uint32_t v)
{
    return array + worker_plan(worker)->variables[v].offset;
}

/* A call that must succeed whatever the faults. */
void worker_must_ok(const struct sim_worker *worker, const char *what, enum status status,
                    const struct error *err);
uint64_t worker_last_step(const struct sim_worker *worker);

/* What has ended: loans, pulls, totals; each checked. check_pulls returns when it wants to be
 * called again. */
void arrays_check_pushes(struct sim_worker *worker);
uint64_t arrays_check_pulls(struct sim_worker *worker);
void arrays_check_totals(struct sim_worker *worker);
void arrays_check_staged(struct sim_worker *worker);
bool arrays_pushes_pending(const struct sim_worker *worker, uint32_t parity);
bool arrays_pulls_pending(const struct sim_worker *worker);

void arrays_pull(struct sim_worker *worker, uint32_t v, uint64_t step);
/* This step's part of a variable, and the pull of what comes of it if the next step looks at it. */
void arrays_push_and_pull(struct sim_worker *worker, uint32_t v);
/* Reads go on after finish. Returns when it wants to be called again. */
uint64_t arrays_look_on(struct sim_worker *worker);

#endif
