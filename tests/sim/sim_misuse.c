/* Everything that a peer may say wrongly, in raw frames: one message each that names the thing, and
 * nothing else suffers. */
#include "common/base/exit_code.h"
#include "proto/data.pb-c.h"
#include "proto/query.pb-c.h"
#include "tests/sim/sim_scenario.h"

#include <math.h>
#include <stdio.h>

/* ---- wrong hellos ---- */

void scenario_hellos(struct sim *sim)
{
    sim_start_server(sim, 0);
    sim_start_server(sim, 1);
    scenario_seconds(sim, 1);
    struct sim_raw *raw = raw_new(sim);

    Pmd__Hello hello = raw_hello(raw, PMD__ROLE__ROLE_WORKER, PMD__CHANNEL__CHANNEL_CONTROL);
    hello.token.len = 5;
    REFUSED(raw_connect(raw, SCENARIO_COORDINATOR), FRAME_HELLO, &hello.base,
            STATUS_UNAUTHENTICATED, "token");
    hello.token.len = 0;
    REFUSED(raw_connect(raw, SCENARIO_COORDINATOR), FRAME_HELLO, &hello.base,
            STATUS_UNAUTHENTICATED, "token");
    hello = raw_hello(raw, PMD__ROLE__ROLE_WORKER, PMD__CHANNEL__CHANNEL_CONTROL);
    hello.job = "another";
    REFUSED(raw_connect(raw, SCENARIO_COORDINATOR), FRAME_HELLO, &hello.base,
            STATUS_FAILED_PRECONDITION, "another");
    hello.job = "sim";
    hello.protocol_minor++;
    REFUSED(raw_connect(raw, SCENARIO_COORDINATOR), FRAME_HELLO, &hello.base,
            STATUS_FAILED_PRECONDITION, "protocol");
    hello.protocol_minor--;
    hello.rank_plus_1 = 9;
    REFUSED(raw_connect(raw, SCENARIO_COORDINATOR), FRAME_HELLO, &hello.base,
            STATUS_INVALID_ARGUMENT, "rank 8");
    hello.rank_plus_1 = 0;
    REFUSED(raw_connect(raw, SCENARIO_OTHER), FRAME_HELLO, &hello.base, STATUS_INVALID_ARGUMENT,
            SCENARIO_COORDINATOR);
    hello.role = (Pmd__Role)9;
    REFUSED(raw_connect(raw, SCENARIO_COORDINATOR), FRAME_HELLO, &hello.base,
            STATUS_INVALID_ARGUMENT, "role");
    hello.role = PMD__ROLE__ROLE_SERVER;
    REFUSED(raw_connect(raw, SCENARIO_COORDINATOR), FRAME_HELLO, &hello.base,
            STATUS_INVALID_ARGUMENT, "reached");
    hello.channel = PMD__CHANNEL__CHANNEL_BULK;
    REFUSED(raw_connect(raw, SCENARIO_COORDINATOR), FRAME_HELLO, &hello.base,
            STATUS_INVALID_ARGUMENT, "bulk");
    hello.role = PMD__ROLE__ROLE_WORKER;
    hello.rank_plus_1 = 7;
    REFUSED(raw_connect(raw, SCENARIO_COORDINATOR), FRAME_HELLO, &hello.base,
            STATUS_INVALID_ARGUMENT, "rank 6");
    Pmd__List list = PMD__LIST__INIT;
    REFUSED(raw_connect(raw, SCENARIO_COORDINATOR), FRAME_LIST, &list.base, STATUS_UNAUTHENTICATED,
            "HELLO");
}

