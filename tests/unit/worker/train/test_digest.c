#include "worker/train/digest.h"

#include "common/base/alloc.h"
#include "tests/unit/worker/train/train_test.h"

enum { SLOTS = 2 };

struct state {
    struct model model;
    struct optimizer adam;
    float *slots[OPTIMIZER_SLOTS_MAX];
};

static void state_init(struct state *state)
{
    struct error err;

    *state = (struct state){.adam = train_optimizer("adam", 0.1)};
    assert_ok(train_model_make(&state->model, 3, &err), &err);
    assert_int_equal(optimizer_slot_count(&state->adam), SLOTS);
    for (size_t i = 0; i < SLOTS; i++) {
        state->slots[i] = alloc_array(state->model.block_floats, sizeof(float));
        assert_non_null(state->slots[i]);
    }
}

static void state_release(struct state *state)
{
    for (size_t i = 0; i < SLOTS; i++)
        alloc_free(state->slots[i]);
    model_release(&state->model);
}

static void digest(struct state *state, char ret_text[HASH_SHA256_TEXT_BYTES])
{
    struct error err;

    assert_ok(digest_model(&state->model, &state->adam, state->slots, ret_text, &err), &err);
}

/* Every element of every array counts, and nothing between them does. */
static void test_depends_on_every_byte(void **unused)
{
    char before[HASH_SHA256_TEXT_BYTES], after[HASH_SHA256_TEXT_BYTES];
    struct state state;

    (void)unused;
    state_init(&state);
    digest(&state, before);
    for (size_t i = 0; i < state.model.weight_count; i++) {
        const struct model_weight *weight = &state.model.weights[i];
        for (size_t s = 0; s <= SLOTS; s++) {
            float *values = s == 0 ? state.model.params : state.slots[s - 1];
            float *last = &values[weight->offset + weight->count - 1];
            *last += 1;
            digest(&state, after);
            assert_string_not_equal(before, after);
            *last -= 1;
        }
    }
    state.slots[0][0] = -0.0f; /* a zero of another sign is another value */
    digest(&state, after);
    assert_string_not_equal(before, after);
    state_release(&state);
}

/* The text that is hashed, put together here from the definition that readers have. */
static void test_is_the_digest_that_readers_make(void **unused)
{
    static const char *const shapes[] = {"6x5", "5", "5x3", "3"};
    static const size_t by_name[] = {1, 0, 3, 2}; /* a/bias, a/kernel, b/bias, b/kernel */
    static const char *const names[] = {"value", "momentum", "velocity"};
    char expected[HASH_SHA256_TEXT_BYTES], actual[HASH_SHA256_TEXT_BYTES], text[8192];
    uint8_t bytes[HASH_SHA256_BYTES];
    struct state state;
    size_t used = 0;

    (void)unused;
    state_init(&state);
    for (size_t i = 0; i < state.model.weight_count; i++) {
        const struct model_weight *weight = &state.model.weights[by_name[i]];
        for (size_t s = 0; s <= SLOTS; s++) {
            const float *values = s == 0 ? state.model.params : state.slots[s - 1];
            hash_sha256(values + weight->offset, weight->count * sizeof(float), bytes);
            hash_sha256_text(bytes, expected);
            used += (size_t)snprintf(text + used, sizeof text - used, "%s float32 %s %s 0 %s\n",
                                     weight->path, shapes[by_name[i]], names[s], expected);
        }
    }
    hash_sha256(text, used, bytes);
    hash_sha256_text(bytes, expected);
    digest(&state, actual);
    assert_string_equal(actual, expected);
    state_release(&state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_depends_on_every_byte),
        cmocka_unit_test(test_is_the_digest_that_readers_make),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
