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
#include "server/server.h"

#include "tests/lib/fake_link.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LINKS = 10,
    OPERATIONS_MAX = 300,
    CONNECTS_MAX = 60,
    ELEMENTS_MAX = 200000, /* of all variables of a run */
    PAYLOAD_MAX = 1024 * 1024,
    DAY_MS = 24 * 60 * 60 * 1000,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
    const uint8_t *at, *end; /* the tape */
    struct fake_net net;
    struct server server;
    bool coordinator;
    uint32_t workers;
    struct fake_link *links[LINKS];
    uint64_t connection, request, elements;
    int connects;
};

static uint8_t payload[PAYLOAD_MAX];

static void require(bool truth)
{
    if (!truth)
        abort();
}

static uint8_t next(struct run *run)
{
    return run->at < run->end ? *run->at++ : 0;
}

/* Mostly what fits, else something else. */
static uint64_t number(struct run *run, uint64_t fitting)
{
    uint8_t byte = next(run);

    if (byte < 192)
        return fitting;
    switch (byte % 8) {
    case 0:
        return 0;
    case 1:
        return fitting + 1;
    case 2:
        return fitting - 1;
    case 3:
        return UINT64_MAX;
    case 4:
        return UINT32_MAX;
    case 5:
        return (uint64_t)1 << (next(run) % 64);
    default:
        return next(run);
    }
}

static uint32_t number32(struct run *run, uint64_t fitting)
{
    return (uint32_t)number(run, fitting);
}

static const char *word(struct run *run, const char *fitting)
{
    static const char *const words[] = {
        "", "w", "big", "n", "a", "job", "learning-rate", "x", "sgd", "learning_rate", "adam"};
    uint8_t byte = next(run);

    return byte < 192 ? fitting : words[byte % (sizeof words / sizeof words[0])];
}

static double real(struct run *run, double fitting)
{
    static const double reals[] = {0, -1, 1e308, -1e308, 0.5};
    uint8_t byte = next(run);

    if (byte == 255)
        return 1e308 * 10;
    return byte < 192 ? fitting : reals[byte % (sizeof reals / sizeof reals[0])];
}

static struct fake_link *live(struct run *run, uint8_t byte)
{
    struct fake_link *link = run->links[byte % LINKS];

    return link && !link->closed && link->open ? link : NULL;
}

static void say(struct run *run, struct fake_link *link, enum frame_type type, const void *message)
{
    uint64_t committed_plus_1 = run->server.service_ready
                                    ? run->server.service.consistency.committed_plus_1
                                    : 0;
    uint8_t byte = next(run);

    fake_link_say(link, type, message, ++run->request,
                  byte < 224 ? 0 : committed_plus_1 + byte % 4);
}

static uint64_t open_step(struct run *run)
{
    uint64_t committed_plus_1 = run->server.service_ready
                                    ? run->server.service.consistency.committed_plus_1
                                    : 0;

    return number(run, committed_plus_1 + next(run) % 2);
}

/* ---- who there is ---- */

/* Places 0 to 3: control and bulk of ranks 0 and 1; then readers, servers, and a stranger. */
static void connect_as(struct run *run, uint8_t place)
{
    Pmd__Hello hello = PMD__HELLO__INIT;
    struct fake_link *link;

    place %= LINKS;
    if (++run->connects > CONNECTS_MAX)
        return;
    hello.protocol_major = number32(run, PROTOCOL_MAJOR);
    hello.protocol_minor = number32(run, PROTOCOL_MINOR);
    hello.features = next(run) & 1;
    hello.job = (char *)word(run, "job");
    hello.token.data = (uint8_t *)"secret";
    hello.token.len = next(run) == 255 ? 3 : 6;
    hello.role = place < 4   ? PMD__ROLE__ROLE_WORKER
                 : place < 6 ? PMD__ROLE__ROLE_READER
                 : place < 8 ? PMD__ROLE__ROLE_SERVER
                             : (Pmd__Role)number32(run, PMD__ROLE__ROLE_WORKER);
    hello.channel = place == 7 || place % 2 == 0 ? PMD__CHANNEL__CHANNEL_CONTROL
                                                 : PMD__CHANNEL__CHANNEL_BULK;
    hello.rank_plus_1 = place < 4 ? number32(run, place / 2 + 1u) : number32(run, 0);
    hello.incarnation = number(run, place < 4 && place % 2 ? 1 : 0);
    hello.process = number(run, 100u + place / 2u);
    hello.connection = number(run, ++run->connection);
    hello.address = (char *)word(run, "h1:7070");
    hello.program = "fuzz";
    hello.log_index = number(run, 0);
    link = fake_link_accept(&run->net, "10.0.0.1:1");
    run->links[place] = link;
    if (place == 9 && next(run) % 2)
        return; /* it says nothing yet */
    say(run, link, FRAME_HELLO, &hello);
}

