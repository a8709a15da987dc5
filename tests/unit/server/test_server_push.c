/* Hello on bulk connections, and pushes from their header to the next version. */
#include "tests/unit/server/server_test.h"

#define GRADIENT    PMD__PUSH_KIND__PUSH_KIND_GRADIENT
#define ASSIGN      PMD__PUSH_KIND__PUSH_KIND_ASSIGN
#define ASSIGN_MEAN PMD__PUSH_KIND__PUSH_KIND_ASSIGN_MEAN
#define ADD         PMD__PUSH_KIND__PUSH_KIND_ADD

static struct site site;
static float grad[65536];

static int teardown(void **state)
{
    (void)state;
    site_release(&site);
    return 0;
}

static const struct store *store(void)
{
    return &site.server.service.store;
}

static struct block *block_of(uint32_t variable, uint32_t number)
{
    return store_find(&site.server.service.store, variable, number);
}

static float value(uint32_t variable, size_t index)
{
    return ((const float *)(void *)block_of(variable, 0)->value->data)[index];
}

/* ---- hello ---- */

static void test_version_is_named_both_ways(void **state)
{
    Pmd__Hello hello = site_hello(PMD__ROLE__ROLE_WORKER, PMD__CHANNEL__CHANNEL_BULK);

    (void)state;
    site_init(&site, 1);
    hello.protocol_minor = 7;
    struct fake_link *link = site_connect(&site, &hello);
    assert_failure(link, STATUS_FAILED_PRECONDITION,
                   "this server speaks 0.1, the peer (test, pid 7) 0.7");
    assert_true(link->closed);
    hello.protocol_minor = PROTOCOL_MINOR;
    hello.protocol_major = 3;
    hello.channel = PMD__CHANNEL__CHANNEL_CONTROL;
    assert_failure(site_connect(&site, &hello), STATUS_FAILED_PRECONDITION, "3.1");
}

static void test_token_must_fit(void **state)
{
    Pmd__Hello hello = site_hello(PMD__ROLE__ROLE_READER, PMD__CHANNEL__CHANNEL_BULK);

    (void)state;
    site_init(&site, 1);
    hello.token.len = 0;
    assert_failure(site_connect(&site, &hello), STATUS_UNAUTHENTICATED, "a job token is needed");
    hello.token.len = 5;
    assert_failure(site_connect(&site, &hello), STATUS_UNAUTHENTICATED, "not the one of this job");
    hello.token.len = 6;
    hello.token.data = (uint8_t *)"Secret";
    struct fake_link *link = site_connect(&site, &hello);
    assert_failure(link, STATUS_UNAUTHENTICATED, "not the one of this job");
    assert_true(link->closed);
}

static void test_job_must_fit(void **state)
{
    Pmd__Hello hello = site_hello(PMD__ROLE__ROLE_READER, PMD__CHANNEL__CHANNEL_BULK);

    (void)state;
    site_init(&site, 1);
    hello.job = "another";
    assert_failure(site_connect(&site, &hello), STATUS_FAILED_PRECONDITION,
                   "this server belongs to job 'job', not to 'another'");
    hello.job = ""; /* any */
    assert_false(site_connect(&site, &hello)->closed);
}

static void test_rank_must_exist(void **state)
{
    (void)state;
    site_init(&site, 2);
    assert_false(site_connect_bulk(&site, 1, 1, 1)->closed);
    assert_failure(site_connect_bulk(&site, 2, 1, 1), STATUS_INVALID_ARGUMENT,
                   "rank 2: this job has ranks 0 to 1");
    assert_failure(site_connect_bulk(&site, UINT32_MAX, 1, 1), STATUS_INVALID_ARGUMENT,
                   "this job has ranks 0 to 1");
}

static void test_higher_connection_wins_in_any_order(void **state)
{
    (void)state;
    site_init(&site, 1);
    struct fake_link *second = site_connect_bulk(&site, 0, 1, 2);
    assert_failure(site_connect_bulk(&site, 0, 1, 1), STATUS_ABORTED, "newer connection");
    assert_failure(site_connect_bulk(&site, 0, 1, 2), STATUS_ABORTED, "newer connection");
    assert_false(second->closed);
    struct fake_link *third = site_connect_bulk(&site, 0, 1, 3);
    assert_true(second->closed);
    assert_false(third->closed);
    struct fake_link *restarted = site_connect_bulk(&site, 0, 2, 1); /* a higher incarnation */
    assert_true(third->closed);
    assert_failure(site_connect_bulk(&site, 0, 1, 99), STATUS_ABORTED, "incarnation 2");
    fake_link_break(restarted); /* what it had stays the mark */
    assert_failure(site_connect_bulk(&site, 0, 2, 1), STATUS_ABORTED, "newer connection");
}

