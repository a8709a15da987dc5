/* Steps and pushes: grants, frames, acknowledgements, loans, sending again after a break. */
#include "tests/unit/worker/client/fake_net.h"

/* 'big' has 6 blocks of 256 KiB, the last one smaller; the others fit one. */
static const struct fake_variable variables[] = {
    {.name = "big", .rows = 5 * 65536 + 100},
    {.name = "small", .rows = 10},
    {.name = "tiny", .rows = 3},
    {.name = "table", .rows = 100, .cols = 4},
    {.name = "state", .rows = 4, .not_trainable = true},
};
enum { BIG, SMALL, TINY, TABLE, STATE, VARIABLES };

static float big[5 * 65536 + 100];
static float small[10], tiny[3];

static void start(struct fake_net *net, uint32_t servers)
{
    fake_form(net, servers);
    fake_start(net, variables, VARIABLES, true);
}

static Pmd__Push *push_of(const struct fake_sent *sent)
{
    return pmd__push__unpack(NULL, sent->header_bytes, sent->header);
}

static void test_step_needs_a_grant(void **state)
{
    struct fake_net net;
    struct error why;

    (void)state;
    fake_form(&net, 1);
    fake_start(&net, variables, VARIABLES, false);
    assert_int_equal(core_step_begin(net.core, 1, 8, &why), STATUS_FAILED_PRECONDITION);
    fake_commit(&net, 0);
    assert_int_equal(core_step_begin(net.core, 1, 8, &why), STATUS_OK);
    assert_int_equal(core_step_end(net.core, NULL, 0, false, &why), STATUS_OK);
    assert_int_equal(core_step_begin(net.core, 2, 8, &why), STATUS_OK);
    assert_int_equal(core_step_end(net.core, NULL, 0, false, &why), STATUS_OK);
    assert_false(core_step_granted(net.core, 3));
    fake_commit(&net, 1);
    assert_true(core_step_granted(net.core, 3));
    fake_end(&net);
}

static void test_steps_come_in_order(void **state)
{
    struct fake_net net;
    struct error why;

    (void)state;
    start(&net, 1);
    assert_int_equal(core_step_begin(net.core, 2, 8, &why), STATUS_FAILED_PRECONDITION);
    assert_string_equal(why.message, "begin step 2: the next one is step 1");
    assert_int_equal(core_step_begin(net.core, 1, 8, &why), STATUS_OK);
    assert_int_equal(core_step_begin(net.core, 2, 8, &why), STATUS_FAILED_PRECONDITION);
    assert_string_equal(why.message, "begin step 2: step 1 has not been ended");
    fake_end(&net);
}

/* A process that was started again goes on behind the committed step. */
static void test_restart_goes_on_behind_the_committed_step(void **state)
{
    struct fake_net net;

    (void)state;
    fake_init(&net, 1);
    fake_turn(&net);
    fake_open_link(&net, fake_control(&net));
    fake_greet(&net, fake_control(&net), 12, 11);
    fake_members(&net, 1);
    fake_turn(&net);
    fake_open_link(&net, fake_bulk(&net, 0));
    fake_greet(&net, fake_bulk(&net, 0), 0, 11);
    net.commit_plus_1 = 11;
    fake_start(&net, variables, VARIABLES, false);
    assert_int_equal(core_step_begin(net.core, 1, 8, NULL), STATUS_FAILED_PRECONDITION);
    assert_int_equal(core_step_begin(net.core, 11, 8, NULL), STATUS_OK);
    fake_end(&net);
}