/* ---- what is said to the coordinator ---- */

static void say_create(struct run *run, struct fake_link *link)
{
    static const uint64_t lengths[] = {1, 2, 3, 5, 40, 70000, 0, UINT64_MAX};
    Pmd__VariableSpec spec = PMD__VARIABLE_SPEC__INIT;
    Pmd__Create create = PMD__CREATE__INIT;
    uint64_t shape[LIMIT_RANK], elements = 1;

    spec.name = (char *)word(run, "w");
    spec.dtype = (Pmd__DataType)number32(run, PMD__DATA_TYPE__DATA_TYPE_FLOAT32);
    spec.n_shape = next(run) % 4;
    spec.shape = shape;
    for (size_t i = 0; i < spec.n_shape; i++) {
        shape[i] = lengths[next(run) % 8];
        if (__builtin_mul_overflow(elements, shape[i], &elements))
            elements = UINT64_MAX;
    }
    /* What would be allowed and take much memory is left out. */
    if (elements <= LIMIT_VARIABLE_BYTES) {
        if (run->elements + elements > ELEMENTS_MAX)
            return;
        run->elements += elements;
    }
    spec.initializer = (Pmd__InitializerKind)number32(run, next(run) % 7u);
    spec.initializer_a = real(run, -0.5);
    spec.initializer_b = real(run, 0.5);
    spec.initializer_seed = next(run);
    spec.trainable = next(run) % 2;
    spec.optimizer = number32(run, 0);
    create.spec = &spec;
    say(run, link, FRAME_CREATE, &create);
}

static void say_configure(struct run *run, struct fake_link *link)
{
    Pmd__OptimizerSpec spec = PMD__OPTIMIZER_SPEC__INIT;
    Pmd__Configure configure = PMD__CONFIGURE__INIT;
    char *keys[3];
    double values[3];

    spec.optimizer = number32(run, 0);
    spec.name = (char *)word(run, "adam");
    spec.n_key = spec.n_value = next(run) % 4;
    for (size_t i = 0; i < spec.n_key; i++) {
        keys[i] = (char *)word(run, "learning_rate");
        values[i] = real(run, 0.5);
    }
    spec.key = keys;
    spec.value = values;
    configure.spec = &spec;
    say(run, link, FRAME_CONFIGURE, &configure);
}

struct metrics {
    Pmd__Metric items[LIMIT_METRICS];
    Pmd__Metric *pointers[LIMIT_METRICS];
    char names[LIMIT_METRICS][8];
};

static size_t make_metrics(struct run *run, struct metrics *metrics)
{
    size_t count = next(run) % 8 == 7 ? LIMIT_METRICS : next(run) % 3;
    uint8_t first = next(run);

    for (size_t i = 0; i < count; i++) {
        pmd__metric__init(&metrics->items[i]);
        snprintf(metrics->names[i], sizeof metrics->names[i], "m%zu", (first + i) % 100);
        metrics->items[i].name = metrics->names[i];
        metrics->items[i].sum = (double)i;
        metrics->items[i].count = 1;
        metrics->pointers[i] = &metrics->items[i];
    }
    return count;
}

static void say_step_end(struct run *run, struct fake_link *link)
{
    Pmd__StepEnd end = PMD__STEP_END__INIT;
    struct metrics metrics;

    end.step = open_step(run);
    end.n_metrics = make_metrics(run, &metrics);
    end.metrics = metrics.pointers;
    end.restart_totals = next(run) % 8 == 7;
    say(run, link, FRAME_STEP_END, &end);
}

static void say_barrier(struct run *run, struct fake_link *link)
{
    Pmd__Barrier barrier = PMD__BARRIER__INIT;
    struct metrics metrics;

    barrier.name = (char *)word(run, "b");
    barrier.n_metrics = make_metrics(run, &metrics);
    barrier.metrics = metrics.pointers;
    say(run, link, FRAME_BARRIER, &barrier);
}