void scenario_ranks_and_readers(struct sim *sim)
{
    struct sim_raw *raws[4];
    struct raw_link *links[4];

    sim_start_server(sim, 0);
    sim_start_server(sim, 1);
    scenario_seconds(sim, 1);
    for (int i = 0; i < 3; i++) {
        raws[i] = raw_new(sim);
        links[i] = raw_connect(raws[i], SCENARIO_COORDINATOR);
        Pmd__Hello hello = raw_hello(raws[i], PMD__ROLE__ROLE_WORKER,
                                     PMD__CHANNEL__CHANNEL_CONTROL);
        if (i < 2)
            EXPECT(raw_ask(links[i], FRAME_HELLO, &hello.base) == FRAME_HELLO_REPLY);
        else
            REFUSED(links[i], FRAME_HELLO, &hello.base, STATUS_RESOURCE_EXHAUSTED, "all 2 ranks");
    }
    /* The same connection number once more, a newer process, and the older one again. */
    Pmd__Hello again = raw_hello(raws[0], PMD__ROLE__ROLE_WORKER, PMD__CHANNEL__CHANNEL_CONTROL);
    again.connection = 1;
    REFUSED(raw_connect(raws[0], SCENARIO_COORDINATOR), FRAME_HELLO, &again.base, STATUS_ABORTED,
            "newer connection");
    Pmd__Hello newer = raw_hello(raws[2], PMD__ROLE__ROLE_WORKER, PMD__CHANNEL__CHANNEL_CONTROL);
    newer.rank_plus_1 = 1;
    EXPECT(raw_ask(raw_connect(raws[2], SCENARIO_COORDINATOR), FRAME_HELLO, &newer.base) ==
           FRAME_HELLO_REPLY);
    scenario_seconds(sim, 1);
    EXPECT(!links[0]->link && links[0]->exit_code == EXIT_CODE_FENCED);
    again = raw_hello(raws[0], PMD__ROLE__ROLE_WORKER, PMD__CHANNEL__CHANNEL_CONTROL);
    again.rank_plus_1 = 1;
    again.incarnation = 1;
    REFUSED(raw_connect(raws[0], SCENARIO_COORDINATOR), FRAME_HELLO, &again.base, STATUS_ABORTED,
            "fenced");
    /* Its very first hello, late: it names no incarnation, and must not fence the newer process. */
    again = raw_hello(raws[0], PMD__ROLE__ROLE_WORKER, PMD__CHANNEL__CHANNEL_CONTROL);
    REFUSED(raw_connect(raws[0], SCENARIO_COORDINATOR), FRAME_HELLO, &again.base, STATUS_ABORTED,
            "fenced");
    again.rank_plus_1 = 1;
    REFUSED(raw_connect(raws[0], SCENARIO_COORDINATOR), FRAME_HELLO, &again.base, STATUS_ABORTED,
            "fenced");
    raws[3] = raw_new(sim);
    for (int i = 0; i <= LIMIT_READERS; i++) {
        struct raw_link *link = raw_connect(raws[3], SCENARIO_COORDINATOR);
        Pmd__Hello hello = raw_hello(raws[3], PMD__ROLE__ROLE_READER,
                                     PMD__CHANNEL__CHANNEL_CONTROL);
        if (i < LIMIT_READERS)
            EXPECT(raw_ask(link, FRAME_HELLO, &hello.base) == FRAME_HELLO_REPLY);
        else
            REFUSED(link, FRAME_HELLO, &hello.base, STATUS_RESOURCE_EXHAUSTED, "readers");
    }
}

/* ---- requests ---- */

struct party { /* two workers and a reader, connected */
    struct sim_raw *raws[3];
    struct raw_link *control[3];
    struct raw_link *bulk[2][2]; /* [rank][server] */
};

static void meet(struct sim *sim, struct party *party)
{
    sim_start_server(sim, 0);
    sim_start_server(sim, 1);
    scenario_seconds(sim, 1);
    for (int i = 0; i < 3; i++) {
        party->raws[i] = raw_new(sim);
        party->control[i] = raw_connect(party->raws[i], SCENARIO_COORDINATOR);
        Pmd__Hello hello = raw_hello(party->raws[i],
                                     i < 2 ? PMD__ROLE__ROLE_WORKER : PMD__ROLE__ROLE_READER,
                                     PMD__CHANNEL__CHANNEL_CONTROL);
        EXPECT(raw_ask(party->control[i], FRAME_HELLO, &hello.base) == FRAME_HELLO_REPLY);
    }
}

static void connect_bulk(struct sim *sim, struct party *party, uint32_t rank)
{
    for (int s = 0; s < 2; s++) {
        party->bulk[rank][s] = raw_connect(party->raws[rank],
                                           s ? SCENARIO_OTHER : SCENARIO_COORDINATOR);
        Pmd__Hello hello = raw_hello(party->raws[rank], PMD__ROLE__ROLE_WORKER,
                                     PMD__CHANNEL__CHANNEL_BULK);
        hello.rank_plus_1 = rank + 1;
        hello.incarnation = 1;
        EXPECT(raw_ask(party->bulk[rank][s], FRAME_HELLO, &hello.base) == FRAME_HELLO_REPLY);
    }
}

