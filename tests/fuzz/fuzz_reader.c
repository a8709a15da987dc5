/* A reader's calls, with a coordinator and servers that answer anything. */
/* decoder: worker/client/reader.c worker/client/reader_link.c worker/client/reader_read.c */
/* decoder: worker/client/reader_checksum.c */
/* options: -max_len=384 -len_control=20 */
/*
 * The input is a tape: calls, and what happens during each turn of the reader's loop: answers (true
 * ones, or near the truth), trouble on a connection, time. When the tape has ended, everybody tells
 * the truth. Every call ends in virtual time; nothing is written outside of its arrays or after its
 * end; values and digests that came well are those that were sent, if nobody has lied; and then a
 * reader that starts anew gets what it asks for.
 */
#include "common/base/alloc.h"
#include "common/optim/optimizer.h"
#include "tests/fuzz/tape.h"
#include "tests/lib/fake_link.h"
#include "worker/client/reader.h"
#include "worker/client/reader_state.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CALLS_MAX = 30,
    CONNECTS_MAX = 120,
    SERVERS_MAX = 3,
    TIMEOUT_MS = 2000,
    BLANK = 0xEE, /* no byte of a value */
    HOLD = 5,
    STEP = 17,
};

/* Of the job: "dense" (6, 2), "integers" (3), "large" (70000): two blocks. */
enum { DENSE, INTEGERS, LARGE, VARIABLES };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
    struct tape tape;
    bool lying, lied;
    struct fake_net net;
    uint32_t servers;
    struct registry registry;
    struct placement placement;
    uint64_t hold; /* of the snapshot that servers have; 0: none */
    bool silent;   /* nobody answers any more, until a call has ended */
    bool moved;    /* somebody was heard or came during this turn */
};

static const char *const words[] = {"", "w", "dense", "large", "zz zz", "s7:1", "adam", "job"};

static uint8_t payload[LIMIT_PAYLOAD_BYTES];

static uint8_t next(struct run *run)
{
    return tape_byte(&run->tape);
}

static uint64_t number(struct run *run, uint64_t truth)
{
    uint64_t said = run->lying ? tape_number(&run->tape, truth) : truth;

    run->lied = run->lied || said != truth;
    return said;
}

static uint32_t number32(struct run *run, uint32_t truth)
{
    return (uint32_t)number(run, truth);
}

static char *word(struct run *run, const char *truth)
{
    const char *said = truth;

    if (run->lying)
        said = tape_word(&run->tape, truth, words, sizeof words / sizeof words[0]);
    run->lied = run->lied || said != truth;
    return (char *)said;
}

static size_t count_of(struct run *run, size_t truth, size_t count_max)
{
    uint64_t count = number(run, truth);

    return count <= count_max ? (size_t)count : count_max;
}

static void say_payload(struct run *run, struct fake_link *link, enum frame_type type,
                        const void *message, uint64_t request, size_t bytes)
{
    int times = (int)count_of(run, 1, 3);
    uint64_t number_said = number(run, request);

    for (int i = 0; i < times; i++)
        fake_link_say_payload(link, type, message, number_said, number(run, STEP + 1), payload,
                              bytes);
}

static void say(struct run *run, struct fake_link *link, enum frame_type type, const void *message,
                uint64_t request)
{
    say_payload(run, link, type, message, request, 0);
}

/* ---- what is true ---- */

static uint8_t value_of(uint32_t variable, uint32_t slot)
{
    return (uint8_t)(1 + variable * 8 + slot % 8);
}

static void job_init(struct run *run)
{
    static const struct variable_spec specs[VARIABLES] = {
        {.name = "dense",
         .dtype = DTYPE_FLOAT32,
         .rank = 2,
         .shape = {6, 2},
         .elements = 12,
         .trainable = true},
        {.name = "integers", .dtype = DTYPE_INT64, .rank = 1, .shape = {3}, .elements = 3},
        {.name = "large",
         .dtype = DTYPE_FLOAT32,
         .rank = 1,
         .shape = {70000},
         .elements = 70000,
         .trainable = true},
    };
    static const struct optimizer_spec optimizer = {.name = "adam"};
    struct placement_variable variables[VARIABLES];
    uint32_t id;

    for (uint32_t i = 0; i < VARIABLES; i++) {
        assert(registry_add(&run->registry, &specs[i], &id, NULL) == STATUS_OK);
        variables[i] = (struct placement_variable){i, specs[i].dtype, specs[i].elements};
    }
    assert(registry_add_optimizer(&run->registry, &optimizer, NULL) == STATUS_OK);
    assert(placement_init(&run->placement, variables, VARIABLES, run->servers, NULL) == STATUS_OK);
}