/* Mostly what its role may say: requests 0 to 5 are a worker's, 6 to 8 a reader's, 9 to 11 a
 * server's. */
static uint8_t control_request(struct run *run, uint8_t place)
{
    uint8_t byte = next(run);

    if (byte >= 224)
        return byte % 12;
    place %= LINKS;
    return place < 4 ? byte % 6 : place < 6 ? 6 + byte % 3 : 9 + byte % 3;
}

static void say_control(struct run *run, struct fake_link *link, uint8_t place)
{
    Pmd__Start start = PMD__START__INIT;
    Pmd__Finish finish = PMD__FINISH__INIT;
    Pmd__Snapshot snapshot = PMD__SNAPSHOT__INIT;
    Pmd__Set set = PMD__SET__INIT;
    Pmd__Report report = PMD__REPORT__INIT;
    Pmd__LogAck ack = PMD__LOG_ACK__INIT;

    switch (control_request(run, place)) {
    case 0:
        say_create(run, link);
        break;
    case 1:
        say_configure(run, link);
        break;
    case 2:
        say(run, link, FRAME_START, &start);
        break;
    case 3:
        say_step_end(run, link);
        break;
    case 4:
        say_barrier(run, link);
        break;
    case 5:
        finish.step = open_step(run);
        say(run, link, FRAME_FINISH, &finish);
        break;
    case 6:
        snapshot.slots = next(run) % 2;
        snapshot.gone = number(run, run->server.coordinator.hold * (next(run) % 2u));
        say(run, link, FRAME_SNAPSHOT, &snapshot);
        break;
    case 7:
        set.key = (char *)word(run, "learning-rate");
        set.value = real(run, 0.25);
        say(run, link, FRAME_SET, &set);
        break;
    case 9:
        report.prepared_plus_1 = number(run, run->server.coordinator.committed_plus_1 + 1);
        say(run, link, FRAME_REPORT, &report);
        break;
    case 10:
        ack.index = number(run, run->server.coordinator.log_first);
        say(run, link, FRAME_LOG_ACK, &ack);
        break;
    default:
        say(run, link, FRAME_HEARTBEAT, NULL);
    }
}

/* Messages without anything in them that matters, of any role. */
static void say_plain(struct run *run, struct fake_link *link)
{
    Pmd__List list = PMD__LIST__INIT;
    Pmd__Status status = PMD__STATUS__INIT;
    Pmd__Release release = PMD__RELEASE__INIT;
    Pmd__Shutdown shutdown = PMD__SHUTDOWN__INIT;
    Pmd__Complaint complaint = PMD__COMPLAINT__INIT;
    Pmd__Done done = PMD__DONE__INIT;

    complaint.status = number32(run, STATUS_INTERNAL);
    complaint.message = "a complaint";
    release.hold = number(run, 1);
    switch (next(run) % 16) {
    case 0:
        say(run, link, FRAME_SHUTDOWN, &shutdown);
        break;
    case 1:
        say(run, link, FRAME_COMPLAINT, &complaint);
        break;
    case 2:
        say(run, link, FRAME_DONE, &done);
        break;
    case 3:
    case 4:
    case 5:
        say(run, link, FRAME_LIST, &list);
        break;
    case 6:
    case 7:
        say(run, link, FRAME_RELEASE, &release);
        break;
    default:
        say(run, link, FRAME_STATUS, &status);
    }
}

/* ---- what is said to the data plane ---- */

/* Blocks that there are, for the most part. */
static size_t choose_blocks(struct run *run, uint32_t *variables, uint32_t *blocks)
{
    const struct store *store = &run->server.service.store;
    size_t count = next(run) % 16 == 15 ? LIMIT_FRAME_BLOCKS : next(run) % 4u;
    uint8_t byte = next(run);

    for (size_t i = 0; i < count; i++) {
        const struct block *block = store->block_count
                                        ? &store->blocks[(byte + i) % store->block_count]
                                        : NULL;
        variables[i] = count > 8 ? (block ? block->variable : 0)
                                 : number32(run, block ? block->variable : 0);
        blocks[i] = count > 8 ? (block ? block->number : 0)
                              : number32(run, block ? block->number : 0);
    }
    return count;
}

