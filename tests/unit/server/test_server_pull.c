/* Pulls, readers of snapshots, the end of the job, no memory. */
#include "tests/unit/server/server_test.h"

#include "common/base/alloc.h"
#include "common/base/hash.h"

static struct site site;

static int teardown(void **state)
{
    (void)state;
    site_release(&site);
    return 0;
}

static void assert_replied(struct fake_link *link, uint64_t request, uint64_t step, float first)
{
    struct fake_heard *heard = heard_frame(link, FRAME_PULL_REPLY);
    const Pmd__PullReply *reply = (const Pmd__PullReply *)(void *)heard->message;

    assert_int_equal(heard->request, request);
    assert_int_equal(reply->step, step);
    assert_true(*(const float *)(void *)heard->payload == first);
}

static void test_pull_waits_for_its_version(void **state)
{
    (void)state;
    site_train(&site, 2);
    uint64_t later = say_pull(&site, site.bulk[1], 1, W, 0);
    uint64_t now = say_pull(&site, site.bulk[1], 0, W, 0);
    assert_replied(site.bulk[1], now, 0, 0);
    assert_null(fake_link_find(site.bulk[1], FRAME_PULL_REPLY));
    site_step(&site, 1, 1);
    assert_replied(site.bulk[1], later, 1, -0.5f);
}

/* Prepared and not yet committed: it is given; the published version before it too, until the
 * commit. */
static void test_pull_of_the_prepared_and_the_published_version(void **state)
{
    static const float grad[40] = {2};

    (void)state;
    site_train(&site, 1);
    say_begin(&site, site.bulk[0], 1, 1);
    say_push(&site, site.bulk[0], 1, PMD__PUSH_KIND__PUSH_KIND_GRADIENT, W, 0, grad, W_BYTES);
    assert_int_equal(site_committed_plus_1(&site), 1);
    uint64_t prepared = say_pull(&site, site.bulk[0], 1, W, 0);
    assert_replied(site.bulk[0], prepared, 1, -1.0f);
    uint64_t published = say_pull(&site, site.bulk[0], 0, W, 0);
    assert_replied(site.bulk[0], published, 0, 0);
    say_close(&site, site.bulk[0], 1);
    say_end(&site, 0, 1);
    uint64_t gone = say_pull(&site, site.bulk[0], 0, W, 0);
    struct fake_heard *heard = heard_frame(site.bulk[0], FRAME_FAILURE);
    assert_int_equal(heard->request, gone);
    assert_int_equal(((const Pmd__Failure *)(void *)heard->message)->status, STATUS_OUT_OF_RANGE);
    assert_false(site.bulk[0]->closed);
}

static void test_pull_too_far(void **state)
{
    (void)state;
    site_train(&site, 2);
    say_pull(&site, site.bulk[0], 2, W, 0);
    assert_false(site.bulk[0]->closed);
    say_pull(&site, site.bulk[0], 3, W, 0);
    assert_thrown_out(site.bulk[0], STATUS_FAILED_PRECONDITION,
                      "pull of step 3: the last committed step is 0");
    say_pull(&site, site.bulk[1], 0, W, 1);
    assert_thrown_out(site.bulk[1], STATUS_INVALID_ARGUMENT,
                      "block 1 of variable 0 is not on server 0");
}

static void test_pulls_are_bounded(void **state)
{
    static uint32_t variables[LIMIT_FRAME_BLOCKS], blocks[LIMIT_FRAME_BLOCKS];
    Pmd__Pull pull = PMD__PULL__INIT;

    (void)state;
    site_train(&site, 2);
    pull.step = 1;
    pull.n_variable = pull.n_block = LIMIT_FRAME_BLOCKS;
    pull.variable = variables;
    pull.block = blocks;
    for (int i = 0; i < 4; i++) { /* 4096 + 4 for each of the 5 blocks are possible */
        say(&site, site.bulk[0], FRAME_PULL, &pull);
        assert_false(site.bulk[0]->closed);
    }
    pull.n_variable = pull.n_block = 20;
    say(&site, site.bulk[0], FRAME_PULL, &pull);
    assert_false(site.bulk[0]->closed);
    say_pull(&site, site.bulk[0], 1, W, 0);
    assert_thrown_out(site.bulk[0], STATUS_RESOURCE_EXHAUSTED, "4116 blocks in unanswered pulls");
    say_pull(&site, site.bulk[1], 1, W, 0); /* of another rank */
    assert_false(site.bulk[1]->closed);
}

