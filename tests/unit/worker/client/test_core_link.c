/* Joining, hello, heartbeats, losing and finding peers, the end of the job. */
#include "tests/unit/worker/client/fake_net.h"

#include "common/base/exit_code.h"

static Pmd__Hello *hello_of(const struct fake_sent *sent)
{
    return pmd__hello__unpack(NULL, sent->header_bytes, sent->header);
}

static void test_joins_control_first_then_every_server(void **state)
{
    struct fake_net net;

    (void)state;
    fake_form(&net, 3);
    assert_int_equal(net.link_count, 4);
    assert_int_equal(core_rank(net.core), 0);
    assert_int_equal(core_workers(net.core), 2);
    assert_int_equal(core_servers(net.core), 3);
    assert_int_equal(core_incarnation(net.core), 7);
    fake_end(&net);
}

static void test_servers_are_connected_only_when_all_are_there(void **state)
{
    struct fake_net net;
    char text[128];

    (void)state;
    fake_init(&net, 2);
    fake_turn(&net);
    fake_open_link(&net, fake_control(&net));
    fake_greet(&net, fake_control(&net), 0, 0);
    fake_members(&net, 1);
    fake_turn(&net);
    assert_int_equal(net.link_count, 1);
    assert_true(core_waiting(net.core, text, sizeof text));
    assert_string_equal(text, "waiting for 1 of 2 servers");
    fake_members(&net, 2);
    fake_turn(&net);
    assert_int_equal(net.link_count, 3);
    fake_end(&net);
}

static void test_hello_says_who_it_is(void **state)
{
    struct fake_net net;

    (void)state;
    fake_init(&net, 1);
    fake_turn(&net);
    fake_open_link(&net, fake_control(&net));
    struct fake_sent *sent = &fake_control(&net)->sent[0];
    Pmd__Hello *first = hello_of(sent);
    assert_int_equal(sent->request, 1);
    assert_int_equal(first->role, PMD__ROLE__ROLE_WORKER);
    assert_int_equal(first->channel, PMD__CHANNEL__CHANNEL_CONTROL);
    assert_int_equal(first->rank_plus_1, 0);
    assert_int_equal(first->incarnation, 0);
    assert_int_equal(first->connection, 1);
    assert_true(first->process != 0);
    fake_greet(&net, fake_control(&net), 0, 0);
    fake_members(&net, 1);
    fake_turn(&net);
    fake_open_link(&net, fake_bulk(&net, 0));
    Pmd__Hello *second = hello_of(&fake_bulk(&net, 0)->sent[0]);
    assert_int_equal(second->channel, PMD__CHANNEL__CHANNEL_BULK);
    assert_int_equal(second->rank_plus_1, 1);
    assert_int_equal(second->incarnation, 7);
    assert_int_equal(second->connection, 2);
    assert_int_equal(second->process, first->process);
    pmd__hello__free_unpacked(first, NULL);
    pmd__hello__free_unpacked(second, NULL);
    fake_end(&net);
}

static void test_reconnect_raises_the_connection_number(void **state)
{
    struct fake_net net;

    (void)state;
    fake_form(&net, 1);
    fake_break(&net, fake_bulk(&net, 0));
    assert_false(core_formed(net.core));
    fake_reconnect(&net, 0);
    assert_true(core_formed(net.core));
    Pmd__Hello *hello = hello_of(&fake_bulk(&net, 0)->sent[0]);
    assert_int_equal(hello->connection, 3);
    pmd__hello__free_unpacked(hello, NULL);
    fake_end(&net);
}

/* The pauses between tries grow from 25-50 ms to 0.5-1 s. */
static void test_tries_again_with_growing_pauses(void **state)
{
    struct fake_net net;
    uint64_t previous = 0;

    (void)state;
    fake_init(&net, 1);
    for (int i = 0; i < 10; i++) {
        fake_turn(&net);
        fake_break(&net, net.links[net.link_count - 1]);
        uint64_t pause = fake_turn(&net) - net.now_ns;
        uint64_t longest = (uint64_t)50000000 << (i < 5 ? i : 5);
        longest = longest < 1000000000 ? longest : 1000000000;
        assert_in_range(pause, longest / 2, longest);
        assert_true(pause > previous / 4);
        previous = pause;
        net.now_ns += pause;
    }
    fake_end(&net);
}

