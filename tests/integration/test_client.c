/* libparamd against real servers: values, loans, deadlines, broken connections, restarts. */
#include "tests/integration/client_cluster.h"

#include "tests/lib/free_port.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

enum { ROWS = 3000, COLS = 100, ELEMENTS = ROWS * COLS }; /* 5 blocks */

static uint32_t make(struct ps_client *ps, const char *name, uint64_t rows, uint64_t cols,
                     bool trainable)
{
    struct ps_error err;
    uint64_t shape[2] = {rows, cols};
    uint32_t id;
    struct ps_variable variable = {
        .name = name, .shape = shape, .rank = cols ? 2 : 1, .not_trainable = !trainable};

    assert_ps(ps_create(ps, &variable, &id, &err), &err);
    return id;
}

static void use_sgd(struct ps_client *ps)
{
    struct ps_error err;
    struct ps_setting setting = {"learning_rate", 1.0};

    assert_ps(ps_configure(ps, 0, "sgd", &setting, 1, &err), &err);
}

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- training ---- */

static void sgd_worker(struct cluster *cluster, uint32_t rank)
{
    struct ps_error err;
    struct ps_client *ps = cluster_connect(cluster, (int)rank + 1);
    uint32_t big = make(ps, "big", ROWS, COLS, true);
    uint32_t small = make(ps, "small", 7, 0, true);
    static float gradient[CLUSTER_WORKERS_MAX][ELEMENTS], values[CLUSTER_WORKERS_MAX][ELEMENTS];
    float small_gradient[7], small_values[7];
    ps_handle handles[2];

    use_sgd(ps);
    assert_ps(ps_start(ps, &err), &err);
    assert_ps(ps_pull(ps, big, PS_LATEST, values[rank], NULL, &err), &err);
    for (uint64_t t = 1; t <= 20; t++) {
        assert_ps(ps_step_begin(ps, t, rank + 1, &err), &err);
        for (size_t i = 0; i < ELEMENTS; i++)
            gradient[rank][i] = -(float)(rank + 1);
        for (size_t i = 0; i < 7; i++)
            small_gradient[i] = (float)i;
        assert_ps(ps_push_pull(ps, big, gradient[rank], values[rank], &handles[0], &err), &err);
        assert_ps(ps_push_pull(ps, small, small_gradient, small_values, &handles[1], &err), &err);
        struct ps_metric metric = {"loss", (double)(rank + 1), 2};
        assert_ps(ps_step_end(ps, &metric, 1, &err), &err);
        assert_ps(ps_wait(ps, handles[0], PS_DEFAULT_TIMEOUT, &err), &err);
        assert_ps(ps_wait(ps, handles[1], PS_DEFAULT_TIMEOUT, &err), &err);
        /* Weighted mean of -1 (1 example) and -2 (2 examples) is -5/3. */
        float expected = 0;
        for (uint64_t k = 0; k < t; k++)
            expected = expected - ((float)(1.0 / 3) * -1.0f + (float)(2.0 / 3) * -2.0f);
        for (size_t i = 0; i < ELEMENTS; i++)
            assert_true(values[rank][i] == expected);
        struct ps_metric totals[4], running[4];
        size_t count;
        assert_ps(ps_totals(ps, t, totals, running, 4, &count, &err), &err);
        assert_true(count == 1 && totals[0].sum == 3 && totals[0].count == 4);
        assert_true(running[0].sum == 3 * (double)t);
    }
    struct ps_metric metric = {"ranks", 1, (double)rank};
    assert_ps(ps_barrier(ps, "end", &metric, 1, PS_DEFAULT_TIMEOUT, &err), &err);
    assert_true(metric.sum == 2 && metric.count == 1);
    assert_ps(ps_finish(ps, &err), &err);
    ps_close(ps);
}

static void test_two_workers_train_on_three_servers(void **state)
{
    struct cluster cluster = {0};

    (void)state;
    cluster_start(&cluster, 3, 2);
    cluster_run(&cluster, sgd_worker);
    cluster_stop(&cluster);
}

