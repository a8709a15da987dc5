/* Descriptions of models: read, and laid out as far as that takes no memory for the weights. */
/* decoder: worker/nn/model_json.c worker/nn/config.c worker/nn/config_initializer.c
 * worker/nn/layer.c */
/* options: -max_len=4096 */
#include "worker/nn/model_json.h"

#include <stdlib.h>
#include <string.h>

enum { WORD_BYTES_MAX = 512 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max);

/* Values and members that replace others: what mutation of bytes hardly puts together. */
static const char *const words[] = {
    "null",
    "true",
    "-1",
    "0",
    "7",
    "0.25",
    "1e300",
    "16777217",
    "9223372036854775807",
    "\"float32\"",
    "\"relu\"",
    "\"softmax\"",
    "\"glu\"",
    "\"Zeros\"",
    "\"he_normal\"",
    "[]",
    "[null, 4]",
    "[2, 3, 4, 5]",
    "[1, 2]",
    "{}",
    "\"units\": 4",
    "\"activation\": \"tanh\"",
    "\"name\": \"d\"",
    "\"dtype\": {\"class_name\": \"DTypePolicy\", \"config\": {\"name\": \"float32\"}}",
    "\"registered_name\": \"my>Dense\"",
    "\"build_input_shape\": [null, 3, 4]",
    "\"batch_input_shape\": [null, 2]",
    "{\"class_name\": \"LeakyReLU\", \"config\": {\"negative_slope\": 0.1}}",
    "{\"class_name\": \"ReLU\", \"config\": {\"max_value\": 6, \"threshold\": 0.5}}",
    "{\"class_name\": \"ELU\", \"config\": {\"alpha\": 0.5}}",
    "{\"class_name\": \"VarianceScaling\", \"config\": {\"scale\": 2, \"mode\": \"fan_avg\", "
    "\"distribution\": \"uniform\", \"seed\": 3}}",
    "{\"class_name\": \"RandomUniform\", \"config\": {\"minval\": -1, \"maxval\": 1}}",
    "{\"class_name\": \"Dense\", \"config\": {\"units\": 2}}",
    "{\"class_name\": \"Dense\", \"config\": {\"name\": \"e\", \"units\": 4, \"use_bias\": false, "
    "\"kernel_initializer\": \"he_normal\"}}",
    "{\"class_name\": \"PReLU\", \"config\": {\"shared_axes\": [1]}}",
    "{\"class_name\": \"Softmax\", \"config\": {\"axis\": [1, 2]}}",
    "{\"class_name\": \"Flatten\", \"config\": {\"data_format\": \"channels_first\"}}",
    "{\"class_name\": \"Rescaling\", \"config\": {\"scale\": [1, 2, 3], \"offset\": 1}}",
    "{\"class_name\": \"InputLayer\", \"config\": {\"batch_shape\": [null, 4]}}",
    "{\"class_name\": \"Sequential\", \"config\": {\"name\": \"m\", \"layers\": [{\"class_name\": "
    "\"InputLayer\", \"config\": {\"batch_shape\": [null, 3, 4]}}, {\"class_name\": \"Dense\", "
    "\"config\": {\"units\": 2}}]}, \"compile_config\": {\"loss\": \"mse\", \"metrics\": "
    "[\"mae\"], \"optimizer\": {\"class_name\": \"Adam\"}}}",
};

/* Every weight lies in the block, behind the one before it, and is found by its path. */
static void check_layout(const struct model *model)
{
    size_t end = 0;

    for (size_t i = 0; i < model->weight_count; i++) {
        const struct model_weight *weight = &model->weights[i];
        struct initializer initializer;

        if (weight->offset < end || weight->offset + weight->count > model->block_floats ||
            weight->count != shape_elements(&weight->shape))
            abort();
        if (model_find_weight(model, weight->path) != i)
            abort();
        status_ignore(model_weight_initializer(model, i, 1, &initializer, NULL),
                      "only that it ends matters");
        end = weight->offset + weight->count;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct shape shape = {.rank = 2, .size = {3, 4}};
    struct model model = {.layer_count = 0};
    struct error err = {.status = STATUS_OK};
    enum status status = model_from_json(&model, (const char *)data, size, &err);

    if (status != STATUS_OK) {
        if (err.status != status || err.message[0] == '\0' || model.layers)
            abort();
        return 0;
    }
    status = model_build(&model, model.has_input_shape ? NULL : &shape, &err);
    if (status == STATUS_OK)
        check_layout(&model);
    else if (err.message[0] == '\0')
        abort();
    model_release(&model);
    return 0;
}

/* The end of the value or member that starts at `from`: brackets and quotes are kept together. */
static size_t token_end(const uint8_t *data, size_t size, size_t from)
{
    size_t depth = 0, at = from;
    bool in_string = false;

    for (; at < size; at++) {
        uint8_t c = data[at];

        if (in_string || c == '"') {
            in_string = in_string ? c != '"' : true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            if (depth == 0)
                break;
            depth--;
        } else if (c == ',' && depth == 0) {
            break;
        }
    }
    return at;
}

/* Replaces what stands behind a ':', ',' or '[' by a word, or puts the word in front of it. */
static size_t replace_token(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    const char *word = words[seed % (sizeof words / sizeof words[0])];
    size_t length = strlen(word), start = size > 0 ? (seed >> 8) % size : 0, end;
    uint8_t rest[WORD_BYTES_MAX * 8];

    while (start < size && !strchr(":,[{", data[start]))
        start++;
    start += start < size;
    end = token_end(data, size, start);
    if (seed & 64) {
        end = start; /* one more element or member */
        if (length + 1 < WORD_BYTES_MAX && size + length + 1 <= size_max &&
            size - start <= sizeof rest) {
            memcpy(rest, data + start, size - start);
            memcpy(data + start, word, length);
            data[start + length] = ',';
            memcpy(data + start + length + 1, rest, size - start);
            return size + length + 1;
        }
    }
    if (size - (end - start) + length > size_max || size - end > sizeof rest)
        return size;
    memcpy(rest, data + end, size - end);
    memcpy(data + start, word, length);
    memcpy(data + start + length, rest, size - end);
    return start + length + size - end;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    const char *whole = words[sizeof words / sizeof words[0] - 1];

    if (seed % 64 == 0 && strlen(whole) <= size_max) {
        memcpy(data, whole, strlen(whole));
        return strlen(whole);
    }
    if (seed % 4 == 0)
        return LLVMFuzzerMutate(data, size, size_max);
    return replace_token(data, size, size_max, seed / 4);
}