static void test_heartbeats_on_control_when_idle(void **state)
{
    struct fake_net net;

    (void)state;
    fake_form(&net, 1);
    while (!fake_idle(fake_control(&net)))
        fake_control(&net)->read_count++;
    net.now_ns += 499000000;
    fake_turn(&net);
    assert_true(fake_idle(fake_control(&net)));
    net.now_ns += 1000000;
    fake_turn(&net);
    fake_next(fake_control(&net), FRAME_HEARTBEAT);
    fake_end(&net);
}

static void test_silent_coordinator_is_dropped_then_given_up(void **state)
{
    struct fake_net net;
    struct error why;
    int exit_code;

    (void)state;
    fake_form(&net, 1);
    struct fake_link *control = fake_control(&net);
    for (int i = 0; i < 20; i++) {
        net.now_ns += 499000000;
        fake_turn(&net);
    }
    assert_false(control->closing);
    net.now_ns += 100000000;
    fake_turn(&net);
    assert_true(control->closing);
    assert_false(core_ended(net.core, NULL, NULL));
    fake_settle(&net);
    for (int i = 0; i < 6; i++) {
        net.now_ns += 600000000;
        fake_turn(&net);
    }
    assert_true(core_ended(net.core, &why, &exit_code));
    assert_int_equal(why.status, STATUS_UNAVAILABLE);
    assert_int_equal(exit_code, EXIT_CODE_PEER_LOST);
    assert_non_null(strstr(why.message, "127.0.0.1:7000"));
    fake_end(&net);
}

/* A process that was stopped for a minute finds its coordinator again before it gives up. */
static void test_a_long_pause_of_our_own_is_survived(void **state)
{
    struct fake_net net;

    (void)state;
    fake_form(&net, 1);
    net.now_ns += 60000000000;
    fake_turn(&net);
    fake_settle(&net);
    net.now_ns += 60000000;
    fake_turn(&net);
    assert_false(core_ended(net.core, NULL, NULL));
    fake_open_link(&net, fake_control(&net));
    fake_greet(&net, fake_control(&net), 0, 0);
    net.now_ns += 3000000000;
    fake_turn(&net);
    assert_false(core_ended(net.core, NULL, NULL));
    fake_end(&net);
}

static void refuse_hello(struct fake_net *net, enum status status, const char *message)
{
    Pmd__Failure failure = PMD__FAILURE__INIT;

    fake_init(net, 1);
    fake_turn(net);
    fake_open_link(net, fake_control(net));
    failure.status = status;
    failure.message = (char *)message;
    fake_tell(net, fake_control(net), FRAME_FAILURE, &failure.base, 1, NULL, 0);
}

static void test_refused_hello_ends_the_client(void **state)
{
    struct fake_net net;
    struct error why;
    int exit_code;

    (void)state;
    refuse_hello(&net, STATUS_FAILED_PRECONDITION, "client speaks 0.1, server 0.2");
    assert_true(core_ended(net.core, &why, &exit_code));
    assert_int_equal(why.status, STATUS_FAILED_PRECONDITION);
    assert_int_equal(exit_code, EXIT_CODE_WRONG_USE);
    assert_non_null(strstr(why.message, "client speaks 0.1, server 0.2"));
    assert_true(fake_control(&net)->closing);
    fake_end(&net);
}

static void test_hello_refused_for_now_is_tried_again(void **state)
{
    struct fake_net net;

    (void)state;
    refuse_hello(&net, STATUS_UNAVAILABLE, "not yet");
    assert_false(core_ended(net.core, NULL, NULL));
    fake_settle(&net);
    net.now_ns += 1000000000;
    fake_turn(&net);
    assert_int_equal(net.link_count, 2);
    fake_end(&net);
}

static void test_unanswered_hello_is_given_up(void **state)
{
    struct fake_net net;

    (void)state;
    fake_init(&net, 1);
    fake_turn(&net);
    fake_open_link(&net, fake_control(&net));
    net.now_ns += 5000000000;
    fake_turn(&net);
    assert_true(net.links[0]->closing);
    fake_end(&net);
}

