/* The simulator's command line: many seeds and their totals, one seed with its trace, or the seeded
 * mistakes. */
#include "common/base/options.h"
#include "common/tensor/kernels.h"
#include "tests/sim/sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    REPEAT_EVERY = 50, /* of so many seeds one is run twice, and must do the same */
    PERCENT_WITH_FAULT = 90,
};

static struct sim sim; /* too large for a stack */

static void add_totals(struct sim_totals *to, const struct sim_totals *more)
{
    uint64_t *sums = (uint64_t *)to;
    const uint64_t *parts = (const uint64_t *)more;

    for (size_t i = 0; i < sizeof *to / sizeof *sums; i++)
        sums[i] += parts[i];
}

static bool run_seed(uint64_t seed, bool trace, uint64_t *ret_hash)
{
    if (sim_run(&sim, seed, trace)) {
        *ret_hash = sim.hash;
        return true;
    }
    fprintf(stderr,
            "seed %" PRIu64 ": %s at %.6f s: %s\n  repeat it: build/sim --seed %" PRIu64
            " --trace\n",
            seed, sim.failure_check, (double)sim.now_ns / 1e9, sim.failure, seed);
    return false;
}

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void print_totals(const struct sim_totals *t, double elapsed)
{
    printf("%" PRIu64 " seeds, %" PRIu64 " committed steps, %" PRIu64
           " events in %.1f s (%.1f seeds/s)\n",
           t->seeds, t->steps, t->events, elapsed, (double)t->seeds / elapsed);
    printf("  faults     %" PRIu64 " worker crashes, %" PRIu64 " resets, %" PRIu64
           " worker freezes (%" PRIu64 " with a successor), %" PRIu64 " server freezes, %" PRIu64
           " reader freezes, %" PRIu64 " blackouts, %" PRIu64 " failed sends\n",
           t->crashes, t->resets, t->freezes, t->zombies, t->server_freezes, t->reader_freezes,
           t->blackouts, t->send_failures);
    printf("  frames     %" PRIu64 " delivered, %" PRIu64 " dropped, %" PRIu64
           " cut in the middle, %" PRIu64 " doubled, %" PRIu64 " left in the socket, %" PRIu64
           " refused\n",
           t->frames, t->dropped, t->partial, t->doubled, t->waits, t->refused);
    printf("  workers    %" PRIu64 " pushes, %" PRIu64 " blocks answered as duplicates, %" PRIu64
           " pulls (%" PRIu64 " given up), %" PRIu64 " of the latest, %" PRIu64
           " processes fenced\n",
           t->pushes, t->duplicates, t->pulls, t->expired, t->latest, t->fenced);
    printf("  readers    %" PRIu64 " snapshots read (%" PRIu64 " with slots, %" PRIu64
           " by digest), %" PRIu64 " gone, %" PRIu64
           " changes of the learning rate; blocks starved by readers in %" PRIu64 " events\n",
           t->snapshots, t->slot_reads, t->digests, t->gone, t->rate_changes, t->starved);
    printf("  seeds with a crash %" PRIu64 ", with drops %" PRIu64 ", with doubles %" PRIu64
           "; %" PRIu64 " seeds run twice, with the same events\n",
           t->seeds_with_crash, t->seeds_with_drop, t->seeds_with_double, t->repeated);
}

static bool enough_faults(const struct sim_totals *t)
{
    uint64_t least = t->seeds * PERCENT_WITH_FAULT / 100;

    if (t->seeds_with_crash >= least && t->seeds_with_drop >= least &&
        t->seeds_with_double >= least)
        return true;
    fprintf(stderr, "crashes, drops and doubles must each come in %d %% of the seeds\n",
            PERCENT_WITH_FAULT);
    return false;
}

static int run_seeds(uint64_t first, uint64_t count)
{
    struct sim_totals totals = {0};
    double began = seconds();
    uint64_t hash, again, hashes = 0;

    for (uint64_t seed = first; seed < first + count; seed++) {
        if (!run_seed(seed, false, &hash))
            return 1;
        add_totals(&totals, &sim.totals);
        hashes = rng_mix(hashes ^ hash);
        if ((seed - first) % REPEAT_EVERY)
            continue;
        if (!run_seed(seed, false, &again))
            return 1;
        totals.repeated++;
        if (hash != again) {
            fprintf(stderr, "seed %" PRIu64 ": the same seed gave other events the second time\n",
                    seed);
            return 1;
        }
    }
    print_totals(&totals, seconds() - began);
    printf("  event hash %016" PRIx64 "\n", hashes);
    return enough_faults(&totals) ? 0 : 1;
}

int main(int argc, char **argv)
{
    int64_t seeds = 0, seed = -1, first = 1;
    bool trace = false, mutants = false;
    const char *only = NULL, *scenario = NULL;
    const struct option rows[] = {
        {.name = "seeds",
         .value = "N",
         .integer = &seeds,
         .min = 1,
         .max = 1000000000,
         .help = "run so many seeds",
         .default_text = "50"},
        {.name = "first",
         .value = "N",
         .integer = &first,
         .min = 0,
         .max = INT64_MAX,
         .help = "the first of them"},
        {.name = "seed",
         .value = "N",
         .integer = &seed,
         .min = 0,
         .max = INT64_MAX,
         .help = "run this seed alone"},
        {.name = "trace", .flag = &trace, .help = "print every event of it"},
        {.name = "scenario",
         .value = "NAME",
         .text = &scenario,
         .help = "run this small story alone"},
        {.name = "mutants",
         .flag = &mutants,
         .help = "let every seeded mistake be caught (a build with MUTANTS=1)"},
        {.name = "mutant", .value = "NAME", .text = &only, .help = "only this one"},
    };
    const struct options options = {
        .program = "sim",
        .usage = "[--seeds N | --seed N [--trace] | --mutants]",
        .summary = "A cluster in virtual time, under faults, checked against a plain loop.",
        .rows = rows,
        .row_count = sizeof rows / sizeof rows[0]};
    struct options_arguments arguments;
    int exit_code;
    uint64_t hash;

    kernels_flush_denormals();
    if (!options_main(&options, argc, argv, &arguments, &exit_code))
        return exit_code;
    if (seed >= 0) {
        if (!run_seed((uint64_t)seed, trace, &hash))
            return 1;
        printf("seed %" PRId64 ": no violation, %" PRIu64 " events, event hash %016" PRIx64 "\n",
               seed, sim.totals.events, hash);
        return 0;
    }
    if (scenario)
        return scenarios_run(&sim, scenario, trace) ? 0 : 1;
    if (mutants)
        return mutants_run((uint64_t)(seeds ? seeds : 2000), only);
    if (!scenarios_run(&sim, NULL, false))
        return 1;
    return run_seeds((uint64_t)first, (uint64_t)(seeds ? seeds : 50));
}
