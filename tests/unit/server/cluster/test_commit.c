/* The step commit, totals, the servers' log, barriers and snapshots. */
#include "tests/unit/server/cluster/cluster_test.h"

static struct cluster cluster;

static int teardown(void **state)
{
    (void)state;
    cluster_release(&cluster);
    return 0;
}

static uint64_t committed_plus_1(void)
{
    return cluster.coordinator.committed_plus_1;
}

static void test_version_0_needs_all_servers(void **state)
{
    (void)state;
    cluster_init(&cluster, 1, 3);
    join_all(&cluster);
    say_create(&cluster, cluster.worker[0], "w", 10, false);
    report_all(&cluster, 0); /* a report before the start commits nothing */
    assert_int_equal(committed_plus_1(), 0);
    say_start(&cluster, cluster.worker[0]);
    report_all(&cluster, 0);
    assert_int_equal(committed_plus_1(), 1);
    const Pmd__Commit *commit = HEARD(cluster.worker[0], Commit, COMMIT);
    assert_int_equal(commit->step, 0);
    assert_int_equal(commit->grant, 2);
    assert_int_equal(commit->n_totals, 0);
}

static void test_commit_needs_every_rank_and_every_server(void **state)
{
    (void)state;
    train(&cluster, 2, 2);
    say_step_end(&cluster, cluster.worker[0], 1, 1, false);
    report_all(&cluster, 1);
    assert_int_equal(committed_plus_1(), 1);
    say_step_end(&cluster, cluster.worker[1], 1, 1, false);
    assert_int_equal(committed_plus_1(), 2);
    say_step_end(&cluster, cluster.worker[0], 2, 1, false);
    say_step_end(&cluster, cluster.worker[1], 2, 1, false);
    say_report(&cluster, 1, 2);
    assert_int_equal(committed_plus_1(), 2);
    say_report(&cluster, 1, 1); /* an older one changes nothing */
    say_report(&cluster, 0, 2);
    assert_int_equal(committed_plus_1(), 3);
    const Pmd__LogEntry *entry = &cluster.log[cluster.log_count - 1];
    assert_int_equal(entry->step, 2);
    assert_int_equal(entry->grant, 4);
    assert_int_equal(entry->index, 3);
}

/* 0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1: ranks are added up in order, whoever ends first. */
static void test_totals_are_in_rank_order(void **state)
{
    const double loss[3] = {0.1, 0.2, 0.3};

    (void)state;
    train(&cluster, 3, 1);
    for (uint32_t rank = 3; rank-- > 0;)
        say_step_end(&cluster, cluster.worker[rank], 1, loss[rank], false);
    report_all(&cluster, 1);
    const Pmd__Commit *commit = HEARD(cluster.worker[1], Commit, COMMIT);
    assert_int_equal(commit->n_totals, 1);
    assert_string_equal(commit->totals[0]->name, "loss");
    assert_true(commit->totals[0]->sum == loss[0] + loss[1] + loss[2]);
    assert_true(commit->totals[0]->sum != loss[2] + loss[1] + loss[0]);
    assert_true(commit->totals[0]->count == 3);
}

static double running_after(uint64_t step, double loss, bool restart)
{
    say_step_end(&cluster, cluster.worker[0], step, loss, restart);
    report_all(&cluster, step);
    return HEARD(cluster.worker[0], Commit, COMMIT)->running[0]->sum;
}

static void test_running_totals_begin_where_a_rank_says(void **state)
{
    (void)state;
    train(&cluster, 1, 1);
    assert_true(running_after(1, 1, false) == 1);
    assert_true(running_after(2, 2, false) == 3);
    assert_true(running_after(3, 4, true) == 4);
    assert_true(running_after(4, 8, false) == 12);
}

static void test_step_end_counts_once(void **state)
{
    (void)state;
    train(&cluster, 2, 1);
    say_step_end(&cluster, cluster.worker[0], 1, 5, false);
    say_step_end(&cluster, cluster.worker[0], 1, 5, false);
    say_step_end(&cluster, cluster.worker[1], 1, 1, false);
    report_all(&cluster, 1);
    assert_true(HEARD(cluster.worker[0], Commit, COMMIT)->totals[0]->sum == 6);
    say_step_end(&cluster, cluster.worker[0], 1, 5, false); /* committed: nothing */
    say_step_end(&cluster, cluster.worker[0], 0, 5, false);
    assert_false(cluster.worker[0]->closed);
}

