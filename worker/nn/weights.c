#include "worker/nn/weights.h"

#include "common/base/alloc.h"

#include <assert.h>
#include <string.h>

enum status weights_save(const struct model *model, const char *path,
                         struct safetensors_text *metadata, size_t metadata_count,
                         struct error *err)
{
    assert(model->params != NULL);
    struct safetensors_tensor *tensors = alloc_array(model->weight_count, sizeof *tensors);
    if (tensors == NULL)
        return error_no_memory(err, "the list of weights");
    for (size_t i = 0; i < model->weight_count; i++) {
        const struct model_weight *weight = &model->weights[i];
        tensors[i] = (struct safetensors_tensor){.name = weight->path,
                                                 .type = ELEMENT_F32,
                                                 .rank = weight->shape.rank,
                                                 .data = model->params + weight->offset};
        for (size_t axis = 0; axis < weight->shape.rank; axis++)
            tensors[i].shape[axis] = weight->shape.size[axis];
    }
    enum status status = safetensors_save(path, tensors, model->weight_count, metadata,
                                          metadata_count, err);
    alloc_free(tensors);
    return status;
}

static struct shape shape_of(const struct safetensors_tensor *tensor)
{
    struct shape shape = {.rank = tensor->rank};
    for (size_t i = 0; i < tensor->rank; i++)
        shape.size[i] = tensor->shape[i];
    return shape;
}

static enum status check_tensor(const struct model *model, const struct safetensors_tensor *tensor,
                                size_t at, struct error *err)
{
    char text[SHAPE_TEXT_BYTES], other[SHAPE_TEXT_BYTES];
    struct shape shape = shape_of(tensor);
    if (at == model->weight_count)
        return error_set(err, STATUS_INVALID_ARGUMENT, "'%.100s' is no weight of model '%.64s'",
                         tensor->name, model->name);
    if (tensor->type != ELEMENT_F32)
        return error_set(err, STATUS_INVALID_ARGUMENT, "weight '%.100s' is not of dtype F32",
                         tensor->name);
    if (!shape_equal(&shape, &model->weights[at].shape))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "weight '%.100s' has shape %s; the model's has %s", tensor->name,
                         shape_text(&shape, false, text),
                         shape_text(&model->weights[at].shape, false, other));
    return STATUS_OK;
}

/* found[i]: which array is weight i, from 1; 0: none yet. */
static enum status match(const struct model *model, const struct safetensors *file, size_t *found,
                         struct error *err)
{
    for (size_t i = 0; i < file->tensor_count; i++) {
        size_t at = model_find_weight(model, file->tensors[i].name);
        enum status status = check_tensor(model, &file->tensors[i], at, err);
        if (status != STATUS_OK)
            return status;
        if (found[at] != 0)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "'%.100s' and '%.100s' are the same weight",
                             file->tensors[found[at] - 1].name, file->tensors[i].name);
        found[at] = i + 1;
    }
    for (size_t i = 0; i < model->weight_count; i++) {
        if (found[i] == 0)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "weight '%.100s' of model '%.64s' is missing", model->weights[i].path,
                             model->name);
    }
    return STATUS_OK;
}

enum status weights_load(struct model *model, const struct safetensors *file, struct error *err)
{
    assert(model->params != NULL);
    size_t *found = alloc_array(model->weight_count, sizeof *found);
    if (found == NULL)
        return error_no_memory(err, "the list of weights");
    enum status status = match(model, file, found, err);
    for (size_t i = 0; i < model->weight_count && status == STATUS_OK; i++) {
        const struct model_weight *weight = &model->weights[i];
        if (weight->count > 0)
            memcpy(model->params + weight->offset, file->tensors[found[i] - 1].data,
                   weight->count * sizeof(float));
    }
    alloc_free(found);
    return status;
}
