/* A server with its coordinator or its uplink, and peers of every role that say anything. */
/* decoder: server/service/push.c server/service/pull.c server/service/session.c */
/* decoder: server/service/log.c server/service/read.c server/consistency/consistency.c */
/* decoder: server/cluster/coordinator.c server/cluster/roster.c server/cluster/commit.c */
/* decoder: server/cluster/barrier.c server/cluster/snapshot.c server/cluster/status.c */
/* decoder: server/cluster/uplink.c server/store/store.c server/store/fold.c server/server.c */
/* options: -max_len=1024 -len_control=20 */
/*
 * The input is a tape of operations: connect as somebody, say a message, let time pass, break a
 * link, fail an allocation. Messages are built properly, with numbers that mostly fit the state of
 * the job and sometimes do not, so they get past the checks of the wire, which have targets of
 * their own. Nothing may crash, reach an assertion or leak; what the server sends must be what its
 * receivers accept (fake_link sees to that); and afterwards a reader that behaves gets its answers.
 */
#include "common/base/alloc.h"
#include "tests/fuzz/server_peers.h"

#include <stdlib.h>

enum { OPERATIONS_MAX = 300, DAY_MS = 24 * 60 * 60 * 1000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool truth)
{
    if (!truth)
        abort();
}

static void prelude(struct server_run *run)
{
    static const struct {
        const char *name;
        Pmd__DataType dtype;
        uint64_t shape[2];
        size_t rank;
        bool trainable;
        Pmd__InitializerKind initializer;
    } variables[] = {
        {"w", 1, {6, 2}, 2, true, 0}, {"n", 3, {3}, 1, false, 2}, {"a", 1, {5}, 1, false, 6}};
    struct fake_link *link;
    Pmd__OptimizerSpec optimizer = PMD__OPTIMIZER_SPEC__INIT;
    Pmd__Configure configure = PMD__CONFIGURE__INIT;
    Pmd__Start start = PMD__START__INIT;
    const uint8_t *at = run->at;

    run->at = run->end; /* everything fits */
    for (uint8_t place = 0; place < 2 * run->workers; place++) {
        peer_connects(run, place);
        fake_net_run(&run->net);
    }
    for (uint8_t place = 4; place < 7; place++)
        peer_connects(run, place);
    fake_net_run(&run->net);
    run->at = at;
    link = run_link(run, 0);
    for (size_t i = 0; link && i < 3; i++) {
        Pmd__VariableSpec spec = PMD__VARIABLE_SPEC__INIT;
        Pmd__Create create = PMD__CREATE__INIT;
        spec.name = (char *)variables[i].name;
        spec.dtype = variables[i].dtype;
        spec.n_shape = variables[i].rank;
        spec.shape = (uint64_t *)variables[i].shape;
        spec.trainable = variables[i].trainable;
        spec.initializer = variables[i].initializer;
        create.spec = &spec;
        fake_link_say(link, FRAME_CREATE, &create, ++run->request, 0);
    }
    optimizer.name = "adam";
    configure.spec = &optimizer;
    if (link)
        fake_link_say(link, FRAME_CONFIGURE, &configure, ++run->request, 0);
    fake_net_run(&run->net);
    for (uint8_t rank = 0; rank < run->workers; rank++) {
        link = run_link(run, 2 * rank);
        if (link)
            fake_link_say(link, FRAME_START, &start, ++run->request, 0);
    }
    fake_net_run(&run->net);
    peer_does_step(run, 0, false, false);
    fake_net_run(&run->net);
}

