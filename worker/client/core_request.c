/*
 * Requests to the coordinator: kept packed until they are answered, and sent again on a new control
 * link (all of them may be asked twice). An answer to a request that nobody knows any more is
 * ignored.
 */
#include "worker/client/core_state.h"

#include "common/base/alloc.h"
#include "common/base/rng.h"
#include "common/wire/message.h"

#include <stdio.h>
#include <string.h>

static struct core_request *request_at(const struct core *core, uint32_t index)
{
    struct core_request *request = (struct core_request *)core->requests.records + index;

    return request->slot.used ? request : NULL;
}

struct core_request *core_request_find(struct core *core, enum frame_type type, uint64_t number)
{
    for (uint32_t i = 0; core->requests.used && i < core->requests.capacity; i++) {
        struct core_request *request = request_at(core, i);
        if (request && !request->done && request->number == number &&
            (request->type == type || type == FRAME_INVALID))
            return request;
    }
    return NULL;
}

void core_request_answer(struct core *core, struct core_request *request)
{
    request->done = true;
    core->progress++;
}

void core_request_forget(struct core *core, uint32_t index)
{
    struct core_request *request = core_pool_at(&core->requests, index);

    alloc_free(request->packed);
    alloc_free(request->metrics);
    core_pool_give(&core->requests, index);
}

void core_requests_release(struct core *core)
{
    for (uint32_t i = 0; i < core->requests.capacity; i++) {
        if (request_at(core, i))
            core_request_forget(core, i);
    }
    alloc_free(core->requests.records);
}

/* ---- sending ---- */

static bool request_send(struct core *core, struct core_request *request)
{
    const void *message;
    struct error err;

    arena_clear(&core->arena);
    if (message_unpack(request->type, request->packed, request->packed_bytes, &core->arena,
                       &message, &err)) {
        request->error = err;
        error_wrap(&request->error, "%s", request->what);
        core_request_answer(core, request);
        return true;
    }
    request->sent = core_send(&core->control, request->type, message, request->number);
    return request->sent;
}

void core_requests_unsent(struct core *core)
{
    for (uint32_t i = 0; i < core->requests.capacity; i++) {
        struct core_request *request = request_at(core, i);
        if (request)
            request->sent = false;
    }
}

/* In the order in which they were asked: a START must not overtake a CREATE. */
void core_request_send_all(struct core *core)
{
    struct core_request *next;

    if (core->control.state != CORE_LINK_UP)
        return;
    do {
        next = NULL;
        for (uint32_t i = 0; core->requests.used && i < core->requests.capacity; i++) {
            struct core_request *request = request_at(core, i);
            if (request && !request->done && !request->sent &&
                (!next || request->number < next->number))
                next = request;
        }
    } while (next && request_send(core, next));
}

/* what: as in "create 'dense/kernel'", for messages. */
static enum status request_add(struct core *core, enum frame_type type,
                               const ProtobufCMessage *message, const char *what,
                               ps_handle *ret_handle, struct error *err)
{
    size_t bytes = message_packed_bytes(message);
    uint32_t index;

    if (core->ended)
        return core_ended_error(core, err);
    if (bytes > LIMIT_HEADER_BYTES)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "%s: %zu bytes, at most %d are possible",
                         what, bytes, LIMIT_HEADER_BYTES);
    if (!core_pool_take(&core->requests, &index))
        return error_no_memory(err, what);
    struct core_request *request = core_pool_at(&core->requests, index);
    request->packed = alloc_zero(bytes);
    if (!request->packed) {
        core_request_forget(core, index);
        return error_no_memory(err, what);
    }
    message_pack(message, request->packed);
    request->packed_bytes = bytes;
    request->type = type;
    request->number = core->next_request++;
    snprintf(request->what, sizeof request->what, "%s", what);
    *ret_handle = core_handle_make(CORE_KIND_REQUEST, request->slot.generation, index);
    core_request_send_all(core);
    return STATUS_OK;
}

/* ---- the requests ---- */

enum status core_create(struct core *core, const struct ps_variable *variable,
                        ps_handle *ret_handle, struct error *err)
{
    Pmd__VariableSpec message = PMD__VARIABLE_SPEC__INIT;
    Pmd__Create create = PMD__CREATE__INIT;
    struct variable_spec spec;
    char what[LIMIT_NAME_BYTES + 64];

    if (!variable->name || (variable->rank && !variable->shape))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "create: a variable needs a name and a shape");
    snprintf(what, sizeof what, "create '%.256s'", variable->name);
    message.name = (char *)variable->name;
    message.dtype = variable->dtype ? (Pmd__DataType)variable->dtype
                                    : PMD__DATA_TYPE__DATA_TYPE_FLOAT32;
    message.n_shape = variable->rank;
    message.shape = (uint64_t *)variable->shape;
    message.initializer = (Pmd__InitializerKind)variable->initializer;
    message.initializer_a = variable->a;
    message.initializer_b = variable->b;
    message.initializer_seed = variable->has_seed ? variable->seed
                                                  : rng_variable_seed(core->seed, variable->name);
    message.trainable = !variable->not_trainable;
    message.optimizer = variable->not_trainable ? 0 : variable->optimizer;
    /* the coordinator's own check, without the way there */
    if (variable_spec_from_message(&message, &spec, err))
        return error_wrap(err, "create");
    create.spec = &message;
    return request_add(core, FRAME_CREATE, &create.base, what, ret_handle, err);
}