static void test_step_is_begin_pushes_close_on_every_server(void **state)
{
    struct fake_net net;

    (void)state;
    start(&net, 2);
    assert_int_equal(core_step_begin(net.core, 1, 8, NULL), STATUS_OK);
    for (uint32_t v = BIG; v <= TINY; v++)
        assert_int_equal(core_push(net.core, v,
                                   v == BIG     ? big
                                   : v == SMALL ? small
                                                : tiny,
                                   PS_GRADIENT, NULL, NULL),
                         STATUS_OK);
    assert_int_equal(core_step_end(net.core, NULL, 0, false, NULL), STATUS_OK);
    fake_next(fake_control(&net), FRAME_STEP_END);
    size_t blocks = 0, bytes = 0;
    for (uint32_t s = 0; s < 2; s++) {
        struct fake_link *link = fake_bulk(&net, s);
        fake_next(link, FRAME_STEP_BEGIN);
        while (link->sent[link->read_count].type == FRAME_PUSH) {
            struct fake_sent *sent = fake_next(link, FRAME_PUSH);
            Pmd__Push *push = push_of(sent);
            assert_in_range(sent->payload_bytes, 1, LIMIT_PAYLOAD_BYTES);
            assert_int_equal(sent->commit_plus_1, 1);
            blocks += push->n_block;
            bytes += sent->payload_bytes;
            pmd__push__free_unpacked(push, NULL);
        }
        fake_next(link, FRAME_STEP_CLOSE);
        assert_true(fake_idle(link));
    }
    assert_int_equal(blocks, 8);
    assert_int_equal(bytes, sizeof big + sizeof small + sizeof tiny);
    fake_end(&net);
}

static void test_small_pushes_share_a_frame_until_something_must_go(void **state)
{
    struct fake_net net;

    (void)state;
    start(&net, 1);
    struct fake_link *link = fake_bulk(&net, 0);
    assert_int_equal(core_step_begin(net.core, 1, 8, NULL), STATUS_OK);
    fake_next(link, FRAME_STEP_BEGIN);
    assert_int_equal(core_push(net.core, SMALL, small, PS_GRADIENT, NULL, NULL), STATUS_OK);
    assert_int_equal(core_push(net.core, TINY, tiny, PS_GRADIENT, NULL, NULL), STATUS_OK);
    assert_true(fake_idle(link));
    core_flush(net.core);
    Pmd__Push *push = push_of(fake_next(link, FRAME_PUSH));
    assert_int_equal(push->n_block, 2);
    pmd__push__free_unpacked(push, NULL);
    assert_true(fake_idle(link));
    fake_end(&net);
}

static void test_kinds_do_not_share_a_frame(void **state)
{
    struct fake_net net;

    (void)state;
    start(&net, 1);
    struct fake_link *link = fake_bulk(&net, 0);
    assert_int_equal(core_step_begin(net.core, 1, 8, NULL), STATUS_OK);
    assert_int_equal(core_push(net.core, SMALL, small, PS_GRADIENT, NULL, NULL), STATUS_OK);
    assert_int_equal(core_push(net.core, STATE, small, PS_ASSIGN_MEAN, NULL, NULL), STATUS_OK);
    core_flush(net.core);
    fake_next(link, FRAME_STEP_BEGIN);
    Pmd__Push *first = push_of(fake_next(link, FRAME_PUSH));
    Pmd__Push *second = push_of(fake_next(link, FRAME_PUSH));
    assert_int_equal(first->kind, PMD__PUSH_KIND__PUSH_KIND_GRADIENT);
    assert_int_equal(second->kind, PMD__PUSH_KIND__PUSH_KIND_ASSIGN_MEAN);
    pmd__push__free_unpacked(first, NULL);
    pmd__push__free_unpacked(second, NULL);
    fake_end(&net);
}

/* Staged when acknowledged, done only when committed. */
static void test_push_is_done_at_the_commit(void **state)
{
    struct fake_net net;
    ps_handle handle;
    enum status status;

    (void)state;
    start(&net, 1);
    struct fake_link *link = fake_bulk(&net, 0);
    assert_int_equal(core_step_begin(net.core, 1, 8, NULL), STATUS_OK);
    assert_int_equal(core_push(net.core, SMALL, small, PS_GRADIENT, &handle, NULL), STATUS_OK);
    assert_int_equal(core_step_end(net.core, NULL, 0, false, NULL), STATUS_OK);
    fake_write(link, true);
    assert_false(core_staged(net.core, handle));
    fake_next(link, FRAME_STEP_BEGIN);
    fake_ack(&net, link, fake_next(link, FRAME_PUSH)->request);
    assert_true(core_staged(net.core, handle));
    assert_false(core_ready(net.core, handle));
    fake_commit(&net, 1);
    assert_true(core_done(net.core, handle, &status, NULL, NULL));
    assert_int_equal(status, STATUS_OK);
    assert_true(core_done(net.core, handle, &status, NULL, NULL)); /* forgotten, and it went well */
    assert_int_equal(status, STATUS_OK);
    fake_end(&net);
}

