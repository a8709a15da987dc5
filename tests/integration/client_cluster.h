/* Real servers for a test, on free ports, ended with it; and workers as threads. */
#ifndef PARAMD_TESTS_INTEGRATION_CLIENT_CLUSTER_H
#define PARAMD_TESTS_INTEGRATION_CLIENT_CLUSTER_H

#include "tests/lib/temp_dir.h"
#include "tests/lib/test.h"
#include "worker/client/ps.h"
#include "worker/client/reader.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CLUSTER_SERVERS_MAX = 5, CLUSTER_WORKERS_MAX = 4, CLUSTER_ARGS_MAX = 32 };

struct cluster {
    struct temp_dir directory;
    char address[256]; /* of the coordinator */
    pid_t servers[CLUSTER_SERVERS_MAX];
    uint32_t server_count, worker_count;
    const char *extra[8]; /* more options of every server, NULL-terminated */
    const char *listen;   /* default: 127.0.0.1:0 */
};

static inline pid_t cluster_spawn(char *const argv[])
{
    pid_t parent = getpid();
    pid_t child = fork();

    assert_true(child >= 0);
    if (child > 0)
        return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || !freopen("/dev/null", "r", stdin))
        _exit(1);
    execv(argv[0], argv);
    _exit(127);
}

static inline void cluster_program(char *ret_path, size_t capacity, const char *name)
{
    const char *build = getenv("PARAMD_BUILD");

    snprintf(ret_path, capacity, "%s/%s", build ? build : "build", name);
}

static inline void cluster_start_server(struct cluster *cluster, uint32_t index)
{
    char program[512], listen[300], file[512], servers[16], workers[16];
    char *argv[CLUSTER_ARGS_MAX] = {0};
    size_t n = 0;

    cluster_program(program, sizeof program, "paramd");
    snprintf(file, sizeof file, "%s/address-%u", cluster->directory.path, index);
    snprintf(servers, sizeof servers, "%u", cluster->server_count);
    snprintf(workers, sizeof workers, "%u", cluster->worker_count);
    if (cluster->listen)
        snprintf(listen, sizeof listen, "unix:%s/s%u", cluster->directory.path, index);
    else
        snprintf(listen, sizeof listen, "127.0.0.1:0");
    argv[n++] = program;
    argv[n++] = (char *)"--listen";
    argv[n++] = listen;
    argv[n++] = (char *)"--address-file";
    argv[n++] = file;
    if (index == 0) {
        argv[n++] = (char *)"--servers";
        argv[n++] = servers;
        argv[n++] = (char *)"--workers";
        argv[n++] = workers;
    } else {
        argv[n++] = (char *)"--coordinator";
        argv[n++] = cluster->address;
    }
    for (size_t i = 0; cluster->extra[i]; i++)
        argv[n++] = (char *)cluster->extra[i];
    cluster->servers[index] = cluster_spawn(argv);
}

/* Waits for the file that a server writes when it can be reached. */
static inline void cluster_read_address(struct cluster *cluster)
{
    char path[512];

    snprintf(path, sizeof path, "%s/address-0", cluster->directory.path);
    for (int i = 0; i < 2000; i++) {
        FILE *file = fopen(path, "r");
        bool got = file && fgets(cluster->address, sizeof cluster->address, file);
        if (file)
            fclose(file);
        if (got && strchr(cluster->address, '\n')) {
            *strchr(cluster->address, '\n') = 0;
            return;
        }
        if (waitpid(cluster->servers[0], NULL, WNOHANG) > 0) {
            cluster->servers[0] = 0;
            break;
        }
        usleep(5000);
    }
    fail_msg("the first server wrote no address to %s", path);
}

static inline void cluster_start(struct cluster *cluster, uint32_t servers, uint32_t workers)
{
    setenv("PARAMD_LOG", "error", 1);
    temp_dir_init(&cluster->directory);
    cluster->server_count = servers;
    cluster->worker_count = workers;
    cluster_start_server(cluster, 0);
    cluster_read_address(cluster);
    for (uint32_t i = 1; i < servers; i++)
        cluster_start_server(cluster, i);
}

static inline void cluster_kill(struct cluster *cluster, uint32_t index, int signal_number)
{
    kill(cluster->servers[index], signal_number);
    waitpid(cluster->servers[index], NULL, 0);
    cluster->servers[index] = 0;
}

static inline void cluster_stop(struct cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->server_count; i++) {
        if (cluster->servers[i])
            cluster_kill(cluster, i, SIGKILL);
    }
    temp_dir_release(&cluster->directory);
}

/* For calls in any thread: a failed one says why and ends the program. */
#define assert_ps(call, err)                                                                       \
    do {                                                                                           \
        enum ps_status assert_ps_status = (call);                                                  \
        if (assert_ps_status != PS_OK) {                                                           \
            fprintf(stderr, "%s:%d: %s: %d: %s\n", __FILE__, __LINE__, #call,                      \
                    (int)assert_ps_status, (err)->message);                                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static inline struct ps_client *cluster_connect(const struct cluster *cluster, int rank_plus_1)
{
    struct ps_error err;
    struct ps_client *client;
    struct ps_options options = {
        .coordinator = cluster->address, .rank_plus_1 = rank_plus_1, .quiet = true};

    assert_ps(ps_connect(&options, &client, &err), &err);
    return client;
}

/* Runs body(cluster, rank) once a rank, each in a thread; a failed assertion there ends the
 * program. */
struct cluster_thread {
    struct cluster *cluster;
    uint32_t rank;
    void (*body)(struct cluster *cluster, uint32_t rank);
    pthread_t thread;
};

static inline void *cluster_thread_run(void *context)
{
    struct cluster_thread *thread = context;

    thread->body(thread->cluster, thread->rank);
    return NULL;
}

static inline void cluster_run(struct cluster *cluster,
                               void (*body)(struct cluster *cluster, uint32_t rank))
{
    struct cluster_thread threads[CLUSTER_WORKERS_MAX];

    for (uint32_t r = 0; r < cluster->worker_count; r++) {
        threads[r] = (struct cluster_thread){cluster, r, body, 0};
        assert_int_equal(pthread_create(&threads[r].thread, NULL, cluster_thread_run, &threads[r]),
                         0);
    }
    for (uint32_t r = 0; r < cluster->worker_count; r++)
        pthread_join(threads[r].thread, NULL);
}

#endif
