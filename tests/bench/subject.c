#include "tests/bench/subject.h"

#include "tests/bench/load.h"
#include "tests/bench/timing.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ORDER_SECONDS_MAX = 60, STOP_SECONDS_MAX = 10 };

struct order {
    unsigned what, count;
};

enum status subject_start(struct subject *ret_subject,
                          void (*body)(struct orders *orders, void *context), void *context,
                          int keep_fd, struct error *err)
{
    int pair[2];
    struct lane *lane = mmap(NULL, sizeof *lane, PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    if (lane == MAP_FAILED)
        return error_no_memory(err, "a lane of results");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        munmap(lane, sizeof *lane);
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "socketpair: %s", strerror(errno));
    }
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct orders orders = {pair[1], lane};
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGINT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
        close(pair[0]);
        body(&orders, context);
        _exit(0);
    }
    close(pair[1]);
    if (keep_fd >= 0)
        close(keep_fd);
    if (pid < 0) {
        close(pair[0]);
        munmap(lane, sizeof *lane);
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "fork: %s", strerror(errno));
    }
    load_own_process(pid, true);
    *ret_subject = (struct subject){pid, pair[0], lane};
    return STATUS_OK;
}

bool orders_next(struct orders *orders, unsigned *ret_what, unsigned *ret_count)
{
    struct order order;

    if (read(orders->fd, &order, sizeof order) != (ssize_t)sizeof order)
        return false;
    *ret_what = order.what;
    *ret_count = order.count < SUBJECT_COUNT_MAX ? order.count : SUBJECT_COUNT_MAX;
    return true;
}

void orders_done(struct orders *orders)
{
    if (write(orders->fd, "", 1) != 1)
        _exit(1);
}

void orders_fail(struct orders *orders, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(orders->lane->failure, sizeof orders->lane->failure, format, arguments);
    va_end(arguments);
    _exit(1);
}

void subject_order(struct subject *subject, unsigned what, unsigned count)
{
    const struct order order = {what, count};

    /* If it is gone, subject_wait says so. */
    if (send(subject->fd, &order, sizeof order, MSG_NOSIGNAL) < 0)
        return;
}

enum status subject_wait(struct subject *subject, struct error *err)
{
    struct pollfd ready = {.fd = subject->fd, .events = POLLIN};
    char done;

    if (poll(&ready, 1, ORDER_SECONDS_MAX * 1000) == 0)
        return error_set(err, STATUS_DEADLINE_EXCEEDED, "no answer after %d s", ORDER_SECONDS_MAX);
    if (read(subject->fd, &done, 1) == 1)
        return STATUS_OK;
    if (subject->lane->failure[0])
        return error_set(err, STATUS_INTERNAL, "%s", subject->lane->failure);
    return error_set(err, STATUS_INTERNAL, "a measured process ended without a word");
}

/* Waits for a child; at the deadline it is killed. */
static void reap(pid_t pid, double seconds)
{
    double until = now_s() + seconds;

    while (waitpid(pid, NULL, WNOHANG) == 0) {
        const struct timespec moment = {.tv_nsec = 500000};
        if (now_s() > until)
            kill(pid, SIGKILL);
        nanosleep(&moment, NULL);
    }
    load_own_process(pid, false);
}

void subject_stop(struct subject *subject)
{
    if (subject->pid == 0)
        return;
    shutdown(subject->fd, SHUT_WR);
    reap(subject->pid, STOP_SECONDS_MAX);
    close(subject->fd);
    munmap(subject->lane, sizeof *subject->lane);
    *subject = (struct subject){0};
}

void process_pin(pid_t pid, int cpu)
{
    cpu_set_t allowed, one;

    if (cpu < 0 || sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        return;
    for (int i = 0; i < CPU_SETSIZE; i++) {
        if (!CPU_ISSET(i, &allowed) || cpu-- > 0)
            continue;
        CPU_ZERO(&one);
        CPU_SET(i, &one);
        sched_setaffinity(pid, sizeof one, &one); /* if not, figures are only less steady */
        return;
    }
}

/* ---- other programs ---- */

static void run_program(const char *const *words, const char *log_path)
{
    int log_fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND, 0600);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (log_fd < 0 || dup2(log_fd, STDOUT_FILENO) < 0 || dup2(log_fd, STDERR_FILENO) < 0)
        _exit(127);
    execv(words[0], (char *const *)words);
    fprintf(stderr, "run '%s': %s\n", words[0], strerror(errno));
    _exit(127);
}

enum status program_start(const char *const *words, const char *log_path, pid_t *ret_pid,
                          struct error *err)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        run_program(words, log_path);
    if (pid < 0)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "fork: %s", strerror(errno));
    load_own_process(pid, true);
    *ret_pid = pid;
    return STATUS_OK;
}

void program_stop(pid_t pid)
{
    if (pid == 0)
        return;
    kill(pid, SIGTERM);
    reap(pid, 5);
}
