/*
 * A whole cluster in one process and in virtual time: the objects of paramd and of its client,
 * driven through struct link_io and struct link_engine by a network that delays, cuts, doubles and
 * reorders as a seed says.
 *
 *   sim_event.c    the queue of events, the seed's random numbers, failing, tracing
 *   sim_net.c      links: partial payloads, back-pressure, resets
 *   sim_frame.c    frames, really encoded
 *   sim_plan.c     the workload, a function of the seed: variables, examples, pushes, values
 *   sim_oracle.c   what every version must be, by a plain loop over the ranks
 *   sim_worker.c   a training program on top of the client engine
 *   sim_arrays.c   its data: loans, pulls, totals
 *   sim_reader.c   a reader of snapshots that also changes the learning rate
 *   sim_check.c    what must hold after every event of a server
 *   sim_faults.c   crashes, freezes, resets, blackouts
 *   sim_cluster.c  one seed from start to end
 *   sim_scenario.c small stories with a known end: lost peers
 *   sim_misuse.c   and of peers that say everything wrongly
 *   sim_raw.c      a peer that says what a scenario tells it to
 *   sim_mutants.c  every mistake of common/base/mutant.h has to be caught
 */
#ifndef PARAMD_TESTS_SIM_SIM_H
#define PARAMD_TESTS_SIM_SIM_H

#include "common/base/rng.h"
#include "common/tensor/placement.h"
#include "common/wire/link.h"
#include "server/server.h"
#include "worker/client/client_core.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>

#define SIM_US    ((uint64_t)1000)
#define SIM_MS    ((uint64_t)1000000)
#define SIM_S     ((uint64_t)1000000000)
#define SIM_NEVER UINT64_MAX

enum {
    SIM_SERVERS_MAX = 4,
    SIM_WORKERS_MAX = 4,
    SIM_READERS_MAX = 3,
    SIM_VARIABLES_MAX = 16,
    SIM_OPTIMIZERS_MAX = 4,
    SIM_STEPS_MAX = 80,
    SIM_PROCESSES_MAX = 1024,
    SIM_METRICS_MAX = 4,
    SIM_SLOTS = 2, /* of the optimizers in use */
};

/* ---- events ---- */

enum sim_event_kind {
    EVENT_CONNECT,
    EVENT_OPEN,
    EVENT_WRITE,
    EVENT_READ,
    EVENT_CLOSED,
    EVENT_TURN,
    EVENT_START,
    EVENT_FAULT,
    EVENT_SUPERVISE,
};

struct sim_event {
    uint64_t at_ns, sequence;
    enum sim_event_kind kind;
    void *subject;
    uint64_t number;
};

/* ---- links ---- */

struct sim_frame {
    struct sim_frame *next;
    enum frame_type type;
    uint8_t preamble[FRAME_PREAMBLE_BYTES];
    uint8_t *header; /* owned */
    size_t header_bytes;
    struct link_piece *pieces; /* owned, until written */
    size_t piece_count;
    size_t payload_bytes;
    uint64_t sent_hash; /* of the pieces when they were sent */
    uint8_t *payload;   /* owned, once written */
    void (*on_released)(void *owner, bool written);
    void *owner;
    bool written;
    uint64_t arrives_ns;
};

struct sim_frames {
    struct sim_frame *first, *last;
    size_t count, bytes;
};

/* What an engine holds; freed after on_closed, so that a later use is seen. */
struct sim_link {
    struct link link; /* first */
    struct sim_end *end;
};

