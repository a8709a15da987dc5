/* The queue of events in virtual time, the seed's random numbers, and the two ways to speak: trace
 * and failure. */
#include "tests/sim/sim.h"

#include "common/base/hash.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static bool earlier(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->sequence < b->sequence;
}

void sim_push_event(struct sim *sim, uint64_t at_ns, enum sim_event_kind kind, void *subject,
                    uint64_t number)
{
    if (sim->event_count == sim->event_capacity) {
        sim->event_capacity = sim->event_capacity ? sim->event_capacity * 2 : 1024;
        sim->events = realloc(sim->events, sim->event_capacity * sizeof sim->events[0]);
        if (!sim->events)
            abort();
    }
    struct sim_event event = {.at_ns = at_ns < sim->now_ns ? sim->now_ns : at_ns,
                              .sequence = sim->sequence++,
                              .kind = kind,
                              .subject = subject,
                              .number = number};
    size_t at = sim->event_count++;
    while (at > 0 && earlier(&event, &sim->events[(at - 1) / 2])) {
        sim->events[at] = sim->events[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    sim->events[at] = event;
}

bool sim_pop_event(struct sim *sim, struct sim_event *ret_event)
{
    if (sim->event_count == 0)
        return false;
    *ret_event = sim->events[0];
    struct sim_event last = sim->events[--sim->event_count];
    size_t at = 0;
    for (;;) {
        size_t child = at * 2 + 1;
        if (child >= sim->event_count)
            break;
        if (child + 1 < sim->event_count && earlier(&sim->events[child + 1], &sim->events[child]))
            child++;
        if (!earlier(&sim->events[child], &last))
            break;
        sim->events[at] = sim->events[child];
        at = child;
    }
    if (sim->event_count)
        sim->events[at] = last;
    return true;
}

uint64_t sim_below(struct sim *sim, uint64_t bound)
{
    return rng_below(&sim->rng, bound);
}

bool sim_chance(struct sim *sim, uint64_t per_mille)
{
    return sim_below(sim, 1000) < per_mille;
}

uint64_t sim_delay(struct sim *sim)
{
    uint64_t dice = sim_below(sim, 1000);

    if (dice < 3)
        return sim_below(sim, 250 * SIM_MS);
    if (dice < 30)
        return sim_below(sim, 20 * SIM_MS);
    return 20 * SIM_US + sim_below(sim, sim->plan.delay_max_ns);
}

void sim_note(struct sim *sim, uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t words[5] = {sim->hash, sim->now_ns, a, b, c};

    sim->hash = hash_xxh3(words, sizeof words);
}

void sim_fail(struct sim *sim, const char *check, const char *format, ...)
{
    va_list args;

    snprintf(sim->failure_check, sizeof sim->failure_check, "%s", check);
    va_start(args, format);
    vsnprintf(sim->failure, sizeof sim->failure, format, args);
    va_end(args);
    longjmp(sim->failed, 1);
}

void sim_trace(struct sim *sim, const char *format, ...)
{
    va_list args;

    if (!sim->trace)
        return;
    printf("%12.6f  ", (double)sim->now_ns / 1e9);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}
