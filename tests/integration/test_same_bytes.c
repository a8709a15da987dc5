/*
 * Promise: the same data, seed and number of workers give the same bytes of parameters and
 * optimizer state.
 *
 * The record is a plain loop in this process: the ranks' shares one beside the other, the same
 * kernels, no server. Then real clusters train with random delays, and checksums taken at whatever
 * steps are compared with the record's line of that step.
 */
#include "common/base/rng.h"
#include "common/tensor/blas.h"
#include "common/tensor/kernels.h"
#include "common/tensor/placement.h"
#include "tests/integration/client_cluster.h"
#include "tests/lib/shares_sync.h"
#include "worker/train/task.h"

enum {
    BATCH_SIZE = 128,
    EPOCHS = 4,
    EXAMPLES = 1797,
    STEPS = (EXAMPLES + BATCH_SIZE - 1) / BATCH_SIZE * EPOCHS, /* the last of an epoch is smaller */
    WORKERS_MAX = 3,
    MID_RUN_CHECKSUMS = 5,
    TRIES = 3, /* a run may be over before so many checksums were taken */
};

static const char data_path[] = "deploy/data/digits-8x8/digits.csv.gz";

/* 64 x 8192 = 524,288 elements are 8 blocks, 8192 x 10 another 2. */
static const char model_text[] =
    "{\"class_name\": \"Sequential\", \"config\": {\"name\": \"wide\", \"layers\": ["
    "{\"class_name\": \"InputLayer\", \"config\": {\"batch_shape\": [null, 64], \"name\": \"in\"}},"
    "{\"class_name\": \"Dense\", \"config\": {\"name\": \"wide\", \"units\": 8192, \"activation\": "
    "\"relu\"}},"
    "{\"class_name\": \"Dense\", \"config\": {\"name\": \"out\", \"units\": 10, \"activation\": "
    "\"softmax\"}}]}}";

/* Digests of steps 0 .. STEPS. */
struct record {
    char digest[STEPS + 1][HASH_SHA256_TEXT_BYTES];
};

static struct temp_dir directory;
static char model_path[TEMP_PATH_BYTES];
static struct record records[WORKERS_MAX + 1]; /* by number of workers */
static struct rng_sequence rng = {.state = 77};

/* ---- the record ---- */

static void read_record(const char *path, struct record *ret_record)
{
    unsigned long long step;
    FILE *file = fopen(path, "r");

    assert_non_null(file);
    for (size_t i = 0; i <= STEPS; i++) {
        assert_int_equal(fscanf(file, "%llu %64s", &step, ret_record->digest[i]), 2);
        assert_int_equal(step, i);
    }
    fclose(file);
}

static void make_record(uint32_t workers)
{
    struct run_config config = {.model = model_path,
                                .train = data_path,
                                .loss = "sparse_categorical_crossentropy",
                                .optimizer = "adam",
                                .scale = SCALE_STANDARD,
                                .has_scale = true};
    struct task tasks[WORKERS_MAX] = {0};
    struct model *models[WORKERS_MAX];
    struct fit_options options = {
        .train = &tasks[0].train, .batch_size = BATCH_SIZE, .epochs = EPOCHS, .shuffle = true};
    char path[TEMP_PATH_BYTES];
    struct error err;

    temp_dir_path(&directory, "record", path);
    for (uint32_t r = 0; r < workers; r++) {
        assert_ok(task_init(&tasks[r], &config, &err), &err);
        assert_ok(model_initialize(&tasks[r].model, 0, &err), &err);
        models[r] = &tasks[r].model;
    }
    assert_ok(shares_fit(models, workers, &tasks[0].optimizer, &options, path, &err), &err);
    for (uint32_t r = 0; r < workers; r++)
        task_release(&tasks[r]);
    read_record(path, &records[workers]);
}

static int make_records(void **state)
{
    (void)state;
    temp_dir_init(&directory);
    temp_dir_write(&directory, "model.json", model_text, strlen(model_text), model_path);
    for (uint32_t workers = 1; workers <= WORKERS_MAX; workers++)
        make_record(workers);
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    temp_dir_release(&directory);
    return 0;
}

static void test_records_differ_where_they_should(void **state)
{
    (void)state;
    assert_string_equal(records[1].digest[0], records[2].digest[0]);
    assert_string_not_equal(records[1].digest[STEPS], records[2].digest[STEPS]);
    for (size_t i = 0; i < STEPS; i++)
        assert_string_not_equal(records[1].digest[i], records[1].digest[i + 1]);
}

/* ---- processes ---- */

