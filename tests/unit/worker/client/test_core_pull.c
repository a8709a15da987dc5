/* Pulls: what is asked for, where the answers go, and that nothing is written after a caller went
 * away. */
#include "tests/unit/worker/client/fake_net.h"

static const struct fake_variable variables[] = {
    {.name = "big", .rows = 3 * 65536},
    {.name = "small", .rows = 10},
    {.name = "tiny", .rows = 3},
};
enum { BIG, SMALL, TINY, VARIABLES };

static float big[3 * 65536], small[10], tiny[3];
static float bytes[3 * 65536];

static void start(struct fake_net *net, uint32_t servers)
{
    fake_form(net, servers);
    fake_start(net, variables, VARIABLES, true);
    for (size_t i = 0; i < 3 * 65536; i++) {
        bytes[i] = (float)(i + 1);
        big[i] = 0;
    }
    memset(small, 0, sizeof small);
    memset(tiny, 0, sizeof tiny);
}

static Pmd__Pull *pull_of(const struct fake_sent *sent)
{
    return pmd__pull__unpack(NULL, sent->header_bytes, sent->header);
}

static Pmd__PullReply reply_to(const Pmd__Pull *pull, size_t first, size_t count)
{
    Pmd__PullReply reply = PMD__PULL_REPLY__INIT;

    reply.step = pull->step;
    reply.n_variable = reply.n_block = count;
    reply.variable = pull->variable + first;
    reply.block = pull->block + first;
    return reply;
}

static void test_pulls_of_many_variables_share_a_frame(void **state)
{
    struct fake_net net;
    ps_handle first, second;

    (void)state;
    start(&net, 1);
    assert_int_equal(core_pull(net.core, SMALL, 0, small, &first, NULL), STATUS_OK);
    assert_int_equal(core_pull(net.core, TINY, PS_LATEST, tiny, &second, NULL), STATUS_OK);
    assert_true(fake_idle(fake_bulk(&net, 0)));
    core_flush(net.core);
    struct fake_sent *sent = fake_next(fake_bulk(&net, 0), FRAME_PULL);
    Pmd__Pull *pull = pull_of(sent);
    assert_int_equal(pull->n_block, 2);
    Pmd__PullReply reply = reply_to(pull, 1, 1);
    fake_tell(&net, fake_bulk(&net, 0), FRAME_PULL_REPLY, &reply.base, sent->request, bytes,
              sizeof tiny);
    assert_true(core_ready(net.core, second));
    assert_false(core_ready(net.core, first));
    assert_true(tiny[0] == 1 && tiny[2] == 3 && small[0] == 0);
    reply = reply_to(pull, 0, 1);
    fake_tell(&net, fake_bulk(&net, 0), FRAME_PULL_REPLY, &reply.base, sent->request, bytes,
              sizeof small);
    assert_true(core_ready(net.core, first));
    assert_true(small[9] == 10);
    pmd__pull__free_unpacked(pull, NULL);
    fake_end(&net);
}

/* Blocks come in any order, each read into its place. */
static void test_blocks_arrive_in_any_order(void **state)
{
    struct fake_net net;
    ps_handle handle;

    (void)state;
    start(&net, 1);
    struct fake_link *link = fake_bulk(&net, 0);
    assert_int_equal(core_pull(net.core, BIG, 0, big, &handle, NULL), STATUS_OK);
    core_flush(net.core);
    struct fake_sent *sent = fake_next(link, FRAME_PULL);
    Pmd__Pull *pull = pull_of(sent);
    assert_int_equal(pull->n_block, 3);
    for (size_t i = 3; i > 0; i--) {
        assert_false(core_ready(net.core, handle));
        Pmd__PullReply reply = reply_to(pull, i - 1, 1);
        fake_tell(&net, link, FRAME_PULL_REPLY, &reply.base, sent->request,
                  bytes + (size_t)pull->block[i - 1] * 65536, 65536 * 4);
    }
    assert_true(core_ready(net.core, handle));
    assert_memory_equal(big, bytes, sizeof big);
    pmd__pull__free_unpacked(pull, NULL);
    fake_end(&net);
}