static void test_step_end_too_far_closes_the_connection(void **state)
{
    (void)state;
    train(&cluster, 2, 1);
    say_step_end(&cluster, cluster.worker[0], 2, 1, false); /* granted */
    assert_false(cluster.worker[0]->closed);
    say_step_end(&cluster, cluster.worker[0], 3, 1, false);
    assert_failure(cluster.worker[0], STATUS_FAILED_PRECONDITION,
                   "rank 0 ends step 3; the last committed step is 0");
    assert_true(cluster.worker[0]->closed);
    assert_false(cluster.worker[1]->closed);
}

static void test_step_end_before_version_0(void **state)
{
    (void)state;
    cluster_init(&cluster, 1, 1);
    join_all(&cluster);
    say_step_end(&cluster, cluster.worker[0], 0, 1, false);
    assert_failure(cluster.worker[0], STATUS_FAILED_PRECONDITION, "the last committed step is -1");
}

/* The old process ended step 1, the new one has not: commit(1) waits for it, so version 0 stays. */
static void test_step_end_of_an_older_incarnation_is_dropped(void **state)
{
    (void)state;
    train(&cluster, 2, 1);
    say_step_end(&cluster, cluster.worker[1], 1, 100, false);
    Pmd__Hello hello = worker_hello(2, 77, 1);
    cluster.worker[1] = say_hello(&cluster, &hello);
    say_step_end(&cluster, cluster.worker[0], 1, 1, false);
    report_all(&cluster, 1);
    assert_int_equal(committed_plus_1(), 1);
    say_step_end(&cluster, cluster.worker[1], 1, 3, false);
    assert_int_equal(committed_plus_1(), 2);
    assert_true(HEARD(cluster.worker[1], Commit, COMMIT)->totals[0]->sum == 4);
}

static void test_step_end_survives_a_reconnect(void **state)
{
    (void)state;
    train(&cluster, 2, 1);
    say_step_end(&cluster, cluster.worker[1], 1, 3, false);
    Pmd__Hello hello = worker_hello(2, 1001, 2);
    cluster.worker[1] = say_hello(&cluster, &hello);
    say_step_end(&cluster, cluster.worker[0], 1, 1, false);
    report_all(&cluster, 1);
    assert_int_equal(committed_plus_1(), 2);
}

static void say_finish(uint32_t rank, uint64_t step)
{
    Pmd__Finish finish = PMD__FINISH__INIT;

    finish.step = step;
    say(&cluster, cluster.worker[rank], FRAME_FINISH, &finish);
}

static void test_finished_rank_is_awaited_no_more(void **state)
{
    (void)state;
    train(&cluster, 2, 1);
    say_finish(1, 1);
    HEARD(cluster.worker[1], Done, DONE);
    const Pmd__LogEntry *entry = &cluster.log[cluster.log_count - 1];
    assert_int_equal(entry->kind, PMD__LOG_KIND__LOG_KIND_FINISH);
    assert_int_equal(entry->rank, 1);
    assert_int_equal(entry->step, 1);
    say_step_end(&cluster, cluster.worker[0], 1, 1, false);
    report_all(&cluster, 1);
    assert_int_equal(committed_plus_1(), 1); /* its last step is still its own */
    say_step_end(&cluster, cluster.worker[1], 1, 1, false);
    assert_int_equal(committed_plus_1(), 2);
    run_step(&cluster, 2);
    run_step(&cluster, 3);
    say_step_end(&cluster, cluster.worker[1], 4, 1, false);
    assert_failure(cluster.worker[1], STATUS_FAILED_PRECONDITION, "rank 1 ends step 4");
}

