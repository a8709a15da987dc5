#include "common/base/clock.h"

#include "tests/lib/test.h"

static uint64_t fixed_ns(void *context)
{
    return *(const uint64_t *)context;
}

static void test_machine_clock_never_goes_back(void **state)
{
    struct clock clock = clock_machine();
    uint64_t before = clock_now_ns(&clock);

    (void)state;
    for (int i = 0; i < 1000; i++) {
        uint64_t now = clock_now_ns(&clock);
        assert_true(now >= before);
        before = now;
    }
}

static void test_milliseconds_are_whole_ones_of_any_clock(void **state)
{
    uint64_t now_ns = 1999999;
    struct clock clock = {.now_ns = fixed_ns, .context = &now_ns};

    (void)state;
    assert_int_equal(clock_now_ms(&clock), 1);
    now_ns = 2000000;
    assert_int_equal(clock_now_ms(&clock), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_machine_clock_never_goes_back),
        cmocka_unit_test(test_milliseconds_are_whole_ones_of_any_clock),
    };
    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
