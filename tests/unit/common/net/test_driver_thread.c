#include "tests/lib/localhost.h"
#include "tests/lib/test.h"
#include "tests/lib/toy_engine.h"

#include "common/net/resolve.h"

#include <pthread.h>
#include <stdatomic.h>

/* What other threads may do to a driver: wake and stop it, nothing else. */

static void *wake(void *context)
{
    net_driver_wake(context);
    return NULL;
}

static void *stop(void *context)
{
    net_driver_stop(context);
    return NULL;
}

static void test_wait_ends_when_another_thread_wakes(void **state)
{
    struct toy toy;

    (void)state;
    toy_start(&toy, NULL);
    net_driver_run_once(toy.driver, 0);
    for (int i = 0; i < 200; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, wake, toy.driver), 0);
        net_driver_run_once(toy.driver, UINT64_MAX);
        pthread_join(thread, NULL);
        net_driver_run_once(toy.driver, 0); /* takes a wake that came late */
    }
    toy_stop(&toy);
}

static void test_run_ends_when_another_thread_stops(void **state)
{
    struct toy toy;

    (void)state;
    toy_start(&toy, NULL);
    for (int i = 0; i < 50; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, stop, toy.driver), 0);
        net_driver_run(toy.driver);
        pthread_join(thread, NULL);
    }
    toy_stop(&toy);
}

/* One lock, several threads that drive the loop in turns: as the client library does it. */
struct shared_driver {
    struct toy_pair pair;
    pthread_mutex_t lock;
    atomic_int waiting;
};

static void *send_and_wait(void *context)
{
    struct shared_driver *shared = context;

    for (int i = 0; i < 100; i++) {
        atomic_fetch_add(&shared->waiting, 1);
        net_driver_wake(shared->pair.client.driver);
        pthread_mutex_lock(&shared->lock);
        atomic_fetch_sub(&shared->waiting, 1);
        size_t wanted = shared->pair.client.frames + 1;
        assert_int_equal(
            toy_send(&shared->pair.client, shared->pair.at_client, FRAME_HEARTBEAT, "abcd", 4),
            STATUS_OK);
        while (shared->pair.client.frames < wanted) {
            net_driver_run_once(shared->pair.client.driver, 100000);
            net_driver_run_once(shared->pair.server.driver, 0);
        }
        pthread_mutex_unlock(&shared->lock);
    }
    return NULL;
}

static void test_threads_drive_in_turns(void **state)
{
    struct shared_driver shared;
    pthread_t threads[3];

    (void)state;
    pthread_mutex_init(&shared.lock, NULL);
    atomic_init(&shared.waiting, 0);
    toy_pair_start(&shared.pair, "127.0.0.1:0", NULL, NULL);
    shared.pair.server.echo = true;
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, send_and_wait, &shared), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(shared.pair.client.frames, 300);
    toy_pair_stop(&shared.pair);
    pthread_mutex_destroy(&shared.lock);
}

static void looked_up(void *context)
{
    atomic_fetch_add((atomic_int *)context, 1);
}

static void test_look_ups_may_be_abandoned_at_any_time(void **state)
{
    struct address address;
    struct error err = {0};
    atomic_int done;

    (void)state;
    skip_without_localhost();
    atomic_init(&done, 0);
    assert_ok(address_parse("localhost:1", &address, &err), &err);
    resolve_abandon(NULL);
    for (int i = 0; i < 50; i++) {
        struct socket_addresses found;
        enum status status = STATUS_INTERNAL;
        struct resolve *resolve = resolve_start(&address, looked_up, &done);
        assert_non_null(resolve);
        bool wait = i % 2;
        while (wait && !resolve_finished(resolve, &status, &found, &err))
            continue;
        if (wait)
            assert_int_equal(status, STATUS_OK);
        resolve_abandon(resolve);
    }
    assert_in_range(atomic_load(&done), 25, 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wait_ends_when_another_thread_wakes),
        cmocka_unit_test(test_run_ends_when_another_thread_stops),
        cmocka_unit_test(test_threads_drive_in_turns),
        cmocka_unit_test(test_look_ups_may_be_abandoned_at_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
