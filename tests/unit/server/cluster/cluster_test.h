/* A coordinator behind a fake net, and what workers, servers and readers say to it, in short words.
 */
#ifndef PARAMD_TESTS_UNIT_SERVER_CLUSTER_CLUSTER_TEST_H
#define PARAMD_TESTS_UNIT_SERVER_CLUSTER_CLUSTER_TEST_H

#include "common/wire/message.h"
#include "server/cluster/coordinator.h"

#include "tests/lib/fake_link.h"
#include "tests/lib/test.h"

#include <stdio.h>

enum {
    CLUSTER_RANKS_MAX = 4,
    CLUSTER_SERVERS_MAX = 4,
    CLUSTER_LOG_MAX = 64,
    HEARTBEAT_MS = 500,
    DEAD_MS = 10000,
    JOIN_MS = 15000,
    RESTART_MS = 60000,
    SERVER_LOST_MS = 10000,
};

struct cluster {
    struct fake_net net;
    struct coordinator coordinator;
    struct arena arena;
    struct fake_link *worker[CLUSTER_RANKS_MAX];
    struct fake_link *server[CLUSTER_SERVERS_MAX]; /* [0] has none */
    uint64_t request;
    /* What the local server was told. */
    size_t registry_variables;
    Pmd__LogEntry log[CLUSTER_LOG_MAX];
    size_t log_count;
    char notice[400];
    size_t notices;
};

static inline void cluster_on_open(void *context, struct link *link)
{
    (void)context;
    (void)link;
}

static inline void cluster_refuse(struct cluster *cluster, struct link *link, uint64_t request,
                                  const struct error *err)
{
    Pmd__Failure failure = PMD__FAILURE__INIT;
    struct link_frame frame = {.type = FRAME_FAILURE, .message = &failure.base, .request = request};

    failure.status = err->status;
    failure.message = (char *)err->message;
    status_ignore(cluster->net.io.send(&cluster->net, link, &frame), "it is closed anyway");
    cluster->net.io.close(&cluster->net, link, true, err);
}

static inline enum link_verdict cluster_on_head(void *context, struct link *link,
                                                const struct frame_head *head,
                                                const uint8_t *header,
                                                struct link_incoming *ret_incoming,
                                                struct error *err)
{
    struct cluster *cluster = context;
    struct member *member = link->user;
    const void *message;
    enum link_verdict verdict = LINK_TAKE;

    (void)ret_incoming;
    assert_ok(
        message_unpack(head->type, header, head->header_bytes, &cluster->arena, &message, err),
        err);
    if (!member &&
        coordinator_hello(&cluster->coordinator, link, message, head->request, &member, err))
        cluster_refuse(cluster, link, head->request, err);
    else if (!link->user)
        link->user = member;
    else if (coordinator_frame(&cluster->coordinator, member, head->type, head->request, message,
                               err))
        verdict = LINK_REFUSE;
    if (verdict == LINK_REFUSE)
        cluster_refuse(cluster, link, 0, err);
    arena_clear(&cluster->arena);
    return verdict;
}

static inline void cluster_on_frame(void *context, struct link *link)
{
    (void)context;
    (void)link;
}

static inline void cluster_on_closed(void *context, struct link *link, const struct error *why)
{
    struct cluster *cluster = context;

    (void)why;
    if (link->user)
        coordinator_closed(&cluster->coordinator, link->user);
    link->user = NULL;
}

static inline uint64_t cluster_on_turn(void *context)
{
    return coordinator_tick(&((struct cluster *)context)->coordinator);
}

static inline void cluster_on_registry(void *context, const struct registry *registry)
{
    ((struct cluster *)context)->registry_variables = registry->variable_count;
}

static inline void cluster_on_log(void *context, const Pmd__LogEntry *entry)
{
    struct cluster *cluster = context;

    assert_true(cluster->log_count < CLUSTER_LOG_MAX);
    cluster->log[cluster->log_count++] = *entry;
}

static inline void cluster_on_notice(void *context, const char *line)
{
    struct cluster *cluster = context;

    snprintf(cluster->notice, sizeof cluster->notice, "%s", line);
    cluster->notices++;
}

/* Knows sgd only. */
static inline enum status cluster_check_optimizer(const struct optimizer_spec *spec,
                                                  struct error *err)
{
    if (strcmp(spec->name, "sgd") == 0)
        return STATUS_OK;
    return error_set(err, STATUS_NOT_FOUND, "no optimizer is called '%s'", spec->name);
}

