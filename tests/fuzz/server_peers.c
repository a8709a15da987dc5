#include "tests/fuzz/server_peers.h"

#include <stdio.h>
#include <string.h>

enum {
    CONNECTS_MAX = 60,
    ELEMENTS_MAX = 200000, /* of all variables of a run */
    PAYLOAD_MAX = 1024 * 1024,
};

static uint8_t payload[PAYLOAD_MAX];

uint8_t run_next(struct server_run *run)
{
    return run->at < run->end ? *run->at++ : 0;
}

uint64_t run_number(struct server_run *run, uint64_t fitting)
{
    uint8_t byte = run_next(run);

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
        return (uint64_t)1 << (run_next(run) % 64);
    default:
        return run_next(run);
    }
}

static uint32_t number32(struct server_run *run, uint64_t fitting)
{
    return (uint32_t)run_number(run, fitting);
}

static const char *word(struct server_run *run, const char *fitting)
{
    static const char *const words[] = {
        "", "w", "big", "n", "a", "job", "learning-rate", "x", "sgd", "learning_rate", "adam"};
    uint8_t byte = run_next(run);

    return byte < 192 ? fitting : words[byte % (sizeof words / sizeof words[0])];
}

static double real(struct server_run *run, double fitting)
{
    static const double reals[] = {0, -1, 1e308, -1e308, 0.5};
    uint8_t byte = run_next(run);

    if (byte == 255)
        return 1e308 * 10;
    return byte < 192 ? fitting : reals[byte % (sizeof reals / sizeof reals[0])];
}

struct fake_link *run_link(struct server_run *run, uint8_t byte)
{
    struct fake_link *link = run->links[byte % PEER_LINKS];

    return link && !link->closed && link->open ? link : NULL;
}

static void say(struct server_run *run, struct fake_link *link, enum frame_type type,
                const void *message)
{
    uint64_t committed_plus_1 = run->server.service_ready
                                    ? run->server.service.consistency.committed_plus_1
                                    : 0;
    uint8_t byte = run_next(run);

    fake_link_say(link, type, message, ++run->request,
                  byte < 224 ? 0 : committed_plus_1 + byte % 4);
}

static uint64_t open_step(struct server_run *run)
{
    uint64_t committed_plus_1 = run->server.service_ready
                                    ? run->server.service.consistency.committed_plus_1
                                    : 0;

    return run_number(run, committed_plus_1 + run_next(run) % 2);
}

/* ---- who there is ---- */

void peer_connects(struct server_run *run, uint8_t place)
{
    Pmd__Hello hello = PMD__HELLO__INIT;
    struct fake_link *link;

    place %= PEER_LINKS;
    if (++run->connects > CONNECTS_MAX)
        return;
    hello.protocol_major = number32(run, PROTOCOL_MAJOR);
    hello.protocol_minor = number32(run, PROTOCOL_MINOR);
    hello.features = run_next(run) & 1;
    hello.job = (char *)word(run, "job");
    hello.token.data = (uint8_t *)"secret";
    hello.token.len = run_next(run) == 255 ? 3 : 6;
    hello.role = place < 4   ? PMD__ROLE__ROLE_WORKER
                 : place < 6 ? PMD__ROLE__ROLE_READER
                 : place < 8 ? PMD__ROLE__ROLE_SERVER
                             : (Pmd__Role)number32(run, PMD__ROLE__ROLE_WORKER);
    hello.channel = place == 7 || place % 2 == 0 ? PMD__CHANNEL__CHANNEL_CONTROL
                                                 : PMD__CHANNEL__CHANNEL_BULK;
    hello.rank_plus_1 = place < 4 ? number32(run, place / 2 + 1u) : number32(run, 0);
    hello.incarnation = run_number(run, place < 4 && place % 2 ? 1 : 0);
    hello.process = run_number(run, 100u + place / 2u);
    hello.connection = run_number(run, ++run->connection);
    hello.address = (char *)word(run, "h1:7070");
    hello.program = "fuzz";
    hello.log_index = run_number(run, 0);
    link = fake_link_accept(&run->net, "10.0.0.1:1");
    run->links[place] = link;
    if (place == 9 && run_next(run) % 2)
        return; /* it says nothing yet */
    say(run, link, FRAME_HELLO, &hello);
}