static void say_push(struct run *run, struct fake_link *link)
{
    static uint32_t variables[LIMIT_FRAME_BLOCKS], blocks[LIMIT_FRAME_BLOCKS],
        rows[LIMIT_FRAME_BLOCKS];
    struct store *store = &run->server.service.store;
    Pmd__Push push = PMD__PUSH__INIT;
    uint64_t bytes = 0;

    push.step = open_step(run);
    push.kind = (Pmd__PushKind)number32(run, next(run) % 4u);
    push.encoding = (Pmd__PushEncoding)number32(run, next(run) % 4 == 3);
    push.n_variable = push.n_block = choose_blocks(run, variables, blocks);
    push.variable = variables;
    push.block = blocks;
    push.rows = rows;
    push.n_rows = push.encoding == 1 && next(run) < 250 ? push.n_block : 0;
    memset(payload, next(run), 256);
    for (size_t i = 0; i < push.n_block; i++) {
        struct block *block = run->server.service.store_ready
                                  ? store_find(store, variables[i], blocks[i])
                                  : NULL;
        rows[i] = push.n_rows ? next(run) % 3u : 0;
        if (block && push.n_rows && bytes + 8 < sizeof payload) {
            payload[bytes] = next(run) % 4; /* row numbers of one byte */
            memset(payload + bytes + 1, 0, 3);
            payload[bytes + 4] = next(run) % 4;
            memset(payload + bytes + 5, 0, 3);
        }
        if (block)
            bytes += push.n_rows ? (rows[i] ? store_rows_bytes(store, block, rows[i]) : 0)
                                 : block->bytes;
    }
    bytes = next(run) < 240 ? bytes : number(run, bytes);
    if (bytes <= sizeof payload)
        fake_link_say_payload(link, FRAME_PUSH, &push, ++run->request, 0, payload, bytes);
}

static void say_data(struct run *run, struct fake_link *link, uint8_t place)
{
    static uint32_t variables[LIMIT_FRAME_BLOCKS], blocks[LIMIT_FRAME_BLOCKS];
    Pmd__StepBegin begin = PMD__STEP_BEGIN__INIT;
    Pmd__StepClose close = PMD__STEP_CLOSE__INIT;
    Pmd__Pull pull = PMD__PULL__INIT;
    Pmd__Read read = PMD__READ__INIT;

    uint8_t byte = next(run);
    switch (place % LINKS == 5 && byte < 224 ? 3 : byte % 6) {
    case 0:
        begin.step = open_step(run);
        begin.examples = number(run, next(run) % 3u);
        say(run, link, FRAME_STEP_BEGIN, &begin);
        break;
    case 1:
        close.step = open_step(run);
        say(run, link, FRAME_STEP_CLOSE, &close);
        break;
    case 2:
        pull.step = open_step(run) - next(run) % 2;
        pull.n_variable = pull.n_block = choose_blocks(run, variables, blocks);
        pull.variable = variables;
        pull.block = blocks;
        say(run, link, FRAME_PULL, &pull);
        break;
    case 3:
        read.hold = number(run, run->server.service.store.hold.number);
        read.slot = number32(run, next(run) % 3u);
        read.digest = next(run) % 2;
        read.n_variable = read.n_block = choose_blocks(run, variables, blocks);
        read.variable = variables;
        read.block = blocks;
        say(run, link, FRAME_READ, &read);
        break;
    default:
        say_push(run, link);
    }
}

/* ---- what the coordinator says to a server that is not the first ---- */

static void say_registry(struct run *run, struct fake_link *link)
{
    Pmd__VariableSpec specs[3];
    Pmd__VariableSpec *pointers[3];
    Pmd__OptimizerSpec optimizer = PMD__OPTIMIZER_SPEC__INIT;
    Pmd__OptimizerSpec *optimizers[] = {&optimizer};
    Pmd__Registry page = PMD__REGISTRY__INIT;
    uint64_t length = 1 + next(run);
    static const char *const names[] = {"w", "a", "n"};

    for (int i = 0; i < 3; i++) {
        pmd__variable_spec__init(&specs[i]);
        specs[i].name = (char *)word(run, names[i]);
        specs[i].dtype = (Pmd__DataType)number32(run, i == 2 ? PMD__DATA_TYPE__DATA_TYPE_INT64
                                                             : PMD__DATA_TYPE__DATA_TYPE_FLOAT32);
        specs[i].n_shape = 1;
        specs[i].shape = &length;
        specs[i].trainable = i == 0;
        specs[i].optimizer = number32(run, 0);
        specs[i].initializer = (Pmd__InitializerKind)number32(run, i == 1 ? 6 : 0);
        pointers[i] = &specs[i];
    }
    optimizer.optimizer = number32(run, 0);
    optimizer.name = (char *)word(run, "adam");
    page.first = number32(run, 0);
    page.total = number32(run, 3);
    page.servers = number32(run, 1);
    page.n_variables = next(run) < 192 ? 3 : next(run) % 4u;
    page.variables = pointers;
    page.n_optimizers = next(run) < 224;
    page.optimizers = optimizers;
    say(run, link, FRAME_REGISTRY, &page);
}