static void test_finish_bounds(void **state)
{
    (void)state;
    train(&cluster, 2, 1);
    run_step(&cluster, 1);
    say_finish(1, 4);
    assert_failure(cluster.worker[1], STATUS_FAILED_PRECONDITION, "rank 1 finishes after step 4");
    say_finish(1, 0); /* long ago: from now on */
    HEARD(cluster.worker[1], Done, DONE);
    assert_int_equal(cluster.coordinator.workers[1].last_step, 1);
    say_finish(1, 3); /* again: the first one counts */
    HEARD(cluster.worker[1], Done, DONE);
    assert_int_equal(cluster.coordinator.workers[1].last_step, 1);
}

static void test_job_is_finished_when_the_last_steps_are_committed(void **state)
{
    (void)state;
    train(&cluster, 2, 1);
    run_step(&cluster, 1);
    say_finish(0, 1);
    say_finish(1, 2);
    assert_int_equal(cluster.coordinator.state, JOB_TRAINING);
    run_step(&cluster, 2);
    assert_int_equal(cluster.coordinator.state, JOB_FINISHED);
    report_all(&cluster, 3); /* nobody takes part in a further step */
    assert_int_equal(committed_plus_1(), 3);
    assert_heard_nothing(cluster.worker[0], FRAME_END);
    Pmd__Hello hello = worker_hello(1, 1000, 2);
    assert_true(HEARD(say_hello(&cluster, &hello), HelloReply, HELLO_REPLY)->finished);
}

static void test_job_without_variables_is_finished_too(void **state)
{
    (void)state;
    cluster_init(&cluster, 2, 1);
    join_all(&cluster);
    say_finish(0, 0);
    say_finish(1, 0);
    assert_int_equal(cluster.coordinator.state, JOB_FINISHED);
}

/* ---- the log ---- */

static void say_ack(uint64_t index)
{
    Pmd__LogAck ack = PMD__LOG_ACK__INIT;

    ack.index = index;
    say(&cluster, cluster.server[1], FRAME_LOG_ACK, &ack);
}

static void test_log_is_sent_again_after_a_reconnect(void **state)
{
    (void)state;
    train(&cluster, 1, 2);
    for (uint64_t step = 1; step <= 3; step++)
        run_step(&cluster, step);
    fake_link_break(cluster.server[1]);
    Pmd__Hello hello = server_hello("h1:7070", 2001, 2);
    hello.log_index = 2;
    cluster.server[1] = say_hello(&cluster, &hello);
    HEARD(cluster.server[1], Registry, REGISTRY); /* first */
    assert_int_equal(HEARD(cluster.server[1], LogEntry, LOG_ENTRY)->index, 3);
    assert_int_equal(HEARD(cluster.server[1], LogEntry, LOG_ENTRY)->index, 4);
    assert_heard_nothing(cluster.server[1], FRAME_LOG_ENTRY);
}

static void test_log_is_trimmed_by_acks(void **state)
{
    (void)state;
    train(&cluster, 1, 2);
    for (uint64_t step = 1; step <= 3; step++)
        run_step(&cluster, step);
    assert_int_equal(cluster.coordinator.log_count, 4);
    say_ack(2);
    assert_int_equal(cluster.coordinator.log_count, 2);
    say_ack(1);
    say_ack(77); /* of an entry that there is not */
    assert_int_equal(cluster.coordinator.log_count, 2);
    say_ack(4);
    assert_int_equal(cluster.coordinator.log_count, 0);
    run_step(&cluster, 4);
    for (int i = 0; i < 4; i++)
        HEARD(cluster.server[1], LogEntry, LOG_ENTRY);
    assert_int_equal(HEARD(cluster.server[1], LogEntry, LOG_ENTRY)->index, 5);
}

static void test_log_of_one_server_is_empty(void **state)
{
    (void)state;
    train(&cluster, 1, 1);
    for (uint64_t step = 1; step <= 30; step++)
        run_step(&cluster, step);
    assert_int_equal(cluster.coordinator.log_count, 0);
}

/* ---- barriers ---- */

static void say_barrier(uint32_t rank, const char *name, double sum)
{
    Pmd__Metric metric = PMD__METRIC__INIT;
    Pmd__Metric *metrics[] = {&metric};
    Pmd__Barrier barrier = PMD__BARRIER__INIT;

    metric.name = "x";
    metric.sum = sum;
    metric.count = 1;
    barrier.name = (char *)name;
    barrier.n_metrics = 1;
    barrier.metrics = metrics;
    say(&cluster, cluster.worker[rank], FRAME_BARRIER, &barrier);
}

