/* The arrays that a step of a model writes to, allocated once: outputs, what layers keep, gradients
 * on their way back. */
#ifndef PARAMD_WORKER_NN_WORKSPACE_H
#define PARAMD_WORKER_NN_WORKSPACE_H

#include "worker/nn/model.h"

struct model_workspace {
    size_t rows_max, layer_count;
    bool training;
    float *block; /* owned; everything below lies in it */
    size_t block_bytes;
    float **outputs,
        **scratch; /* owned lists, one entry a layer; scratch NULL where a layer keeps nothing */
    float
        *grad[2]; /* gradient at a layer's output and at its input, in turn; NULL unless training */
    float *values, *upstream; /* loss of each row of predictions, and its part in the mean */
};

NODISCARD enum status workspace_new(const struct model *model, size_t rows_max, bool training,
                                    struct model_workspace **ret_workspace, struct error *err);
void workspace_free(struct model_workspace *workspace);

#endif