static void test_hello_reply_of_a_server(void **state)
{
    Pmd__Hello hello = site_hello(PMD__ROLE__ROLE_WORKER, PMD__CHANNEL__CHANNEL_BULK);

    (void)state;
    site_train(&site, 2);
    site.server.service.settings.payload_hash = true;
    hello.rank_plus_1 = 2;
    hello.incarnation = 4;
    hello.connection = 9;
    hello.features = FEATURE_PAYLOAD_HASH | 0x8000;
    struct fake_link *link = site_connect(&site, &hello);
    const Pmd__HelloReply *reply = HEARD(link, HelloReply, HELLO_REPLY);
    assert_int_equal(reply->features, FEATURE_PAYLOAD_HASH);
    assert_true(link->link.hash_payload);
    assert_int_equal(reply->rank, 1);
    assert_int_equal(reply->incarnation, 4);
    assert_int_equal(reply->committed_plus_1, 1);
    assert_int_equal(reply->grant, 2);
    assert_int_equal(reply->workers, 2);
    assert_int_equal(reply->servers, 1);
}

static void test_role_without_business_on_bulk(void **state)
{
    Pmd__Hello hello = site_hello(PMD__ROLE__ROLE_SERVER, PMD__CHANNEL__CHANNEL_BULK);

    (void)state;
    site_init(&site, 1);
    assert_failure(site_connect(&site, &hello), STATUS_INVALID_ARGUMENT, "no business");
}

static void test_first_frame_is_hello(void **state)
{
    Pmd__StepBegin begin = PMD__STEP_BEGIN__INIT;

    (void)state;
    site_train(&site, 1);
    struct fake_link *stranger = fake_link_accept(&site.net, "10.0.0.1:1");
    say(&site, stranger, FRAME_STEP_BEGIN, &begin);
    assert_thrown_out(stranger, STATUS_UNAUTHENTICATED, "the first frame must be HELLO");
    stranger = fake_link_accept(&site.net, "10.0.0.1:2");
    say(&site, stranger, FRAME_HEARTBEAT, NULL);
    assert_thrown_out(stranger, STATUS_UNAUTHENTICATED, "this one is HEARTBEAT");
    site_step(&site, 1, 1);
}

static void test_payload_where_none_belongs(void **state)
{
    Pmd__Hello hello = site_hello(PMD__ROLE__ROLE_WORKER, PMD__CHANNEL__CHANNEL_BULK);
    Pmd__StepBegin begin = PMD__STEP_BEGIN__INIT;

    (void)state;
    site_train(&site, 1);
    struct fake_link *stranger = fake_link_accept(&site.net, "10.0.0.1:1");
    fake_link_say_payload(stranger, FRAME_HELLO, &hello, 1, 0, "junk", 4);
    fake_net_run(&site.net);
    assert_thrown_out(stranger, STATUS_INVALID_ARGUMENT,
                      "HELLO has no payload here, this one has 4");
    fake_link_say_payload(site.control[0], FRAME_HEARTBEAT, NULL, 0, 0, "junk", 4);
    fake_net_run(&site.net);
    assert_thrown_out(site.control[0], STATUS_INVALID_ARGUMENT, "HEARTBEAT has no payload here");
    begin.step = 1;
    fake_link_say_payload(site.bulk[0], FRAME_STEP_BEGIN, &begin, 1, 0, "junk", 4);
    fake_net_run(&site.net);
    assert_thrown_out(site.bulk[0], STATUS_INVALID_ARGUMENT, "STEP_BEGIN has no payload");
}

static void test_frame_of_another_lineage_or_map(void **state)
{
    struct frame_head head = {
        .type = FRAME_HEARTBEAT, .lineage = FRAME_LINEAGE + 1, .map_version = FRAME_MAP_VERSION};

    (void)state;
    site_train(&site, 1);
    fake_link_say_raw(site.control[0], &head, NULL, 0, NULL, 0);
    fake_net_run(&site.net);
    assert_thrown_out(site.control[0], STATUS_FAILED_PRECONDITION, "lineage 2, map version 1");
    head.lineage = FRAME_LINEAGE;
    head.map_version = 0;
    fake_link_say_raw(site.bulk[0], &head, NULL, 0, NULL, 0);
    fake_net_run(&site.net);
    assert_thrown_out(site.bulk[0], STATUS_FAILED_PRECONDITION, "map version 0; here are 1, 1");
}

