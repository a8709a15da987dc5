/* Ranks, incarnations, servers: hello, loss and return. */
#include "common/base/alloc.h"

#include "tests/lib/fail_alloc.h"
#include "tests/unit/server/cluster/cluster_test.h"

static struct cluster cluster;

static int teardown(void **state)
{
    (void)state;
    cluster_release(&cluster);
    return 0;
}

static uint32_t rank_given(struct fake_link *link)
{
    return HEARD(link, HelloReply, HELLO_REPLY)->rank;
}

static void test_lowest_free_rank(void **state)
{
    (void)state;
    cluster_init(&cluster, 3, 1);
    Pmd__Hello hello = worker_hello(2, 11, 1);
    assert_int_equal(rank_given(say_hello(&cluster, &hello)), 1); /* as asked */
    for (uint32_t i = 0; i < 2; i++) {
        hello = worker_hello(0, 20 + i, 1);
        assert_int_equal(rank_given(say_hello(&cluster, &hello)), i * 2);
    }
    hello = worker_hello(0, 30, 1);
    struct fake_link *late = say_hello(&cluster, &hello);
    assert_failure(late, STATUS_RESOURCE_EXHAUSTED, "all 3 ranks are taken");
    assert_true(late->closed);
}

static void test_rank_out_of_range(void **state)
{
    (void)state;
    cluster_init(&cluster, 2, 1);
    Pmd__Hello hello = worker_hello(2, 11, 1);
    assert_int_equal(rank_given(say_hello(&cluster, &hello)), 1);
    hello = worker_hello(3, 12, 1);
    assert_failure(say_hello(&cluster, &hello), STATUS_INVALID_ARGUMENT,
                   "rank 2: this job has ranks 0 to 1");
    hello.rank_plus_1 = UINT32_MAX;
    assert_failure(say_hello(&cluster, &hello), STATUS_INVALID_ARGUMENT, "ranks 0 to 1");
}

static void test_lost_rank_is_free_again_after_those_nobody_had(void **state)
{
    (void)state;
    cluster_init(&cluster, 3, 1);
    join_worker(&cluster, 0);
    join_worker(&cluster, 1);
    fake_link_break(cluster.worker[0]);
    Pmd__Hello hello = worker_hello(0, 20, 1);
    assert_int_equal(rank_given(say_hello(&cluster, &hello)), 2);
    hello = worker_hello(0, 21, 1);
    struct fake_link *again = say_hello(&cluster, &hello);
    const Pmd__HelloReply *reply = HEARD(again, HelloReply, HELLO_REPLY);
    assert_int_equal(reply->rank, 0);
    assert_int_equal(reply->incarnation, 2);
}

static void test_same_process_keeps_its_incarnation(void **state)
{
    (void)state;
    cluster_init(&cluster, 2, 1);
    join_worker(&cluster, 1);
    assert_int_equal(HEARD(cluster.worker[1], HelloReply, HELLO_REPLY)->incarnation, 1);
    Pmd__Hello hello = worker_hello(2, 1001, 2);
    hello.incarnation = 1;
    struct fake_link *newer = say_hello(&cluster, &hello);
    const Pmd__HelloReply *reply = HEARD(newer, HelloReply, HELLO_REPLY);
    assert_int_equal(reply->rank, 1);
    assert_int_equal(reply->incarnation, 1);
    assert_true(cluster.worker[1]->closed);
    assert_false(newer->closed);
    /* It finds its rank again without naming it. */
    hello = worker_hello(0, 1001, 3);
    assert_int_equal(rank_given(say_hello(&cluster, &hello)), 1);
}

static void test_lower_connection_of_a_process_is_refused(void **state)
{
    (void)state;
    cluster_init(&cluster, 2, 1);
    Pmd__Hello hello = worker_hello(1, 11, 5);
    struct fake_link *first = say_hello(&cluster, &hello);
    for (uint64_t connection = 4; connection <= 5; connection++) {
        hello = worker_hello(1, 11, connection);
        struct fake_link *older = say_hello(&cluster, &hello);
        assert_failure(older, STATUS_ABORTED, "newer connection of this process");
        assert_true(older->closed);
    }
    assert_false(first->closed);
}