static void test_unix_sockets_do_as_well(void **state)
{
    struct cluster cluster = {.listen = "unix"};

    (void)state;
    cluster_start(&cluster, 2, 2);
    cluster_run(&cluster, sgd_worker);
    cluster_stop(&cluster);
}

static void run_example(const struct cluster *cluster, const char *name)
{
    char program[512];
    int code;

    setenv("PARAMD_COORDINATOR", cluster->address, 1);
    cluster_program(program, sizeof program, name);
    pid_t child = cluster_spawn((char *[]){program, NULL});
    waitpid(child, &code, 0);
    unsetenv("PARAMD_COORDINATOR");
    assert_true(WIFEXITED(code));
    assert_int_equal(WEXITSTATUS(code), 0);
}

static void test_the_example_learns_its_line(void **state)
{
    struct cluster cluster = {0};

    (void)state;
    cluster_start(&cluster, 2, 1);
    run_example(&cluster, "examples/linear");
    cluster_stop(&cluster);
}

/* ---- exactly once ---- */

static atomic_bool cutting;

/* Shuts down, at random moments, sockets that this process has connected. */
static void *cut_connections(void *context)
{
    uint64_t random = 12345;

    (void)context;
    while (atomic_load(&cutting)) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        usleep((useconds_t)(random >> 33) % 4000);
        int fd = 3 + (int)((random >> 20) % 60);
        struct sockaddr_in peer;
        socklen_t size = sizeof peer;
        if (getpeername(fd, (struct sockaddr *)&peer, &size) == 0 && peer.sin_family == AF_INET)
            shutdown(fd, SHUT_RDWR);
    }
    return NULL;
}

static void adding_worker(struct cluster *cluster, uint32_t rank)
{
    struct ps_error err;
    struct ps_client *ps = cluster_connect(cluster, (int)rank + 1);
    uint32_t sum = make(ps, "sum", ROWS, COLS, false);
    static float ones[ELEMENTS], values[CLUSTER_WORKERS_MAX][ELEMENTS];
    ps_handle handle;

    for (size_t i = 0; rank == 0 && i < ELEMENTS; i++)
        ones[i] = 1;
    assert_ps(ps_start(ps, &err), &err);
    for (uint64_t t = 1; t <= 150; t++) {
        assert_ps(ps_step_begin(ps, t, 1, &err), &err);
        assert_ps(ps_push(ps, sum, ones, PS_ADD, NULL, &err), &err);
        assert_ps(ps_pull(ps, sum, t, values[rank], &handle, &err), &err);
        assert_ps(ps_step_end(ps, NULL, 0, &err), &err);
        assert_ps(ps_wait(ps, handle, PS_DEFAULT_TIMEOUT, &err), &err);
        for (size_t i = 0; i < ELEMENTS; i++) {
            if (values[rank][i] != (float)(2 * t)) {
                fprintf(stderr, "rank %u, step %u, element %zu: %g\n", rank, (unsigned)t, i,
                        (double)values[rank][i]);
                abort();
            }
        }
    }
    assert_ps(ps_finish(ps, &err), &err);
    ps_close(ps);
}

/* Connections that break anywhere, also in the middle of a frame, neither lose a push nor count one
 * twice. */
static void test_cut_connections_count_every_push_once(void **state)
{
    struct cluster cluster = {0};
    pthread_t cutter;

    (void)state;
    cluster_start(&cluster, 2, 2);
    atomic_store(&cutting, true);
    assert_int_equal(pthread_create(&cutter, NULL, cut_connections, NULL), 0);
    cluster_run(&cluster, adding_worker);
    atomic_store(&cutting, false);
    pthread_join(cutter, NULL);
    cluster_stop(&cluster);
}

/* A process that takes a rank over goes on behind the committed step; its pushes are not taken for
 * old ones. */
