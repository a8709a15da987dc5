#include "common/base/alloc.h"
#include "tests/unit/worker/nn/nn_test.h"
#include "worker/nn/layer.h"

enum { ROWS = 4, ROOM = 256 };

struct probe {
    struct layer layer;
    struct layer_pass pass;
    float input[ROOM], output[ROOM], scratch[ROOM], upstream[ROOM], used[ROOM], input_grad[ROOM];
    float weights[LAYER_WEIGHTS_MAX][ROOM], weight_grads[LAYER_WEIGHTS_MAX][ROOM];
};

static enum status init_text(struct layer *layer, const char *class_name, const char *text,
                             struct error *err)
{
    json_t *config = json_loads(text, 0, NULL);
    enum status status;

    assert_non_null(config);
    status = layer_init(layer, class_name, config, err);
    json_decref(config);
    return status;
}

static double probe_value(void *context)
{
    struct probe *probe = context;
    size_t count = ROWS * shape_elements(&probe->layer.output_shape);
    double sum = 0;

    probe->layer.kind->forward(&probe->layer, &probe->pass);
    for (size_t i = 0; i < count; i++)
        sum += (double)probe->output[i] * (double)probe->upstream[i];
    return sum;
}

static void check_layer(const char *class_name, const char *config, struct shape shape)
{
    struct probe *probe = alloc_zero(sizeof *probe);
    struct error err;
    size_t count;

    assert_non_null(probe);
    assert_ok(init_text(&probe->layer, class_name, config, &err), &err);
    assert_ok(layer_build(&probe->layer, &shape, &err), &err);
    count = ROWS * shape_elements(&probe->layer.output_shape);
    assert_true(count <= ROOM && ROWS * probe->layer.scratch_floats <= ROOM);
    fill_random(probe->input, ROWS * shape_elements(&shape), 2, 1);
    fill_random(probe->upstream, count, 1, 2);
    probe->pass = (struct layer_pass){.rows = ROWS,
                                      .input = probe->input,
                                      .output = probe->output,
                                      .scratch = probe->scratch,
                                      .output_grad = probe->used,
                                      .input_grad = probe->input_grad};
    for (size_t i = 0; i < probe->layer.weight_count; i++) {
        fill_random(probe->weights[i], shape_elements(&probe->layer.weights[i].shape), 1, 3 + i);
        probe->pass.weight[i] = probe->weights[i];
        probe->pass.weight_grad[i] = probe->weight_grads[i];
    }
    probe_value(probe);
    memcpy(probe->used, probe->upstream, sizeof probe->used);
    if (probe->layer.kind->backward_weights)
        probe->layer.kind->backward_weights(&probe->layer, &probe->pass);
    probe->layer.kind->backward_input(&probe->layer, &probe->pass);
    check_gradient(probe->input, probe->input_grad, ROWS * shape_elements(&shape), probe_value,
                   probe, class_name);
    for (size_t i = 0; i < probe->layer.weight_count; i++)
        check_gradient(probe->weights[i], probe->weight_grads[i],
                       shape_elements(&probe->layer.weights[i].shape), probe_value, probe,
                       probe->layer.weights[i].name);
    layer_release(&probe->layer);
    alloc_free(probe);
}

static void test_gradients_are_those_of_differences(void **state)
{
    const struct shape row = {.rank = 1, .size = {6}}, square = {.rank = 2, .size = {3, 4}};
    const struct shape cube = {.rank = 3, .size = {2, 3, 2}};

    (void)state;
    check_layer("Dense", "{\"units\": 3}", row);
    check_layer("Dense", "{\"units\": 3, \"use_bias\": false, \"activation\": \"tanh\"}", row);
    check_layer("Dense", "{\"units\": 4, \"activation\": \"gelu\"}", square);
    check_layer("Dense", "{\"units\": 4, \"activation\": \"softmax\"}", square);
    check_layer("Dense", "{\"units\": 4, \"activation\": \"glu\"}", row);
    check_layer("Activation", "{\"activation\": \"silu\"}", cube);
    check_layer("Activation", "{\"activation\": \"glu\"}", square);
    check_layer("ReLU", "{\"max_value\": 1.1, \"negative_slope\": 0.1}", row);
    check_layer("LeakyReLU", "{}", row);
    check_layer("ELU", "{\"alpha\": 0.4}", row);
    check_layer("PReLU", "{\"shared_axes\": [1, 2]}", cube);
    check_layer("PReLU", "{}", square);
    check_layer("Softmax", "{}", square);
    check_layer("Softmax", "{\"axis\": 1}", square);
    check_layer("Softmax", "{\"axis\": [1, 2]}", cube);
    check_layer("Flatten", "{}", cube);
    check_layer("Flatten", "{\"data_format\": \"channels_first\"}", cube);
    check_layer("Rescaling", "{\"scale\": 0.5, \"offset\": [1, 2, 3, 4]}", square);
}

static void test_dense_says_its_weights(void **state)
{
    struct shape shape = {.rank = 1, .size = {7}};
    struct layer layer;
    struct error err;

    (void)state;
    assert_ok(
        init_text(&layer, "Dense", "{\"name\": \"d\", \"units\": 2, \"trainable\": false}", &err),
        &err);
    assert_ok(layer_build(&layer, &shape, &err), &err);
    assert_int_equal(layer.weight_count, 2);
    assert_string_equal(layer.weights[0].name, "kernel");
    assert_string_equal(layer.weights[0].initializer.name, "GlorotUniform");
    assert_int_equal(layer.weights[0].shape.size[0], 7);
    assert_int_equal(layer.weights[0].shape.size[1], 2);
    assert_false(layer.weights[0].trainable);
    assert_string_equal(layer.weights[1].initializer.name, "Zeros");
    layer_release(&layer);
}