/* One pull of several blocks is one frame, as far as they are ready together. */
static void test_blocks_of_a_pull_share_frames(void **state)
{
    uint32_t variables[4] = {W, N, A, W}, blocks[4] = {0, 0, 0, 0};
    Pmd__Pull pull = PMD__PULL__INIT;

    (void)state;
    site_train(&site, 1);
    pull.n_variable = pull.n_block = 4;
    pull.variable = variables;
    pull.block = blocks;
    say(&site, site.bulk[0], FRAME_PULL, &pull);
    struct fake_heard *heard = heard_frame(site.bulk[0], FRAME_PULL_REPLY);
    assert_int_equal(((const Pmd__PullReply *)(void *)heard->message)->n_block, 4);
    assert_int_equal(((const Pmd__PullReply *)(void *)heard->message)->grant, 2);
    assert_int_equal(heard->payload_bytes, W_BYTES + 24 + A_BYTES + W_BYTES);
    assert_null(fake_link_find(site.bulk[0], FRAME_PULL_REPLY));
}

/* A peer that does not read: so many frames are queued, the rest waits at its place and follows. */
static void test_replies_are_bounded_and_resumed(void **state)
{
    (void)state;
    site_train(&site, 1);
    site.bulk[0]->stalled = true;
    for (int i = 0; i < SESSION_REPLIES_MAX + 5; i++)
        say_pull(&site, site.bulk[0], 0, BIG, 0);
    assert_int_equal(site.bulk[0]->queued_count, SESSION_REPLIES_MAX);
    fake_link_write(site.bulk[0], 3);
    fake_net_run(&site.net);
    assert_int_equal(site.bulk[0]->queued_count, SESSION_REPLIES_MAX);
    site.bulk[0]->stalled = false;
    fake_net_run(&site.net);
    for (int i = 0; i < SESSION_REPLIES_MAX + 5; i++)
        heard_frame(site.bulk[0], FRAME_PULL_REPLY);
}

/* Several pulls are ready in one turn: the bound holds then too. */
static void test_replies_of_one_turn_are_bounded(void **state)
{
    uint32_t variable = BIG, block = 0;
    Pmd__Pull pull = PMD__PULL__INIT;

    (void)state;
    site_train(&site, 1);
    site.bulk[0]->stalled = true;
    pull.n_variable = pull.n_block = 1;
    pull.variable = &variable;
    pull.block = &block;
    for (uint64_t i = 0; i < 3 * SESSION_REPLIES_MAX; i++)
        fake_link_say(site.bulk[0], FRAME_PULL, &pull, 7000 + i, 0);
    fake_net_run(&site.net);
    assert_int_equal(site.bulk[0]->queued_count, SESSION_REPLIES_MAX);
}

/* The link refuses a frame while many blocks are ready: the rest is dropped with the session. */
static void test_link_that_is_full_in_the_middle_of_a_reply(void **state)
{
    static uint32_t variables[LIMIT_FRAME_BLOCKS], blocks[LIMIT_FRAME_BLOCKS];
    Pmd__Pull pull = PMD__PULL__INIT;

    (void)state;
    site_train(&site, 2);
    pull.n_variable = pull.n_block = LIMIT_FRAME_BLOCKS;
    pull.variable = variables;
    pull.block = blocks;
    pull.step = 1;
    for (int i = 0; i < 4; i++)
        say(&site, site.bulk[0], FRAME_PULL, &pull);
    site.bulk[0]->full = true;
    say_begin(&site, site.bulk[0], 1, 0);
    say_begin(&site, site.bulk[1], 1, 0); /* version 1 is there */
    assert_true(site.bulk[0]->closed);
    assert_non_null(strstr(site.bulk[0]->why.message, "could not be queued"));
    assert_false(site.bulk[1]->closed);
}

