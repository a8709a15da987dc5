/*
 * The coordinator: who is there, which variables exist, which step is committed, what is held for
 * readers, when the job ends. One per job, in the process of the first server, which is a member
 * without a link.
 *
 * Decisions only: frames come in by coordinator_frame, go out through struct link_io; time comes
 * from it too.
 *
 *   coordinator.c  frames to decisions; the start and the end of the job; the clock
 *   roster.c       ranks, incarnations, servers: hello, loss, return
 *   commit.c       the step commit, metric totals, the servers' log
 *   barrier.c      barriers
 *   snapshot.c     holds for readers
 *   status.c       what it says of itself
 */
#ifndef PARAMD_SERVER_CLUSTER_COORDINATOR_H
#define PARAMD_SERVER_CLUSTER_COORDINATOR_H

#include "common/base/error.h"
#include "common/base/exit_code.h"
#include "common/base/limits.h"
#include "common/wire/link.h"
#include "common/wire/registry.h"
#include "proto/cluster.pb-c.h"
#include "proto/query.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct metric {
    char name[LIMIT_METRIC_NAME_BYTES + 1];
    double sum;
    double count;
};

struct metric_list {
    size_t count;
    struct metric items[LIMIT_METRICS];
};

/* A control connection. Server 0 has a member with link NULL. */
struct member {
    struct coordinator *coordinator;
    struct link *link; /* borrowed; NULL: the server in this process */
    struct member *next, *previous;
    enum { MEMBER_WORKER, MEMBER_SERVER, MEMBER_READER } kind;
    uint32_t index; /* rank or server */
    uint64_t last_heard_ns;
    bool closing;
    uint64_t snapshot_request; /* a snapshot that waits for a commit; 0: none */
    bool snapshot_waits;
    bool snapshot_slots;
    uint64_t hold; /* what a reader was given last */
};

struct step_report {
    uint64_t step;
    bool valid;
    bool restart_totals;
    struct metric_list metrics;
};

/* Processes that lost a rank to another and are remembered: a hello of theirs may still be under
 * way. */
enum { WORKER_FORMER_MAX = 8 };

struct coordinator_worker {
    struct member *member; /* NULL: not connected */
    bool known;            /* somebody has had this rank */
    uint64_t process;
    /* processes before this one; [number % WORKER_FORMER_MAX], 0: none */
    uint64_t former[WORKER_FORMER_MAX];
    uint64_t incarnation;
    uint64_t connection; /* highest of this incarnation */
    bool started;
    bool start_waits; /* a START to be answered */
    uint64_t start_request;
    bool finished;
    uint64_t last_step;         /* takes part up to this one; UINT64_MAX: no end yet */
    uint64_t clock;             /* last step that it has ended */
    uint64_t lost_ns;           /* since when it is not connected */
    struct step_report ends[2]; /* [step % 2] */
    char program[LIMIT_PROGRAM_BYTES + 1];
};

struct coordinator_server {
    struct member *member;
    bool known;
    bool local;
    uint64_t process;
    uint64_t connection;
    uint64_t lost_ns;
    uint64_t prepared_plus_1;
    uint64_t log_acked;
    uint64_t duplicates, value_bytes, resident_bytes;
    uint32_t blocks;
    char address[LIMIT_ADDRESS_BYTES + 1];
    char program[LIMIT_PROGRAM_BYTES + 1];
};

struct log_entry {
    uint64_t index;
    Pmd__LogKind kind;
    uint64_t step, grant, hold;
    bool hold_slots;
    double learning_rate;
    uint32_t optimizer, rank;
};

struct barrier {
    struct barrier *next; /* newest first */
    char name[LIMIT_BARRIER_NAME_BYTES + 1];
    bool done;
    struct metric_list totals;
    struct barrier_rank *ranks; /* owned; [worker]; NULL once done */
    uint32_t arrived;
};

struct barrier_rank {
    bool arrived;
    bool waits; /* to be answered */
    uint64_t request;
    struct metric_list metrics;
};

/* The server in the coordinator's process, told by calls instead of frames. */
struct coordinator_local {
    void *context;
    void (*on_registry)(void *context, const struct registry *registry);
    void (*on_log)(void *context, const Pmd__LogEntry *entry);
};

struct coordinator_settings {
    const char *job; /* borrowed */
    uint32_t workers;
    uint32_t servers;
    uint64_t heartbeat_ms;   /* 500 */
    uint64_t dead_ms;        /* 10,000: a silent peer's connection is closed */
    uint64_t join_ms;        /* 15,000: for everybody to be there */
    uint64_t restart_ms;     /* 60,000: for a lost worker to come back */
    uint64_t server_lost_ms; /* 10,000 */
    /* Is this an optimizer, with settings it knows? */
    enum status (*check_optimizer)(const struct optimizer_spec *spec, struct error *err);
};

enum job_state { JOB_FORMING, JOB_CREATING, JOB_TRAINING, JOB_FINISHED, JOB_ENDED };

