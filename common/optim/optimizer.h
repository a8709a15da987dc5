/* What an optimizer is: a table row of functions that turn a gradient into a new value. */
#ifndef PARAMD_COMMON_OPTIM_OPTIMIZER_H
#define PARAMD_COMMON_OPTIM_OPTIMIZER_H

#include "common/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    OPTIMIZER_SLOTS_MAX = 4,
    OPTIMIZER_OPTIONS_MAX = 16,
    OPTIMIZER_SCALARS_MAX = 8,
    OPTIMIZER_NAME_BYTES = 32,
};

/* One setting as it travels: a name of Keras's get_config() and a double. Booleans are 0 and 1. */
struct optimizer_option {
    char key[OPTIMIZER_NAME_BYTES];
    double value;
};

struct optimizer;

/* Numbers that are the same for all elements of one step, worked out once a step. */
struct optimizer_scalars {
    float value[OPTIMIZER_SCALARS_MAX]; /* the rule's own, see its begin_step */
    float learning_rate;                /* set by optimizer_begin_step for every kind */
};

struct optimizer_kind {
    const char *name; /* Keras's lower-case string, "adam" */
    /* Every option with its default; unknown keys are refused with the list of known ones. */
    const struct optimizer_option *options;
    size_t option_count;
    /* INVALID_ARGUMENT if a value is outside what Keras allows. */
    enum status (*check)(const struct optimizer *optimizer, struct error *err);
    size_t (*slot_count)(const struct optimizer *optimizer);
    const char *(*slot_name)(const struct optimizer *optimizer, size_t slot);
    float (*slot_initial)(const struct optimizer *optimizer, size_t slot);
    void (*begin_step)(const struct optimizer *optimizer, uint64_t step, double learning_rate,
                       struct optimizer_scalars *ret_scalars);
    void (*apply)(const struct optimizer *optimizer, const struct optimizer_scalars *scalars,
                  const float *value_in, float *value_out, float *const *slots, const float *grad,
                  size_t count);
};

struct optimizer {
    const struct optimizer_kind *kind;    /* static */
    double option[OPTIMIZER_OPTIONS_MAX]; /* in the order of kind->options */
};

/* All rows, in alphabetical order. */
const struct optimizer_kind *const *optimizer_kinds(size_t *ret_count);

/*
 * Sets up an optimizer by Keras's name (case does not matter) and options; those not given keep
 * Keras's defaults.
 *
 * NOT_FOUND: no such optimizer (the message lists them, with "did you mean"). INVALID_ARGUMENT: an
 * unknown key or a value out of range. ret_optimizer is written on success only. Allocates nothing.
 */
NODISCARD enum status optimizer_init(struct optimizer *ret_optimizer, const char *name,
                                     const struct optimizer_option *options, size_t option_count,
                                     struct error *err);

/* The value of an option by key; the optimizer has it (asserted). */
double optimizer_option_value(const struct optimizer *optimizer, const char *key);

/* Slots in Keras's order with Keras's names ("momentum", "velocity", "accumulator"). */
size_t optimizer_slot_count(const struct optimizer *optimizer);
const char *optimizer_slot_name(const struct optimizer *optimizer, size_t slot);
float optimizer_slot_initial(const struct optimizer *optimizer, size_t slot);

/* step: number of this update, from 1. learning_rate: the one of this step, a float32 value held in
 * a double. */
void optimizer_begin_step(const struct optimizer *optimizer, uint64_t step, double learning_rate,
                          struct optimizer_scalars *ret_scalars);

/*
 * One step for count elements, value_out written from value_in; slots change in place.
 *
 *   value_in, value_out  (count) float32; may be the same array, must not overlap otherwise.
 *   slots                slot_count arrays of (count) float32.
 *   grad                 (count) float32, mean over the batch; only read.
 *
 * The arithmetic is Keras 3's to the bit: float32, each operation rounded once, none contracted,
 * denormals taken as zero. The result of an element does not depend on count, alignment or vector
 * width; only which of the NaNs a NaN is, is not promised. The caller's thread must flush denormals
 * (kernels_flush_denormals in common/tensor/kernels.h). Allocates nothing.
 */
void optimizer_apply(const struct optimizer *optimizer, const struct optimizer_scalars *scalars,
                     const float *value_in, float *value_out, float *const *slots,
                     const float *grad, size_t count);

#endif
