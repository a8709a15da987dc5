/*
 * Keras's Loss.__call__ in full: align ranks, values per row, mask and weights, reduction, and the
 * gradient back the same way. The happy path of training (whole batch, no weights) goes straight to
 * the kind's functions instead.
 */
#include "common/base/alloc.h"
#include "worker/nn/loss.h"

#include <string.h>

/* ---- shapes ---- */

/* The shape that both broadcast to; false if there is none. */
static bool broadcast_shape(const struct shape *a, const struct shape *b, struct shape *ret_shape)
{
    size_t rank = a->rank > b->rank ? a->rank : b->rank;
    ret_shape->rank = rank;
    for (size_t i = 0; i < rank; i++) {
        size_t in_a = i + a->rank >= rank ? a->size[i + a->rank - rank] : 1;
        size_t in_b = i + b->rank >= rank ? b->size[i + b->rank - rank] : 1;
        if (in_a != in_b && in_a != 1 && in_b != 1)
            return false;
        ret_shape->size[i] = in_a == 1 ? in_b : in_a;
    }
    return true;
}

/* Where element `at` of the broadcast shape comes from. */
static size_t broadcast_place(const struct shape *whole, const struct shape *from, size_t at)
{
    size_t place = 0, step = 1;
    for (size_t i = 0; i < whole->rank; i++) {
        size_t axis = whole->rank - 1 - i, index = at % whole->size[axis];
        at /= whole->size[axis];
        if (i >= from->rank)
            break;
        size_t size = from->size[from->rank - 1 - i];
        place += size == 1 ? 0 : index * step;
        step *= size;
    }
    return place;
}

/* Where element `at` of the shape with one axis moved to the end comes from. */
static size_t moved_place(const struct shape *from, size_t axis, size_t at)
{
    size_t inner = 1, size = from->size[axis];
    for (size_t i = axis + 1; i < from->rank; i++)
        inner *= from->size[i];
    size_t index = at % size, rest = at / size;
    return (rest / inner * size + index) * inner + rest % inner;
}

/* ---- one call ---- */

struct call {
    const struct loss *loss;
    const struct loss_input *input;
    bool from_logits;
    struct shape y_shape, p_shape; /* after alignment */
    struct shape whole;            /* of the predictions after broadcasting */
    size_t axis, rows, cols;
    struct shape values_shape;
    float *y, *p, *values, *scale, *grad; /* owned; (rows, cols), (rows), with the axis last */
    struct shape weight_shape;
    float *weight; /* owned; weights times mask; NULL: none */
};

static void call_release(struct call *call)
{
    alloc_free(call->y);
    alloc_free(call->p);
    alloc_free(call->values);
    alloc_free(call->scale);
    alloc_free(call->grad);
    alloc_free(call->weight);
}

static enum status shapes_differ(const struct call *call, const char *rule, struct error *err)
{
    char y_text[SHAPE_TEXT_BYTES], p_text[SHAPE_TEXT_BYTES];
    return error_set(err, STATUS_INVALID_ARGUMENT,
                     "%s: targets of shape %s do not fit predictions of shape %s; %s",
                     call->loss->kind->name, shape_text(&call->input->y_shape, false, y_text),
                     shape_text(&call->input->p_shape, false, p_text), rule);
}

static enum status call_shapes(struct call *call, struct error *err)
{
    const struct loss *loss = call->loss;
    call->y_shape = call->input->y_shape;
    call->p_shape = call->input->p_shape;
    shape_align_ranks(&call->y_shape, &call->p_shape);
    call->whole = call->p_shape;
    if (call->p_shape.rank == 0)
        return shapes_differ(call, "predictions need at least one axis", err);
    int64_t axis = loss->axis < 0 ? loss->axis + (int64_t)call->p_shape.rank : loss->axis;
    if (axis < 0 || axis >= (int64_t)call->p_shape.rank)
        return shapes_differ(call, "and the loss's axis is none of theirs", err);
    call->axis = (size_t)axis;
    if (loss->kind->sparse) {
        struct shape rows = call->p_shape;
        rows.rank--;
        if (call->y_shape.rank == call->p_shape.rank && shape_last(&call->y_shape) == 1)
            call->y_shape.rank--;
        if (!shape_equal(&call->y_shape, &rows))
            return shapes_differ(call, "one class number for each row of predictions would", err);
    } else if (loss->kind->same_shape && !shape_equal(&call->y_shape, &call->p_shape)) {
        return shapes_differ(call, "the same shape would", err);
    } else if (!broadcast_shape(&call->y_shape, &call->p_shape, &call->whole)) {
        return shapes_differ(call, "the same shape would", err);
    }
    call->cols = call->whole.size[call->axis];
    if (call->cols == 0)
        return shapes_differ(call, "the axis of the loss may not be empty", err);
    call->rows = shape_elements(&call->whole) / call->cols;
    call->values_shape.rank = call->whole.rank - 1;
    for (size_t i = 0, to = 0; i < call->whole.rank; i++) {
        if (i != call->axis)
            call->values_shape.size[to++] = call->whole.size[i];
    }
    return STATUS_OK;
}