static void test_malformed_header(void **state)
{
    struct frame_head head = {.type = FRAME_PULL, .lineage = 1, .map_version = 1};

    (void)state;
    site_train(&site, 2);
    fake_link_say_raw(site.bulk[1], &head, (const uint8_t *)"\xff\xff\xff", 3, NULL, 0);
    fake_net_run(&site.net);
    assert_thrown_out(site.bulk[1], STATUS_INVALID_ARGUMENT, "malformed");
    assert_false(site.bulk[0]->closed);
}

static void test_each_role_has_its_frames(void **state)
{
    Pmd__Read read = PMD__READ__INIT;
    Pmd__Pull pull = PMD__PULL__INIT;

    (void)state;
    site_train(&site, 1);
    struct fake_link *reader = site_connect_reader(&site, PMD__CHANNEL__CHANNEL_BULK);
    say(&site, reader, FRAME_PULL, &pull);
    assert_thrown_out(reader, STATUS_PERMISSION_DENIED, "a reader may not send PULL");
    say(&site, site.bulk[0], FRAME_READ, &read);
    assert_thrown_out(site.bulk[0], STATUS_UNIMPLEMENTED, "a worker does not send READ");
}

/* ---- the life of a push ---- */

static void fill(float number)
{
    for (size_t i = 0; i < 65536; i++)
        grad[i] = number;
}

static void test_push_becomes_the_next_version(void **state)
{
    (void)state;
    site_train(&site, 2);
    fill(1);
    say_begin(&site, site.bulk[0], 1, 1);
    uint64_t request = say_push(&site, site.bulk[0], 1, GRADIENT, W, 0, grad, W_BYTES);
    const Pmd__PushAck *ack = HEARD(site.bulk[0], PushAck, PUSH_ACK);
    assert_int_equal(ack->n_request, 1);
    assert_int_equal(ack->request[0], request);
    assert_int_equal(ack->duplicates, 0);
    assert_true(store()->staged_bytes > 0); /* W is not known */
    say_begin(&site, site.bulk[1], 1, 3);
    assert_int_equal(store()->staged_bytes, 0); /* folded */
    assert_int_equal(block_of(W, 0)->version, 0);
    fill(5);
    say_push(&site, site.bulk[1], 1, GRADIENT, W, 0, grad, W_BYTES);
    assert_int_equal(block_of(W, 0)->version, 1); /* prepared block by block */
    assert_true(value(W, 39) == 0.0f - 0.5f * (0.25f * 1 + 0.75f * 5));
    say_close(&site, site.bulk[0], 1);
    say_end(&site, 0, 1);
    say_end(&site, 1, 1);
    assert_int_equal(site_committed_plus_1(&site), 1); /* rank 1 may still push others */
    say_close(&site, site.bulk[1], 1);
    assert_int_equal(site_committed_plus_1(&site), 2);
    assert_int_equal(HEARD(site.control[0], Commit, COMMIT)->step, 1);
    assert_int_equal(store()->staging.bytes_used, 0);
}

static void test_many_blocks_of_one_frame(void **state)
{
    uint32_t variables[3] = {BIG, N, BIG}, blocks[3] = {1, 0, 0};
    size_t bytes = BIG_BYTES_1 + 24 + BIG_BYTES_0;
    uint8_t *payload = calloc(1, bytes);

    (void)state;
    site_train(&site, 1);
    say_begin(&site, site.bulk[0], 1, 1);
    Pmd__Push push = push_message(1, ADD, variables, blocks, 3);
    payload[BIG_BYTES_1] = 42;
    fake_link_say_payload(site.bulk[0], FRAME_PUSH, &push, 5, 0, payload, bytes);
    fake_net_run(&site.net);
    HEARD(site.bulk[0], PushAck, PUSH_ACK);
    assert_int_equal(*(const int64_t *)(void *)block_of(N, 0)->value->data, 42);
    assert_int_equal(block_of(BIG, 0)->version, 1);
    assert_int_equal(block_of(BIG, 1)->version, 1);
    free(payload);
}

static void test_duplicate_is_read_into_nowhere(void **state)
{
    (void)state;
    site_train(&site, 2);
    say_begin(&site, site.bulk[0], 1, 1);
    fill(1);
    say_push(&site, site.bulk[0], 1, GRADIENT, W, 0, grad, W_BYTES);
    HEARD(site.bulk[0], PushAck, PUSH_ACK);
    uint64_t staged = store()->staged_bytes;
    fill(100);
    uint64_t request = say_push(&site, site.bulk[0], 1, GRADIENT, W, 0, grad, W_BYTES);
    const Pmd__PushAck *ack = HEARD(site.bulk[0], PushAck, PUSH_ACK);
    assert_int_equal(ack->request[0], request);
    assert_int_equal(ack->duplicates, 1);
    assert_int_equal(store()->staged_bytes, staged);
    assert_int_equal(site.server.service.duplicates, 1);
    say_begin(&site, site.bulk[1], 1, 0);
    assert_true(value(W, 0) == -0.5f);
    say_push(&site, site.bulk[0], 1, GRADIENT, W, 0, grad, W_BYTES); /* prepared by now */
    assert_int_equal(HEARD(site.bulk[0], PushAck, PUSH_ACK)->duplicates, 1);
    assert_true(value(W, 0) == -0.5f);
}

