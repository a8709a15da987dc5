/* The client's engine under any program of calls, with peers that answer anything. */
/* decoder: worker/client/core_frame.c worker/client/core_pull.c worker/client/core_link.c */
/* decoder: worker/client/core_push.c worker/client/core_push_frame.c worker/client/core_rows.c */
/* decoder: worker/client/core_request.c worker/client/core_step.c worker/client/core_handle.c */
/* decoder: worker/client/core_expire.c worker/client/client_core.c worker/client/core_send.c */
/* options: -max_len=384 -len_control=20 */
/*
 * The input is a tape of operations: a call of the program, an answer of a peer (true, or near the
 * truth), trouble on a connection, time. Every array that is lent for a push or a pull has memory
 * of its own, which is freed when its handle has ended, so a byte that is read or written too late
 * or outside is seen. A pull that ended well has all its bytes; a push that ended well is
 * committed; when the job is over no handle waits; and if nobody has lied, everything ends well
 * once the connections work again.
 */
#include "common/base/alloc.h"
#include "tests/fuzz/client_peers.h"
#include "worker/client/client_core.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    OPERATIONS_MAX = 250,
    CONNECTS_MAX = 150,
    HELD_MAX = 96,
    ROWS_MAX = 20,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum held_kind { HELD_REQUEST, HELD_PUSH, HELD_PULL };

/* A handle that was not asked for its end yet, or arrays whose loan has not ended. */
struct held {
    enum held_kind kind;
    ps_handle handle; /* 0: nobody has one; the loan ends with the step */
    uint64_t step;    /* of the push or pull */
    uint8_t *lent;    /* owned; read by the client */
    uint8_t *wanted;  /* owned; written by the client */
    size_t bytes;
    bool withdrawn;
};

struct run {
    struct peers peers;
    struct core *core;
    struct held held[HELD_MAX];
    size_t held_count;
};

static const char *const words[] = {"",         "dense",         "rows",  "integers",
                                    "scalar",   "assigned",      "large", "no name at all",
                                    "accuracy", "learning_rate", "adam"};

static uint8_t next(struct run *run)
{
    return tape_byte(&run->peers.tape);
}

static uint64_t number(struct run *run, uint64_t fitting)
{
    return tape_number(&run->peers.tape, fitting);
}

static const char *word(struct run *run, const char *fitting)
{
    return tape_word(&run->peers.tape, fitting, words, sizeof words / sizeof words[0]);
}

static void *take(size_t bytes, int byte)
{
    void *memory = malloc(bytes ? bytes : 1);

    assert(memory != NULL);
    memset(memory, byte, bytes);
    return memory;
}

/* ---- handles and loans ---- */

static struct held *hold(struct run *run, enum held_kind kind, uint64_t step)
{
    static struct held full;
    struct held *held = run->held_count < HELD_MAX ? &run->held[run->held_count++] : &full;

    *held = (struct held){.kind = kind, .step = step};
    return held == &full ? NULL : held;
}

static void let_go(struct run *run, size_t index)
{
    struct held *held = &run->held[index];

    free(held->lent);
    free(held->wanted);
    *held = run->held[--run->held_count];
}

static void check_end(const struct run *run, const struct held *held, enum status status)
{
    if (status)
        return;
    if (held->kind == HELD_PUSH)
        assert(core_commit_plus_1(run->core) > held->step);
    if (!held->wanted || held->bytes == 0)
        return;
    assert(!memchr(held->wanted, PEERS_BLANK, held->bytes));
    if (!run->peers.lied) {
        assert(held->step == PS_LATEST || held->wanted[0] == peers_value(held->step));
        assert(memcmp(held->wanted, held->wanted + 1, held->bytes - 1) == 0);
    }
}