static void test_new_connection_asks_for_the_missing_blocks(void **state)
{
    struct fake_net net;
    ps_handle handle;

    (void)state;
    start(&net, 1);
    assert_int_equal(core_pull(net.core, BIG, 0, big, &handle, NULL), STATUS_OK);
    core_flush(net.core);
    struct fake_sent *sent = fake_next(fake_bulk(&net, 0), FRAME_PULL);
    Pmd__Pull *pull = pull_of(sent);
    Pmd__PullReply reply = reply_to(pull, 1, 1);
    fake_tell(&net, fake_bulk(&net, 0), FRAME_PULL_REPLY, &reply.base, sent->request, bytes,
              65536 * 4);
    fake_break(&net, fake_bulk(&net, 0));
    fake_reconnect(&net, 0);
    struct fake_sent *again = fake_next(fake_bulk(&net, 0), FRAME_PULL);
    Pmd__Pull *rest = pull_of(again);
    assert_int_equal(again->request, sent->request);
    assert_int_equal(rest->n_block, 2);
    assert_int_equal(rest->block[0], pull->block[0]);
    assert_int_equal(rest->block[1], pull->block[2]);
    pmd__pull__free_unpacked(pull, NULL);
    pmd__pull__free_unpacked(rest, NULL);
    fake_end(&net);
}

/* A caller went away: the answer is read into nowhere. */
static void test_late_answer_is_read_into_nowhere(void **state)
{
    struct fake_net net;
    ps_handle handle;
    struct error why;
    enum status status;

    (void)state;
    start(&net, 1);
    struct fake_link *link = fake_bulk(&net, 0);
    assert_int_equal(core_pull(net.core, SMALL, 2, small, &handle, NULL), STATUS_OK);
    core_flush(net.core);
    struct fake_sent *sent = fake_next(link, FRAME_PULL);
    Pmd__Pull *pull = pull_of(sent);
    assert_int_equal(core_expire(net.core, handle, 60000, &why), STATUS_DEADLINE_EXCEEDED);
    assert_string_equal(
        why.message,
        "after 60.0 s: pull 'small' of step 2: 1 of 1 blocks are missing, from server 0 "
        "(127.0.0.1:7000) (committed: step 0)");
    Pmd__PullReply reply = reply_to(pull, 0, 1);
    fake_tell(&net, link, FRAME_PULL_REPLY, &reply.base, sent->request, bytes, sizeof small);
    assert_true(small[0] == 0);
    assert_false(link->closing);
    assert_true(core_done(net.core, handle, &status, NULL, NULL));
    assert_int_equal(status, STATUS_NOT_FOUND);
    pmd__pull__free_unpacked(pull, NULL);
    fake_end(&net);
}

/* One caller of a shared frame went away; the other one gets its values. */
static void test_only_the_abandoned_part_goes_nowhere(void **state)
{
    struct fake_net net;
    ps_handle first, second;

    (void)state;
    start(&net, 1);
    struct fake_link *link = fake_bulk(&net, 0);
    assert_int_equal(core_pull(net.core, SMALL, 0, small, &first, NULL), STATUS_OK);
    assert_int_equal(core_pull(net.core, TINY, 0, tiny, &second, NULL), STATUS_OK);
    core_flush(net.core);
    struct fake_sent *sent = fake_next(link, FRAME_PULL);
    Pmd__Pull *pull = pull_of(sent);
    core_expire(net.core, first, 1, NULL);
    Pmd__PullReply reply = reply_to(pull, 0, 2);
    fake_tell(&net, link, FRAME_PULL_REPLY, &reply.base, sent->request, bytes,
              sizeof small + sizeof tiny);
    assert_true(small[0] == 0 && tiny[0] == 11);
    assert_true(core_ready(net.core, second));
    pmd__pull__free_unpacked(pull, NULL);
    fake_end(&net);
}

/* The deadline passes while the bytes arrive: the link is closed, so nothing is written afterwards.
 */
