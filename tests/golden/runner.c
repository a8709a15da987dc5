/*
 * golden-runner [--verbose] PATH...: runs the cases in folders, and in folders below them; a path
 * may also be one case. A line for each case that fails or is skipped, then "N passed, N failed, N
 * skipped". Exit code 0: none failed and some passed; 1: otherwise; 2: wrong use.
 * PARAMD_KERNELS=sse2|avx2|avx512 caps the vector width.
 */
#include "common/base/alloc.h"
#include "common/tensor/kernels.h"
#include "tests/golden/golden.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PATH_BYTES = 4096, FOLDER_DEPTH_MAX = 16 };

static const char SUFFIX[] = ".json";

struct totals {
    size_t passed, failed, skipped;
    bool verbose;
};

static void run_case(const char *path, struct totals *totals)
{
    char message[GOLDEN_MESSAGE_BYTES];

    switch (golden_run_path(path, message)) {
    case GOLDEN_PASSED:
        totals->passed++;
        if (totals->verbose || message[0] != '\0')
            printf("pass %s%s%s\n", path, message[0] != '\0' ? ": " : "", message);
        break;
    case GOLDEN_FAILED:
        totals->failed++;
        printf("FAIL %s: %s\n", path, message);
        break;
    case GOLDEN_SKIPPED:
        totals->skipped++;
        printf("skip %s: %s\n", path, message);
        break;
    }
}

/* Removes ".json" from the end of a name; false: it does not end so. */
static bool cut_suffix(char *name)
{
    size_t length = strlen(name), suffix = strlen(SUFFIX);

    if (length <= suffix || strcmp(name + length - suffix, SUFFIX) != 0)
        return false;
    name[length - suffix] = '\0';
    return true;
}

static bool run_folder(const char *folder, int depth, struct totals *totals)
{
    struct dirent **names;
    int count = scandir(folder, &names, NULL, alphasort);

    if (count < 0 || depth > FOLDER_DEPTH_MAX) {
        fprintf(stderr, "golden-runner: cannot read folder '%s'\n", folder);
        return false;
    }
    for (int i = 0; i < count; i++) {
        char path[PATH_BYTES];
        struct stat info;

        snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
        if (names[i]->d_name[0] != '.' && stat(path, &info) == 0) {
            if (S_ISDIR(info.st_mode))
                totals->failed += !run_folder(path, depth + 1, totals);
            else if (cut_suffix(path))
                run_case(path, totals);
        }
        free(names[i]); /* lint: scandir's memory */
    }
    free(names); /* lint: scandir's memory */
    return true;
}

static bool run_path(const char *argument, struct totals *totals)
{
    char path[PATH_BYTES];
    struct stat info;

    snprintf(path, sizeof path, "%s", argument);
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode))
        return run_folder(path, 0, totals);
    cut_suffix(path);
    run_case(path, totals);
    return true;
}

int main(int argc, char **argv)
{
    struct totals totals = {0};
    struct error err;
    int first = 1;

    if (kernels_limit_named(getenv("PARAMD_KERNELS"), &err) != STATUS_OK) {
        fprintf(stderr, "golden-runner: %s\n", err.message);
        return 2;
    }
    kernels_flush_denormals();
    if (argc > 1 && strcmp(argv[1], "--verbose") == 0) {
        totals.verbose = true;
        first = 2;
    }
    if (first >= argc) {
        fprintf(stderr, "usage: golden-runner [--verbose] FOLDER|CASE...\n");
        return 2;
    }
    for (int i = first; i < argc; i++) {
        if (!run_path(argv[i], &totals))
            return 2;
    }
    printf("%zu passed, %zu failed, %zu skipped\n", totals.passed, totals.failed, totals.skipped);
    return totals.failed == 0 && totals.passed > 0 ? 0 : 1;
}