/* Asks for the end of a handle; true: it has come, and the arrays are gone. */
static bool poll(struct run *run, size_t index)
{
    struct held *held = &run->held[index];
    struct ps_metric metrics[4];
    struct core_result result = {.metrics = metrics, .metric_capacity = 4};
    enum status status = STATUS_OK, again = STATUS_OK;
    struct error err = {0};

    if (held->handle == 0) {
        if (!core_step_done(run->core, held->step) && !held->withdrawn)
            return false;
        let_go(run, index);
        return true;
    }
    bool ready = core_ready(run->core, held->handle);
    bool done = core_done(run->core, held->handle, &status, &result, &err);
    assert(ready == done);
    if (!done)
        return false;
    assert((status == STATUS_OK) == !err.message[0]);
    check_end(run, held, status);
    assert(core_done(run->core, held->handle, &again, NULL, NULL));
    assert((status == STATUS_OK) == (again == STATUS_OK));
    let_go(run, index);
    return true;
}

static void poll_all(struct run *run)
{
    for (size_t i = run->held_count; i-- > 0;)
        poll(run, i);
}

/* ---- what the program does ---- */

static void do_create(struct run *run)
{
    static const uint64_t shapes[] = {6, 2, 1, 3, 50, 0};
    struct held *held = hold(run, HELD_REQUEST, 0);
    struct ps_variable variable = {.name = word(run, "dense")};
    uint64_t shape[9];

    if (!held)
        return;
    variable.rank = number(run, 2) % 10;
    for (size_t i = 0; i < variable.rank; i++)
        shape[i] = number(run, shapes[i % 6]);
    variable.shape = next(run) < 250 ? shape : NULL;
    variable.dtype = (enum ps_dtype)number(run, PS_FLOAT32);
    variable.initializer = (enum ps_initializer)number(run, PS_UNIFORM);
    variable.a = tape_real(&run->peers.tape, -1);
    variable.b = tape_real(&run->peers.tape, 1);
    variable.has_seed = next(run) & 1;
    if (core_create(run->core, &variable, &held->handle, NULL))
        run->held_count--;
}

static void do_configure(struct run *run)
{
    struct held *held = hold(run, HELD_REQUEST, 0);
    struct ps_setting settings[3];
    size_t count = number(run, 2);

    if (!held)
        return;
    for (size_t i = 0; i < 3; i++)
        settings[i] = (struct ps_setting){word(run, "learning_rate"),
                                          tape_real(&run->peers.tape, 0.5)};
    if (count > 3 && count <= 16)
        count = 3;
    if (core_configure(run->core, (uint32_t)number(run, 0), word(run, "sgd"), settings, count,
                       &held->handle, NULL))
        run->held_count--;
}

static size_t make_metrics(struct run *run, struct ps_metric *ret_metrics)
{
    size_t count = number(run, 2);

    for (size_t i = 0; i <= LIMIT_METRICS; i++)
        ret_metrics[i] = (struct ps_metric){.name = "loss", .sum = 1, .count = 1};
    if (count && count <= LIMIT_METRICS)
        ret_metrics[0].name = word(run, "accuracy");
    return count;
}

/* start, barrier, finish */
static void do_request(struct run *run, int which)
{
    struct held *held = hold(run, HELD_REQUEST, 0);
    struct ps_metric metrics[LIMIT_METRICS + 1];
    enum status status;
    size_t count;

    if (!held)
        return;
    switch (which) {
    case 0:
        status = core_start(run->core, &held->handle, NULL);
        break;
    case 1:
        count = make_metrics(run, metrics);
        status = core_barrier(run->core, word(run, "epoch"), metrics, count, &held->handle, NULL);
        break;
    default:
        status = core_finish(run->core, &held->handle, NULL);
    }
    if (status)
        run->held_count--;
}

static void do_step_begin(struct run *run)
{
    uint64_t last = core_last_begun(run->core);
    uint64_t committed_plus_1 = core_commit_plus_1(run->core);
    uint64_t step = last ? last + 1 : committed_plus_1 > 1 ? committed_plus_1 : 1;

    status_ignore(core_step_begin(run->core, number(run, step), number(run, 8), NULL),
                  "a program that does not care");
}

static void do_step_end(struct run *run)
{
    struct ps_metric metrics[LIMIT_METRICS + 1];
    size_t count = make_metrics(run, metrics);

    status_ignore(core_step_end(run->core, metrics, count, next(run) & 1, NULL),
                  "a program that does not care");
}

