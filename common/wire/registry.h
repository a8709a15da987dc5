/* The job's list of variables and optimizers: checked when it comes from outside, the same on every
 * process. */
#ifndef PARAMD_COMMON_WIRE_REGISTRY_H
#define PARAMD_COMMON_WIRE_REGISTRY_H

#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/tensor/dtype.h"
#include "proto/cluster.pb-c.h"
#include "proto/tensor.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct variable_spec {
    char name[LIMIT_NAME_BYTES + 1];
    enum dtype dtype;
    uint64_t shape[LIMIT_RANK];
    size_t rank;
    uint64_t elements; /* product of the shape, 1 for a scalar; never 0 */
    Pmd__InitializerKind initializer;
    double initializer_a, initializer_b;
    int64_t initializer_seed;
    bool trainable;
    uint32_t optimizer;
};

struct optimizer_setting {
    char key[32];
    double value;
};

enum { OPTIMIZER_SETTINGS_MAX = 16 };

struct optimizer_spec {
    uint32_t id;
    char name[32];
    struct optimizer_setting settings[OPTIMIZER_SETTINGS_MAX];
    size_t setting_count;
};

struct registry {
    struct variable_spec *variables; /* owned; the id is the index */
    size_t variable_count;
    size_t variable_capacity;
    uint32_t *index; /* owned; open addressing by name: id + 1, 0 is empty */
    size_t index_capacity;
    struct optimizer_spec optimizers[LIMIT_OPTIMIZERS];
    size_t optimizer_count;
    uint64_t block_count; /* of all variables */
};

/* A zeroed registry is an empty one. */
void registry_release(struct registry *registry);

/* INVALID_ARGUMENT with the name and what would be right; ret_spec is written on success only. */
NODISCARD enum status variable_spec_from_message(const Pmd__VariableSpec *message,
                                                 struct variable_spec *ret_spec, struct error *err);

/* The message borrows the spec's memory. */
void variable_spec_to_message(const struct variable_spec *spec, Pmd__VariableSpec *ret_message);

bool variable_spec_equal(const struct variable_spec *a, const struct variable_spec *b);

/* "float32 (64, 10), uniform(-0.28, 0.28) seed 7, trainable, optimizer 0" */
void variable_spec_text(const struct variable_spec *spec, char *ret_text, size_t capacity);

/* "(64, 10)", "()" for a scalar. */
void variable_shape_text(const struct variable_spec *spec, char *ret_text, size_t capacity);

/* NULL if there is none of this name. The pointer is valid until the next registry_add. */
const struct variable_spec *registry_find(const struct registry *registry, const char *name,
                                          uint32_t *ret_id);

/*
 * Adds a variable, or finds an equal one. ALREADY_EXISTS names both specs; RESOURCE_EXHAUSTED: too
 * many variables, too many blocks, or no memory.
 */
NODISCARD enum status registry_add(struct registry *registry, const struct variable_spec *spec,
                                   uint32_t *ret_id, struct error *err);

NODISCARD enum status optimizer_spec_from_message(const Pmd__OptimizerSpec *message,
                                                  struct optimizer_spec *ret_spec,
                                                  struct error *err);

const struct optimizer_spec *registry_optimizer(const struct registry *registry, uint32_t id);

/* Adds an optimizer, or finds an equal one; FAILED_PRECONDITION names the setting that differs. */
NODISCARD enum status registry_add_optimizer(struct registry *registry,
                                             const struct optimizer_spec *spec, struct error *err);

/* A page of the registry as a message, with memory for its pointers. */
struct registry_page {
    Pmd__Registry message;
    Pmd__VariableSpec variables[128];
    Pmd__VariableSpec *variable_pointers[128];
    Pmd__OptimizerSpec optimizers[LIMIT_OPTIMIZERS];
    Pmd__OptimizerSpec *optimizer_pointers[LIMIT_OPTIMIZERS];
    char *keys[LIMIT_OPTIMIZERS][OPTIMIZER_SETTINGS_MAX];
    double values[LIMIT_OPTIMIZERS][OPTIMIZER_SETTINGS_MAX];
};

/*
 * Fills a page from variable `first` on; returns how many variables it holds (0 only if the
 * registry is empty or first is past its end). The page borrows the registry's memory.
 */
size_t registry_page_fill(const struct registry *registry, uint32_t first, uint32_t servers,
                          struct registry_page *ret_page);

/*
 * Adds a page that came. Pages come in order; one that was seen already changes nothing.
 * ret_complete: all are there. INVALID_ARGUMENT: a gap, or a spec that is wrong.
 */
NODISCARD enum status registry_page_add(struct registry *registry, const Pmd__Registry *message,
                                        bool *ret_complete, struct error *err);

#endif