/* ---- what is said to the coordinator ---- */

static void say_create(struct server_run *run, struct fake_link *link)
{
    static const uint64_t lengths[] = {1, 2, 3, 5, 40, 70000, 0, UINT64_MAX};
    Pmd__VariableSpec spec = PMD__VARIABLE_SPEC__INIT;
    Pmd__Create create = PMD__CREATE__INIT;
    uint64_t shape[LIMIT_RANK], elements = 1;

    spec.name = (char *)word(run, "w");
    spec.dtype = (Pmd__DataType)number32(run, PMD__DATA_TYPE__DATA_TYPE_FLOAT32);
    spec.n_shape = run_next(run) % 4;
    spec.shape = shape;
    for (size_t i = 0; i < spec.n_shape; i++) {
        shape[i] = lengths[run_next(run) % 8];
        if (__builtin_mul_overflow(elements, shape[i], &elements))
            elements = UINT64_MAX;
    }
    /* What would be allowed and take much memory is left out. */
    if (elements <= LIMIT_VARIABLE_BYTES) {
        if (run->elements + elements > ELEMENTS_MAX)
            return;
        run->elements += elements;
    }
    spec.initializer = (Pmd__InitializerKind)number32(run, run_next(run) % 7u);
    spec.initializer_a = real(run, -0.5);
    spec.initializer_b = real(run, 0.5);
    spec.initializer_seed = run_next(run);
    spec.trainable = run_next(run) % 2;
    spec.optimizer = number32(run, 0);
    create.spec = &spec;
    say(run, link, FRAME_CREATE, &create);
}

static void say_configure(struct server_run *run, struct fake_link *link)
{
    Pmd__OptimizerSpec spec = PMD__OPTIMIZER_SPEC__INIT;
    Pmd__Configure configure = PMD__CONFIGURE__INIT;
    char *keys[3];
    double values[3];

    spec.optimizer = number32(run, 0);
    spec.name = (char *)word(run, "adam");
    spec.n_key = spec.n_value = run_next(run) % 4;
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

static size_t make_metrics(struct server_run *run, struct metrics *metrics)
{
    size_t count = run_next(run) % 8 == 7 ? LIMIT_METRICS : run_next(run) % 3;
    uint8_t first = run_next(run);

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

static void say_step_end(struct server_run *run, struct fake_link *link)
{
    Pmd__StepEnd end = PMD__STEP_END__INIT;
    struct metrics metrics;

    end.step = open_step(run);
    end.n_metrics = make_metrics(run, &metrics);
    end.metrics = metrics.pointers;
    end.restart_totals = run_next(run) % 8 == 7;
    say(run, link, FRAME_STEP_END, &end);
}

static void say_barrier(struct server_run *run, struct fake_link *link)
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
static uint8_t control_request(struct server_run *run, uint8_t place)
{
    uint8_t byte = run_next(run);

    if (byte >= 224)
        return byte % 12;
    place %= PEER_LINKS;
    return place < 4 ? byte % 6 : place < 6 ? 6 + byte % 3 : 9 + byte % 3;
}

void peer_says_control(struct server_run *run, struct fake_link *link, uint8_t place)
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
        snapshot.slots = run_next(run) % 2;
        snapshot.gone = run_number(run, run->server.coordinator.hold * (run_next(run) % 2u));
        say(run, link, FRAME_SNAPSHOT, &snapshot);
        break;
    case 7:
        set.key = (char *)word(run, "learning-rate");
        set.value = real(run, 0.25);
        say(run, link, FRAME_SET, &set);
        break;
    case 9:
        report.prepared_plus_1 = run_number(run, run->server.coordinator.committed_plus_1 + 1);
        say(run, link, FRAME_REPORT, &report);
        break;
    case 10:
        ack.index = run_number(run, run->server.coordinator.log_first);
        say(run, link, FRAME_LOG_ACK, &ack);
        break;
    default:
        say(run, link, FRAME_HEARTBEAT, NULL);
    }
}