static Pmd__VariableSpec spec_of(char *name, uint64_t *shape)
{
    Pmd__VariableSpec spec = PMD__VARIABLE_SPEC__INIT;

    spec.name = name;
    spec.dtype = PMD__DATA_TYPE__DATA_TYPE_FLOAT32;
    spec.n_shape = 1;
    spec.shape = shape;
    spec.trainable = true;
    return spec;
}

static void create(struct sim *sim, struct raw_link *link, char *name)
{
    uint64_t shape = 2;
    Pmd__VariableSpec spec = spec_of(name, &shape);
    Pmd__Create message = PMD__CREATE__INIT;

    message.spec = &spec;
    EXPECT(raw_ask(link, FRAME_CREATE, &message.base) == FRAME_CREATE_REPLY);
}

static void configure(struct sim *sim, struct raw_link *link)
{
    Pmd__OptimizerSpec spec = PMD__OPTIMIZER_SPEC__INIT;
    Pmd__Configure message = PMD__CONFIGURE__INIT;

    spec.name = "sgd";
    message.spec = &spec;
    EXPECT(raw_ask(link, FRAME_CONFIGURE, &message.base) == FRAME_DONE);
}

/* Variables a and b: one on each server. */
static void start_both(struct sim *sim, struct party *party)
{
    Pmd__Start start = PMD__START__INIT;

    for (int i = 0; i < 2; i++) {
        configure(sim, party->control[i]);
        create(sim, party->control[i], "a");
        create(sim, party->control[i], "b");
    }
    raw_send(party->control[0], FRAME_START, &start.base, 90);
    EXPECT(raw_ask(party->control[1], FRAME_START, &start.base) == FRAME_REGISTRY);
    scenario_seconds(sim, 1);
    EXPECT(sim_coordinator(sim)->committed_plus_1 == 1);
}

static void wrong_create_and_start(struct sim *sim, struct party *party)
{
    Pmd__Start start = PMD__START__INIT;
    Pmd__Create message = PMD__CREATE__INIT;
    uint64_t shape = 2;
    char name[] = "a", later[] = "later";
    Pmd__VariableSpec spec = spec_of(name, &shape);

    raw_send(party->control[0], FRAME_START, &start.base, 91);
    REFUSED(party->control[1], FRAME_START, &start.base, STATUS_FAILED_PRECONDITION,
            "no rank has created");
    create(sim, party->control[0], name);
    spec.initializer = PMD__INITIALIZER_KIND__INITIALIZER_KIND_ONES;
    message.spec = &spec;
    REFUSED(party->control[1], FRAME_CREATE, &message.base, STATUS_ALREADY_EXISTS, "'a'");
    raw_send(party->control[0], FRAME_START, &start.base, 92);
    REFUSED(party->control[1], FRAME_START, &start.base, STATUS_FAILED_PRECONDITION, "optimizer 0");
    start_both(sim, party);
    spec = spec_of(later, &shape);
    REFUSED(party->control[1], FRAME_CREATE, &message.base, STATUS_FAILED_PRECONDITION, "'later'");
}

static void wrong_configure(struct sim *sim, struct party *party)
{
    Pmd__OptimizerSpec spec = PMD__OPTIMIZER_SPEC__INIT;
    Pmd__Configure message = PMD__CONFIGURE__INIT;

    message.spec = &spec;
    spec.name = "no-such";
    REFUSED(party->control[0], FRAME_CONFIGURE, &message.base, STATUS_NOT_FOUND, "no-such");
    spec.name = "adam";
    REFUSED(party->control[0], FRAME_CONFIGURE, &message.base, STATUS_FAILED_PRECONDITION, "adam");
    spec.optimizer = 3;
    REFUSED(party->control[0], FRAME_CONFIGURE, &message.base, STATUS_FAILED_PRECONDITION,
            "optimizer 3");
}

