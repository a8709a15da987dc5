/* No step allocates; no allocation that fails does harm. */
#include "tests/unit/worker/client/fake_net.h"

static const struct fake_variable variables[] = {
    {.name = "big", .rows = 6 * 65536},
    {.name = "small", .rows = 10},
    {.name = "table", .rows = 1000, .cols = 4},
};
enum { BIG, SMALL, TABLE, VARIABLES };

static float big[6 * 65536], big_gradient[6 * 65536], small[10], small_gradient[10],
    rows_gradient[3 * 4];
static const int64_t rows[3] = {5, 900, 5};

/* Everything that was asked on a bulk link is answered. */
static void answer(struct fake_net *net, uint32_t server)
{
    struct fake_link *link = fake_bulk(net, server);

    while (!fake_idle(link)) {
        struct fake_sent *sent = &link->sent[link->read_count++];
        if (sent->type == FRAME_PUSH)
            fake_ack(net, link, sent->request);
        if (sent->type != FRAME_PULL)
            continue;
        Pmd__Pull *pull = pmd__pull__unpack(NULL, sent->header_bytes, sent->header);
        for (size_t i = 0; i < pull->n_block; i++) {
            Pmd__PullReply reply = PMD__PULL_REPLY__INIT;
            reply.step = pull->step;
            reply.n_variable = reply.n_block = 1;
            reply.variable = &pull->variable[i];
            reply.block = &pull->block[i];
            fake_tell(net, link, FRAME_PULL_REPLY, &reply.base, sent->request, big_gradient,
                      pull->variable[i] == BIG ? 65536 * 4 : sizeof small);
        }
        pmd__pull__free_unpacked(pull, NULL);
    }
    fake_forget(link);
}

/* One whole step; the first error ends it. */
static enum status step(struct fake_net *net, uint64_t t)
{
    struct ps_metric loss = {"loss", 1, 2};
    ps_handle first = 0, second = 0;
    enum status status = core_step_begin(net->core, t, 8, NULL);

    if (!status)
        status = core_push_pull(net->core, BIG, big_gradient, big, &first, NULL);
    if (!status)
        status = core_push_pull(net->core, SMALL, small_gradient, small, &second, NULL);
    if (!status)
        status = core_push_rows(net->core, TABLE, rows, 3, rows_gradient, NULL, NULL);
    if (!status)
        status = core_step_end(net->core, &loss, 1, false, NULL);
    if (status)
        return status;
    answer(net, 0);
    answer(net, 1);
    fake_forget(fake_control(net));
    fake_commit(net, t);
    assert_true(core_ready(net->core, first));
    assert_true(core_ready(net->core, second));
    assert_true(core_step_done(net->core, t));
    return STATUS_OK;
}

static void test_a_step_allocates_nothing(void **state)
{
    struct fake_net net;

    (void)state;
    fake_form(&net, 2);
    fake_start(&net, variables, VARIABLES, true);
    for (uint64_t t = 1; t <= 4; t++)
        assert_int_equal(step(&net, t), STATUS_OK);
    uint64_t before = alloc_count();
    for (uint64_t t = 5; t <= 200; t++)
        assert_int_equal(step(&net, t), STATUS_OK);
    assert_int_equal(alloc_count(), before);
    fake_end(&net);
}

/* The n-th allocation of a step fails: that call says so, and the step can be done again to its
 * end. */
static void test_a_step_survives_every_failed_allocation(void **state)
{
    uint64_t failures = 0;

    (void)state;
    for (uint64_t n = 1;; n++) {
        struct fake_net net;
        fake_form(&net, 2);
        fake_start(&net, variables, VARIABLES, true);
        assert_int_equal(core_step_begin(net.core, 1, 8, NULL), STATUS_OK);
        struct ps_metric loss = {"loss", 1, 2};
        ps_handle first, second;
        enum status status[4];
        alloc_fail_nth(n, false);
        status[0] = core_push_pull(net.core, BIG, big_gradient, big, &first, NULL);
        status[1] = core_push_pull(net.core, SMALL, small_gradient, small, &second, NULL);
        status[2] = core_push_rows(net.core, TABLE, rows, 3, rows_gradient, NULL, NULL);
        status[3] = core_step_end(net.core, &loss, 1, false, NULL);
        alloc_fail_nth(0, false);
        bool failed = status[0] || status[1] || status[2] || status[3];
        failures += failed;
        if (status[0])
            assert_int_equal(core_push_pull(net.core, BIG, big_gradient, big, &first, NULL),
                             status[3] ? STATUS_OK : STATUS_FAILED_PRECONDITION);
        if (status[3])
            assert_int_equal(core_step_end(net.core, &loss, 1, false, NULL), STATUS_OK);
        answer(&net, 0);
        answer(&net, 1);
        fake_forget(fake_control(&net));
        fake_commit(&net, 1);
        if (!status[0])
            assert_true(core_ready(net.core, first));
        if (!status[1])
            assert_true(core_ready(net.core, second));
        assert_true(core_step_done(net.core, 1));
        fake_end(&net);
        if (!failed)
            break;
    }
    assert_in_range(failures, 5, 1000);
}

/* Making a client, and joining: the n-th allocation fails, and the client says so or tries again.
 */
static void test_joining_survives_every_failed_allocation(void **state)
{
    struct core_options options = {.coordinator = "127.0.0.1:7000"};
    uint64_t n = 1;

    (void)state;
    for (;; n++) {
        struct fake_net net = {.servers = 2, .workers = 2, .now_ns = 1};
        struct link_io io = fake_io(&net);
        alloc_fail_nth(n, false);
        enum status status = core_new(&options, &io, &net.core, NULL);
        bool joined = false;
        if (!status) {
            net.engine = core_engine(net.core);
            fake_turn(&net);
            fake_open_link(&net, fake_control(&net));
            static struct link_incoming incoming;
            Pmd__HelloReply reply = PMD__HELLO_REPLY__INIT;
            struct error err;
            reply.incarnation = 1;
            reply.workers = reply.servers = 2;
            if (fake_head(&net, fake_control(&net), FRAME_HELLO_REPLY, &reply.base, 1, 0, &incoming,
                          &err) == LINK_TAKE) {
                net.engine.on_frame(net.engine.context, &fake_control(&net)->link);
                joined = core_servers(net.core) == 2 && !core_ended(net.core, NULL, NULL);
            }
        } else {
            assert_int_equal(status, STATUS_RESOURCE_EXHAUSTED);
        }
        alloc_fail_nth(0, false);
        fake_end(&net);
        if (joined)
            break;
    }
    assert_in_range(n, 5, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_step_allocates_nothing),
        cmocka_unit_test(test_a_step_survives_every_failed_allocation),
        cmocka_unit_test(test_joining_survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