static inline void cluster_init(struct cluster *cluster, uint32_t workers, uint32_t servers)
{
    struct coordinator_settings settings = {.job = "job",
                                            .workers = workers,
                                            .servers = servers,
                                            .heartbeat_ms = HEARTBEAT_MS,
                                            .dead_ms = DEAD_MS,
                                            .join_ms = JOIN_MS,
                                            .restart_ms = RESTART_MS,
                                            .server_lost_ms = SERVER_LOST_MS,
                                            .check_optimizer = cluster_check_optimizer};
    struct coordinator_local local = {
        .context = cluster, .on_registry = cluster_on_registry, .on_log = cluster_on_log};
    struct error err;

    *cluster = (struct cluster){.request = 100};
    fake_net_init(&cluster->net);
    assert_ok(arena_init(&cluster->arena, LIMIT_MESSAGE_ARENA_BYTES), &err);
    cluster->net.engine = (struct link_engine){.context = cluster,
                                               .on_open = cluster_on_open,
                                               .on_head = cluster_on_head,
                                               .on_frame = cluster_on_frame,
                                               .on_closed = cluster_on_closed,
                                               .on_turn = cluster_on_turn};
    assert_ok(coordinator_init(&cluster->coordinator, &cluster->net.io, &settings, &local,
                               "h0:7070", &err),
              &err);
    cluster->coordinator.notice = cluster_on_notice;
    cluster->coordinator.notice_context = cluster;
}

static inline void cluster_release(struct cluster *cluster)
{
    fake_net_release(&cluster->net);
    coordinator_release(&cluster->coordinator);
    arena_release(&cluster->arena);
}

static inline void say(struct cluster *cluster, struct fake_link *link, enum frame_type type,
                       const void *message)
{
    fake_link_say(link, type, message, ++cluster->request, 0);
    fake_net_run(&cluster->net);
}

static inline Pmd__Hello worker_hello(uint32_t rank_plus_1, uint64_t process, uint64_t connection)
{
    Pmd__Hello hello = PMD__HELLO__INIT;

    hello.protocol_minor = PROTOCOL_MINOR;
    hello.role = PMD__ROLE__ROLE_WORKER;
    hello.channel = PMD__CHANNEL__CHANNEL_CONTROL;
    hello.rank_plus_1 = rank_plus_1;
    hello.process = process;
    hello.connection = connection;
    hello.program = "test, pid 1";
    return hello;
}

static inline struct fake_link *say_hello(struct cluster *cluster, const Pmd__Hello *hello)
{
    struct fake_link *link = fake_link_accept(&cluster->net, "127.0.0.1:5555");

    fake_link_say(link, FRAME_HELLO, hello, 1, 0);
    fake_net_run(&cluster->net);
    return link;
}

/* Process 1000 + rank takes its rank with connection 1. */
static inline void join_worker(struct cluster *cluster, uint32_t rank)
{
    Pmd__Hello hello = worker_hello(rank + 1, 1000 + rank, 1);

    cluster->worker[rank] = say_hello(cluster, &hello);
}

static inline Pmd__Hello server_hello(const char *address, uint64_t process, uint64_t connection)
{
    Pmd__Hello hello = worker_hello(0, process, connection);

    hello.role = PMD__ROLE__ROLE_SERVER;
    hello.address = (char *)address;
    return hello;
}

static inline void join_server(struct cluster *cluster, uint32_t index)
{
    char address[32];

    snprintf(address, sizeof address, "h%u:7070", index);
    Pmd__Hello hello = server_hello(address, 2000 + index, 1);
    cluster->server[index] = say_hello(cluster, &hello);
}

static inline struct fake_link *join_reader(struct cluster *cluster)
{
    Pmd__Hello hello = worker_hello(0, 3000, 1);

    hello.role = PMD__ROLE__ROLE_READER;
    return say_hello(cluster, &hello);
}

static inline void join_all(struct cluster *cluster)
{
    for (uint32_t i = 1; i < cluster->coordinator.settings.servers; i++)
        join_server(cluster, i);
    for (uint32_t i = 0; i < cluster->coordinator.settings.workers; i++)
        join_worker(cluster, i);
}

#define HEARD(link, name, NAME) ((const Pmd__##name *)heard_message((link), FRAME_##NAME))

static inline const void *heard_message(struct fake_link *link, enum frame_type type)
{
    struct fake_heard *heard = fake_link_find(link, type);

    if (!heard)
        fail_msg("the peer got no %s", frame_type_name(type));
    return heard->message;
}

