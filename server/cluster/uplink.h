/* A server's control connection to the coordinator: hello, heartbeats, the log coming down, reports
 * going up; made again when it breaks. */
#ifndef PARAMD_SERVER_CLUSTER_UPLINK_H
#define PARAMD_SERVER_CLUSTER_UPLINK_H

#include "common/base/error.h"
#include "common/base/exit_code.h"
#include "common/wire/link.h"
#include "common/wire/registry.h"
#include "proto/cluster.pb-c.h"

#include <stdbool.h>
#include <stdint.h>

struct uplink_settings {
    const char *coordinator; /* address; borrowed */
    const char *address;     /* where others reach this server; borrowed */
    const char *job;         /* borrowed; "" for any */
    const uint8_t *token;    /* borrowed */
    size_t token_bytes;
    const char *program; /* borrowed */
    uint64_t heartbeat_ms;
    uint64_t dead_ms;
    uint64_t join_ms; /* for the first connection */
};

/* What the uplink tells its server. */
struct uplink_events {
    void *context;
    void (*on_welcome)(void *context, uint32_t server, uint32_t servers, uint32_t workers,
                       const char *job);
    void (*on_registry)(void *context, const struct registry *registry);
    void (*on_log)(void *context, const Pmd__LogEntry *entry);
};

struct uplink {
    const struct link_io *io;
    struct uplink_settings settings;
    struct uplink_events events;
    struct link *link;  /* the present one; NULL: none */
    bool open, welcome; /* connected; hello was answered */
    bool ever_welcome;
    uint64_t process; /* random; the same for the life of this process */
    uint64_t connection;
    uint64_t started_ns, lost_ns, next_try_ns, backoff_ms, last_heard_ns, next_heartbeat_ns;
    uint64_t log_index; /* last entry given to on_log */
    uint64_t log_acked; /* last one acknowledged */
    uint64_t committed_plus_1;
    struct registry registry; /* pages as they come */
    bool registry_complete;
    Pmd__Report report; /* the last one */
    bool report_due;
    struct error complaint; /* to be sent, and again after a reconnect */
    bool complaint_due;
    bool ended;
    enum exit_code end_code;
    enum status end_status;
    char end_message[ERROR_MESSAGE_BYTES];
    char last_failure[ERROR_MESSAGE_BYTES]; /* why the last try failed */
};

void uplink_init(struct uplink *uplink, const struct link_io *io,
                 const struct uplink_settings *settings, const struct uplink_events *events);
void uplink_release(struct uplink *uplink);

/* The engine's calls for links of the uplink (of older connections too: they are ignored). */
void uplink_on_open(struct uplink *uplink, struct link *link);
NODISCARD enum status uplink_on_frame(struct uplink *uplink, struct link *link,
                                      enum frame_type type, const void *message, struct error *err);
void uplink_on_closed(struct uplink *uplink, struct link *link, const struct error *why);

/* What is to go up; the newest counts and is sent at the next turn (and after every reconnect). */
void uplink_report(struct uplink *uplink, const Pmd__Report *report);
void uplink_complain(struct uplink *uplink, const struct error *complaint);

/* Connects, sends, watches the deadlines. Returns when it wants to be called again. */
uint64_t uplink_turn(struct uplink *uplink);

#endif
