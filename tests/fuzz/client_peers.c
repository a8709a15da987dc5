#include "tests/fuzz/client_peers.h"

#include "proto/cluster.pb-c.h"
#include "proto/data.pb-c.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const words[] = {"", "w", "x", "s9:1", "zz zz", "job", "loss", "accuracy"};

static uint8_t payload[LIMIT_PAYLOAD_BYTES];

/* ---- truth and lies ---- */

static uint64_t number(struct peers *peers, uint64_t truth)
{
    uint64_t said = peers->lying ? tape_number(&peers->tape, truth) : truth;

    peers->lied = peers->lied || said != truth;
    return said;
}

static uint32_t number32(struct peers *peers, uint32_t truth)
{
    return (uint32_t)number(peers, truth);
}

static char *word(struct peers *peers, const char *truth)
{
    const char *said = truth;

    if (peers->lying)
        said = tape_word(&peers->tape, truth, words, sizeof words / sizeof words[0]);
    peers->lied = peers->lied || said != truth;
    return (char *)said;
}

static bool lies(struct peers *peers)
{
    bool lie = peers->lying && tape_byte(&peers->tape) >= 208;

    peers->lied = peers->lied || lie;
    return lie;
}

static size_t count_of(struct peers *peers, size_t truth, size_t count_max)
{
    uint64_t count = number(peers, truth);

    return count <= count_max ? (size_t)count : count_max;
}

static void say_payload(struct peers *peers, struct fake_link *link, enum frame_type type,
                        const void *message, uint64_t request, size_t bytes)
{
    int times = lies(peers) ? tape_byte(&peers->tape) % 3 : 1;
    uint64_t number_said = number(peers, request);
    uint64_t commit_plus_1 = number(peers, peers->committed_plus_1);

    for (int i = 0; i < times; i++)
        fake_link_say_payload(link, type, message, number_said, commit_plus_1, payload, bytes);
}

static void say(struct peers *peers, struct fake_link *link, enum frame_type type,
                const void *message, uint64_t request)
{
    say_payload(peers, link, type, message, request, 0);
}

/* ---- the job ---- */

const char *peers_coordinator(void)
{
    return "c:7070";
}

size_t peers_bytes(const struct peers *peers, uint32_t variable)
{
    const struct variable_spec *spec = &peers->registry.variables[variable];

    return (size_t)spec->elements * dtype_bytes(spec->dtype);
}

uint8_t peers_value(uint64_t step)
{
    return (uint8_t)(1 + step % 100);
}

static void place(struct peers *peers)
{
    struct placement_variable variables[PEERS_VARIABLES];

    for (uint32_t i = 0; i < peers->registry.variable_count; i++)
        variables[i] = (struct placement_variable){i, peers->registry.variables[i].dtype,
                                                   peers->registry.variables[i].elements};
    assert(placement_init(&peers->placement, variables, peers->registry.variable_count,
                          peers->servers, NULL) == STATUS_OK);
}

void peers_init(struct peers *peers, struct tape tape, uint32_t servers, uint32_t rank, bool large)
{
    static const struct variable_spec specs[PEERS_VARIABLES] = {
        {.name = "dense",
         .dtype = DTYPE_FLOAT32,
         .rank = 2,
         .shape = {6, 2},
         .elements = 12,
         .trainable = true},
        {.name = "rows",
         .dtype = DTYPE_FLOAT32,
         .rank = 2,
         .shape = {50, 3},
         .elements = 150,
         .trainable = true},
        {.name = "integers", .dtype = DTYPE_INT64, .rank = 1, .shape = {3}, .elements = 3},
        {.name = "scalar", .dtype = DTYPE_FLOAT64, .elements = 1},
        {.name = "assigned",
         .dtype = DTYPE_FLOAT32,
         .rank = 1,
         .shape = {5},
         .elements = 5,
         .initializer = PMD__INITIALIZER_KIND__INITIALIZER_KIND_ASSIGNED},
        {.name = "large",
         .dtype = DTYPE_FLOAT32,
         .rank = 1,
         .shape = {70000},
         .elements = 70000,
         .trainable = true},
    };
    static const struct optimizer_spec optimizer = {.name = "sgd"};
    uint32_t id;

    *peers = (struct peers){.tape = tape, .servers = servers, .rank = rank};
    fake_net_init(&peers->net);
    for (uint32_t i = 0; i < PEERS_VARIABLES - !large; i++)
        assert(registry_add(&peers->registry, &specs[i], &id, NULL) == STATUS_OK);
    assert(registry_add_optimizer(&peers->registry, &optimizer, NULL) == STATUS_OK);
    place(peers);
}

