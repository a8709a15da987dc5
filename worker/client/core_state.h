/* The client engine's state, shared by the core_*.c files and nobody else. */
#ifndef PARAMD_WORKER_CLIENT_CORE_STATE_H
#define PARAMD_WORKER_CLIENT_CORE_STATE_H

#include "common/base/arena.h"
#include "common/tensor/placement.h"
#include "proto/cluster.pb-c.h"
#include "proto/data.pb-c.h"
#include "worker/client/client_core.h"

enum {
    CORE_STEPS = 4,            /* own steps not known to be committed; grants allow 2 in sync */
    CORE_FEW_BLOCKS = 16,      /* a frame of large blocks (64 KiB and up) has no room for more */
    CORE_WINDOW_FRAMES = 1024, /* pushes on a link without an acknowledgement */
    CORE_WINDOW_PULLS = 1024,
    CORE_FAILED_PULLS = 4096, /* pulls whose failure nobody asked for yet */
    CORE_TOTALS = 2,          /* committed steps whose totals are kept */
    CORE_NAMES = 4096,        /* different names of metrics, own and the other ranks' */
};

#define CORE_SECOND         ((uint64_t)1000000000)
#define CORE_HEARTBEAT_NS   (CORE_SECOND / 2)
#define CORE_DEAD_NS        (10 * CORE_SECOND)
#define CORE_BACKOFF_MIN_NS (CORE_SECOND / 20)
#define CORE_BACKOFF_MAX_NS CORE_SECOND
#define CORE_CONNECT_MS     5000
/* after a link was lost, for at least one more try */
#define CORE_GRACE_NS          (2 * CORE_SECOND)
#define CORE_NOTICE_NS         CORE_SECOND /* a wait shorter than this is not mentioned */
#define CORE_SMALL_BLOCK_BYTES (64 * 1024)

/* ---- handles: kind, generation, index of a record ---- */

enum core_kind { CORE_KIND_NONE, CORE_KIND_PUSH, CORE_KIND_PULL, CORE_KIND_REQUEST };

/* The head of every record. */
struct core_slot {
    uint32_t generation;        /* of the present or next user */
    uint32_t failed_generation; /* the last one that ended badly and was asked for */
    uint32_t next_free;         /* index + 1 */
    bool used;
};

/* Records of one kind, addressed by index: the array moves when it grows. */
struct core_pool {
    void *records; /* owned */
    size_t record_bytes;
    uint32_t capacity;
    uint32_t used;
    uint32_t free; /* index + 1 of the first free one */
};

/* ---- pushes ---- */

struct core_memory {
    struct core_memory *next;
    size_t capacity;
    size_t reserved; /* data is aligned to 8 bytes */
    uint8_t data[];
};

/* One variable pushed for one step. Freed when the step is committed and no queued frame refers to
 * its bytes. */
struct core_push {
    struct core_slot slot; /* first */
    uint64_t step;
    uint32_t variable;
    uint32_t unacked;           /* frames with bytes of it that no server has acknowledged */
    uint32_t queued;            /* frames with bytes of it in some link's queue */
    ps_handle pull;             /* push_pull: the pull that waits for the end of the loan; else 0 */
    struct core_memory *memory; /* owned; encoded rows, else NULL */
};

/* A PUSH frame: blocks of one server and one step, of one or many pushes. */
struct core_push_frame {
    struct core *core;
    struct core_push_frame *all_next; /* every frame there is, for the release */
    /* un-acknowledged ones of the server, in order; or the free list */
    struct core_push_frame *next, *previous;
    uint64_t request;
    uint64_t step;
    uint32_t server;
    enum ps_push_kind kind;
    bool rows_encoded;
    bool sealed;
    bool listed;     /* among the un-acknowledged */
    bool sent;       /* on the present link */
    uint32_t queued; /* times in a link's queue, also of links that are closing */
    uint32_t block_count, block_capacity;
    uint32_t push_count;
    size_t payload_bytes;
    /* owned, one allocation; pushes: indices of records */
    uint32_t *variables, *blocks, *rows, *pushes;
    struct link_piece *pieces; /* owned */
};

/* ---- pulls ---- */