static void test_block_twice_in_one_frame(void **state)
{
    uint32_t variables[2] = {W, W}, blocks[2] = {0, 0};

    (void)state;
    site_train(&site, 1);
    say_begin(&site, site.bulk[0], 1, 1);
    fill(2);
    for (int i = 0; i < 40; i++)
        grad[40 + i] = 50;
    Pmd__Push push = push_message(1, GRADIENT, variables, blocks, 2);
    fake_link_say_payload(site.bulk[0], FRAME_PUSH, &push, 5, 0, grad, 2 * W_BYTES);
    fake_net_run(&site.net);
    assert_int_equal(HEARD(site.bulk[0], PushAck, PUSH_ACK)->duplicates, 1);
    assert_true(value(W, 0) == -1.0f);
}

/* Refused while the header is at hand: not one byte of payload is taken. */
static void test_length_must_be_what_the_registry_says(void **state)
{
    const size_t wrong[] = {0, W_BYTES - 4, W_BYTES + 4};

    (void)state;
    site_train(&site, 1);
    for (size_t i = 0; i < 3; i++) {
        struct fake_link *link = site_connect_bulk(&site, 0, 1, 10 + i);
        say_begin(&site, link, 1, 1);
        say_push(&site, link, 1, GRADIENT, W, 0, grad, wrong[i]);
        assert_thrown_out(link, STATUS_INVALID_ARGUMENT, "the registry says 160");
        assert_int_equal(store()->staging.bytes_used, 0);
        assert_int_equal(link->incoming.place_count, 0);
    }
    site.bulk[0] = site_connect_bulk(&site, 0, 1, 20);
    site_step(&site, 1, 1);
}

static void assert_push_refused(uint64_t step, Pmd__PushKind kind, uint32_t variable,
                                uint32_t block, size_t bytes, enum status status, const char *words)
{
    static uint64_t connection = 100;
    struct fake_link *link = site_connect_bulk(&site, 0, 1, connection++);

    say_begin(&site, link, 1, 1);
    say_push(&site, link, step, kind, variable, block, grad, bytes);
    assert_thrown_out(link, status, words);
    assert_int_equal(store()->staging.bytes_used, 0);
}

static void test_what_cannot_be_pushed(void **state)
{
    (void)state;
    site_train(&site, 2);
    assert_push_refused(1, GRADIENT, W, 1, W_BYTES, STATUS_INVALID_ARGUMENT,
                        "block 1 of variable 0");
    assert_push_refused(1, GRADIENT, 4, 0, 0, STATUS_INVALID_ARGUMENT, "block 0 of variable 4");
    assert_push_refused(1, GRADIENT, UINT32_MAX, UINT32_MAX, 0, STATUS_INVALID_ARGUMENT,
                        "not on server 0");
    assert_push_refused(1, GRADIENT, N, 0, 24, STATUS_INVALID_ARGUMENT, "'n' is not trainable");
    assert_push_refused(1, ASSIGN_MEAN, N, 0, 24, STATUS_INVALID_ARGUMENT,
                        "'n' is int64: it has no mean");
    assert_push_refused(0, ASSIGN, W, 0, W_BYTES, STATUS_INVALID_ARGUMENT,
                        "'w' has an initializer");
    assert_push_refused(0, GRADIENT, A, 0, A_BYTES, STATUS_INVALID_ARGUMENT,
                        "step 0 takes whole arrays as assign");
    assert_push_refused(2, ADD, W, 0, W_BYTES, STATUS_FAILED_PRECONDITION, "before its step_begin");
    assert_push_refused(3, ADD, W, 0, W_BYTES, STATUS_FAILED_PRECONDITION,
                        "the last committed step is 0");
    assert_push_refused(1, (Pmd__PushKind)9, W, 0, W_BYTES, STATUS_UNIMPLEMENTED, "push kind 9");
    assert_push_refused(1, (Pmd__PushKind)-1, W, 0, W_BYTES, STATUS_UNIMPLEMENTED, "push kind -1");
    say_begin(&site, site.bulk[1], 1, 1);
    say_push(&site, site.bulk[1], 1, ASSIGN, W, 0, grad, W_BYTES);
    assert_thrown_out(site.bulk[1], STATUS_INVALID_ARGUMENT,
                      "assign comes from rank 0 only; this is rank 1");
}