static void operation(struct server_run *run)
{
    static const uint32_t pauses_ms[] = {1, 100, 600, 1100, 5100, 10600, 61000, DAY_MS};
    uint8_t what = run_next(run) % 24;
    uint8_t place = run_next(run);
    struct fake_link *link = run_link(run, place);

    if (what < 2)
        peer_connects(run, place);
    else if (what < 4)
        peer_does_step(run, place % 2, place & 16, !(place & 32));
    else if (what == 4 && place < 200)
        fake_net_advance(&run->net, pauses_ms[place % 4]);
    else if (what == 4 && place % 8 < 7)
        fake_net_advance(&run->net, pauses_ms[place % 7]);
    else if (what == 5)
        alloc_fail_nth(1 + place % 40u, place >= 240);
    else if (what < 8 && !run->coordinator)
        coordinator_says(run);
    else if (!link)
        peer_connects(run, place);
    else if (what == 8)
        fake_link_break(link);
    else if (what == 9)
        link->stalled = !link->stalled;
    else if (what == 10)
        fake_link_write(link, run_next(run) % 4);
    else if (what == 11)
        link->half = true;
    else if (what == 12)
        fake_link_finish(link);
    else if (what == 13)
        link->full = run_next(run) % 16 == 15;
    else if (what == 14)
        peer_says_raw(run, link);
    else if (what == 15)
        peer_says_plain(run, link);
    else if (what < 19)
        peer_says_control(run, link, place);
    else
        peer_says_data(run, link, place);
    if (run_next(run) < 200)
        fake_net_run(&run->net); /* else several things come at once */
}

/* Whatever the others did: who behaves is answered. */
static void assert_answers(struct server_run *run)
{
    Pmd__Hello hello = PMD__HELLO__INIT;
    Pmd__Status status = PMD__STATUS__INIT;
    uint32_t zero = 0;
    Pmd__Read read = PMD__READ__INIT;

    if (run->server.ended || !run->server.service_ready ||
        (run->coordinator && run->server.coordinator.readers >= LIMIT_READERS))
        return;
    hello.protocol_minor = PROTOCOL_MINOR;
    hello.token.data = (uint8_t *)"secret";
    hello.token.len = 6;
    hello.role = PMD__ROLE__ROLE_READER;
    for (int channel = PMD__CHANNEL__CHANNEL_CONTROL; channel <= PMD__CHANNEL__CHANNEL_BULK;
         channel++) {
        struct fake_link *link = fake_link_accept(&run->net, "10.0.0.9:9");
        hello.channel = (Pmd__Channel)channel;
        fake_link_say(link, FRAME_HELLO, &hello, 1, 0);
        fake_net_run(&run->net);
        if (channel == PMD__CHANNEL__CHANNEL_CONTROL && !run->coordinator) {
            require(link->closed && fake_link_find(link, FRAME_FAILURE));
            continue;
        }
        require(fake_link_find(link, FRAME_HELLO_REPLY) != NULL);
        if (channel == PMD__CHANNEL__CHANNEL_CONTROL)
            fake_link_say(link, FRAME_STATUS, &status, 2, 0);
        read.n_variable = read.n_block = 1;
        read.variable = read.block = &zero;
        if (channel == PMD__CHANNEL__CHANNEL_BULK)
            fake_link_say(link, FRAME_READ, &read, 2, 0);
        fake_net_run(&run->net);
        require(fake_link_find(link, channel == PMD__CHANNEL__CHANNEL_CONTROL ? FRAME_STATUS_REPLY
                                                                              : FRAME_FAILURE) ||
                !run->server.service.store_ready);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct server_run run;
    struct error err;

    if (size < 1)
        return 0;
    run = (struct server_run){.at = data + 1, .end = data + size};
    run.coordinator = (data[0] & 3) != 3;
    run.workers = data[0] & 4 ? 1 : 2;
    struct server_settings settings = {.coordinator = run.coordinator ? NULL : "h0:7070",
                                       .address = "h1:7071",
                                       .job = "job",
                                       .token = (const uint8_t *)"secret",
                                       .token_bytes = 6,
                                       .program = "paramd",
                                       .workers = run.workers,
                                       .servers = data[0] & 8 ? 2 : 1,
                                       .staging_bytes = data[0] & 16 ? 64 : 0,
                                       .payload_hash = data[0] & 32};
    fake_net_init(&run.net);
    require(server_init(&run.server, &run.net.io, &settings, &err) == STATUS_OK);
    run.net.engine = server_engine(&run.server);
    fake_net_run(&run.net);
    if (run.coordinator && !(data[0] & 64))
        prelude(&run);
    for (int i = 0; i < OPERATIONS_MAX && run.at < run.end; i++)
        operation(&run);
    alloc_fail_nth(0, false);
    fake_net_run(&run.net);
    assert_answers(&run);
    fake_net_release(&run.net);
    server_release(&run.server);
    return 0;
}
