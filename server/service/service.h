/*
 * The data plane of one server: what it does with the frames of workers and readers. Where
 * consistency (may it?) and store (do it) meet. Decisions only: sockets are behind struct link_io.
 *
 *   session.c  who is at the other end of a link; which of two connections of a rank counts
 *   push.c     step_begin, push, step_close -> staged -> folded -> prepared
 *   pull.c     pulls wait at their blocks; replies gather what is ready
 *   read.c     readers of the held snapshot
 *   log.c      the coordinator's log: commits, holds, settings
 */
#ifndef PARAMD_SERVER_SERVICE_SERVICE_H
#define PARAMD_SERVER_SERVICE_SERVICE_H

#include "common/base/buf.h"
#include "common/base/error.h"
#include "common/wire/link.h"
#include "common/wire/registry.h"
#include "proto/cluster.pb-c.h"
#include "proto/data.pb-c.h"
#include "server/consistency/consistency.h"
#include "server/store/store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct session;

/* What is being received: the blocks of a push, and where they go. */
struct incoming_push {
    uint64_t step;
    uint8_t kind;
    bool encoded_rows;
    uint32_t count;
    uint32_t duplicates;
    struct block *blocks[LIMIT_FRAME_BLOCKS];
    struct staged *staged[LIMIT_FRAME_BLOCKS]; /* NULL: a duplicate, read into nowhere */
    uint32_t rows[LIMIT_FRAME_BLOCKS];
};

/* One pull request of a session, alive until all its blocks are answered or the session is gone. */
struct pull {
    struct session *session; /* NULL: gone */
    uint64_t request;
    uint64_t step;
    uint32_t open; /* blocks not answered */
    struct pull *next_free;
};

/* A pull's place at one block. */
struct block_waiter {
    struct pull *pull;
    struct block *block;
    struct block_waiter *next; /* at the block, in the session's ready list, or free */
};

enum {
    SESSION_ACKS_MAX = 256,
    /* frames of values queued on one link: what is ready beyond waits, uncopied, at its place */
    SESSION_REPLIES_MAX = 16,
};

struct session {
    struct service *service;
    struct link *link;
    struct session *next, *previous; /* of all sessions of the service */
    enum { SESSION_STRANGER, SESSION_WORKER, SESSION_READER, SESSION_CONTROL } kind;
    uint32_t rank;
    uint64_t incarnation;
    uint64_t connection;
    char program[LIMIT_PROGRAM_BYTES + 1];
    void *member; /* SESSION_CONTROL: the coordinator's or the uplink's own */
    bool closing;
    bool waiting; /* a frame was left in the socket */
    struct session *next_waiting;
    enum frame_type incoming_type;
    uint64_t incoming_request;
    struct incoming_push *push; /* owned; made at the first push, used again */
    bool push_open;             /* between on_head and on_frame */
    uint64_t acks[SESSION_ACKS_MAX];
    uint32_t ack_count;
    uint32_t ack_duplicates;
    /* blocks to be sent, in the order in which they became ready */
    struct block_waiter *ready, **ready_end;
    uint64_t waiter_count;
    uint32_t queued_replies; /* frames of values that are not yet written */
    bool dirty;              /* has acks or ready blocks: in the service's list */
    struct session *next_dirty;
};

/* The newest connection of each rank. */
struct rank_link {
    uint64_t incarnation;
    uint64_t connection;
    struct session *session; /* NULL: not connected */
};

struct service_settings {
    const char *job;      /* borrowed */
    const uint8_t *token; /* borrowed */
    size_t token_bytes;
    uint32_t workers;
    uint32_t servers;
    bool payload_hash; /* wanted; used where the peer wants it too */
    uint64_t staging_bytes;
};

