/* The counters of alloc.h are shared by all threads. */
#include "common/base/alloc.h"

#include "tests/lib/test.h"

#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 4, ROUNDS = 2000 };

static atomic_uint failures;

static void *allocate(void *context)
{
    (void)context;
    for (int i = 0; i < ROUNDS; i++) {
        void *pointer = alloc_zero(16);
        if (!pointer)
            atomic_fetch_add(&failures, 1);
        alloc_free(pointer);
    }
    return NULL;
}

static void run_threads(void)
{
    pthread_t threads[THREADS];

    atomic_store(&failures, 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, allocate, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

static void test_no_success_is_lost_to_a_race(void **state)
{
    uint64_t before = alloc_count();

    (void)state;
    run_threads();
    assert_int_equal(alloc_count() - before, THREADS * ROUNDS);
    assert_int_equal(atomic_load(&failures), 0);
}

static void test_exactly_one_thread_meets_the_failure(void **state)
{
    (void)state;
    alloc_fail_nth(THREADS * ROUNDS / 2, false);
    run_threads();
    alloc_fail_nth(0, false);
    assert_int_equal(atomic_load(&failures), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_success_is_lost_to_a_race),
        cmocka_unit_test(test_exactly_one_thread_meets_the_failure),
    };
    return cmocka_run_group_tests_name("alloc_thread", tests, NULL, NULL);
}