void peers_release(struct peers *peers)
{
    fake_net_release(&peers->net);
    registry_release(&peers->registry);
    placement_release(&peers->placement);
}

/* ---- connections ---- */

static bool is_control(const struct fake_link *link)
{
    return link->address[0] == 'c';
}

static uint32_t server_of(const struct peers *peers, const struct fake_link *link)
{
    return (uint32_t)(uint8_t)link->address[1] % peers->servers;
}

static bool is_live(const struct fake_link *link)
{
    return link->open && !link->closing && !link->closed;
}

struct fake_link *peers_link(struct peers *peers, uint8_t choice)
{
    size_t count = 0;

    for (struct fake_link *link = peers->net.links; link; link = link->next)
        count += is_live(link);
    for (struct fake_link *link = peers->net.links; count && link; link = link->next) {
        if (is_live(link) && choice % count-- == 0)
            return link;
    }
    return NULL;
}

void peers_up(struct peers *peers)
{
    for (struct fake_link *link = peers->net.links; link; link = link->next) {
        if (!link->open && !link->closing && !link->closed)
            fake_link_up(link);
    }
}

void peers_trouble(struct peers *peers, struct fake_link *link)
{
    switch (tape_byte(&peers->tape) % 6) {
    case 0:
        fake_link_break(link);
        break;
    case 1:
        link->stalled = !link->stalled;
        break;
    case 2:
        fake_link_write(link, tape_byte(&peers->tape) % 4);
        break;
    case 3:
        link->half = true;
        break;
    case 4:
        fake_link_finish(link);
        break;
    default:
        link->full = !link->full;
    }
}

void peers_heal(struct peers *peers)
{
    peers->net.refuse_connects = false;
    peers->net.send_fails = 0;
    for (struct fake_link *link = peers->net.links; link; link = link->next) {
        link->stalled = link->full = false;
        if (!link->closed)
            fake_link_finish(link);
    }
}

/* ---- answers of the coordinator ---- */

struct totals {
    Pmd__Metric metrics[LIMIT_METRICS];
    Pmd__Metric *pointers[LIMIT_METRICS];
};

static size_t fill_totals(struct peers *peers, struct totals *totals, size_t truth)
{
    size_t count = count_of(peers, truth, LIMIT_METRICS);

    for (size_t i = 0; i < count; i++) {
        pmd__metric__init(&totals->metrics[i]);
        totals->metrics[i].name = word(peers, i % 2 ? "loss" : "accuracy");
        totals->metrics[i].sum = (double)i;
        totals->metrics[i].count = (double)number(peers, 1);
        totals->pointers[i] = &totals->metrics[i];
    }
    return count;
}

static void say_commit(struct peers *peers, struct fake_link *link)
{
    Pmd__Commit commit = PMD__COMMIT__INIT;
    struct totals totals, running;

    commit.step = number(peers, peers->committed_plus_1 - 1);
    commit.grant = number(peers, peers->committed_plus_1 + 1);
    commit.n_totals = fill_totals(peers, &totals, 1);
    commit.totals = totals.pointers;
    commit.n_running = fill_totals(peers, &running, 2);
    commit.running = running.pointers;
    say(peers, link, FRAME_COMMIT, &commit, 0);
}

static void say_members(struct peers *peers, struct fake_link *link)
{
    Pmd__Members members = PMD__MEMBERS__INIT;
    char texts[PEERS_SERVERS_MAX + 1][8];
    char *addresses[PEERS_SERVERS_MAX + 1];

    members.servers_present = members.servers = number32(peers, peers->servers);
    members.workers_present = members.workers = number32(peers, 2);
    members.n_server_address = count_of(peers, peers->servers, PEERS_SERVERS_MAX + 1);
    for (size_t i = 0; i < members.n_server_address; i++) {
        snprintf(texts[i], sizeof texts[i], "s%zu:7", i);
        addresses[i] = word(peers, texts[i]);
    }
    members.server_address = addresses;
    say(peers, link, FRAME_MEMBERS, &members, 0);
}