/* One end of a connection. Kept until the end of the seed. */
struct sim_end {
    struct sim *sim;
    struct sim_process *process;
    struct sim_link *link; /* owned; NULL once closed */
    /* owned; of a process that is gone: its engine still has pointers to it */
    struct sim_link *left;
    struct sim_end *peer; /* NULL: nobody is there yet */
    struct sim_end *next; /* of all */
    uint64_t id;
    bool outgoing, bulk, control;
    char address[64]; /* outgoing */
    bool open, closing, closed;
    bool held;    /* a frame was left in the socket */
    bool taken;   /* between on_head and on_frame */
    bool stalled; /* the peer's inbox is full: it wakes us */
    bool read_scheduled, write_scheduled;
    struct sim_frames outbox, inbox, released; /* released: on_released is due at the end */
    struct link_incoming *incoming;            /* owned; while taken */
    size_t copied;                             /* bytes of the taken frame that are in place */
    uint64_t last_arrival_ns, muted_until_ns, slow_until_ns;
    struct error why;
};

/* ---- processes ---- */

enum sim_role { SIM_SERVER, SIM_WORKER, SIM_READER };

struct sim_process {
    struct sim *sim;
    enum sim_role role;
    uint32_t slot;   /* server, worker place, reader */
    uint64_t number; /* in order of start */
    char name[32];
    char address[64]; /* a server's */
    bool alive;
    uint64_t frozen_until_ns;
    struct link_io io;
    struct link_engine engine;
    uint64_t turn_ns, turn_generation;
    /* After each turn; returns when it wants another one. */
    uint64_t (*program)(struct sim_process *process);
    struct server *server;
    struct sim_worker *worker;
    struct sim_reader *reader;
    struct sim_raw *raw;
};

/* ---- plan ---- */

enum sim_action { ACTION_NONE, ACTION_GRADIENT, ACTION_ASSIGN, ACTION_ASSIGN_MEAN, ACTION_ADD };

struct sim_variable {
    char name[16];
    enum dtype dtype;
    uint64_t shape[2];
    size_t rank;
    size_t elements, row_elements, bytes, offset; /* offset: in an array of all variables */
    int initializer;
    double a, b;
    int64_t seed;
    bool trainable;
    uint32_t optimizer;
    enum sim_action usual;
    bool rows; /* gradients are often rows */
};

struct sim_optimizer {
    const char *name;
    struct optimizer_option options[2];
    size_t option_count;
};

struct sim_plan {
    uint64_t seed;
    uint32_t servers, workers, readers;
    uint64_t steps;
    uint64_t finish_step[SIM_WORKERS_MAX];
    struct sim_variable variables[SIM_VARIABLES_MAX];
    uint32_t variable_count;
    size_t bytes; /* of all variables, each aligned to 64 */
    struct sim_optimizer optimizers[SIM_OPTIMIZERS_MAX];
    uint32_t optimizer_count;
    bool barriers, payload_hash, explicit_ranks, zeros, sets, leaves;
    uint64_t staging_bytes;
    uint64_t window_bytes;
    uint64_t fault_mean_ns;
    uint64_t compute_max_ns;
    uint64_t delay_max_ns;
    uint32_t double_per_mille, send_fails_per_million;
};

void plan_make(struct sim_plan *ret_plan, uint64_t seed);
uint64_t plan_examples(const struct sim_plan *plan, uint32_t rank, uint64_t step);
bool plan_takes_part(const struct sim_plan *plan, uint32_t rank, uint64_t step);
/* What this rank pushes of a variable; ACTION_NONE also where others do. */
enum sim_action plan_action(const struct sim_plan *plan, uint32_t variable, uint32_t rank,
                            uint64_t step);
/* Rows of a rows push (with repetitions, in any order); 0: it is dense. ret_rows has room for the
 * variable's rows * 2. */
size_t plan_rows(const struct sim_plan *plan, uint32_t variable, uint32_t rank, uint64_t step,
                 int64_t *ret_rows);
/*
 * What is pushed: a function of the values before the step. With row_count > 0, ret_values is
 * (row_count, row_elements).
 */
void plan_values(const struct sim_plan *plan, uint32_t variable, uint32_t rank, uint64_t step,
                 const void *before, const int64_t *rows, size_t row_count, void *ret_values);