static void test_session_that_closes_takes_its_pulls_along(void **state)
{
    (void)state;
    site_train(&site, 2);
    for (uint32_t rank = 0; rank < 2; rank++) {
        say_pull(&site, site.bulk[rank], 1, W, 0);
        say_pull(&site, site.bulk[rank], 1, BIG, 1);
    }
    fake_link_break(site.bulk[1]);
    site.bulk[1] = site_connect_bulk(&site, 1, 1, 3);
    site_step(&site, 1, 1);
    heard_frame(site.bulk[0], FRAME_PULL_REPLY);
    assert_null(fake_link_find(site.bulk[1], FRAME_PULL_REPLY));
}

/* Replies hold the buffers of versions: training waits for a free one, and goes on when the peer
 * has read. */
static void test_training_waits_for_buffers_that_replies_hold(void **state)
{
    (void)state;
    site_train(&site, 1);
    struct fake_link *link = site.bulk[0];
    struct store *store = &site.server.service.store;
    struct buf *taken[64];
    size_t count = 0;
    for (size_t bytes = BIG_BYTES_0; bytes >= 64; bytes /= 2) {
        while (buf_available(&store->values, bytes))
            taken[count++] = buf_take(&store->values, bytes);
    }
    static const float grad[40] = {2};
    store->values.returned = false;
    say_begin(&site, link, 1, 1);
    say_push(&site, link, 1, PMD__PUSH_KIND__PUSH_KIND_GRADIENT, W, 0, grad, W_BYTES);
    assert_int_equal(site.server.service.starved_count, 1);
    assert_int_equal(store_find(store, W, 0)->version, 0);
    while (count > 0)
        buf_unref(taken[--count]);
    fake_net_run(&site.net);
    assert_int_equal(store_find(store, W, 0)->version, 1);
}

/* ---- readers ---- */

static struct fake_link *reader;

static uint64_t snapshot(struct fake_link *control, bool slots, uint64_t gone)
{
    Pmd__Snapshot message = PMD__SNAPSHOT__INIT;

    message.slots = slots;
    message.gone = gone;
    say(&site, control, FRAME_SNAPSHOT, &message);
    return HEARD(control, SnapshotReply, SNAPSHOT_REPLY)->hold;
}

static uint64_t say_read(uint64_t hold, uint32_t slot, bool digest, uint32_t *variables,
                         uint32_t *blocks, size_t count)
{
    Pmd__Read read = PMD__READ__INIT;

    read.hold = hold;
    read.slot = slot;
    read.digest = digest;
    read.n_variable = read.n_block = count;
    read.variable = variables;
    read.block = blocks;
    return say(&site, reader, FRAME_READ, &read);
}

static struct fake_link *train_with_a_reader(void)
{
    site_train(&site, 1);
    site_step(&site, 1, 1);
    reader = site_connect_reader(&site, PMD__CHANNEL__CHANNEL_BULK);
    return site_connect_reader(&site, PMD__CHANNEL__CHANNEL_CONTROL);
}

static void test_read_of_values(void **state)
{
    uint32_t variables[2] = {W, A}, blocks[2] = {0, 0};

    (void)state;
    uint64_t hold = snapshot(train_with_a_reader(), false, 0);
    site_step(&site, 2, 100);
    uint64_t request = say_read(hold, 0, false, variables, blocks, 2);
    struct fake_heard *heard = heard_frame(reader, FRAME_READ_REPLY);
    const Pmd__ReadReply *reply = (const Pmd__ReadReply *)(void *)heard->message;
    assert_int_equal(heard->request, request);
    assert_int_equal(reply->step, 1);
    assert_int_equal(reply->n_block, 2);
    assert_int_equal(heard->payload_bytes, W_BYTES + A_BYTES);
    assert_true(*(const float *)(void *)heard->payload == -0.5f);
    assert_true(*(const float *)(void *)(heard->payload + W_BYTES) == 1.0f);
}