/* A committed push whose bytes are still in a queue keeps its loan. */
static void test_loan_lasts_until_no_queue_refers_to_the_bytes(void **state)
{
    struct fake_net net;
    ps_handle handle;

    (void)state;
    start(&net, 1);
    assert_int_equal(core_step_begin(net.core, 1, 8, NULL), STATUS_OK);
    assert_int_equal(core_push(net.core, SMALL, small, PS_GRADIENT, &handle, NULL), STATUS_OK);
    assert_int_equal(core_step_end(net.core, NULL, 0, false, NULL), STATUS_OK);
    fake_commit(&net, 1);
    assert_false(core_ready(net.core, handle));
    assert_false(core_step_done(net.core, 1));
    fake_write(fake_bulk(&net, 0), true);
    assert_true(core_ready(net.core, handle));
    assert_true(core_step_done(net.core, 1));
    fake_end(&net);
}

static void test_commit_is_learned_from_any_frame(void **state)
{
    struct fake_net net;
    ps_handle handle;

    (void)state;
    start(&net, 1);
    struct fake_link *link = fake_bulk(&net, 0);
    assert_int_equal(core_step_begin(net.core, 1, 8, NULL), STATUS_OK);
    assert_int_equal(core_push(net.core, SMALL, small, PS_GRADIENT, &handle, NULL), STATUS_OK);
    assert_int_equal(core_step_end(net.core, NULL, 0, false, NULL), STATUS_OK);
    fake_write(link, true);
    net.commit_plus_1 = 2;
    fake_tell(&net, fake_control(&net), FRAME_HEARTBEAT, NULL, 0, NULL, 0);
    assert_true(core_ready(net.core, handle));
    fake_end(&net);
}

/* After a break: STEP_BEGIN, the pushes without an acknowledgement under their old numbers,
 * STEP_CLOSE. */
static void test_new_connection_repeats_what_is_not_acknowledged(void **state)
{
    struct fake_net net;
    uint64_t numbers[8];
    size_t count = 0;

    (void)state;
    start(&net, 1);
    struct fake_link *link = fake_bulk(&net, 0);
    assert_int_equal(core_step_begin(net.core, 1, 8, NULL), STATUS_OK);
    assert_int_equal(core_push(net.core, BIG, big, PS_GRADIENT, NULL, NULL), STATUS_OK);
    assert_int_equal(core_push(net.core, TINY, tiny, PS_GRADIENT, NULL, NULL), STATUS_OK);
    assert_int_equal(core_step_end(net.core, NULL, 0, false, NULL), STATUS_OK);
    assert_int_equal(core_step_begin(net.core, 2, 8, NULL), STATUS_OK);
    fake_next(link, FRAME_STEP_BEGIN);
    while (link->sent[link->read_count].type == FRAME_PUSH)
        numbers[count++] = fake_next(link, FRAME_PUSH)->request;
    assert_int_equal(count, 2);
    fake_ack(&net, link, numbers[0]);
    fake_break(&net, link);
    fake_reconnect(&net, 0);
    link = fake_bulk(&net, 0);
    Pmd__StepBegin *begin = pmd__step_begin__unpack(NULL, link->sent[1].header_bytes,
                                                    link->sent[1].header);
    fake_next(link, FRAME_STEP_BEGIN);
    assert_int_equal(begin->step, 1);
    assert_int_equal(begin->examples, 8);
    assert_int_equal(fake_next(link, FRAME_PUSH)->request, numbers[1]);
    fake_next(link, FRAME_STEP_CLOSE);
    fake_next(link, FRAME_STEP_BEGIN);
    assert_true(fake_idle(link));
    pmd__step_begin__free_unpacked(begin, NULL);
    fake_end(&net);
}

static void test_committed_steps_are_not_repeated(void **state)
{
    struct fake_net net;

    (void)state;
    start(&net, 1);
    assert_int_equal(core_step_begin(net.core, 1, 8, NULL), STATUS_OK);
    assert_int_equal(core_push(net.core, TINY, tiny, PS_GRADIENT, NULL, NULL), STATUS_OK);
    assert_int_equal(core_step_end(net.core, NULL, 0, false, NULL), STATUS_OK);
    fake_break(&net, fake_bulk(&net, 0));
    fake_commit(&net, 1);
    fake_reconnect(&net, 0);
    assert_true(fake_idle(fake_bulk(&net, 0)));
    fake_end(&net);
}