static void test_end_fails_everything_with_its_exit_code(void **state)
{
    struct fake_net net;
    Pmd__End end = PMD__END__INIT;
    ps_handle handle;
    enum status status;
    struct error why;
    int exit_code;

    (void)state;
    fake_form(&net, 2);
    assert_int_equal(core_start(net.core, &handle, NULL), STATUS_OK);
    assert_false(core_ready(net.core, handle));
    end.status = STATUS_ABORTED;
    end.message = (char *)"fenced: rank 0 is held by a newer process";
    end.exit_code = EXIT_CODE_FENCED;
    fake_tell(&net, fake_control(&net), FRAME_END, &end.base, 0, NULL, 0);
    assert_true(core_done(net.core, handle, &status, NULL, &why));
    assert_int_equal(status, STATUS_ABORTED);
    assert_string_equal(why.message, end.message);
    assert_true(core_ended(net.core, NULL, &exit_code));
    assert_int_equal(exit_code, EXIT_CODE_FENCED);
    assert_int_equal(core_start(net.core, &handle, &why), STATUS_ABORTED);
    for (size_t i = 0; i < net.link_count; i++)
        assert_true(net.links[i]->closing);
    fake_end(&net);
}

/* Numbers that are none and a missing message: still an error that a person can read, and a code
 * that no shell takes for success. */
static void test_end_without_sense_is_still_an_error(void **state)
{
    struct fake_net net;
    Pmd__End end = PMD__END__INIT;
    struct error why;
    int exit_code;

    (void)state;
    fake_form(&net, 1);
    end.status = 99;
    end.exit_code = 256;
    fake_tell(&net, fake_control(&net), FRAME_END, &end.base, 0, NULL, 0);
    assert_true(core_ended(net.core, &why, &exit_code));
    assert_int_equal(why.status, STATUS_UNKNOWN);
    assert_string_equal(why.message, "the coordinator ended the job and did not say why");
    assert_int_equal(exit_code, EXIT_CODE_FAILED);
    fake_end(&net);
}

static void test_failure_of_the_connection_ends_the_client(void **state)
{
    struct fake_net net;
    Pmd__Failure failure = PMD__FAILURE__INIT;
    struct error why;

    (void)state;
    fake_form(&net, 1);
    failure.status = STATUS_INVALID_ARGUMENT;
    failure.message = (char *)"PUSH of variable 9: there are 3";
    fake_tell(&net, fake_bulk(&net, 0), FRAME_FAILURE, &failure.base, 0, NULL, 0);
    assert_true(core_ended(net.core, &why, NULL));
    assert_string_equal(why.message, "server 0 (127.0.0.1:7000): PUSH of variable 9: there are 3");
    fake_end(&net);
}

static void test_requests_are_asked_again_on_a_new_link(void **state)
{
    struct fake_net net;
    ps_handle create, start;
    struct core_result result = {0};
    struct ps_variable variable = {.name = "w"};
    Pmd__CreateReply reply = PMD__CREATE_REPLY__INIT;
    enum status status;

    (void)state;
    fake_form(&net, 1);
    assert_int_equal(core_create(net.core, &variable, &create, NULL), STATUS_OK);
    assert_int_equal(core_start(net.core, &start, NULL), STATUS_OK);
    uint64_t create_number = fake_next(fake_control(&net), FRAME_CREATE)->request;
    uint64_t start_number = fake_next(fake_control(&net), FRAME_START)->request;
    fake_break(&net, fake_control(&net));
    net.now_ns += 1000000000;
    fake_turn(&net);
    fake_open_link(&net, fake_control(&net));
    fake_greet(&net, fake_control(&net), 0, 0);
    assert_int_equal(fake_next(fake_control(&net), FRAME_CREATE)->request, create_number);
    assert_int_equal(fake_next(fake_control(&net), FRAME_START)->request, start_number);
    reply.variable = 5;
    fake_tell(&net, fake_control(&net), FRAME_CREATE_REPLY, &reply.base, create_number, NULL, 0);
    assert_true(core_done(net.core, create, &status, &result, NULL));
    assert_int_equal(result.variable, 5);
    fake_tell(&net, fake_control(&net), FRAME_CREATE_REPLY, &reply.base, create_number, NULL, 0);
    assert_false(core_ready(net.core, start));
    fake_end(&net);
}

