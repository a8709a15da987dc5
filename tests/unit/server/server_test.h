/*
 * One server with its coordinator behind a fake net, and workers and readers that say to it what a
 * test wants. Variables:
 *
 *   W  float32 (20, 2), trained by SGD with learning rate 0.5, zeros
 *   BIG float32 (100,000), two blocks, trained by Adam, zeros
 *   N  int64 (3), not trained, zeros
 *   A  float32 (5), not trained, assigned by rank 0
 */
#ifndef PARAMD_TESTS_UNIT_SERVER_SERVER_TEST_H
#define PARAMD_TESTS_UNIT_SERVER_SERVER_TEST_H

#include "server/server.h"

#include "tests/lib/fake_link.h"
#include "tests/lib/test.h"

#include <stdlib.h>

enum { SITE_RANKS_MAX = 4, W = 0, BIG = 1, N = 2, A = 3, SITE_VARIABLES = 4 };
enum { W_BYTES = 160, BIG_BYTES_0 = 65536 * 4, BIG_BYTES_1 = (100000 - 65536) * 4, A_BYTES = 20 };

struct site {
    struct fake_net net;
    struct server server;
    uint32_t workers;
    struct fake_link *control[SITE_RANKS_MAX];
    struct fake_link *bulk[SITE_RANKS_MAX];
    uint64_t request;
};

/* Without a server yet. */
static inline void site_prepare(struct site *site, uint32_t workers)
{
    *site = (struct site){.request = 1000, .workers = workers};
    fake_net_init(&site->net);
}

static inline enum status site_init_server(struct site *site, struct server_settings settings,
                                           struct error *err)
{
    enum status status = server_init(&site->server, &site->net.io, &settings, err);

    if (!status)
        site->net.engine = server_engine(&site->server);
    return status;
}

static inline enum status site_init_settings(struct site *site, struct server_settings settings,
                                             struct error *err)
{
    site_prepare(site, settings.workers);
    return site_init_server(site, settings, err);
}

static inline struct server_settings site_settings(uint32_t workers)
{
    return (struct server_settings){.address = "h0:7070",
                                    .job = "job",
                                    .token = (const uint8_t *)"secret",
                                    .token_bytes = 6,
                                    .program = "paramd, pid 1",
                                    .workers = workers,
                                    .servers = 1};
}

static inline void site_init(struct site *site, uint32_t workers)
{
    struct error err;

    assert_ok(site_init_settings(site, site_settings(workers), &err), &err);
}

/* Links end first, as in the real program; then nothing may refer to a buffer any more. */
static inline void site_release(struct site *site)
{
    fake_net_release(&site->net);
    server_release(&site->server);
}

static inline Pmd__Hello site_hello(Pmd__Role role, Pmd__Channel channel)
{
    Pmd__Hello hello = PMD__HELLO__INIT;

    hello.protocol_major = PROTOCOL_MAJOR;
    hello.protocol_minor = PROTOCOL_MINOR;
    hello.job = "job";
    hello.token.data = (uint8_t *)"secret";
    hello.token.len = 6;
    hello.role = role;
    hello.channel = channel;
    hello.program = "test, pid 7";
    return hello;
}

static inline struct fake_link *site_connect(struct site *site, const Pmd__Hello *hello)
{
    struct fake_link *link = fake_link_accept(&site->net, "127.0.0.1:5555");

    fake_link_say(link, FRAME_HELLO, hello, 1, 0);
    fake_net_run(&site->net);
    return link;
}

static inline struct fake_link *site_connect_bulk(struct site *site, uint32_t rank,
                                                  uint64_t incarnation, uint64_t connection)
{
    Pmd__Hello hello = site_hello(PMD__ROLE__ROLE_WORKER, PMD__CHANNEL__CHANNEL_BULK);

    hello.rank_plus_1 = rank + 1;
    hello.incarnation = incarnation;
    hello.connection = connection;
    hello.process = 1000 + rank;
    return site_connect(site, &hello);
}

static inline struct fake_link *site_connect_reader(struct site *site, Pmd__Channel channel)
{
    Pmd__Hello hello = site_hello(PMD__ROLE__ROLE_READER, channel);

    return site_connect(site, &hello);
}