static uint32_t choose_variable(struct run *run)
{
    const struct registry *known = core_registry(run->core);
    size_t count = known ? known->variable_count : run->peers.registry.variable_count;

    return count ? (uint32_t)number(run, next(run) % count) : 0;
}

/* Of a variable that there is not too: then the call must not touch the array. */
static size_t bytes_of(const struct run *run, uint32_t variable)
{
    return variable < run->peers.registry.variable_count ? peers_bytes(&run->peers, variable) : 0;
}

/* The client believes what it was told of the variables, which may be lies: then arrays fit that.
 */
static size_t array_bytes(const struct run *run, uint32_t variable)
{
    const struct registry *known = core_registry(run->core);

    if (!known || variable >= known->variable_count)
        return bytes_of(run, variable);
    return (size_t)known->variables[variable].elements *
           dtype_bytes(known->variables[variable].dtype);
}

/* push, pull, push_pull, assign */
static void do_move(struct run *run, int which)
{
    uint32_t variable = choose_variable(run);
    uint64_t last = core_last_begun(run->core);
    uint64_t step = which == 3 ? 0 : which == 1 ? number(run, last) : last;
    struct held *held = hold(run, which == 1 || which == 2 ? HELD_PULL : HELD_PUSH, step);
    enum status status;

    if (!held)
        return;
    held->bytes = array_bytes(run, variable);
    held->lent = which != 1 ? take(held->bytes, 0x3F) : NULL;
    held->wanted = which == 1 || which == 2 ? take(held->bytes, PEERS_BLANK) : NULL;
    if (which == 1 && next(run) >= 192)
        held->step = step = PS_LATEST;
    bool unknown = which == 0 && next(run) >= 224;
    switch (which) {
    case 0:
        status = core_push(run->core, variable, held->lent, (enum ps_push_kind)number(run, 0),
                           unknown ? NULL : &held->handle, NULL);
        break;
    case 1:
        status = core_pull(run->core, variable, step, held->wanted, &held->handle, NULL);
        break;
    case 2:
        status = core_push_pull(run->core, variable, held->lent, held->wanted, &held->handle, NULL);
        break;
    default:
        status = core_assign(run->core, variable, held->lent, &held->handle, NULL);
        unknown = held->handle == 0;
        held->withdrawn = unknown;
    }
    assert(status || unknown || held->handle);
    if (status)
        let_go(run, run->held_count - 1);
}

static void do_push_rows(struct run *run)
{
    uint32_t variable = (uint32_t)number(run, PEERS_ROWS);
    struct held *held = hold(run, HELD_PUSH, core_last_begun(run->core));
    const struct registry *known = core_registry(run->core);
    size_t count = next(run) % ROWS_MAX, elements = 0;

    if (!held)
        return;
    if (known && variable < known->variable_count && known->variables[variable].rank)
        elements = (size_t)(known->variables[variable].elements /
                            known->variables[variable].shape[0]);
    if (elements > 65536)
        elements = 0;
    int64_t *rows = take(count * sizeof *rows, 0);
    float *values = take(count * elements * sizeof *values, 0x3F);
    for (size_t i = 0; i < count; i++)
        rows[i] = (int64_t)number(run, next(run) % 50);
    enum status status = core_push_rows(run->core, variable, rows, count, values, &held->handle,
                                        NULL);
    free(rows);
    free(values);
    if (status)
        run->held_count--;
}

/* The program's patience is at its end, with one of its handles or with one that it made up. */
static void do_expire(struct run *run)
{
    size_t index = next(run);
    struct error err;

    if (run->held_count == 0 || index >= 240) {
        assert(core_expire(run->core, number(run, index), 1, &err) == STATUS_DEADLINE_EXCEEDED);
        return;
    }
    index %= run->held_count;
    struct held *held = &run->held[index];
    if (held->handle == 0 || core_ready(run->core, held->handle))
        return;
    assert(core_expire(run->core, held->handle, 1000, &err) == STATUS_DEADLINE_EXCEEDED);
    if (held->kind == HELD_PUSH)
        return;
    assert(core_ready(run->core, held->handle));
    free(held->wanted);
    held->wanted = NULL;
    held->handle = 0;
    if (!held->lent)
        let_go(run, index);
}