static void test_read_of_more_than_a_frame(void **state)
{
    static uint32_t variables[40], blocks[40];
    size_t bytes = 0;

    (void)state;
    uint64_t hold = snapshot(train_with_a_reader(), false, 0);
    for (int i = 0; i < 40; i++)
        variables[i] = BIG;
    say_read(hold, 0, false, variables, blocks, 40);
    for (struct fake_heard *heard; (heard = fake_link_find(reader, FRAME_READ_REPLY));)
        bytes += heard->payload_bytes;
    assert_int_equal(bytes, 40 * BIG_BYTES_0);
}

static void test_read_of_digests(void **state)
{
    static uint32_t variables[300], blocks[300];
    uint8_t expected[32];
    size_t digests = 0;

    (void)state;
    uint64_t hold = snapshot(train_with_a_reader(), false, 0);
    hash_sha256(store_find(&site.server.service.store, W, 0)->value->data, W_BYTES, expected);
    say_read(hold, 0, true, variables, blocks, 300);
    for (struct fake_heard *heard; (heard = fake_link_find(reader, FRAME_READ_REPLY));) {
        assert_true(((const Pmd__ReadReply *)(void *)heard->message)->digest);
        assert_memory_equal(heard->payload + heard->payload_bytes - 32, expected, 32);
        digests += heard->payload_bytes / 32;
    }
    assert_int_equal(digests, 300);
}

/* A reader that does not read has its own bound; pushes are not touched by it. */
static void test_digests_do_not_take_the_room_of_pushes(void **state)
{
    static uint32_t variables[256], blocks[256];

    (void)state;
    uint64_t hold = snapshot(train_with_a_reader(), false, 0);
    reader->stalled = true;
    for (int i = 0; i < 300; i++)
        say_read(hold, 0, true, variables, blocks, 256);
    assert_int_equal(site.server.service.store.staging.bytes_used, 0);
    reader->stalled = false;
    fake_net_run(&site.net);
    assert_failure(reader, STATUS_RESOURCE_EXHAUSTED, "no buffer for digests");
    assert_int_equal(site.server.service.digests.bytes_used, 0);
    site_step(&site, 2, 1);
}

static void test_read_of_slots(void **state)
{
    static float grad[65536];
    uint32_t variable = BIG, block = 1;

    (void)state;
    struct fake_link *control = train_with_a_reader();
    Pmd__Snapshot message = PMD__SNAPSHOT__INIT;
    message.slots = true;
    say(&site, control, FRAME_SNAPSHOT, &message); /* rides on the next commit */
    site_step(&site, 2, 1);
    uint64_t hold = HEARD(control, SnapshotReply, SNAPSHOT_REPLY)->hold;
    grad[0] = 1;
    say_begin(&site, site.bulk[0], 3, 1);
    reader->stalled = true;
    say_read(hold, 1, false, &variable, &block, 1); /* on its way while step 3 changes the slots */
    say_push(&site, site.bulk[0], 3, PMD__PUSH_KIND__PUSH_KIND_GRADIENT, BIG, 1, grad, BIG_BYTES_1);
    assert_int_equal(store_find(&site.server.service.store, BIG, 1)->version, 3);
    say_read(hold, 1, false, &variable, &block, 1);
    reader->stalled = false;
    fake_net_run(&site.net);
    for (int i = 0; i < 2; i++) {
        struct fake_heard *heard = heard_frame(reader, FRAME_READ_REPLY);
        assert_int_equal(heard->payload_bytes, BIG_BYTES_1);
        assert_true(*(const float *)(void *)heard->payload == 0.0f);
    }
    say_read(hold, 3, false, &variable, &block, 1);
    assert_failure(reader, STATUS_INVALID_ARGUMENT, "slot 3: not on server 0, or not held");
    variable = W;
    block = 0;
    say_read(hold, 1, false, &variable, &block, 1);
    assert_failure(reader, STATUS_INVALID_ARGUMENT, "not held"); /* SGD has none */
}