/* ---- answers of the coordinator ---- */

static bool is_control(const struct fake_link *link)
{
    return link->address[0] == 'c';
}

static uint32_t server_of(const struct run *run, const struct fake_link *link)
{
    return (uint32_t)(uint8_t)link->address[1] % run->servers;
}

static void say_members(struct run *run, struct fake_link *link)
{
    Pmd__Members members = PMD__MEMBERS__INIT;
    char texts[SERVERS_MAX + 1][8];
    char *addresses[SERVERS_MAX + 1];

    members.servers_present = members.servers = number32(run, run->servers);
    members.n_server_address = count_of(run, run->servers, SERVERS_MAX + 1);
    for (size_t i = 0; i < members.n_server_address; i++) {
        snprintf(texts[i], sizeof texts[i], "s%zu:7", i);
        addresses[i] = word(run, texts[i]);
    }
    members.server_address = addresses;
    say(run, link, FRAME_MEMBERS, &members, 0);
}

static void say_hello_reply(struct run *run, struct fake_link *link)
{
    Pmd__HelloReply reply = PMD__HELLO_REPLY__INIT;

    reply.protocol_minor = PROTOCOL_MINOR;
    reply.features = number(run, 0);
    reply.job = word(run, "job");
    reply.server = number32(run, is_control(link) ? 0 : server_of(run, link));
    reply.workers = number32(run, 2);
    reply.servers = number32(run, run->servers);
    say(run, link, FRAME_HELLO_REPLY, &reply, 1);
    if (is_control(link))
        say_members(run, link);
}

static void say_failure(struct run *run, struct fake_link *link, enum status status,
                        uint64_t request)
{
    Pmd__Failure failure = PMD__FAILURE__INIT;

    failure.status = number32(run, status);
    failure.message = word(run, "no");
    say(run, link, FRAME_FAILURE, &failure, request);
}

/* In two pages. */
static void say_registry(struct run *run, struct fake_link *link, uint64_t request)
{
    static struct registry_page page;

    for (uint32_t first = 0, count; first < VARIABLES; first += count) {
        count = (uint32_t)registry_page_fill(&run->registry, first, run->servers, &page);
        if (first == 0)
            count = 1;
        page.message.first = number32(run, first);
        page.message.total = number32(run, VARIABLES);
        page.message.servers = number32(run, run->servers);
        for (uint32_t i = 0; i < count && run->lying; i++) {
            Pmd__VariableSpec *spec = page.message.variables[i];
            spec->name = word(run, spec->name);
            spec->dtype = (Pmd__DataType)number32(run, spec->dtype);
            spec->trainable = number(run, (uint64_t)spec->trainable) != 0;
            spec->optimizer = number32(run, spec->optimizer);
        }
        page.message.optimizers[0]->name = word(run, page.message.optimizers[0]->name);
        page.message.n_variables = count_of(run, count, count);
        page.message.n_optimizers = count_of(run, 1, 1);
        say(run, link, FRAME_REGISTRY, &page.message, request);
    }
}

static void say_status(struct run *run, struct fake_link *link, uint64_t request)
{
    Pmd__StatusReply reply = PMD__STATUS_REPLY__INIT;
    Pmd__WorkerStatus worker = PMD__WORKER_STATUS__INIT;
    Pmd__WorkerStatus *workers[] = {&worker, &worker};
    Pmd__ServerStatus server = PMD__SERVER_STATUS__INIT;
    Pmd__ServerStatus *servers[] = {&server, &server};

    reply.job = word(run, "job");
    reply.state = word(run, "training");
    reply.committed_plus_1 = number(run, STEP + 1);
    worker.state = word(run, "present");
    server.address = word(run, "s0:7");
    reply.n_workers = count_of(run, 2, 2);
    reply.workers = workers;
    reply.n_servers = count_of(run, 1, 2);
    reply.servers = servers;
    say(run, link, FRAME_STATUS_REPLY, &reply, request);
}

static void say_snapshot(struct run *run, struct fake_link *link, uint64_t request)
{
    Pmd__SnapshotReply reply = PMD__SNAPSHOT_REPLY__INIT;

    run->hold = HOLD;
    reply.hold = number(run, run->hold);
    reply.step = number(run, STEP);
    say(run, link, FRAME_SNAPSHOT_REPLY, &reply, request);
}