static void test_deadline_in_the_middle_of_a_frame_closes_the_link(void **state)
{
    struct fake_net net;
    ps_handle handle, other;
    static struct link_incoming incoming;
    struct error err;

    (void)state;
    start(&net, 1);
    struct fake_link *link = fake_bulk(&net, 0);
    assert_int_equal(core_pull(net.core, SMALL, 0, small, &handle, NULL), STATUS_OK);
    assert_int_equal(core_pull(net.core, TINY, 0, tiny, &other, NULL), STATUS_OK);
    core_flush(net.core);
    struct fake_sent *sent = fake_next(link, FRAME_PULL);
    Pmd__Pull *pull = pull_of(sent);
    Pmd__PullReply reply = reply_to(pull, 0, 1);
    assert_int_equal(fake_head(&net, link, FRAME_PULL_REPLY, &reply.base, sent->request,
                               sizeof small, &incoming, &err),
                     LINK_TAKE);
    assert_ptr_equal(incoming.places[0].data, small);
    core_expire(net.core, handle, 1, NULL);
    assert_true(link->closing);
    fake_reconnect(&net, 0);
    Pmd__Pull *rest = pull_of(fake_next(fake_bulk(&net, 0), FRAME_PULL));
    assert_int_equal(rest->n_block, 1);
    assert_int_equal(rest->variable[0], TINY);
    pmd__pull__free_unpacked(pull, NULL);
    pmd__pull__free_unpacked(rest, NULL);
    fake_end(&net);
}

/* A frame that broke off halfway leaves its blocks missing. */
static void test_half_a_frame_counts_as_none(void **state)
{
    struct fake_net net;
    ps_handle handle;
    static struct link_incoming incoming;
    struct error err;

    (void)state;
    start(&net, 1);
    struct fake_link *link = fake_bulk(&net, 0);
    assert_int_equal(core_pull(net.core, SMALL, 0, small, &handle, NULL), STATUS_OK);
    core_flush(net.core);
    struct fake_sent *sent = fake_next(link, FRAME_PULL);
    Pmd__Pull *pull = pull_of(sent);
    Pmd__PullReply reply = reply_to(pull, 0, 1);
    fake_head(&net, link, FRAME_PULL_REPLY, &reply.base, sent->request, sizeof small, &incoming,
              &err);
    fake_break(&net, link);
    assert_false(core_ready(net.core, handle));
    fake_reconnect(&net, 0);
    fake_next(fake_bulk(&net, 0), FRAME_PULL);
    fake_tell(&net, fake_bulk(&net, 0), FRAME_PULL_REPLY, &reply.base, sent->request, bytes,
              sizeof small);
    assert_true(core_ready(net.core, handle));
    pmd__pull__free_unpacked(pull, NULL);
    fake_end(&net);
}

static void test_wrong_answers_are_refused(void **state)
{
    struct fake_net net;
    ps_handle handle;
    static struct link_incoming incoming;
    struct error err;
    uint32_t variable = TINY, block = 0;

    (void)state;
    start(&net, 1);
    struct fake_link *link = fake_bulk(&net, 0);
    assert_int_equal(core_pull(net.core, SMALL, 0, small, &handle, NULL), STATUS_OK);
    core_flush(net.core);
    struct fake_sent *sent = fake_next(link, FRAME_PULL);
    Pmd__Pull *pull = pull_of(sent);
    Pmd__PullReply reply = reply_to(pull, 0, 1);
    assert_int_equal(fake_head(&net, link, FRAME_PULL_REPLY, &reply.base, sent->request,
                               sizeof small - 4, &incoming, &err),
                     LINK_REFUSE);
    reply.step = 1;
    assert_int_equal(fake_head(&net, link, FRAME_PULL_REPLY, &reply.base, sent->request,
                               sizeof small, &incoming, &err),
                     LINK_REFUSE);
    reply.step = 0;
    assert_int_equal(
        fake_head(&net, link, FRAME_PULL_REPLY, &reply.base, 9999, sizeof small, &incoming, &err),
        LINK_REFUSE);
    reply.variable = &variable;
    reply.block = &block;
    assert_int_equal(fake_head(&net, link, FRAME_PULL_REPLY, &reply.base, sent->request,
                               sizeof tiny, &incoming, &err),
                     LINK_REFUSE);
    pmd__pull__free_unpacked(pull, NULL);
    fake_end(&net);
}

