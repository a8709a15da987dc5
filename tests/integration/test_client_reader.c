/* Reading a running job from outside: values, slots and checksums of one step, whatever the number
 * of servers. */
#include "tests/integration/client_cluster.h"

#include "common/base/hash.h"

enum { BIG = 5 * 65536 + 17, STEPS = 5 };

/* A deterministic job of one worker: Adam on a variable of 6 blocks and a small table, and a
 * counter. */
struct job {
    struct ps_client *ps;
    uint32_t big, table, counter;
    uint64_t step;
};

static float gradient[BIG], values[BIG], expected[BIG];
static float table_gradient[40 * 3];

static void job_begin(struct job *job, const struct cluster *cluster)
{
    struct ps_error err;
    uint64_t big_shape = BIG, table_shape[2] = {40, 3};
    struct ps_setting setting = {"learning_rate", 0.01};

    *job = (struct job){.ps = cluster_connect(cluster, 1)};
    struct ps_variable big = {.name = "z/big",
                              .shape = &big_shape,
                              .rank = 1,
                              .initializer = PS_UNIFORM,
                              .a = -1,
                              .b = 1,
                              .seed = 3,
                              .has_seed = true};
    struct ps_variable table = {.name = "a-table", .shape = table_shape, .rank = 2};
    struct ps_variable counter = {.name = "counter", .dtype = PS_INT64, .not_trainable = true};
    assert_ps(ps_create(job->ps, &big, &job->big, &err), &err);
    assert_ps(ps_create(job->ps, &table, &job->table, &err), &err);
    assert_ps(ps_create(job->ps, &counter, &job->counter, &err), &err);
    assert_ps(ps_configure(job->ps, 0, "adam", &setting, 1, &err), &err);
    assert_ps(ps_start(job->ps, &err), &err);
    assert_ps(ps_pull(job->ps, job->big, PS_LATEST, values, NULL, &err), &err);
}

static void job_step(struct job *job)
{
    struct ps_error err;
    ps_handle handle;
    int64_t rows[4] = {7, 39, 7, 0};
    int64_t count = (int64_t)job->step + 1;
    uint64_t t = ++job->step;

    assert_ps(ps_step_begin(job->ps, t, 4, &err), &err);
    for (size_t i = 0; i < BIG; i++)
        gradient[i] = values[i] * 0.5f + (float)(i % 7);
    for (size_t i = 0; i < 12; i++)
        table_gradient[i] = (float)(i + t);
    assert_ps(ps_push_pull(job->ps, job->big, gradient, values, &handle, &err), &err);
    assert_ps(ps_push_rows(job->ps, job->table, rows, 4, table_gradient, NULL, &err), &err);
    assert_ps(ps_push(job->ps, job->counter, &count, PS_PUSH_ASSIGN, NULL, &err), &err);
    assert_ps(ps_step_end(job->ps, NULL, 0, &err), &err);
    assert_ps(ps_wait(job->ps, handle, PS_DEFAULT_TIMEOUT, &err), &err);
    assert_ps(ps_wait_step(job->ps, t, PS_DEFAULT_TIMEOUT, &err), &err);
}

static void job_finish(struct job *job)
{
    struct ps_error err;

    assert_ps(ps_finish(job->ps, &err), &err);
}

static struct reader *connect_reader(const struct cluster *cluster)
{
    struct reader_options options = {.coordinator = cluster->address, .connect_timeout_ms = 2000};
    struct reader *reader;
    struct error err;

    assert_ok(reader_connect(&options, &reader, &err), &err);
    return reader;
}

