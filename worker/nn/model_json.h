/* Reads what Keras 3's model.to_json() writes for a Sequential model. */
#ifndef PARAMD_WORKER_NN_MODEL_JSON_H
#define PARAMD_WORKER_NN_MODEL_JSON_H

#include "worker/nn/model.h"

enum {
    MODEL_JSON_BYTES_MAX = 16 * 1024 *
                           1024, /* a description holds no weights: a longer file is another one */
    MODEL_JSON_DEPTH_MAX = 64,   /* Keras's own nesting stays below 12 */
};

/*
 * The model that the text describes: its layers with their options, and the input's shape if the
 * text has it (from an InputLayer or build_input_shape; the batch size in it is not looked at).
 * module, registered_name and build_config may be missing. compile_config's optimizer, loss and
 * metrics are kept as text; they are understood by optimizer_from_text, loss_from_text and
 * metric_from_text.
 *
 * UNIMPLEMENTED: what is not supported, by the layer's name and class, with what is (it is never
 * computed differently instead). INVALID_ARGUMENT: not such a text, an unknown key (with layer and
 * key), a value out of range. RESOURCE_EXHAUSTED: too long, too deep, too many layers, out of
 * memory. The model is written on success only; it is not built yet.
 */
NODISCARD enum status model_from_json(struct model *ret_model, const char *text, size_t size,
                                      struct error *err);

#endif