static void fail_pull(struct fake_net *net, uint64_t request, enum status status)
{
    Pmd__Failure failure = PMD__FAILURE__INIT;

    failure.status = status;
    failure.message = (char *)"version 0 is gone, there are 4 and 5";
    fake_tell(net, fake_bulk(net, 0), FRAME_FAILURE, &failure.base, request, NULL, 0);
}

static void test_failed_pull_names_variable_step_and_server(void **state)
{
    struct fake_net net;
    ps_handle handle;
    struct error why;
    enum status status;

    (void)state;
    start(&net, 1);
    assert_int_equal(core_pull(net.core, SMALL, 0, small, &handle, NULL), STATUS_OK);
    core_flush(net.core);
    fail_pull(&net, fake_next(fake_bulk(&net, 0), FRAME_PULL)->request, STATUS_OUT_OF_RANGE);
    assert_true(core_done(net.core, handle, &status, NULL, &why));
    assert_int_equal(status, STATUS_OUT_OF_RANGE);
    assert_string_equal(
        why.message,
        "pull 'small' of step 0: server 0 (127.0.0.1:7000): version 0 is gone, there are 4 and 5");
    assert_true(core_done(net.core, handle, &status, NULL, &why));
    assert_int_equal(status, STATUS_NOT_FOUND);
    assert_false(core_ended(net.core, NULL, NULL));
    fake_end(&net);
}

/* Whoever wants the latest version gets a newer one where the one it named is gone. */
static void test_latest_moves_on_with_the_commits(void **state)
{
    struct fake_net net;
    ps_handle handle;

    (void)state;
    start(&net, 1);
    assert_int_equal(core_pull(net.core, SMALL, PS_LATEST, small, &handle, NULL), STATUS_OK);
    core_flush(net.core);
    uint64_t request = fake_next(fake_bulk(&net, 0), FRAME_PULL)->request;
    net.commit_plus_1 = 5;
    fail_pull(&net, request, STATUS_OUT_OF_RANGE);
    assert_false(core_ready(net.core, handle));
    Pmd__Pull *pull = pull_of(fake_next(fake_bulk(&net, 0), FRAME_PULL));
    assert_int_equal(pull->step, 4);
    pmd__pull__free_unpacked(pull, NULL);
    fake_end(&net);
}

/* The handle of push_pull says that both arrays are the caller's again. */
static void test_push_pull_waits_for_both_loans(void **state)
{
    struct fake_net net;
    ps_handle handle;
    static float gradient[10];

    (void)state;
    start(&net, 1);
    struct fake_link *link = fake_bulk(&net, 0);
    assert_int_equal(core_step_begin(net.core, 1, 4, NULL), STATUS_OK);
    assert_int_equal(core_push_pull(net.core, SMALL, gradient, small, &handle, NULL), STATUS_OK);
    assert_int_equal(core_step_end(net.core, NULL, 0, false, NULL), STATUS_OK);
    fake_next(link, FRAME_STEP_BEGIN);
    uint64_t push = fake_next(link, FRAME_PUSH)->request;
    fake_next(link, FRAME_STEP_CLOSE);
    struct fake_sent *sent = fake_next(link, FRAME_PULL);
    Pmd__Pull *pull = pull_of(sent);
    assert_int_equal(pull->step, 1);
    Pmd__PullReply reply = reply_to(pull, 0, 1);
    fake_tell(&net, link, FRAME_PULL_REPLY, &reply.base, sent->request, bytes, sizeof small);
    assert_false(core_ready(net.core, handle));
    fake_ack(&net, link, push);
    assert_false(core_ready(net.core, handle));
    fake_write(link, true);
    assert_true(core_ready(net.core, handle));
    pmd__pull__free_unpacked(pull, NULL);
    fake_end(&net);
}