static void answer_control(struct run *run, struct fake_link *link, enum frame_type type,
                           uint64_t request)
{
    Pmd__SetReply set = PMD__SET_REPLY__INIT;
    Pmd__Done done = PMD__DONE__INIT;

    switch (type) {
    case FRAME_HELLO:
        say_hello_reply(run, link);
        break;
    case FRAME_LIST:
        say_registry(run, link, request);
        break;
    case FRAME_SNAPSHOT:
        say_snapshot(run, link, request);
        break;
    case FRAME_STATUS:
        say_status(run, link, request);
        break;
    case FRAME_SET:
        set.from_step = number(run, STEP + 2);
        say(run, link, FRAME_SET_REPLY, &set, request);
        break;
    case FRAME_RELEASE:
    case FRAME_SHUTDOWN:
        say(run, link, FRAME_DONE, &done, request);
        break;
    default:
        say(run, link, FRAME_HEARTBEAT, NULL, 0);
    }
}

/* ---- answers of the servers ---- */

/* Blocks [from, from + count) of a READ, or others near them. */
static void say_blocks(struct run *run, struct fake_link *link, const Pmd__Read *read,
                       uint64_t request, size_t from, size_t count)
{
    Pmd__ReadReply reply = PMD__READ_REPLY__INIT;
    uint32_t variables[8], blocks[8];
    size_t bytes = 0;

    reply.hold = number(run, read->hold);
    reply.step = number(run, STEP);
    reply.slot = number32(run, read->slot);
    reply.digest = number(run, (uint64_t)read->digest) != 0;
    count = count_of(run, count, 8);
    for (size_t i = 0; i < count; i++) {
        size_t at = from + i < read->n_variable ? from + i : from;
        variables[i] = number32(run, read->variable[at]);
        blocks[i] = number32(run, read->block[at]);
        if (read->digest)
            bytes += HASH_SHA256_BYTES;
        else if (placement_has(&run->placement, variables[i], blocks[i]))
            bytes += placement_block_bytes(&run->placement, variables[i], blocks[i]);
    }
    reply.n_variable = reply.n_block = count;
    reply.variable = variables;
    reply.block = blocks;
    bytes = count_of(run, bytes, sizeof payload);
    memset(payload, value_of(read->variable[from], read->slot), bytes);
    say_payload(run, link, FRAME_READ_REPLY, &reply, request, bytes);
}

static void answer_read(struct run *run, struct fake_link *link, const Pmd__Read *read,
                        uint64_t request)
{
    bool slots = read->n_variable > 0 && read->variable[0] < VARIABLES &&
                 run->registry.variables[read->variable[0]].trainable;

    if (read->hold != run->hold || (run->lying && next(run) >= 224)) {
        run->lied = run->lied || read->hold == run->hold;
        say_failure(run, link, STATUS_NOT_FOUND, request);
        return;
    }
    if (read->slot > (slots ? 2 : 0)) {
        say_failure(run, link, STATUS_INVALID_ARGUMENT, request);
        return;
    }
    size_t each = run->lying ? 1 + next(run) % 4u : 3;
    for (size_t from = 0; from < read->n_variable; from += each)
        say_blocks(run, link, read, request, from,
                   read->n_variable - from < each ? read->n_variable - from : each);
}

static bool answer(struct run *run, struct fake_link *link)
{
    const struct fake_heard *heard = fake_link_take(link);

    if (!heard)
        return false;
    run->moved = true;
    if (run->lying && next(run) >= 240) {
        run->lied = true; /* by silence */
        return true;
    }
    if (is_control(link))
        answer_control(run, link, heard->type, heard->request);
    else if (heard->type == FRAME_HELLO)
        say_hello_reply(run, link);
    else if (heard->type == FRAME_READ)
        answer_read(run, link, (const Pmd__Read *)heard->message, heard->request);
    return true;
}

/* ---- what happens while a call waits ---- */

static bool is_live(const struct fake_link *link)
{
    return link->open && !link->closing && !link->closed;
}

static struct fake_link *choose(struct run *run)
{
    struct fake_link *chosen = NULL;
    uint8_t choice = next(run);
    size_t count = 0;

    for (struct fake_link *link = run->net.links; link; link = link->next) {
        if (is_live(link) && choice % ++count == 0)
            chosen = link;
    }
    return chosen;
}