static void test_barrier_waits_for_all_ranks(void **state)
{
    (void)state;
    train(&cluster, 3, 1);
    say_barrier(2, "epoch/1", 0.3);
    say_barrier(1, "epoch/1", 0.2);
    say_barrier(1, "other", 7);
    assert_heard_nothing(cluster.worker[1], FRAME_BARRIER_REPLY);
    say_barrier(0, "epoch/1", 0.1);
    for (int rank = 0; rank < 3; rank++) {
        const Pmd__BarrierReply *reply = HEARD(cluster.worker[rank], BarrierReply, BARRIER_REPLY);
        assert_string_equal(reply->name, "epoch/1");
        assert_true(reply->totals[0]->sum == 0.1 + 0.2 + 0.3);
        assert_true(reply->totals[0]->count == 3);
    }
    say_barrier(1, "epoch/1", 99); /* a rank that was started again passes the same way */
    assert_true(HEARD(cluster.worker[1], BarrierReply, BARRIER_REPLY)->totals[0]->sum ==
                0.1 + 0.2 + 0.3);
}

static void test_barrier_of_a_repeated_request_counts_once(void **state)
{
    (void)state;
    train(&cluster, 2, 1);
    say_barrier(1, "b", 1);
    say_barrier(1, "b", 1);
    uint64_t request = cluster.request;
    say_barrier(0, "b", 1);
    struct fake_heard *heard = fake_link_find(cluster.worker[1], FRAME_BARRIER_REPLY);
    assert_int_equal(heard->request, request); /* the newest */
    assert_true(((const Pmd__BarrierReply *)(void *)heard->message)->totals[0]->sum == 2);
    assert_heard_nothing(cluster.worker[1], FRAME_BARRIER_REPLY);
}

static void test_barrier_without_finished_ranks(void **state)
{
    (void)state;
    train(&cluster, 2, 1);
    say_barrier(0, "b", 1);
    say_finish(1, 0);
    HEARD(cluster.worker[0], BarrierReply, BARRIER_REPLY);
    say_barrier(0, "c", 1);
    HEARD(cluster.worker[0], BarrierReply, BARRIER_REPLY);
}

/* What a lost process brought to a barrier is brought again by its successor. */
static void test_barrier_forgets_an_older_incarnation(void **state)
{
    (void)state;
    train(&cluster, 2, 1);
    say_barrier(1, "b", 100);
    Pmd__Hello hello = worker_hello(2, 77, 1);
    cluster.worker[1] = say_hello(&cluster, &hello);
    say_barrier(0, "b", 1);
    assert_heard_nothing(cluster.worker[0], FRAME_BARRIER_REPLY);
    say_barrier(1, "b", 2);
    assert_true(HEARD(cluster.worker[0], BarrierReply, BARRIER_REPLY)->totals[0]->sum == 3);
}

static void test_barriers_are_bounded(void **state)
{
    char name[32];

    (void)state;
    train(&cluster, 2, 1);
    for (int i = 0; i < 2 * LIMIT_BARRIERS_KEPT; i++) {
        snprintf(name, sizeof name, "b%d", i);
        say_barrier(0, name, 1);
    }
    assert_heard_nothing(cluster.worker[0], FRAME_FAILURE);
    say_barrier(0, "one-more", 1);
    assert_failure(cluster.worker[0], STATUS_RESOURCE_EXHAUSTED, "barrier 'one-more': too many");
    say_barrier(1, "b0", 1); /* one is done: its place is to be had */
    say_barrier(0, "one-more", 1);
    assert_heard_nothing(cluster.worker[0], FRAME_FAILURE);
    say_barrier(0, "", 1);
    assert_failure(cluster.worker[0], STATUS_INVALID_ARGUMENT, "1 to 128 bytes");
}

/* ---- snapshots ---- */

static void say_snapshot(struct fake_link *reader, bool slots, uint64_t gone)
{
    Pmd__Snapshot snapshot = PMD__SNAPSHOT__INIT;

    snapshot.slots = slots;
    snapshot.gone = gone;
    say(&cluster, reader, FRAME_SNAPSHOT, &snapshot);
}