/* Two want the same block and the first goes away: the one answer is for the other. */
static void test_answer_goes_to_who_still_waits(void **state)
{
    struct fake_net net;
    ps_handle first, second;

    (void)state;
    start(&net, 1);
    assert_int_equal(core_pull(net.core, TINY, 0, tiny, &first, NULL), STATUS_OK);
    assert_int_equal(core_pull(net.core, TINY, 0, small, &second, NULL), STATUS_OK);
    core_expire(net.core, first, 1, NULL);
    core_flush(net.core);
    struct fake_sent *sent = fake_next(fake_bulk(&net, 0), FRAME_PULL);
    Pmd__Pull *pull = pull_of(sent);
    assert_int_equal(pull->n_block, 1);
    Pmd__PullReply reply = reply_to(pull, 0, 1);
    fake_tell(&net, fake_bulk(&net, 0), FRAME_PULL_REPLY, &reply.base, sent->request, bytes,
              sizeof tiny);
    assert_true(core_ready(net.core, second));
    assert_true(tiny[0] == 0 && small[2] == 3);
    pmd__pull__free_unpacked(pull, NULL);
    fake_end(&net);
}

/* Two want the same block of one frame, and an answer on an earlier link broke off: each gets its
 * own part of the answer on the next link. */
static void test_one_answer_serves_all_who_want_the_same(void **state)
{
    struct fake_net net;
    ps_handle handles[3];
    static float other[3];
    static struct link_incoming incoming;
    struct error err;

    (void)state;
    start(&net, 1);
    struct fake_link *link = fake_bulk(&net, 0);
    assert_int_equal(core_pull(net.core, TINY, 0, tiny, &handles[0], NULL), STATUS_OK);
    assert_int_equal(core_pull(net.core, SMALL, 0, small, &handles[1], NULL), STATUS_OK);
    assert_int_equal(core_pull(net.core, TINY, 0, other, &handles[2], NULL), STATUS_OK);
    core_flush(net.core);
    struct fake_sent *sent = fake_next(link, FRAME_PULL);
    Pmd__Pull *pull = pull_of(sent);
    Pmd__PullReply reply = reply_to(pull, 1, 1);
    assert_int_equal(fake_head(&net, link, FRAME_PULL_REPLY, &reply.base, sent->request,
                               sizeof small, &incoming, &err),
                     LINK_TAKE);
    fake_break(&net, link);
    fake_reconnect(&net, 0);
    fake_next(fake_bulk(&net, 0), FRAME_PULL);
    reply = reply_to(pull, 0, 3);
    fake_tell(&net, fake_bulk(&net, 0), FRAME_PULL_REPLY, &reply.base, sent->request, bytes,
              2 * sizeof tiny + sizeof small);
    for (size_t i = 0; i < 3; i++)
        assert_true(core_ready(net.core, handles[i]));
    pmd__pull__free_unpacked(pull, NULL);
    fake_end(&net);
}

/* A pull that failed does not give the gradient back before a server has it. */
static void test_failed_push_pull_waits_for_the_gradient(void **state)
{
    struct fake_net net;
    ps_handle handle;
    static float gradient[10];
    char text[ERROR_MESSAGE_BYTES];
    enum status status;

    (void)state;
    start(&net, 1);
    struct fake_link *link = fake_bulk(&net, 0);
    assert_int_equal(core_step_begin(net.core, 1, 4, NULL), STATUS_OK);
    assert_int_equal(core_push_pull(net.core, SMALL, gradient, small, &handle, NULL), STATUS_OK);
    assert_int_equal(core_step_end(net.core, NULL, 0, false, NULL), STATUS_OK);
    fake_next(link, FRAME_STEP_BEGIN);
    uint64_t push = fake_next(link, FRAME_PUSH)->request;
    fake_next(link, FRAME_STEP_CLOSE);
    fail_pull(&net, fake_next(link, FRAME_PULL)->request, STATUS_OUT_OF_RANGE);
    assert_false(core_ready(net.core, handle));
    core_describe(net.core, handle, text, sizeof text);
    assert_string_equal(text, "push 'small' of step 1: not acknowledged by server 0 "
                              "(127.0.0.1:7000)");
    fake_write(link, true);
    assert_false(core_ready(net.core, handle));
    fake_ack(&net, link, push);
    assert_true(core_done(net.core, handle, &status, NULL, NULL));
    assert_int_equal(status, STATUS_OUT_OF_RANGE);
    fake_end(&net);
}

