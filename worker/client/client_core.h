/*
 * The client without sockets, threads or clocks: what to send when, what an answer means, what a
 * caller may be told.
 *
 * Calls queue work and return at once; what they asked for is polled with core_done(). ps.c puts
 * blocking calls on top, tests/sim runs the same objects in virtual time. One thread at a time, the
 * one that drives the links.
 *
 *     core_new -> (links come up) -> core_formed -> core_create ... -> core_start ->
 * core_step_begin, core_push,
 *     core_pull, core_step_end, ... -> core_finish -> core_close -> core_closed -> core_free
 */
#ifndef PARAMD_WORKER_CLIENT_CLIENT_CORE_H
#define PARAMD_WORKER_CLIENT_CLIENT_CORE_H

#include "common/base/error.h"
#include "common/wire/link.h"
#include "common/wire/registry.h"
#include "worker/client/ps.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct core;

struct core_options {
    const char *coordinator; /* address; all strings are copied */
    const char *job;         /* "" or NULL: any */
    const char *program;     /* for messages */
    const uint8_t *token;
    size_t token_bytes;
    uint32_t rank_plus_1;                            /* 0: the lowest free rank */
    uint64_t seed;                                   /* of variables without one of their own */
    uint64_t heartbeat_ns;                           /* 0: 0.5 s */
    uint64_t dead_ns;                                /* 0: 10 s */
    void (*on_notice)(void *user, const char *line); /* "waiting for 1 of 2 servers"; may be NULL */
    void *user;
};

/* io is copied; connecting begins at the first on_turn. INVALID_ARGUMENT: a text too long, no
 * address. */
NODISCARD enum status core_new(const struct core_options *options, const struct link_io *io,
                               struct core **ret_core, struct error *err);

/* What the driver calls. */
struct link_engine core_engine(struct core *core);

/* Closes all links (what is queued is still written) and fails everything pending with CANCELLED.
 */
void core_close(struct core *core);
/* True when no link is left: the driver will call nothing more. */
bool core_closed(const struct core *core);
/* Frees the memory, asks nothing of the links: they are closed, or their driver is gone. NULL is
 * ignored. */
void core_free(struct core *core);

/* ---- state ---- */

/* Grows whenever something happened that a waiting caller may have been waiting for. */
uint64_t core_progress(const struct core *core);
/* All servers are there and connected. */
bool core_formed(const struct core *core);
/* It is over for this client: fenced, ended, a peer given up. err and ret_exit_code (may be NULL)
 * say why. */
bool core_ended(const struct core *core, struct error *err, int *ret_exit_code);
/* What the cluster is waited for, "waiting for 1 of 2 servers"; false if nothing is missing. */
bool core_waiting(const struct core *core, char *ret_text, size_t capacity);

/* Whether a push or pull is in a complete frame that was not sent yet. */
bool core_has_sealed(const struct core *core);

uint32_t core_rank(const struct core *core);
uint32_t core_workers(const struct core *core);
uint32_t core_servers(const struct core *core);
uint64_t core_incarnation(const struct core *core);
/* 0: not even version 0 is committed. */
uint64_t core_commit_plus_1(const struct core *core);
uint64_t core_grant(const struct core *core);
/* The last step that was begun here; 0: none. */
uint64_t core_last_begun(const struct core *core);
/* Is it finished here, and is a step open? */
bool core_finished(const struct core *core);
bool core_step_open(const struct core *core);
/* NULL before the registry is closed and known here. */
const struct registry *core_registry(const struct core *core);

/* ---- requests, pushes, pulls: a handle, or an error at once ---- */

/* What a request brought. */
struct core_result {
    uint32_t variable; /* core_create */
    /* core_barrier: room for metric_capacity totals; names live as long as the core */
    struct ps_metric *metrics;
    size_t metric_capacity;
    size_t metric_count;
};

/*
 * True when the handle has ended: then ret_status and err say how, ret_result (may be NULL) what it
 * brought, and the handle is forgotten. A forgotten handle that ended well stays true and OK.
 * INVALID_ARGUMENT: never was one.
 */
bool core_done(struct core *core, ps_handle handle, enum status *ret_status,
               struct core_result *ret_result, struct error *err);