struct service {
    const struct link_io *io; /* borrowed */
    struct service_settings settings;
    struct store store;
    struct consistency consistency;
    struct registry registry;
    bool store_ready;        /* the registry is complete and version 0 is there or awaited */
    uint32_t server;         /* our index */
    struct buf_pool digests; /* of reads that are on their way: never at the cost of pushes */
    struct session *sessions;
    struct session *waiting; /* left a frame in the socket */
    struct session *dirty;
    struct rank_link *ranks; /* owned; [worker] */
    struct pull *free_pulls;
    struct block_waiter *free_waiters;
    struct memory_chunk *chunks; /* owned; pulls and waiters */
    struct block **starved;      /* owned; blocks that wait for a value buffer; [block_count] */
    uint32_t starved_count;
    bool *is_starved;         /* owned; [block_count] */
    uint64_t log_index;       /* last entry applied */
    uint64_t grant;           /* from the last commit */
    uint32_t prepared_blocks; /* blocks at version committed + 1 */
    bool initial_reported;
    bool report_wanted;       /* prepared_plus_1 has grown */
    uint64_t prepared_plus_1; /* all blocks are at this version (or beyond) */
    uint64_t duplicates;      /* blocks pushed again, ever */
    uint64_t folds, prepares; /* counters */
    bool progress;            /* something happened that waiting frames may need */
    struct error complaint;   /* ends the job; status OK: none */
    bool ended;
    uint64_t hold_seen;    /* highest number of a hold that has come */
    uint64_t hold_read_ns; /* when the snapshot was last read: its lease runs from here */
    /* For the sim's checks and for metrics: every published version passes here. May be NULL. */
    void (*on_commit)(void *context, uint64_t step);
    void *on_commit_context;
};

NODISCARD enum status service_init(struct service *service, const struct link_io *io,
                                   const struct service_settings *settings, struct error *err);
void service_release(struct service *service);

/* session.c */
/*
 * The coordinator has given our place to another server while we were not connected, and another
 * place to us. Only before the registry is closed, so nothing is lost; whoever is connected must
 * look where he belongs.
 */
void service_move(struct service *service, uint32_t server);
struct session *service_open(struct service *service, struct link *link);
void service_close(struct session *session, bool flush, enum status status, const char *text);
void service_closed(struct session *session);
void session_fail(struct session *session, uint64_t request, enum status status, const char *text);
void session_send(struct session *session, enum frame_type type, const ProtobufCMessage *message,
                  uint64_t request);
/*
 * HELLO on a bulk link: checks version, job, token, rank and connection, answers. err says what was
 * refused. The caller closes the link then.
 */
NODISCARD enum status service_hello_check(const struct service_settings *settings,
                                          const Pmd__Hello *hello, struct error *err);
NODISCARD enum status service_hello_bulk(struct session *session, const Pmd__Hello *hello,
                                         uint64_t request, struct error *err);
void session_mark_dirty(struct session *session);

/* Frames of a bulk link, after hello. */
enum link_verdict service_head(struct session *session, const struct frame_head *head,
                               const void *message, struct link_incoming *ret_incoming,
                               struct error *err);
void service_frame(struct session *session);

/* After every batch of events: retries, replies, acks. */
void service_turn(struct service *service);

/* push.c */
enum link_verdict push_head(struct session *session, const struct frame_head *head,
                            const Pmd__Push *message, struct link_incoming *ret_incoming,
                            struct error *err);
void push_frame(struct session *session);
void push_dropped(struct session *session);
NODISCARD enum status push_begin(struct session *session, const Pmd__StepBegin *message,
                                 struct error *err);
NODISCARD enum status push_close(struct session *session, const Pmd__StepClose *message,
                                 struct error *err);
void push_flush_acks(struct session *session);
/* Folds and prepares whatever has become possible in all blocks (after a commit, a close, a
 * finish). */
void push_advance_all(struct service *service);
void push_retry_starved(struct service *service);

/* pull.c */
NODISCARD enum status pull_head(struct session *session, const struct frame_head *head,
                                const Pmd__Pull *message, struct error *err);
void pull_block_ready(struct service *service, struct block *block);
void pull_flush(struct session *session);
void pull_session_closed(struct session *session);
void pull_release_all(struct service *service);

/* read.c */
void read_head(struct session *session, const struct frame_head *head, const Pmd__Read *message);

/* log.c */
/* The registry is complete: makes the store. Complains if it cannot. optimizers as the registry has
 * them. */
void service_registry(struct service *service, const struct registry *registry, uint32_t server);
/* Lets a snapshot go whose lease has run out. */
void service_expire_hold(struct service *service);
/* An entry of the log; others than the next one are ignored (seen before) or refused (a gap). */
NODISCARD enum status service_log(struct service *service, const Pmd__LogEntry *entry,
                                  struct error *err);
void service_complain(struct service *service, enum status status, const char *format, ...)
    PRINTF_LIKE(3, 4);

#endif
