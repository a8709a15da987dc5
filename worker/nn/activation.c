#include "worker/nn/activation.h"

#include <stdio.h>
#include <string.h>

static const struct activation_kind *const kinds[] = {
    &activation_celu,           &activation_elu,         &activation_exponential,
    &activation_gelu,           &activation_glu,         &activation_hard_shrink,
    &activation_hard_sigmoid,   &activation_hard_silu,   &activation_hard_tanh,
    &activation_leaky_relu,     &activation_linear,      &activation_log_sigmoid,
    &activation_log_softmax,    &activation_mish,        &activation_relu,
    &activation_relu6,          &activation_selu,        &activation_sigmoid,
    &activation_silu,           &activation_soft_shrink, &activation_softmax,
    &activation_softplus,       &activation_softsign,    &activation_sparse_plus,
    &activation_sparse_sigmoid, &activation_sparsemax,   &activation_squareplus,
    &activation_tanh,           &activation_tanh_shrink,
};
enum { KIND_COUNT = sizeof kinds / sizeof kinds[0] };

static const struct {
    const char *alias, *name;
} aliases[] = {{"swish", "silu"}, {"hard_swish", "hard_silu"}};

const struct activation_kind *const *activation_kinds(size_t *ret_count)
{
    *ret_count = KIND_COUNT;
    return kinds;
}

static enum status unknown_activation(const char *name, struct error *err)
{
    char known[400];
    size_t used = 0;
    for (size_t i = 0; i < KIND_COUNT; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i > 0 ? ", " : "",
                                 kinds[i]->name);
    return error_set(err, STATUS_NOT_FOUND, "unknown activation '%.40s'; there are: %s", name,
                     known);
}

enum status activation_init(struct activation *ret_activation, const char *name, struct error *err)
{
    const char *wanted = name != NULL ? name : "linear";
    for (size_t i = 0; i < sizeof aliases / sizeof aliases[0]; i++) {
        if (strcmp(wanted, aliases[i].alias) == 0)
            wanted = aliases[i].name;
    }
    for (size_t i = 0; i < KIND_COUNT; i++) {
        if (strcmp(wanted, kinds[i]->name) != 0)
            continue;
        *ret_activation = (struct activation){.kind = kinds[i]};
        if (kinds[i] == &activation_leaky_relu)
            ret_activation->parameter[0] = 0.2f;
        else if (kinds[i] == &activation_elu)
            ret_activation->parameter[0] = 1.0f;
        return STATUS_OK;
    }
    return unknown_activation(wanted, err);
}