static void say_entry(struct run *run, struct fake_link *link)
{
    Pmd__LogEntry entry = PMD__LOG_ENTRY__INIT;
    const struct service *service = &run->server.service;

    entry.index = number(run, run->server.uplink.log_index + 1);
    entry.kind = (Pmd__LogKind)number32(run, 1 + next(run) % 4u);
    entry.step = number(run, service->consistency.committed_plus_1 - (entry.kind == 2));
    entry.grant = number(run, entry.step + 2);
    entry.hold = number(run, entry.kind == 2 || next(run) % 4 == 3 ? service->hold_seen + 1 : 0);
    entry.hold_slots = next(run) % 2;
    entry.learning_rate = real(run, 0.5);
    entry.optimizer = number32(run, 0);
    entry.rank = number32(run, next(run) % 2u);
    say(run, link, FRAME_LOG_ENTRY, &entry);
}

static void say_down(struct run *run)
{
    struct fake_link *link = fake_link_made(&run->net);
    Pmd__HelloReply reply = PMD__HELLO_REPLY__INIT;
    Pmd__End end = PMD__END__INIT;
    Pmd__Failure failure = PMD__FAILURE__INIT;

    if (!link || link->closed)
        return;
    if (!link->open) {
        if (next(run) < 224)
            fake_link_up(link);
        else
            fake_link_break(link);
        return;
    }
    switch (next(run) % 12) {
    case 0:
    case 1:
        reply.job = (char *)word(run, "job");
        reply.server = number32(run, 0);
        reply.servers = number32(run, 1);
        reply.workers = number32(run, 2);
        say(run, link, FRAME_HELLO_REPLY, &reply);
        break;
    case 2:
    case 3:
        say_registry(run, link);
        break;
    case 4:
        fake_link_break(link);
        break;
    case 5:
        end.status = number32(run, 0);
        end.message = "over";
        end.exit_code = number32(run, 0);
        if (next(run) % 8 == 0)
            say(run, link, FRAME_END, &end);
        break;
    case 6:
        failure.status = number32(run, 3);
        failure.message = "no";
        if (next(run) % 8 == 0)
            say(run, link, FRAME_FAILURE, &failure);
        break;
    case 7:
        say(run, link, FRAME_HEARTBEAT, NULL);
        break;
    default:
        say_entry(run, link);
    }
}

/* ---- the tape ---- */

static void say_raw(struct run *run, struct fake_link *link)
{
    struct frame_head head = {.type = (enum frame_type)(1 + next(run) % (FRAME_TYPES - 1)),
                              .lineage = number32(run, FRAME_LINEAGE),
                              .map_version = number32(run, FRAME_MAP_VERSION),
                              .request = ++run->request,
                              .commit_plus_1 = number(run, 0)};
    size_t count = next(run) % 32;

    if ((size_t)(run->end - run->at) < count)
        count = (size_t)(run->end - run->at);
    fake_link_say_raw(link, &head, run->at, count, payload, number(run, 0) % 64);
    run->at += count;
}

