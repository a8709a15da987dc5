/* The rows of the optimizer table, and what their files share. Only common/optim includes it. */
#ifndef PARAMD_COMMON_OPTIM_KINDS_H
#define PARAMD_COMMON_OPTIM_KINDS_H

#include "common/optim/optimizer.h"

extern const struct optimizer_kind optimizer_adagrad;
extern const struct optimizer_kind optimizer_adam;
extern const struct optimizer_kind optimizer_sgd;

/*
 * Options of every optimizer: first in each row's table, in this order. weight_decay and clipvalue
 * of 0 mean none, Keras's null. optimizer.c carries them out, so the rules never see them.
 */
enum { OPTION_LEARNING_RATE, OPTION_WEIGHT_DECAY, OPTION_CLIPVALUE, OPTION_COMMON_COUNT };
#define OPTIONS_COMMON(default_learning_rate)                                                      \
    {"learning_rate", default_learning_rate}, {"weight_decay", 0},                                 \
    {                                                                                              \
        "clipvalue", 0                                                                             \
    }

/* Checks for a row's check(): the value of an option must be in [low, high], in [low, high), or 0
 * or 1. */
NODISCARD enum status option_check_range(const struct optimizer *optimizer, size_t option,
                                         double low, double high, struct error *err);
NODISCARD enum status option_check_below(const struct optimizer *optimizer, size_t option,
                                         double low, double high, struct error *err);
NODISCARD enum status option_check_boolean(const struct optimizer *optimizer, size_t option,
                                           struct error *err);

#endif
