/* The benchmark: real paramd processes beside floors that are measured in the same minutes.
 * README.md says how to read it. */
#include "tests/bench/bench.h"

#include "common/base/exit_code.h"
#include "common/base/options.h"
#include "common/tensor/blas.h"
#include "tests/bench/load.h"
#include "tests/bench/timing.h"

#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TEMP_DIR_DEPTH = 4 };

volatile sig_atomic_t bench_signal;

struct settings {
    const char *json, *only;
    bool quick, samples;
};

static void on_signal(int number)
{
    bench_signal = number;
}

static bool find_paramd(struct bench *bench)
{
    ssize_t length = readlink("/proc/self/exe", bench->paramd, sizeof bench->paramd - 16);

    if (length <= 0)
        return false;
    bench->paramd[length] = '\0';
    char *slash = strrchr(bench->paramd, '/');
    snprintf(slash + 1, 16, "paramd");
    if (access(bench->paramd, X_OK) == 0)
        return true;
    fprintf(stderr, "bench: %s is not there; make builds it\n", bench->paramd);
    return false;
}

static bool make_dir(struct bench *bench)
{
    const char *place = getenv("TMPDIR");

    snprintf(bench->dir, sizeof bench->dir, "%s/paramd-bench.XXXXXX",
             place && place[0] ? place : "/tmp");
    if (mkdtemp(bench->dir))
        return true;
    fprintf(stderr, "bench: make the folder '%s': %s\n", bench->dir, strerror(errno));
    return false;
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *at)
{
    (void)status;
    (void)kind;
    (void)at;
    return remove(path);
}

static bool open_json(struct bench *bench, const char *path)
{
    if (!path)
        return true;
    bench->json = fopen(path, "w");
    if (!bench->json) {
        fprintf(stderr, "bench: write '%s': %s\n", path, strerror(errno));
        return false;
    }
    fputc('[', bench->json);
    return true;
}

static bool close_json(struct bench *bench, const char *path)
{
    if (!bench->json)
        return true;
    fputs("\n]\n", bench->json);
    bool failed = ferror(bench->json) != 0;
    if (fclose(bench->json) != 0 || failed) {
        fprintf(stderr, "bench: write '%s': %s\n", path, strerror(errno));
        return false;
    }
    return true;
}

static void print_end(const struct bench *bench, double seconds)
{
    printf("\n%u rows in %.0f s. ", bench->rows, seconds);
    printf("%u samples were taken again because others used more than 12 %% of the CPUs",
           bench->repeated);
    if (bench->doubtful)
        printf("; rows with ~ (%u) have hardly any others", bench->doubtful);
    printf(".\nratio = ours / floor; for GB/s more is better, for us and ms less.\n");
    if (bench->failures)
        printf("%u groups of rows failed; logs are in %s\n", bench->failures, bench->dir);
}

int main(int argc, char **argv)
{
    struct settings settings = {0};
    const struct option rows[] = {
        {.name = "json",
         .value = "FILE",
         .text = &settings.json,
         .help = "also write the rows there"},
        {.name = "quick", .flag = &settings.quick, .help = "about a minute instead of up to eight"},
        {.name = "samples", .flag = &settings.samples, .help = "print every sample as it comes"},
        {.name = "only",
         .value = "WORDS",
         .text = &settings.only,
         .help = "only rows whose name has these words in it, like push/tcp"},
    };
    const struct options options = {
        .program = "bench",
        .usage = "[--json FILE] [--quick] [--only WORDS]",
        .summary = "Measures paramd beside what the machine allows.",
        .rows = rows,
        .row_count = sizeof rows / sizeof rows[0],
    };
    struct options_arguments arguments;
    struct bench bench = {0};
    int exit_code;

    blas_prepare_environment(argv);
    if (!options_main(&options, argc, argv, &arguments, &exit_code))
        return exit_code;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    blas_set_threads(1);
    bench.quick = settings.quick;
    bench.only = settings.only;
    bench.samples = settings.samples;
    bench.sample_s = settings.quick ? 0.03 : 0.2;
    bench.row_s = settings.quick ? 0.35 : 4.5;
    bench.pairs_min = 3;
    bench.pairs_max = settings.quick ? 5 : 11;
    if (!find_paramd(&bench) || !make_dir(&bench) || !open_json(&bench, settings.json))
        return EXIT_CODE_FAILED;
    double began = now_s();
    machine_print(stdout);
    suite_transfer(&bench);
    suite_kernels(&bench);
    suite_cluster(&bench);
    suite_train(&bench);
    print_end(&bench, now_s() - began);
    bool written = close_json(&bench, settings.json);
    if (bench.failures == 0 || bench_signal)
        nftw(bench.dir, remove_entry, TEMP_DIR_DEPTH, FTW_DEPTH | FTW_PHYS);
    if (bench_signal)
        return bench_signal == SIGINT ? EXIT_CODE_SIGINT : EXIT_CODE_SIGTERM;
    return bench.failures == 0 && written ? EXIT_CODE_DONE : EXIT_CODE_FAILED;
}
