#include "tests/bench/train_job.h"

#include "common/optim/optimizer.h"
#include "common/tensor/kernels.h"
#include "tests/bench/raw_socket.h"
#include "tests/bench/timing.h"
#include "worker/client/ps.h"
#include "worker/nn/model_json.h"

#include <stdio.h>
#include <string.h>

enum { TEXT_BYTES = 2048, WEIGHTS_MAX = 16, BATCHES = 8 };

struct trainer {
    struct orders *orders;
    const struct train_model *shape;
    struct model model;
    float *x, *y; /* BATCHES of them */
    uint64_t step;

    /* alone */
    struct optimizer optimizer;
    float *slots[OPTIMIZER_SLOTS_MAX];

    /* through a server */
    struct ps_client *ps;
    uint32_t ids[WEIGHTS_MAX];
    ps_handle pulls[WEIGHTS_MAX];
};

static void describe(const struct train_model *shape, char text[TEXT_BYTES])
{
    int used = snprintf(
        text, TEXT_BYTES,
        "{\"class_name\":\"Sequential\",\"config\":{\"name\":\"bench\",\"layers\":[{\"class_name\":"
        "\"InputLayer\",\"config\":{\"batch_shape\":[null,%zu]}}",
        shape->sizes[0]);

    for (size_t i = 1; i < shape->size_count; i++)
        used += snprintf(text + used, TEXT_BYTES - (size_t)used,
                         ",{\"class_name\":\"Dense\",\"config\":{\"name\":\"d%zu\",\"units\":%zu,"
                         "\"activation\":\"%s\"}}",
                         i, shape->sizes[i], i + 1 < shape->size_count ? "relu" : "softmax");
    snprintf(text + used, TEXT_BYTES - (size_t)used, "]}}");
}

static enum status build(struct trainer *trainer, struct error *err)
{
    char text[TEXT_BYTES];
    struct loss loss;
    const struct shape target = {.rank = 0};

    describe(trainer->shape, text);
    enum status status = model_from_json(&trainer->model, text, strlen(text), err);
    if (!status)
        status = model_build(&trainer->model, NULL, err);
    if (!status)
        status = model_allocate(&trainer->model, err);
    if (!status)
        status = model_initialize(&trainer->model, 1, err);
    if (!status)
        status = loss_from_text(&loss, "sparse_categorical_crossentropy", err);
    if (!status)
        status = model_compile(&trainer->model, &loss, NULL, 0, &target, err);
    if (!status)
        status = model_reserve(&trainer->model, trainer->shape->batch, true, err);
    return status;
}

/* Features of 0 to 1, and a class that depends on them, so that gradients do not die out. */
static void make_data(struct trainer *trainer)
{
    size_t inputs = trainer->shape->sizes[0];
    size_t classes = trainer->shape->sizes[trainer->shape->size_count - 1];
    size_t rows = trainer->shape->batch * BATCHES;
    uint32_t state = 1;

    trainer->x = raw_memory(rows * inputs * sizeof(float));
    trainer->y = raw_memory(rows * sizeof(float));
    if (!trainer->x || !trainer->y)
        orders_fail(trainer->orders, "training: no memory");
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < inputs; c++) {
            state = state * 1664525u + 1013904223u;
            trainer->x[r * inputs + c] = (float)(state >> 8) / 16777216.0f;
        }
        trainer->y[r] = (float)(state % classes);
    }
}

static void trainer_init(struct trainer *trainer, struct orders *orders,
                         const struct train_job *job)
{
    struct error err;

    *trainer = (struct trainer){.orders = orders, .shape = job->model};
    kernels_flush_denormals();
    if (build(trainer, &err))
        orders_fail(orders, "training: %s", err.message);
    if (trainer->model.weight_count > WEIGHTS_MAX)
        orders_fail(orders, "training: too many weights");
    make_data(trainer);
}

static struct model_batch next_batch(struct trainer *trainer)
{
    size_t first = trainer->step % BATCHES * trainer->shape->batch;