static const Pmd__LogEntry *last_entry(void)
{
    return &cluster.log[cluster.log_count - 1];
}

static void test_snapshot_of_values_goes_alone(void **state)
{
    (void)state;
    train(&cluster, 1, 1);
    run_step(&cluster, 1);
    struct fake_link *reader = join_reader(&cluster);
    say_snapshot(reader, false, 0);
    const Pmd__SnapshotReply *reply = HEARD(reader, SnapshotReply, SNAPSHOT_REPLY);
    assert_int_equal(reply->hold, 1);
    assert_int_equal(reply->step, 1);
    assert_int_equal(last_entry()->kind, PMD__LOG_KIND__LOG_KIND_HOLD);
    assert_int_equal(last_entry()->hold, 1);
    assert_int_equal(last_entry()->step, 1);
}

static void test_snapshot_of_slots_rides_on_the_next_commit(void **state)
{
    (void)state;
    train(&cluster, 1, 1);
    struct fake_link *reader = join_reader(&cluster);
    say_snapshot(reader, true, 0);
    assert_heard_nothing(reader, FRAME_SNAPSHOT_REPLY);
    run_step(&cluster, 1);
    assert_int_equal(last_entry()->kind, PMD__LOG_KIND__LOG_KIND_COMMIT);
    assert_int_equal(last_entry()->hold, 1);
    assert_true(last_entry()->hold_slots);
    assert_int_equal(HEARD(reader, SnapshotReply, SNAPSHOT_REPLY)->step, 1);
}

static void test_snapshot_before_version_0_waits(void **state)
{
    (void)state;
    cluster_init(&cluster, 1, 1);
    join_all(&cluster);
    struct fake_link *reader = join_reader(&cluster);
    say_snapshot(reader, false, 0);
    say_create(&cluster, cluster.worker[0], "w", 10, false);
    say_start(&cluster, cluster.worker[0]);
    assert_heard_nothing(reader, FRAME_SNAPSHOT_REPLY);
    report_all(&cluster, 0);
    assert_int_equal(HEARD(reader, SnapshotReply, SNAPSHOT_REPLY)->step, 0);
}

static void test_snapshot_is_shared(void **state)
{
    (void)state;
    train(&cluster, 1, 1);
    struct fake_link *a = join_reader(&cluster), *b = join_reader(&cluster);
    say_snapshot(a, false, 0);
    say_snapshot(b, false, 0);
    assert_int_equal(HEARD(b, SnapshotReply, SNAPSHOT_REPLY)->hold, 1);
    run_step(&cluster, 1);
    say_snapshot(b, false, 0); /* a second has not passed, and a has it */
    assert_int_equal(HEARD(b, SnapshotReply, SNAPSHOT_REPLY)->step, 0);
    fake_net_advance(&cluster.net, 1000);
    say_snapshot(b, false, 0);
    const Pmd__SnapshotReply *reply = HEARD(b, SnapshotReply, SNAPSHOT_REPLY);
    assert_int_equal(reply->hold, 2);
    assert_int_equal(reply->step, 1);
}

/* GONE: a server had let go. The same step is held again under a new number. */
static void test_snapshot_that_is_gone_gets_a_new_number(void **state)
{
    (void)state;
    train(&cluster, 1, 1);
    struct fake_link *reader = join_reader(&cluster);
    say_snapshot(reader, false, 0);
    say_snapshot(reader, false, 1);
    HEARD(reader, SnapshotReply, SNAPSHOT_REPLY);
    const Pmd__SnapshotReply *reply = HEARD(reader, SnapshotReply, SNAPSHOT_REPLY);
    assert_int_equal(reply->hold, 2);
    assert_int_equal(reply->step, 0);
    fake_net_advance(&cluster.net, 4000); /* the servers' lease is about to end */
    say_snapshot(reader, false, 0);
    assert_int_equal(HEARD(reader, SnapshotReply, SNAPSHOT_REPLY)->hold, 3);
}