/* First values of an assigned variable. */
void plan_initial(const struct sim_plan *plan, uint32_t variable, void *ret_values);
size_t plan_metrics(const struct sim_plan *plan, uint32_t rank, uint64_t step,
                    struct ps_metric *ret_metrics);
bool plan_restarts_totals(uint64_t step);
/* "v7" is variable 7 of the plan, whatever its id in the registry. */
uint32_t plan_variable(const char *name);
uint64_t plan_dice(const struct sim_plan *plan, const char *what, uint64_t a, uint64_t b,
                   uint64_t c);

/* ---- oracle ---- */

struct sim_version {
    uint8_t *values;           /* owned; plan->bytes */
    uint8_t *slots[SIM_SLOTS]; /* owned; plan->bytes each */
    struct ps_metric totals[SIM_METRICS_MAX], running[SIM_METRICS_MAX];
    size_t total_count, running_count;
};

struct sim_oracle {
    struct sim_version versions[SIM_STEPS_MAX + 1];
    uint64_t count; /* versions 0 .. count - 1 are there */
    struct optimizer optimizers[SIM_OPTIMIZERS_MAX];
    double learning_rates[SIM_OPTIMIZERS_MAX];
    /* The learning rate that holds from a step on; NaN: no change there. */
    double changes[SIM_STEPS_MAX + 4];
};

void oracle_init(struct sim *sim);
void oracle_release(struct sim *sim);
/* All versions up to this one. */
const struct sim_version *oracle_version(struct sim *sim, uint64_t step);
void oracle_learning_rate(struct sim *sim, double learning_rate, uint64_t from_step);
size_t oracle_slot_count(struct sim *sim, uint32_t variable);
/* Fails the seed unless the elements first .. are those of the version; slot 0 is the value. */
void oracle_compare(struct sim *sim, const char *check, const char *who, uint64_t step,
                    uint32_t variable, uint32_t slot, size_t first, size_t count,
                    const void *values);

/* ---- the whole ---- */

struct sim_totals {
    uint64_t seeds, steps, events, crashes, zombies, fenced, resets, freezes, blackouts,
        server_freezes, reader_freezes;
    uint64_t duplicates, doubled, dropped, partial, waits, snapshots, slot_reads, digests, gone,
        rate_changes, expired, latest, starved, pulls, pushes, frames, refused, repeated,
        send_failures;
    uint64_t seeds_with_crash, seeds_with_drop, seeds_with_double;
};

struct sim {
    struct sim_plan plan;
    struct rng_sequence rng;
    bool trace, quiet_output;
    uint64_t now_ns, sequence, hash;
    struct sim_event *events; /* owned; a heap */
    size_t event_count, event_capacity;
    struct sim_end *ends; /* owned */
    uint64_t next_end;
    struct sim_process *processes[SIM_PROCESSES_MAX]; /* owned */
    size_t process_count;
    struct sim_process *servers[SIM_SERVERS_MAX];
    struct sim_process *workers[SIM_WORKERS_MAX]; /* the newest of each place */
    struct sim_process *readers[SIM_READERS_MAX];
    uint32_t restarts[SIM_WORKERS_MAX]; /* starts that are planned */
    struct sim_oracle oracle;
    struct sim_totals totals;
    /* Checks. */
    struct sim_check *check; /* owned */
    /* Ending. */
    bool faults_on;
    uint64_t quiet_ns; /* since when there are no faults; 0: there still are */
    uint64_t committed_ns;
    uint64_t done_ranks; /* bits */
    bool final_read;     /* readers read a last time */
    uint64_t forced_faults;
    jmp_buf failed;
    char failure_check[64];
    char failure[1024];
    /* Scenarios look at what happens themselves. */
    bool scenario;
    const char *server_token;          /* of servers started from now on; NULL: the right one */
    int worker_exits[SIM_WORKERS_MAX]; /* exit codes of workers that ended */
};

