/*
 * paramd's client library: variables that live on servers, for any C program that has its own
 * gradients.
 *
 *     struct ps_client *ps;
 *     ps_connect(NULL, &ps, &err);                   finds its place in the environment
 *     ps_create(ps, &(struct ps_variable){.name = "w", ...}, &w, &err);
 *     ps_start(ps, &err);                            every rank has created all it needs
 *     ps_pull(ps, w, PS_LATEST, values, NULL, &err);
 *     for (uint64_t t = ps_step(ps) + 1; t <= steps; t++) {
 *         ps_step_begin(ps, t, examples, &err);
 *         ... compute gradient from values ...
 *         ps_push_pull(ps, w, gradient, values, &handle, &err);   for step t; the values after it
 *         ps_step_end(ps, NULL, 0, &err);
 *         ps_wait(ps, handle, PS_DEFAULT_TIMEOUT, &err);
 *     }
 *     ps_finish(ps, &err);
 *     ps_close(ps);
 *
 * worker/examples/linear.c is a whole program.
 *
 * All functions may be called from any thread, but steps are one at a time: begin, push, end of a
 * step come from one thread or are ordered by the caller. After fork() the child's calls fail with
 * PS_FAILED_PRECONDITION.
 *
 * Names and shapes are copied during the call. Pushed arrays are borrowed until the push is
 * committed (its handle completes, or ps_wait_step() of its step has returned), pulled arrays until
 * the pull completes; a handle that ends in an error also ends the loan. Functions that can fail
 * return a status, fill err (may be NULL) with a message that names what was tried, the peer, the
 * variable and the step, and leave their outputs alone.
 */
#ifndef PARAMD_PS_H
#define PARAMD_PS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PS_API __attribute__((visibility("default")))

/* gRPC's codes. */
enum ps_status {
    PS_OK = 0,
    PS_CANCELLED = 1, /* the client was closed meanwhile */
    PS_UNKNOWN = 2,
    PS_INVALID_ARGUMENT = 3,  /* wrong whatever the state */
    PS_DEADLINE_EXCEEDED = 4, /* may or may not have happened; asking again is safe */
    PS_NOT_FOUND = 5,
    PS_ALREADY_EXISTS = 6, /* a variable of this name with another spec */
    PS_PERMISSION_DENIED = 7,
    PS_RESOURCE_EXHAUSTED = 8,  /* memory, or a limit */
    PS_FAILED_PRECONDITION = 9, /* not in this state (after the end, before start, ...) */
    PS_ABORTED = 10,            /* fenced: a newer process holds this rank */
    PS_OUT_OF_RANGE = 11,
    PS_UNIMPLEMENTED = 12,
    PS_INTERNAL = 13,
    PS_UNAVAILABLE = 14, /* a server or the coordinator is gone */
    PS_DATA_LOSS = 15,
    PS_UNAUTHENTICATED = 16,
};

struct ps_error {
    enum ps_status status;
    /* what a program that stops here should return: 1, 2, 3, 4 or 5 as in deploy/README.md */
    int exit_code;
    char message[512]; /* for a person */
};

struct ps_client;

/* Zero in a field means its default. */
struct ps_options {
    /* "host:port" or "unix:/path"; default PARAMD_COORDINATOR, else
     * DMLC_PS_ROOT_URI:DMLC_PS_ROOT_PORT */
    const char *coordinator;
    const char *job;        /* default PARAMD_JOB, else any */
    const char *token_file; /* default PARAMD_TOKEN_FILE, else no token */
    /* this worker's rank + 1; default PARAMD_RANK, else DMLC_RANK or DMLC_WORKER_ID, else the
     * lowest free */
    int rank_plus_1;
    const char *program; /* shown in messages and status; default: the process's name */
    uint64_t seed;       /* of variables without a seed of their own */
    /* for all servers to be there, in ps_connect; default 15000. How long ps_start waits for the
     * other workers is the job's --join-timeout */
    uint32_t join_timeout_ms;
    /*
     * Of calls with PS_DEFAULT_TIMEOUT. Default: as long as the job lives. Heartbeats bound that: a
     * lost worker, server or coordinator ends the job, and with it the call, but a slow worker does
     * not.
     */
    uint32_t timeout_ms;
    uint32_t heartbeat_ms; /* default 500 */
    uint32_t dead_ms;      /* a silent coordinator is given up; default 10000 */
    bool quiet;            /* no "waiting for ..." lines on stderr */
};