static void test_encodings_that_are_not_known(void **state)
{
    uint32_t variable = W, block = 0;

    (void)state;
    site_train(&site, 1);
    for (int encoding = 2; encoding < 8; encoding++) {
        struct fake_link *link = site_connect_bulk(&site, 0, 1, 10 + (uint64_t)encoding);
        say_begin(&site, link, 1, 1);
        Pmd__Push push = push_message(1, GRADIENT, &variable, &block, 1);
        push.encoding = (Pmd__PushEncoding)encoding;
        fake_link_say_payload(link, FRAME_PUSH, &push, 5, 0, grad, W_BYTES);
        fake_net_run(&site.net);
        assert_thrown_out(link, STATUS_UNIMPLEMENTED, "push encoding");
    }
}

static struct fake_link *push_rows(Pmd__PushKind kind, const uint32_t *counts, size_t count,
                                   const void *payload, size_t bytes)
{
    static uint64_t connection = 500;
    uint32_t variable = W, block = 0;
    Pmd__Push push = push_message(1, kind, &variable, &block, 1);
    struct fake_link *link = site_connect_bulk(&site, 0, 1, connection++);

    push.encoding = PMD__PUSH_ENCODING__PUSH_ENCODING_ROWS;
    push.n_rows = count;
    push.rows = (uint32_t *)counts;
    say_begin(&site, link, 1, 1);
    fake_link_say_payload(link, FRAME_PUSH, &push, 5, 0, payload, bytes);
    fake_net_run(&site.net);
    return link;
}

static void test_rows(void **state)
{
    /* Rows 3 and 19 of W, two values each. */
    struct {
        uint32_t row[2];
        float values[4];
    } payload = {{3, 19}, {1, 2, 3, 4}};
    const uint32_t two = 2, many = 17, none = 0;

    (void)state;
    site_train(&site, 1);
    assert_thrown_out(push_rows(ASSIGN, &two, 1, &payload, sizeof payload), STATUS_INVALID_ARGUMENT,
                      "rows can be pushed as gradient or add only");
    assert_thrown_out(push_rows(GRADIENT, &two, 0, &payload, sizeof payload),
                      STATUS_INVALID_ARGUMENT, "a row count for each block");
    assert_thrown_out(push_rows(GRADIENT, &many, 1, &payload, sizeof payload),
                      STATUS_INVALID_ARGUMENT, "no smaller than the whole block");
    assert_thrown_out(push_rows(GRADIENT, &none, 1, &payload, sizeof payload),
                      STATUS_INVALID_ARGUMENT, "the registry says 0");
    struct fake_link *link = push_rows(GRADIENT, &two, 1, &payload, sizeof payload);
    HEARD(link, PushAck, PUSH_ACK);
    assert_true(value(W, 6) == -0.5f);
    assert_true(value(W, 39) == -2.0f);
    assert_true(value(W, 0) == 0.0f);
}

static void test_row_that_is_not_there_ends_the_job(void **state)
{
    struct {
        uint32_t row[2];
        float values[4];
    } payload = {{3, 20}, {1, 2, 3, 4}};
    const uint32_t two = 2;

    (void)state;
    site_train(&site, 1);
    push_rows(GRADIENT, &two, 1, &payload, sizeof payload);
    assert_ended(&site, EXIT_CODE_FAILED,
                 "server 0: step 1, rank 0, variable 'w', block 0: row 20");
    assert_int_equal(HEARD(site.control[0], End, END)->exit_code, EXIT_CODE_FAILED);
}

static void test_ranks_that_do_not_agree_end_the_job(void **state)
{
    (void)state;
    site_train(&site, 3);
    fill(1);
    for (uint32_t rank = 0; rank < 3; rank++)
        say_begin(&site, site.bulk[rank], 1, rank == 0 ? 0 : 1);
    say_push(&site, site.bulk[1], 1, GRADIENT, W, 0, grad, W_BYTES);
    say_close(&site, site.bulk[1], 1);
    assert_false(site.server.ended);
    say_close(&site, site.bulk[2], 1);
    assert_ended(
        &site, EXIT_CODE_FAILED,
        "step 1, variable 'w', block 0: rank 1 pushed it and rank 2 did not; all ranks must agree");
}

static void test_kinds_that_do_not_agree_end_the_job(void **state)
{
    (void)state;
    site_train(&site, 2);
    for (uint32_t rank = 0; rank < 2; rank++) {
        say_begin(&site, site.bulk[rank], 1, 1);
        say_push(&site, site.bulk[rank], 1, rank ? ADD : GRADIENT, W, 0, grad, W_BYTES);
    }
    assert_ended(&site, EXIT_CODE_FAILED,
                 "is pushed as gradient by one rank and as add by another");
}