/* Messages without anything in them that matters, of any role. */
void peer_says_plain(struct server_run *run, struct fake_link *link)
{
    Pmd__List list = PMD__LIST__INIT;
    Pmd__Status status = PMD__STATUS__INIT;
    Pmd__Release release = PMD__RELEASE__INIT;
    Pmd__Shutdown shutdown = PMD__SHUTDOWN__INIT;
    Pmd__Complaint complaint = PMD__COMPLAINT__INIT;
    Pmd__Done done = PMD__DONE__INIT;

    complaint.status = number32(run, STATUS_INTERNAL);
    complaint.message = "a complaint";
    release.hold = run_number(run, 1);
    switch (run_next(run) % 16) {
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
static size_t choose_blocks(struct server_run *run, uint32_t *variables, uint32_t *blocks)
{
    const struct store *store = &run->server.service.store;
    size_t count = run_next(run) % 16 == 15 ? LIMIT_FRAME_BLOCKS : run_next(run) % 4u;
    uint8_t byte = run_next(run);

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

static void say_push(struct server_run *run, struct fake_link *link)
{
    static uint32_t variables[LIMIT_FRAME_BLOCKS], blocks[LIMIT_FRAME_BLOCKS],
        rows[LIMIT_FRAME_BLOCKS];
    struct store *store = &run->server.service.store;
    Pmd__Push push = PMD__PUSH__INIT;
    uint64_t bytes = 0;

    push.step = open_step(run);
    push.kind = (Pmd__PushKind)number32(run, run_next(run) % 4u);
    push.encoding = (Pmd__PushEncoding)number32(run, run_next(run) % 4 == 3);
    push.n_variable = push.n_block = choose_blocks(run, variables, blocks);
    push.variable = variables;
    push.block = blocks;
    push.rows = rows;
    push.n_rows = push.encoding == 1 && run_next(run) < 250 ? push.n_block : 0;
    memset(payload, run_next(run), 256);
    for (size_t i = 0; i < push.n_block; i++) {
        struct block *block = run->server.service.store_ready
                                  ? store_find(store, variables[i], blocks[i])
                                  : NULL;
        rows[i] = push.n_rows ? run_next(run) % 3u : 0;
        if (block && push.n_rows && bytes + 8 < sizeof payload) {
            payload[bytes] = run_next(run) % 4; /* row numbers of one byte */
            memset(payload + bytes + 1, 0, 3);
            payload[bytes + 4] = run_next(run) % 4;
            memset(payload + bytes + 5, 0, 3);
        }
        if (block)
            bytes += push.n_rows ? (rows[i] ? store_rows_bytes(store, block, rows[i]) : 0)
                                 : block->bytes;
    }
    bytes = run_next(run) < 240 ? bytes : run_number(run, bytes);
    if (bytes <= sizeof payload)
        fake_link_say_payload(link, FRAME_PUSH, &push, ++run->request, 0, payload, bytes);
}

void peer_says_data(struct server_run *run, struct fake_link *link, uint8_t place)
{
    static uint32_t variables[LIMIT_FRAME_BLOCKS], blocks[LIMIT_FRAME_BLOCKS];
    Pmd__StepBegin begin = PMD__STEP_BEGIN__INIT;
    Pmd__StepClose close = PMD__STEP_CLOSE__INIT;
    Pmd__Pull pull = PMD__PULL__INIT;
    Pmd__Read read = PMD__READ__INIT;

    uint8_t byte = run_next(run);
    switch (place % PEER_LINKS == 5 && byte < 224 ? 3 : byte % 6) {
    case 0:
        begin.step = open_step(run);
        begin.examples = run_number(run, run_next(run) % 3u);
        say(run, link, FRAME_STEP_BEGIN, &begin);
        break;
    case 1:
        close.step = open_step(run);
        say(run, link, FRAME_STEP_CLOSE, &close);
        break;
    case 2:
        pull.step = open_step(run) - run_next(run) % 2;
        pull.n_variable = pull.n_block = choose_blocks(run, variables, blocks);
        pull.variable = variables;
        pull.block = blocks;
        say(run, link, FRAME_PULL, &pull);
        break;
    case 3:
        read.hold = run_number(run, run->server.service.store.hold.number);
        read.slot = number32(run, run_next(run) % 3u);
        read.digest = run_next(run) % 2;
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

static void say_registry(struct server_run *run, struct fake_link *link)
{
    Pmd__VariableSpec specs[3];
    Pmd__VariableSpec *pointers[3];
    Pmd__OptimizerSpec optimizer = PMD__OPTIMIZER_SPEC__INIT;
    Pmd__OptimizerSpec *optimizers[] = {&optimizer};
    Pmd__Registry page = PMD__REGISTRY__INIT;
    uint64_t length = 1 + run_next(run);
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
    page.n_variables = run_next(run) < 192 ? 3 : run_next(run) % 4u;
    page.variables = pointers;
    page.n_optimizers = run_next(run) < 224;
    page.optimizers = optimizers;
    say(run, link, FRAME_REGISTRY, &page);
}

static void say_entry(struct server_run *run, struct fake_link *link)
{
    Pmd__LogEntry entry = PMD__LOG_ENTRY__INIT;
    const struct service *service = &run->server.service;

    entry.index = run_number(run, run->server.uplink.log_index + 1);
    entry.kind = (Pmd__LogKind)number32(run, 1 + run_next(run) % 4u);
    entry.step = run_number(run, service->consistency.committed_plus_1 - (entry.kind == 2));
    entry.grant = run_number(run, entry.step + 2);
    entry.hold = run_number(run,
                            entry.kind == 2 || run_next(run) % 4 == 3 ? service->hold_seen + 1 : 0);
    entry.hold_slots = run_next(run) % 2;
    entry.learning_rate = real(run, 0.5);
    entry.optimizer = number32(run, 0);
    entry.rank = number32(run, run_next(run) % 2u);
    say(run, link, FRAME_LOG_ENTRY, &entry);
}

void coordinator_says(struct server_run *run)
{
    struct fake_link *link = fake_link_made(&run->net);
    Pmd__HelloReply reply = PMD__HELLO_REPLY__INIT;
    Pmd__End end = PMD__END__INIT;
    Pmd__Failure failure = PMD__FAILURE__INIT;

    if (!link || link->closed)
        return;
    if (!link->open) {
        if (run_next(run) < 224)
            fake_link_up(link);
        else
            fake_link_break(link);
        return;
    }
    switch (run_next(run) % 12) {
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
        if (run_next(run) % 8 == 0)
            say(run, link, FRAME_END, &end);
        break;
    case 6:
        failure.status = number32(run, 3);
        failure.message = "no";
        if (run_next(run) % 8 == 0)
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

void peer_says_raw(struct server_run *run, struct fake_link *link)
{
    struct frame_head head = {.type = (enum frame_type)(1 + run_next(run) % (FRAME_TYPES - 1)),
                              .lineage = number32(run, FRAME_LINEAGE),
                              .map_version = number32(run, FRAME_MAP_VERSION),
                              .request = ++run->request,
                              .commit_plus_1 = run_number(run, 0)};
    size_t count = run_next(run) % 32;

    if ((size_t)(run->end - run->at) < count)
        count = (size_t)(run->end - run->at);
    fake_link_say_raw(link, &head, run->at, count, payload, run_number(run, 0) % 64);
    run->at += count;
}

void peer_does_step(struct server_run *run, uint32_t rank, bool rows, bool pulls)
{
    struct fake_link *control = run_link(run, (uint8_t)(2 * rank));
    struct fake_link *bulk = run_link(run, (uint8_t)(2 * rank + 1));
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
