#include "tests/bench/cluster.h"

#include "tests/bench/timing.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { START_SECONDS_MAX = 20, PATH_BYTES = 512 };

/* More than the default, so that a worker whose turn has not come is not held back. */
static const char staging_mib[] = "256";

static enum status wait_for_address(const struct cluster *cluster, const char *path,
                                    char *ret_address, struct error *err)
{
    double until = now_s() + START_SECONDS_MAX;

    for (;;) {
        const struct timespec moment = {.tv_nsec = 200000};
        FILE *file = fopen(path, "r");
        bool found = file && fgets(ret_address, ADDRESS_TEXT_BYTES, file);
        if (file)
            fclose(file);
        if (found) {
            ret_address[strcspn(ret_address, "\n")] = '\0';
            return STATUS_OK;
        }
        siginfo_t ended = {0};
        if (waitid(P_PID, (id_t)cluster->servers[0], &ended, WEXITED | WNOHANG | WNOWAIT) != 0 ||
            ended.si_pid != 0 || now_s() > until)
            return error_set(err, STATUS_UNAVAILABLE, "paramd did not come up; its log is %s.log",
                             path);
        nanosleep(&moment, NULL);
    }
}

enum status cluster_start(const struct bench *bench, enum raw_transport transport, unsigned servers,
                          unsigned workers, struct cluster *ret_cluster, struct error *err)
{
    static unsigned number;
    char path[PATH_BYTES], log[PATH_BYTES + 8], listen[PATH_BYTES], server_text[16],
        worker_text[16];
    enum status status = STATUS_OK;

    *ret_cluster = (struct cluster){0};
    snprintf(server_text, sizeof server_text, "%u", servers);
    snprintf(worker_text, sizeof worker_text, "%u", workers);
    for (unsigned i = 0; i < servers && !status; i++) {
        number++;
        snprintf(path, sizeof path, "%s/server-%u", bench->dir, number);
        snprintf(log, sizeof log, "%s.log", path);
        if (transport == RAW_UNIX)
            snprintf(listen, sizeof listen, "unix:%s/%u.socket", bench->dir, number);
        else
            snprintf(listen, sizeof listen, "127.0.0.1:0");
        const char *const first[] = {bench->paramd, "--listen",  listen,      "--address-file",
                                     path,          "--servers", server_text, "--workers",
                                     worker_text,   "--staging", staging_mib, NULL};
        const char *const other[] = {
            bench->paramd, "--listen",  listen, "--coordinator", ret_cluster->coordinator,
            "--staging",   staging_mib, NULL};
        status = program_start(i == 0 ? first : other, log, &ret_cluster->servers[i], err);
        if (status)
            break;
        ret_cluster->server_count++;
        if (i == 0)
            status = wait_for_address(ret_cluster, path, ret_cluster->coordinator, err);
    }
    if (status)
        cluster_stop(ret_cluster);
    return status;
}

void cluster_stop(struct cluster *cluster)
{
    for (unsigned i = cluster->server_count; i > 0; i--)
        program_stop(cluster->servers[i - 1]);
    *cluster = (struct cluster){0};
}