static void test_push_after_close_is_thrown_out(void **state)
{
    (void)state;
    site_train(&site, 2);
    say_begin(&site, site.bulk[0], 1, 1);
    say_begin(&site, site.bulk[1], 1, 1);
    say_close(&site, site.bulk[0], 1);
    say_push(&site, site.bulk[0], 1, GRADIENT, W, 0, grad, W_BYTES);
    assert_thrown_out(site.bulk[0], STATUS_FAILED_PRECONDITION, "after its step_close");
    assert_int_equal(store()->staging.bytes_used, 0);
}

/* ---- frames that wait in their socket ---- */

static void test_frame_waits_for_the_commit_that_it_names(void **state)
{
    Pmd__StepBegin begin = PMD__STEP_BEGIN__INIT;

    (void)state;
    site_train(&site, 2);
    begin.step = 2;
    begin.examples = 1;
    fake_link_say(site.bulk[0], FRAME_STEP_BEGIN, &begin, 0, 2); /* knows commit 1 */
    fake_net_run(&site.net);
    assert_true(site.bulk[0]->waiting);
    assert_false(site.server.service.consistency.steps[0].begun);
    struct fake_link *late = site.bulk[0];
    site.bulk[0] = site_connect_bulk(&site, 0, 1, 3); /* does not lie in the way of its successor */
    assert_true(late->closed);
    fake_link_say(site.bulk[1], FRAME_STEP_BEGIN, &begin, 0, 2);
    say_begin(&site, site.bulk[0], 1, 0);
    struct fake_link *other = site.bulk[1];
    assert_true(other->waiting);
    say_end(&site, 0, 1);
    say_end(&site, 1, 1);
    assert_int_equal(site_committed_plus_1(&site), 1); /* rank 1's step_begin(1) stands behind */
    fake_link_break(other);
    site.bulk[1] = site_connect_bulk(&site, 1, 1, 3);
    say_begin(&site, site.bulk[1], 1, 0);
    assert_int_equal(site_committed_plus_1(&site), 2);
    fake_link_say(site.bulk[1], FRAME_STEP_BEGIN, &begin, 0, 2);
    fake_net_run(&site.net);
    assert_false(site.bulk[1]->waiting);
    assert_true(site.server.service.consistency.steps[1].begun);
}

static void test_waiting_frame_is_offered_again_after_the_commit(void **state)
{
    Pmd__StepBegin begin = PMD__STEP_BEGIN__INIT;

    (void)state;
    site_train(&site, 1);
    say_begin(&site, site.bulk[0], 1, 0);
    begin.step = 3;
    fake_link_say(site.bulk[0], FRAME_STEP_BEGIN, &begin, 0, 2);
    fake_net_run(&site.net);
    assert_true(site.bulk[0]->waiting);
    say_end(&site, 0, 1);
    assert_int_equal(site_committed_plus_1(&site), 2);
    assert_false(site.bulk[0]->waiting);
    assert_null(site.bulk[0]->said);
}

static void test_worker_before_the_start_waits(void **state)
{
    (void)state;
    site_init(&site, 1);
    site_join(&site);
    say_pull(&site, site.bulk[0], 0, W, 0);
    assert_true(site.bulk[0]->waiting);
    site_start(&site);
    assert_false(site.bulk[0]->waiting);
    HEARD(site.bulk[0], PullReply, PULL_REPLY);
}

static void small_staging(uint64_t bytes)
{
    struct server_settings settings = site_settings(2);
    struct error err;
    static const float a[5] = {1};

    settings.staging_bytes = bytes;
    assert_ok(site_init_settings(&site, settings, &err), &err);
    site_join(&site);
    site_start(&site);
    say_push(&site, site.bulk[0], 0, ASSIGN, A, 0, a, sizeof a);
    say_begin(&site, site.bulk[0], 1, 1);
    say_begin(&site, site.bulk[1], 1, 1);
}

/* Rank 1 has filled the staging; rank 0, whose turn it is, has the reserve, and makes room for the
 * rest. */
