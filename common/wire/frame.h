/* The 64-byte preamble in front of every frame: bytes <-> struct, no I/O. proto/README.md draws it.
 */
#ifndef PARAMD_COMMON_WIRE_FRAME_H
#define PARAMD_COMMON_WIRE_FRAME_H

#include "common/base/error.h"

#include <stddef.h>
#include <stdint.h>

enum { FRAME_PREAMBLE_BYTES = 64 };

#define FRAME_MAGIC 0x31444D50u /* "PMD1" as bytes */

enum { PROTOCOL_MAJOR = 0, PROTOCOL_MINOR = 1 };

/*
 * What every frame but HELLO says it belongs to. Both grow later: the lineage with a rollback to a
 * checkpoint, the map version with a change of placement; a frame with another number is refused
 * from the first version on.
 */
enum { FRAME_LINEAGE = 1, FRAME_MAP_VERSION = 1 };

/* Bits of Hello.features. */
#define FEATURE_PAYLOAD_HASH ((uint64_t)1)

/* Never renumbered. Gaps are for the families to grow in. */
enum frame_type {
    FRAME_INVALID = 0,
    FRAME_HELLO = 1,
    FRAME_HELLO_REPLY = 2,
    FRAME_FAILURE = 3,
    FRAME_DONE = 4,
    FRAME_HEARTBEAT = 5,
    FRAME_END = 6,

    FRAME_STEP_BEGIN = 16,
    FRAME_PUSH = 17,
    FRAME_PUSH_ACK = 18,
    FRAME_STEP_CLOSE = 19,
    FRAME_PULL = 20,
    FRAME_PULL_REPLY = 21,

    FRAME_MEMBERS = 32,
    FRAME_CREATE = 33,
    FRAME_CREATE_REPLY = 34,
    FRAME_CONFIGURE = 35,
    FRAME_START = 36,
    FRAME_REGISTRY = 37,
    FRAME_STEP_END = 38,
    FRAME_COMMIT = 39,
    FRAME_BARRIER = 40,
    FRAME_BARRIER_REPLY = 41,
    FRAME_FINISH = 42,

    FRAME_LOG_ENTRY = 48,
    FRAME_LOG_ACK = 49,
    FRAME_REPORT = 50,
    FRAME_COMPLAINT = 51,

    FRAME_SNAPSHOT = 64,
    FRAME_SNAPSHOT_REPLY = 65,
    FRAME_RELEASE = 66,
    FRAME_READ = 67,
    FRAME_READ_REPLY = 68,
    FRAME_LIST = 69,
    FRAME_STATUS = 70,
    FRAME_STATUS_REPLY = 71,
    FRAME_SET = 72,
    FRAME_SET_REPLY = 73,
    FRAME_SHUTDOWN = 74,

    FRAME_TYPES = 96,
};

enum { FRAME_FLAG_PAYLOAD_HASH = 1 };

/* commit_plus_1 is 0 while the sender knows of no commit, not even of version 0. */
struct frame_head {
    enum frame_type type;
    uint16_t flags;
    uint32_t header_bytes;
    uint32_t payload_bytes;
    uint32_t lineage;
    uint32_t map_version;
    uint64_t commit_plus_1; /* last commit that the sender knows, plus 1 */
    uint64_t request;       /* chosen by the requester, copied into the answer; 0: none */
    uint64_t payload_hash;  /* XXH3-64, if FRAME_FLAG_PAYLOAD_HASH */
    uint64_t header_hash;   /* XXH3-64 of the header */
};

void frame_encode(const struct frame_head *head, uint8_t ret_bytes[FRAME_PREAMBLE_BYTES]);

/*
 * Checks magic, hash, type, flags and the limits of the lengths, in this order.
 *
 * INVALID_ARGUMENT: not our protocol, or an unknown flag. DATA_LOSS: the hash does not match.
 * UNIMPLEMENTED: unknown type. RESOURCE_EXHAUSTED: a length beyond its limit. ret_head is written
 * on success only.
 */
NODISCARD enum status frame_decode(const uint8_t bytes[FRAME_PREAMBLE_BYTES],
                                   struct frame_head *ret_head, struct error *err);

/* DATA_LOSS if the header's bytes do not have the hash that the preamble says. */
NODISCARD enum status frame_check_header(const struct frame_head *head, const uint8_t *header,
                                         struct error *err);

/* "PUSH"; "type 77" is never returned: unknown numbers give "UNKNOWN". Static storage. */
const char *frame_type_name(enum frame_type type);

#endif