static void gossip(struct run *run, struct fake_link *link)
{
    Pmd__End end = PMD__END__INIT;
    uint64_t request = next(run) % 32;
    uint8_t what = next(run) % 16;

    run->lied = true;
    end.status = number32(run, 0);
    end.message = word(run, "over");
    if (what == 0)
        say(run, link, FRAME_END, &end, 0);
    else if (what == 1)
        say_failure(run, link, (enum status)(request % 17), request);
    else if (what == 2)
        say_members(run, link);
    else
        answer_control(run, link, (enum frame_type)(what < 10 ? FRAME_LIST : next(run)), request);
}

static void trouble(struct run *run, struct fake_link *link)
{
    switch (next(run) % 6) {
    case 0:
        fake_link_break(link);
        break;
    case 1:
        link->stalled = !link->stalled;
        break;
    case 2:
        link->half = true;
        break;
    case 3:
        fake_link_finish(link);
        break;
    case 4:
        link->full = true;
        break;
    default:
        run->hold = 0;
    }
}

/* Everybody tells the truth, and all connections work. */
static void behave(struct run *run)
{
    for (struct fake_link *link = run->net.links; link; link = link->next) {
        if (!link->open && !link->closing && !link->closed) {
            run->moved = true;
            if (run->net.connects < CONNECTS_MAX)
                fake_link_up(link);
            else
                fake_link_break(link);
        }
        link->stalled = link->full = false;
        if (!link->closed)
            fake_link_finish(link);
        while (is_live(link) && answer(run, link))
            continue;
    }
}

static void happen(struct run *run)
{
    uint8_t what = next(run) % 16;
    struct fake_link *link = choose(run);

    if (what < 5 || !link) {
        behave(run);
    } else if (what < 10) {
        run->lying = true;
        if (!answer(run, link))
            gossip(run, link);
        run->lying = false;
    } else if (what < 11) {
        answer(run, link);
    } else if (what < 13) {
        trouble(run, link);
    } else if (what < 14) {
        alloc_fail_nth(1 + next(run) % 16u, false);
    } else if (what < 15) {
        run->silent = next(run) >= 128;
    } else {
        fake_net_advance(&run->net, next(run) < 192 ? 1 : 600);
    }
}

/* One turn of the reader's loop, with something that has happened. When nothing can happen any
 * more, all the time passes that the reader would wait. */
static void run_once(void *loop, uint64_t max_wait_ns)
{
    struct run *run = loop;
    uint64_t wait_ms = max_wait_ns / 1000000 + 1;

    run->moved = false;
    fake_net_run(&run->net);
    if (!run->silent && tape_ended(&run->tape))
        behave(run);
    else if (!run->silent) {
        happen(run);
        run->moved = true;
    }
    fake_net_run(&run->net);
    fake_net_advance(&run->net, run->moved && wait_ms > 20 ? 20 : wait_ms);
}

/* ---- calls ---- */

static void *take(size_t bytes)
{
    void *memory = malloc(bytes ? bytes : 1);

    assert(memory != NULL);
    memset(memory, BLANK, bytes);
    return memory;
}

static void check_bytes(const struct run *run, const uint8_t *bytes, size_t count, uint8_t value)
{
    assert(!memchr(bytes, BLANK, count));
    if (count && !run->lied)
        assert(bytes[0] == value && memcmp(bytes, bytes + 1, count - 1) == 0);
}

static void call_read(struct run *run, struct reader *reader)
{
    const struct registry *known = &reader->registry;
    uint32_t variable = (uint32_t)tape_number(&run->tape, next(run) % VARIABLES);
    uint32_t slot = next(run) < 192 ? 0 : (uint32_t)tape_number(&run->tape, 1);
    bool digest = next(run) & 1;
    bool listed = variable < known->variable_count;
    uint64_t elements = listed ? known->variables[variable].elements : 70000;
    size_t element_bytes = listed && slot == 0 ? dtype_bytes(known->variables[variable].dtype) : 4;
    uint64_t first = tape_number(&run->tape, next(run) % 4 ? 0 : elements / 2);
    uint64_t count = tape_number(&run->tape, elements > first ? elements - first : 0);
    uint64_t step;
    struct error err = {0};

    if (!listed)
        element_bytes = 8; /* it is not known yet whether there is such a variable */
    size_t room = digest ? placement_blocks_of_elements(elements) * HASH_SHA256_BYTES
                         : (count <= elements ? count : 0) * element_bytes;
    uint8_t *bytes = take(room);
    enum status status = digest ? reader_digest(reader, variable, slot, bytes, &step, &err)
                                : reader_read(reader, variable, slot, first, count, bytes, &step,
                                              &err);
    assert(status == STATUS_OK || (err.status == status && err.message[0]));
    if (!status && listed)
        check_bytes(run, bytes, room, value_of(variable, slot));
    free(bytes);
}