/* As core_done, but only looks. */
bool core_ready(const struct core *core, ps_handle handle);
/* True when the servers have all of a push, or it has ended otherwise. */
bool core_staged(const struct core *core, ps_handle handle);

/*
 * The caller's patience is at its end: fills err with DEADLINE_EXCEEDED and what was still missing.
 * A pull and a request are forgotten, and nothing more is written to a pull's array; a push stays
 * under way and its handle alive.
 */
enum status core_expire(struct core *core, ps_handle handle, uint64_t waited_ms, struct error *err);

/* One line on what a handle waits for. */
void core_describe(const struct core *core, ps_handle handle, char *ret_text, size_t capacity);

NODISCARD enum status core_create(struct core *core, const struct ps_variable *variable,
                                  ps_handle *ret_handle, struct error *err);
NODISCARD enum status core_configure(struct core *core, uint32_t optimizer, const char *name,
                                     const struct ps_setting *settings, size_t count,
                                     ps_handle *ret_handle, struct error *err);
NODISCARD enum status core_start(struct core *core, ps_handle *ret_handle, struct error *err);
NODISCARD enum status core_barrier(struct core *core, const char *name,
                                   const struct ps_metric *metrics, size_t count,
                                   ps_handle *ret_handle, struct error *err);
/* Done means that the coordinator knows; the steps of this rank may still wait for their commit. */
NODISCARD enum status core_finish(struct core *core, ps_handle *ret_handle, struct error *err);

/* ---- steps ---- */

/* May this step begin as far as its number goes? FAILED_PRECONDITION says which step is next. */
NODISCARD enum status core_step_check(const struct core *core, uint64_t step, struct error *err);
/* Has the coordinator granted it? */
bool core_step_granted(const struct core *core, uint64_t step);
/* Checks, and FAILED_PRECONDITION without a grant. */
NODISCARD enum status core_step_begin(struct core *core, uint64_t step, uint64_t examples,
                                      struct error *err);
NODISCARD enum status core_step_end(struct core *core, const struct ps_metric *metrics,
                                    size_t count, bool restart_totals, struct error *err);
/* The step is committed and no array pushed for it is still in use. */
bool core_step_done(const struct core *core, uint64_t step);

/*
 * Totals of a committed step. UNAVAILABLE: its COMMIT has not come yet (wait for progress);
 * OUT_OF_RANGE: forgotten; FAILED_PRECONDITION: no such step yet. Either array may be NULL.
 */
NODISCARD enum status core_totals(const struct core *core, uint64_t step,
                                  struct ps_metric *ret_totals, struct ps_metric *ret_running,
                                  size_t capacity, size_t *ret_count, struct error *err);

/* ---- data ---- */

/* values are borrowed until the handle completes. ret_handle may be NULL. */
NODISCARD enum status core_push(struct core *core, uint32_t variable, const void *values,
                                enum ps_push_kind kind, ps_handle *ret_handle, struct error *err);
/* rows and values are copied. */
NODISCARD enum status core_push_rows(struct core *core, uint32_t variable, const int64_t *rows,
                                     size_t row_count, const void *values, ps_handle *ret_handle,
                                     struct error *err);
/*
 * Version 0 of an assigned variable, from rank 0; elsewhere, and when version 0 is committed,
 * ret_handle is 0. core_staged says when the servers have it.
 */
NODISCARD enum status core_assign(struct core *core, uint32_t variable, const void *values,
                                  ps_handle *ret_handle, struct error *err);
/* Are there assigned variables that core_assign was not called for? */
bool core_assign_incomplete(const struct core *core);
/* Takes an assign back whose loan must end now. */
void core_assign_withdraw(struct core *core, ps_handle handle);

/* step may be PS_LATEST. */
NODISCARD enum status core_pull(struct core *core, uint32_t variable, uint64_t step, void *values,
                                ps_handle *ret_handle, struct error *err);
NODISCARD enum status core_push_pull(struct core *core, uint32_t variable, const void *gradient,
                                     void *values, ps_handle *ret_handle, struct error *err);
/* Hands to the links all that is queued. */
void core_flush(struct core *core);

#endif