static void test_read_of_a_snapshot_that_is_gone(void **state)
{
    uint32_t variable = W, block = 0;

    (void)state;
    struct fake_link *control = train_with_a_reader();
    uint64_t hold = snapshot(control, false, 0);
    say_read(0, 0, false, &variable, &block, 1);
    assert_failure(reader, STATUS_NOT_FOUND, "snapshot 0 is no longer held");
    for (int i = 0; i < 10; i++) { /* the lease runs from the last read */
        say(&site, site.control[0], FRAME_HEARTBEAT, NULL);
        say(&site, control, FRAME_HEARTBEAT, NULL);
        fake_net_advance(&site.net, 900);
        say_read(hold, 0, false, &variable, &block, 1);
        heard_frame(reader, FRAME_READ_REPLY);
    }
    for (int i = 0; i < 7; i++) {
        say(&site, site.control[0], FRAME_HEARTBEAT, NULL);
        say(&site, control, FRAME_HEARTBEAT, NULL);
        fake_net_advance(&site.net, 900);
    }
    say_read(hold, 0, false, &variable, &block, 1);
    assert_failure(reader, STATUS_NOT_FOUND, "snapshot 1 is no longer held here");
    hold = snapshot(control, false, hold);
    assert_int_equal(hold, 2);
    say_read(hold, 0, false, &variable, &block, 1);
    heard_frame(reader, FRAME_READ_REPLY);
}

/* The hold is on its way to this server: the read waits in its socket. */
static void test_read_of_a_snapshot_to_come_waits(void **state)
{
    uint32_t variable = W, block = 0;

    (void)state;
    struct fake_link *control = train_with_a_reader();
    say_read(1, 0, false, &variable, &block, 1);
    assert_true(reader->waiting);
    snapshot(control, false, 0);
    heard_frame(reader, FRAME_READ_REPLY);
}

static void test_read_of_a_block_that_is_not_there(void **state)
{
    uint32_t variable = W, block = 1;

    (void)state;
    uint64_t hold = snapshot(train_with_a_reader(), false, 0);
    say_read(hold, 0, false, &variable, &block, 1);
    assert_failure(reader, STATUS_INVALID_ARGUMENT, "block 1 of variable 0");
    variable = UINT32_MAX;
    say_read(hold, 0, true, &variable, &block, 1);
    assert_failure(reader, STATUS_INVALID_ARGUMENT, "not on server 0");
    assert_false(reader->closed);
}

/* ---- the end ---- */

static void test_frames_after_the_end(void **state)
{
    Pmd__Shutdown shutdown = PMD__SHUTDOWN__INIT;

    (void)state;
    struct fake_link *control = train_with_a_reader();
    say(&site, control, FRAME_SHUTDOWN, &shutdown);
    assert_ended(&site, EXIT_CODE_DONE, "shut down by 127.0.0.1:5555");
    say_pull(&site, site.bulk[0], 1, W, 0); /* the data plane goes on until the links are closed */
    heard_frame(site.bulk[0], FRAME_PULL_REPLY);
    struct fake_link *late = fake_link_accept(&site.net, "10.0.0.1:9");
    assert_true(late->closing);
    assert_non_null(strstr(late->why.message, "the job has ended"));
    say_end(&site, 0, 2);
    assert_false(site.control[0]->closed);
}

static void test_stop(void **state)
{
    (void)state;
    site_train(&site, 1);
    server_stop(&site.server, EXIT_CODE_SIGTERM, "the coordinator was told to end");
    fake_net_run(&site.net);
    assert_int_equal(HEARD(site.control[0], End, END)->exit_code, EXIT_CODE_SIGTERM);
    assert_ended(&site, EXIT_CODE_SIGTERM, "told to end");
}

static void test_settings_out_of_bounds(void **state)
{
    struct server_settings settings = site_settings(LIMIT_WORKERS + 1);
    struct error err;

    (void)state;
    assert_refused(site_init_settings(&site, settings, &err), STATUS_INVALID_ARGUMENT, &err,
                   "1025 workers: 1 to 1024");
    fake_net_release(&site.net);
    settings.workers = 1;
    settings.servers = 0;
    assert_refused(site_init_settings(&site, settings, &err), STATUS_INVALID_ARGUMENT, &err,
                   "0 servers: 1 to 240");
    fake_net_release(&site.net);
    site_init(&site, 1);
}

/* ---- a server that is not the first ---- */

