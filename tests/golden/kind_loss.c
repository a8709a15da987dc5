/* A loss object called with targets, predictions, weights and masks; and its gradient. */
#include "common/base/alloc.h"
#include "tests/golden/numbers.h"
#include "worker/nn/activation.h"
#include "worker/nn/loss.h"

#include <string.h>

struct run {
    struct golden_case *golden;
    json_t *variant;
    struct loss loss;
    struct numbers y, p, weight, mask, upstream, output, grad;
};

static void run_release(struct run *run)
{
    numbers_release(&run->y);
    numbers_release(&run->p);
    numbers_release(&run->weight);
    numbers_release(&run->mask);
    numbers_release(&run->upstream);
    numbers_release(&run->output);
    numbers_release(&run->grad);
}

static bool read_inputs(struct run *run)
{
    json_t *inputs = json_object_get(run->variant, "inputs");
    json_t *weight = json_object_get(inputs, "sample_weight"),
           *mask = json_object_get(inputs, "mask"),
           *upstream = json_object_get(run->variant, "upstream");
    size_t room;

    if (!numbers_read(run->golden, json_object_get(inputs, "y_true"), &run->y) ||
        !numbers_read(run->golden, json_object_get(inputs, "y_pred"), &run->p) ||
        (weight && !numbers_read(run->golden, weight, &run->weight)) ||
        (mask && !numbers_read(run->golden, mask, &run->mask)) ||
        (json_is_string(upstream) && !numbers_read(run->golden, upstream, &run->upstream)))
        return false;
    room = run->y.count + run->p.count + run->weight.count + run->mask.count;
    return numbers_make(run->golden, room, &run->output) &&
           numbers_make(run->golden, run->p.count, &run->grad);
}

static enum golden_outcome compute(struct run *run)
{
    const json_t *compare = json_object_get(run->variant, "compare");
    struct loss_input input = {
        .y_shape = run->y.shape,
        .p_shape = run->p.shape,
        .weight_shape = run->weight.shape,
        .mask_shape = run->mask.shape,
        .y = run->y.values,
        .p = run->p.values,
        .weight = run->weight.values,
        .mask = run->mask.values,
        .p_is_logits = json_is_string(json_object_get(run->variant, "activation")),
    };
    struct shape shape;
    struct error err;

    if (loss_call(&run->loss, &input, run->upstream.values, run->output.values, &shape,
                  run->grad.values, &err) != STATUS_OK)
        return golden_fail(run->golden, "%s", err.message);
    if (!numbers_compare(run->golden, compare, json_object_get(run->variant, "output"),
                         run->output.values, shape_elements(&shape)) ||
        !numbers_compare(run->golden, compare, json_object_get(run->variant, "gradient"),
                         run->grad.values, run->grad.count))
        return GOLDEN_FAILED;
    return GOLDEN_PASSED;
}

static enum golden_outcome run_variant(struct golden_case *golden, json_t *variant, size_t index)
{
    struct run run = {.golden = golden, .variant = variant};
    const char *name = json_string_value(json_object_get(golden->json, "name"));
    enum golden_outcome outcome = GOLDEN_FAILED;
    struct error err;
    enum status status;

    (void)index;
    if (!name)
        return golden_fail(golden, "the case has no name");
    status = loss_init(&run.loss, name, json_object_get(variant, "config"), &err);
    if (status == STATUS_NOT_FOUND)
        return golden_skip(golden, "loss %s", name);
    if (status == STATUS_UNIMPLEMENTED)
        return golden_skip(golden, "%s", err.message);
    if (status != STATUS_OK)
        return golden_fail(golden, "%s", err.message);
    if (read_inputs(&run))
        outcome = compute(&run);
    run_release(&run);
    return outcome;
}

enum golden_outcome golden_loss(struct golden_case *golden)
{
    return golden_each_variant(golden, run_variant);
}
