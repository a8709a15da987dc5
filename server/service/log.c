/*
 * What the coordinator tells a server: the closed registry, once; then one numbered log of commits,
 * holds, settings and the end, applied in order. An entry that was seen is ignored, so sending
 * again is always safe.
 */
#include "common/base/alloc.h"
#include "common/base/mutant.h"
#include "server/service/service.h"

#include <stdio.h>
#include <string.h>

/* A snapshot that nobody has read for so long is let go; readers may then have to ask again. */
#define HOLD_LEASE_NS ((uint64_t)5000 * 1000000)

static struct store_variable to_store(const struct registry *registry,
                                      const struct variable_spec *spec)
{
    struct store_variable variable = {
        .dtype = spec->dtype,
        .elements = spec->elements,
        .row_elements = spec->rank > 0 ? spec->elements / spec->shape[0] : 1,
        .initializer = {.kind = (enum initializer_kind)spec->initializer,
                        .a = spec->initializer_a,
                        .b = spec->initializer_b,
                        .seed = spec->initializer_seed},
        .optimizer = -1,
    };

    for (size_t i = 0; spec->trainable && i < registry->optimizer_count; i++) {
        if (registry->optimizers[i].id == spec->optimizer)
            variable.optimizer = (int)i;
    }
    return variable;
}

static enum status make_optimizers(const struct registry *registry, struct optimizer *optimizers,
                                   double *learning_rates, struct error *err)
{
    for (size_t i = 0; i < registry->optimizer_count; i++) {
        const struct optimizer_spec *spec = &registry->optimizers[i];
        struct optimizer_option options[OPTIMIZER_SETTINGS_MAX];
        for (size_t k = 0; k < spec->setting_count; k++) {
            snprintf(options[k].key, sizeof options[k].key, "%.31s", spec->settings[k].key);
            options[k].value = spec->settings[k].value;
        }
        enum status status = optimizer_init(&optimizers[i], spec->name, options,
                                            spec->setting_count, err);
        if (status)
            return status;
        learning_rates[i] = (double)(float)optimizer_option_value(&optimizers[i], "learning_rate");
    }
    return STATUS_OK;
}

static enum status make_store(struct service *service, struct error *err)
{
    const struct registry *registry = &service->registry;
    struct optimizer optimizers[LIMIT_OPTIMIZERS];
    double learning_rates[LIMIT_OPTIMIZERS];
    struct store_variable *variables = alloc_array(registry->variable_count, sizeof *variables);

    if (!variables)
        return error_no_memory(err, "the list of variables");
    for (size_t i = 0; i < registry->variable_count; i++)
        variables[i] = to_store(registry, &registry->variables[i]);
    enum status status = make_optimizers(registry, optimizers, learning_rates, err);
    if (!status)
        status = store_init(&service->store, variables, registry->variable_count, optimizers,
                            learning_rates, registry->optimizer_count, service->server,
                            service->settings.servers, service->settings.workers,
                            service->settings.staging_bytes, err);
    alloc_free(variables);
    if (status)
        return status;
    service->starved = alloc_array(service->store.block_count, sizeof service->starved[0]);
    service->is_starved = alloc_array(service->store.block_count, sizeof service->is_starved[0]);
    if (!service->starved || !service->is_starved)
        return error_no_memory(err, "the list of blocks");
    return store_fill_initial(&service->store, err);
}

static enum status copy_registry(struct service *service, const struct registry *registry,
                                 struct error *err)
{
    enum status status = STATUS_OK;
    uint32_t id;

    for (size_t i = 0; !status && i < registry->optimizer_count; i++)
        status = registry_add_optimizer(&service->registry, &registry->optimizers[i], err);
    for (size_t i = 0; !status && i < registry->variable_count; i++)
        status = registry_add(&service->registry, &registry->variables[i], &id, err);
    return status;
}

void service_registry(struct service *service, const struct registry *registry, uint32_t server)
{
    struct error err;

    if (service->store_ready || service->complaint.status)
        return;
    service->server = server;
    if (copy_registry(service, registry, &err) || make_store(service, &err)) {
        service_complain(service, err.status, "server %u cannot hold its share of the model: %s",
                         server, err.message);
        return;
    }
    service->store_ready = true;
    service->progress = true;
    for (uint32_t i = 0; i < service->store.block_count; i++)
        service->prepared_blocks += service->store.blocks[i].has_version;
    if (service->prepared_blocks == service->store.block_count) {
        service->prepared_plus_1 = 1;
        service->report_wanted = true;
    }
}