/* One variable pulled. Freed when it is complete, or failed and asked for. */
struct core_pull {
    struct core_slot slot; /* first */
    uint64_t step;
    uint32_t variable;
    uint32_t missing;      /* blocks */
    ps_handle push;        /* push_pull: its loan must end too; else 0 */
    uint32_t latest_tries; /* PS_LATEST: tries left with a newer version */
    uint8_t *values;       /* borrowed from the caller */
    struct error error;    /* status not OK: it failed */
};

struct core_pull_block {
    uint8_t *place; /* NULL: nobody wants it any more */
    uint32_t bytes;
    uint32_t variable;
    uint32_t block;
    uint32_t pull;  /* index of its record */
    uint32_t reply; /* the last one with a part for it */
    bool done;
};

/* A PULL frame: blocks of one server and one step. */
struct core_pull_frame {
    struct core_pull_frame *next, *previous; /* unanswered ones of the server; or the free list */
    uint64_t request;
    uint64_t step;
    uint32_t server;
    bool sealed, sent;
    uint32_t count;
    uint32_t missing; /* neither done nor given up */
    uint32_t found;   /* where the last block of a reply was found */
    uint32_t replies;
    struct core_pull_block blocks[LIMIT_FRAME_BLOCKS];
};

/* ---- requests on the control link ---- */

struct core_request {
    struct core_slot slot; /* first */
    uint64_t number;
    enum frame_type type;
    uint8_t *packed; /* owned; the message, for sending it again */
    size_t packed_bytes, packed_capacity;
    char what[LIMIT_NAME_BYTES + 64]; /* "create 'dense/kernel'" */
    bool sent;                        /* on the present control link */
    bool done;
    struct error error;
    uint32_t variable;         /* CREATE */
    struct ps_metric *metrics; /* owned; BARRIER */
    size_t metric_count;
};

/* ---- steps ---- */

/* One of the own steps not known to be committed. */
struct core_step {
    uint64_t step;
    uint64_t examples;
    bool ended;
    bool restart_totals;
    bool end_sent;    /* on the present control link */
    bool *begin_sent; /* owned; per server, on the present bulk link */
    bool *close_sent; /* owned */
    size_t metric_count;
    struct ps_metric metrics[LIMIT_METRICS];
};

struct core_totals {
    uint64_t step_plus_1; /* 0: none */
    size_t count;
    size_t capacity;
    struct ps_metric *totals, *running; /* owned */
    size_t running_count;
};

/* ---- links ---- */

enum core_link_state { CORE_LINK_DOWN, CORE_LINK_CONNECTING, CORE_LINK_GREETING, CORE_LINK_UP };

struct core_link {
    struct core *core;
    struct link *link; /* NULL when down; a link that is not this one is an older one, closing */
    enum core_link_state state;
    bool control;
    uint32_t server; /* bulk */
    char address[LIMIT_ADDRESS_BYTES + 1];
    uint64_t retry_at_ns, backoff_ns;
    uint64_t greeting_until_ns;
    uint64_t heard_ns, said_ns;
    uint64_t lost_ns;              /* when it went down */
    uint64_t tried_ns;             /* when the last try began */
    char why[ERROR_MESSAGE_BYTES]; /* it is down */

    /* The frame between on_head and on_frame. */
    struct frame_head head;
    uint8_t *header; /* owned */
    size_t header_capacity;
    struct core_pull_frame *receiving;
    uint32_t received[LIMIT_FRAME_BLOCKS]; /* indices into receiving->blocks */
    uint32_t received_count;
    uint64_t received_grant;

    /* Bulk: what goes out. */
    /* un-acknowledged, in order; the last may be in the making */
    struct core_push_frame *push_first, *push_last;
    struct core_push_frame *push_unsent;            /* the first one not sent on this link */
    uint32_t push_in_flight;                        /* sent on this link, not acknowledged */
    struct core_pull_frame *pull_first, *pull_last; /* unanswered */
    uint32_t pull_in_flight;
    bool pull_window_full; /* some wait for an answer to another */
};

struct core {
    struct link_io io;
    /* Copies of the options. */
    char job[LIMIT_JOB_NAME_BYTES + 1];
    char program[LIMIT_PROGRAM_BYTES + 1];
    uint8_t token[LIMIT_TOKEN_BYTES];
    size_t token_bytes;
    uint64_t seed, heartbeat_ns, dead_ns;
    void (*on_notice)(void *user, const char *line);
    void *user;