/* sim_event.c */
void sim_push_event(struct sim *sim, uint64_t at_ns, enum sim_event_kind kind, void *subject,
                    uint64_t number);
bool sim_pop_event(struct sim *sim, struct sim_event *ret_event);
uint64_t sim_below(struct sim *sim, uint64_t bound);
bool sim_chance(struct sim *sim, uint64_t per_mille);
/* Most are short, some are long. */
uint64_t sim_delay(struct sim *sim);
void sim_note(struct sim *sim, uint64_t a, uint64_t b, uint64_t c);
_Noreturn void sim_fail(struct sim *sim, const char *check, const char *format, ...)
    PRINTF_LIKE(3, 4);
void sim_trace(struct sim *sim, const char *format, ...) PRINTF_LIKE(2, 3);

/* sim_net.c */
struct link_io net_io(struct sim_process *process);
void net_event(struct sim *sim, const struct sim_event *event);
/* The connection breaks: both ends learn of it, each in its time. */
void net_reset(struct sim_end *end);
/* Until then nothing can be written to it. */
void net_not_read(struct sim_process *process, uint64_t until_ns);
/* The process is gone: its ends close without a word to it. */
void net_process_gone(struct sim_process *process, bool silent);
/* Everything still open closes, as when a driver is freed. */
void net_close_all(struct sim_process *process);
void net_release(struct sim *sim);
struct sim_end *net_random_end(struct sim *sim, bool control_only);
struct sim_process *net_peer_process(const struct link *link);

/* sim_cluster.c */
struct sim_process *sim_process_new(struct sim *sim, enum sim_role role, uint32_t slot);
void sim_turn_at(struct sim_process *process, uint64_t at_ns);
bool sim_frozen(struct sim_process *process);
void sim_start_server(struct sim *sim, uint32_t slot);
struct coordinator *sim_coordinator(struct sim *sim);
/* False: it failed, and sim->failure says how. */
bool sim_run(struct sim *sim, uint64_t seed, bool trace);
void sim_release(struct sim *sim);
/* Runs until the time, or until done says so. */
void sim_run_until(struct sim *sim, uint64_t until_ns, bool (*done)(struct sim *sim));
void sim_waits(struct sim *sim, char *ret_text, size_t capacity);

/* sim_worker.c */
void worker_start(struct sim *sim, uint32_t slot, uint32_t rank_plus_1);
void worker_gone(struct sim_process *process);
void worker_describe(const struct sim_process *process, char *ret_text, size_t capacity);
uint32_t worker_rank_plus_1(const struct sim_process *process);

/* sim_reader.c */
void reader_start(struct sim *sim, uint32_t slot);
void reader_gone(struct sim_process *process);
bool reader_done(const struct sim_process *process);
void reader_describe(const struct sim_process *process, char *ret_text, size_t capacity);

/* sim_check.c */
void check_init(struct sim *sim);
void check_release(struct sim *sim);
void check_server(struct sim_process *process);
void check_hello(struct sim_process *server, struct sim_process *peer, const uint8_t *header,
                 size_t header_bytes);
/* The bytes of a rank's push are on the servers, or are in a version already. */
void check_push_arrived(struct sim *sim, const struct sim_process *process, uint32_t variable,
                        uint32_t rank, uint64_t step);
bool check_superseded(struct sim *sim, const struct sim_process *process);
void check_on_commit(void *context, uint64_t step);
uint64_t check_duplicates(const struct sim *sim);

/* sim_faults.c */
void faults_start(struct sim *sim);
void faults_event(struct sim *sim);
void faults_supervise(struct sim *sim);
void faults_restart_worker(struct sim *sim, uint32_t slot, uint64_t delay_ns, uint32_t rank_plus_1);

/* sim_scenario.c: all of them, or one by name. */
bool scenarios_run(struct sim *sim, const char *only, bool trace);

/* sim_mutants.c */
int mutants_run(uint64_t seeds, const char *only);

#endif