/* Each is refused with a message that names the layer and what is wrong. */
static void test_wrong_configs_are_refused(void **state)
{
    static const struct {
        const char *class_name, *config, *words;
        enum status status;
    } wrong[] = {
        {"Conv2D", "{\"name\": \"c\"}", "'c' is of class Conv2D", STATUS_UNIMPLEMENTED},
        {"Dense", "{}", "units is missing", STATUS_INVALID_ARGUMENT},
        {"Dense", "{\"units\": 0}", "units is 0", STATUS_INVALID_ARGUMENT},
        {"Dense", "{\"units\": \"5\"}", "units is \"5\"", STATUS_INVALID_ARGUMENT},
        {"Dense", "{\"units\": 2.5}", "units is 2.5", STATUS_INVALID_ARGUMENT},
        {"Dense", "{\"name\": \"d\", \"units\": 2, \"bias\": true}",
         "layer 'd': unknown key 'bias'", STATUS_INVALID_ARGUMENT},
        {"Dense", "{\"units\": 2, \"activation\": \"rellu\"}", "unknown activation 'rellu'",
         STATUS_NOT_FOUND},
        {"Dense", "{\"units\": 2, \"activation\": 3}", "activation is neither",
         STATUS_INVALID_ARGUMENT},
        {"Dense", "{\"units\": 2, \"use_bias\": 1}", "use_bias", STATUS_INVALID_ARGUMENT},
        {"Dense", "{\"units\": 2, \"kernel_initializer\": \"Glorot\"}", "kernel_initializer",
         STATUS_NOT_FOUND},
        {"Dense", "{\"units\": 2, \"kernel_constraint\": {\"class_name\": \"NonNeg\"}}",
         "kernel_constraint: NonNeg is not supported", STATUS_UNIMPLEMENTED},
        {"Dense", "{\"units\": 2, \"dtype\": \"mixed_float16\"}", "mixed_float16",
         STATUS_UNIMPLEMENTED},
        {"Dense",
         "{\"units\": 2, \"dtype\": {\"class_name\": \"DTypePolicy\", \"config\": "
         "{\"name\": \"bfloat16\"}}}",
         "bfloat16", STATUS_UNIMPLEMENTED},
        {"Dense", "{\"name\": \"a/b\", \"units\": 2}", "'a/b'", STATUS_INVALID_ARGUMENT},
        {"ReLU", "{\"max_value\": -1}", "negative", STATUS_INVALID_ARGUMENT},
        {"ReLU", "{\"max_value\": \"x\"}", "max_value", STATUS_INVALID_ARGUMENT},
        {"Softmax", "{\"axis\": \"x\"}", "axis", STATUS_INVALID_ARGUMENT},
        {"Flatten", "{\"data_format\": \"last\"}", "'last'", STATUS_INVALID_ARGUMENT},
        {"PReLU", "{\"shared_axes\": [0]}", "shared_axes[0]", STATUS_INVALID_ARGUMENT},
        {"Rescaling", "{\"scale\": []}", "scale", STATUS_INVALID_ARGUMENT},
    };

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct layer layer;
        struct error err = {.message = ""};

        assert_refused(init_text(&layer, wrong[i].class_name, wrong[i].config, &err),
                       wrong[i].status, &err, wrong[i].words);
    }
}

static void test_shapes_that_do_not_fit_are_refused(void **state)
{
    static const struct {
        const char *class_name, *config, *words;
        struct shape shape;
    } wrong[] = {
        {"Dense", "{\"name\": \"d\", \"units\": 2}", "layer 'd': Dense needs", {.rank = 0}},
        {"Dense", "{\"units\": 3, \"activation\": \"glu\"}", "even", {1, {4}}},
        {"Activation", "{\"activation\": \"glu\"}", "(None, 3)", {1, {3}}},
        {"Softmax", "{\"axis\": 3}", "axis", {2, {3, 4}}},
        {"Softmax", "{\"axis\": 0}", "axis", {2, {3, 4}}},
        {"Softmax", "{\"axis\": [1, 3]}", "axis", {3, {3, 4, 5}}},
        {"Rescaling", "{\"scale\": [1, 2]}", "1 or 3", {1, {3}}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct layer layer;
        struct error err;

        assert_ok(init_text(&layer, wrong[i].class_name, wrong[i].config, &err), &err);
        assert_refused(layer_build(&layer, &wrong[i].shape, &err), STATUS_INVALID_ARGUMENT, &err,
                       wrong[i].words);
        layer_release(&layer);
    }
}

static void test_too_large_layers_are_refused(void **state)
{
    struct shape shape = {.rank = 2, .size = {1 << 20, 4}};
    struct layer layer;
    struct error err;

    (void)state;
    assert_ok(init_text(&layer, "Dense", "{\"units\": 16777216}", &err), &err);
    assert_refused(layer_build(&layer, &shape, &err), STATUS_RESOURCE_EXHAUSTED, &err, "too large");
    layer_release(&layer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients_are_those_of_differences),
        cmocka_unit_test(test_dense_says_its_weights),
        cmocka_unit_test(test_wrong_configs_are_refused),
        cmocka_unit_test(test_shapes_that_do_not_fit_are_refused),
        cmocka_unit_test(test_too_large_layers_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
