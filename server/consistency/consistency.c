#include "server/consistency/consistency.h"

#include "common/base/alloc.h"
#include "common/base/mutant.h"

#include <assert.h>

enum status consistency_init(struct consistency *consistency, uint32_t workers, struct error *err)
{
    *consistency = (struct consistency){.workers = workers};
    consistency->steps = alloc_array((size_t)workers * CONSISTENCY_OPEN_STEPS,
                                     sizeof consistency->steps[0]);
    consistency->last_step = alloc_array(workers, sizeof consistency->last_step[0]);
    if (!consistency->steps || !consistency->last_step) {
        consistency_release(consistency);
        return error_no_memory(err, "the open steps of all ranks");
    }
    for (uint32_t rank = 0; rank < workers; rank++)
        consistency->last_step[rank] = UINT64_MAX;
    return STATUS_OK;
}

void consistency_release(struct consistency *consistency)
{
    alloc_free(consistency->steps);
    alloc_free(consistency->last_step);
    *consistency = (struct consistency){0};
}

static struct rank_step *rank_step(const struct consistency *consistency, uint32_t rank,
                                   uint64_t step)
{
    return &consistency->steps[(step % CONSISTENCY_OPEN_STEPS) * consistency->workers + rank];
}

bool consistency_step_open(const struct consistency *consistency, uint64_t step)
{
    return consistency->committed_plus_1 > 0 && step >= consistency->committed_plus_1 &&
           step - consistency->committed_plus_1 < CONSISTENCY_OPEN_STEPS;
}

bool consistency_step_committed(const struct consistency *consistency, uint64_t step)
{
    return step < consistency->committed_plus_1;
}

static bool takes_part(const struct consistency *consistency, uint32_t rank, uint64_t step)
{
    return step <= consistency->last_step[rank];
}

/* W is known once every rank that takes part has begun; it is worked out once. */
static void update_total(struct consistency *consistency, uint64_t step)
{
    uint64_t total = 0;

    if (!consistency_step_open(consistency, step))
        return;
    for (uint32_t rank = 0; rank < consistency->workers; rank++) {
        if (!takes_part(consistency, rank, step))
            continue;
        if (!rank_step(consistency, rank, step)->begun)
            return;
        total += rank_step(consistency, rank, step)->examples;
    }
    consistency->total_examples[step % CONSISTENCY_OPEN_STEPS] = total;
    consistency->total_known[step % CONSISTENCY_OPEN_STEPS] = true;
}

static enum status check_open(const struct consistency *consistency, uint32_t rank, uint64_t step,
                              const char *what, struct error *err)
{
    if (!takes_part(consistency, rank, step))
        return error_set(
            err, STATUS_FAILED_PRECONDITION, "%s of step %llu: rank %u finished at step %llu", what,
            (unsigned long long)step, rank, (unsigned long long)consistency->last_step[rank]);
    if (!consistency_step_open(consistency, step))
        return error_set(
            err, STATUS_FAILED_PRECONDITION,
            "%s of step %llu from rank %u: the last committed step is %lld, so at most step "
            "%llu may be begun",
            what, (unsigned long long)step, rank, (long long)consistency->committed_plus_1 - 1,
            (unsigned long long)consistency->committed_plus_1 + 1);
    return STATUS_OK;
}

enum status consistency_begin(struct consistency *consistency, uint32_t rank, uint64_t step,
                              uint64_t examples, struct error *err)
{
    if (consistency_step_committed(consistency, step))
        return STATUS_OK;
    enum status status = check_open(consistency, rank, step, "step_begin", err);
    if (status)
        return status;
    if (examples > CONSISTENCY_EXAMPLES_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "rank %u begins step %llu with %llu examples, more than %llu", rank,
                         (unsigned long long)step, (unsigned long long)examples,
                         (unsigned long long)CONSISTENCY_EXAMPLES_MAX);
    struct rank_step *state = rank_step(consistency, rank, step);
    if (state->begun && state->examples != examples)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "rank %u began step %llu with %llu examples and now says %llu", rank,
                         (unsigned long long)step, (unsigned long long)state->examples,
                         (unsigned long long)examples);
    state->begun = true;
    state->examples = examples;
    update_total(consistency, step);
    return STATUS_OK;
}

