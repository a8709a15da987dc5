/*
 * What one server holds: its blocks with their versions, optimizer slots, staged pushes and the
 * held snapshot. Arithmetic and memory only; which step may do what is decided by
 * server/consistency, and the two meet in server/service.
 *
 * Life of a block's bytes: a push lands in a staging buffer; when its rank's turn has come it is
 * folded into the block's sum (the first one becomes the sum); the optimizer reads value and sum
 * and writes the next version into a fresh buffer. Versions are counted references: the newest, the
 * one before while it is published, what a snapshot holds, what replies are still being written
 * from. Nothing is copied for a reader.
 */
#ifndef PARAMD_SERVER_STORE_STORE_H
#define PARAMD_SERVER_STORE_STORE_H

#include "common/base/buf.h"
#include "common/base/error.h"
#include "common/optim/initializer.h"
#include "common/optim/optimizer.h"
#include "common/tensor/dtype.h"
#include "common/tensor/placement.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STORE_OPTIMIZERS_MAX = 16, STORE_OPEN_STEPS = 2 };

struct store_variable {
    enum dtype dtype;
    uint64_t elements;
    uint64_t row_elements; /* product of the shape but for its first axis */
    struct initializer initializer;
    int optimizer; /* index into the store's optimizers; -1: not trained */
};

struct store_optimizer {
    struct optimizer optimizer;
    double learning_rate; /* in force for steps before next_from_step */
    double next_learning_rate;
    uint64_t next_from_step; /* UINT64_MAX: no change is coming */
    uint64_t scalars_step;   /* the step that scalars are of; 0: none */
    struct optimizer_scalars scalars;
};

enum staged_state { STAGED_EMPTY, STAGED_RECEIVING, STAGED_COMPLETE, STAGED_FOLDED };

/* Numbers are those of proto/data.proto. */
enum store_kind { STORE_GRADIENT = 0, STORE_ASSIGN = 1, STORE_ASSIGN_MEAN = 2, STORE_ADD = 3 };

/* One rank's push of one block for one step. */
struct staged {
    struct buf *buf; /* owned while RECEIVING or COMPLETE */
    uint32_t rows;   /* of the rows encoding */
    uint8_t state;   /* enum staged_state */
    uint8_t kind;    /* enum store_kind */
    bool encoded_rows;
};

struct block {
    uint32_t variable;
    uint32_t number; /* within the variable */
    uint32_t elements;
    uint32_t bytes;
    uint64_t version; /* of value, if has_version */
    bool has_version;
    bool slots_copied;  /* since the snapshot was taken */
    uint8_t sum_kind;   /* enum store_kind of what was folded */
    uint32_t sum_rank;  /* the next rank to be folded for version + 1 */
    uint32_t sum_count; /* ranks folded that had something */
    /* the first rank that had nothing though it has examples; 0: none */
    uint32_t silent_rank_plus_1;
    struct buf *value;
    struct buf *previous; /* version - 1 while it is published */
    struct buf *sum;
    struct buf *slots[OPTIMIZER_SLOTS_MAX];
    struct buf *held_value; /* of the snapshot */
    struct buf *held_slots[OPTIMIZER_SLOTS_MAX];
    struct block_waiter *waiters; /* pulls of a later version; server/service/pull.c */
};

struct store_hold {
    uint64_t number; /* 0: nothing is held */
    uint64_t step;
    bool slots;
};

struct store {
    struct placement placement;       /* owned */
    struct store_variable *variables; /* owned */
    size_t variable_count;
    struct store_optimizer optimizers[STORE_OPTIMIZERS_MAX];
    size_t optimizer_count;
    uint32_t server;
    uint32_t workers;
    struct block *blocks; /* owned; in the order of placement_first/next */
    uint32_t block_count;
    struct staged *staged;     /* owned; [block][step % 2][rank] */
    struct buf_pool values;    /* up to 3 copies: published, prepared, snapshot */
    struct buf_pool slot_pool; /* up to 2 copies: live, snapshot */
    struct buf_pool staging;   /* sums and staged pushes */
    uint64_t value_bytes;
    uint64_t staged_bytes;         /* in staged buffers, sums not counted */
    uint64_t staged_bytes_max;     /* for any push */
    uint64_t staged_bytes_reserve; /* more, for the push whose turn it is */
    struct store_hold hold;
};