/* y and p as (rows, cols), broadcast and with the axis of the loss last; then the values. */
static enum status call_values(struct call *call, struct error *err)
{
    size_t elements = call->rows * call->cols;
    bool sparse = call->loss->kind->sparse;
    call->y = alloc_array(sparse ? call->rows : elements, sizeof(float));
    call->p = alloc_array(elements, sizeof(float));
    call->values = alloc_array(call->rows, sizeof(float));
    call->scale = alloc_array(call->rows, sizeof(float));
    call->grad = alloc_array(elements, sizeof(float));
    if (call->y == NULL || call->p == NULL || call->values == NULL || call->scale == NULL ||
        call->grad == NULL)
        return error_no_memory(err, "a loss");
    for (size_t i = 0; i < elements; i++) {
        size_t at = moved_place(&call->whole, call->axis, i);
        call->p[i] = call->input->p[broadcast_place(&call->whole, &call->p_shape, at)];
        if (!sparse)
            call->y[i] = call->input->y[broadcast_place(&call->whole, &call->y_shape, at)];
    }
    if (sparse && call->rows > 0)
        memcpy(call->y, call->input->y, call->rows * sizeof(float));
    enum status status = loss_check_labels(call->loss, call->y, call->rows, call->cols, err);
    if (status == STATUS_OK)
        call->loss->kind->values(call->loss, call->from_logits, call->y, call->p, call->rows,
                                 call->cols, call->values);
    return status;
}

static enum status weights_differ(const char *what, const struct shape *weight,
                                  const struct shape *with, struct error *err)
{
    char text[SHAPE_TEXT_BYTES], with_text[SHAPE_TEXT_BYTES];
    return error_set(err, STATUS_INVALID_ARGUMENT, "%s of shape %s do not broadcast to %s", what,
                     shape_text(weight, false, text), shape_text(with, false, with_text));
}

/* Replaces call->weight by its product with another array, both broadcast. */
static enum status weight_multiply(struct call *call, const float *other, struct shape other_shape,
                                   const char *what, struct error *err)
{
    struct shape weight_shape = call->weight_shape, product_shape;
    if (call->weight == NULL)
        weight_shape = other_shape;
    shape_align_ranks(&weight_shape, &other_shape);
    if (!broadcast_shape(&weight_shape, &other_shape, &product_shape))
        return weights_differ(what, &other_shape, &weight_shape, err);
    size_t count = shape_elements(&product_shape);
    float *product = alloc_array(count, sizeof *product);
    if (product == NULL)
        return error_no_memory(err, "sample weights");
    for (size_t i = 0; i < count; i++) {
        product[i] = other[broadcast_place(&product_shape, &other_shape, i)];
        if (call->weight != NULL)
            product[i] *= call->weight[broadcast_place(&product_shape, &weight_shape, i)];
    }
    alloc_free(call->weight);
    call->weight = product;
    call->weight_shape = product_shape;
    return STATUS_OK;
}

/* The mask of the call and of the ignored class: with a mean it is scaled so that only valid values
 * count. */
