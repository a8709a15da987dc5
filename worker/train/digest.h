/* A digest of all variables and slots of one step: the one that readers make of a snapshot, made
 * where they live. */
#ifndef PARAMD_WORKER_TRAIN_DIGEST_H
#define PARAMD_WORKER_TRAIN_DIGEST_H

#include "common/base/error.h"
#include "common/base/hash.h"
#include "common/optim/optimizer.h"
#include "worker/nn/model.h"

/*
 * The digest of a model's params and of the optimizer's slots beside them, with the lines of
 * reader_checksum (worker/client/reader.h): equal if and only if name, shape and bytes of all of
 * them are.
 *
 *   slots  one array a slot, laid out as model->params; those of weights that are not trainable do
 * not count.
 */
NODISCARD enum status digest_model(const struct model *model, const struct optimizer *optimizer,
                                   float *const *slots, char ret_digest[HASH_SHA256_TEXT_BYTES],
                                   struct error *err);

#endif
