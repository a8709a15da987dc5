/* A process that is measured: it waits for orders, does something so many times, and says how long
 * each took. */
#ifndef PARAMD_TESTS_BENCH_SUBJECT_H
#define PARAMD_TESTS_BENCH_SUBJECT_H

#include "common/base/error.h"

#include <stdbool.h>
#include <sys/types.h>

enum { SUBJECT_COUNT_MAX = 4096, SUBJECT_NOTE_BYTES = 96, SUBJECTS_MAX = 8 };

/* Memory that both sides see. */
struct lane {
    double seconds[SUBJECT_COUNT_MAX];
    char note[SUBJECT_NOTE_BYTES]; /* what the subject says about itself: the chunk size it chose */
    char failure[512];             /* not empty: it could not go on */
};

/* The child's side. */
struct orders {
    int fd;
    struct lane *lane;
};

struct subject {
    pid_t pid;
    int fd;
    struct lane *lane;
};

/*
 * Forks; the child runs body, which returns when there are no more orders, and ends. It dies with
 * the benchmark. keep_fd is closed in the parent (-1: none).
 */
NODISCARD enum status subject_start(struct subject *ret_subject,
                                    void (*body)(struct orders *orders, void *context),
                                    void *context, int keep_fd, struct error *err);

/* In the child: false when the benchmark has no more orders. */
bool orders_next(struct orders *orders, unsigned *ret_what, unsigned *ret_count);
/* In the child: the order is carried out, lane->seconds is filled. */
void orders_done(struct orders *orders);
/* In the child: says why, and ends it. */
__attribute__((format(printf, 2, 3), noreturn)) void orders_fail(struct orders *orders,
                                                                 const char *format, ...);

/* Gives an order, and waits for its end (at most 60 s). INTERNAL: what the subject said, or that it
 * is gone. */
void subject_order(struct subject *subject, unsigned what, unsigned count);
NODISCARD enum status subject_wait(struct subject *subject, struct error *err);

/*
 * The calling process's (pid 0) or another one's first thread stays on one CPU: 0 the first one
 * that may be used, 1 the second, ... Nothing happens where there are not so many, or cpu is
 * negative.
 */
void process_pin(pid_t pid, int cpu);

/* Lets the child end, and waits for it; after 10 s it is killed. A zeroed one is ignored. */
void subject_stop(struct subject *subject);

/* Starts a program without orders; its output goes to log_path. UNAVAILABLE: it cannot be run. */
NODISCARD enum status program_start(const char *const *words, const char *log_path, pid_t *ret_pid,
                                    struct error *err);
/* SIGTERM, after 5 s SIGKILL, and waits. 0 is ignored. */
void program_stop(pid_t pid);

#endif