/* As ps_assign does it when its time is over. */
static void do_withdraw(struct run *run)
{
    for (size_t i = run->held_count; i-- > 0;) {
        struct held *held = &run->held[i];
        if (held->kind != HELD_PUSH || held->step != 0 || held->handle == 0 ||
            core_staged(run->core, held->handle))
            continue;
        core_assign_withdraw(run->core, held->handle);
        fake_net_run(&run->peers.net);
        let_go(run, i);
    }
}

static void do_look(struct run *run)
{
    struct ps_metric totals[3], running[3];
    char text[ERROR_MESSAGE_BYTES];
    size_t count;
    bool running_too = next(run) & 1;
    size_t index = next(run);
    ps_handle handle = run->held_count && index < 240 ? run->held[index % run->held_count].handle
                                                      : number(run, index);

    core_describe(run->core, handle, text, sizeof text);
    core_describe(run->core, handle, text, 1 + index % 40);
    if (!core_ready(run->core, handle))
        assert(!core_staged(run->core, handle) || core_registry(run->core));
    core_waiting(run->core, text, sizeof text);
    status_ignore(core_totals(run->core, number(run, core_commit_plus_1(run->core) - 1), totals,
                              running_too ? running : NULL, number(run, 3) % 4, &count, NULL),
                  "only looked at");
    if (core_registry(run->core))
        core_assign_incomplete(run->core);
}

/* A step as it should be: so the tape gets far with few bytes. */
static void do_whole_step(struct run *run)
{
    static const struct ps_metric loss = {.name = "loss", .sum = 1, .count = 1};
    uint64_t step = core_last_begun(run->core) + 1;
    struct error err;

    if (core_step_begin(run->core, step, 8, &err))
        return;
    for (uint32_t variable = 0; variable < 2; variable++) {
        struct held *held = hold(run, HELD_PULL, step);
        if (!held)
            break;
        held->bytes = array_bytes(run, variable);
        held->lent = take(held->bytes, 0x3F);
        held->wanted = take(held->bytes, PEERS_BLANK);
        if (core_push_pull(run->core, variable, held->lent, held->wanted, &held->handle, &err))
            let_go(run, run->held_count - 1);
    }
    status_ignore(core_step_end(run->core, &loss, 1, false, &err), "memory may have failed");
    fake_net_run(&run->peers.net);
    peers_serve(&run->peers);
    peers_commit(&run->peers);
}

/* ---- what happens ---- */

static void serve_all(struct run *run)
{
    for (int i = 0; i < 4; i++) {
        peers_up(&run->peers);
        fake_net_run(&run->peers.net);
        peers_serve(&run->peers);
        fake_net_run(&run->peers.net);
    }
    peers_commit(&run->peers);
}

static void pass_time(struct run *run)
{
    static const uint32_t pauses_ms[] = {1, 60, 600, 1100, 2100, 5100, 10600, 31000};
    uint8_t byte = next(run);

    fake_net_advance(&run->peers.net, pauses_ms[byte < 128 ? byte % 4 : byte % 8]);
}