    /* Who I am. */
    uint64_t process;
    uint64_t connection;
    uint64_t incarnation; /* 0: not told yet */
    uint32_t rank_plus_1, workers, servers;
    bool greeted; /* rank, workers and servers are known */
    bool closing;
    uint32_t open_links; /* links whose on_closed has not come */
    uint64_t progress;

    /* It is over. */
    bool ended;
    struct error end;
    int exit_code;

    /* The cluster. */
    uint32_t servers_present, workers_present;
    bool addresses_known;
    uint64_t began_ns;
    uint64_t changed_ns; /* when `noticed` was said or the wait began */
    char noticed[256];
    struct core_link control;
    struct core_link *bulk; /* owned; one a server */

    struct registry registry;
    bool registry_known;
    struct placement placement;
    uint64_t *pushed_step_plus_1; /* owned; per variable: the last step it was pushed for, plus 1 */

    uint64_t next_request;
    uint64_t commit_plus_1;
    uint64_t grant;
    uint64_t last_begun;
    bool finished;
    bool finish_sent;
    struct core_step steps[CORE_STEPS]; /* steps[step % CORE_STEPS]; step 0: unused */
    /* the first not known to be committed; steps up to last_begun are open */
    uint64_t step_first;
    struct core_totals totals[CORE_TOTALS];

    struct core_pool pushes, pulls, requests;
    struct core_push_frame *frames; /* owned; all of them */
    struct core_push_frame *free_few, *free_many;
    struct core_pull_frame *free_pulls; /* owned */
    struct core_memory *free_memory;    /* owned */
    uint32_t pulls_failed;
    bool pulls_held_back;    /* of steps that servers do not know yet */
    uint64_t pulls_tried_at; /* commit_plus_1 then */

    struct arena arena;                             /* of the message being looked at */
    uint32_t message_variables[LIMIT_FRAME_BLOCKS]; /* of the frame being sent */
    uint32_t message_blocks[LIMIT_FRAME_BLOCKS];
    char **names; /* owned; metric names that the caller was given */
    size_t name_count, name_capacity;
};

/* ---- core_handle.c ---- */

ps_handle core_handle_make(enum core_kind kind, uint32_t generation, uint32_t index);
enum core_kind core_handle_kind(ps_handle handle);
uint32_t core_handle_index(ps_handle handle);
uint32_t core_handle_generation(ps_handle handle);
/* The record at an index that is used. */
void *core_pool_at(const struct core_pool *pool, uint32_t index);
/* A zeroed record but for its slot; false: no memory. */
bool core_pool_take(struct core_pool *pool, uint32_t *ret_index);
void core_pool_give(struct core_pool *pool, uint32_t index);
/* The live record of a handle, or NULL. */
void *core_pool_find(const struct core_pool *pool, ps_handle handle);

/* ---- core_link.c ---- */

/* Ends the client: everything pending fails with this. Links are closed. */
void core_end(struct core *core, const struct error *why, int exit_code);
/* Closes a link and plans the next try. */
void core_link_drop(struct core_link *link, const struct error *why);
/* Connects, beats, gives up: what is due. Lowers *wake_ns to when it wants to be called again. */
void core_link_turn(struct core_link *link, uint64_t now_ns, uint64_t *wake_ns);
void core_link_open(struct core_link *link);
void core_link_closed(struct core_link *link, const struct error *why);
/* HELLO was answered with HELLO_REPLY or FAILURE. */
void core_link_greeted(struct core_link *link, const Pmd__HelloReply *reply);
void core_link_refused(struct core_link *link, const Pmd__Failure *failure);
void core_link_release(struct core_link *link);
/* "server 1 (127.0.0.1:7071)" */
void core_link_name(const struct core_link *link, char *ret_text, size_t capacity);

/* ---- core_send.c ---- */

/* One frame on a link that is up; closes the link on an error. */
bool core_send(struct core_link *link, enum frame_type type, const ProtobufCMessage *message,
               uint64_t request);
/* All that may go out on a link now. */
void core_send_control(struct core *core);
void core_send_bulk(struct core_link *link);
/* The link is new: what was sent on the old one counts as not sent. */
void core_send_again(struct core_link *link);

/* ---- core_request.c ---- */

