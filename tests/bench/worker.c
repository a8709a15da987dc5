#include "tests/bench/worker.h"

#include "tests/bench/raw_socket.h"
#include "tests/bench/timing.h"
#include "worker/client/ps.h"

#include <pthread.h>
#include <stdio.h>

/* As the floor's client: pushes and pulls walk through 128 MiB, steps use the same arrays. */
#define WALK_BYTES ((size_t)128 << 20)

enum { VARIABLES_MAX = 128 };

struct worker {
    struct orders *orders;
    const struct worker_job *job;
    struct ps_client *ps, *partner; /* partner may be NULL */
    uint32_t ids[VARIABLES_MAX];
    ps_handle handles[VARIABLES_MAX];
    uint8_t *walk, *grads, *values;
    size_t walk_at;
    uint64_t step, barriers;
    struct ps_error err;
};

static void check(struct worker *worker, enum ps_status status)
{
    if (status != PS_OK)
        orders_fail(worker->orders, "rank %u: %s", worker->job->rank, worker->err.message);
}

static struct ps_client *join(struct worker *worker, unsigned rank)
{
    struct ps_options options = {
        .coordinator = worker->job->coordinator, .rank_plus_1 = (int)rank + 1, .quiet = true};
    struct ps_client *ps;

    check(worker, ps_connect(&options, &ps, &worker->err));
    for (unsigned i = 0; i < worker->job->variables; i++) {
        char name[16];
        const uint64_t shape = worker->job->bytes / sizeof(float);
        snprintf(name, sizeof name, "v%u", i);
        const struct ps_variable variable = {.name = name, .shape = &shape, .rank = 1};
        check(worker, ps_create(ps, &variable, &worker->ids[i], &worker->err));
    }
    check(worker, ps_configure(ps, 0, worker->job->optimizer, NULL, 0, &worker->err));
    return ps;
}

static void *start_partner(void *context)
{
    struct worker *worker = context;
    struct ps_error err;

    if (ps_start(worker->partner, &err) != PS_OK)
        orders_fail(worker->orders, "rank 1: %s", err.message);
    return NULL;
}

static void start(struct worker *worker)
{
    pthread_t thread;

    worker->ps = join(worker, worker->job->rank);
    if (worker->job->late_partner) {
        worker->partner = join(worker, worker->job->rank + 1);
        if (pthread_create(&thread, NULL, start_partner, worker) != 0)
            orders_fail(worker->orders, "a thread cannot be started");
    }
    check(worker, ps_start(worker->ps, &worker->err));
    if (worker->partner)
        pthread_join(thread, NULL);
}

static uint8_t *walk(struct worker *worker, size_t bytes)
{
    if (worker->walk_at + bytes > WALK_BYTES)
        worker->walk_at = 0;
    uint8_t *place = worker->walk + worker->walk_at;
    worker->walk_at += (bytes + 63) / 64 * 64;
    return place;
}

static double push_once(struct worker *worker)
{
    ps_handle handle;
    uint64_t step = ++worker->step;

    check(worker, ps_step_begin(worker->ps, step, 1, &worker->err));
    const void *grad = walk(worker, worker->job->bytes);
    double began = now_s();
    check(worker, ps_push(worker->ps, worker->ids[0], grad, PS_GRADIENT, &handle, &worker->err));
    check(worker, ps_wait_staged(worker->ps, handle, PS_DEFAULT_TIMEOUT, &worker->err));
    double seconds = now_s() - began;
    if (worker->partner) {
        check(worker, ps_step_begin(worker->partner, step, 0, &worker->err));
        check(worker, ps_step_end(worker->partner, NULL, 0, &worker->err));
    }
    check(worker, ps_step_end(worker->ps, NULL, 0, &worker->err));
    if (worker->partner)
        check(worker, ps_wait_step(worker->partner, step, PS_DEFAULT_TIMEOUT, &worker->err));
    check(worker, ps_wait(worker->ps, handle, PS_DEFAULT_TIMEOUT, &worker->err));
    return seconds;
}

static double pull_once(struct worker *worker)
{
    void *values = walk(worker, worker->job->bytes);
    double began = now_s();

    check(worker, ps_pull(worker->ps, worker->ids[0], PS_LATEST, values, NULL, &worker->err));
    return now_s() - began;
}

static double step_once(struct worker *worker)
{
    double began = now_s();

    check(worker, ps_step_begin(worker->ps, ++worker->step, 1, &worker->err));
    for (unsigned i = 0; i < worker->job->variables; i++)
        check(worker,
              ps_push_pull(worker->ps, worker->ids[i], worker->grads + i * worker->job->bytes,
                           worker->values + i * worker->job->bytes, &worker->handles[i],
                           &worker->err));
    check(worker, ps_step_end(worker->ps, NULL, 0, &worker->err));
    for (unsigned i = 0; i < worker->job->variables; i++)
        check(worker, ps_wait(worker->ps, worker->handles[i], PS_DEFAULT_TIMEOUT, &worker->err));
    return now_s() - began;
}

static double sum_once(struct worker *worker)
{
    double began = now_s();
    ps_handle handle;

    check(worker, ps_step_begin(worker->ps, ++worker->step, 1, &worker->err));
    check(worker,
          ps_push(worker->ps, worker->ids[0], worker->grads, PS_GRADIENT, &handle, &worker->err));
    check(worker, ps_step_end(worker->ps, NULL, 0, &worker->err));
    check(worker, ps_wait(worker->ps, handle, PS_DEFAULT_TIMEOUT, &worker->err));
    return now_s() - began;
}

static double barrier_once(struct worker *worker)
{
    char name[32];

    snprintf(name, sizeof name, "b%llu", (unsigned long long)worker->barriers++);
    double began = now_s();
    check(worker, ps_barrier(worker->ps, name, NULL, 0, PS_DEFAULT_TIMEOUT, &worker->err));
    return now_s() - began;
}

static double work_once(struct worker *worker, enum worker_work work)
{
    switch (work) {
    case WORKER_PUSH:
        return push_once(worker);
    case WORKER_PULL:
        return pull_once(worker);
    case WORKER_STEP:
        return step_once(worker);
    case WORKER_SUM:
        return sum_once(worker);
    case WORKER_BARRIER:
        return barrier_once(worker);
    }
    return 0;
}

static void take_memory(struct worker *worker)
{
    const struct worker_job *job = worker->job;
    size_t all = job->variables * job->bytes;

    worker->walk = raw_memory(WALK_BYTES + job->bytes);
    worker->grads = raw_memory(all);
    worker->values = raw_memory(all);
    if (!worker->walk || !worker->grads || !worker->values || job->variables > VARIABLES_MAX)
        orders_fail(worker->orders, "rank %u: no memory", job->rank);
    for (size_t i = 0; i < all / sizeof(float); i++)
        ((float *)(void *)worker->grads)[i] = 0.01f;
}

void worker_run(struct orders *orders, void *context)
{
    struct worker worker = {.orders = orders, .job = context};
    unsigned what, count;

    process_pin(0, worker.job->cpu);
    start(&worker);
    orders_done(orders); /* the first answer comes unasked: it has joined */
    take_memory(&worker);
    while (orders_next(orders, &what, &count)) {
        for (unsigned i = 0; i < count; i++)
            orders->lane->seconds[i] = work_once(&worker, (enum worker_work)what);
        orders_done(orders);
    }
    if (worker.partner)
        ps_close(worker.partner);
    ps_close(worker.ps);
}
