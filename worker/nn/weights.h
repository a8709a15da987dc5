/* Saves a model's weights as safetensors under Keras's paths, and loads them. */
#ifndef PARAMD_WORKER_NN_WEIGHTS_H
#define PARAMD_WORKER_NN_WEIGHTS_H

#include "common/tensor/safetensors.h"
#include "worker/nn/model.h"

/*
 * Writes params to a file that appears whole or not at all. Keys are "<layer>/<weight>". metadata:
 * what the caller wants beside them (borrowed, sorted in place); equal weights and metadata are
 * equal files.
 */
NODISCARD enum status weights_save(const struct model *model, const char *path,
                                   struct safetensors_text *metadata, size_t metadata_count,
                                   struct error *err);

/*
 * Copies arrays into params. Keys are "<layer>/<weight>" or, as a model that built its layers
 * itself has them, "<model>/<layer>/<weight>".
 *
 * INVALID_ARGUMENT, naming the file's array or the model's weight: one that is missing, one too
 * many, or another shape or dtype than float32. Then params are unchanged.
 */
NODISCARD enum status weights_load(struct model *model, const struct safetensors *file,
                                   struct error *err);

#endif