static void test_another_process_fences_the_holder(void **state)
{
    (void)state;
    cluster_init(&cluster, 2, 1);
    join_worker(&cluster, 1);
    Pmd__Hello hello = worker_hello(2, 77, 1);
    hello.program = "newer, pid 77";
    struct fake_link *newer = say_hello(&cluster, &hello);
    assert_end(cluster.worker[1], EXIT_CODE_FENCED,
               "rank 1 is held by a newer process (newer, pid 77)");
    assert_true(cluster.worker[1]->closed);
    assert_int_equal(HEARD(newer, HelloReply, HELLO_REPLY)->incarnation, 2);
    /* The older one comes again, as what it was. */
    hello = worker_hello(2, 1001, 2);
    hello.incarnation = 1;
    struct fake_link *older = say_hello(&cluster, &hello);
    assert_end(older, EXIT_CODE_FENCED, "fenced: rank 1");
    assert_true(older->closed);
    assert_false(newer->closed);
}

static void test_hello_says_where_the_job_is(void **state)
{
    (void)state;
    train(&cluster, 2, 2);
    run_step(&cluster, 1);
    run_step(&cluster, 2);
    run_step(&cluster, 3);
    Pmd__Hello hello = worker_hello(1, 1000, 2);
    const Pmd__HelloReply *reply = HEARD(say_hello(&cluster, &hello), HelloReply, HELLO_REPLY);
    assert_string_equal(reply->job, "job");
    assert_int_equal(reply->workers, 2);
    assert_int_equal(reply->servers, 2);
    assert_int_equal(reply->committed_plus_1, 4);
    assert_int_equal(reply->grant, 5);
    assert_int_equal(reply->n_recent, 2);
    assert_int_equal(reply->recent[0]->step, 2);
    assert_int_equal(reply->recent[1]->step, 3);
    assert_true(reply->recent[1]->totals[0]->sum == 2);
    assert_true(reply->recent[1]->running[0]->sum == 6);
    assert_false(reply->finished);
}

static void test_servers_take_places(void **state)
{
    (void)state;
    cluster_init(&cluster, 1, 3);
    join_server(&cluster, 1);
    join_server(&cluster, 2);
    assert_int_equal(HEARD(cluster.server[1], HelloReply, HELLO_REPLY)->server, 1);
    assert_int_equal(HEARD(cluster.server[2], HelloReply, HELLO_REPLY)->server, 2);
    Pmd__Hello hello = server_hello("h9:7070", 99, 1);
    assert_failure(say_hello(&cluster, &hello), STATUS_RESOURCE_EXHAUSTED,
                   "all 3 servers of this job are there");
    hello.address = "";
    assert_failure(say_hello(&cluster, &hello), STATUS_INVALID_ARGUMENT, "where it is reached");
}

static void test_server_comes_back_to_its_place(void **state)
{
    (void)state;
    train(&cluster, 1, 3);
    fake_link_break(cluster.server[1]);
    Pmd__Hello hello = server_hello("h9:7070", 99, 1);
    assert_failure(say_hello(&cluster, &hello), STATUS_RESOURCE_EXHAUSTED,
                   "a lost one cannot be replaced");
    hello = server_hello("h1:7070", 2001, 1);
    assert_failure(say_hello(&cluster, &hello), STATUS_ABORTED, "server 1 has a newer connection");
    hello.connection = 2;
    struct fake_link *back = say_hello(&cluster, &hello);
    assert_int_equal(HEARD(back, HelloReply, HELLO_REPLY)->server, 1);
    assert_int_equal(HEARD(back, Registry, REGISTRY)->total, 1);
}

/* Before the registry is closed a place holds nothing: another process may have it, and gets the
 * log from its start. */