/* The end of a step that is not committed is told again on a new control link. */
static void test_step_end_is_repeated_on_a_new_control_link(void **state)
{
    struct fake_net net;
    struct ps_metric loss = {"loss", 2.5, 8};

    (void)state;
    start(&net, 1);
    assert_int_equal(core_step_begin(net.core, 1, 8, NULL), STATUS_OK);
    assert_int_equal(core_step_end(net.core, &loss, 1, true, NULL), STATUS_OK);
    fake_break(&net, fake_control(&net));
    net.now_ns += 1000000000;
    fake_turn(&net);
    fake_open_link(&net, fake_control(&net));
    fake_greet(&net, fake_control(&net), 2, 1);
    struct fake_sent *sent = fake_next(fake_control(&net), FRAME_STEP_END);
    Pmd__StepEnd *end = pmd__step_end__unpack(NULL, sent->header_bytes, sent->header);
    assert_int_equal(end->step, 1);
    assert_true(end->restart_totals);
    assert_int_equal(end->n_metrics, 1);
    assert_string_equal(end->metrics[0]->name, "loss");
    assert_true(end->metrics[0]->sum == 2.5 && end->metrics[0]->count == 8);
    pmd__step_end__free_unpacked(end, NULL);
    fake_end(&net);
}

static void test_duplicate_acknowledgements_are_ignored(void **state)
{
    struct fake_net net;
    ps_handle handle;

    (void)state;
    start(&net, 1);
    struct fake_link *link = fake_bulk(&net, 0);
    assert_int_equal(core_step_begin(net.core, 1, 8, NULL), STATUS_OK);
    assert_int_equal(core_push(net.core, TINY, tiny, PS_GRADIENT, &handle, NULL), STATUS_OK);
    core_flush(net.core);
    fake_next(link, FRAME_STEP_BEGIN);
    uint64_t request = fake_next(link, FRAME_PUSH)->request;
    fake_write(link, true);
    fake_ack(&net, link, request);
    fake_ack(&net, link, request);
    fake_ack(&net, link, 123456);
    assert_true(core_staged(net.core, handle));
    fake_end(&net);
}

static void test_rank_without_examples_only_begins(void **state)
{
    struct fake_net net;
    ps_handle handle;

    (void)state;
    start(&net, 1);
    assert_int_equal(core_step_begin(net.core, 1, 0, NULL), STATUS_OK);
    assert_int_equal(core_push(net.core, TINY, tiny, PS_GRADIENT, &handle, NULL), STATUS_OK);
    assert_int_equal(core_push(net.core, STATE, small, PS_ADD, NULL, NULL),
                     STATUS_FAILED_PRECONDITION);
    assert_int_equal(core_step_end(net.core, NULL, 0, false, NULL), STATUS_OK);
    fake_next(fake_bulk(&net, 0), FRAME_STEP_BEGIN);
    assert_true(fake_idle(fake_bulk(&net, 0)));
    assert_false(core_ready(net.core, handle));
    fake_commit(&net, 1);
    assert_true(core_ready(net.core, handle));
    fake_end(&net);
}

static void test_wrong_pushes_are_refused(void **state)
{
    struct fake_net net;
    struct error why;

    (void)state;
    start(&net, 1);
    assert_int_equal(core_push(net.core, TINY, tiny, PS_GRADIENT, NULL, &why),
                     STATUS_FAILED_PRECONDITION);
    assert_string_equal(why.message, "push 'tiny': no step was begun");
    assert_int_equal(core_step_begin(net.core, 1, 8, NULL), STATUS_OK);
    assert_int_equal(core_push(net.core, VARIABLES, tiny, PS_GRADIENT, NULL, &why),
                     STATUS_NOT_FOUND);
    assert_int_equal(core_push(net.core, STATE, tiny, PS_GRADIENT, NULL, &why),
                     STATUS_FAILED_PRECONDITION);
    assert_int_equal(core_push(net.core, TINY, tiny, (enum ps_push_kind)9, NULL, &why),
                     STATUS_INVALID_ARGUMENT);
    assert_int_equal(core_push(net.core, TINY, tiny, PS_GRADIENT, NULL, &why), STATUS_OK);
    assert_int_equal(core_push(net.core, TINY, tiny, PS_GRADIENT, NULL, &why),
                     STATUS_FAILED_PRECONDITION);
    assert_string_equal(why.message, "push 'tiny': it was pushed before in step 1");
    fake_end(&net);
}

