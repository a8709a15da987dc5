/* paramctl status */
#include "worker/ctl/ctl.h"
#include "worker/ctl/print.h"

#include <stdio.h>

static json_t *json_of_worker(const Pmd__WorkerStatus *worker)
{
    return json_pack("{s:i, s:s, s:I, s:I, s:s, s:o}", "rank", (int)worker->rank, "state",
                     worker->state, "clock", (json_int_t)worker->clock, "incarnation",
                     (json_int_t)worker->incarnation, "program", worker->peer, "silent_s",
                     json_of_double(worker->silent_s));
}

static json_t *json_of_server(const Pmd__ServerStatus *server)
{
    return json_pack("{s:i, s:b, s:s, s:i, s:I, s:I, s:I, s:o}", "server", (int)server->server,
                     "present", server->present, "address", server->address, "blocks",
                     (int)server->blocks, "value_bytes", (json_int_t)server->value_bytes,
                     "resident_bytes", (json_int_t)server->resident_bytes, "duplicates",
                     (json_int_t)server->duplicates, "silent_s", json_of_double(server->silent_s));
}

static json_t *json_of_optimizer(const Pmd__OptimizerSpec *optimizer)
{
    json_t *object = json_pack("{s:i, s:s}", "optimizer", (int)optimizer->optimizer, "name",
                               optimizer->name);

    for (size_t i = 0; object && i < optimizer->n_key && i < optimizer->n_value; i++)
        json_object_set_new(object, optimizer->key[i], json_of_double(optimizer->value[i]));
    return object;
}

static json_t *json_of_status(const Pmd__StatusReply *reply)
{
    json_t *workers = json_array(), *servers = json_array(), *optimizers = json_array();
    json_t *step = reply->committed_plus_1 ? json_integer((json_int_t)reply->committed_plus_1 - 1)
                                           : json_null();

    for (size_t i = 0; i < reply->n_servers; i++)
        json_array_append_new(servers, json_of_server(reply->servers[i]));
    for (size_t i = 0; i < reply->n_workers; i++)
        json_array_append_new(workers, json_of_worker(reply->workers[i]));
    for (size_t i = 0; i < reply->n_optimizers; i++)
        json_array_append_new(optimizers, json_of_optimizer(reply->optimizers[i]));
    return json_pack(
        "{s:s, s:s, s:o, s:o, s:o, s:i, s:I, s:s, s:s, s:o, s:o, s:o}", "job", reply->job, "state",
        reply->state, "step", step, "steps_per_s", json_of_double(reply->steps_per_s), "uptime_s",
        json_of_double(reply->uptime_s), "variables", (int)reply->variables, "parameters",
        (json_int_t)reply->parameters, "waiting_for", reply->waiting_for, "version", reply->version,
        "optimizers", optimizers, "servers", servers, "workers", workers);
}

static void print_summary(const Pmd__StatusReply *reply)
{
    char parameters[32];

    print_count(reply->parameters, parameters, sizeof parameters);
    printf("job %s: %s", reply->job, reply->state);
    if (reply->committed_plus_1)
        printf(", step %llu", (unsigned long long)reply->committed_plus_1 - 1);
    if (reply->steps_per_s > 0)
        printf(", %.1f steps/s", reply->steps_per_s);
    printf(", up %.1f s (paramd %s)\n", reply->uptime_s, reply->version);
    printf("%u variable%s, %s parameters\n", reply->variables, reply->variables == 1 ? "" : "s",
           parameters);
    for (size_t i = 0; i < reply->n_optimizers; i++) {
        const Pmd__OptimizerSpec *optimizer = reply->optimizers[i];
        printf("optimizer %u: %s", optimizer->optimizer, optimizer->name);
        for (size_t k = 0; k < optimizer->n_key && k < optimizer->n_value; k++)
            printf(" %s=%g", optimizer->key[k], optimizer->value[k]);
        printf("\n");
    }
    if (reply->waiting_for[0])
        printf("now: %s\n", reply->waiting_for);
}

static enum status print_servers(const Pmd__StatusReply *reply, struct error *err)
{
    struct table table = {.column_count = 6};
    char server[16], blocks[32], values[32], memory[32];

    table_add(&table,
              (const char *const[]){"server", "state", "blocks", "values", "memory", "address"});
    for (size_t i = 0; i < reply->n_servers; i++) {
        const Pmd__ServerStatus *status = reply->servers[i];
        snprintf(server, sizeof server, "%u", status->server);
        print_count(status->blocks, blocks, sizeof blocks);
        print_bytes(status->value_bytes, values, sizeof values);
        print_bytes(status->resident_bytes, memory, sizeof memory);
        table_add(&table, (const char *const[]){server, status->present ? "present" : "absent",
                                                blocks, values, memory, status->address});
    }
    return table_print(&table, "rlrrrl", err);
}

static enum status print_workers(const Pmd__StatusReply *reply, struct error *err)
{
    struct table table = {.column_count = 6};
    char rank[16], clock[32], incarnation[32], silent[32];

    table_add(&table,
              (const char *const[]){"worker", "state", "step", "started", "silent", "program"});
    for (size_t i = 0; i < reply->n_workers; i++) {
        const Pmd__WorkerStatus *status = reply->workers[i];
        snprintf(rank, sizeof rank, "%u", status->rank);
        snprintf(clock, sizeof clock, "%llu", (unsigned long long)status->clock);
        snprintf(incarnation, sizeof incarnation, "%llu", (unsigned long long)status->incarnation);
        snprintf(silent, sizeof silent, "%.1f s", status->silent_s);
        table_add(&table, (const char *const[]){rank, status->state, clock, incarnation, silent,
                                                status->peer});
    }
    return table_print(&table, "rlrrrl", err);
}

enum status verb_status(struct ctl *ctl, struct error *err)
{
    const Pmd__StatusReply *reply;
    enum status status = reader_status(ctl->reader, &reply, err);

    if (status)
        return status;
    if (ctl->json)
        return print_json(json_of_status(reply), err);
    print_summary(reply);
    status = print_servers(reply, err);
    return status ? status : print_workers(reply, err);
}
