/* What a compiled model computes: forward, loss and metrics, backward. */
#include "common/base/alloc.h"
#include "worker/nn/workspace.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* ---- compile and reserve ---- */

/* Targets without the size of 1 at the end that data of one number per example may or may not have.
 */
static struct shape without_last_one(const struct shape *shape)
{
    struct shape result = *shape;
    if (result.rank > 0 && shape_last(&result) == 1)
        result.rank--;
    return result;
}

static enum status check_targets(const struct model *model, const struct loss *loss,
                                 const struct shape *target, struct error *err)
{
    char target_text[SHAPE_TEXT_BYTES], output_text[SHAPE_TEXT_BYTES],
        fitting_text[SHAPE_TEXT_BYTES];
    const struct layer *last = &model->layers[model->layer_count - 1];
    struct shape fitting = model->output_shape;
    if (model->output_shape.rank == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "the output of model '%.64s' has no axis but the batch", model->name);
    if (loss->kind->sparse)
        fitting.rank--;
    struct shape a = without_last_one(target), b = without_last_one(&fitting);
    if (shape_equal(&a, &b))
        return STATUS_OK;
    return error_set(err, STATUS_INVALID_ARGUMENT,
                     "%s: targets of shape %s do not fit layer '%.64s', whose output has shape %s; "
                     "targets of shape %s "
                     "would",
                     loss->kind->name, shape_text(target, true, target_text), last->name,
                     shape_text(&model->output_shape, true, output_text),
                     shape_text(&fitting, true, fitting_text));
}

enum status model_compile(struct model *model, const struct loss *loss,
                          const struct metric *metrics, size_t metric_count,
                          const struct shape *target_shape, struct error *err)
{
    assert(metric_count <= MODEL_METRICS_MAX);
    if (!model->is_built)
        return error_set(err, STATUS_FAILED_PRECONDITION, "model '%.64s' is not built",
                         model->name);
    if (loss->axis != -1 && loss->axis != (int64_t)model->output_shape.rank)
        return error_set(err, STATUS_UNIMPLEMENTED,
                         "%s over axis %lld in training; only the last axis is supported",
                         loss->kind->name, (long long)loss->axis);
    if (loss->reduction != LOSS_MEAN)
        return error_set(err, STATUS_UNIMPLEMENTED,
                         "%s: training averages over examples; other reductions than "
                         "sum_over_batch_size are not supported",
                         loss->kind->name);
    enum status status = check_targets(model, loss, target_shape, err);
    if (status != STATUS_OK)
        return status;

    struct layer *last = &model->layers[model->layer_count - 1];
    bool from_logits = loss_takes_logits(loss) && layer_gives_logits(last);
    struct shape last_input = last->input_shape;
    workspace_free(model->workspace);
    model->workspace = NULL;
    model->is_compiled = false;
    last->from_logits = from_logits;
    status = layer_build(last, &last_input, err);
    if (status != STATUS_OK)
        return status;
    model->loss = *loss;
    model->loss_from_logits = from_logits;
    model->target_shape = *target_shape;
    model->metric_count = metric_count;
    for (size_t i = 0; i < metric_count; i++) {
        model->metrics[i] = metrics[i];
        struct shape target = *target_shape;
        if (!loss->kind->sparse)
            target = model->output_shape;
        metric_resolve(&model->metrics[i], &target, &model->output_shape);
    }
    model->is_compiled = true;
    return STATUS_OK;
}

enum status model_reserve(struct model *model, size_t rows_max, bool training, struct error *err)
{
    assert(model->is_built);
    struct model_workspace *old = model->workspace, *made;
    if (old != NULL && old->rows_max >= rows_max && (old->training || !training))
        return STATUS_OK;
    size_t rows = old != NULL && old->rows_max > rows_max ? old->rows_max : rows_max;
    enum status status = workspace_new(model, rows, training || (old != NULL && old->training),
                                       &made, err);
    if (status != STATUS_OK)
        return status;
    workspace_free(old);
    model->workspace = made;
    return STATUS_OK;
}

/* ---- forward ---- */