static void test_failed_request_names_what_was_asked(void **state)
{
    struct fake_net net;
    ps_handle create;
    struct ps_variable variable = {.name = "dense/kernel"};
    Pmd__Failure failure = PMD__FAILURE__INIT;
    enum status status;
    struct error why;

    (void)state;
    fake_form(&net, 1);
    assert_int_equal(core_create(net.core, &variable, &create, NULL), STATUS_OK);
    failure.status = STATUS_ALREADY_EXISTS;
    failure.message = (char *)"it is float64";
    fake_tell(&net, fake_control(&net), FRAME_FAILURE, &failure.base,
              fake_next(fake_control(&net), FRAME_CREATE)->request, NULL, 0);
    assert_true(core_done(net.core, create, &status, NULL, &why));
    assert_int_equal(status, STATUS_ALREADY_EXISTS);
    assert_string_equal(why.message, "create 'dense/kernel': it is float64");
    assert_false(core_ended(net.core, NULL, NULL));
    fake_end(&net);
}

static void test_bad_specs_are_refused_here(void **state)
{
    struct fake_net net;
    ps_handle handle;
    struct error why;
    uint64_t zero = 0;

    (void)state;
    fake_form(&net, 1);
    assert_int_equal(core_create(net.core, &(struct ps_variable){.name = "a b"}, &handle, &why),
                     STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(why.message, "'a b'"));
    assert_int_equal(core_create(net.core,
                                 &(struct ps_variable){.name = "w", .shape = &zero, .rank = 1},
                                 &handle, &why),
                     STATUS_INVALID_ARGUMENT);
    assert_int_equal(
        core_create(net.core, &(struct ps_variable){.name = "w", .dtype = PS_INT64}, &handle, &why),
        STATUS_INVALID_ARGUMENT);
    assert_int_equal(core_barrier(net.core, "", NULL, 0, &handle, &why), STATUS_INVALID_ARGUMENT);
    fake_end(&net);
}

static void test_frames_that_do_not_belong_are_refused(void **state)
{
    struct fake_net net;
    static struct link_incoming incoming;
    struct error err;
    Pmd__PushAck ack = PMD__PUSH_ACK__INIT;

    (void)state;
    fake_form(&net, 1);
    assert_int_equal(
        fake_head(&net, fake_control(&net), FRAME_PUSH_ACK, &ack.base, 0, 0, &incoming, &err),
        LINK_REFUSE);
    assert_int_equal(
        fake_head(&net, fake_bulk(&net, 0), FRAME_PUSH_ACK, &ack.base, 0, 8, &incoming, &err),
        LINK_REFUSE);
    fake_end(&net);
}

/* A page that comes later, or again, changes nothing, whatever is in it. */
static void test_a_closed_registry_does_not_grow(void **state)
{
    struct fake_net net;
    const struct fake_variable variable = {.name = "w", .rows = 4};
    Pmd__VariableSpec spec = PMD__VARIABLE_SPEC__INIT;
    Pmd__VariableSpec *pointer = &spec;
    Pmd__Registry page = PMD__REGISTRY__INIT;
    ps_handle handle;
    enum status status;
    static const float values[4];

    (void)state;
    fake_form(&net, 1);
    fake_start(&net, &variable, 1, true);
    spec.name = (char *)"more";
    spec.dtype = PMD__DATA_TYPE__DATA_TYPE_FLOAT32;
    page.first = 1;
    page.total = 2;
    page.servers = 1;
    page.n_variables = 1;
    page.variables = &pointer;
    fake_tell(&net, fake_control(&net), FRAME_REGISTRY, &page.base, 99, NULL, 0);
    assert_int_equal(core_registry(net.core)->variable_count, 1);
    assert_int_equal(core_step_begin(net.core, 1, 1, NULL), STATUS_OK);
    assert_int_equal(core_push(net.core, 1, values, PS_ADD, NULL, NULL), STATUS_NOT_FOUND);
    assert_int_equal(core_start(net.core, &handle, NULL), STATUS_OK);
    page.first = 0;
    uint64_t request = fake_next(fake_control(&net), FRAME_START)->request;
    fake_tell(&net, fake_control(&net), FRAME_REGISTRY, &page.base, request, NULL, 0);
    assert_true(core_done(net.core, handle, &status, NULL, NULL));
    assert_int_equal(status, STATUS_OK);
    fake_end(&net);
}

