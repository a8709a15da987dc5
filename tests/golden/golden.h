/* A golden case, what another implementation computed; kinds of cases are rows of a table. */
#ifndef PARAMD_TESTS_GOLDEN_GOLDEN_H
#define PARAMD_TESTS_GOLDEN_GOLDEN_H

#include "common/base/status.h"
#include "common/tensor/safetensors.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GOLDEN_MESSAGE_BYTES = 400 };

enum golden_outcome { GOLDEN_PASSED, GOLDEN_FAILED, GOLDEN_SKIPPED };

struct golden_case {
    const char *path; /* without suffix */
    json_t *json;     /* X.json: what was done */
    /* X.safetensors: every array, inputs and expected outputs; may be empty */
    struct safetensors arrays;
    /* why it failed or was skipped; or what of it was not run */
    char message[GOLDEN_MESSAGE_BYTES];
};

/* A kind: its file is kind_NAME.c, its row stands in kinds.c. */
struct golden_kind {
    const char *name; /* the case's "kind" */
    enum golden_outcome (*run)(struct golden_case *golden);
};
const struct golden_kind *golden_find_kind(const char *name);

enum golden_outcome golden_optimizer(struct golden_case *golden);
enum golden_outcome golden_fit(struct golden_case *golden);
enum golden_outcome golden_initializer(struct golden_case *golden);
enum golden_outcome golden_layer(struct golden_case *golden);
enum golden_outcome golden_loss(struct golden_case *golden);
enum golden_outcome golden_metric(struct golden_case *golden);
enum golden_outcome golden_model(struct golden_case *golden);
enum golden_outcome golden_random(struct golden_case *golden);

/* Reads a case, runs it, releases it. The message is left in ret_message. */
enum golden_outcome golden_run_path(const char *path, char ret_message[GOLDEN_MESSAGE_BYTES]);

/* Set the message; the first one stays. A case is skipped only for what is not built, and the
 * message says what. */
enum golden_outcome golden_fail(struct golden_case *golden, const char *format, ...)
    PRINTF_LIKE(2, 3);
enum golden_outcome golden_skip(struct golden_case *golden, const char *format, ...)
    PRINTF_LIKE(2, 3);

/*
 * Runs every element of "variants". One that fails fails the case. If all others are skipped it is
 * skipped; if some are, it passes, and the message says how many were not run and why.
 */
enum golden_outcome golden_each_variant(struct golden_case *golden,
                                        enum golden_outcome (*run)(struct golden_case *golden,
                                                                   json_t *variant, size_t index));

/* The array of that name, or NULL (then the case has failed). The name is a pattern of printf. */
const struct safetensors_tensor *golden_array(struct golden_case *golden, const char *format, ...)
    PRINTF_LIKE(2, 3);

/* A copy of a float32 array, aligned as ours are; freed with alloc_free. NULL: the case has failed.
 */
float *golden_floats(struct golden_case *golden, const char *name, size_t *ret_count);

/*
 * Compares a result with the array of that name under a "compare" object: {"bits": true}, or
 * {"relative": r, "absolute": a}; integers always exactly. An expected NaN is met by any NaN.
 * false: the case has failed, and the message shows the first element that differs.
 */
bool golden_compare(struct golden_case *golden, const json_t *compare, const char *name,
                    enum element_type type, const void *actual, size_t count);

#endif