static void say_hello_reply(struct peers *peers, struct fake_link *link, uint64_t features)
{
    Pmd__HelloReply reply = PMD__HELLO_REPLY__INIT;
    Pmd__Commit recent = PMD__COMMIT__INIT;
    Pmd__Commit *pointer = &recent;
    struct totals totals;

    reply.protocol_minor = PROTOCOL_MINOR;
    reply.features = number(peers, features);
    reply.job = word(peers, "job");
    reply.rank = number32(peers, peers->rank);
    reply.incarnation = number(peers, 3);
    reply.server = number32(peers, is_control(link) ? 0 : server_of(peers, link));
    reply.workers = number32(peers, 2);
    reply.servers = number32(peers, peers->servers);
    reply.committed_plus_1 = number(peers, peers->committed_plus_1);
    reply.grant = number(peers, peers->committed_plus_1 ? peers->committed_plus_1 + 1 : 0);
    reply.finished = number(peers, peers->finished);
    recent.step = number(peers, peers->committed_plus_1 - 1);
    recent.n_totals = fill_totals(peers, &totals, 1);
    recent.totals = totals.pointers;
    reply.n_recent = peers->committed_plus_1 > 0;
    reply.recent = &pointer;
    say(peers, link, FRAME_HELLO_REPLY, &reply, 1);
    if (is_control(link))
        say_members(peers, link);
}

static void say_failure(struct peers *peers, struct fake_link *link, enum status status,
                        uint64_t request)
{
    Pmd__Failure failure = PMD__FAILURE__INIT;

    failure.status = number32(peers, status);
    failure.message = word(peers, "no");
    say(peers, link, FRAME_FAILURE, &failure, request);
}

/* In two pages. */
static void say_registry(struct peers *peers, struct fake_link *link, uint64_t request)
{
    static struct registry_page page;

    for (uint32_t first = 0, count; first < peers->registry.variable_count; first += count) {
        count = (uint32_t)registry_page_fill(&peers->registry, first, peers->servers, &page);
        if (first == 0)
            count = 2;
        page.message.n_variables = count;
        page.message.first = number32(peers, page.message.first);
        page.message.total = number32(peers, page.message.total);
        page.message.servers = number32(peers, page.message.servers);
        for (uint32_t i = 0; i < count && peers->lying; i++) {
            Pmd__VariableSpec *spec = page.message.variables[i];
            spec->name = word(peers, spec->name);
            spec->dtype = (Pmd__DataType)number32(peers, spec->dtype);
            spec->trainable = number(peers, (uint64_t)spec->trainable) != 0;
            spec->initializer = (Pmd__InitializerKind)number32(peers, spec->initializer);
        }
        page.message.n_variables = count_of(peers, count, count);
        say(peers, link, FRAME_REGISTRY, &page.message, request);
    }
}

static void answer_create(struct peers *peers, struct fake_link *link,
                          const struct fake_heard *heard)
{
    const Pmd__Create *create = (const Pmd__Create *)heard->message;
    Pmd__CreateReply reply = PMD__CREATE_REPLY__INIT;
    uint32_t id;

    if (!registry_find(&peers->registry, create->spec->name, &id) || lies(peers)) {
        say_failure(peers, link, STATUS_FAILED_PRECONDITION, heard->request);
        return;
    }
    reply.variable = number32(peers, id);
    say(peers, link, FRAME_CREATE_REPLY, &reply, heard->request);
}

static void answer_barrier(struct peers *peers, struct fake_link *link,
                           const struct fake_heard *heard)
{
    const Pmd__Barrier *barrier = (const Pmd__Barrier *)heard->message;
    Pmd__BarrierReply reply = PMD__BARRIER_REPLY__INIT;
    struct totals totals;

    reply.name = word(peers, barrier->name);
    reply.n_totals = fill_totals(peers, &totals, barrier->n_metrics);
    reply.totals = totals.pointers;
    say(peers, link, FRAME_BARRIER_REPLY, &reply, heard->request);
}

static void answer_control(struct peers *peers, struct fake_link *link,
                           const struct fake_heard *heard)
{
    Pmd__Done done = PMD__DONE__INIT;

    switch (heard->type) {
    case FRAME_HELLO:
        say_hello_reply(peers, link, 0);
        break;
    case FRAME_CREATE:
        answer_create(peers, link, heard);
        break;
    case FRAME_START:
        peers->started = true;
        say_registry(peers, link, heard->request);
        break;
    case FRAME_BARRIER:
        answer_barrier(peers, link, heard);
        break;
    case FRAME_STEP_END:
        if (((const Pmd__StepEnd *)heard->message)->step > peers->ended)
            peers->ended = ((const Pmd__StepEnd *)heard->message)->step;
        break;
    case FRAME_FINISH:
        peers->finished = true;
        say(peers, link, FRAME_DONE, &done, heard->request);
        break;
    case FRAME_CONFIGURE:
        say(peers, link, FRAME_DONE, &done, heard->request);
        break;
    default:
        say(peers, link, FRAME_HEARTBEAT, NULL, 0);
    }
}

