/* Where time comes from: the machine's monotonic clock, or a test's or simulator's own. */
#ifndef PARAMD_COMMON_BASE_CLOCK_H
#define PARAMD_COMMON_BASE_CLOCK_H

#include <stdint.h>

struct clock {
    /* Nanoseconds from any fixed point, never backwards. */
    uint64_t (*now_ns)(void *context);
    void *context; /* borrowed */
};

/* CLOCK_MONOTONIC. */
struct clock clock_machine(void);

static inline uint64_t clock_now_ns(const struct clock *clock)
{
    return clock->now_ns(clock->context);
}

static inline uint64_t clock_now_ms(const struct clock *clock)
{
    return clock_now_ns(clock) / 1000000;
}

#endif