enum { PS_DEFAULT_TIMEOUT = -1, PS_NO_TIMEOUT = -2 };

/* Joins the cluster; returns when all servers are there. PS_DEADLINE_EXCEEDED (exit code 3): says
 * who is missing. */
PS_API enum ps_status ps_connect(const struct ps_options *options, struct ps_client **ret_client,
                                 struct ps_error *err);

/* Ends all calls (PS_CANCELLED), closes all connections, frees the client. NULL is ignored. */
PS_API void ps_close(struct ps_client *client);

PS_API uint32_t ps_rank(const struct ps_client *client);
PS_API uint32_t ps_workers(const struct ps_client *client);
PS_API uint32_t ps_servers(const struct ps_client *client);

/* The last committed step known here; 0 at the start. A program that was started again goes on
 * after it. */
PS_API uint64_t ps_step(struct ps_client *client);

enum ps_dtype { PS_FLOAT32 = 1, PS_FLOAT64 = 2, PS_INT64 = 3 };

enum ps_initializer {
    PS_ZEROS = 0,
    PS_ONES = 1,
    PS_CONSTANT = 2,         /* a: the value */
    PS_UNIFORM = 3,          /* a: min, b: max */
    PS_NORMAL = 4,           /* a: mean, b: standard deviation */
    PS_TRUNCATED_NORMAL = 5, /* a: mean, b: standard deviation */
    PS_ASSIGNED = 6,         /* rank 0 gives the values with ps_assign() after ps_start() */
};

struct ps_variable {
    const char *name;      /* letters, digits, _ . / - ; at most 256 bytes */
    enum ps_dtype dtype;   /* 0: float32 */
    const uint64_t *shape; /* rank numbers */
    size_t rank;           /* at most 8; 0: a scalar */
    enum ps_initializer initializer;
    double a, b;
    int64_t seed; /* used if has_seed; else a function of options.seed and name */
    bool has_seed;
    bool not_trainable; /* gets no gradient */
    uint32_t optimizer; /* id given to ps_configure; 0 by default */
};

/*
 * Makes a variable, or finds it: an equal spec returns the same id. PS_ALREADY_EXISTS names both
 * specs. PS_FAILED_PRECONDITION: training has begun and there is no such variable.
 */
PS_API enum ps_status ps_create(struct ps_client *client, const struct ps_variable *variable,
                                uint32_t *ret_id, struct ps_error *err);

struct ps_setting {
    const char *key; /* of Keras's get_config(): "learning_rate", "beta_1", ... */
    double value;
};

/* The optimizer of an id: "sgd", "adagrad", "adam". The first rank's word counts; another one is
 * PS_FAILED_PRECONDITION. */
PS_API enum ps_status ps_configure(struct ps_client *client, uint32_t optimizer, const char *name,
                                   const struct ps_setting *settings, size_t setting_count,
                                   struct ps_error *err);

/* Says that this rank has created all it needs, and waits until every rank has. */
PS_API enum ps_status ps_start(struct ps_client *client, struct ps_error *err);

/*
 * Gives the first values of a PS_ASSIGNED variable: rank 0 (others return at once), after ps_start
 * and before its first pull or step. Waits until version 0 is committed or, for all but the last
 * assigned variable, until the servers have the bytes.
 */
PS_API enum ps_status ps_assign(struct ps_client *client, uint32_t variable, const void *values,
                                struct ps_error *err);

/* A pending push or pull; 0 is none. ps_wait forgets it. */
typedef uint64_t ps_handle;

/* the version after the last step that this client has begun (0: initial values or, after a
 * restart, the committed ones) */
#define PS_LATEST UINT64_MAX

/*
 * Begins step t = ps_step + 1, + 2, ... (each once, in order) on a batch of which this rank has
 * `examples`. Waits until the step may begin (the step before the last is committed). A rank
 * without examples takes no part in the step: what it pushes is not sent (ASSIGN and ADD are
 * refused), but it begins and ends it.
 */
PS_API enum ps_status ps_step_begin(struct ps_client *client, uint64_t step, uint64_t examples,
                                    struct ps_error *err);

enum ps_push_kind {
    PS_GRADIENT = 0,    /* mean over this rank's examples; goes through the optimizer */
    PS_PUSH_ASSIGN = 1, /* the new value; only rank 0's counts, others do not send */
    PS_ASSIGN_MEAN = 2, /* the new value: the ranks' mean, weighted by examples */
    PS_ADD = 3,         /* added to the value, ranks in order */
};