static void wrong_reader(struct sim *sim, struct party *party)
{
    Pmd__Set set = PMD__SET__INIT;
    Pmd__Start start = PMD__START__INIT;
    Pmd__List list = PMD__LIST__INIT;

    set.key = "momentum";
    REFUSED(party->control[2], FRAME_SET, &set.base, STATUS_INVALID_ARGUMENT, "momentum");
    set.key = "learning-rate";
    set.value = NAN;
    REFUSED(party->control[2], FRAME_SET, &set.base, STATUS_INVALID_ARGUMENT, "number");
    REFUSED(party->control[2], FRAME_START, &start.base, STATUS_PERMISSION_DENIED, "START");
    REFUSED(party->control[0], FRAME_LIST, &list.base, STATUS_PERMISSION_DENIED, "LIST");
}

static void wrong_finish(struct sim *sim, struct party *party)
{
    Pmd__Finish finish = PMD__FINISH__INIT;
    Pmd__StepEnd end = PMD__STEP_END__INIT;

    finish.step = 9;
    REFUSED(party->control[0], FRAME_FINISH, &finish.base, STATUS_FAILED_PRECONDITION, "step 9");
    end.step = 5;
    REFUSED(party->control[0], FRAME_STEP_END, &end.base, STATUS_FAILED_PRECONDITION, "step 5");
    scenario_seconds(sim, 1);
    EXPECT(!party->control[0]->link);
}

void scenario_requests(struct sim *sim)
{
    struct party party;
    Pmd__Status status = PMD__STATUS__INIT;
    Pmd__Shutdown shutdown = PMD__SHUTDOWN__INIT;
    Pmd__Set set = PMD__SET__INIT;

    meet(sim, &party);
    set.key = "learning-rate";
    REFUSED(party.control[2], FRAME_SET, &set.base, STATUS_FAILED_PRECONDITION, "trains");
    EXPECT(raw_ask(party.control[2], FRAME_STATUS, &status.base) == FRAME_STATUS_REPLY);
    wrong_create_and_start(sim, &party);
    wrong_configure(sim, &party);
    wrong_reader(sim, &party);
    EXPECT(raw_ask(party.control[2], FRAME_STATUS, &status.base) == FRAME_STATUS_REPLY);
    wrong_finish(sim, &party);
    EXPECT(raw_ask(party.control[2], FRAME_SHUTDOWN, &shutdown.base) == FRAME_DONE);
    scenario_seconds(sim, 1);
    EXPECT(scenario_server(sim, 1)->ended && scenario_server(sim, 1)->exit_code == EXIT_CODE_DONE);
    EXPECT(party.control[1]->type == FRAME_END && party.control[1]->exit_code == EXIT_CODE_DONE);
}

/* ---- barriers ---- */

void scenario_barriers(struct sim *sim)
{
    struct party party;
    Pmd__Barrier message = PMD__BARRIER__INIT;
    char name[32];

    meet(sim, &party);
    message.name = "";
    REFUSED(party.control[0], FRAME_BARRIER, &message.base, STATUS_INVALID_ARGUMENT, "name");
    message.name = name;
    for (uint64_t i = 0; i < LIMIT_BARRIERS_KEPT + 20; i++) {
        snprintf(name, sizeof name, "b%llu", (unsigned long long)i);
        raw_send(party.control[0], FRAME_BARRIER, &message.base, 1000 + i);
        EXPECT(raw_ask(party.control[1], FRAME_BARRIER, &message.base) == FRAME_BARRIER_REPLY);
    }
    /* One that is past is answered at once; one that is forgotten begins anew. */
    EXPECT(raw_ask(party.control[0], FRAME_BARRIER, &message.base) == FRAME_BARRIER_REPLY);
    scenario_seconds(sim, 1);
    for (uint64_t i = 0; i < LIMIT_BARRIERS_KEPT * 2 + 5; i++) {
        snprintf(name, sizeof name, "w%llu", (unsigned long long)i);
        raw_send(party.control[0], FRAME_BARRIER, &message.base, 5000 + i);
    }
    scenario_seconds(sim, 1);
    EXPECT(party.control[0]->type == FRAME_FAILURE &&
           party.control[0]->status == STATUS_RESOURCE_EXHAUSTED);
}

/* ---- steps ---- */

static Pmd__StepBegin begin_of(uint64_t step, uint64_t examples)
{
    Pmd__StepBegin begin = PMD__STEP_BEGIN__INIT;

    begin.step = step;
    begin.examples = examples;
    return begin;
}

