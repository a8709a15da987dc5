#include "tests/bench/cluster.h"
#include "tests/bench/floor_transfer.h"
#include "tests/bench/worker.h"

#include <string.h>

/* Push, pull and step of one variable, and small messages: one worker, one server, a raw pair
 * beside them. */

/*
 * Where a message is small, the time is that of waking a process, and that depends four-fold on
 * whether both happen to be on one core. There ours and the floor are pinned, each process to a
 * core of its own.
 */
enum { NAME_BYTES = 64, PINNED_BELOW_BYTES = 1 << 20 };

static const char *const transport_names[] = {[RAW_TCP] = "tcp", [RAW_UNIX] = "unix"};

/* A cluster with one worker, and the floor's two processes. */
struct setting {
    struct cluster cluster;
    struct worker_job job;
    struct subject worker;
    struct floor_transfer floor;
};

static void setting_release(struct setting *setting)
{
    subject_stop(&setting->worker);
    cluster_stop(&setting->cluster);
    floor_transfer_stop(&setting->floor);
}

static enum status setting_init(struct setting *setting, const struct bench *bench,
                                enum raw_transport transport, const struct worker_job *job,
                                struct error *err)
{
    size_t bytes = job->variables * job->bytes;
    bool pinned = bytes < PINNED_BELOW_BYTES;

    *setting = (struct setting){.job = *job};
    enum status status = cluster_start(bench, transport, 1, job->late_partner ? 2 : 1,
                                       &setting->cluster, err);
    if (!status) {
        process_pin(setting->cluster.servers[0], pinned ? 0 : -1);
        setting->job.coordinator = setting->cluster.coordinator;
        setting->job.cpu = pinned ? 1 : -1;
        status = subject_start(&setting->worker, worker_run, &setting->job, -1, err);
    }
    if (!status)
        status = subject_wait(&setting->worker, err);
    if (!status)
        status = floor_transfer_start(&setting->floor, transport, bytes, pinned, err);
    if (status)
        setting_release(setting);
    return status;
}

/* The best piece size first; then pairs. */
static enum status against_floor(struct bench *bench, struct setting *setting,
                                 enum worker_work work, enum floor_work floor_work,
                                 struct comparison *ret_comparison, struct error *err)
{
    const struct contender ours = {bench_run_subject, &setting->worker, work};
    const struct contender floor = {bench_run_subject, &setting->floor.client, floor_work};
    enum status status = STATUS_OK;

    if (floor_work != FLOOR_PING) {
        subject_order(&setting->floor.client, floor_work | FLOOR_SEARCH, 1);
        status = subject_wait(&setting->floor.client, err);
    }
    return status ? status : bench_compare(bench, &ours, &floor, ret_comparison, err);
}

static const char *size_name(size_t bytes, char ret_name[NAME_BYTES])
{
    if (bytes >= 1 << 20)
        snprintf(ret_name, NAME_BYTES, "%zuMiB", bytes >> 20);
    else
        snprintf(ret_name, NAME_BYTES, "%zuKiB", bytes >> 10);
    return ret_name;
}

/* ---- push and pull ---- */

static void transfer_row(struct bench *bench, struct setting *setting, const char *name,
                         enum worker_work work, enum floor_work floor_work, const char *floor_text)
{
    struct comparison comparison;
    struct error err;
    char floor_name[NAME_BYTES + SUBJECT_NOTE_BYTES];

    if (!bench_wants(bench, name))
        return;
    if (against_floor(bench, setting, work, floor_work, &comparison, &err)) {
        bench_failed(bench, name, &err);
        return;
    }
    const char *note = setting->floor.client.lane->note;
    snprintf(floor_name, sizeof floor_name, "%s%s%s", floor_text, note[0] ? ", " : "", note);
    size_t bytes = setting->job.bytes;
    if (bytes >= 1 << 20)
        bench_rate_row(bench, name, "GB/s", (double)bytes / 1e9, (double)bytes / 1e9, &comparison,
                       floor_name);
    else
        bench_time_row(bench, name, "us", 1e6, false, &comparison, floor_name);
}

static void transfer(struct bench *bench, enum raw_transport transport, size_t bytes)
{
    const struct worker_job job = {
        .variables = 1, .bytes = bytes, .optimizer = "sgd", .late_partner = true};
    struct setting setting;
    struct error err;
    char push[NAME_BYTES], pull[NAME_BYTES], size[NAME_BYTES];

    snprintf(push, sizeof push, "push/%s/%s", transport_names[transport], size_name(bytes, size));
    snprintf(pull, sizeof pull, "pull/%s/%s", transport_names[transport], size);
    if (!bench_wants(bench, push) && !bench_wants(bench, pull))
        return;
    if (setting_init(&setting, bench, transport, &job, &err)) {
        bench_failed(bench, push, &err);
        return;
    }
    transfer_row(bench, &setting, push, WORKER_PUSH, FLOOR_PUSH, "raw send, 1-byte ack");
    transfer_row(bench, &setting, pull, WORKER_PULL, FLOOR_PULL, "1-byte ask, raw send");
    setting_release(&setting);
}

/* ---- step ---- */

