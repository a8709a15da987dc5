/* An optimizer as users and compile_config write it: Keras's name, or Keras's JSON. */
#ifndef PARAMD_WORKER_NN_OPTIMIZER_TEXT_H
#define PARAMD_WORKER_NN_OPTIMIZER_TEXT_H

#include "common/base/error.h"
#include "common/optim/optimizer.h"

/*
 * "adam", or {"class_name": "Adam", "config": {"learning_rate": 0.01, ...}}. Options that are null,
 * and those that say Keras's "off" (use_ema false), are left out.
 *
 * NOT_FOUND, INVALID_ARGUMENT: as optimizer_init. UNIMPLEMENTED: a learning rate schedule,
 * averaging of weights.
 */
NODISCARD enum status optimizer_from_text(struct optimizer *ret_optimizer, const char *text,
                                          struct error *err);

#endif
