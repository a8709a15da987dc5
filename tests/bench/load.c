#include "tests/bench/load.h"

#include "common/tensor/blas.h"
#include "common/tensor/kernels.h"
#include "tests/bench/raw_socket.h"
#include "tests/bench/timing.h"

#include <string.h>
#include <unistd.h>

enum { OWN_MAX = 64, LOOK_NS = 300000000 };

static pid_t own[OWN_MAX];

void load_own_process(pid_t pid, bool alive)
{
    for (size_t i = 0; i < OWN_MAX; i++) {
        if (own[i] == (alive ? 0 : pid)) {
            own[i] = alive ? pid : 0;
            return;
        }
    }
}

/* utime and stime of a process, and of the children that it has waited for. */
static double process_s(const char *path, bool with_children)
{
    unsigned long long user = 0, kernel = 0;
    long long child_user = 0, child_kernel = 0;
    char line[1024];
    FILE *file = fopen(path, "r");

    if (!file)
        return 0;
    const char *rest = fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
    fclose(file);
    if (!rest ||
        sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %lld %lld", &user,
               &kernel, &child_user, &child_kernel) != 4)
        return 0;
    double ticks = (double)user + (double)kernel;
    if (with_children)
        ticks += (double)child_user + (double)child_kernel;
    return ticks / (double)sysconf(_SC_CLK_TCK);
}

struct load_mark load_now(void)
{
    struct load_mark mark = {.at_s = now_s(), .own_s = process_s("/proc/self/stat", true)};
    unsigned long long user = 0, nice = 0, kernel = 0, stolen = 0;
    FILE *file = fopen("/proc/stat", "r");

    if (file) {
        if (fscanf(file, "cpu %llu %llu %llu %*u %*u %*u %*u %llu", &user, &nice, &kernel,
                   &stolen) != 4)
            user = nice = kernel = stolen = 0;
        fclose(file);
    }
    mark.busy_s = (double)(user + nice + kernel) / (double)sysconf(_SC_CLK_TCK);
    mark.stolen_s = (double)stolen / (double)sysconf(_SC_CLK_TCK);
    for (size_t i = 0; i < OWN_MAX; i++) {
        char path[64];
        if (own[i] == 0)
            continue;
        snprintf(path, sizeof path, "/proc/%d/stat", (int)own[i]);
        mark.own_s += process_s(path, false);
    }
    return mark;
}

double load_of_others(const struct load_mark *since)
{
    struct load_mark now = load_now();
    double all = (now.at_s - since->at_s) * (double)sysconf(_SC_NPROCESSORS_ONLN);
    double others = (now.busy_s - since->busy_s) - (now.own_s - since->own_s);

    others = (others > 0 ? others : 0) + (now.stolen_s - since->stolen_s);
    return all > 0 ? others / all : 0;
}

static void print_cpu(FILE *out)
{
    char line[512];
    FILE *file = fopen("/proc/cpuinfo", "r");
    const char *name = "unknown CPU";

    while (file && fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon) {
            colon[strcspn(colon, "\n")] = '\0';
            name = colon + 2;
            break;
        }
    }
    fprintf(out, "%s, %ld cores", name, sysconf(_SC_NPROCESSORS_ONLN));
    if (file)
        fclose(file);
}

void machine_print(FILE *out)
{
    const struct timespec look = {.tv_nsec = LOOK_NS};
    char congestion[32], system_congestion[32];
    struct load_mark mark = load_now();

    nanosleep(&look, NULL);
    double others = load_of_others(&mark);
    raw_congestion(true, congestion, sizeof congestion);
    raw_congestion(false, system_congestion, sizeof system_congestion);
    print_cpu(out);
    fprintf(out, "; kernels %s, OpenBLAS core %s\n", kernels_width_name(kernels_width()),
            blas_core_name());
    fprintf(out, "loopback TCP with %s on both sides (the system's default: %s)\n", congestion,
            system_congestion);
    fprintf(out, "other processes use %.0f %% of the CPUs now%s\n\n", others * 100,
            others > 0.12 ? ": figures will be rough" : "");
}