static void step(struct bench *bench, enum raw_transport transport, size_t bytes)
{
    const struct worker_job job = {.variables = 1, .bytes = bytes, .optimizer = "adam"};
    struct setting setting;
    struct comparison comparison;
    struct error err;
    char name[NAME_BYTES], size[NAME_BYTES], floor_name[NAME_BYTES + SUBJECT_NOTE_BYTES];

    snprintf(name, sizeof name, "step_adam/%s/%s", transport_names[transport],
             size_name(bytes, size));
    if (!bench_wants(bench, name))
        return;
    enum status status = setting_init(&setting, bench, transport, &job, &err);
    if (!status) {
        status = against_floor(bench, &setting, WORKER_STEP, FLOOR_STEP, &comparison, &err);
        snprintf(floor_name, sizeof floor_name, "raw pipelined push, Adam, pull, %s",
                 setting.floor.client.lane->note);
        setting_release(&setting);
    }
    if (status)
        bench_failed(bench, name, &err);
    else
        bench_time_row(bench, name, "ms", 1e3, false, &comparison, floor_name);
}

/* ---- small messages ---- */

static void small(struct bench *bench, enum raw_transport transport, const char *what, size_t bytes,
                  bool late_partner, enum worker_work work)
{
    const struct worker_job job = {
        .variables = 1, .bytes = bytes, .optimizer = "sgd", .late_partner = late_partner};
    struct setting setting;
    struct comparison comparison;
    struct error err;
    char name[NAME_BYTES];

    snprintf(name, sizeof name, "%s/%s/p50", what, transport_names[transport]);
    if (!bench_wants(bench, name))
        return;
    enum status status = setting_init(&setting, bench, transport, &job, &err);
    if (!status) {
        status = against_floor(bench, &setting, work, FLOOR_PING, &comparison, &err);
        setting_release(&setting);
    }
    if (status) {
        bench_failed(bench, name, &err);
        return;
    }
    bench_time_row(bench, name, "us", 1e6, false, &comparison, "64-byte raw ping-pong");
    snprintf(name, sizeof name, "%s/%s/p99", what, transport_names[transport]);
    bench_time_row(bench, name, "us", 1e6, true, &comparison, "64-byte raw ping-pong");
}

static void many_small(struct bench *bench, enum raw_transport transport)
{
    const struct worker_job many = {.variables = 100, .bytes = 1024, .optimizer = "sgd"};
    const struct worker_job one = {.variables = 1, .bytes = 102400, .optimizer = "sgd"};
    struct setting with_many, with_one;
    struct comparison comparison;
    struct error err;
    char name[NAME_BYTES];

    snprintf(name, sizeof name, "step_100x1KiB/%s", transport_names[transport]);
    if (!bench_wants(bench, name))
        return;
    enum status status = setting_init(&with_many, bench, transport, &many, &err);
    if (!status) {
        status = setting_init(&with_one, bench, transport, &one, &err);
        if (!status) {
            const struct contender ours = {bench_run_subject, &with_many.worker, WORKER_STEP};
            const struct contender floor = {bench_run_subject, &with_one.worker, WORKER_STEP};
            status = bench_compare(bench, &ours, &floor, &comparison, &err);
            setting_release(&with_one);
        }
        setting_release(&with_many);
    }
    if (status)
        bench_failed(bench, name, &err);
    else
        bench_time_row(bench, name, "us", 1e6, false, &comparison, "ours: step of one of 100 KiB");
}

void suite_transfer(struct bench *bench)
{
    static const size_t sizes[] = {4 << 10, 64 << 10, 1 << 20, 16 << 20, 64 << 20};
    static const size_t step_sizes[] = {1 << 20, 16 << 20, 64 << 20};

    if (bench_wants(bench, "push/") || bench_wants(bench, "pull/"))
        bench_heading("push: from ps_push until the server has acknowledged all bytes; it "
                      "computes nothing yet.\n"
                      "pull: from ps_pull until the values are there. One worker, one "
                      "server; the worker's arrays are not in cache.");
    for (int transport = RAW_TCP; transport <= RAW_UNIX; transport++)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
            transfer(bench, (enum raw_transport)transport, sizes[i]);
    if (bench_wants(bench, "step_adam/"))
        bench_heading("step_adam: a whole step of one variable: begin, push, Adam on the "
                      "server, pull of the new values, end.");
    for (int transport = RAW_TCP; transport <= RAW_UNIX; transport++)
        for (size_t i = 0; i < sizeof step_sizes / sizeof step_sizes[0]; i++)
            step(bench, (enum raw_transport)transport, step_sizes[i]);
    if (bench_wants(bench, "push_4KiB/") || bench_wants(bench, "step_1float/") ||
        bench_wants(bench, "barrier/") || bench_wants(bench, "step_100x1KiB/"))
        bench_heading("Small messages: both sides sleep in between, each on a core of its "
                      "own. step_1float: a whole "
                      "step (SGD) of one number.");
    for (int transport = RAW_TCP; transport <= RAW_UNIX; transport++) {
        small(bench, (enum raw_transport)transport, "push_4KiB", 4096, true, WORKER_PUSH);
        small(bench, (enum raw_transport)transport, "step_1float", sizeof(float), false,
              WORKER_STEP);
        small(bench, (enum raw_transport)transport, "barrier", sizeof(float), false,
              WORKER_BARRIER);
        many_small(bench, (enum raw_transport)transport);
    }
}
