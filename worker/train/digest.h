/* A digest of all variables and slots of one step, equal wherever they are equal: what paramctl checksum prints. */
#ifndef PARAMD_WORKER_TRAIN_DIGEST_H
#define PARAMD_WORKER_TRAIN_DIGEST_H

#include "common/base/error.h"
#include "common/base/hash.h"
#include "common/optim/optimizer.h"
#include "worker/nn/model.h"

/*
 * The digest of a model's params and of the optimizer's slots beside them.
 *
 *   slots  one array a slot, laid out as model->params.
 */
NODISCARD enum status digest_model(const struct model *model, const struct optimizer *optimizer,
                                   float *const *slots, char ret_digest[HASH_SHA256_TEXT_BYTES],
                                   struct error *err);

#endif