static enum status hold(struct service *service, uint64_t number, uint64_t step, bool slots,
                        struct error *err)
{
    uint64_t committed_plus_1 = service->consistency.committed_plus_1;

    if (!service->store_ready || number == 0 || committed_plus_1 == 0 ||
        step != committed_plus_1 - 1)
        return error_set(err, STATUS_INTERNAL,
                         "snapshot %llu of step %llu: the last committed step is %lld",
                         (unsigned long long)number, (unsigned long long)step,
                         (long long)service->consistency.committed_plus_1 - 1);
    store_hold(&service->store, number, step, slots);
    if (number > service->hold_seen)
        service->hold_seen = number;
    service->hold_read_ns = service->io->now_ns(service->io->context);
    service->progress = true;
    return STATUS_OK;
}

void service_expire_hold(struct service *service)
{
    uint64_t now = service->io->now_ns(service->io->context);

    if (service->store.hold.number != 0 && now - service->hold_read_ns > HOLD_LEASE_NS)
        store_hold_release(&service->store);
}

static enum status apply_commit(struct service *service, const Pmd__LogEntry *entry,
                                struct error *err)
{
    if (!service->store_ready || entry->step != service->consistency.committed_plus_1 ||
        service->prepared_blocks != service->store.block_count)
        return error_set(
            err, STATUS_INTERNAL,
            "commit of step %llu: this server has committed %lld and prepared %u of %u blocks",
            (unsigned long long)entry->step, (long long)service->consistency.committed_plus_1 - 1,
            service->prepared_blocks, service->store.block_count);
    store_commit(&service->store, entry->step);
    consistency_commit(&service->consistency, entry->step);
    service->grant = entry->grant;
    service->prepared_blocks = 0;
    service->progress = true;
    if (entry->hold && hold(service, entry->hold, entry->step, entry->hold_slots, err))
        return err->status;
    if (service->on_commit)
        service->on_commit(service->on_commit_context, entry->step);
    if (service->store.block_count == 0) {
        service->prepared_plus_1 = entry->step + 2; /* nothing to prepare: never in the way */
        service->report_wanted = true;
    }
    push_advance_all(service);
    return STATUS_OK;
}

static enum status apply_set(struct service *service, const Pmd__LogEntry *entry)
{
    for (size_t i = 0; i < service->registry.optimizer_count; i++) {
        if (service->registry.optimizers[i].id == entry->optimizer)
            store_set_learning_rate(&service->store, i, entry->learning_rate, entry->step);
    }
    return STATUS_OK;
}

static enum status apply_finish(struct service *service, const Pmd__LogEntry *entry,
                                struct error *err)
{
    if (entry->rank >= service->settings.workers)
        return error_set(err, STATUS_INTERNAL, "finish of rank %u: there are %u workers",
                         entry->rank, service->settings.workers);
    consistency_finish(&service->consistency, entry->rank, entry->step);
    service->progress = true;
    push_advance_all(service);
    return STATUS_OK;
}

enum status service_log(struct service *service, const Pmd__LogEntry *entry, struct error *err)
{
    enum status status = STATUS_OK;

    if (MUTANT(HOLD_OUT_OF_ORDER) && entry->index == 0) {
        return hold(service, entry->hold, entry->step, entry->hold_slots, err);
    }
    if (entry->index <= service->log_index)
        return STATUS_OK;
    if (entry->index != service->log_index + 1)
        return error_set(err, STATUS_INTERNAL, "log entry %llu follows %llu",
                         (unsigned long long)entry->index, (unsigned long long)service->log_index);
    switch (entry->kind) {
    case PMD__LOG_KIND__LOG_KIND_COMMIT:
        status = apply_commit(service, entry, err);
        break;
    case PMD__LOG_KIND__LOG_KIND_HOLD:
        status = hold(service, entry->hold, entry->step, entry->hold_slots, err);
        break;
    case PMD__LOG_KIND__LOG_KIND_SET:
        status = apply_set(service, entry);
        break;
    case PMD__LOG_KIND__LOG_KIND_FINISH:
        status = apply_finish(service, entry, err);
        break;
    case PMD__LOG_KIND__LOG_KIND_END:
        service->ended = true;
        break;
    default:
        status = error_set(err, STATUS_UNIMPLEMENTED, "log entry of kind %d", (int)entry->kind);
    }
    if (!status)
        service->log_index = entry->index;
    return status;
}
