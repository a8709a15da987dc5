#include "tests/bench/cluster.h"
#include "tests/bench/floor_transfer.h"
#include "tests/bench/timing.h"
#include "tests/bench/worker.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>

/* What takes more than one worker: start-up, and the sum of several gradients in one server. */

enum { NAME_BYTES = 64, FAN_BYTES = 16 << 20 };

/* ---- start-up ---- */

struct start {
    struct bench *bench;
    unsigned servers, workers;
};

static enum status start_workers(const struct start *start, const struct cluster *cluster,
                                 struct subject *workers, struct error *err)
{
    struct worker_job jobs[SUBJECTS_MAX];
    enum status status = STATUS_OK;

    for (unsigned i = 0; i < start->workers && !status; i++) {
        jobs[i] = (struct worker_job){.coordinator = cluster->coordinator,
                                      .rank = i,
                                      .variables = 1,
                                      .bytes = 4096,
                                      .optimizer = "sgd",
                                      .cpu = -1};
        status = subject_start(&workers[i], worker_run, &jobs[i], -1, err);
    }
    for (unsigned i = 0; i < start->workers && !status; i++)
        status = subject_wait(&workers[i], err);
    return status;
}

static enum status run_start(void *context, unsigned what, unsigned count, double *ret_seconds,
                             struct error *err)
{
    const struct start *start = context;
    enum status status = STATUS_OK;

    (void)what;
    for (unsigned i = 0; i < count && !status; i++) {
        struct cluster cluster;
        struct subject workers[SUBJECTS_MAX] = {0};
        double began = now_s();
        status = cluster_start(start->bench, RAW_TCP, start->servers, start->workers, &cluster,
                               err);
        if (!status)
            status = start_workers(start, &cluster, workers, err);
        ret_seconds[i] = now_s() - began;
        for (unsigned k = 0; k < start->workers; k++)
            subject_stop(&workers[k]);
        cluster_stop(&cluster);
    }
    return status;
}

static enum status run_nothing(void *context, unsigned what, unsigned count, double *ret_seconds,
                               struct error *err)
{
    static const char *const words[] = {"/bin/true", NULL};
    const struct start *start = context;

    (void)what;
    for (unsigned i = 0; i < count; i++) {
        pid_t pids[SUBJECTS_MAX + CLUSTER_SERVERS_MAX];
        unsigned all = start->servers + start->workers;
        double began = now_s();
        for (unsigned k = 0; k < all; k++)
            if (program_start(words, "/dev/null", &pids[k], err))
                return err->status;
        siginfo_t ended;
        for (unsigned k = 0; k < all; k++)
            waitid(P_PID, (id_t)pids[k], &ended, WEXITED | WNOWAIT);
        ret_seconds[i] = now_s() - began;
        for (unsigned k = 0; k < all; k++)
            program_stop(pids[k]);
    }
    return STATUS_OK;
}

static void start_up(struct bench *bench, unsigned servers, unsigned workers)
{
    struct start start = {bench, servers, workers};
    const struct contender ours = {run_start, &start, 0};
    const struct contender floor = {run_nothing, &start, 0};
    struct comparison comparison;
    struct error err;
    char name[NAME_BYTES];

    snprintf(name, sizeof name, "start_up/%us%uw", servers, workers);
    if (!bench_wants(bench, name))
        return;
    if (bench_compare(bench, &ours, &floor, &comparison, &err))
        bench_failed(bench, name, &err);
    else
        bench_time_row(bench, name, "ms", 1e3, false, &comparison,
                       "as many processes that do nothing");
}

/* ---- fan-in ---- */

struct fan {
    struct subject *workers;
    unsigned count;
};

/* Every rank takes the same number of steps; rank 0's clock counts. */
static enum status run_fan(void *context, unsigned what, unsigned count, double *ret_seconds,
                           struct error *err)
{
    struct fan *fan = context;
    enum status status = STATUS_OK;

    for (unsigned i = 0; i < fan->count; i++)
        subject_order(&fan->workers[i], what, count);
    for (unsigned i = 0; i < fan->count && !status; i++)
        status = subject_wait(&fan->workers[i], err);
    if (!status)
        memcpy(ret_seconds, fan->workers[0].lane->seconds, count * sizeof(double));
    return status;
}

static enum status fan_compare(struct bench *bench, struct fan *fan, struct floor_transfer *floor,
                               struct comparison *ret_comparison, struct error *err)
{
    const struct contender ours = {run_fan, fan, WORKER_SUM};
    const struct contender raw = {bench_run_subject, &floor->client, FLOOR_PUSH};

    subject_order(&floor->client, FLOOR_PUSH | FLOOR_SEARCH, 1);
    enum status status = subject_wait(&floor->client, err);
    return status ? status : bench_compare(bench, &ours, &raw, ret_comparison, err);
}

static void fan_in(struct bench *bench, unsigned workers)
{
    struct subject subjects[SUBJECTS_MAX] = {0};
    struct worker_job jobs[SUBJECTS_MAX];
    struct fan fan = {subjects, workers};
    struct cluster cluster;
    struct floor_transfer floor = {0};
    struct comparison comparison;
    struct error err;
    char name[NAME_BYTES];

    snprintf(name, sizeof name, "fan_in/%ux16MiB", workers);
    if (!bench_wants(bench, name))
        return;
    enum status status = cluster_start(bench, RAW_TCP, 1, workers, &cluster, &err);
    for (unsigned i = 0; i < workers && !status; i++) {
        jobs[i] = (struct worker_job){.coordinator = cluster.coordinator,
                                      .rank = i,
                                      .variables = 1,
                                      .bytes = FAN_BYTES,
                                      .optimizer = "sgd",
                                      .cpu = -1};
        status = subject_start(&subjects[i], worker_run, &jobs[i], -1, &err);
    }
    for (unsigned i = 0; i < workers && !status; i++)
        status = subject_wait(&subjects[i], &err);
    if (!status)
        status = floor_transfer_start(&floor, RAW_TCP, FAN_BYTES, false, &err);
    if (!status)
        status = fan_compare(bench, &fan, &floor, &comparison, &err);
    for (unsigned i = 0; i < workers; i++)
        subject_stop(&subjects[i]);
    cluster_stop(&cluster);
    floor_transfer_stop(&floor);
    if (status)
        bench_failed(bench, name, &err);
    else
        bench_rate_row(bench, name, "GB/s", (double)workers * FAN_BYTES / 1e9, FAN_BYTES / 1e9,
                       &comparison, "one raw stream, 16 MiB, 1-byte ack");
}

void suite_cluster(struct bench *bench)
{
    if (bench_wants(bench, "start_up/") || bench_wants(bench, "fan_in/"))
        bench_heading("start_up: from the first fork until every worker's ps_start has returned.\n"
                      "fan_in: all workers push 16 MiB into one server, until the step is "
                      "committed (sum and SGD included).");
    start_up(bench, 1, 1);
    start_up(bench, 2, 2);
    fan_in(bench, 2);
    fan_in(bench, 4);
}