/* Values and slots at the end, over different numbers of servers. */
static void test_checksum_does_not_depend_on_the_servers(void **state)
{
    static const uint32_t server_counts[] = {1, 2, 3, 5};
    char first[HASH_SHA256_TEXT_BYTES] = "", text[HASH_SHA256_TEXT_BYTES];

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct cluster cluster = {0};
        struct job job;
        struct error err;
        uint64_t step;
        cluster_start(&cluster, server_counts[i], 1);
        job_begin(&job, &cluster);
        while (job.step < STEPS)
            job_step(&job);
        job_finish(&job);
        struct reader *reader = connect_reader(&cluster);
        assert_ok(reader_checksum(reader, true, &step, text, &err), &err);
        assert_int_equal(step, STEPS);
        if (i == 0)
            memcpy(first, text, sizeof first);
        assert_string_equal(text, first);
        assert_ok(reader_checksum(reader, false, &step, text, &err), &err);
        assert_string_not_equal(text, first);
        reader_close(reader);
        ps_close(job.ps);
        cluster_stop(&cluster);
    }
}

static void test_slices_and_digests_are_the_workers_values(void **state)
{
    struct cluster cluster = {0};
    struct job job;
    struct error err;
    uint64_t step;
    int64_t counter;
    static uint8_t digests[6 * HASH_SHA256_BYTES];
    uint8_t digest[HASH_SHA256_BYTES];

    (void)state;
    cluster_start(&cluster, 3, 1);
    job_begin(&job, &cluster);
    while (job.step < STEPS)
        job_step(&job);
    struct reader *reader = connect_reader(&cluster);
    memset(expected, 0, sizeof expected);
    assert_ok(reader_read(reader, job.big, 0, 65530, 131080, expected + 65530, &step, &err), &err);
    assert_int_equal(step, STEPS);
    assert_memory_equal(expected + 65530, values + 65530, 131080 * sizeof(float));
    assert_true(expected[65529] == 0 && expected[65530 + 131080] == 0);
    assert_ok(reader_read(reader, job.big, 0, BIG - 1, 1, expected, NULL, &err), &err);
    assert_true(expected[0] == values[BIG - 1]);
    assert_ok(reader_read(reader, job.counter, 0, 0, 1, &counter, NULL, &err), &err);
    assert_int_equal(counter, STEPS);
    assert_ok(reader_digest(reader, job.big, 0, digests, &step, &err), &err);
    for (size_t block = 0; block < 6; block++) {
        size_t count = block < 5 ? 65536 : 17;
        hash_sha256(values + block * 65536, count * sizeof(float), digest);
        assert_memory_equal(digest, digests + block * HASH_SHA256_BYTES, sizeof digest);
    }
    assert_refused(reader_read(reader, job.big, 0, BIG, 1, expected, NULL, &err),
                   STATUS_OUT_OF_RANGE, &err, "z/big");
    assert_refused(reader_read(reader, 99, 0, 0, 1, expected, NULL, &err), STATUS_OUT_OF_RANGE,
                   &err, "3 variables");
    reader_close(reader);
    ps_close(job.ps);
    cluster_stop(&cluster);
}

static void *keep_training(void *context)
{
    struct job *job = context;

    while (job->step < 400)
        job_step(job);
    job_finish(job);
    return NULL;
}

/* While the training runs, every read is of one step: the counter says which. */
static void test_reads_in_mid_training_are_of_one_step(void **state)
{
    struct cluster cluster = {0};
    struct job job;
    struct error err;
    pthread_t trainer;
    uint64_t step = 0, previous = 0, other;
    int64_t counter;
    char text[HASH_SHA256_TEXT_BYTES];
    unsigned mid_training = 0;

    (void)state;
    cluster_start(&cluster, 3, 1);
    job_begin(&job, &cluster);
    struct reader *reader = connect_reader(&cluster);
    assert_int_equal(pthread_create(&trainer, NULL, keep_training, &job), 0);
    while (step < 400) {
        assert_ok(reader_snapshot(reader, false, &step, &err), &err);
        assert_true(step >= previous);
        previous = step;
        assert_ok(reader_read(reader, job.counter, 0, 0, 1, &counter, &step, &err), &err);
        assert_int_equal(counter, step);
        mid_training += step > 0 && step < 400;
    }
    pthread_join(trainer, NULL);
    assert_ok(reader_checksum(reader, true, &other, text, &err), &err);
    assert_int_equal(other, 400);
    assert_in_range(mid_training, 1, 1000000);
    reader_close(reader);
    ps_close(job.ps);
    cluster_stop(&cluster);
}