static void test_other_server_has_no_place_before_its_welcome(void **state)
{
    struct server_settings settings = site_settings(0);
    struct error err;
    Pmd__HelloReply reply = PMD__HELLO_REPLY__INIT;
    Pmd__Hello hello = site_hello(PMD__ROLE__ROLE_WORKER, PMD__CHANNEL__CHANNEL_CONTROL);

    (void)state;
    settings.coordinator = "h0:7070";
    settings.address = "h1:7071";
    assert_ok(site_init_settings(&site, settings, &err), &err);
    fake_net_run(&site.net);
    struct fake_link *early = fake_link_accept(&site.net, "10.0.0.1:1");
    assert_non_null(strstr(early->why.message, "no place in a cluster yet"));
    struct fake_link *up = fake_link_made(&site.net);
    fake_link_up(up);
    reply.job = "job";
    reply.server = 1;
    reply.servers = 2;
    reply.workers = 1;
    fake_link_say(up, FRAME_HELLO_REPLY, &reply, 1, 0);
    fake_net_run(&site.net);
    assert_failure(
        site_connect(&site, &hello), STATUS_INVALID_ARGUMENT,
        "h1:7071 is not the coordinator of this job, but its server 1; the coordinator is h0:7070");
    assert_false(site_connect_bulk(&site, 0, 1, 1)->closed);
}

static void other_server(struct fake_link **ret_up)
{
    struct server_settings settings = site_settings(0);
    struct error err;
    Pmd__HelloReply reply = PMD__HELLO_REPLY__INIT;

    settings.coordinator = "h0:7070";
    assert_ok(site_init_settings(&site, settings, &err), &err);
    fake_net_run(&site.net);
    struct fake_link *up = fake_link_made(&site.net);
    fake_link_up(up);
    reply.job = "job";
    reply.servers = 1;
    reply.workers = 1;
    fake_link_say(up, FRAME_HELLO_REPLY, &reply, 1, 0);
    fake_net_run(&site.net);
    *ret_up = up;
}