static enum status check_batch(const struct model *model, const struct model_batch *batch,
                               bool training, bool needs_loss, struct error *err)
{
    const struct model_workspace *workspace = model->workspace;
    if (needs_loss && !model->is_compiled)
        return error_set(err, STATUS_FAILED_PRECONDITION, "model '%.64s' has no loss yet",
                         model->name);
    if (model->params == NULL || workspace == NULL || (training && !workspace->training))
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "model '%.64s' has no memory reserved for this", model->name);
    if (batch->rows > workspace->rows_max)
        return error_set(err, STATUS_OUT_OF_RANGE,
                         "a batch of %zu examples, but memory is reserved for %zu", batch->rows,
                         workspace->rows_max);
    return STATUS_OK;
}

static const float *layer_input(const struct model *model, const struct model_batch *batch,
                                size_t layer)
{
    return layer == 0 ? batch->x : model->workspace->outputs[layer - 1];
}

/* first: the first of the layer's weights in model->weights; returns the first one after them. */
static size_t fill_weights(const struct model *model, size_t layer, size_t first,
                           struct layer_pass *pass)
{
    size_t at = first;
    for (; at < model->weight_count && model->weights[at].layer == layer; at++) {
        const struct model_weight *weight = &model->weights[at];
        pass->weight[weight->index] = model->params + weight->offset;
        pass->weight_grad[weight->index] = weight->trainable ? model->grads + weight->offset : NULL;
    }
    return at;
}

static struct layer_pass pass_of(const struct model *model, const struct model_batch *batch,
                                 size_t layer)
{
    return (struct layer_pass){.rows = batch->rows,
                               .input = layer_input(model, batch, layer),
                               .output = model->workspace->outputs[layer],
                               .scratch = model->workspace->scratch[layer]};
}

static enum status forward(struct model *model, const struct model_batch *batch,
                           const struct model_hooks *hooks, struct error *err)
{
    size_t first = 0;
    for (size_t l = 0; l < model->layer_count; l++) {
        struct layer_pass pass = pass_of(model, batch, l);
        size_t end = fill_weights(model, l, first, &pass);
        for (; first < end; first++) {
            if (hooks != NULL && hooks->on_weight_needed != NULL) {
                enum status status = hooks->on_weight_needed(hooks->context, first, err);
                if (status != STATUS_OK)
                    return status;
            }
        }
        model->layers[l].kind->forward(&model->layers[l], &pass);
    }
    return STATUS_OK;
}

/* ---- loss and metrics ---- */

static struct shape with_batch(const struct shape *shape, size_t rows)
{
    struct shape result = {.rank = shape->rank + 1, .size = {rows}};
    for (size_t i = 0; i < shape->rank && i + 1 < SHAPE_RANK_MAX; i++)
        result.size[i + 1] = shape->size[i];
    return result;
}