/* A rank does its part of a step as it should: so the tape gets far with few bytes. */
static void whole_step(struct run *run, uint32_t rank, bool rows, bool pulls)
{
    struct fake_link *control = live(run, (uint8_t)(2 * rank));
    struct fake_link *bulk = live(run, (uint8_t)(2 * rank + 1));
    struct store *store = &run->server.service.store;
    uint64_t step = run->server.service_ready ? run->server.service.consistency.committed_plus_1
                                              : 0;
    Pmd__StepBegin begin = PMD__STEP_BEGIN__INIT;
    Pmd__StepClose close = PMD__STEP_CLOSE__INIT;
    Pmd__StepEnd end = PMD__STEP_END__INIT;

    if (!control || !bulk)
        return;
    begin.step = close.step = end.step = step;
    begin.examples = 1 + rank;
    if (step > 0)
        fake_link_say(bulk, FRAME_STEP_BEGIN, &begin, 0, 0);
    memset(payload, 1, 1024);
    for (uint32_t i = 0; i < store->block_count; i++) {
        struct block *block = &store->blocks[i];
        const struct store_variable *variable = &store->variables[block->variable];
        if (step == 0 && (variable->initializer.kind != INITIALIZER_ASSIGNED || rank > 0))
            continue;
        Pmd__Push push = PMD__PUSH__INIT;
        push.step = step;
        push.kind = step == 0                  ? PMD__PUSH_KIND__PUSH_KIND_ASSIGN
                    : variable->optimizer >= 0 ? PMD__PUSH_KIND__PUSH_KIND_GRADIENT
                                               : PMD__PUSH_KIND__PUSH_KIND_ADD;
        push.n_variable = push.n_block = 1;
        push.variable = &block->variable;
        push.block = &block->number;
        uint64_t bytes = block->bytes;
        uint32_t row_count = 1;
        if (rows && step > 0 && store_rows_bytes(store, block, row_count) > 0) {
            push.encoding = PMD__PUSH_ENCODING__PUSH_ENCODING_ROWS;
            push.n_rows = 1;
            push.rows = &row_count;
            bytes = store_rows_bytes(store, block, row_count);
            memset(payload, 0, 8); /* row 0 */
        }
        fake_link_say_payload(bulk, FRAME_PUSH, &push, ++run->request, 0, payload, bytes);
        Pmd__Pull pull = PMD__PULL__INIT;
        pull.step = step;
        pull.n_variable = pull.n_block = 1;
        pull.variable = &block->variable;
        pull.block = &block->number;
        if (pulls)
            fake_link_say(bulk, FRAME_PULL, &pull, ++run->request, 0);
    }
    if (step == 0)
        return;
    fake_link_say(bulk, FRAME_STEP_CLOSE, &close, 0, 0);
    fake_link_say(control, FRAME_STEP_END, &end, 0, 0);
}

static void prelude(struct run *run)
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
        connect_as(run, place);
        fake_net_run(&run->net);
    }
    for (uint8_t place = 4; place < 7; place++)
        connect_as(run, place);
    fake_net_run(&run->net);
    run->at = at;
    link = live(run, 0);
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
        link = live(run, 2 * rank);
        if (link)
            fake_link_say(link, FRAME_START, &start, ++run->request, 0);
    }
    fake_net_run(&run->net);
    whole_step(run, 0, false, false);
    fake_net_run(&run->net);
}

static void operation(struct run *run)
{
    static const uint32_t pauses_ms[] = {1, 100, 600, 1100, 5100, 10600, 61000, DAY_MS};
    uint8_t what = next(run) % 24;
    uint8_t place = next(run);
    struct fake_link *link = live(run, place);

    if (what < 2)
        connect_as(run, place);
    else if (what < 4)
        whole_step(run, place % 2, place & 16, !(place & 32));
    else if (what == 4 && place < 200)
        fake_net_advance(&run->net, pauses_ms[place % 4]);
    else if (what == 4 && place % 8 < 7)
        fake_net_advance(&run->net, pauses_ms[place % 7]);
    else if (what == 5)
        alloc_fail_nth(1 + place % 40u, place >= 240);
    else if (what < 8 && !run->coordinator)
        say_down(run);
    else if (!link)
        connect_as(run, place);
    else if (what == 8)
        fake_link_break(link);
    else if (what == 9)
        link->stalled = !link->stalled;
    else if (what == 10)
        fake_link_write(link, next(run) % 4);
    else if (what == 11)
        link->half = true;
    else if (what == 12)
        fake_link_finish(link);
    else if (what == 13)
        link->full = next(run) % 16 == 15;
    else if (what == 14)
        say_raw(run, link);
    else if (what == 15)
        say_plain(run, link);
    else if (what < 19)
        say_control(run, link, place);
    else
        say_data(run, link, place);
    if (next(run) < 200)
        fake_net_run(&run->net); /* else several things come at once */
}

/* Whatever the others did: who behaves is answered. */
static void assert_answers(struct run *run)
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
    static struct run run;
    struct error err;

    if (size < 1)
        return 0;
    run = (struct run){.at = data + 1, .end = data + size};
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