static void operation(struct run *run)
{
    struct peers *peers = &run->peers;
    uint8_t what = next(run) % 36;
    struct fake_link *link = what >= 24 && what < 32 ? peers_link(peers, next(run)) : NULL;

    if (what < 1)
        do_create(run);
    else if (what < 2)
        do_configure(run);
    else if (what < 5)
        do_request(run, what - 2);
    else if (what < 7)
        do_step_begin(run);
    else if (what < 14)
        do_move(run, what % 4);
    else if (what < 16)
        do_push_rows(run);
    else if (what < 17)
        do_step_end(run);
    else if (what < 18)
        do_expire(run);
    else if (what < 19)
        do_withdraw(run);
    else if (what < 20)
        do_look(run);
    else if (what < 21)
        core_flush(run->core);
    else if (what < 22)
        do_whole_step(run);
    else if (what < 24)
        serve_all(run);
    else if (what < 32 && !link)
        peers_up(peers);
    else if (what < 28) {
        peers->lying = true;
        if (!peers_answer(peers, link))
            peers_gossip(peers, link);
        peers->lying = false;
    } else if (what < 30)
        peers_answer(peers, link);
    else if (what < 32)
        peers_trouble(peers, link);
    else if (what < 33)
        pass_time(run);
    else if (what < 34)
        alloc_fail_nth(1 + next(run) % 24u, false);
    else if (what < 35) {
        peers->lying = next(run) >= 192;
        peers_commit(peers);
        peers->lying = false;
    } else if (next(run) < 224)
        peers->net.send_fails = next(run) % 8;
    else
        peers->net.refuse_connects = next(run) % 2;
}

/* Nothing waits for a job that is over. */
static void assert_ended(struct run *run)
{
    poll_all(run);
    for (size_t i = 0; i < run->held_count; i++)
        assert(run->held[i].handle == 0);
}

/* Nobody has lied and all connections work: what can come to an end does. */
static void assert_heals(struct run *run)
{
    struct error err;

    if (core_step_open(run->core))
        assert(core_step_end(run->core, NULL, 0, false, &err) == STATUS_OK);
    core_flush(run->core);
    peers_heal(&run->peers);
    for (int i = 0; i < 8; i++) {
        fake_net_advance(&run->peers.net, 500);
        serve_all(run);
    }
    poll_all(run);
    if (core_ended(run->core, &err, NULL))
        return; /* it was silent for too long before */
    for (size_t i = 0; i < run->held_count; i++) {
        const struct held *held = &run->held[i];
        bool early = held->kind == HELD_PULL &&
                     (held->step == PS_LATEST || held->step >= run->peers.committed_plus_1);
        bool unassigned = run->peers.committed_plus_1 == 0;
        assert(held->handle == 0 || early || unassigned);
    }
}

static bool start(struct run *run, const uint8_t *data, size_t size)
{
    struct core_options options = {.coordinator = peers_coordinator(),
                                   .job = "job",
                                   .program = "fuzz",
                                   .token = (const uint8_t *)"secret",
                                   .token_bytes = 6};
    struct tape tape = {.at = data + 1, .end = data + size};

    *run = (struct run){0};
    peers_init(&run->peers, tape, 1 + data[0] % PEERS_SERVERS_MAX, data[0] >> 2 & 1,
               (data[0] & 0x38) == 0x38);
    options.rank_plus_1 = data[0] & 64 ? run->peers.rank + 1 : 0;
    if (core_new(&options, &run->peers.net.io, &run->core, NULL))
        return false;
    run->peers.net.engine = core_engine(run->core);
    fake_net_run(&run->peers.net);
    if (data[0] & 128)
        return true;
    serve_all(run);
    do_request(run, 0);
    serve_all(run);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct run run;

    if (size < 1)
        return 0;
    assert(start(&run, data, size));
    for (int i = 0; i < OPERATIONS_MAX && !tape_ended(&run.peers.tape); i++) {
        operation(&run);
        if (next(&run) < 200) { /* else several things come at once */
            fake_net_run(&run.peers.net);
            poll_all(&run);
            if (core_ended(run.core, NULL, NULL))
                assert_ended(&run);
        }
        if (run.peers.net.connects > CONNECTS_MAX)
            break;
    }
    alloc_fail_nth(0, false);
    fake_net_run(&run.peers.net);
    if (!run.peers.lied && !core_ended(run.core, NULL, NULL))
        assert_heals(&run);
    core_close(run.core);
    fake_net_run(&run.peers.net);
    assert(core_closed(run.core) && core_ended(run.core, NULL, NULL));
    assert_ended(&run);
    while (run.held_count)
        let_go(&run, 0);
    peers_release(&run.peers);
    core_free(run.core);
    return 0;
}