/* A coordinator that says nonsense gets a complaint; the server does not fall over it. */
static void test_log_that_makes_no_sense(void **state)
{
    const struct {
        Pmd__LogKind kind;
        uint64_t step, hold;
        uint32_t rank;
        const char *words;
    } cases[] = {
        {PMD__LOG_KIND__LOG_KIND_COMMIT, 0, 0, 0, "commit of step 0"}, /* without a registry */
        {PMD__LOG_KIND__LOG_KIND_COMMIT, 7, 0, 0, "commit of step 7"},
        {PMD__LOG_KIND__LOG_KIND_HOLD, 0, 1, 0, "snapshot 1 of step 0"},
        {PMD__LOG_KIND__LOG_KIND_HOLD, UINT64_MAX, 0, 0, "snapshot 0 of step"},
        {PMD__LOG_KIND__LOG_KIND_FINISH, 0, 0, 1, "finish of rank 1: there are 1 workers"},
        {(Pmd__LogKind)77, 0, 0, 0, "log entry of kind 77"},
        {PMD__LOG_KIND__LOG_KIND_INVALID, 0, 0, 0, "log entry of kind 0"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fake_link *up;
        other_server(&up);
        Pmd__LogEntry entry = PMD__LOG_ENTRY__INIT;
        entry.index = 1;
        entry.kind = cases[i].kind;
        entry.step = cases[i].step;
        entry.hold = cases[i].hold;
        entry.rank = cases[i].rank;
        fake_link_say(up, FRAME_LOG_ENTRY, &entry, 0, 0);
        fake_net_run(&site.net);
        const Pmd__Complaint *complaint = HEARD(up, Complaint, COMPLAINT);
        if (!strstr(complaint->message, cases[i].words))
            fail_msg("'%s' does not say '%s'", complaint->message, cases[i].words);
        teardown(state);
    }
    site_init(&site, 1);
}

/* "The step before version 0" is none, though its number plus one is what is committed. */
static void test_hold_before_version_0(void **state)
{
    Pmd__VariableSpec spec = PMD__VARIABLE_SPEC__INIT;
    Pmd__VariableSpec *specs[] = {&spec};
    Pmd__Registry page = PMD__REGISTRY__INIT;
    Pmd__LogEntry entry = PMD__LOG_ENTRY__INIT;
    struct fake_link *up;

    (void)state;
    other_server(&up);
    spec.name = "a";
    spec.dtype = PMD__DATA_TYPE__DATA_TYPE_FLOAT32;
    spec.initializer = PMD__INITIALIZER_KIND__INITIALIZER_KIND_ASSIGNED;
    page.total = page.servers = page.n_variables = 1;
    page.variables = specs;
    fake_link_say(up, FRAME_REGISTRY, &page, 0, 0);
    entry.index = entry.hold = 1;
    entry.kind = PMD__LOG_KIND__LOG_KIND_HOLD;
    entry.step = UINT64_MAX;
    fake_link_say(up, FRAME_LOG_ENTRY, &entry, 0, 0);
    fake_net_run(&site.net);
    assert_true(site.server.service.store_ready);
    const Pmd__Complaint *complaint = HEARD(up, Complaint, COMPLAINT);
    assert_non_null(strstr(complaint->message, "the last committed step is -1"));
}

static void test_welcome_that_makes_no_sense(void **state)
{
    struct server_settings settings = site_settings(0);
    struct error err;
    Pmd__HelloReply reply = PMD__HELLO_REPLY__INIT;
    Pmd__LogEntry entry = PMD__LOG_ENTRY__INIT;

    (void)state;
    settings.coordinator = "h0:7070";
    assert_ok(site_init_settings(&site, settings, &err), &err);
    fake_net_run(&site.net);
    struct fake_link *up = fake_link_made(&site.net);
    fake_link_up(up);
    reply.server = 2;
    reply.servers = 2;
    reply.workers = 1;
    entry.index = 1;
    entry.kind = PMD__LOG_KIND__LOG_KIND_HOLD;
    fake_link_say(up, FRAME_HELLO_REPLY, &reply, 1, 0);
    fake_link_say(up, FRAME_LOG_ENTRY, &entry, 0, 0);
    fake_net_run(&site.net);
    assert_ended(&site, EXIT_CODE_FAILED, "the coordinator's welcome makes no sense");
}

/* A reconnect may bring another place, but in the same cluster. */
static void test_second_welcome_that_makes_no_sense(void **state)
{
    const struct {
        uint32_t server, servers, workers;
    } welcomes[] = {{1, 1, 1}, {1, 2, 1}, {0, 1, 2}, {UINT32_MAX, 1, 1}};

    for (size_t i = 0; i < sizeof welcomes / sizeof welcomes[0]; i++) {
        Pmd__HelloReply reply = PMD__HELLO_REPLY__INIT;
        struct fake_link *up;
        other_server(&up);
        reply.server = welcomes[i].server;
        reply.servers = welcomes[i].servers;
        reply.workers = welcomes[i].workers;
        fake_link_say(up, FRAME_HELLO_REPLY, &reply, 1, 0);
        fake_net_run(&site.net);
        assert_ended(&site, EXIT_CODE_FAILED, "the coordinator's welcome makes no sense");
        teardown(state);
    }
    site_init(&site, 1);
}

static void test_frame_with_a_payload_from_the_coordinator(void **state)
{
    struct fake_link *up;

    (void)state;
    other_server(&up);
    fake_link_say_payload(up, FRAME_HEARTBEAT, NULL, 0, 0, "junk", 4);
    fake_net_run(&site.net);
    assert_true(up->closed);
    assert_non_null(strstr(up->why.message, "HEARTBEAT has no payload here"));
}

/* ---- no memory ---- */

/* A small life: join, start, two steps, a pull, a snapshot, a read. Nothing is asserted on the way.
 */
static void small_life(void)
{
    static const float grad[40] = {1}, a[5] = {1};
    Pmd__Snapshot message = PMD__SNAPSHOT__INIT;
    Pmd__Status status = PMD__STATUS__INIT;
    Pmd__Barrier barrier = PMD__BARRIER__INIT;
    uint32_t variable = W, block = 0;

    site_join(&site);
    site_start(&site);
    say_push(&site, site.bulk[0], 0, PMD__PUSH_KIND__PUSH_KIND_ASSIGN, A, 0, a, sizeof a);
    barrier.name = "b";
    for (uint64_t step = 1; step <= 2; step++) {
        for (uint32_t rank = 0; rank < 2; rank++) {
            say_begin(&site, site.bulk[rank], step, 1);
            say_push(&site, site.bulk[rank], step, PMD__PUSH_KIND__PUSH_KIND_GRADIENT, W, 0, grad,
                     W_BYTES);
            say_pull(&site, site.bulk[rank], step, W, 0);
            say_close(&site, site.bulk[rank], step);
            say(&site, site.control[rank], FRAME_BARRIER, &barrier);
            say_end(&site, rank, step);
        }
    }
    struct fake_link *control = site_connect_reader(&site, PMD__CHANNEL__CHANNEL_CONTROL);
    reader = site_connect_reader(&site, PMD__CHANNEL__CHANNEL_BULK);
    say(&site, control, FRAME_STATUS, &status);
    say(&site, control, FRAME_SNAPSHOT, &message);
    say_read(1, 0, false, &variable, &block, 1);
    say_read(1, 0, true, &variable, &block, 1);
}

static float w_value(void)
{
    return *(const float *)(void *)store_find(&site.server.service.store, W, 0)->value->data;
}

/*
 * The n-th allocation fails: somebody is refused, or the job ends with a message; nothing crashes,
 * nothing leaks (the pools assert it, and the sanitizer looks). What goes on is right.
 */
static void test_no_memory_at_any_point(void **state)
{
    struct error err;
    uint64_t count;

    (void)state;
    site_prepare(&site, 2);
    uint64_t before = alloc_count();
    assert_ok(site_init_server(&site, site_settings(2), &err), &err);
    small_life();
    count = alloc_count() - before;
    assert_int_equal(site_committed_plus_1(&site), 3);
    assert_true(count > 20);
    for (uint64_t n = 1; n <= count; n++) {
        site_release(&site);
        site_prepare(&site, 2);
        alloc_fail_nth(n, false);
        enum status status = site_init_server(&site, site_settings(2), &err);
        if (!status)
            small_life();
        alloc_fail_nth(0, false);
        if (status)
            assert_int_equal(status, STATUS_RESOURCE_EXHAUSTED);
        else if (site.server.ended)
            assert_true(site.server.end_message[0] != '\0');
        else if (site_committed_plus_1(&site) == 3)
            assert_true(w_value() == -1.0f);
    }
}

#define SERVER(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVER(test_pull_waits_for_its_version),
        SERVER(test_pull_of_the_prepared_and_the_published_version),
        SERVER(test_pull_too_far),
        SERVER(test_pulls_are_bounded),
        SERVER(test_blocks_of_a_pull_share_frames),
        SERVER(test_replies_are_bounded_and_resumed),
        SERVER(test_replies_of_one_turn_are_bounded),
        SERVER(test_link_that_is_full_in_the_middle_of_a_reply),
        SERVER(test_session_that_closes_takes_its_pulls_along),
        SERVER(test_training_waits_for_buffers_that_replies_hold),
        SERVER(test_read_of_values),
        SERVER(test_read_of_more_than_a_frame),
        SERVER(test_read_of_digests),
        SERVER(test_digests_do_not_take_the_room_of_pushes),
        SERVER(test_read_of_slots),
        SERVER(test_read_of_a_snapshot_that_is_gone),
        SERVER(test_read_of_a_snapshot_to_come_waits),
        SERVER(test_read_of_a_block_that_is_not_there),
        SERVER(test_frames_after_the_end),
        SERVER(test_stop),
        SERVER(test_settings_out_of_bounds),
        SERVER(test_other_server_has_no_place_before_its_welcome),
        SERVER(test_log_that_makes_no_sense),
        SERVER(test_hold_before_version_0),
        SERVER(test_welcome_that_makes_no_sense),
        SERVER(test_second_welcome_that_makes_no_sense),
        SERVER(test_frame_with_a_payload_from_the_coordinator),
        SERVER(test_no_memory_at_any_point),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