void core_request_send_all(struct core *core);
/* The request with this number, or NULL. */
struct core_request *core_request_find(struct core *core, enum frame_type type, uint64_t number);
void core_request_answer(struct core *core, struct core_request *request);
void core_request_forget(struct core *core, uint32_t index);
/* The control link is new: all requests without an answer go out again. */
void core_requests_unsent(struct core *core);
void core_requests_release(struct core *core);
enum status core_registry_add(struct core *core, const Pmd__Registry *page, bool *ret_complete,
                              struct error *err);

/* ---- core_step.c ---- */

void core_commit(struct core *core, uint64_t commit_plus_1);
void core_granted(struct core *core, uint64_t grant);
struct core_step *core_step_find(struct core *core, uint64_t step);
enum status core_steps_init(struct core *core, struct error *err);
void core_steps_release(struct core *core);
void core_totals_keep(struct core *core, const Pmd__Commit *commit);
/* A copy of a metric's name that lives as long as the core; NULL: no memory, or too many. */
const char *core_name_keep(struct core *core, const char *name);
/* RESOURCE_EXHAUSTED: says why core_name_keep gave NULL. */
enum status core_name_error(const struct core *core, const char *name, struct error *err);
enum status core_metrics_check(const struct ps_metric *metrics, size_t count, struct error *err);

/* ---- core_push.c ---- */

enum status core_ended_error(const struct core *core, struct error *err);
/* A variable of a started job, or an error that says what is wrong. */
enum status core_variable_check(const struct core *core, const char *verb, uint32_t variable,
                                struct error *err);
enum status core_push_check(struct core *core, uint32_t variable, enum ps_push_kind kind,
                            bool *ret_send, struct error *err);
/* Takes a record for a push of this step. */
enum status core_push_take(struct core *core, uint32_t variable, uint64_t step, uint32_t *ret_index,
                           struct error *err);
ps_handle core_push_handle(const struct core *core, uint32_t index);
/* Sends what is full, to every server. */
void core_push_send(struct core *core);

/* ---- core_push_frame.c ---- */

/* Adds one block of a push to the frames of its server. */
enum status core_push_block(struct core *core, uint32_t index, uint32_t block,
                            enum ps_push_kind kind, bool rows_encoded, uint32_t rows,
                            const uint8_t *data, size_t bytes, struct error *err);
/* Undoes core_push_take and all blocks added. */
void core_push_undo(struct core *core, uint32_t index);
void core_push_seal(struct core_link *link);
void core_push_released(void *owner, bool written);
void core_push_acked(struct core_link *link, const Pmd__PushAck *ack);
void core_push_committed(struct core *core);
/* Is there a frame of this number without an acknowledgement? */
bool core_push_waits(const struct core_link *link, uint64_t request);
/* Is there a push of this step or an earlier one? */
bool core_push_loaned(const struct core *core, uint64_t step);
void core_push_drop(struct core_link *link, struct core_push_frame *frame);
void core_push_forget(struct core *core, uint32_t index);
void core_pushes_release(struct core *core);

/* ---- core_rows.c ---- */

/* Memory for encoded rows; NULL: there is none. */
struct core_memory *core_memory_take(struct core *core, size_t bytes);
void core_memory_give(struct core *core, struct core_memory *memory);

/* ---- core_pull.c ---- */

enum link_verdict core_pull_head(struct core_link *link, const Pmd__PullReply *reply,
                                 struct link_incoming *ret_incoming, struct error *err);
void core_pull_frame_read(struct core_link *link);
bool core_pull_failed(struct core_link *link, uint64_t request, const struct error *why);
void core_pull_seal(struct core_link *link);
/* Nothing is written to the pull any more; the handle ends with NOT_FOUND. */
void core_pull_expire(struct core *core, uint32_t index);
/* Nothing more is written to its array. */
void core_pull_abandon(struct core *core, uint32_t index);
bool core_pull_complete(const struct core *core, const struct core_pull *pull);
void core_pull_settle(struct core *core, uint32_t index);
void core_pull_forget(struct core *core, uint32_t index);
void core_pulls_release(struct core *core);

/* ---- core_frame.c ---- */

enum link_verdict core_frame_head(struct core_link *link, const struct frame_head *head,
                                  const uint8_t *header, struct link_incoming *ret_incoming,
                                  struct error *err);
void core_frame_read(struct core_link *link);

#endif