static void test_restarted_worker_goes_on(void **state)
{
    struct cluster cluster = {0};
    struct ps_error err;
    float one = 1, value = 0;

    (void)state;
    cluster_start(&cluster, 1, 1);
    for (uint64_t life = 0; life < 3; life++) {
        struct ps_client *ps = cluster_connect(&cluster, 1);
        uint32_t id = make(ps, "x", 1, 0, false);
        assert_ps(ps_start(ps, &err), &err);
        assert_int_equal(ps_step(ps), 5 * life);
        for (uint64_t t = ps_step(ps) + 1; t <= 5 * (life + 1); t++) {
            assert_ps(ps_step_begin(ps, t, 1, &err), &err);
            assert_ps(ps_push(ps, id, &one, PS_ADD, NULL, &err), &err);
            assert_ps(ps_step_end(ps, NULL, 0, &err), &err);
            assert_ps(ps_wait_step(ps, t, PS_DEFAULT_TIMEOUT, &err), &err);
        }
        assert_ps(ps_pull(ps, id, PS_LATEST, &value, NULL, &err), &err);
        assert_true(value == (float)(5 * (life + 1)));
        ps_close(ps);
    }
    cluster_stop(&cluster);
}

/* The older of two processes of a rank is told so, with exit code 5. */
static void test_older_process_of_a_rank_is_fenced(void **state)
{
    struct cluster cluster = {0};
    struct ps_error err;
    float value;

    (void)state;
    cluster_start(&cluster, 1, 1);
    struct ps_client *older = cluster_connect(&cluster, 1);
    uint32_t id = make(older, "x", 1, 0, true);
    use_sgd(older);
    assert_ps(ps_start(older, &err), &err);
    struct ps_client *newer = cluster_connect(&cluster, 1);
    for (int i = 0; i < 100 && ps_pull(older, id, PS_LATEST, &value, NULL, &err) == PS_OK; i++)
        usleep(10000);
    assert_int_equal(err.status, PS_ABORTED);
    assert_int_equal(err.exit_code, 5);
    assert_non_null(strstr(err.message, "fenced"));
    ps_close(older);
    ps_close(newer);
    cluster_stop(&cluster);
}

/* ---- deadlines and errors ---- */

static void test_pull_that_cannot_be_answered_ends_at_its_deadline(void **state)
{
    struct cluster cluster = {0};
    struct ps_error err;
    float value = 42;
    ps_handle handle;

    (void)state;
    cluster_start(&cluster, 1, 1);
    struct ps_client *ps = cluster_connect(&cluster, 1);
    uint32_t id = make(ps, "x", 1, 0, true);
    use_sgd(ps);
    assert_ps(ps_start(ps, &err), &err);
    assert_ps(ps_pull(ps, id, 1, &value, &handle, &err), &err);
    uint64_t began = now_ms();
    assert_int_equal(ps_wait(ps, handle, 100, &err), PS_DEADLINE_EXCEEDED);
    assert_in_range(now_ms() - began, 100, 1100);
    assert_non_null(strstr(err.message, "pull 'x' of step 1"));
    assert_non_null(strstr(err.message, cluster.address));
    /* The answer that comes afterwards goes nowhere. */
    float gradient = 1, fresh;
    assert_ps(ps_step_begin(ps, 1, 1, &err), &err);
    assert_ps(ps_push_pull(ps, id, &gradient, &fresh, &handle, &err), &err);
    assert_ps(ps_step_end(ps, NULL, 0, &err), &err);
    assert_ps(ps_wait(ps, handle, PS_DEFAULT_TIMEOUT, &err), &err);
    assert_true(fresh == -1 && value == 42);
    ps_close(ps);
    cluster_stop(&cluster);
}

static void test_unreachable_coordinator_is_named(void **state)
{
    struct ps_error err;
    struct ps_client *ps;
    char address[64];

    (void)state;
    snprintf(address, sizeof address, "127.0.0.1:%u", free_port());
    struct ps_options options = {.coordinator = address, .join_timeout_ms = 300, .quiet = true};
    uint64_t began = now_ms();
    assert_int_equal(ps_connect(&options, &ps, &err), PS_DEADLINE_EXCEEDED);
    assert_in_range(now_ms() - began, 300, 1800);
    assert_int_equal(err.exit_code, 3);
    assert_non_null(strstr(err.message, address));
    assert_non_null(strstr(err.message, "refused"));
}