/* ---- answers of the servers ---- */

static size_t blocks_bytes(const struct peers *peers, const uint32_t *variables,
                           const uint32_t *blocks, size_t count)
{
    size_t bytes = 0;

    for (size_t i = 0; i < count; i++) {
        if (placement_has(&peers->placement, variables[i], blocks[i]))
            bytes += placement_block_bytes(&peers->placement, variables[i], blocks[i]);
    }
    return bytes;
}

/* Some of the blocks asked for, in order; liars take others, or one twice. */
static size_t reply_blocks(struct peers *peers, const struct peers_asked *asked,
                           uint32_t *variables, uint32_t *blocks)
{
    const Pmd__Pull *pull = (const Pmd__Pull *)asked->heard->message;
    size_t left = pull->n_variable - asked->answered;
    size_t count = left > 3 ? 3 : left;

    count = count_of(peers, count, 8);
    for (size_t i = 0; i < count; i++) {
        size_t at = asked->answered + (i < left ? i : 0);
        variables[i] = number32(peers, at < pull->n_variable ? pull->variable[at] : 0);
        blocks[i] = number32(peers, at < pull->n_variable ? pull->block[at] : 0);
    }
    return count;
}

static void reply_some(struct peers *peers, struct peers_asked *asked)
{
    const Pmd__Pull *pull = (const Pmd__Pull *)asked->heard->message;
    Pmd__PullReply reply = PMD__PULL_REPLY__INIT;
    uint32_t variables[8], blocks[8];
    size_t count = reply_blocks(peers, asked, variables, blocks);

    reply.step = number(peers, pull->step);
    reply.grant = number(peers, peers->committed_plus_1 ? peers->committed_plus_1 + 1 : 0);
    reply.n_variable = reply.n_block = count;
    reply.variable = variables;
    reply.block = blocks;
    size_t bytes = count_of(peers, blocks_bytes(peers, variables, blocks, count), sizeof payload);
    memset(payload, peers_value(pull->step), bytes);
    say_payload(peers, asked->link, FRAME_PULL_REPLY, &reply, asked->heard->request, bytes);
    asked->answered += count ? count : 1;
}

/* All PULLs of committed steps; liars answer early. */
static void reply_asked(struct peers *peers)
{
    for (size_t i = 0; i < peers->asked_count;) {
        struct peers_asked *asked = &peers->asked[i];
        const Pmd__Pull *pull = (const Pmd__Pull *)asked->heard->message;
        bool known = pull->step < peers->committed_plus_1 || lies(peers);
        bool gone = pull->step + 1 < peers->committed_plus_1;
        bool over = !is_live(asked->link);
        if (!over && known && gone) {
            say_failure(peers, asked->link, STATUS_OUT_OF_RANGE, asked->heard->request);
            over = true;
        }
        while (!over && known && asked->answered < pull->n_variable) {
            reply_some(peers, asked);
            if (lies(peers))
                break; /* the rest later */
        }
        if (over || asked->answered >= pull->n_variable)
            *asked = peers->asked[--peers->asked_count];
        else
            i++;
    }
}

static void answer_pull(struct peers *peers, struct fake_link *link, const struct fake_heard *heard)
{
    if (peers->asked_count == PEERS_ASKED_MAX) {
        peers->lied = true; /* by silence */
        return;
    }
    peers->asked[peers->asked_count++] = (struct peers_asked){.link = link, .heard = heard};
    reply_asked(peers);
}

static void answer_push(struct peers *peers, struct fake_link *link, const struct fake_heard *heard)
{
    const Pmd__Push *push = (const Pmd__Push *)heard->message;
    Pmd__PushAck ack = PMD__PUSH_ACK__INIT;
    uint64_t requests[] = {number(peers, heard->request), heard->request};

    peers->assigned = peers->assigned || push->step == 0;
    ack.n_request = count_of(peers, 1, 2);
    ack.request = requests;
    ack.duplicates = number32(peers, 0);
    say(peers, link, FRAME_PUSH_ACK, &ack, 0);
}