static inline void site_join(struct site *site)
{
    for (uint32_t rank = 0; rank < site->workers; rank++) {
        Pmd__Hello hello = site_hello(PMD__ROLE__ROLE_WORKER, PMD__CHANNEL__CHANNEL_CONTROL);
        hello.rank_plus_1 = rank + 1;
        hello.process = 1000 + rank;
        hello.connection = 1;
        site->control[rank] = site_connect(site, &hello);
        site->bulk[rank] = site_connect_bulk(site, rank, 1, 2);
    }
}

static inline uint64_t say(struct site *site, struct fake_link *link, enum frame_type type,
                           const void *message)
{
    fake_link_say(link, type, message, ++site->request, 0);
    fake_net_run(&site->net);
    return site->request;
}

static inline void site_create(struct site *site, const char *name, Pmd__DataType dtype,
                               size_t rank, uint64_t *shape, bool trainable, uint32_t optimizer,
                               Pmd__InitializerKind initializer)
{
    Pmd__VariableSpec spec = PMD__VARIABLE_SPEC__INIT;
    Pmd__Create create = PMD__CREATE__INIT;

    spec.name = (char *)name;
    spec.dtype = dtype;
    spec.n_shape = rank;
    spec.shape = shape;
    spec.trainable = trainable;
    spec.optimizer = optimizer;
    spec.initializer = initializer;
    create.spec = &spec;
    say(site, site->control[0], FRAME_CREATE, &create);
}

static inline void site_start(struct site *site)
{
    uint64_t w[2] = {20, 2}, big = 100000, n = 3, a = 5;
    char *keys[] = {"learning_rate"};
    double rate = 0.5;
    Pmd__Start start = PMD__START__INIT;

    site_create(site, "w", PMD__DATA_TYPE__DATA_TYPE_FLOAT32, 2, w, true, 0,
                PMD__INITIALIZER_KIND__INITIALIZER_KIND_ZEROS);
    site_create(site, "big", PMD__DATA_TYPE__DATA_TYPE_FLOAT32, 1, &big, true, 1,
                PMD__INITIALIZER_KIND__INITIALIZER_KIND_ZEROS);
    site_create(site, "n", PMD__DATA_TYPE__DATA_TYPE_INT64, 1, &n, false, 0,
                PMD__INITIALIZER_KIND__INITIALIZER_KIND_ZEROS);
    site_create(site, "a", PMD__DATA_TYPE__DATA_TYPE_FLOAT32, 1, &a, false, 0,
                PMD__INITIALIZER_KIND__INITIALIZER_KIND_ASSIGNED);
    for (uint32_t i = 0; i < 2; i++) {
        Pmd__OptimizerSpec spec = PMD__OPTIMIZER_SPEC__INIT;
        Pmd__Configure configure = PMD__CONFIGURE__INIT;
        spec.optimizer = i;
        spec.name = i ? "adam" : "sgd";
        spec.n_key = spec.n_value = 1;
        spec.key = keys;
        spec.value = &rate;
        configure.spec = &spec;
        say(site, site->control[0], FRAME_CONFIGURE, &configure);
    }
    for (uint32_t rank = 0; rank < site->workers; rank++)
        say(site, site->control[rank], FRAME_START, &start);
}

static inline Pmd__Push push_message(uint64_t step, Pmd__PushKind kind, uint32_t *variable,
                                     uint32_t *block, size_t count)
{
    Pmd__Push push = PMD__PUSH__INIT;

    push.step = step;
    push.kind = kind;
    push.n_variable = push.n_block = count;
    push.variable = variable;
    push.block = block;
    return push;
}

/* One dense block; returns the request number. */
static inline uint64_t say_push(struct site *site, struct fake_link *link, uint64_t step,
                                Pmd__PushKind kind, uint32_t variable, uint32_t block,
                                const void *data, size_t bytes)
{
    Pmd__Push push = push_message(step, kind, &variable, &block, 1);

    fake_link_say_payload(link, FRAME_PUSH, &push, ++site->request, 0, data, bytes);
    fake_net_run(&site->net);
    return site->request;
}

static inline void say_begin(struct site *site, struct fake_link *link, uint64_t step,
                             uint64_t examples)
{
    Pmd__StepBegin begin = PMD__STEP_BEGIN__INIT;

    begin.step = step;
    begin.examples = examples;
    say(site, link, FRAME_STEP_BEGIN, &begin);
}