static inline void assert_heard_nothing(struct fake_link *link, enum frame_type type)
{
    struct fake_heard *heard = fake_link_find(link, type);

    if (heard)
        fail_msg("the peer got a %s", frame_type_name(type));
}

static inline void assert_failure(struct fake_link *link, enum status status, const char *words)
{
    const Pmd__Failure *failure = HEARD(link, Failure, FAILURE);

    if ((enum status)failure->status != status || !strstr(failure->message, words))
        fail_msg("%s: '%s' instead of %s '%s'", status_name((enum status)failure->status),
                 failure->message, status_name(status), words);
}

static inline void assert_end(struct fake_link *link, enum exit_code code, const char *words)
{
    const Pmd__End *end = HEARD(link, End, END);

    assert_int_equal(end->exit_code, code);
    if (!strstr(end->message, words))
        fail_msg("'%s' does not say '%s'", end->message, words);
}

static inline void say_create(struct cluster *cluster, struct fake_link *link, const char *name,
                              uint64_t length, bool trainable)
{
    Pmd__VariableSpec spec = PMD__VARIABLE_SPEC__INIT;
    Pmd__Create create = PMD__CREATE__INIT;

    spec.name = (char *)name;
    spec.dtype = PMD__DATA_TYPE__DATA_TYPE_FLOAT32;
    spec.n_shape = 1;
    spec.shape = &length;
    spec.trainable = trainable;
    create.spec = &spec;
    say(cluster, link, FRAME_CREATE, &create);
}

static inline void say_configure(struct cluster *cluster, struct fake_link *link, const char *name,
                                 double learning_rate)
{
    char *keys[] = {"learning_rate"};
    Pmd__OptimizerSpec spec = PMD__OPTIMIZER_SPEC__INIT;
    Pmd__Configure configure = PMD__CONFIGURE__INIT;

    spec.name = (char *)name;
    spec.n_key = spec.n_value = 1;
    spec.key = keys;
    spec.value = &learning_rate;
    configure.spec = &spec;
    say(cluster, link, FRAME_CONFIGURE, &configure);
}

static inline void say_start(struct cluster *cluster, struct fake_link *link)
{
    Pmd__Start start = PMD__START__INIT;

    say(cluster, link, FRAME_START, &start);
}

/* A reports that the version is prepared; server 0 by a call. */
static inline void say_report(struct cluster *cluster, uint32_t server, uint64_t version)
{
    Pmd__Report report = PMD__REPORT__INIT;

    report.prepared_plus_1 = version + 1;
    if (server == 0) {
        coordinator_local_report(&cluster->coordinator, &report);
        fake_net_run(&cluster->net);
        return;
    }
    say(cluster, cluster->server[server], FRAME_REPORT, &report);
}

static inline void report_all(struct cluster *cluster, uint64_t version)
{
    for (uint32_t i = 0; i < cluster->coordinator.settings.servers; i++)
        say_report(cluster, i, version);
}

static inline void say_step_end(struct cluster *cluster, struct fake_link *link, uint64_t step,
                                double loss, bool restart_totals)
{
    Pmd__Metric metric = PMD__METRIC__INIT;
    Pmd__Metric *metrics[] = {&metric};
    Pmd__StepEnd end = PMD__STEP_END__INIT;

    metric.name = "loss";
    metric.sum = loss;
    metric.count = 1;
    end.step = step;
    end.n_metrics = 1;
    end.metrics = metrics;
    end.restart_totals = restart_totals;
    say(cluster, link, FRAME_STEP_END, &end);
}

/* All have started, and version 0 is committed. */
static inline void train(struct cluster *cluster, uint32_t workers, uint32_t servers)
{
    cluster_init(cluster, workers, servers);
    join_all(cluster);
    say_create(cluster, cluster->worker[0], "w", 10, true);
    say_configure(cluster, cluster->worker[0], "sgd", 0.1);
    for (uint32_t rank = 0; rank < workers; rank++)
        say_start(cluster, cluster->worker[rank]);
    report_all(cluster, 0);
    assert_int_equal(cluster->coordinator.committed_plus_1, 1);
    for (uint32_t rank = 0; rank < workers; rank++)
        fake_link_forget(cluster->worker[rank]);
}

static inline void run_step(struct cluster *cluster, uint64_t step)
{
    for (uint32_t rank = 0; rank < cluster->coordinator.settings.workers; rank++) {
        if (step <= cluster->coordinator.workers[rank].last_step)
            say_step_end(cluster, cluster->worker[rank], step, 1, false);
    }
    report_all(cluster, step);
    assert_int_equal(cluster->coordinator.committed_plus_1, step + 1);
}

#endif
