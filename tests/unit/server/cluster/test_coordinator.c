/* The registry and the start, settings, the end, and requests from those who may not make them. */
#include "tests/unit/server/cluster/cluster_test.h"

static struct cluster cluster;

static int teardown(void **state)
{
    (void)state;
    cluster_release(&cluster);
    return 0;
}

static void test_create_finds_an_equal_one(void **state)
{
    (void)state;
    cluster_init(&cluster, 2, 1);
    join_all(&cluster);
    say_create(&cluster, cluster.worker[0], "a", 10, true);
    say_create(&cluster, cluster.worker[0], "b", 10, true);
    say_create(&cluster, cluster.worker[1], "b", 10, true);
    assert_int_equal(HEARD(cluster.worker[0], CreateReply, CREATE_REPLY)->variable, 0);
    assert_int_equal(HEARD(cluster.worker[0], CreateReply, CREATE_REPLY)->variable, 1);
    assert_int_equal(HEARD(cluster.worker[1], CreateReply, CREATE_REPLY)->variable, 1);
}

static void test_create_of_another_spec_names_both(void **state)
{
    (void)state;
    cluster_init(&cluster, 2, 1);
    join_all(&cluster);
    say_create(&cluster, cluster.worker[0], "a", 10, true);
    say_create(&cluster, cluster.worker[1], "a", 11, true);
    assert_failure(cluster.worker[1], STATUS_ALREADY_EXISTS, "variable 'a' exists as float32 (10)");
    say_create(&cluster, cluster.worker[1], "a", 10, false);
    assert_failure(cluster.worker[1], STATUS_ALREADY_EXISTS, "asked for was float32 (10)");
    assert_false(cluster.worker[1]->closed); /* it may go on with another one */
    say_create(&cluster, cluster.worker[1], "", 10, false);
    assert_failure(cluster.worker[1], STATUS_INVALID_ARGUMENT, "variable name ''");
}

static void test_configure_names_the_setting_that_differs(void **state)
{
    (void)state;
    cluster_init(&cluster, 2, 1);
    join_all(&cluster);
    say_configure(&cluster, cluster.worker[0], "sgd", 0.1);
    say_configure(&cluster, cluster.worker[1], "sgd", 0.1);
    HEARD(cluster.worker[0], Done, DONE);
    HEARD(cluster.worker[1], Done, DONE);
    say_configure(&cluster, cluster.worker[1], "sgd", 0.25);
    assert_failure(cluster.worker[1], STATUS_FAILED_PRECONDITION,
                   "has learning_rate = 0.10000000000000001; asked for was 0.25");
    say_configure(&cluster, cluster.worker[1], "adam", 0.1);
    assert_failure(cluster.worker[1], STATUS_NOT_FOUND, "no optimizer is called 'adam'");
}

static void test_start_is_of_all_ranks(void **state)
{
    (void)state;
    cluster_init(&cluster, 2, 2);
    join_all(&cluster);
    say_create(&cluster, cluster.worker[0], "w", 10, true);
    say_configure(&cluster, cluster.worker[0], "sgd", 0.1);
    say_start(&cluster, cluster.worker[1]);
    uint64_t request = cluster.request;
    char text[200];
    coordinator_waiting_for(&cluster.coordinator, text, sizeof text);
    assert_string_equal(text, "worker 0 has not said that it has created all its variables");
    assert_heard_nothing(cluster.worker[1], FRAME_REGISTRY);
    assert_heard_nothing(cluster.server[1], FRAME_REGISTRY);
    say_start(&cluster, cluster.worker[0]);
    struct fake_heard *heard = fake_link_find(cluster.worker[1], FRAME_REGISTRY);
    assert_int_equal(heard->request, request);
    assert_int_equal(((const Pmd__Registry *)(void *)heard->message)->total, 1);
    assert_int_equal(HEARD(cluster.worker[0], Registry, REGISTRY)->servers, 2);
    assert_int_equal(HEARD(cluster.server[1], Registry, REGISTRY)->n_optimizers, 1);
    assert_int_equal(cluster.registry_variables, 1);
    say_start(&cluster, cluster.worker[0]); /* again, after a restart: at once */
    HEARD(cluster.worker[0], Registry, REGISTRY);
}