/* Other ranks' ASSIGN does not count, so it is not sent. */
static void test_assign_comes_from_rank_0_only(void **state)
{
    struct fake_net net;
    ps_handle handle;

    (void)state;
    fake_init(&net, 1);
    net.rank = 1;
    fake_turn(&net);
    fake_open_link(&net, fake_control(&net));
    fake_greet(&net, fake_control(&net), 0, 0);
    fake_members(&net, 1);
    fake_turn(&net);
    fake_open_link(&net, fake_bulk(&net, 0));
    fake_greet(&net, fake_bulk(&net, 0), 0, 0);
    fake_start(&net, variables, VARIABLES, true);
    assert_int_equal(core_step_begin(net.core, 1, 8, NULL), STATUS_OK);
    assert_int_equal(core_push(net.core, STATE, small, PS_PUSH_ASSIGN, &handle, NULL), STATUS_OK);
    core_flush(net.core);
    fake_next(fake_bulk(&net, 0), FRAME_STEP_BEGIN);
    assert_true(fake_idle(fake_bulk(&net, 0)));
    fake_end(&net);
}

/* ---- rows ---- */

static float row_values[5 * 4] = {1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5};

static void test_rows_are_sorted_and_added_up(void **state)
{
    struct fake_net net;
    const int64_t rows[5] = {7, 2, 7, 99, 2};

    (void)state;
    start(&net, 1);
    assert_int_equal(core_step_begin(net.core, 1, 8, NULL), STATUS_OK);
    assert_int_equal(core_push_rows(net.core, TABLE, rows, 5, row_values, NULL, NULL), STATUS_OK);
    core_flush(net.core);
    fake_next(fake_bulk(&net, 0), FRAME_STEP_BEGIN);
    struct fake_sent *sent = fake_next(fake_bulk(&net, 0), FRAME_PUSH);
    Pmd__Push *push = push_of(sent);
    assert_int_equal(push->encoding, PMD__PUSH_ENCODING__PUSH_ENCODING_ROWS);
    assert_int_equal(push->n_rows, 1);
    assert_int_equal(push->rows[0], 3);
    assert_int_equal(sent->payload_bytes, 16 + 3 * 16);
    const uint32_t *numbers = (const uint32_t *)(void *)sent->payload;
    const float *values = (const float *)(void *)(sent->payload + 16);
    assert_int_equal(numbers[0], 2);
    assert_int_equal(numbers[1], 7);
    assert_int_equal(numbers[2], 99);
    assert_int_equal(numbers[3], 0);
    assert_true(values[0] == 7 && values[4] == 4 && values[8] == 4);
    pmd__push__free_unpacked(push, NULL);
    fake_end(&net);
}

/* A block that is smaller as a whole goes as a whole. */
static void test_rows_that_fill_a_block_are_sent_dense(void **state)
{
    struct fake_net net;
    int64_t rows[100];
    static float values[100 * 4];

    (void)state;
    for (int i = 0; i < 100; i++) {
        rows[i] = 99 - i;
        values[4 * i] = (float)i;
    }
    start(&net, 1);
    assert_int_equal(core_step_begin(net.core, 1, 8, NULL), STATUS_OK);
    assert_int_equal(core_push_rows(net.core, TABLE, rows, 100, values, NULL, NULL), STATUS_OK);
    core_flush(net.core);
    fake_next(fake_bulk(&net, 0), FRAME_STEP_BEGIN);
    struct fake_sent *sent = fake_next(fake_bulk(&net, 0), FRAME_PUSH);
    Pmd__Push *push = push_of(sent);
    assert_int_equal(push->encoding, PMD__PUSH_ENCODING__PUSH_ENCODING_DENSE);
    assert_int_equal(sent->payload_bytes, 1600);
    assert_true(((const float *)(void *)sent->payload)[4 * 10] == 89);
    pmd__push__free_unpacked(push, NULL);
    fake_end(&net);
}