/*
 * Queues the variable's whole array (its dtype and shape, row-major) for the step that was begun.
 * ret_handle may be NULL. Small arrays are sent together: at the latest by ps_step_end, ps_flush or
 * any wait.
 */
PS_API enum ps_status ps_push(struct ps_client *client, uint32_t variable, const void *values,
                              enum ps_push_kind kind, ps_handle *ret_handle, struct ps_error *err);

/*
 * As ps_push, for a gradient that is zero but in some rows of the first axis.
 *
 *   rows    (row_count) int64, in any order; equal ones are added up.
 *   values  (row_count, product of shape[1:]) float32.
 *
 * Both are copied during the call.
 */
PS_API enum ps_status ps_push_rows(struct ps_client *client, uint32_t variable, const int64_t *rows,
                                   size_t row_count, const void *values, ps_handle *ret_handle,
                                   struct ps_error *err);

/* Queues a read of the version after `step` into values. With ret_handle NULL it waits here
 * (default timeout). */
PS_API enum ps_status ps_pull(struct ps_client *client, uint32_t variable, uint64_t step,
                              void *values, ps_handle *ret_handle, struct ps_error *err);

/*
 * ps_push of a gradient for this step and ps_pull of the values after it. The handle completes when
 * the values are there and the gradient is the caller's again.
 */
PS_API enum ps_status ps_push_pull(struct ps_client *client, uint32_t variable,
                                   const void *gradient, void *values, ps_handle *ret_handle,
                                   struct ps_error *err);

/* Sends what is queued. */
PS_API enum ps_status ps_flush(struct ps_client *client, struct ps_error *err);

struct ps_metric {
    const char *name; /* at most 64 bytes; in results it lives until ps_close */
    double sum;
    double count;
};

/* Ends the step: variables not pushed have no gradient. metrics (at most 64) are added up over the
 * ranks. Does not wait. */
PS_API enum ps_status ps_step_end(struct ps_client *client, const struct ps_metric *metrics,
                                  size_t metric_count, struct ps_error *err);

/* As ps_step_end; the running totals start anew with this step. */
PS_API enum ps_status ps_step_end_restart(struct ps_client *client, const struct ps_metric *metrics,
                                          size_t metric_count, struct ps_error *err);

/*
 * Waits for a handle: a push is committed, a pull's values are there. timeout_ms: milliseconds,
 * PS_DEFAULT_TIMEOUT or PS_NO_TIMEOUT. After PS_DEADLINE_EXCEEDED of a pull nothing more is written
 * to its array; a push stays under way and its handle alive. The gradient of a ps_push_pull stays
 * on loan until ps_wait_step says that its step is done.
 */
PS_API enum ps_status ps_wait(struct ps_client *client, ps_handle handle, int timeout_ms,
                              struct ps_error *err);

/* Waits until the servers have all of a push (staged, not committed). The handle stays alive. */
PS_API enum ps_status ps_wait_staged(struct ps_client *client, ps_handle handle, int timeout_ms,
                                     struct ps_error *err);

/* True if ps_wait would return at once. */
PS_API bool ps_test(struct ps_client *client, ps_handle handle);

/* Waits until a step is committed and every loan of it has ended. */
PS_API enum ps_status ps_wait_step(struct ps_client *client, uint64_t step, int timeout_ms,
                                   struct ps_error *err);

/*
 * Totals over all ranks of a committed step (one of the last two), and since the last
 * ps_step_end_restart. Room for up to `capacity` metrics; ret_count says how many there are. Either
 * output may be NULL.
 */
PS_API enum ps_status ps_totals(struct ps_client *client, uint64_t step,
                                struct ps_metric *ret_totals, struct ps_metric *ret_running,
                                size_t capacity, size_t *ret_count, struct ps_error *err);

/*
 * Waits until every rank that has not finished has come to the barrier of this name. metrics are
 * replaced by their totals over the ranks. A rank that was started again and comes to a barrier
 * that is past gets its result at once.
 */
PS_API enum ps_status ps_barrier(struct ps_client *client, const char *name,
                                 struct ps_metric *metrics, size_t metric_count, int timeout_ms,
                                 struct ps_error *err);

/* This rank takes part in no further step; waits until its steps are committed. Reads go on
 * working. */
PS_API enum ps_status ps_finish(struct ps_client *client, struct ps_error *err);

#ifdef __cplusplus
}
#endif

#endif