struct coordinator {
    const struct link_io *io;
    struct coordinator_settings settings;
    struct coordinator_local local;
    enum job_state state;
    struct registry registry;
    bool registry_closed;
    struct coordinator_worker *workers; /* owned */
    struct coordinator_server *servers; /* owned */
    struct member *members;
    struct member local_member;
    uint64_t committed_plus_1;
    struct log_entry *log; /* owned; entries log_first .. log_first + log_count - 1 */
    size_t log_count, log_capacity;
    uint64_t log_first;
    struct metric_list totals[2]; /* of the last two commits, [step % 2] */
    struct metric_list running[2];
    struct barrier *barriers; /* owned */
    size_t barrier_count;
    uint64_t hold; /* number of the last hold; 0: none yet */
    uint64_t hold_step;
    uint64_t hold_ns;
    bool hold_slots;
    uint64_t started_ns, training_ns, committed_ns, next_heartbeat_ns, next_notice_ns;
    uint32_t readers;
    double learning_rate; /* as last set; NaN: as configured */
    /* The end of the job. */
    enum status end_status;
    enum exit_code end_code;
    char end_message[ERROR_MESSAGE_BYTES];
    /* Lines for people ("waiting for 1 of 2 servers"); may be NULL. */
    void (*notice)(void *context, const char *line);
    void *notice_context;
    struct registry_page *page; /* owned; scratch */
};

/* All members but the local server are told by frames. ret_coordinator stays where it is (members
 * point to it). */
NODISCARD enum status coordinator_init(struct coordinator *coordinator, const struct link_io *io,
                                       const struct coordinator_settings *settings,
                                       const struct coordinator_local *local,
                                       const char *local_address, struct error *err);
void coordinator_release(struct coordinator *coordinator);

/*
 * A HELLO on a control connection, whose version, job and token are right. Answers it. On error the
 * caller sends the message and closes the link; ABORTED: fenced, END was sent.
 */
NODISCARD enum status coordinator_hello(struct coordinator *coordinator, struct link *link,
                                        const Pmd__Hello *hello, uint64_t request,
                                        struct member **ret_member, struct error *err);

/* A frame of a member. On error the caller sends FAILURE and closes the link. */
NODISCARD enum status coordinator_frame(struct coordinator *coordinator, struct member *member,
                                        enum frame_type type, uint64_t request, const void *message,
                                        struct error *err);

/* The member's link is gone; the member is freed. */
void coordinator_closed(struct coordinator *coordinator, struct member *member);

/* The local server's report, and its complaint. */
void coordinator_local_report(struct coordinator *coordinator, const Pmd__Report *report);

/* Ends the job for everybody (the first end counts). */
void coordinator_end(struct coordinator *coordinator, enum status status, enum exit_code code,
                     const char *format, ...) PRINTF_LIKE(4, 5);

/* Heartbeats, deadlines, notices. Returns when it wants to be called again. */
uint64_t coordinator_tick(struct coordinator *coordinator);

/* What the job waits for at this moment, as a sentence; "" if for nothing. */
void coordinator_waiting_for(const struct coordinator *coordinator, char *ret_text,
                             size_t capacity);

/* Inside the folder. */
void coordinator_send(struct coordinator *coordinator, struct member *member, enum frame_type type,
                      const ProtobufCMessage *message, uint64_t request);
void coordinator_fail_request(struct coordinator *coordinator, struct member *member,
                              uint64_t request, const struct error *err);
void coordinator_done(struct coordinator *coordinator, struct member *member, uint64_t request);
void coordinator_drop_member(struct coordinator *coordinator, struct member *member, bool flush,
                             enum status status, const char *text);
void coordinator_send_registry(struct coordinator *coordinator, struct member *member,
                               uint64_t request);
void coordinator_close_registry_if_ready(struct coordinator *coordinator);
void roster_broadcast_members(struct coordinator *coordinator);
uint32_t roster_servers_present(const struct coordinator *coordinator);
uint32_t roster_workers_present(const struct coordinator *coordinator);
void roster_check(struct coordinator *coordinator, uint64_t now);
NODISCARD enum status commit_step_end(struct coordinator *coordinator, struct member *member,
                                      const Pmd__StepEnd *message, struct error *err);
void commit_report(struct coordinator *coordinator, struct member *member,
                   const Pmd__Report *report);
NODISCARD enum status commit_finish(struct coordinator *coordinator, struct member *member,
                                    const Pmd__Finish *message, struct error *err);
void commit_try(struct coordinator *coordinator);
void commit_log_append(struct coordinator *coordinator, const struct log_entry *entry);
/* For a mutant: the last hold as an entry without a number. member NULL: to all servers. */
void commit_hold_past_log(struct coordinator *coordinator, struct member *member);
void commit_log_send_after(struct coordinator *coordinator, struct member *member, uint64_t index);
void commit_log_acked(struct coordinator *coordinator, struct member *member, uint64_t index);
uint64_t commit_grant(const struct coordinator *coordinator);
void metric_list_add(struct metric_list *list, const struct metric *metric);
NODISCARD enum status metric_list_from_message(size_t count, Pmd__Metric *const *metrics,
                                               struct metric_list *ret_list, struct error *err);
struct metric_messages {
    Pmd__Metric items[LIMIT_METRICS];
    Pmd__Metric *pointers[LIMIT_METRICS];
};
void metric_list_to_messages(const struct metric_list *list, struct metric_messages *ret_messages);
NODISCARD enum status barrier_arrive(struct coordinator *coordinator, struct member *member,
                                     uint64_t request, const Pmd__Barrier *message,
                                     struct error *err);
void barrier_check_all(struct coordinator *coordinator);
void barrier_rank_lost(struct coordinator *coordinator, uint32_t rank);
void barrier_release_all(struct coordinator *coordinator);
void snapshot_request(struct coordinator *coordinator, struct member *member, uint64_t request,
                      const Pmd__Snapshot *message);
/* Fills the hold of a commit entry if a reader waits for one. */
void snapshot_on_commit(struct coordinator *coordinator, struct log_entry *entry);
void snapshot_after_commit(struct coordinator *coordinator);
void status_reply(struct coordinator *coordinator, struct member *member, uint64_t request);

#endif