    return (struct model_batch){.rows = trainer->shape->batch,
                                .x = trainer->x + first * trainer->shape->sizes[0],
                                .y = trainer->y + first};
}

static void serve_orders(struct trainer *trainer, void (*step)(struct trainer *trainer))
{
    unsigned what, count;

    orders_done(trainer->orders);
    while (orders_next(trainer->orders, &what, &count)) {
        for (unsigned i = 0; i < count; i++) {
            double began = now_s();
            trainer->step++;
            step(trainer);
            trainer->orders->lane->seconds[i] = now_s() - began;
        }
        orders_done(trainer->orders);
    }
}

/* ---- alone ---- */

static void step_alone(struct trainer *trainer)
{
    struct model *model = &trainer->model;
    struct model_batch batch = next_batch(trainer);
    struct model_totals totals = {0};
    struct optimizer_scalars scalars;
    struct error err;

    if (model_step(model, &batch, NULL, &totals, &err))
        orders_fail(trainer->orders, "training: %s", err.message);
    optimizer_begin_step(&trainer->optimizer, trainer->step, 0.001, &scalars);
    optimizer_apply(&trainer->optimizer, &scalars, model->params, model->params, trainer->slots,
                    model->grads, model->block_floats);
}

void train_alone(struct orders *orders, void *context)
{
    struct trainer trainer;
    struct error err;

    trainer_init(&trainer, orders, context);
    if (optimizer_init(&trainer.optimizer, "adam", NULL, 0, &err))
        orders_fail(orders, "training: %s", err.message);
    for (size_t i = 0; i < optimizer_slot_count(&trainer.optimizer); i++)
        trainer.slots[i] = raw_memory(trainer.model.block_floats * sizeof(float));
    serve_orders(&trainer, step_alone);
}

/* ---- through a server ---- */

static void check(struct trainer *trainer, enum ps_status status, const struct ps_error *err)
{
    if (status != PS_OK)
        orders_fail(trainer->orders, "training: %s", err->message);
}

/* Gradient arrays are free again once the step is committed: it is by the time of the last layer.
 */
static enum status on_weight_needed(void *context, size_t weight, struct error *err)
{
    struct trainer *trainer = context;
    struct ps_error ps_err;

    (void)err;
    if (trainer->pulls[weight])
        check(trainer, ps_wait(trainer->ps, trainer->pulls[weight], PS_DEFAULT_TIMEOUT, &ps_err),
              &ps_err);
    trainer->pulls[weight] = 0;
    if (weight + 1 == trainer->model.weight_count && trainer->step > 1)
        check(trainer, ps_wait_step(trainer->ps, trainer->step - 1, PS_DEFAULT_TIMEOUT, &ps_err),
              &ps_err);
    return STATUS_OK;
}

static enum status on_gradient_ready(void *context, size_t weight, struct error *err)
{
    struct trainer *trainer = context;
    struct ps_error ps_err;
    const float *grad = trainer->model.grads + trainer->model.weights[weight].offset;

    (void)err;
    check(trainer, ps_push(trainer->ps, trainer->ids[weight], grad, PS_GRADIENT, NULL, &ps_err),
          &ps_err);
    return STATUS_OK;
}

static void ask_for_values(struct trainer *trainer)
{
    const struct model *model = &trainer->model;
    struct ps_error err;

    for (size_t i = 0; i < model->weight_count; i++)
        check(trainer,
              ps_pull(trainer->ps, trainer->ids[i], PS_LATEST,
                      model->params + model->weights[i].offset, &trainer->pulls[i], &err),
              &err);
    check(trainer, ps_flush(trainer->ps, &err), &err);
}

static void step_served(struct trainer *trainer)
{
    const struct model_hooks hooks = {trainer, on_weight_needed, on_gradient_ready};
    struct model_batch batch = next_batch(trainer);
    struct model_totals totals = {0};
    struct ps_error ps_err;
    struct error err;

    check(trainer, ps_step_begin(trainer->ps, trainer->step, batch.rows, &ps_err), &ps_err);
    if (model_step(&trainer->model, &batch, &hooks, &totals, &err))
        orders_fail(trainer->orders, "training: %s", err.message);
    const struct ps_metric metric = {"loss", totals.loss.sum, totals.loss.count};
    check(trainer, ps_step_end(trainer->ps, &metric, 1, &ps_err), &ps_err);
    ask_for_values(trainer);
}