static void test_place_of_a_server_is_free_until_the_start(void **state)
{
    Pmd__Finish finish = PMD__FINISH__INIT;

    (void)state;
    cluster_init(&cluster, 2, 2);
    join_all(&cluster);
    say(&cluster, cluster.worker[1], FRAME_FINISH, &finish);
    Pmd__LogAck ack = PMD__LOG_ACK__INIT;
    ack.index = HEARD(cluster.server[1], LogEntry, LOG_ENTRY)->index;
    say(&cluster, cluster.server[1], FRAME_LOG_ACK, &ack);
    fake_link_break(cluster.server[1]);
    Pmd__Hello hello = server_hello("h9:7070", 99, 1);
    struct fake_link *other = say_hello(&cluster, &hello);
    assert_int_equal(HEARD(other, HelloReply, HELLO_REPLY)->server, 1);
    assert_int_equal(HEARD(other, LogEntry, LOG_ENTRY)->index, 1);
}

static void test_members_are_told_at_each_change(void **state)
{
    (void)state;
    cluster_init(&cluster, 2, 2);
    join_worker(&cluster, 0);
    const Pmd__Members *members = HEARD(cluster.worker[0], Members, MEMBERS);
    assert_int_equal(members->servers_present, 1);
    assert_int_equal(members->workers_present, 1);
    assert_int_equal(members->servers, 2);
    assert_int_equal(members->workers, 2);
    assert_int_equal(members->n_server_address, 0); /* not all are known */
    join_server(&cluster, 1);
    members = HEARD(cluster.worker[0], Members, MEMBERS);
    assert_int_equal(members->n_server_address, 2);
    assert_string_equal(members->server_address[0], "h0:7070");
    assert_string_equal(members->server_address[1], "h1:7070");
    fake_link_break(cluster.server[1]);
    fake_net_run(&cluster.net);
    assert_int_equal(HEARD(cluster.worker[0], Members, MEMBERS)->servers_present, 1);
}

static void test_reader_is_told_but_counts_for_nothing(void **state)
{
    (void)state;
    cluster_init(&cluster, 1, 1);
    struct fake_link *reader = join_reader(&cluster);
    assert_int_equal(HEARD(reader, HelloReply, HELLO_REPLY)->workers, 1);
    assert_int_equal(HEARD(reader, Members, MEMBERS)->workers_present, 0);
}

static void test_readers_are_bounded(void **state)
{
    struct fake_link *first = NULL;

    (void)state;
    cluster_init(&cluster, 1, 1);
    for (int i = 0; i < LIMIT_READERS; i++) {
        struct fake_link *reader = join_reader(&cluster);
        assert_false(reader->closed);
        first = first ? first : reader;
    }
    assert_failure(join_reader(&cluster), STATUS_RESOURCE_EXHAUSTED, "64 readers are connected");
    fake_link_break(first);
    assert_false(join_reader(&cluster)->closed);
}

static void test_unknown_role(void **state)
{
    Pmd__Hello hello = worker_hello(0, 1, 1);

    (void)state;
    cluster_init(&cluster, 1, 1);
    hello.role = (Pmd__Role)77;
    assert_failure(say_hello(&cluster, &hello), STATUS_INVALID_ARGUMENT, "role 77");
}

/* Heartbeats of the peers, for so long. */
static void live(uint64_t ms)
{
    for (uint64_t at = 0; at < ms; at += HEARTBEAT_MS) {
        for (uint32_t i = 0; i < CLUSTER_RANKS_MAX; i++) {
            if (cluster.worker[i] && !cluster.worker[i]->closed)
                say(&cluster, cluster.worker[i], FRAME_HEARTBEAT, NULL);
        }
        for (uint32_t i = 1; i < CLUSTER_SERVERS_MAX; i++) {
            if (cluster.server[i] && !cluster.server[i]->closed)
                say(&cluster, cluster.server[i], FRAME_HEARTBEAT, NULL);
        }
        fake_net_advance(&cluster.net, ms - at < HEARTBEAT_MS ? ms - at : HEARTBEAT_MS);
    }
}

static void test_cluster_that_is_not_complete_in_time(void **state)
{
    (void)state;
    cluster_init(&cluster, 1, 2);
    join_worker(&cluster, 0);
    live(JOIN_MS - 1);
    assert_int_equal(cluster.coordinator.state, JOB_FORMING);
    assert_string_equal(cluster.notice, "waiting for 1 of 2 servers");
    assert_true(cluster.notices >= 5 && cluster.notices <= 9);
    live(1);
    assert_int_equal(cluster.coordinator.state, JOB_ENDED);
    assert_end(cluster.worker[0], EXIT_CODE_NOT_FORMED,
               "not complete after 15.0 s: waiting for 1 of 2 servers");
}

