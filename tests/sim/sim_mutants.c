/*
 * Every mistake of common/base/mutant.h is switched on in a process of its own, and seeds are run
 * until one of them fails: by a check of the simulator, by an assertion of the code, or because
 * nothing moves any more.
 */
#include "common/base/mutant.h"
#include "tests/sim/sim.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef PARAMD_MUTANTS

enum mutant mutant_active = MUTANT_NONE;

enum { SEED_SECONDS = 60 };

/* What the child says; shared, so that it is there after an abort. */
struct verdict {
    uint64_t seed;
    char check[64];
    char text[512];
};

#define MUTANT_NAME(name, text) #name,
#define MUTANT_TEXT(name, text) text,
static const char *const names[] = {"NONE", MUTANT_LIST(MUTANT_NAME)};
static const char *const texts[] = {"", MUTANT_LIST(MUTANT_TEXT)};

static struct sim sim;

_Noreturn static void child(enum mutant mutant, uint64_t seeds, struct verdict *verdict)
{
    mutant_active = mutant;
    if (!freopen("/dev/null", "w", stderr))
        _exit(2);
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        verdict->seed = seed;
        alarm(SEED_SECONDS);
        if (!sim_run(&sim, seed, false)) {
            snprintf(verdict->check, sizeof verdict->check, "%s", sim.failure_check);
            snprintf(verdict->text, sizeof verdict->text, "%.500s", sim.failure);
            _exit(1);
        }
    }
    _exit(0);
}

static bool caught(enum mutant mutant, uint64_t seeds, struct verdict *verdict)
{
    int status = 0;

    memset(verdict, 0, sizeof *verdict);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        child(mutant, seeds, verdict);
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        abort();
    if (WIFSIGNALED(status))
        snprintf(verdict->check, sizeof verdict->check, "%s",
                 WTERMSIG(status) == SIGALRM ? "an endless loop" : "an assertion");
    return !WIFEXITED(status) || WEXITSTATUS(status) == 1;
}

int mutants_run(uint64_t seeds, const char *only)
{
    struct verdict *verdict = mmap(NULL, sizeof *verdict, PROT_READ | PROT_WRITE,
                                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    unsigned missed = 0, count = 0;

    if (verdict == MAP_FAILED)
        abort();
    printf("%-24s %-72s caught\n", "mistake", "what it does");
    for (int mutant = 1; mutant < MUTANT_COUNT; mutant++) {
        if (only && strcmp(only, names[mutant]) != 0)
            continue;
        bool seen = caught((enum mutant)mutant, seeds, verdict);
        count++;
        missed += !seen;
        if (seen)
            printf("%-24s %-72s at seed %" PRIu64 " by %s\n", names[mutant], texts[mutant],
                   verdict->seed, verdict->check);
        else
            printf("%-24s %-72s NOT in %" PRIu64 " seeds\n", names[mutant], texts[mutant], seeds);
        if (seen && only)
            printf("  %s\n", verdict->text);
    }
    munmap(verdict, sizeof *verdict);
    printf("%u of %u seeded mistakes caught\n", count - missed, count);
    return missed || count == 0;
}

#else

int mutants_run(uint64_t seeds, const char *only)
{
    (void)seeds;
    (void)only;
    fprintf(stderr, "this build has no seeded mistakes: make sim-mutants builds one that has\n");
    return 2;
}

#endif