static void test_staging_is_bounded_and_the_next_rank_has_a_reserve(void **state)
{
    (void)state;
    small_staging(BIG_BYTES_0);
    say_push(&site, site.bulk[1], 1, GRADIENT, BIG, 0, grad, BIG_BYTES_0);
    assert_int_equal(store()->staged_bytes, BIG_BYTES_0);
    say_push(&site, site.bulk[1], 1, GRADIENT, W, 0, grad, W_BYTES);
    assert_true(site.bulk[1]->waiting); /* not its turn, no room */
    say_push(&site, site.bulk[0], 1, GRADIENT, BIG, 0, grad, BIG_BYTES_0);
    assert_false(site.bulk[0]->waiting);
    assert_int_equal(block_of(BIG, 0)->version, 1);
    assert_false(site.bulk[1]->waiting); /* its turn has not come, but there is room now */
    say_push(&site, site.bulk[0], 1, GRADIENT, W, 0, grad, W_BYTES);
    assert_int_equal(block_of(W, 0)->version, 1);
    assert_int_equal(store()->staged_bytes, 0);
}

/* The rank whose turn it is not waits, even when it comes first and nothing else is there. */
static void test_push_of_a_later_rank_waits_without_staging(void **state)
{
    (void)state;
    small_staging(1);
    say_push(&site, site.bulk[1], 1, GRADIENT, W, 0, grad, W_BYTES);
    assert_true(site.bulk[1]->waiting);
    say_push(&site, site.bulk[0], 1, GRADIENT, W, 0, grad, W_BYTES);
    assert_false(site.bulk[1]->waiting);
    assert_int_equal(block_of(W, 0)->version, 1);
}

static void test_closed_connection_gives_its_room_back(void **state)
{
    (void)state;
    small_staging(BIG_BYTES_0);
    site.bulk[1]->half = true;
    say_push(&site, site.bulk[1], 1, GRADIENT, BIG, 0, grad, BIG_BYTES_0);
    assert_int_equal(store()->staged_bytes, BIG_BYTES_0);
    fake_link_break(site.bulk[1]);
    assert_int_equal(store()->staged_bytes, 0);
    assert_int_equal(store()->staging.bytes_used, 0);
    site.bulk[1] = site_connect_bulk(&site, 1, 1, 3);
    say_push(&site, site.bulk[1], 1, GRADIENT, BIG, 0, grad, BIG_BYTES_0); /* whole, this time */
    say_push(&site, site.bulk[0], 1, GRADIENT, BIG, 0, grad, BIG_BYTES_0);
    assert_int_equal(block_of(BIG, 0)->version, 1);
}

/* A newer connection of the rank takes over in the middle of a frame. */
static void test_replaced_connection_gives_its_room_back(void **state)
{
    (void)state;
    site_train(&site, 1);
    fill(3);
    say_begin(&site, site.bulk[0], 1, 1);
    site.bulk[0]->half = true;
    say_push(&site, site.bulk[0], 1, GRADIENT, W, 0, grad, W_BYTES);
    struct fake_link *newer = site_connect_bulk(&site, 0, 1, 3);
    fake_link_finish(site.bulk[0]); /* comes to nothing */
    assert_int_equal(store()->staging.bytes_used, 0);
    say_begin(&site, newer, 1, 1);
    say_push(&site, newer, 1, GRADIENT, W, 0, grad, W_BYTES);
    assert_int_equal(HEARD(newer, PushAck, PUSH_ACK)->duplicates, 0);
    assert_true(value(W, 0) == -1.5f);
}

/* While a block is received on one frame it is not prepared, though its rank has closed the step
 * elsewhere. */
static void test_half_received_block_is_waited_for(void **state)
{
    (void)state;
    site_train(&site, 2);
    fill(2);
    say_begin(&site, site.bulk[0], 1, 1);
    say_begin(&site, site.bulk[1], 1, 0);
    site.bulk[0]->half = true;
    say_push(&site, site.bulk[0], 1, GRADIENT, W, 0, grad, W_BYTES);
    assert_int_equal(block_of(W, 0)->version, 0);
    fake_link_finish(site.bulk[0]);
    fake_net_run(&site.net);
    assert_true(value(W, 0) == -1.0f);
}

static void test_second_open_step_is_folded_but_not_prepared(void **state)
{
    (void)state;
    site_train(&site, 1);
    fill(1);
    for (uint64_t step = 1; step <= 2; step++) {
        say_begin(&site, site.bulk[0], step, 1);
        say_push(&site, site.bulk[0], step, GRADIENT, W, 0, grad, W_BYTES);
        say_close(&site, site.bulk[0], step);
    }
    assert_int_equal(block_of(W, 0)->version, 1);
    say_end(&site, 0, 1);
    assert_int_equal(site_committed_plus_1(&site), 2);
    assert_int_equal(block_of(W, 0)->version, 2);
    say_end(&site, 0, 2);
    assert_int_equal(site_committed_plus_1(&site), 3);
    assert_true(value(W, 0) == -1.0f);
}