static enum status call_mask(struct call *call, struct error *err)
{
    const struct loss_input *input = call->input;
    const struct loss *loss = call->loss;
    enum status status = STATUS_OK;
    if (input->mask != NULL)
        status = weight_multiply(call, input->mask, input->mask_shape, "a mask", err);
    if (status == STATUS_OK && loss->has_ignored_class) {
        for (size_t r = 0; r < call->rows; r++)
            call->scale[r] = call->y[r] == (float)loss->ignored_class ? 0 : 1;
        status = weight_multiply(call, call->scale, call->values_shape, "ignored classes", err);
    }
    if (status != STATUS_OK || call->weight == NULL || loss->reduction != LOSS_MEAN)
        return status;
    size_t count = shape_elements(&call->weight_shape);
    float valid = 0;
    for (size_t i = 0; i < count; i++)
        valid += call->weight[i];
    for (size_t i = 0; i < count; i++)
        call->weight[i] *= valid > 0 ? (float)count / valid : 0;
    return STATUS_OK;
}

/* What the sum of weighted values is divided by. */
static float call_divisor(const struct call *call, size_t output_count)
{
    if (call->loss->reduction == LOSS_SUM)
        return 1;
    if (call->loss->reduction == LOSS_MEAN || call->weight == NULL)
        return (float)output_count;
    float sum = 0;
    for (size_t i = 0; i < shape_elements(&call->weight_shape); i++)
        sum += call->weight[i];
    return sum;
}

/* Weighted values, their reduction, and in call->scale each value's part in it. */
static enum status call_reduce(struct call *call, const float *upstream, float *ret_output,
                               struct shape *ret_shape, struct error *err)
{
    struct shape values_shape = call->values_shape, weight_shape = call->weight_shape,
                 whole = values_shape;
    if (call->weight != NULL) {
        shape_align_ranks(&values_shape, &weight_shape);
        if (!broadcast_shape(&values_shape, &weight_shape, &whole))
            return weights_differ("sample weights", &weight_shape, &values_shape, err);
    }
    size_t count = shape_elements(&whole);
    bool reduces = call->loss->reduction != LOSS_NONE && whole.rank > 0 &&
                   !(whole.rank == 1 && count == 0);
    float divisor = reduces ? call_divisor(call, count) : 1, total = 0;
    for (size_t r = 0; r < call->rows; r++)
        call->scale[r] = 0;
    for (size_t i = 0; i < count; i++) {
        size_t at = broadcast_place(&whole, &values_shape, i);
        float weight = call->weight != NULL
                           ? call->weight[broadcast_place(&whole, &weight_shape, i)]
                           : 1;
        float up = upstream != NULL ? upstream[reduces ? 0 : i] : 1;
        total += call->values[at] * weight;
        if (!reduces)
            ret_output[i] = call->values[at] * weight;
        call->scale[at] += divisor != 0 ? up / divisor * weight : 0;
    }
    if (reduces)
        ret_output[0] = divisor != 0 ? total / divisor : 0;
    *ret_shape = reduces ? (struct shape){.rank = 0} : whole;
    return STATUS_OK;
}

static void call_gradient(struct call *call, float *ret_grad)
{
    size_t elements = call->rows * call->cols;
    call->loss->kind->gradient(call->loss, call->from_logits, call->y, call->p, call->scale,
                               call->rows, call->cols, call->grad);
    for (size_t i = 0; i < shape_elements(&call->p_shape); i++)
        ret_grad[i] = 0;
    for (size_t i = 0; i < elements; i++) {
        size_t at = moved_place(&call->whole, call->axis, i);
        ret_grad[broadcast_place(&call->whole, &call->p_shape, at)] += call->grad[i];
    }
}

enum status loss_call(const struct loss *loss, const struct loss_input *input,
                      const float *upstream, float *ret_output, struct shape *ret_shape,
                      float *ret_grad, struct error *err)
{
    struct call call = {.loss = loss, .input = input};
    call.from_logits = loss->from_logits || (input->p_is_logits && loss_takes_logits(loss));
    enum status status = call_shapes(&call, err);
    if (status == STATUS_OK)
        status = call_values(&call, err);
    if (status == STATUS_OK)
        status = call_mask(&call, err);
    if (status == STATUS_OK && input->weight != NULL)
        status = weight_multiply(&call, input->weight, input->weight_shape, "sample weights", err);
    if (status == STATUS_OK)
        status = call_reduce(&call, upstream, ret_output, ret_shape, err);
    if (status == STATUS_OK && ret_grad != NULL)
        call_gradient(&call, ret_grad);
    call_release(&call);
    return status;
}