static pid_t start_worker(const char *address, uint32_t rank)
{
    char program[TEMP_PATH_BYTES], batch_size[16], epochs[16], text[16], out[TEMP_PATH_BYTES + 32];
    char *argv[] = {program,
                    (char *)"--model",
                    model_path,
                    (char *)"--train",
                    (char *)data_path,
                    (char *)"--loss",
                    (char *)"sparse_categorical_crossentropy",
                    (char *)"--optimizer",
                    (char *)"adam",
                    (char *)"--scale",
                    (char *)"standard",
                    (char *)"--batch-size",
                    batch_size,
                    (char *)"--epochs",
                    epochs,
                    NULL};
    pid_t child;

    cluster_program(program, sizeof program, "paramd-worker");
    snprintf(batch_size, sizeof batch_size, "%d", BATCH_SIZE);
    snprintf(epochs, sizeof epochs, "%d", EPOCHS);
    snprintf(text, sizeof text, "%u", rank);
    snprintf(out, sizeof out, "%s/worker-%u", directory.path, rank);
    child = fork();
    assert_true(child >= 0);
    if (child > 0)
        return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setenv("PARAMD_RANK", text, 1);
    if (address)
        setenv("PARAMD_COORDINATOR", address, 1);
    else
        unsetenv("PARAMD_COORDINATOR");
    if (!freopen(out, "w", stdout) || !freopen(out, "a", stderr))
        _exit(126);
    execv(argv[0], argv);
    _exit(127);
}