static void test_assigned_values_are_awaited(void **state)
{
    const float a[5] = {1, 2, 3, 4, 5};

    (void)state;
    site_init(&site, 2);
    site_join(&site);
    site_start(&site);
    assert_int_equal(site_committed_plus_1(&site), 0);
    say_push(&site, site.bulk[1], 0, ASSIGN, A, 0, a, sizeof a);
    assert_thrown_out(site.bulk[1], STATUS_INVALID_ARGUMENT, "assign comes from rank 0 only");
    uint64_t request = say_pull(&site, site.bulk[0], 0, A, 0);
    assert_null(fake_link_find(site.bulk[0], FRAME_PULL_REPLY));
    say_push(&site, site.bulk[0], 0, ASSIGN, A, 0, a, sizeof a);
    assert_int_equal(site_committed_plus_1(&site), 1);
    struct fake_heard *heard = heard_frame(site.bulk[0], FRAME_PULL_REPLY);
    assert_int_equal(heard->request, request);
    assert_memory_equal(heard->payload, a, sizeof a);
    say_push(&site, site.bulk[0], 0, ASSIGN, A, 0, a, sizeof a);
    assert_int_equal(HEARD(site.bulk[0], PushAck, PUSH_ACK)->duplicates, 1);
}

static void test_push_before_version_0_is_refused(void **state)
{
    (void)state;
    site_init(&site, 1);
    site_join(&site);
    site_start(&site);
    say_push(&site, site.bulk[0], 1, ADD, A, 0, grad, A_BYTES);
    assert_thrown_out(site.bulk[0], STATUS_FAILED_PRECONDITION, "version 0 is not there yet");
}

static void test_acks_are_gathered(void **state)
{
    uint32_t variable = W, block = 0;

    (void)state;
    site_train(&site, 1);
    say_begin(&site, site.bulk[0], 1, 1);
    Pmd__Push push = push_message(1, ADD, &variable, &block, 1);
    for (uint64_t i = 0; i < SESSION_ACKS_MAX + 3; i++) /* without a turn between */
        fake_link_say_payload(site.bulk[0], FRAME_PUSH, &push, 5000 + i, 0, grad, W_BYTES);
    fake_net_run(&site.net);
    uint64_t seen = 0, duplicates = 0;
    for (struct fake_heard *heard; (heard = fake_link_find(site.bulk[0], FRAME_PUSH_ACK));) {
        const Pmd__PushAck *ack = (const Pmd__PushAck *)(void *)heard->message;
        for (size_t i = 0; i < ack->n_request; i++)
            assert_int_equal(ack->request[i], 5000 + seen++);
        duplicates += ack->duplicates;
    }
    assert_int_equal(seen, SESSION_ACKS_MAX + 3);
    assert_int_equal(duplicates, SESSION_ACKS_MAX + 2);
}

#define SERVER(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVER(test_version_is_named_both_ways),
        SERVER(test_token_must_fit),
        SERVER(test_job_must_fit),
        SERVER(test_rank_must_exist),
        SERVER(test_higher_connection_wins_in_any_order),
        SERVER(test_hello_reply_of_a_server),
        SERVER(test_role_without_business_on_bulk),
        SERVER(test_first_frame_is_hello),
        SERVER(test_payload_where_none_belongs),
        SERVER(test_frame_of_another_lineage_or_map),
        SERVER(test_malformed_header),
        SERVER(test_each_role_has_its_frames),
        SERVER(test_push_becomes_the_next_version),
        SERVER(test_many_blocks_of_one_frame),
        SERVER(test_duplicate_is_read_into_nowhere),
        SERVER(test_block_twice_in_one_frame),
        SERVER(test_length_must_be_what_the_registry_says),
        SERVER(test_what_cannot_be_pushed),
        SERVER(test_encodings_that_are_not_known),
        SERVER(test_rows),
        SERVER(test_row_that_is_not_there_ends_the_job),
        SERVER(test_ranks_that_do_not_agree_end_the_job),
        SERVER(test_kinds_that_do_not_agree_end_the_job),
        SERVER(test_push_after_close_is_thrown_out),
        SERVER(test_frame_waits_for_the_commit_that_it_names),
        SERVER(test_waiting_frame_is_offered_again_after_the_commit),
        SERVER(test_worker_before_the_start_waits),
        SERVER(test_staging_is_bounded_and_the_next_rank_has_a_reserve),
        SERVER(test_push_of_a_later_rank_waits_without_staging),
        SERVER(test_closed_connection_gives_its_room_back),
        SERVER(test_replaced_connection_gives_its_room_back),
        SERVER(test_half_received_block_is_waited_for),
        SERVER(test_second_open_step_is_folded_but_not_prepared),
        SERVER(test_assigned_values_are_awaited),
        SERVER(test_push_before_version_0_is_refused),
        SERVER(test_acks_are_gathered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