/* Names of metrics are kept until the end, so there is a bound on how many a peer can send. */
static void test_names_of_metrics_are_bounded(void **state)
{
    struct fake_net net;
    const struct fake_variable variable = {.name = "w", .rows = 4};
    Pmd__Commit commit = PMD__COMMIT__INIT;
    Pmd__Metric metrics[LIMIT_METRICS];
    Pmd__Metric *pointers[LIMIT_METRICS];
    char names[LIMIT_METRICS][32];
    const struct ps_metric own = {.name = "own"};
    struct error err;
    size_t count;

    (void)state;
    fake_form(&net, 1);
    fake_start(&net, &variable, 1, true);
    assert_int_equal(core_step_begin(net.core, 1, 1, NULL), STATUS_OK);
    commit.n_totals = LIMIT_METRICS;
    commit.totals = pointers;
    for (uint64_t step = 1; step <= 5000 / LIMIT_METRICS; step++) {
        for (size_t i = 0; i < LIMIT_METRICS; i++) {
            pmd__metric__init(&metrics[i]);
            snprintf(names[i], sizeof names[i], "m%llu-%zu", (unsigned long long)step, i);
            metrics[i].name = names[i];
            pointers[i] = &metrics[i];
        }
        commit.step = step;
        fake_tell(&net, fake_control(&net), FRAME_COMMIT, &commit.base, 0, NULL, 0);
        assert_int_equal(core_totals(net.core, step, NULL, NULL, 0, &count, &err), STATUS_OK);
        assert_int_equal(count, step <= 4096 / LIMIT_METRICS ? LIMIT_METRICS : 0);
    }
    assert_int_equal(core_step_end(net.core, &own, 1, false, &err), STATUS_RESOURCE_EXHAUSTED);
    assert_string_equal(err.message, "end of step 1: metric 'own': a client knows at most 4096 "
                                     "different names of metrics");
    fake_end(&net);
}

static void test_close_lets_every_link_go(void **state)
{
    struct fake_net net;

    (void)state;
    fake_form(&net, 2);
    core_close(net.core);
    assert_false(core_closed(net.core));
    fake_settle(&net);
    assert_true(core_closed(net.core));
    fake_end(&net);
}

static void keep_notice(void *user, const char *line)
{
    struct fake_net *net = user;

    snprintf(net->notice, sizeof net->notice, "%s", line);
}

static void test_says_whom_it_waits_for_after_a_second(void **state)
{
    struct fake_net net = {.servers = 2, .workers = 2, .now_ns = 1};
    struct link_io io = fake_io(&net);
    struct core_options options = {
        .coordinator = "127.0.0.1:7000", .on_notice = keep_notice, .user = &net};

    (void)state;
    assert_int_equal(core_new(&options, &io, &net.core, NULL), STATUS_OK);
    net.engine = core_engine(net.core);
    fake_turn(&net);
    assert_string_equal(net.notice, "");
    net.now_ns += 1000000000;
    fake_turn(&net);
    assert_string_equal(net.notice, "waiting for the coordinator 127.0.0.1:7000: no answer yet");
    fake_open_link(&net, fake_control(&net));
    fake_greet(&net, fake_control(&net), 0, 0);
    fake_members(&net, 1);
    fake_turn(&net);
    assert_string_equal(net.notice, "waiting for 1 of 2 servers");
    fake_end(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_joins_control_first_then_every_server),
        cmocka_unit_test(test_servers_are_connected_only_when_all_are_there),
        cmocka_unit_test(test_hello_says_who_it_is),
        cmocka_unit_test(test_reconnect_raises_the_connection_number),
        cmocka_unit_test(test_tries_again_with_growing_pauses),
        cmocka_unit_test(test_heartbeats_on_control_when_idle),
        cmocka_unit_test(test_silent_coordinator_is_dropped_then_given_up),
        cmocka_unit_test(test_a_long_pause_of_our_own_is_survived),
        cmocka_unit_test(test_refused_hello_ends_the_client),
        cmocka_unit_test(test_hello_refused_for_now_is_tried_again),
        cmocka_unit_test(test_unanswered_hello_is_given_up),
        cmocka_unit_test(test_end_fails_everything_with_its_exit_code),
        cmocka_unit_test(test_end_without_sense_is_still_an_error),
        cmocka_unit_test(test_failure_of_the_connection_ends_the_client),
        cmocka_unit_test(test_requests_are_asked_again_on_a_new_link),
        cmocka_unit_test(test_failed_request_names_what_was_asked),
        cmocka_unit_test(test_bad_specs_are_refused_here),
        cmocka_unit_test(test_frames_that_do_not_belong_are_refused),
        cmocka_unit_test(test_a_closed_registry_does_not_grow),
        cmocka_unit_test(test_names_of_metrics_are_bounded),
        cmocka_unit_test(test_close_lets_every_link_go),
        cmocka_unit_test(test_says_whom_it_waits_for_after_a_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