static void call_whole(struct run *run, struct reader *reader)
{
    char text[HASH_SHA256_TEXT_BYTES];
    const struct registry *registry;
    const Pmd__StatusReply *reply;
    uint64_t step;
    struct error err = {0};

    switch (next(run) % 8) {
    case 0:
    case 1:
        if (!reader_checksum(reader, next(run) & 1, &step, text, &err))
            assert(strlen(text) == HASH_SHA256_TEXT_BYTES - 1);
        break;
    case 2:
        if (!reader_list(reader, &registry, &err)) {
            for (uint32_t i = 0; i < registry->variable_count; i++) {
                size_t slots = reader_slot_count(registry, i);
                for (size_t slot = 0; slot < slots; slot++)
                    assert(reader_slot_name(registry, i, slot)[0]);
            }
        }
        break;
    case 3:
        if (!reader_status(reader, &reply, &err))
            assert(reply && strlen(reply->state) < 1000 && reply->n_workers < 1000);
        break;
    case 4:
        status_ignore(reader_set(reader, "learning-rate", 0.5, &step, &err), "only asked");
        break;
    case 5:
        status_ignore(reader_snapshot(reader, next(run) & 1, &step, &err), "only asked");
        break;
    case 6:
        status_ignore(reader_release_snapshot(reader, &err), "only asked");
        break;
    default:
        if (next(run) >= 224)
            status_ignore(reader_shutdown(reader, &err), "only asked");
        else
            reader_idle(reader, 1 + next(run) % 200u);
    }
}

static struct reader *make_reader(struct run *run)
{
    const struct reader_options options = {
        .coordinator = "c:7070", .job = "job", .program = "fuzz", .timeout_ms = TIMEOUT_MS};
    struct reader *reader = NULL;

    if (reader_new(&options, &reader, NULL))
        return NULL;
    reader_set_loop(reader, &run->net.io, run_once, run);
    run->net.engine = reader_engine(reader);
    return reader;
}

static void free_reader(struct run *run, struct reader *reader)
{
    fake_net_release(&run->net);
    reader_close(reader);
}

/* Whatever happened: a new reader of people who tell the truth gets all it asks for. */
static void assert_answers(struct run *run)
{
    struct error err = {0};
    char text[HASH_SHA256_TEXT_BYTES];
    uint64_t step = 0;

    run->lied = run->silent = false;
    run->tape.at = run->tape.end;
    fake_net_init(&run->net);
    struct reader *reader = make_reader(run);
    assert(reader && reader_link_up(&reader->control, &err) == STATUS_OK);
    for (uint32_t variable = 0; variable < VARIABLES; variable++) {
        size_t bytes = run->registry.variables[variable].elements *
                       dtype_bytes(run->registry.variables[variable].dtype);
        uint8_t *values = take(bytes);
        assert(reader_read(reader, variable, 0, 0, run->registry.variables[variable].elements,
                           values, &step, &err) == STATUS_OK);
        check_bytes(run, values, bytes, value_of(variable, 0));
        assert(step == STEP);
        free(values);
    }
    assert(reader_checksum(reader, true, NULL, text, &err) == STATUS_OK);
    free_reader(run, reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct run run;
    struct error err;

    if (size < 1)
        return 0;
    run = (struct run){.tape = {.at = data + 1, .end = data + size},
                       .servers = 1 + data[0] % SERVERS_MAX};
    job_init(&run);
    fake_net_init(&run.net);
    struct reader *reader = make_reader(&run);
    assert(reader != NULL);
    bool up = reader_link_up(&reader->control, &err) == STATUS_OK;
    for (int i = 0; up && i < CALLS_MAX && !tape_ended(&run.tape); i++) {
        uint64_t began_ns = run.net.now_ns;
        run.silent = false;
        if (next(&run) % 2)
            call_read(&run, reader);
        else
            call_whole(&run, reader);
        assert(run.net.now_ns - began_ns < (uint64_t)600 * 1000000000);
        if (run.net.connects > CONNECTS_MAX)
            break;
    }
    alloc_fail_nth(0, false);
    free_reader(&run, reader);
    if ((data[0] & 0xE0) == 0xE0) /* not always: it takes as long as all the rest */
        assert_answers(&run);
    registry_release(&run.registry);
    placement_release(&run.placement);
    return 0;
}