enum status consistency_close(struct consistency *consistency, uint32_t rank, uint64_t step,
                              struct error *err)
{
    if (consistency_step_committed(consistency, step))
        return STATUS_OK;
    enum status status = check_open(consistency, rank, step, "step_close", err);
    if (status)
        return status;
    if (!rank_step(consistency, rank, step)->begun)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "rank %u closes step %llu, which it has not begun on this server", rank,
                         (unsigned long long)step);
    rank_step(consistency, rank, step)->closed = true;
    return STATUS_OK;
}

void consistency_finish(struct consistency *consistency, uint32_t rank, uint64_t step)
{
    consistency->last_step[rank] = step;
    for (unsigned i = 0; i < CONSISTENCY_OPEN_STEPS; i++)
        update_total(consistency, consistency->committed_plus_1 + i);
}

void consistency_commit(struct consistency *consistency, uint64_t step)
{
    assert(step == consistency->committed_plus_1);
    for (uint32_t rank = 0; rank < consistency->workers; rank++)
        *rank_step(consistency, rank, step) = (struct rank_step){0};
    consistency->total_known[step % CONSISTENCY_OPEN_STEPS] = false;
    consistency->committed_plus_1 = step + 1;
    /* Of a step that opens now (two with the first commit) all ranks may have finished before: then
     * W, 0, is known at once. */
    for (unsigned i = 1; i <= CONSISTENCY_OPEN_STEPS; i++)
        update_total(consistency, step + i);
}

bool consistency_total_known(const struct consistency *consistency, uint64_t step)
{
    return consistency_step_open(consistency, step) &&
           consistency->total_known[step % CONSISTENCY_OPEN_STEPS];
}

uint64_t consistency_total(const struct consistency *consistency, uint64_t step)
{
    assert(consistency_total_known(consistency, step));
    return consistency->total_examples[step % CONSISTENCY_OPEN_STEPS];
}

float consistency_weight(const struct consistency *consistency, uint32_t rank, uint64_t step)
{
    if (MUTANT(WRONG_WEIGHTS))
        return 1.0f / (float)consistency->workers;
    uint64_t total = consistency_total(consistency, step);
    return (float)((double)rank_step(consistency, rank, step)->examples / (double)total);
}

enum rank_duty consistency_duty(const struct consistency *consistency, uint32_t rank, uint64_t step)
{
    const struct rank_step *state = rank_step(consistency, rank, step);

    assert(consistency_total_known(consistency, step));
    if (!takes_part(consistency, rank, step) || state->examples == 0)
        return RANK_ABSENT;
    return state->closed ? RANK_SILENT : RANK_AWAITED;
}

enum push_answer consistency_push(const struct consistency *consistency, uint32_t rank,
                                  uint64_t step, uint64_t version, bool staged, struct error *err)
{
    if (step <= version || consistency_step_committed(consistency, step))
        return MUTANT(LATE_PUSH_STAGED) ? PUSH_STAGE : PUSH_DUPLICATE;
    if (staged && !MUTANT(NO_DEDUPE))
        return PUSH_DUPLICATE;
    if (check_open(consistency, rank, step, "push", err))
        return PUSH_REFUSE;
    if (!rank_step(consistency, rank, step)->begun) {
        error_set(err, STATUS_FAILED_PRECONDITION,
                  "rank %u pushes for step %llu before its step_begin", rank,
                  (unsigned long long)step);
        return PUSH_REFUSE;
    }
    if (rank_step(consistency, rank, step)->examples == 0) {
        error_set(err, STATUS_FAILED_PRECONDITION,
                  "rank %u pushes for step %llu, which it began with 0 examples", rank,
                  (unsigned long long)step);
        return PUSH_REFUSE;
    }
    if (rank_step(consistency, rank, step)->closed) { /* the ranks after it may be folded by now */
        error_set(err, STATUS_FAILED_PRECONDITION,
                  "rank %u pushes for step %llu after its step_close", rank,
                  (unsigned long long)step);
        return PUSH_REFUSE;
    }
    return PUSH_STAGE;
}

bool consistency_may_prepare(const struct consistency *consistency, uint64_t version, uint64_t step)
{
    if (version + 1 != step)
        return false;
    return consistency_step_committed(consistency, version) || MUTANT(PREPARE_WITHOUT_COMMIT);
}

enum pull_answer consistency_pull(uint64_t version, bool has_version, bool has_previous,
                                  uint64_t step)
{
    if (!has_version || step > version)
        return PULL_LATER;
    if (step == version)
        return PULL_CURRENT;
    if (step + 1 == version && has_previous)
        return PULL_PREVIOUS;
    return PULL_GONE;
}
