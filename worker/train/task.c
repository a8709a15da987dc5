/* Data beside the model: read, checked against it, scaled. */
#include "worker/train/task.h"

#include "worker/nn/weights.h"

#include <string.h>

void task_release(struct task *task)
{
    dataset_release(&task->train_file);
    dataset_release(&task->test_file);
    dataset_release(&task->predict_file);
    encoding_release(&task->encoding);
    safetensors_release(&task->weights);
    model_release(&task->model);
    *task = (struct task){.metric_count = 0};
}

/* How labels are to be read follows from the loss, and how many classes there are from the model's
 * output. */
static struct data_options data_options_of(const struct task *task, const struct run_config *config)
{
    struct data_options options = {.label = config->label, .header = config->header};
    const struct model *model = &task->model;

    options.label_kind = DATA_LABELS_VALUES;
    if (task->loss.kind && task->loss.kind->sparse) {
        options.label_kind = DATA_LABELS_CLASSES;
        options.class_count = model->is_built ? shape_last(&model->output_shape) : 0;
    } else if (task->loss.kind == &loss_binary_crossentropy) {
        options.label_kind = DATA_LABELS_CLASSES;
        options.class_count = 2;
    }
    if (task->encoding.classes.count > 0)
        options.classes = &task->encoding.classes;
    return options;
}

static struct shape data_shape(const struct dataset *dataset)
{
    struct shape shape = {.rank = dataset->rank};

    for (size_t i = 0; i < dataset->rank; i++)
        shape.size[i] = dataset->shape[i];
    return shape;
}

static enum status build(struct task *task, const struct run_config *config,
                         const struct dataset *dataset, struct error *err)
{
    struct model *model = &task->model;
    struct shape shape = data_shape(dataset);
    char given[SHAPE_TEXT_BYTES], wanted[SHAPE_TEXT_BYTES];
    enum status status = STATUS_OK;

    if (!model->is_built)
        status = model_build(model, &shape, err);
    if (status)
        return error_wrap(err, "%s on %s", config->model, dataset->name);
    if (shape_elements(&model->input_shape) != dataset->feature_count)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "the examples in %s have %zu features, shape %s, but model '%s' takes %s",
                         dataset->name, dataset->feature_count, shape_text(&shape, true, given),
                         config->model, shape_text(&model->input_shape, true, wanted));
    return STATUS_OK;
}

static enum status scale(const struct task *task, struct dataset *dataset, struct error *err)
{
    enum status status = encoding_apply(&task->encoding, dataset->features, dataset->example_count,
                                        dataset->feature_count, err);

    return status ? error_wrap(err, "scale %s", dataset->name) : STATUS_OK;
}

/* ---- the three files ---- */

static enum status read_train(struct task *task, const struct run_config *config, struct error *err)
{
    struct data_options options = data_options_of(task, config);
    struct encoding fitted;
    enum status status = data_file_read(config->train, &options, &task->train_file, err);

    if (status)
        return error_wrap(err, "--train");
    status = build(task, config, &task->train_file, err);
    if (!status)
        status = dataset_split(&task->train_file, config->validation_split, &task->train,
                               &task->validation, err);
    if (status)
        return status;
    /* Weights that were trained before bring the scale that they were trained with. */
    if (!task->has_encoding || config->has_scale) {
        const struct names *classes = options.classes ? options.classes : &task->train_file.classes;
        status = encoding_fit(config->scale, classes, &task->train, &fitted, err);
        if (status)
            return error_wrap(err, "--train %s", config->train);
        encoding_release(&task->encoding);
        task->encoding = fitted;
    }
    return scale(task, &task->train_file, err);
}

static enum status read_test(struct task *task, const struct run_config *config, struct error *err)
{
    struct data_options options = data_options_of(task, config);
    enum status status = data_file_read(config->test, &options, &task->test_file, err);

    if (status)
        return error_wrap(err, "--test");
    status = build(task, config, &task->test_file, err);
    if (!status && config->train)
        status = dataset_check_alike(&task->train_file, &task->test_file, err);
    if (!status)
        status = scale(task, &task->test_file, err);
    task->test = dataset_examples(&task->test_file);
    return status;
}

static enum status read_predict(struct task *task, const struct run_config *config,
                                struct error *err)
{
    struct data_options options = data_options_of(task, config);
    enum status status;

    /* Labels may be there; they are passed over. */
    if (options.classes)
        options.label_kind = DATA_LABELS_CLASSES;
    if (task->model.is_built)
        options.unlabelled_feature_count = shape_elements(&task->model.input_shape);
    status = data_file_read(config->predict, &options, &task->predict_file, err);
    if (status)
        return error_wrap(err, "--predict");
    status = build(task, config, &task->predict_file, err);
    if (!status)
        status = scale(task, &task->predict_file, err);
    task->predict = dataset_examples(&task->predict_file);
    return status;
}

static enum status read_data(struct task *task, const struct run_config *config, struct error *err)
{
    enum status status = STATUS_OK;

    if (config->train)
        status = read_train(task, config, err);
    if (!status && config->test && !config->predict)
        status = read_test(task, config, err);
    if (!status && config->predict)
        status = read_predict(task, config, err);
    return status;
}

enum status task_init(struct task *task, const struct run_config *config, struct error *err)
{
    static const struct shape one_number = {.rank = 0};
    enum status status = task_read_model(task, config, err);

    if (!status && config->weights)
        status = task_read_weights(task, config, err);
    if (!status)
        status = read_data(task, config, err);
    if (!status && !config->predict) {
        status = model_compile(&task->model, &task->loss, task->metrics, task->metric_count,
                               &one_number, err);
        if (status)
            return error_wrap(err, "%s", config->model);
    }
    if (!status)
        status = model_allocate(&task->model, err);
    if (!status && task->has_weights) {
        status = weights_load(&task->model, &task->weights, err);
        if (status)
            return error_wrap(err, "--weights %s", config->weights);
    }
    return status;
}