static void push(struct raw_link *link, uint64_t step, uint32_t variable)
{
    static const float gradient[2] = {1, 2};
    uint32_t block = 0;
    Pmd__Push message = PMD__PUSH__INIT;

    message.step = step;
    message.n_variable = message.n_block = 1;
    message.variable = &variable;
    message.block = &block;
    raw_send_bytes(link, FRAME_PUSH, &message.base, 500, gradient, sizeof gradient);
}

static uint32_t server_of_variable(struct sim *sim, uint32_t variable)
{
    return placement_server_of(&sim->servers[0]->server->service.store.placement, variable, 0);
}

/* The connection is refused with this; the next call makes it anew. */
static void expect_end_of_bulk(struct sim *sim, int line, struct party *party, uint32_t rank,
                               const char *part)
{
    struct raw_link *link = party->bulk[rank][0];

    if (link->type != FRAME_FAILURE)
        raw_wait(link);
    if (link->type != FRAME_FAILURE)
        sim_fail(sim, "scenario", "line %d: no failure, but %s", line, frame_type_name(link->type));
    scenario_expect_text(sim, line, link->text, part);
    scenario_seconds(sim, 1);
    if (link->link)
        sim_fail(sim, "scenario", "line %d: the connection is still there", line);
    connect_bulk(sim, party, rank);
}

#define BULK_ENDS(rank, part) expect_end_of_bulk(sim, __LINE__, &party, rank, part)

void scenario_wrong_steps(struct sim *sim)
{
    struct party party;
    Pmd__StepClose close = PMD__STEP_CLOSE__INIT;
    Pmd__Pull pull = PMD__PULL__INIT;
    uint32_t mine = 0, block = 0;

    meet(sim, &party);
    start_both(sim, &party);
    connect_bulk(sim, &party, 0);
    connect_bulk(sim, &party, 1);
    mine = server_of_variable(sim, 0) == 0 ? 0 : 1;
    Pmd__StepBegin begin = begin_of(5, 1);
    raw_send(party.bulk[0][0], FRAME_STEP_BEGIN, &begin.base, 0);
    BULK_ENDS(0, "step 5");
    begin = begin_of(1, UINT64_MAX);
    raw_send(party.bulk[0][0], FRAME_STEP_BEGIN, &begin.base, 0);
    BULK_ENDS(0, "examples");
    close.step = 1;
    raw_send(party.bulk[0][0], FRAME_STEP_CLOSE, &close.base, 0);
    BULK_ENDS(0, "has not begun");
    close.step = 7;
    raw_send(party.bulk[0][0], FRAME_STEP_CLOSE, &close.base, 0);
    BULK_ENDS(0, "step 7");
    push(party.bulk[0][0], 1, mine);
    BULK_ENDS(0, "before its step_begin");
    push(party.bulk[0][0], 6, mine);
    BULK_ENDS(0, "step 6");
    begin = begin_of(1, 0);
    raw_send(party.bulk[0][0], FRAME_STEP_BEGIN, &begin.base, 0);
    push(party.bulk[0][0], 1, mine);
    BULK_ENDS(0, "0 examples");
    begin = begin_of(1, 4);
    raw_send(party.bulk[0][0], FRAME_STEP_BEGIN, &begin.base, 0);
    BULK_ENDS(0, "now says 4");
    pull.step = 9;
    pull.n_variable = pull.n_block = 1;
    pull.variable = &mine;
    pull.block = &block;
    raw_send(party.bulk[0][0], FRAME_PULL, &pull.base, 77);
    BULK_ENDS(0, "step 9");
    begin = begin_of(2, 3);
    raw_send(party.bulk[1][0], FRAME_STEP_BEGIN, &begin.base, 0);
    close.step = 2;
    raw_send(party.bulk[1][0], FRAME_STEP_CLOSE, &close.base, 0);
    push(party.bulk[1][0], 2, mine);
    BULK_ENDS(1, "after its step_close");
}

static void end_step(struct party *party, uint32_t rank, uint64_t step)
{
    Pmd__StepEnd end = PMD__STEP_END__INIT;

    end.step = step;
    raw_send(party->control[rank], FRAME_STEP_END, &end.base, 0);
}