static void test_start_waits_for_all_servers(void **state)
{
    (void)state;
    cluster_init(&cluster, 1, 2);
    join_worker(&cluster, 0);
    say_create(&cluster, cluster.worker[0], "w", 10, false);
    say_start(&cluster, cluster.worker[0]);
    assert_false(cluster.coordinator.registry_closed);
    join_server(&cluster, 1);
    HEARD(cluster.worker[0], Registry, REGISTRY);
}

static void test_start_without_an_optimizer(void **state)
{
    (void)state;
    cluster_init(&cluster, 2, 1);
    join_all(&cluster);
    say_create(&cluster, cluster.worker[0], "w", 10, true);
    say_start(&cluster, cluster.worker[0]);
    say_start(&cluster, cluster.worker[1]);
    for (int rank = 0; rank < 2; rank++)
        assert_failure(cluster.worker[rank], STATUS_FAILED_PRECONDITION,
                       "variable 'w' is trained by optimizer 0, which no rank has configured");
    say_configure(&cluster, cluster.worker[0], "sgd", 0.1);
    say_start(&cluster, cluster.worker[0]);
    say_start(&cluster, cluster.worker[1]);
    HEARD(cluster.worker[1], Registry, REGISTRY);
}

static void test_start_without_variables(void **state)
{
    (void)state;
    cluster_init(&cluster, 1, 1);
    join_all(&cluster);
    say_start(&cluster, cluster.worker[0]);
    assert_failure(cluster.worker[0], STATUS_FAILED_PRECONDITION, "no rank has created a variable");
}

static void test_registry_is_closed_by_the_start(void **state)
{
    (void)state;
    train(&cluster, 1, 1);
    say_create(&cluster, cluster.worker[0], "w", 10, true);
    assert_int_equal(HEARD(cluster.worker[0], CreateReply, CREATE_REPLY)->variable, 0);
    say_create(&cluster, cluster.worker[0], "new", 10, true);
    assert_failure(cluster.worker[0], STATUS_FAILED_PRECONDITION,
                   "variable 'new' cannot be created any more");
    say_configure(&cluster, cluster.worker[0], "sgd", 0.1);
    HEARD(cluster.worker[0], Done, DONE);
}

/* More variables than fit one page: all of them come, under the same request. */
static void test_registry_in_pages(void **state)
{
    char name[16];
    uint32_t seen = 0;

    (void)state;
    cluster_init(&cluster, 1, 1);
    join_all(&cluster);
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "v%d", i);
        say_create(&cluster, cluster.worker[0], name, 1, false);
    }
    fake_link_forget(cluster.worker[0]);
    say_start(&cluster, cluster.worker[0]);
    while (seen < 300) {
        const Pmd__Registry *page = HEARD(cluster.worker[0], Registry, REGISTRY);
        assert_int_equal(page->first, seen);
        assert_int_equal(page->total, 300);
        seen += (uint32_t)page->n_variables;
    }
    assert_heard_nothing(cluster.worker[0], FRAME_REGISTRY);
}

static void say_set(struct fake_link *reader, const char *key, double value)
{
    Pmd__Set set = PMD__SET__INIT;

    set.key = (char *)key;
    set.value = value;
    say(&cluster, reader, FRAME_SET, &set);
}

static void test_learning_rate_is_set_from_the_second_next_step(void **state)
{
    (void)state;
    train(&cluster, 1, 2);
    run_step(&cluster, 1);
    struct fake_link *reader = join_reader(&cluster);
    say_set(reader, "learning-rate", 0.01);
    assert_int_equal(HEARD(reader, SetReply, SET_REPLY)->from_step, 3);
    const Pmd__LogEntry *entry = &cluster.log[cluster.log_count - 1];
    assert_int_equal(entry->kind, PMD__LOG_KIND__LOG_KIND_SET);
    assert_int_equal(entry->step, 3);
    assert_true(entry->learning_rate == (double)0.01f);
    for (int skip = 0; skip < 2; skip++)
        HEARD(cluster.server[1], LogEntry, LOG_ENTRY); /* the commits */
    assert_int_equal(HEARD(cluster.server[1], LogEntry, LOG_ENTRY)->kind,
                     PMD__LOG_KIND__LOG_KIND_SET);
}