static void test_rows_outside_are_refused(void **state)
{
    struct fake_net net;
    struct error why;
    int64_t row = 100;

    (void)state;
    start(&net, 1);
    assert_int_equal(core_step_begin(net.core, 1, 8, NULL), STATUS_OK);
    assert_int_equal(core_push_rows(net.core, TABLE, &row, 1, row_values, NULL, &why),
                     STATUS_OUT_OF_RANGE);
    assert_string_equal(why.message, "push rows of 'table': row 100, there are 100");
    row = -1;
    assert_int_equal(core_push_rows(net.core, TABLE, &row, 1, row_values, NULL, &why),
                     STATUS_OUT_OF_RANGE);
    row = 99;
    assert_int_equal(core_push_rows(net.core, TABLE, &row, 1, row_values, NULL, &why), STATUS_OK);
    fake_end(&net);
}

/* No rows at all is a gradient of zeros, which is not the same as none. */
static void test_no_rows_still_cover_all_blocks(void **state)
{
    struct fake_net net;

    (void)state;
    start(&net, 1);
    assert_int_equal(core_step_begin(net.core, 1, 8, NULL), STATUS_OK);
    assert_int_equal(core_push_rows(net.core, TABLE, NULL, 0, NULL, NULL, NULL), STATUS_OK);
    core_flush(net.core);
    fake_next(fake_bulk(&net, 0), FRAME_STEP_BEGIN);
    struct fake_sent *sent = fake_next(fake_bulk(&net, 0), FRAME_PUSH);
    Pmd__Push *push = push_of(sent);
    assert_int_equal(push->n_block, 1);
    assert_int_equal(push->rows[0], 0);
    assert_int_equal(sent->payload_bytes, 0);
    pmd__push__free_unpacked(push, NULL);
    fake_end(&net);
}

/* ---- version 0 ---- */

static void test_assigned_values_are_pushed_for_step_0(void **state)
{
    static const struct fake_variable assigned[] = {{.name = "a", .rows = 4, .assigned = true},
                                                    {.name = "b", .rows = 4, .assigned = true}};
    struct fake_net net;
    ps_handle first, second;

    (void)state;
    fake_form(&net, 1);
    fake_start(&net, assigned, 2, false);
    struct fake_link *link = fake_bulk(&net, 0);
    assert_int_equal(core_assign(net.core, 0, small, &first, NULL), STATUS_OK);
    assert_true(core_assign_incomplete(net.core));
    Pmd__Push *push = push_of(fake_next(link, FRAME_PUSH));
    assert_int_equal(push->step, 0);
    assert_int_equal(push->kind, PMD__PUSH_KIND__PUSH_KIND_ASSIGN);
    pmd__push__free_unpacked(push, NULL);
    assert_int_equal(core_assign(net.core, 1, small, &second, NULL), STATUS_OK);
    assert_false(core_assign_incomplete(net.core));
    fake_write(link, true);
    fake_ack(&net, link, link->sent[1].request);
    assert_true(core_staged(net.core, first));
    assert_false(core_staged(net.core, second));
    core_assign_withdraw(net.core, second);
    assert_true(core_assign_incomplete(net.core));
    fake_end(&net);
}

/* An acknowledgement may come before the last byte has left; then the loan ends with the link. */
static void test_assign_taken_back_while_its_bytes_leave(void **state)
{
    static const struct fake_variable assigned[] = {{.name = "a", .rows = 4, .assigned = true}};
    struct fake_net net;
    ps_handle handle;

    (void)state;
    fake_form(&net, 1);
    fake_start(&net, assigned, 1, false);
    struct fake_link *link = fake_bulk(&net, 0);
    assert_int_equal(core_assign(net.core, 0, small, &handle, NULL), STATUS_OK);
    fake_ack(&net, link, fake_next(link, FRAME_PUSH)->request);
    assert_false(core_staged(net.core, handle));
    core_assign_withdraw(net.core, handle);
    assert_true(link->closing);
    fake_settle(&net);
    assert_true(core_staged(net.core, handle));
    fake_end(&net);
}

