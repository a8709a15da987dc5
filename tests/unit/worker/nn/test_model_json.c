#include "common/base/alloc.h"
#include "tests/lib/test.h"
#include "worker/nn/model_json.h"

#define DENSE         "{\"class_name\": \"Dense\", \"config\": {\"name\": \"d\", \"units\": 2}}"
#define MODEL(config) "{\"class_name\": \"Sequential\", \"config\": {" config "}}"

/* Everything that Keras may leave out is left out. */
static void test_the_shortest_description(void **state)
{
    static const char text[] = MODEL("\"layers\": [" DENSE "], \"build_input_shape\": [32, 7]");
    struct model model;
    struct error err;

    (void)state;
    assert_ok(model_from_json(&model, text, strlen(text), &err), &err);
    assert_string_equal(model.name, "sequential");
    assert_int_equal(model.layer_count, 1);
    assert_true(model.has_input_shape && model.input_shape.rank == 1);
    assert_int_equal(model.input_shape.size[0], 7);
    assert_null(model.loss_text);
    model_release(&model);
}

static void test_compile_config_is_kept_as_text(void **state)
{
    static const char text[] =
        "{\"class_name\": \"Sequential\", \"config\": {\"layers\": [" DENSE
        "]}, \"compile_config\": {\"optimizer\": {\"class_name\": \"Adam\", \"config\": {}}, "
        "\"loss\": \"mse\", \"metrics\": [\"accuracy\", {\"class_name\": \"X\"}, null]}}";
    struct model model;
    struct error err;

    (void)state;
    assert_ok(model_from_json(&model, text, strlen(text), &err), &err);
    assert_string_equal(model.optimizer_text, "{\"class_name\":\"Adam\",\"config\":{}}");
    assert_string_equal(model.loss_text, "mse");
    assert_int_equal(model.metric_text_count, 2);
    assert_string_equal(model.metric_texts[1], "{\"class_name\":\"X\"}");
    model_release(&model);
}

static void test_wrong_descriptions_are_refused(void **state)
{
    static const struct {
        const char *text, *words;
        enum status status;
    } wrong[] = {
        {"", "no JSON", STATUS_INVALID_ARGUMENT},
        {"{", "line 1", STATUS_INVALID_ARGUMENT},
        {"[]", "no class_name", STATUS_INVALID_ARGUMENT},
        {"{}", "no class_name", STATUS_INVALID_ARGUMENT},
        {"{\"class_name\": \"Functional\", \"config\": {}}", "Functional", STATUS_UNIMPLEMENTED},
        {"{\"class_name\": \"Sequential\"}", "no config", STATUS_INVALID_ARGUMENT},
        {MODEL(""), "no list of layers", STATUS_INVALID_ARGUMENT},
        {MODEL("\"layers\": 3"), "no list of layers", STATUS_INVALID_ARGUMENT},
        {MODEL("\"layers\": [3]"), "layer 0 has no class_name", STATUS_INVALID_ARGUMENT},
        {MODEL("\"layers\": [{\"class_name\": \"Dense\"}]"), "has no config",
         STATUS_INVALID_ARGUMENT},
        {MODEL("\"layers\": [" DENSE ", " DENSE "]"), "two layers named 'd'",
         STATUS_ALREADY_EXISTS},
        {MODEL("\"layers\": [" DENSE "], \"build_input_shape\": [null, null]"),
         "leaves size 1 open", STATUS_UNIMPLEMENTED},
        {MODEL("\"layers\": [" DENSE "], \"build_input_shape\": [null, 0]"), "size 1",
         STATUS_INVALID_ARGUMENT},
        {MODEL("\"layers\": [" DENSE "], \"build_input_shape\": []"), "build_input_shape",
         STATUS_INVALID_ARGUMENT},
        {MODEL("\"layers\": [{\"class_name\": \"InputLayer\", \"config\": {\"batch_shape\": "
               "[null, 3]}}, " DENSE "], \"build_input_shape\": [null, 4]"),
         "(None, 4), but the input layer says (None, 3)", STATUS_INVALID_ARGUMENT},
        {MODEL("\"layers\": [" DENSE ", {\"class_name\": \"InputLayer\", \"config\": {}}]"),
         "must be the first", STATUS_INVALID_ARGUMENT},
        {MODEL("\"layers\": [{\"class_name\": \"InputLayer\", \"config\": {\"dtype\": "
               "\"int32\"}}]"),
         "int32", STATUS_UNIMPLEMENTED},
        {MODEL("\"layers\": [{\"class_name\": \"Dense\", \"registered_name\": \"my>Dense\", "
               "\"config\": {\"units\": 2}}]"),
         "my>Dense", STATUS_UNIMPLEMENTED},
        {MODEL("\"name\": \"\", \"layers\": []"), "model name ''", STATUS_INVALID_ARGUMENT},
        {MODEL("\"name\": \"a\", \"name\": \"b\""), "no JSON", STATUS_INVALID_ARGUMENT},
    };

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct model model;
        struct error err = {.message = ""};

        assert_refused(model_from_json(&model, wrong[i].text, strlen(wrong[i].text), &err),
                       wrong[i].status, &err, wrong[i].words);
        assert_int_equal(model_from_json(&model, wrong[i].text, strlen(wrong[i].text), NULL),
                         wrong[i].status);
    }
}

static void test_length_and_depth_are_bounded(void **state)
{
    char *text = alloc_zero(MODEL_JSON_BYTES_MAX + 1);
    struct model model;
    struct error err;

    (void)state;
    assert_non_null(text);
    memset(text, '[', MODEL_JSON_BYTES_MAX + 1);
    assert_refused(model_from_json(&model, text, MODEL_JSON_BYTES_MAX + 1, &err),
                   STATUS_RESOURCE_EXHAUSTED, &err, "bytes; the limit");
    assert_refused(model_from_json(&model, text, MODEL_JSON_DEPTH_MAX + 1, &err),
                   STATUS_RESOURCE_EXHAUSTED, &err, "nested deeper than 64");
    assert_refused(model_from_json(&model, text, MODEL_JSON_DEPTH_MAX, &err),
                   STATUS_INVALID_ARGUMENT, &err, "no JSON");
    memset(text, '"', 1);
    assert_refused(model_from_json(&model, text, 4096, &err), STATUS_INVALID_ARGUMENT, &err,
                   "no JSON");
    alloc_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_shortest_description),
        cmocka_unit_test(test_compile_config_is_kept_as_text),
        cmocka_unit_test(test_wrong_descriptions_are_refused),
        cmocka_unit_test(test_length_and_depth_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