static void test_snapshot_with_slots_is_not_shared_from_one_without(void **state)
{
    (void)state;
    train(&cluster, 1, 1);
    struct fake_link *reader = join_reader(&cluster);
    say_snapshot(reader, false, 0);
    HEARD(reader, SnapshotReply, SNAPSHOT_REPLY);
    say_snapshot(reader, true, 0);
    assert_heard_nothing(reader, FRAME_SNAPSHOT_REPLY);
    say_finish(0, 0); /* no commit will follow: slots do not change any more */
    assert_int_equal(cluster.coordinator.state, JOB_FINISHED);
    assert_int_equal(HEARD(reader, SnapshotReply, SNAPSHOT_REPLY)->hold, 2);
    assert_true(last_entry()->hold_slots);
    say_snapshot(reader, true, 2);
    assert_int_equal(HEARD(reader, SnapshotReply, SNAPSHOT_REPLY)->hold, 3);
}

static void test_snapshot_of_a_job_that_ends_before_version_0(void **state)
{
    (void)state;
    cluster_init(&cluster, 1, 1);
    join_all(&cluster);
    struct fake_link *reader = join_reader(&cluster);
    say_snapshot(reader, false, 0);
    say_create(&cluster, cluster.worker[0], "w", 10, false);
    say_finish(0, 0);
    assert_int_equal(cluster.coordinator.state, JOB_FINISHED);
    assert_heard_nothing(reader, FRAME_SNAPSHOT_REPLY);
    say_snapshot(reader, true, 0);
    report_all(&cluster, 0); /* the initial values are there all the same */
    assert_int_equal(HEARD(reader, SnapshotReply, SNAPSHOT_REPLY)->step, 0);
}

static void test_release_and_leaving_readers(void **state)
{
    Pmd__Release release = PMD__RELEASE__INIT;

    (void)state;
    train(&cluster, 1, 1);
    struct fake_link *a = join_reader(&cluster), *b = join_reader(&cluster);
    say_snapshot(a, false, 0);
    say_snapshot(b, true, 0);
    say(&cluster, a, FRAME_RELEASE, &release);
    HEARD(a, Done, DONE);
    run_step(&cluster, 1);
    fake_link_break(b);
    say_snapshot(a, true, 0);
    fake_link_break(a); /* while it waits */
    run_step(&cluster, 2);
    assert_int_equal(last_entry()->hold, 0);
}

#define COMMIT(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        COMMIT(test_version_0_needs_all_servers),
        COMMIT(test_commit_needs_every_rank_and_every_server),
        COMMIT(test_totals_are_in_rank_order),
        COMMIT(test_running_totals_begin_where_a_rank_says),
        COMMIT(test_step_end_counts_once),
        COMMIT(test_step_end_too_far_closes_the_connection),
        COMMIT(test_step_end_before_version_0),
        COMMIT(test_step_end_of_an_older_incarnation_is_dropped),
        COMMIT(test_step_end_survives_a_reconnect),
        COMMIT(test_finished_rank_is_awaited_no_more),
        COMMIT(test_finish_bounds),
        COMMIT(test_job_is_finished_when_the_last_steps_are_committed),
        COMMIT(test_job_without_variables_is_finished_too),
        COMMIT(test_log_is_sent_again_after_a_reconnect),
        COMMIT(test_log_is_trimmed_by_acks),
        COMMIT(test_log_of_one_server_is_empty),
        COMMIT(test_barrier_waits_for_all_ranks),
        COMMIT(test_barrier_of_a_repeated_request_counts_once),
        COMMIT(test_barrier_without_finished_ranks),
        COMMIT(test_barrier_forgets_an_older_incarnation),
        COMMIT(test_barriers_are_bounded),
        COMMIT(test_snapshot_of_values_goes_alone),
        COMMIT(test_snapshot_of_slots_rides_on_the_next_commit),
        COMMIT(test_snapshot_before_version_0_waits),
        COMMIT(test_snapshot_is_shared),
        COMMIT(test_snapshot_that_is_gone_gets_a_new_number),
        COMMIT(test_snapshot_with_slots_is_not_shared_from_one_without),
        COMMIT(test_snapshot_of_a_job_that_ends_before_version_0),
        COMMIT(test_release_and_leaving_readers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