static void test_totals_come_with_the_commit(void **state)
{
    struct fake_net net;
    Pmd__Commit commit = PMD__COMMIT__INIT;
    Pmd__Metric loss = PMD__METRIC__INIT;
    Pmd__Metric *pointer = &loss;
    struct ps_metric totals[2], running[2];
    size_t count = 0;

    (void)state;
    start(&net, 1);
    assert_int_equal(core_step_begin(net.core, 1, 8, NULL), STATUS_OK);
    assert_int_equal(core_step_end(net.core, NULL, 0, false, NULL), STATUS_OK);
    assert_int_equal(core_totals(net.core, 1, totals, running, 2, &count, NULL),
                     STATUS_UNAVAILABLE);
    assert_int_equal(core_totals(net.core, 2, totals, running, 2, &count, NULL),
                     STATUS_FAILED_PRECONDITION);
    commit.step = 1;
    commit.grant = 3;
    loss.name = (char *)"loss";
    loss.sum = 5;
    loss.count = 16;
    commit.n_totals = commit.n_running = 1;
    commit.totals = commit.running = &pointer;
    fake_tell(&net, fake_control(&net), FRAME_COMMIT, &commit.base, 0, NULL, 0);
    assert_int_equal(core_totals(net.core, 1, totals, running, 2, &count, NULL), STATUS_OK);
    assert_int_equal(count, 1);
    assert_string_equal(totals[0].name, "loss");
    assert_true(totals[0].sum == 5 && running[0].count == 16);
    fake_commit(&net, 2);
    fake_commit(&net, 3);
    assert_int_equal(core_totals(net.core, 1, totals, running, 2, &count, NULL),
                     STATUS_OUT_OF_RANGE);
    fake_end(&net);
}

static void test_end_also_ends_the_loan(void **state)
{
    struct fake_net net;
    Pmd__End end = PMD__END__INIT;
    ps_handle handle;
    enum status status;

    (void)state;
    start(&net, 1);
    assert_int_equal(core_step_begin(net.core, 1, 8, NULL), STATUS_OK);
    assert_int_equal(core_push(net.core, TINY, tiny, PS_GRADIENT, &handle, NULL), STATUS_OK);
    core_flush(net.core);
    end.status = STATUS_UNAVAILABLE;
    end.message = (char *)"server 1 was lost";
    end.exit_code = 4;
    fake_tell(&net, fake_control(&net), FRAME_END, &end.base, 0, NULL, 0);
    assert_false(core_ready(net.core, handle)); /* its bytes may still be in the socket's queue */
    fake_settle(&net);
    assert_true(core_done(net.core, handle, &status, NULL, NULL));
    assert_int_equal(status, STATUS_UNAVAILABLE);
    fake_end(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_step_needs_a_grant),
        cmocka_unit_test(test_steps_come_in_order),
        cmocka_unit_test(test_restart_goes_on_behind_the_committed_step),
        cmocka_unit_test(test_step_is_begin_pushes_close_on_every_server),
        cmocka_unit_test(test_small_pushes_share_a_frame_until_something_must_go),
        cmocka_unit_test(test_kinds_do_not_share_a_frame),
        cmocka_unit_test(test_push_is_done_at_the_commit),
        cmocka_unit_test(test_loan_lasts_until_no_queue_refers_to_the_bytes),
        cmocka_unit_test(test_commit_is_learned_from_any_frame),
        cmocka_unit_test(test_new_connection_repeats_what_is_not_acknowledged),
        cmocka_unit_test(test_committed_steps_are_not_repeated),
        cmocka_unit_test(test_step_end_is_repeated_on_a_new_control_link),
        cmocka_unit_test(test_duplicate_acknowledgements_are_ignored),
        cmocka_unit_test(test_rank_without_examples_only_begins),
        cmocka_unit_test(test_wrong_pushes_are_refused),
        cmocka_unit_test(test_assign_comes_from_rank_0_only),
        cmocka_unit_test(test_rows_are_sorted_and_added_up),
        cmocka_unit_test(test_rows_that_fill_a_block_are_sent_dense),
        cmocka_unit_test(test_rows_outside_are_refused),
        cmocka_unit_test(test_no_rows_still_cover_all_blocks),
        cmocka_unit_test(test_assigned_values_are_pushed_for_step_0),
        cmocka_unit_test(test_assign_taken_back_while_its_bytes_leave),
        cmocka_unit_test(test_totals_come_with_the_commit),
        cmocka_unit_test(test_end_also_ends_the_loan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