static void test_what_cannot_be_set(void **state)
{
    (void)state;
    cluster_init(&cluster, 1, 1);
    struct fake_link *reader = join_reader(&cluster);
    say_set(reader, "learning-rate", 0.5);
    assert_failure(reader, STATUS_FAILED_PRECONDITION, "while the job trains");
    say_set(reader, "momentum", 0.5);
    assert_failure(reader, STATUS_INVALID_ARGUMENT, "'momentum' cannot be set");
    say_set(reader, "learning-rate", -0.5);
    assert_failure(reader, STATUS_INVALID_ARGUMENT, "a number from 0 up");
    say_set(reader, "learning-rate", 0.0 / 1e-300 + 1e308 * 10);
    assert_failure(reader, STATUS_INVALID_ARGUMENT, "a number from 0 up");
}

static void test_each_role_has_its_requests(void **state)
{
    Pmd__Shutdown shutdown = PMD__SHUTDOWN__INIT;
    Pmd__Start start = PMD__START__INIT;

    (void)state;
    train(&cluster, 1, 2);
    struct fake_link *reader = join_reader(&cluster);
    say(&cluster, cluster.worker[0], FRAME_SHUTDOWN, &shutdown);
    assert_failure(cluster.worker[0], STATUS_PERMISSION_DENIED, "a worker may not send SHUTDOWN");
    say(&cluster, reader, FRAME_START, &start);
    assert_failure(reader, STATUS_PERMISSION_DENIED, "a reader may not send START");
    say_step_end(&cluster, reader, 1, 0, false);
    assert_failure(reader, STATUS_PERMISSION_DENIED, "a reader may not send STEP_END");
    say(&cluster, cluster.server[1], FRAME_START, &start);
    assert_failure(cluster.server[1], STATUS_PERMISSION_DENIED, "a server may not send START");
    assert_true(cluster.server[1]->closed); /* a server that errs is of no use */
    assert_false(cluster.worker[0]->closed);
    assert_false(reader->closed);
}

static void test_list_and_status(void **state)
{
    Pmd__List list = PMD__LIST__INIT;
    Pmd__Status status = PMD__STATUS__INIT;

    (void)state;
    train(&cluster, 2, 2);
    run_step(&cluster, 1);
    fake_net_advance(&cluster.net, 1000);
    struct fake_link *reader = join_reader(&cluster);
    say(&cluster, reader, FRAME_LIST, &list);
    assert_string_equal(HEARD(reader, Registry, REGISTRY)->variables[0]->name, "w");
    fake_link_break(cluster.worker[1]);
    fake_net_advance(&cluster.net, 250);
    say(&cluster, reader, FRAME_STATUS, &status);
    const Pmd__StatusReply *reply = HEARD(reader, StatusReply, STATUS_REPLY);
    assert_string_equal(reply->state, "training");
    assert_int_equal(reply->committed_plus_1, 2);
    assert_int_equal(reply->variables, 1);
    assert_int_equal(reply->parameters, 10);
    assert_int_equal(reply->n_workers, 2);
    assert_string_equal(reply->workers[0]->state, "present");
    assert_string_equal(reply->workers[1]->state, "lost");
    assert_true(reply->workers[1]->silent_s == 0.25);
    assert_int_equal(reply->workers[0]->clock, 1);
    assert_int_equal(reply->n_servers, 2);
    assert_true(reply->servers[1]->present);
    assert_int_equal(reply->n_optimizers, 1);
    assert_non_null(strstr(reply->waiting_for, "waiting for 1 of 2 workers"));
    assert_true(reply->steps_per_s > 0);
}