static void join(struct trainer *trainer, const char *coordinator)
{
    const struct ps_options options = {.coordinator = coordinator, .quiet = true};
    const struct model *model = &trainer->model;
    struct ps_error err;

    check(trainer, ps_connect(&options, &trainer->ps, &err), &err);
    for (size_t i = 0; i < model->weight_count; i++) {
        const struct model_weight *weight = &model->weights[i];
        uint64_t shape[SHAPE_RANK_MAX];
        for (size_t k = 0; k < weight->shape.rank; k++)
            shape[k] = weight->shape.size[k];
        const struct ps_variable variable = {.name = weight->path,
                                             .shape = shape,
                                             .rank = weight->shape.rank,
                                             .initializer = PS_UNIFORM,
                                             .a = -0.05,
                                             .b = 0.05};
        check(trainer, ps_create(trainer->ps, &variable, &trainer->ids[i], &err), &err);
    }
    check(trainer, ps_configure(trainer->ps, 0, "adam", NULL, 0, &err), &err);
    check(trainer, ps_start(trainer->ps, &err), &err);
}

void train_served(struct orders *orders, void *context)
{
    const struct train_job *job = context;
    struct trainer trainer;

    trainer_init(&trainer, orders, job);
    join(&trainer, job->coordinator);
    ask_for_values(&trainer);
    serve_orders(&trainer, step_served);
    ps_close(trainer.ps);
}

/* ---- the products alone ---- */

/* The library's Fortran entry, so that nothing of ours stands between. Column-major: c = op(a)
 * op(b). */
extern void sgemm_(const char *transpose_a, const char *transpose_b, const int *rows,
                   const int *cols, const int *inner, const float *alpha, const float *a,
                   const int *a_stride, const float *b, const int *b_stride, const float *beta,
                   float *c, const int *c_stride);

/* out (batch, to) = in (batch, from) w (from, to), and the two products of the backward pass. */
static void layer_products(const float *in, const float *w, float *out, float *in_grad,
                           float *w_grad, int batch, int from, int to)
{
    const float one = 1, zero = 0;

    sgemm_("N", "N", &to, &batch, &from, &one, w, &to, in, &from, &zero, out, &to);
    sgemm_("N", "T", &to, &from, &batch, &one, out, &to, in, &from, &zero, w_grad, &to);
    if (in_grad)
        sgemm_("T", "N", &from, &batch, &to, &one, w, &to, out, &to, &zero, in_grad, &from);
}

static void step_products(struct trainer *trainer)
{
    const struct train_model *shape = trainer->shape;
    struct model *model = &trainer->model;
    struct model_batch batch = next_batch(trainer);
    float *outputs = trainer->slots[0], *input_grads = trainer->slots[1];
    const float *in = batch.x;
    size_t used = 0;

    for (size_t i = 1; i < shape->size_count; i++) {
        const struct model_weight *kernel = &model->weights[(i - 1) * 2];
        layer_products(in, model->params + kernel->offset, outputs + used,
                       i > 1 ? input_grads : NULL, model->grads + kernel->offset, (int)shape->batch,
                       (int)shape->sizes[i - 1], (int)shape->sizes[i]);
        in = outputs + used;
        used += shape->batch * shape->sizes[i];
    }
}

void train_products_only(struct orders *orders, void *context)
{
    struct trainer trainer;
    size_t floats = 0;

    trainer_init(&trainer, orders, context);
    for (size_t i = 0; i < trainer.shape->size_count; i++)
        floats += trainer.shape->batch * trainer.shape->sizes[i];
    trainer.slots[0] = raw_memory(floats * sizeof(float));
    trainer.slots[1] = raw_memory(floats * sizeof(float));
    serve_orders(&trainer, step_products);
}
