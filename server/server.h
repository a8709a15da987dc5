/*
 * One server process without its sockets: data plane, coordinator (in the first server) and uplink
 * (in the others) behind one link_engine. The real program drives it with common/net, tests/sim
 * with a simulated network.
 */
#ifndef PARAMD_SERVER_SERVER_H
#define PARAMD_SERVER_SERVER_H

#include "common/base/arena.h"
#include "common/base/error.h"
#include "common/wire/link.h"
#include "server/cluster/coordinator.h"
#include "server/cluster/uplink.h"
#include "server/service/service.h"

struct server_settings {
    const char *coordinator; /* address of the coordinator; NULL: this server is the first one */
    const char *address;     /* where others reach this server */
    const char *job;
    const uint8_t *token; /* borrowed */
    size_t token_bytes;
    const char *program;
    uint32_t workers, servers; /* of the first server; the others are told */
    bool payload_hash;
    uint64_t staging_bytes;                              /* bound on staged pushes; 0: 64 MiB */
    uint64_t heartbeat_ms, dead_ms, join_ms, restart_ms; /* 0: 500; 10,000; 15,000; 60,000 */
    uint64_t (*resident_bytes)(void);                    /* may be NULL */
    void (*notice)(void *context, const char *line);     /* may be NULL */
    void *notice_context;
};

struct server {
    const struct link_io *io;
    struct server_settings settings;
    struct service service;
    bool service_ready; /* the number of workers and servers is known */
    bool is_coordinator;
    struct coordinator coordinator;
    struct uplink uplink;
    char job_name[LIMIT_JOB_NAME_BYTES + 1]; /* as the coordinator says */
    struct arena arena;                      /* of the control message at hand */
    uint64_t next_refresh_ns; /* of the figures in the report, and of the snapshot's lease */
    bool complained;
    bool ended;
    enum exit_code exit_code;
    char end_message[ERROR_MESSAGE_BYTES];
};

/* INVALID_ARGUMENT: numbers outside limits.h. The struct stays where it is until server_release. */
NODISCARD enum status server_init(struct server *server, const struct link_io *io,
                                  const struct server_settings *settings, struct error *err);
void server_release(struct server *server);

/* The calls for a driver; context is the server. */
struct link_engine server_engine(struct server *server);

/* After the end: closes all links once what is queued (END, the last replies) is written. */
void server_close_links(struct server *server);

/* Ends the job (SIGTERM of the coordinator), or only this server. */
void server_stop(struct server *server, enum exit_code code, const char *why);

#endif