static void test_missing_workers_are_counted_too(void **state)
{
    (void)state;
    cluster_init(&cluster, 3, 2);
    join_worker(&cluster, 1);
    char text[200];
    coordinator_waiting_for(&cluster.coordinator, text, sizeof text);
    assert_string_equal(text, "waiting for 1 of 2 servers and 2 of 3 workers");
    join_server(&cluster, 1);
    coordinator_waiting_for(&cluster.coordinator, text, sizeof text);
    assert_string_equal(text, "waiting for 2 of 3 workers");
    live(JOIN_MS);
    assert_int_equal(cluster.coordinator.end_code, EXIT_CODE_NOT_FORMED);
}

static void test_complete_cluster_has_no_deadline(void **state)
{
    (void)state;
    cluster_init(&cluster, 1, 1);
    join_worker(&cluster, 0);
    live(2 * JOIN_MS);
    assert_int_equal(cluster.coordinator.state, JOB_CREATING);
}

static void test_lost_worker_is_waited_for(void **state)
{
    (void)state;
    train(&cluster, 2, 1);
    run_step(&cluster, 1);
    fake_link_break(cluster.worker[1]);
    live(RESTART_MS - 1);
    assert_int_equal(cluster.coordinator.state, JOB_TRAINING);
    live(1);
    assert_int_equal(cluster.coordinator.end_code, EXIT_CODE_PEER_LOST);
    assert_end(cluster.worker[0], EXIT_CODE_PEER_LOST,
               "worker 1 (test, pid 1) was lost and did not come back in 60.0 s; the last "
               "committed step is 1");
}

static void test_worker_that_comes_back_in_time_goes_on(void **state)
{
    (void)state;
    train(&cluster, 2, 1);
    fake_link_break(cluster.worker[1]);
    live(RESTART_MS - 1);
    Pmd__Hello hello = worker_hello(2, 77, 1);
    cluster.worker[1] = say_hello(&cluster, &hello);
    live(RESTART_MS);
    assert_int_equal(cluster.coordinator.state, JOB_TRAINING);
    run_step(&cluster, 1);
}

static void test_finished_worker_may_leave(void **state)
{
    Pmd__Finish finish = PMD__FINISH__INIT;

    (void)state;
    train(&cluster, 2, 1);
    say(&cluster, cluster.worker[1], FRAME_FINISH, &finish);
    fake_link_break(cluster.worker[1]);
    live(2 * RESTART_MS);
    assert_int_equal(cluster.coordinator.state, JOB_TRAINING);
}

static void test_lost_server_ends_the_job(void **state)
{
    (void)state;
    train(&cluster, 1, 2);
    fake_link_break(cluster.server[1]);
    live(SERVER_LOST_MS - 1);
    assert_int_equal(cluster.coordinator.state, JOB_TRAINING);
    live(1);
    assert_end(cluster.worker[0], EXIT_CODE_PEER_LOST, "server 1 (h1:7070) was lost");
}

static void test_silent_peer_is_dropped(void **state)
{
    (void)state;
    train(&cluster, 2, 1);
    for (uint64_t at = 0; at < DEAD_MS; at += HEARTBEAT_MS) {
        say(&cluster, cluster.worker[0], FRAME_HEARTBEAT, NULL);
        fake_net_advance(&cluster.net, HEARTBEAT_MS);
    }
    assert_false(cluster.worker[1]->closed);
    say(&cluster, cluster.worker[0], FRAME_HEARTBEAT, NULL);
    fake_net_advance(&cluster.net, HEARTBEAT_MS);
    assert_true(cluster.worker[1]->closed);
    assert_non_null(strstr(cluster.worker[1]->why.message, "was silent for 10.5 s"));
    assert_false(cluster.worker[0]->closed);
}