static inline void say_close(struct site *site, struct fake_link *link, uint64_t step)
{
    Pmd__StepClose close = PMD__STEP_CLOSE__INIT;

    close.step = step;
    say(site, link, FRAME_STEP_CLOSE, &close);
}

static inline void say_end(struct site *site, uint32_t rank, uint64_t step)
{
    Pmd__StepEnd end = PMD__STEP_END__INIT;

    end.step = step;
    say(site, site->control[rank], FRAME_STEP_END, &end);
}

static inline uint64_t say_pull(struct site *site, struct fake_link *link, uint64_t step,
                                uint32_t variable, uint32_t block)
{
    Pmd__Pull pull = PMD__PULL__INIT;

    pull.step = step;
    pull.n_variable = pull.n_block = 1;
    pull.variable = &variable;
    pull.block = &block;
    return say(site, link, FRAME_PULL, &pull);
}

static inline uint64_t site_committed_plus_1(const struct site *site)
{
    return site->server.service.consistency.committed_plus_1;
}

/* All have joined and started, and version 0 is committed. */
static inline void site_train(struct site *site, uint32_t workers)
{
    static const float a[5] = {1, 2, 3, 4, 5};

    site_init(site, workers);
    site_join(site);
    site_start(site);
    say_push(site, site->bulk[0], 0, PMD__PUSH_KIND__PUSH_KIND_ASSIGN, A, 0, a, sizeof a);
    assert_int_equal(site_committed_plus_1(site), 1);
    for (uint32_t rank = 0; rank < workers; rank++) {
        fake_link_forget(site->control[rank]);
        fake_link_forget(site->bulk[rank]);
    }
}

/* Every rank has one example, pushes W with this gradient, and closes. */
static inline void site_step(struct site *site, uint64_t step, float gradient)
{
    float grad[40];

    for (int i = 0; i < 40; i++)
        grad[i] = gradient;
    for (uint32_t rank = 0; rank < site->workers; rank++) {
        say_begin(site, site->bulk[rank], step, 1);
        say_push(site, site->bulk[rank], step, PMD__PUSH_KIND__PUSH_KIND_GRADIENT, W, 0, grad,
                 sizeof grad);
        say_close(site, site->bulk[rank], step);
        say_end(site, rank, step);
    }
    assert_int_equal(site_committed_plus_1(site), step + 1);
}

#define HEARD(link, name, NAME) ((const Pmd__##name *)heard_message((link), FRAME_##NAME))

static inline struct fake_heard *heard_frame(struct fake_link *link, enum frame_type type)
{
    struct fake_heard *heard = fake_link_find(link, type);

    if (!heard)
        fail_msg("the peer got no %s", frame_type_name(type));
    return heard;
}

static inline const void *heard_message(struct fake_link *link, enum frame_type type)
{
    return heard_frame(link, type)->message;
}

static inline void assert_failure(struct fake_link *link, enum status status, const char *words)
{
    const Pmd__Failure *failure = HEARD(link, Failure, FAILURE);

    if ((enum status)failure->status != status || !strstr(failure->message, words))
        fail_msg("%s: '%s' instead of %s '%s'", status_name((enum status)failure->status),
                 failure->message, status_name(status), words);
}

/* Refused with FAILURE (request 0) and closed; the other links go on. */
static inline void assert_thrown_out(struct fake_link *link, enum status status, const char *words)
{
    struct fake_heard *heard = heard_frame(link, FRAME_FAILURE);
    const Pmd__Failure *failure = (const Pmd__Failure *)(void *)heard->message;

    assert_int_equal(heard->request, 0);
    if ((enum status)failure->status != status || !strstr(failure->message, words))
        fail_msg("%s: '%s' instead of %s '%s'", status_name((enum status)failure->status),
                 failure->message, status_name(status), words);
    assert_true(link->closed);
}

static inline void assert_ended(const struct site *site, enum exit_code code, const char *words)
{
    assert_true(site->server.ended);
    assert_int_equal(site->server.exit_code, code);
    if (!strstr(site->server.end_message, words))
        fail_msg("'%s' does not say '%s'", site->server.end_message, words);
}

#endif
