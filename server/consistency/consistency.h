/*
 * When a push counts, when a block may be prepared, when a pull is answered: the rules of the
 * synchronous mode, as questions about steps and ranks. No blocks, no bytes, no I/O.
 *
 * A server has two open steps, c+1 and c+2, where c is the last committed one. A rank opens a step
 * with step_begin, which says how many examples it has, and closes it with step_close; W, the sum
 * of examples over the ranks, is known when every rank that takes part has begun.
 */
#ifndef PARAMD_SERVER_CONSISTENCY_CONSISTENCY_H
#define PARAMD_SERVER_CONSISTENCY_CONSISTENCY_H

#include "common/base/error.h"

#include <stdbool.h>
#include <stdint.h>

enum { CONSISTENCY_OPEN_STEPS = 2 };

/* Of one rank in one step: the sum over all ranks stays far from overflow, and every number is
 * exact in a double. */
#define CONSISTENCY_EXAMPLES_MAX ((uint64_t)1 << 40)

struct rank_step {
    uint64_t examples;
    bool begun;
    bool closed;
};

struct consistency {
    uint32_t workers;
    uint64_t committed_plus_1; /* 0: not even version 0 */
    struct rank_step *steps;   /* owned; [step % 2][rank] */
    /* owned; of each rank: it takes part up to this one; UINT64_MAX: no end yet */
    uint64_t *last_step;
    uint64_t total_examples[CONSISTENCY_OPEN_STEPS]; /* W of the step, once known */
    bool total_known[CONSISTENCY_OPEN_STEPS];
};

NODISCARD enum status consistency_init(struct consistency *consistency, uint32_t workers,
                                       struct error *err);
void consistency_release(struct consistency *consistency);

/* Is the step one of the two that are open now? (Step 0, initial values, never is.) */
bool consistency_step_open(const struct consistency *consistency, uint64_t step);

/* Is the step committed here? */
bool consistency_step_committed(const struct consistency *consistency, uint64_t step);

/*
 * A rank begins an open step, or says so again (a new connection). FAILED_PRECONDITION: the step is
 * not open and not committed, the rank has finished before it, or it began with another number of
 * examples. INVALID_ARGUMENT: more than CONSISTENCY_EXAMPLES_MAX. A committed step is OK and
 * changes nothing.
 */
NODISCARD enum status consistency_begin(struct consistency *consistency, uint32_t rank,
                                        uint64_t step, uint64_t examples, struct error *err);

/* The rank sends nothing more for this step. FAILED_PRECONDITION: it has not begun it. */
NODISCARD enum status consistency_close(struct consistency *consistency, uint32_t rank,
                                        uint64_t step, struct error *err);

/* The rank takes part up to `step`. */
void consistency_finish(struct consistency *consistency, uint32_t rank, uint64_t step);

/* The step is committed; it must be the next one (asserted). */
void consistency_commit(struct consistency *consistency, uint64_t step);

/* Do we know how many examples the step has over all ranks? Until then nothing of it is folded. */
bool consistency_total_known(const struct consistency *consistency, uint64_t step);

/* Sum of examples over all ranks; known (asserted). */
uint64_t consistency_total(const struct consistency *consistency, uint64_t step);

/* What a rank's mean gradient is multiplied with: its share of the examples, rounded once. */
float consistency_weight(const struct consistency *consistency, uint32_t rank, uint64_t step);

enum rank_duty {
    RANK_AWAITED, /* may still push this block */
    /* has examples, has closed the step: it has nothing for blocks that it did not push */
    RANK_SILENT,
    RANK_ABSENT, /* takes no part: no examples, or finished before */
};

/* What is to be expected of a rank that has not pushed a block; total_known is asserted. */
enum rank_duty consistency_duty(const struct consistency *consistency, uint32_t rank,
                                uint64_t step);

enum push_answer {
    PUSH_STAGE,     /* new: read it into a staging buffer */
    PUSH_DUPLICATE, /* known: read it into nowhere */
    PUSH_REFUSE,    /* an error of that worker; err says which */
};

/*
 * What to do with a rank's push of a block of which we hold `version`; staged: this rank's push of
 * it is here, or on its way, already.
 */
enum push_answer consistency_push(const struct consistency *consistency, uint32_t rank,
                                  uint64_t step, uint64_t version, bool staged, struct error *err);

/* May version `step` of a block be prepared from version `version`? (All ranks have done their
 * part.) */
bool consistency_may_prepare(const struct consistency *consistency, uint64_t version,
                             uint64_t step);

enum pull_answer {
    PULL_CURRENT,  /* the block's newest version */
    PULL_PREVIOUS, /* the one before, which is published */
    PULL_LATER,    /* not there yet: the pull waits */
    PULL_GONE,     /* let go: it cannot be answered any more */
};

/* version: the block's newest; has_previous: the one before is still held. */
enum pull_answer consistency_pull(uint64_t version, bool has_version, bool has_previous,
                                  uint64_t step);

#endif