static enum status add_metrics(const struct model *model, const struct model_batch *batch,
                               struct model_totals *totals, struct error *err)
{
    struct metric_input input = {.y = batch->y,
                                 .p = model->workspace->outputs[model->layer_count - 1],
                                 .p_shape = with_batch(&model->output_shape, batch->rows)};
    /* One number per example fits an output of (1,) whether or not the data has the axis. */
    struct shape rows_shape = {.rank = 1, .size = {batch->rows}};
    struct shape target = model->loss.kind->sparse ? model->target_shape : model->output_shape;
    input.y_shape = with_batch(&target, batch->rows);
    input.weight_shape = rows_shape;
    for (size_t i = 0; i < model->metric_count; i++) {
        enum status status = metric_update(&model->metrics[i], &input, &totals->metrics[i], err);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

/* Where the loss reads: the logits that the last layer kept, or its output. */
static const float *loss_predictions(const struct model *model, const struct model_batch *batch)
{
    size_t last = model->layer_count - 1;
    struct layer_pass pass = pass_of(model, batch, last);
    return model->loss_from_logits ? layer_logits(&model->layers[last], &pass) : pass.output;
}

/* Values of all rows into the totals; upstream becomes what each row's loss has to do with the
 * mean. */
static enum status add_loss(const struct model *model, const struct model_batch *batch,
                            struct model_totals *totals, struct error *err)
{
    const struct model_workspace *workspace = model->workspace;
    const struct loss *loss = &model->loss;
    size_t cols = shape_last(&model->output_shape),
           per_example = shape_elements(&model->output_shape) / cols;
    size_t rows = batch->rows * per_example;
    enum status status = loss_check_labels(loss, batch->y, rows, cols, err);
    if (status != STATUS_OK)
        return status;
    bool from_logits = loss->from_logits || model->loss_from_logits;
    loss->kind->values(loss, from_logits, batch->y, loss_predictions(model, batch), rows, cols,
                       workspace->values);

    /* The mean counts only rows whose class is not ignored. */
    size_t counted = rows;
    for (size_t r = 0; r < rows && loss->has_ignored_class; r++)
        counted -= batch->y[r] == (float)loss->ignored_class;
    double sum = 0;
    for (size_t r = 0; r < rows; r++) {
        float weight = batch->weight != NULL ? batch->weight[r / per_example] : 1;
        sum += (double)(workspace->values[r] * weight);
        workspace->upstream[r] = weight / (float)counted;
    }
    totals->loss.sum += counted > 0 ? sum / (double)counted * (double)batch->rows : 0;
    totals->loss.count += (double)batch->rows;
    return STATUS_OK;
}

/* ---- backward ---- */

static enum status backward_layer(struct model *model, const struct model_batch *batch, size_t l,
                                  size_t first, size_t end, float *output_grad, float *input_grad,
                                  const struct model_hooks *hooks, struct error *err)
{
    const struct layer *layer = &model->layers[l];
    struct layer_pass pass = pass_of(model, batch, l);
    fill_weights(model, l, first, &pass);
    pass.output_grad = output_grad;
    pass.input_grad = input_grad;
    if (layer->kind->backward_weights != NULL)
        layer->kind->backward_weights(layer, &pass);
    for (size_t i = first; i < end; i++) {
        if (hooks != NULL && hooks->on_gradient_ready != NULL && model->weights[i].trainable) {
            enum status status = hooks->on_gradient_ready(hooks->context, i, err);
            if (status != STATUS_OK)
                return status;
        }
    }
    if (input_grad != NULL)
        layer->kind->backward_input(layer, &pass);
    return STATUS_OK;
}

static enum status backward(struct model *model, const struct model_batch *batch,
                            const struct model_hooks *hooks, struct error *err)
{
    const struct model_workspace *workspace = model->workspace;
    const struct loss *loss = &model->loss;
    size_t cols = shape_last(&model->output_shape), end = model->weight_count;
    size_t rows = batch->rows * (shape_elements(&model->output_shape) / cols);
    float *output_grad = workspace->grad[0], *input_grad = workspace->grad[1];
    loss->kind->gradient(loss, loss->from_logits || model->loss_from_logits, batch->y,
                         loss_predictions(model, batch), workspace->upstream, rows, cols,
                         output_grad);
    for (size_t l = model->layer_count; l-- > 0 && end > 0;) {
        size_t first = end;
        while (first > 0 && model->weights[first - 1].layer == l)
            first--;
        /* Below the first layer that has weights nothing needs the gradient. */
        enum status status = backward_layer(model, batch, l, first, end, output_grad,
                                            first > 0 ? input_grad : NULL, hooks, err);
        if (status != STATUS_OK)
            return status;
        end = first;
        float *other = output_grad;
        output_grad = input_grad;
        input_grad = other;
    }
    return STATUS_OK;
}

/* ---- entry ---- */

enum status model_step(struct model *model, const struct model_batch *batch,
                       const struct model_hooks *hooks, struct model_totals *totals,
                       struct error *err)
{
    enum status status = check_batch(model, batch, true, true, err);
    if (status == STATUS_OK)
        status = forward(model, batch, hooks, err);
    if (status == STATUS_OK)
        status = add_loss(model, batch, totals, err);
    if (status == STATUS_OK)
        status = add_metrics(model, batch, totals, err);
    if (status == STATUS_OK)
        status = backward(model, batch, hooks, err);
    return status;
}

enum status model_evaluate(struct model *model, const struct model_batch *batch,
                           const struct model_hooks *hooks, struct model_totals *totals,
                           struct error *err)
{
    enum status status = check_batch(model, batch, false, true, err);
    if (status == STATUS_OK)
        status = forward(model, batch, hooks, err);
    if (status == STATUS_OK)
        status = add_loss(model, batch, totals, err);
    if (status == STATUS_OK)
        status = add_metrics(model, batch, totals, err);
    return status;
}

enum status model_predict(struct model *model, const struct model_batch *batch,
                          const struct model_hooks *hooks, const float **ret_predictions,
                          struct error *err)
{
    enum status status = check_batch(model, batch, false, false, err);
    if (status == STATUS_OK)
        status = forward(model, batch, hooks, err);
    if (status == STATUS_OK)
        *ret_predictions = model->workspace->outputs[model->layer_count - 1];
    return status;
}