/* Ranks without examples go through steps, to get to later ones. */
static void idle_step(struct sim *sim, struct party *party, uint32_t ranks, uint64_t step)
{
    Pmd__StepBegin begin = begin_of(step, 0);

    for (uint32_t rank = 0; rank < ranks; rank++) {
        for (int s = 0; s < 2; s++)
            raw_send(party->bulk[rank][s], FRAME_STEP_BEGIN, &begin.base, 0);
        end_step(party, rank, step);
    }
    scenario_seconds(sim, 1);
    EXPECT(sim_coordinator(sim)->committed_plus_1 == step + 1);
}

static void finish_of(struct sim *sim, struct party *party, uint32_t rank, uint64_t step)
{
    Pmd__Finish finish = PMD__FINISH__INIT;

    finish.step = step;
    EXPECT(raw_ask(party->control[rank], FRAME_FINISH, &finish.base) == FRAME_DONE);
}

/* A version that is gone, a rank that finished, and one that finished with a step that its
 * successor has to do. */
void scenario_late_and_finished(struct sim *sim)
{
    struct party party;
    Pmd__Pull pull = PMD__PULL__INIT;
    uint32_t variable, block = 0;

    meet(sim, &party);
    start_both(sim, &party);
    connect_bulk(sim, &party, 0);
    connect_bulk(sim, &party, 1);
    variable = server_of_variable(sim, 0) == 0 ? 0 : 1;
    idle_step(sim, &party, 2, 1);
    idle_step(sim, &party, 2, 2);
    idle_step(sim, &party, 2, 3);
    pull.step = 1;
    pull.n_variable = pull.n_block = 1;
    pull.variable = &variable;
    pull.block = &block;
    REFUSED(party.bulk[0][0], FRAME_PULL, &pull.base, STATUS_OUT_OF_RANGE, "step 1");
    finish_of(sim, &party, 1, 4);
    Pmd__StepBegin begin = begin_of(5, 1);
    raw_send(party.bulk[1][0], FRAME_STEP_BEGIN, &begin.base, 0);
    BULK_ENDS(1, "finished at step 4");
    /* Another process takes the rank: step 4 is not committed, so it is not told that it has
     * finished. */
    party.raws[1] = raw_new(sim);
    party.control[1] = raw_connect(party.raws[1], SCENARIO_COORDINATOR);
    Pmd__Hello hello = raw_hello(party.raws[1], PMD__ROLE__ROLE_WORKER,
                                 PMD__CHANNEL__CHANNEL_CONTROL);
    hello.rank_plus_1 = 2;
    EXPECT(raw_ask(party.control[1], FRAME_HELLO, &hello.base) == FRAME_HELLO_REPLY &&
           !party.control[1]->finished);
    Pmd__Finish finish = PMD__FINISH__INIT;
    finish.step = 5;
    REFUSED(party.control[1], FRAME_FINISH, &finish.base, STATUS_FAILED_PRECONDITION,
            "after step 4 before");
    finish_of(sim, &party, 1, 3);
    idle_step(sim, &party, 1, 4);
    finish_of(sim, &party, 0, 4);
    scenario_seconds(sim, 1);
    EXPECT(sim_coordinator(sim)->state == JOB_FINISHED);
}

/* One rank pushes a variable of the other server and one does not: that server complains to the
 * coordinator. */
void scenario_disagreement(struct sim *sim)
{
    struct party party;
    Pmd__StepClose close = PMD__STEP_CLOSE__INIT;
    Pmd__StepBegin begin = begin_of(1, 2);

    meet(sim, &party);
    start_both(sim, &party);
    close.step = 1;
    uint32_t variable = server_of_variable(sim, 0) == 1 ? 0 : 1;
    for (uint32_t rank = 0; rank < 2; rank++) {
        connect_bulk(sim, &party, rank);
        for (int s = 0; s < 2; s++)
            raw_send(party.bulk[rank][s], FRAME_STEP_BEGIN, &begin.base, 0);
    }
    push(party.bulk[0][1], 1, variable);
    for (uint32_t rank = 0; rank < 2; rank++)
        raw_send(party.bulk[rank][1], FRAME_STEP_CLOSE, &close.base, 0);
    scenario_seconds(sim, 2);
    EXPECT(scenario_server(sim, 0)->ended &&
           scenario_server(sim, 0)->exit_code == EXIT_CODE_FAILED);
    EXPECT_TEXT(scenario_server(sim, 0)->end_message, "all ranks must agree");
    EXPECT(party.control[0]->type == FRAME_END &&
           scenario_server(sim, 1)->exit_code == EXIT_CODE_FAILED);
}