static void test_status_says_who_is_awaited(void **state)
{
    char text[200];

    (void)state;
    train(&cluster, 2, 2);
    coordinator_waiting_for(&cluster.coordinator, text, sizeof text);
    assert_string_equal(text, "step 1 waits for worker 0");
    say_step_end(&cluster, cluster.worker[0], 1, 0, false);
    coordinator_waiting_for(&cluster.coordinator, text, sizeof text);
    assert_string_equal(text, "step 1 waits for worker 1");
    say_step_end(&cluster, cluster.worker[1], 1, 0, false);
    say_report(&cluster, 0, 1);
    coordinator_waiting_for(&cluster.coordinator, text, sizeof text);
    assert_string_equal(text, "step 1 waits for server 1");
}

static void test_shutdown_ends_the_job_for_all(void **state)
{
    Pmd__Shutdown shutdown = PMD__SHUTDOWN__INIT;
    Pmd__List list = PMD__LIST__INIT;

    (void)state;
    train(&cluster, 1, 2);
    run_step(&cluster, 1);
    struct fake_link *reader = join_reader(&cluster);
    say(&cluster, reader, FRAME_SHUTDOWN, &shutdown);
    HEARD(reader, Done, DONE);
    assert_end(cluster.worker[0], EXIT_CODE_DONE, "shut down by 127.0.0.1:5555");
    assert_end(cluster.server[1], EXIT_CODE_DONE, "shut down by");
    const Pmd__End *end = HEARD(reader, End, END);
    assert_int_equal(end->step, 1);
    assert_int_equal(end->status, STATUS_OK);
    say(&cluster, reader, FRAME_LIST, &list); /* nothing is answered any more */
    assert_heard_nothing(reader, FRAME_REGISTRY);
}

static void test_complaint_of_a_server_ends_the_job(void **state)
{
    Pmd__Complaint complaint = PMD__COMPLAINT__INIT;

    (void)state;
    train(&cluster, 1, 2);
    complaint.status = STATUS_FAILED_PRECONDITION;
    complaint.message = "variable 'w': rank 1 pushed it and rank 0 did not";
    say(&cluster, cluster.server[1], FRAME_COMPLAINT, &complaint);
    const Pmd__End *end = HEARD(cluster.worker[0], End, END);
    assert_int_equal(end->status, STATUS_FAILED_PRECONDITION);
    assert_int_equal(end->exit_code, EXIT_CODE_FAILED);
    assert_string_equal(end->message,
                        "server 1: variable 'w': rank 1 pushed it and rank 0 did not");
}

/* A link that takes no more frames is closed; the others go on. */
static void test_peer_that_does_not_read_is_dropped(void **state)
{
    (void)state;
    train(&cluster, 2, 1);
    cluster.worker[0]->full = true;
    say_create(&cluster, cluster.worker[0], "w", 10, true);
    assert_true(cluster.worker[0]->closed);
    assert_non_null(strstr(cluster.worker[0]->why.message, "could not be queued"));
    assert_false(cluster.worker[1]->closed);
}

#define COORDINATOR(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        COORDINATOR(test_create_finds_an_equal_one),
        COORDINATOR(test_create_of_another_spec_names_both),
        COORDINATOR(test_configure_names_the_setting_that_differs),
        COORDINATOR(test_start_is_of_all_ranks),
        COORDINATOR(test_start_waits_for_all_servers),
        COORDINATOR(test_start_without_an_optimizer),
        COORDINATOR(test_start_without_variables),
        COORDINATOR(test_registry_is_closed_by_the_start),
        COORDINATOR(test_registry_in_pages),
        COORDINATOR(test_learning_rate_is_set_from_the_second_next_step),
        COORDINATOR(test_what_cannot_be_set),
        COORDINATOR(test_each_role_has_its_requests),
        COORDINATOR(test_list_and_status),
        COORDINATOR(test_status_says_who_is_awaited),
        COORDINATOR(test_shutdown_ends_the_job_for_all),
        COORDINATOR(test_complaint_of_a_server_ends_the_job),
        COORDINATOR(test_peer_that_does_not_read_is_dropped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