/*
 * Allocates everything for one server's share, without values yet. variables and optimizers are
 * copied; specs were checked by whoever made them.
 *
 *   staging_bytes  bound on staged pushes that wait for their turn.
 */
NODISCARD enum status store_init(struct store *store, const struct store_variable *variables,
                                 size_t variable_count, const struct optimizer *optimizers,
                                 const double *learning_rates, size_t optimizer_count,
                                 uint32_t server, uint32_t server_count, uint32_t workers,
                                 uint64_t staging_bytes, struct error *err);

/* All replies must have given their buffers back. A zeroed store may be released. */
void store_release(struct store *store);

/* Makes version 0 and the slots of all blocks but those of assigned variables. RESOURCE_EXHAUSTED:
 * no memory. */
NODISCARD enum status store_fill_initial(struct store *store, struct error *err);

/* The block of a variable on this server, or NULL: no such block, or it lives elsewhere. */
struct block *store_find(struct store *store, uint32_t variable, uint32_t number);

static inline uint32_t store_index(const struct store *store, const struct block *block)
{
    return (uint32_t)(block - store->blocks);
}

struct staged *store_staged(struct store *store, const struct block *block, uint64_t step,
                            uint32_t rank);

/* Bytes of the payload that the rows encoding has for `rows` rows of this block; 0 if it may not be
 * used. */
uint64_t store_rows_bytes(const struct store *store, const struct block *block, uint32_t rows);

/* Room for so many staged bytes? its_turn: every block of the push would be folded at once. */
bool store_has_room(const struct store *store, uint64_t bytes, bool its_turn);

/* Takes a staging buffer: EMPTY -> RECEIVING. RESOURCE_EXHAUSTED: no memory (room was checked
 * before). */
NODISCARD enum status store_stage(struct store *store, struct staged *staged, size_t bytes);

/* RECEIVING -> EMPTY, the buffer goes back. */
void store_unstage(struct store *store, struct staged *staged);

/*
 * Folds a COMPLETE push into the block's sum with a weight (ignored by ADD and ASSIGN): COMPLETE ->
 * FOLDED.
 *
 * FAILED_PRECONDITION: another kind than the ranks before; INVALID_ARGUMENT: a row number that is
 * not in the block or not ascending; RESOURCE_EXHAUSTED: no memory.
 */
NODISCARD enum status store_fold(struct store *store, struct block *block, struct staged *staged,
                                 float weight, struct error *err);

/* Are buffers to be had for a version of this block, should it need any: for the value, and for
 * slots that replies still refer to? */
bool store_can_prepare(const struct store *store, const struct block *block);

/*
 * Makes version `version + 1` from the sum: optimizer, assignment or addition; without a
 * contribution the value stays as it is. Value of `version` becomes `previous` (which was let go
 * before, asserted). store_can_prepare() was asked first. RESOURCE_EXHAUSTED: no memory.
 */
NODISCARD enum status store_prepare(struct store *store, struct block *block, struct error *err);

/* The first value of a block of an assigned variable, from a COMPLETE push of step 0. */
NODISCARD enum status store_assign_initial(struct store *store, struct block *block,
                                           struct staged *staged, struct error *err);

/* Version c is published: what came before it is let go. */
void store_commit(struct store *store, uint64_t step);

/* Takes the published values of `step` as the snapshot `number`; the one before is let go. */
void store_hold(struct store *store, uint64_t number, uint64_t step, bool slots);
void store_hold_release(struct store *store);

/* A held value (slot 0) or slot (slot - 1) of a block; NULL if the snapshot has no such slot. */
struct buf *store_held(const struct store *store, const struct block *block, uint32_t slot);

/*
 * From `from_step` on, which is the second step after the last committed one. An earlier change for
 * the same step is overtaken; one for the step before holds from now on.
 */
void store_set_learning_rate(struct store *store, size_t optimizer, double learning_rate,
                             uint64_t from_step);

#endif