static void test_missing_server_is_counted(void **state)
{
    struct cluster cluster = {.extra = {"--join-timeout", "20"}};
    struct ps_error err;
    struct ps_client *ps;

    (void)state;
    temp_dir_init(&cluster.directory);
    setenv("PARAMD_LOG", "error", 1);
    cluster.server_count = 2;
    cluster.worker_count = 1;
    cluster_start_server(&cluster, 0);
    cluster_read_address(&cluster);
    struct ps_options options = {
        .coordinator = cluster.address, .join_timeout_ms = 400, .quiet = true};
    assert_int_equal(ps_connect(&options, &ps, &err), PS_DEADLINE_EXCEEDED);
    assert_int_equal(err.exit_code, 3);
    assert_non_null(strstr(err.message, "waiting for 1 of 2 servers"));
    cluster_stop(&cluster);
}

static void test_wrong_use_has_its_exit_code(void **state)
{
    struct ps_error err;
    struct ps_client *ps;
    struct temp_dir dir;
    char token[TEMP_PATH_BYTES];

    (void)state;
    unsetenv("PARAMD_COORDINATOR");
    assert_int_equal(ps_connect(NULL, &ps, &err), PS_INVALID_ARGUMENT);
    assert_int_equal(err.exit_code, 2);
    assert_non_null(strstr(err.message, "PARAMD_COORDINATOR"));
    assert_int_equal(ps_connect(&(struct ps_options){.coordinator = "nonsense"}, &ps, &err),
                     PS_INVALID_ARGUMENT);
    assert_int_equal(err.exit_code, 2);
    setenv("PARAMD_RANK", "first", 1);
    assert_int_equal(ps_connect(&(struct ps_options){.coordinator = "127.0.0.1:1"}, &ps, &err),
                     PS_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "PARAMD_RANK is 'first'"));
    unsetenv("PARAMD_RANK");
    temp_dir_init(&dir);
    temp_dir_write(&dir, "token", "secret", 6, token);
    chmod(token, 0644);
    assert_int_equal(
        ps_connect(&(struct ps_options){.coordinator = "127.0.0.1:1", .token_file = token}, &ps,
                   &err),
        PS_PERMISSION_DENIED);
    assert_non_null(strstr(err.message, "0644"));
    assert_int_equal(err.exit_code, 2);
    temp_dir_release(&dir);
}

static void test_wrong_token_is_refused(void **state)
{
    struct temp_dir dir;
    char right[TEMP_PATH_BYTES], wrong[TEMP_PATH_BYTES];
    struct ps_error err;
    struct ps_client *ps;

    (void)state;
    temp_dir_init(&dir);
    temp_dir_write(&dir, "right", "right", 5, right);
    temp_dir_write(&dir, "wrong", "wrong", 5, wrong);
    chmod(right, 0600);
    chmod(wrong, 0600);
    struct cluster cluster = {.extra = {"--token-file", right}};
    cluster_start(&cluster, 2, 1);
    struct ps_options options = {
        .coordinator = cluster.address, .token_file = wrong, .quiet = true};
    assert_int_equal(ps_connect(&options, &ps, &err), PS_UNAUTHENTICATED);
    assert_int_equal(err.exit_code, 2);
    options.token_file = right;
    assert_ps(ps_connect(&options, &ps, &err), &err);
    ps_close(ps);
    cluster_stop(&cluster);
    temp_dir_release(&dir);
}

static void test_another_spec_names_both(void **state)
{
    struct cluster cluster = {0};
    struct ps_error err;
    uint32_t id;

    (void)state;
    cluster_start(&cluster, 1, 1);
    struct ps_client *ps = cluster_connect(&cluster, 1);
    make(ps, "w", 4, 2, true);
    uint64_t shape = 8;
    struct ps_variable other = {.name = "w", .shape = &shape, .rank = 1};
    assert_int_equal(ps_create(ps, &other, &id, &err), PS_ALREADY_EXISTS);
    assert_non_null(strstr(err.message, "(4, 2)"));
    assert_non_null(strstr(err.message, "(8)"));
    ps_close(ps);
    cluster_stop(&cluster);
}