static void test_heartbeats_go_to_all(void **state)
{
    (void)state;
    train(&cluster, 1, 2);
    struct fake_link *links[] = {cluster.worker[0], cluster.server[1], join_reader(&cluster)};
    fake_net_advance(&cluster.net, HEARTBEAT_MS); /* whatever is due now */
    for (size_t i = 0; i < 3; i++)
        fake_link_forget(links[i]);
    fake_net_advance(&cluster.net, 4 * HEARTBEAT_MS);
    for (size_t i = 0; i < 3; i++) {
        for (int beat = 0; beat < 4; beat++)
            assert_non_null(fake_link_find(links[i], FRAME_HEARTBEAT));
        assert_null(fake_link_find(links[i], FRAME_HEARTBEAT));
    }
}

static void test_hello_after_the_end(void **state)
{
    (void)state;
    cluster_init(&cluster, 1, 1);
    coordinator_end(&cluster.coordinator, STATUS_OK, EXIT_CODE_DONE, "shut down");
    coordinator_end(&cluster.coordinator, STATUS_ABORTED, EXIT_CODE_FAILED, "the first end counts");
    join_worker(&cluster, 0);
    assert_end(cluster.worker[0], EXIT_CODE_DONE, "shut down");
    assert_failure(cluster.worker[0], STATUS_FAILED_PRECONDITION, "the job has ended: shut down");
    assert_true(cluster.worker[0]->closed);
}

/* The rank stays as it was: its holder goes on, or comes again. */
static void test_no_memory_for_a_member(void **state)
{
    (void)state;
    cluster_init(&cluster, 2, 1);
    join_worker(&cluster, 0);
    for (int known = 0; known < 2; known++) {
        Pmd__Hello hello = worker_hello(2 - (uint32_t)known, 77, 1);
        alloc_fail_nth(1, false);
        struct fake_link *refused = say_hello(&cluster, &hello);
        alloc_fail_nth(0, false);
        assert_failure(refused, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    assert_false(cluster.worker[0]->closed);
    assert_false(cluster.coordinator.workers[1].known);
    live(HEARTBEAT_MS);
    assert_int_not_equal(cluster.coordinator.state, JOB_ENDED);
}

static enum status build(void *context)
{
    struct coordinator_settings settings = {.job = "job", .workers = 2, .servers = 2};
    struct coordinator_local local = {0};
    struct coordinator coordinator;
    struct error err;
    enum status status = coordinator_init(&coordinator, context, &settings, &local, "h0:7070",
                                          &err);

    if (!status)
        coordinator_release(&coordinator);
    return status;
}

static void test_no_memory_for_a_coordinator(void **state)
{
    (void)state;
    cluster_init(&cluster, 1, 1);
    assert_int_equal(fail_alloc_each(build, &cluster.net.io), 3);
}

#define ROSTER(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROSTER(test_lowest_free_rank),
        ROSTER(test_rank_out_of_range),
        ROSTER(test_lost_rank_is_free_again_after_those_nobody_had),
        ROSTER(test_same_process_keeps_its_incarnation),
        ROSTER(test_lower_connection_of_a_process_is_refused),
        ROSTER(test_another_process_fences_the_holder),
        ROSTER(test_hello_says_where_the_job_is),
        ROSTER(test_servers_take_places),
        ROSTER(test_server_comes_back_to_its_place),
        ROSTER(test_place_of_a_server_is_free_until_the_start),
        ROSTER(test_members_are_told_at_each_change),
        ROSTER(test_reader_is_told_but_counts_for_nothing),
        ROSTER(test_readers_are_bounded),
        ROSTER(test_unknown_role),
        ROSTER(test_cluster_that_is_not_complete_in_time),
        ROSTER(test_missing_workers_are_counted_too),
        ROSTER(test_complete_cluster_has_no_deadline),
        ROSTER(test_lost_worker_is_waited_for),
        ROSTER(test_worker_that_comes_back_in_time_goes_on),
        ROSTER(test_finished_worker_may_leave),
        ROSTER(test_lost_server_ends_the_job),
        ROSTER(test_silent_peer_is_dropped),
        ROSTER(test_heartbeats_go_to_all),
        ROSTER(test_hello_after_the_end),
        ROSTER(test_no_memory_for_a_member),
        ROSTER(test_no_memory_for_a_coordinator),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