static void test_pull_reply_carries_the_grant(void **state)
{
    struct fake_net net;
    ps_handle handle;

    (void)state;
    start(&net, 1);
    assert_int_equal(core_pull(net.core, TINY, 0, tiny, &handle, NULL), STATUS_OK);
    core_flush(net.core);
    struct fake_sent *sent = fake_next(fake_bulk(&net, 0), FRAME_PULL);
    Pmd__Pull *pull = pull_of(sent);
    Pmd__PullReply reply = reply_to(pull, 0, 1);
    reply.grant = 3;
    fake_tell(&net, fake_bulk(&net, 0), FRAME_PULL_REPLY, &reply.base, sent->request, bytes,
              sizeof tiny);
    assert_int_equal(core_grant(net.core), 3);
    pmd__pull__free_unpacked(pull, NULL);
    fake_end(&net);
}

/* A server refuses a pull of a step that it cannot know of yet, so such a pull waits here. */
static void test_pull_of_a_far_step_waits_for_the_commit(void **state)
{
    struct fake_net net;
    ps_handle handle;

    (void)state;
    start(&net, 1);
    assert_int_equal(core_pull(net.core, TINY, 4, tiny, &handle, NULL), STATUS_OK);
    core_flush(net.core);
    fake_turn(&net);
    assert_true(fake_idle(fake_bulk(&net, 0)));
    fake_commit(&net, 1);
    fake_turn(&net);
    assert_true(fake_idle(fake_bulk(&net, 0)));
    fake_commit(&net, 2);
    fake_turn(&net);
    fake_next(fake_bulk(&net, 0), FRAME_PULL);
    fake_end(&net);
}

/* More PULLs than a server is sent at once: the next goes out when one is answered. */
static void test_pulls_beyond_the_window_follow(void **state)
{
    enum { WINDOW = 1024, PULLS = WINDOW + 2 };
    struct fake_net net;
    static ps_handle handles[PULLS];
    static uint64_t requests[PULLS];
    uint32_t variable = TINY, block = 0;
    Pmd__PullReply reply = PMD__PULL_REPLY__INIT;

    (void)state;
    start(&net, 1);
    struct fake_link *link = fake_bulk(&net, 0);
    fake_forget(link);
    for (size_t i = 0; i < PULLS; i++) {
        assert_int_equal(core_pull(net.core, TINY, 0, tiny, &handles[i], NULL), STATUS_OK);
        core_flush(net.core);
        if (i < WINDOW)
            requests[i] = fake_next(link, FRAME_PULL)->request;
        if (i % 256 == 255)
            fake_forget(link);
    }
    fake_turn(&net);
    assert_true(fake_idle(link));
    reply.n_variable = reply.n_block = 1;
    reply.variable = &variable;
    reply.block = &block;
    fake_tell(&net, link, FRAME_PULL_REPLY, &reply.base, requests[7], bytes, sizeof tiny);
    fake_turn(&net);
    fake_next(link, FRAME_PULL);
    assert_true(fake_idle(link));
    fail_pull(&net, requests[0], STATUS_OUT_OF_RANGE);
    fake_turn(&net);
    fake_next(link, FRAME_PULL);
    assert_true(fake_idle(link));
    fake_end(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pulls_of_many_variables_share_a_frame),
        cmocka_unit_test(test_blocks_arrive_in_any_order),
        cmocka_unit_test(test_new_connection_asks_for_the_missing_blocks),
        cmocka_unit_test(test_late_answer_is_read_into_nowhere),
        cmocka_unit_test(test_only_the_abandoned_part_goes_nowhere),
        cmocka_unit_test(test_deadline_in_the_middle_of_a_frame_closes_the_link),
        cmocka_unit_test(test_half_a_frame_counts_as_none),
        cmocka_unit_test(test_wrong_answers_are_refused),
        cmocka_unit_test(test_failed_pull_names_variable_step_and_server),
        cmocka_unit_test(test_latest_moves_on_with_the_commits),
        cmocka_unit_test(test_push_pull_waits_for_both_loans),
        cmocka_unit_test(test_answer_goes_to_who_still_waits),
        cmocka_unit_test(test_one_answer_serves_all_who_want_the_same),
        cmocka_unit_test(test_failed_push_pull_waits_for_the_gradient),
        cmocka_unit_test(test_pull_reply_carries_the_grant),
        cmocka_unit_test(test_pull_of_a_far_step_waits_for_the_commit),
        cmocka_unit_test(test_pulls_beyond_the_window_follow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