static void expect_done(pid_t child, uint32_t rank)
{
    int status;

    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("worker %u ended with %d", rank,
                 WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
}

/* One process or another stands still for a moment. */
static void delay_somebody(const struct cluster *cluster, const pid_t *workers)
{
    uint32_t count = cluster->server_count + cluster->worker_count;
    uint32_t which = (uint32_t)rng_below(&rng, count);
    pid_t pid = which < cluster->server_count ? cluster->servers[which]
                                              : workers[which - cluster->server_count];

    kill(pid, SIGSTOP);
    usleep((useconds_t)rng_below(&rng, 20000));
    kill(pid, SIGCONT);
}

/* ---- what a reader sees ---- */

static void expect_every_server_owns_blocks(struct reader *reader, const struct cluster *cluster)
{
    struct placement_variable variables[8];
    bool holds_wide[CLUSTER_SERVERS_MAX] = {false};
    const struct registry *registry;
    const Pmd__StatusReply *status;
    struct placement placement;
    uint32_t holders = 0;
    struct error err;
    size_t wide = 0;

    assert_ok(reader_list(reader, &registry, &err), &err);
    assert_int_equal(registry->variable_count, 4);
    for (size_t i = 0; i < registry->variable_count; i++) {
        variables[i] = (struct placement_variable){(uint32_t)i, registry->variables[i].dtype,
                                                   registry->variables[i].elements};
        if (strcmp(registry->variables[i].name, "wide/kernel") == 0)
            wide = i;
    }
    assert_ok(placement_init(&placement, variables, registry->variable_count, cluster->server_count,
                             &err),
              &err);
    for (uint32_t b = 0; b < placement_block_count(&placement, (uint32_t)wide); b++)
        holds_wide[placement_server_of(&placement, (uint32_t)wide, b)] = true;
    assert_ok(reader_status(reader, &status, &err), &err);
    assert_int_equal(status->n_servers, cluster->server_count);
    for (uint32_t s = 0; s < cluster->server_count; s++) {
        holders += holds_wide[s];
        assert_true(status->servers[s]->blocks > 0);
        assert_int_equal(status->servers[s]->blocks, placement_server_block_count(&placement, s));
    }
    assert_true(holders >= (cluster->server_count < 3 ? cluster->server_count : 3));
    placement_release(&placement);
}

/* The step of a checksum of the reader's snapshot, compared with the record. */
static uint64_t compare_snapshot(struct reader *reader, const struct cluster *cluster)
{
    const struct record *record = &records[cluster->worker_count];
    char digest[HASH_SHA256_TEXT_BYTES];
    struct error err;
    uint64_t step;

    assert_ok(reader_checksum(reader, true, &step, digest, &err), &err);
    assert_true(step <= STEPS);
    if (strcmp(digest, record->digest[step]) != 0)
        fail_msg("%u workers, %u servers, %s: step %llu has other bytes", cluster->worker_count,
                 cluster->server_count, cluster->address, (unsigned long long)step);
    assert_ok(reader_release_snapshot(reader, &err),
              &err); /* or the next would be this one for 1 s */
    return step;
}

static bool anybody_runs(const pid_t *workers, uint32_t count)
{
    siginfo_t info;

    for (uint32_t r = 0; r < count; r++) {
        info.si_pid = 0;
        if (waitid(P_PID, (id_t)workers[r], &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
            info.si_pid == 0)
            return true;
    }
    return false;
}

/* Trains once; returns at how many different steps in mid-run a checksum was taken. */
static uint32_t train_once(uint32_t servers, uint32_t worker_count, bool over_unix)
{
    struct cluster cluster = {.listen = over_unix ? "unix" : NULL};
    struct reader_options reader_options = {.coordinator = cluster.address,
                                            .connect_timeout_ms = 10000};
    pid_t workers[WORKERS_MAX];
    uint64_t step, last = 0;
    struct reader *reader;
    struct error err;
    uint32_t taken = 0;

    cluster_start(&cluster, servers, worker_count);
    assert_ok(reader_connect(&reader_options, &reader, &err), &err);
    for (uint32_t r = 0; r < worker_count; r++)
        workers[r] = start_worker(cluster.address, r);
    do {
        delay_somebody(&cluster, workers);
        if (reader_snapshot(reader, true, NULL, &err)) /* nothing has been started yet */
            continue;
        step = compare_snapshot(reader, &cluster);
        if (step > last && step < STEPS) {
            last = step;
            taken++;
        }
    } while (anybody_runs(workers, worker_count));
    for (uint32_t r = 0; r < worker_count; r++)
        expect_done(workers[r], r);
    assert_ok(reader_snapshot(reader, true, NULL, &err), &err);
    assert_int_equal(compare_snapshot(reader, &cluster), STEPS);
    expect_every_server_owns_blocks(reader, &cluster);
    reader_close(reader);
    cluster_stop(&cluster);
    return taken;
}

static void expect_same_bytes(uint32_t servers, uint32_t workers, bool over_unix)
{
    uint32_t taken = 0;

    for (int i = 0; i < TRIES && taken < MID_RUN_CHECKSUMS; i++)
        taken = train_once(servers, workers, over_unix);
    if (taken < MID_RUN_CHECKSUMS)
        fail_msg("only %u checksums could be taken in mid-run", taken);
}

/* ---- tests ---- */

static void expect_alone_as_recorded(void)
{
    struct record *alone = test_malloc(sizeof *alone);
    char path[TEMP_PATH_BYTES];

    temp_dir_path(&directory, "alone", path);
    setenv("PARAMD_TRACE_DIGESTS", path, 1);
    expect_done(start_worker(NULL, 0), 0);
    unsetenv("PARAMD_TRACE_DIGESTS");
    read_record(path, alone);
    assert_memory_equal(alone, &records[1], sizeof *alone);
    test_free(alone);
}

static void test_the_worker_alone(void **state)
{
    (void)state;
    expect_alone_as_recorded();
}

static void test_the_worker_alone_with_the_narrowest_kernels(void **state)
{
    (void)state;
    setenv("PARAMD_KERNELS", "sse2", 1);
    expect_alone_as_recorded();
    unsetenv("PARAMD_KERNELS");
}

static void test_one_worker_over_1_2_3_and_5_servers(void **state)
{
    (void)state;
    expect_same_bytes(1, 1, false);
    expect_same_bytes(2, 1, false);
    expect_same_bytes(3, 1, false);
    expect_same_bytes(5, 1, false);
}

static void test_two_workers_over_1_2_and_5_servers(void **state)
{
    (void)state;
    expect_same_bytes(1, 2, false);
    expect_same_bytes(2, 2, false);
    expect_same_bytes(5, 2, false);
}

static void test_three_workers_over_1_and_3_servers(void **state)
{
    (void)state;
    expect_same_bytes(1, 3, false);
    expect_same_bytes(3, 3, false);
}

static void test_unix_sockets(void **state)
{
    (void)state;
    expect_same_bytes(1, 1, true);
    expect_same_bytes(3, 2, true);
}

static void test_a_cluster_with_the_narrowest_kernels(void **state)
{
    (void)state;
    setenv("PARAMD_KERNELS", "sse2", 1);
    expect_same_bytes(3, 2, false);
    unsetenv("PARAMD_KERNELS");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records_differ_where_they_should),
        cmocka_unit_test(test_the_worker_alone),
        cmocka_unit_test(test_the_worker_alone_with_the_narrowest_kernels),
        cmocka_unit_test(test_one_worker_over_1_2_3_and_5_servers),
        cmocka_unit_test(test_two_workers_over_1_2_and_5_servers),
        cmocka_unit_test(test_three_workers_over_1_and_3_servers),
        cmocka_unit_test(test_unix_sockets),
        cmocka_unit_test(test_a_cluster_with_the_narrowest_kernels),
    };

    (void)argc;
    blas_prepare_environment(argv); /* the bytes of matrix products depend on it */
    blas_set_threads(1);
    kernels_flush_denormals();
    return cmocka_run_group_tests(tests, make_records, remove_files);
}
