#include "worker/nn/workspace.h"

#include "common/base/alloc.h"

/* Hands out arrays of a block that does not exist yet: first only to add up sizes, then for good.
 */
struct cutter {
    float *block; /* NULL: adding up */
    size_t used;  /* floats */
    bool overflow;
};

static float *cut(struct cutter *cutter, size_t rows, size_t per_row)
{
    size_t count;
    if (__builtin_mul_overflow(rows, per_row, &count) || count > MODEL_BLOCK_FLOATS_MAX ||
        cutter->used > MODEL_BLOCK_FLOATS_MAX) {
        cutter->overflow = true;
        return NULL;
    }
    float *array = cutter->block != NULL ? cutter->block + cutter->used : NULL;
    cutter->used += (count + MODEL_WEIGHT_ALIGNMENT - 1) / MODEL_WEIGHT_ALIGNMENT *
                    MODEL_WEIGHT_ALIGNMENT;
    return array;
}

static void cut_all(struct model_workspace *workspace, const struct model *model,
                    struct cutter *cutter)
{
    size_t rows = workspace->rows_max, widest = shape_elements(&model->input_shape);
    for (size_t i = 0; i < model->layer_count; i++) {
        const struct layer *layer = &model->layers[i];
        size_t elements = shape_elements(&layer->output_shape);
        widest = elements > widest ? elements : widest;
        workspace->outputs[i] = cut(cutter, rows, elements);
        workspace->scratch[i] = layer->scratch_floats > 0 ? cut(cutter, rows, layer->scratch_floats)
                                                          : NULL;
    }
    /* Every output has at most one row of loss per element. */
    size_t values = shape_elements(&model->output_shape);
    workspace->values = cut(cutter, rows, values);
    workspace->upstream = cut(cutter, rows, values);
    for (size_t i = 0; i < 2 && workspace->training; i++)
        workspace->grad[i] = cut(cutter, rows, widest);
}

enum status workspace_new(const struct model *model, size_t rows_max, bool training,
                          struct model_workspace **ret_workspace, struct error *err)
{
    struct model_workspace *workspace = alloc_zero(sizeof *workspace);
    struct cutter cutter = {.block = NULL};
    if (workspace == NULL)
        return error_no_memory(err, "a workspace");
    workspace->rows_max = rows_max;
    workspace->layer_count = model->layer_count;
    workspace->training = training;
    workspace->outputs = alloc_array(model->layer_count, sizeof *workspace->outputs);
    workspace->scratch = alloc_array(model->layer_count, sizeof *workspace->scratch);
    if (workspace->outputs == NULL || workspace->scratch == NULL)
        goto no_memory;
    cut_all(workspace, model, &cutter);
    if (cutter.overflow)
        goto no_memory;
    workspace->block_bytes = cutter.used * sizeof(float);
    workspace->block = alloc_tensor(workspace->block_bytes);
    if (workspace->block == NULL)
        goto no_memory;
    cutter = (struct cutter){.block = workspace->block};
    cut_all(workspace, model, &cutter);
    *ret_workspace = workspace;
    return STATUS_OK;

no_memory:
    workspace_free(workspace);
    return error_set(
        err, STATUS_RESOURCE_EXHAUSTED,
        "out of memory for batches of %zu examples of model '%.64s'; a smaller batch needs less",
        rows_max, model->name);
}

void workspace_free(struct model_workspace *workspace)
{
    if (workspace == NULL)
        return;
    alloc_free_tensor(workspace->block, workspace->block_bytes);
    alloc_free(workspace->outputs);
    alloc_free(workspace->scratch);
    alloc_free(workspace);
}