/* A newer snapshot takes the older one's place: its reader asks anew, and what it gets is of one
 * step. */
static void test_a_snapshot_that_is_gone_is_asked_for_anew(void **state)
{
    struct cluster cluster = {0};
    struct job job;
    struct error err;
    uint64_t step, newer;
    int64_t counter;

    (void)state;
    cluster_start(&cluster, 2, 1);
    job_begin(&job, &cluster);
    job_step(&job);
    struct reader *first = connect_reader(&cluster);
    struct reader *second = connect_reader(&cluster);
    assert_ok(reader_snapshot(first, false, &step, &err), &err);
    assert_int_equal(step, 1);
    job_step(&job);
    job_finish(&job);
    assert_ok(reader_snapshot(second, true, &newer, &err), &err);
    assert_int_equal(newer, 2);
    assert_ok(reader_read(second, job.counter, 0, 0, 1, &counter, &newer, &err), &err);
    assert_int_equal(counter, 2);
    assert_ok(reader_read(first, job.counter, 0, 0, 1, &counter, &step, &err), &err);
    assert_int_equal(counter, 2);
    assert_int_equal(step, 2);
    assert_ok(reader_release_snapshot(first, &err), &err);
    reader_close(first);
    reader_close(second);
    ps_close(job.ps);
    cluster_stop(&cluster);
}

static void test_operators_requests(void **state)
{
    struct cluster cluster = {0};
    struct job job;
    struct error err;
    const struct registry *registry;
    const Pmd__StatusReply *status;
    uint64_t from_step;
    struct ps_error ps_err;

    (void)state;
    cluster_start(&cluster, 2, 1);
    job_begin(&job, &cluster);
    job_step(&job);
    struct reader *reader = connect_reader(&cluster);
    assert_ok(reader_list(reader, &registry, &err), &err);
    assert_int_equal(registry->variable_count, 3);
    assert_string_equal(registry->variables[job.table].name, "a-table");
    assert_int_equal(reader_slot_count(registry, job.big), 2);
    assert_string_equal(reader_slot_name(registry, job.big, 1), "velocity");
    assert_int_equal(reader_slot_count(registry, job.counter), 0);
    assert_ok(reader_status(reader, &status, &err), &err);
    assert_int_equal(status->committed_plus_1, 2);
    assert_int_equal(status->n_servers, 2);
    assert_int_equal(status->n_workers, 1);
    assert_ok(reader_set(reader, "learning-rate", 0.5, &from_step, &err), &err);
    assert_true(from_step >= 2);
    assert_int_not_equal(reader_set(reader, "momentum", 0.5, &from_step, &err), STATUS_OK);
    assert_non_null(strstr(err.message, "momentum"));
    assert_ok(reader_shutdown(reader, &err), &err);
    assert_int_not_equal(ps_wait_step(job.ps, 99, PS_DEFAULT_TIMEOUT, &ps_err), PS_OK);
    assert_non_null(strstr(ps_err.message, "shut down"));
    reader_close(reader);
    ps_close(job.ps);
    cluster_stop(&cluster);
}

static void test_unreachable_coordinator_is_named(void **state)
{
    struct reader_options options = {.coordinator = "127.0.0.1:1"};
    struct reader *reader;
    struct error err;

    (void)state;
    assert_refused(reader_connect(&options, &reader, &err), STATUS_UNAVAILABLE, &err,
                   "coordinator 127.0.0.1:1");
    options.coordinator = "nonsense";
    assert_refused(reader_connect(&options, &reader, &err), STATUS_INVALID_ARGUMENT, &err,
                   "nonsense");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checksum_does_not_depend_on_the_servers),
        cmocka_unit_test(test_slices_and_digests_are_the_workers_values),
        cmocka_unit_test(test_reads_in_mid_training_are_of_one_step),
        cmocka_unit_test(test_a_snapshot_that_is_gone_is_asked_for_anew),
        cmocka_unit_test(test_operators_requests),
        cmocka_unit_test(test_unreachable_coordinator_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