static void test_lost_server_ends_the_job(void **state)
{
    struct cluster cluster = {.extra = {"--dead-timeout", "1s", "--heartbeat", "100ms"}};
    struct ps_error err;
    float value;

    (void)state;
    cluster_start(&cluster, 2, 1);
    struct ps_client *ps = cluster_connect(&cluster, 1);
    uint32_t id = make(ps, "x", 3 * 65536, 0, true);
    static float values[3 * 65536];
    (void)value;
    use_sgd(ps);
    assert_ps(ps_start(ps, &err), &err);
    cluster_kill(&cluster, 1, SIGKILL);
    uint64_t began = now_ms();
    assert_int_not_equal(ps_pull(ps, id, PS_LATEST, values, NULL, &err), PS_OK);
    assert_in_range(now_ms() - began, 0, 20000);
    assert_int_equal(err.exit_code, 4);
    assert_non_null(strstr(err.message, "server 1"));
    ps_close(ps);
    cluster_stop(&cluster);
}

static void test_lost_coordinator_is_given_up(void **state)
{
    struct cluster cluster = {0};
    struct ps_error err;
    struct ps_client *ps;

    (void)state;
    cluster_start(&cluster, 1, 1);
    struct ps_options options = {.coordinator = cluster.address, .dead_ms = 1000, .quiet = true};
    assert_ps(ps_connect(&options, &ps, &err), &err);
    cluster_kill(&cluster, 0, SIGKILL);
    uint64_t began = now_ms();
    assert_int_equal(ps_start(ps, &err), PS_UNAVAILABLE);
    assert_in_range(now_ms() - began, 0, 8000);
    assert_int_equal(err.exit_code, 4);
    ps_close(ps);
    cluster_stop(&cluster);
}

/* ---- threads and processes ---- */

struct waiter {
    struct ps_client *ps;
    uint32_t id;
    float value;
    pthread_t thread;
};

static void *wait_for_step_1(void *context)
{
    struct waiter *waiter = context;
    struct ps_error err;
    ps_handle handle;

    assert_ps(ps_pull(waiter->ps, waiter->id, 1, &waiter->value, &handle, &err), &err);
    assert_ps(ps_wait(waiter->ps, handle, PS_DEFAULT_TIMEOUT, &err), &err);
    return NULL;
}

/* Many threads wait, each for its own; one of them turns the loop for all. */
static void test_threads_wait_at_the_same_time(void **state)
{
    struct cluster cluster = {0};
    struct ps_error err;
    struct waiter waiters[6];
    float gradient = -1;
    ps_handle handle;

    (void)state;
    cluster_start(&cluster, 2, 1);
    struct ps_client *ps = cluster_connect(&cluster, 1);
    uint32_t id = make(ps, "x", 1, 0, true);
    use_sgd(ps);
    assert_ps(ps_start(ps, &err), &err);
    for (int i = 0; i < 6; i++) {
        waiters[i] = (struct waiter){.ps = ps, .id = id};
        pthread_create(&waiters[i].thread, NULL, wait_for_step_1, &waiters[i]);
    }
    assert_ps(ps_step_begin(ps, 1, 1, &err), &err);
    assert_ps(ps_push(ps, id, &gradient, PS_GRADIENT, &handle, &err), &err);
    assert_ps(ps_step_end(ps, NULL, 0, &err), &err);
    assert_ps(ps_wait(ps, handle, PS_DEFAULT_TIMEOUT, &err), &err);
    for (int i = 0; i < 6; i++) {
        pthread_join(waiters[i].thread, NULL);
        assert_true(waiters[i].value == 1);
    }
    ps_close(ps);
    cluster_stop(&cluster);
}

static void *wait_until_closed(void *context)
{
    struct waiter *waiter = context;
    struct ps_error err;

    waiter->value = (float)ps_pull(waiter->ps, waiter->id, 1, &waiter->value, NULL, &err);
    return NULL;
}