enum status core_configure(struct core *core, uint32_t optimizer, const char *name,
                           const struct ps_setting *settings, size_t count, ps_handle *ret_handle,
                           struct error *err)
{
    Pmd__OptimizerSpec spec = PMD__OPTIMIZER_SPEC__INIT;
    Pmd__Configure configure = PMD__CONFIGURE__INIT;
    char *keys[OPTIMIZER_SETTINGS_MAX];
    double values[OPTIMIZER_SETTINGS_MAX];
    struct optimizer_spec checked;
    char what[96];

    if (!name || count > OPTIMIZER_SETTINGS_MAX)
        return error_set(
            err, STATUS_INVALID_ARGUMENT,
            "configure optimizer %u: a name and at most %d settings are needed, not %zu", optimizer,
            OPTIMIZER_SETTINGS_MAX, count);
    for (size_t i = 0; i < count; i++) {
        keys[i] = (char *)settings[i].key;
        values[i] = settings[i].value;
    }
    spec.optimizer = optimizer;
    spec.name = (char *)name;
    spec.n_key = spec.n_value = count;
    spec.key = keys;
    spec.value = values;
    if (optimizer_spec_from_message(&spec, &checked, err))
        return error_wrap(err, "configure");
    configure.spec = &spec;
    snprintf(what, sizeof what, "configure optimizer %u as '%.40s'", optimizer, name);
    return request_add(core, FRAME_CONFIGURE, &configure.base, what, ret_handle, err);
}

enum status core_start(struct core *core, ps_handle *ret_handle, struct error *err)
{
    Pmd__Start start = PMD__START__INIT;

    return request_add(core, FRAME_START, &start.base, "start", ret_handle, err);
}

enum status core_barrier(struct core *core, const char *name, const struct ps_metric *metrics,
                         size_t count, ps_handle *ret_handle, struct error *err)
{
    Pmd__Barrier barrier = PMD__BARRIER__INIT;
    Pmd__Metric messages[LIMIT_METRICS];
    Pmd__Metric *pointers[LIMIT_METRICS];
    char what[LIMIT_BARRIER_NAME_BYTES + 16];

    if (!name || !name[0] || strlen(name) > LIMIT_BARRIER_NAME_BYTES)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "barrier '%.140s': a name of 1 to %d bytes is needed", name ? name : "",
                         LIMIT_BARRIER_NAME_BYTES);
    snprintf(what, sizeof what, "barrier '%s'", name);
    if (core_metrics_check(metrics, count, err))
        return error_wrap(err, "%s", what);
    for (size_t i = 0; i < count; i++) {
        pmd__metric__init(&messages[i]);
        messages[i].name = (char *)metrics[i].name;
        messages[i].sum = metrics[i].sum;
        messages[i].count = metrics[i].count;
        pointers[i] = &messages[i];
    }
    barrier.name = (char *)name;
    barrier.n_metrics = count;
    barrier.metrics = pointers;
    return request_add(core, FRAME_BARRIER, &barrier.base, what, ret_handle, err);
}

enum status core_finish(struct core *core, ps_handle *ret_handle, struct error *err)
{
    Pmd__Finish finish = PMD__FINISH__INIT;
    uint64_t committed = core->commit_plus_1 ? core->commit_plus_1 - 1 : 0;

    if (core->ended)
        return core_ended_error(core, err);
    if (core_step_open(core))
        return error_set(err, STATUS_FAILED_PRECONDITION, "finish: step %llu has not been ended",
                         (unsigned long long)core->last_begun);
    finish.step = core->last_begun > committed ? core->last_begun : committed;
    enum status status = request_add(core, FRAME_FINISH, &finish.base, "finish", ret_handle, err);
    if (!status)
        core->finish_sent = true;
    return status;
}

/* ---- the closed registry ---- */

static enum status place_variables(struct core *core, struct error *err)
{
    size_t count = core->registry.variable_count;
    struct placement_variable *variables = alloc_array(count, sizeof *variables);
    uint64_t *pushed = alloc_array(count, sizeof *pushed);
    enum status status = STATUS_OK;

    if (!variables || !pushed)
        status = error_no_memory(err, "the list of variables");
    for (size_t i = 0; !status && i < count; i++) {
        variables[i].id = (uint32_t)i;
        variables[i].dtype = core->registry.variables[i].dtype;
        variables[i].element_count = core->registry.variables[i].elements;
    }
    if (!status)
        status = placement_init(&core->placement, variables, count, core->servers, err);
    alloc_free(variables);
    if (status) {
        alloc_free(pushed);
        return status;
    }
    core->pushed_step_plus_1 = pushed;
    core->registry_known = true;
    return STATUS_OK;
}

enum status core_registry_add(struct core *core, const Pmd__Registry *page, bool *ret_complete,
                              struct error *err)
{
    if (page->servers != core->servers)
        return error_set(err, STATUS_INVALID_ARGUMENT, "registry for %u servers, there are %u",
                         page->servers, core->servers);
    *ret_complete = core->registry_known;
    if (core->registry_known) /* closed: what comes again changes nothing */
        return STATUS_OK;
    enum status status = registry_page_add(&core->registry, page, ret_complete, err);
    if (!status && *ret_complete)
        status = place_variables(core, err);
    return status;
}