static void answer_bulk(struct peers *peers, struct fake_link *link, const struct fake_heard *heard)
{
    uint64_t *closed = &peers->closed[server_of(peers, link)];
    uint64_t step = 0;

    switch (heard->type) {
    case FRAME_HELLO:
        say_hello_reply(peers, link, ((const Pmd__Hello *)heard->message)->features);
        break;
    case FRAME_STEP_BEGIN:
        if (((const Pmd__StepBegin *)heard->message)->examples == 0)
            step = ((const Pmd__StepBegin *)heard->message)->step;
        break;
    case FRAME_STEP_CLOSE:
        step = ((const Pmd__StepClose *)heard->message)->step;
        break;
    case FRAME_PUSH:
        answer_push(peers, link, heard);
        break;
    case FRAME_PULL:
        answer_pull(peers, link, heard);
        break;
    default:
        break;
    }
    if (step > *closed)
        *closed = step;
}

bool peers_answer(struct peers *peers, struct fake_link *link)
{
    const struct fake_heard *heard = fake_link_take(link);

    if (!heard)
        return false;
    if (lies(peers) && tape_byte(&peers->tape) % 2)
        return true; /* by silence */
    if (is_control(link))
        answer_control(peers, link, heard);
    else
        answer_bulk(peers, link, heard);
    return true;
}

void peers_serve(struct peers *peers)
{
    for (struct fake_link *link = peers->net.links; link; link = link->next) {
        while (is_live(link) && peers_answer(peers, link))
            continue;
    }
    reply_asked(peers);
}

/* ---- commits and gossip ---- */

static bool commit_is_due(const struct peers *peers)
{
    uint64_t next = peers->committed_plus_1;

    if (next == 0)
        return peers->started && (peers->rank > 0 || peers->assigned);
    for (uint32_t s = 0; s < peers->servers; s++) {
        if (peers->closed[s] < next)
            return false;
    }
    return peers->ended >= next;
}

void peers_commit(struct peers *peers)
{
    if (!commit_is_due(peers) && !lies(peers))
        return;
    peers->committed_plus_1++;
    for (struct fake_link *link = peers->net.links; link; link = link->next) {
        if (is_live(link) && is_control(link))
            say_commit(peers, link);
    }
    reply_asked(peers);
}

static void say_end(struct peers *peers, struct fake_link *link)
{
    Pmd__End end = PMD__END__INIT;

    end.status = number32(peers, STATUS_OK);
    end.message = word(peers, "over");
    end.exit_code = number32(peers, 0);
    say(peers, link, FRAME_END, &end, 0);
}

static void say_raw(struct peers *peers, struct fake_link *link)
{
    struct frame_head head = {
        .type = (enum frame_type)(1 + tape_byte(&peers->tape) % (FRAME_TYPES - 1)),
        .lineage = number32(peers, FRAME_LINEAGE),
        .map_version = number32(peers, FRAME_MAP_VERSION),
        .request = tape_byte(&peers->tape),
        .commit_plus_1 = number(peers, peers->committed_plus_1)};
    size_t count = tape_byte(&peers->tape) % 32;

    if ((size_t)(peers->tape.end - peers->tape.at) < count)
        count = (size_t)(peers->tape.end - peers->tape.at);
    fake_link_say_raw(link, &head, peers->tape.at, count, payload, number(peers, 0) % 64);
    peers->tape.at += count;
}

void peers_gossip(struct peers *peers, struct fake_link *link)
{
    uint64_t request = tape_byte(&peers->tape);
    Pmd__PushAck ack = PMD__PUSH_ACK__INIT;
    Pmd__Done done = PMD__DONE__INIT;

    peers->lied = true;
    switch (tape_byte(&peers->tape) % 10) {
    case 0:
        say_members(peers, link);
        break;
    case 1:
        say_commit(peers, link);
        break;
    case 2:
        say_registry(peers, link, request);
        break;
    case 3:
        say_end(peers, link);
        break;
    case 4:
        say_failure(peers, link, (enum status)(request % 17), request);
        break;
    case 5:
        say_hello_reply(peers, link, 0);
        break;
    case 6:
        ack.n_request = 1;
        ack.request = &request;
        say(peers, link, FRAME_PUSH_ACK, &ack, 0);
        break;
    case 7:
        say(peers, link, FRAME_DONE, &done, request);
        break;
    case 8:
        say(peers, link, FRAME_HEARTBEAT, NULL, 0);
        break;
    default:
        say_raw(peers, link);
    }
}