static void test_close_cancels_who_waits(void **state)
{
    struct cluster cluster = {0};
    struct ps_error err;
    struct waiter waiters[3];

    (void)state;
    cluster_start(&cluster, 1, 1);
    struct ps_client *ps = cluster_connect(&cluster, 1);
    uint32_t id = make(ps, "x", 1, 0, true);
    use_sgd(ps);
    assert_ps(ps_start(ps, &err), &err);
    for (int i = 0; i < 3; i++) {
        waiters[i] = (struct waiter){.ps = ps, .id = id};
        pthread_create(&waiters[i].thread, NULL, wait_until_closed, &waiters[i]);
    }
    usleep(50000);
    uint64_t began = now_ms();
    ps_close(ps);
    assert_in_range(now_ms() - began, 0, 1000);
    for (int i = 0; i < 3; i++) {
        pthread_join(waiters[i].thread, NULL);
        assert_true(waiters[i].value == PS_CANCELLED);
    }
    cluster_stop(&cluster);
}

static void test_child_process_is_refused(void **state)
{
    struct cluster cluster = {0};
    struct ps_error err;
    int code;

    (void)state;
    cluster_start(&cluster, 1, 1);
    struct ps_client *ps = cluster_connect(&cluster, 1);
    pid_t child = fork();
    if (child == 0) {
        enum ps_status status = ps_start(ps, &err);
        ps_close(ps);
        _exit(status == PS_FAILED_PRECONDITION && strstr(err.message, "fork") ? 0 : 1);
    }
    waitpid(child, &code, 0);
    assert_int_equal(code, 0);
    make(ps, "x", 1, 0, true);
    use_sgd(ps);
    assert_ps(ps_start(ps, &err), &err); /* the parent's goes on */
    ps_close(ps);
    cluster_stop(&cluster);
}

/* The heart beats while the program computes. */
static void test_a_long_computation_is_no_death(void **state)
{
    struct cluster cluster = {
        .extra = {"--dead-timeout", "500ms", "--heartbeat", "100ms", "--restart-timeout", "500ms"}};
    struct ps_error err;
    struct ps_client *ps;

    (void)state;
    cluster_start(&cluster, 1, 1);
    struct ps_options options = {
        .coordinator = cluster.address, .heartbeat_ms = 100, .quiet = true};
    assert_ps(ps_connect(&options, &ps, &err), &err);
    usleep(1500000);
    make(ps, "x", 1, 0, true);
    use_sgd(ps);
    assert_ps(ps_start(ps, &err), &err);
    ps_close(ps);
    cluster_stop(&cluster);
}

/* ---- the library's face ---- */

static void test_library_exports_its_own_names_only(void **state)
{
    char command[700], library[512], line[256];
    size_t count = 0;

    (void)state;
    cluster_program(library, sizeof library, "libparamd.so");
    snprintf(command, sizeof command, "nm -D --defined-only '%s'", library);
    FILE *names = popen(command, "r");
    assert_non_null(names);
    while (fgets(line, sizeof line, names)) {
        char *name = strrchr(line, ' ');
        assert_non_null(name);
        if (strncmp(name + 1, "ps_", 3) != 0)
            fail_msg("libparamd.so exports %s", name + 1);
        count++;
    }
    assert_int_equal(pclose(names), 0);
    assert_in_range(count, 25, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_workers_train_on_three_servers),
        cmocka_unit_test(test_unix_sockets_do_as_well),
        cmocka_unit_test(test_the_example_learns_its_line),
        cmocka_unit_test(test_cut_connections_count_every_push_once),
        cmocka_unit_test(test_restarted_worker_goes_on),
        cmocka_unit_test(test_older_process_of_a_rank_is_fenced),
        cmocka_unit_test(test_pull_that_cannot_be_answered_ends_at_its_deadline),
        cmocka_unit_test(test_unreachable_coordinator_is_named),
        cmocka_unit_test(test_missing_server_is_counted),
        cmocka_unit_test(test_wrong_use_has_its_exit_code),
        cmocka_unit_test(test_wrong_token_is_refused),
        cmocka_unit_test(test_another_spec_names_both),
        cmocka_unit_test(test_lost_server_ends_the_job),
        cmocka_unit_test(test_lost_coordinator_is_given_up),
        cmocka_unit_test(test_threads_wait_at_the_same_time),
        cmocka_unit_test(test_close_cancels_who_waits),
        cmocka_unit_test(test_child_process_is_refused),
        cmocka_unit_test(test_a_long_computation_is_no_death),
        cmocka_unit_test(test_library_exports_its_own_names_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
