#include "common/wire/frame.h"

#include "common/base/bytes.h"
#include "common/base/hash.h"
#include "common/base/limits.h"

#include <stdbool.h>

/* Where each field stands; proto/README.md draws the same. */
enum {
    AT_MAGIC = 0,
    AT_TYPE = 4,
    AT_FLAGS = 6,
    AT_HEADER_BYTES = 8,
    AT_PAYLOAD_BYTES = 12,
    AT_LINEAGE = 16,
    AT_MAP_VERSION = 20,
    AT_COMMIT = 24,
    AT_REQUEST = 32,
    AT_PAYLOAD_HASH = 40,
    AT_HEADER_HASH = 48,
    AT_PREAMBLE_HASH = 56, /* of the bytes before it */
};

enum { FRAME_FLAGS_KNOWN = FRAME_FLAG_PAYLOAD_HASH };

static const char *const type_names[FRAME_TYPES] = {
    [FRAME_HELLO] = "HELLO",
    [FRAME_HELLO_REPLY] = "HELLO_REPLY",
    [FRAME_FAILURE] = "FAILURE",
    [FRAME_DONE] = "DONE",
    [FRAME_HEARTBEAT] = "HEARTBEAT",
    [FRAME_END] = "END",
    [FRAME_STEP_BEGIN] = "STEP_BEGIN",
    [FRAME_PUSH] = "PUSH",
    [FRAME_PUSH_ACK] = "PUSH_ACK",
    [FRAME_STEP_CLOSE] = "STEP_CLOSE",
    [FRAME_PULL] = "PULL",
    [FRAME_PULL_REPLY] = "PULL_REPLY",
    [FRAME_MEMBERS] = "MEMBERS",
    [FRAME_CREATE] = "CREATE",
    [FRAME_CREATE_REPLY] = "CREATE_REPLY",
    [FRAME_CONFIGURE] = "CONFIGURE",
    [FRAME_START] = "START",
    [FRAME_REGISTRY] = "REGISTRY",
    [FRAME_STEP_END] = "STEP_END",
    [FRAME_COMMIT] = "COMMIT",
    [FRAME_BARRIER] = "BARRIER",
    [FRAME_BARRIER_REPLY] = "BARRIER_REPLY",
    [FRAME_FINISH] = "FINISH",
    [FRAME_LOG_ENTRY] = "LOG_ENTRY",
    [FRAME_LOG_ACK] = "LOG_ACK",
    [FRAME_REPORT] = "REPORT",
    [FRAME_COMPLAINT] = "COMPLAINT",
    [FRAME_SNAPSHOT] = "SNAPSHOT",
    [FRAME_SNAPSHOT_REPLY] = "SNAPSHOT_REPLY",
    [FRAME_RELEASE] = "RELEASE",
    [FRAME_READ] = "READ",
    [FRAME_READ_REPLY] = "READ_REPLY",
    [FRAME_LIST] = "LIST",
    [FRAME_STATUS] = "STATUS",
    [FRAME_STATUS_REPLY] = "STATUS_REPLY",
    [FRAME_SET] = "SET",
    [FRAME_SET_REPLY] = "SET_REPLY",
    [FRAME_SHUTDOWN] = "SHUTDOWN",
};

static bool type_known(unsigned type)
{
    return type < FRAME_TYPES && type_names[type];
}

const char *frame_type_name(enum frame_type type)
{
    return type_known((unsigned)type) ? type_names[type] : "UNKNOWN";
}

void frame_encode(const struct frame_head *head, uint8_t ret_bytes[FRAME_PREAMBLE_BYTES])
{
    bytes_put_u32(ret_bytes + AT_MAGIC, FRAME_MAGIC);
    bytes_put_u16(ret_bytes + AT_TYPE, (uint16_t)head->type);
    bytes_put_u16(ret_bytes + AT_FLAGS, head->flags);
    bytes_put_u32(ret_bytes + AT_HEADER_BYTES, head->header_bytes);
    bytes_put_u32(ret_bytes + AT_PAYLOAD_BYTES, head->payload_bytes);
    bytes_put_u32(ret_bytes + AT_LINEAGE, head->lineage);
    bytes_put_u32(ret_bytes + AT_MAP_VERSION, head->map_version);
    bytes_put_u64(ret_bytes + AT_COMMIT, head->commit_plus_1);
    bytes_put_u64(ret_bytes + AT_REQUEST, head->request);
    bytes_put_u64(ret_bytes + AT_PAYLOAD_HASH, head->payload_hash);
    bytes_put_u64(ret_bytes + AT_HEADER_HASH, head->header_hash);
    bytes_put_u64(ret_bytes + AT_PREAMBLE_HASH, hash_xxh3(ret_bytes, AT_PREAMBLE_HASH));
}

enum status frame_decode(const uint8_t bytes[FRAME_PREAMBLE_BYTES], struct frame_head *ret_head,
                         struct error *err)
{
    uint32_t magic = bytes_get_u32(bytes + AT_MAGIC);
    if (magic != FRAME_MAGIC)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "a frame begins with %08x, not with paramd's %08x", magic, FRAME_MAGIC);
    if (bytes_get_u64(bytes + AT_PREAMBLE_HASH) != hash_xxh3(bytes, AT_PREAMBLE_HASH))
        return error_set(err, STATUS_DATA_LOSS, "a frame's preamble does not have its hash");

    unsigned type = bytes_get_u16(bytes + AT_TYPE);
    unsigned flags = bytes_get_u16(bytes + AT_FLAGS);
    uint32_t header_bytes = bytes_get_u32(bytes + AT_HEADER_BYTES);
    uint32_t payload_bytes = bytes_get_u32(bytes + AT_PAYLOAD_BYTES);
    if (!type_known(type))
        return error_set(err, STATUS_UNIMPLEMENTED, "frames of type %u are not known here", type);
    if (flags & ~(unsigned)FRAME_FLAGS_KNOWN)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s frame with unknown flags %04x",
                         type_names[type], flags);
    if (header_bytes > LIMIT_HEADER_BYTES)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "%s frame with a header of %u bytes, more than %d", type_names[type],
                         header_bytes, LIMIT_HEADER_BYTES);
    if (payload_bytes > LIMIT_PAYLOAD_BYTES)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "%s frame with a payload of %u bytes, more than %d", type_names[type],
                         payload_bytes, LIMIT_PAYLOAD_BYTES);
    *ret_head = (struct frame_head){
        .type = (enum frame_type)type,
        .flags = (uint16_t)flags,
        .header_bytes = header_bytes,
        .payload_bytes = payload_bytes,
        .lineage = bytes_get_u32(bytes + AT_LINEAGE),
        .map_version = bytes_get_u32(bytes + AT_MAP_VERSION),
        .commit_plus_1 = bytes_get_u64(bytes + AT_COMMIT),
        .request = bytes_get_u64(bytes + AT_REQUEST),
        .payload_hash = bytes_get_u64(bytes + AT_PAYLOAD_HASH),
        .header_hash = bytes_get_u64(bytes + AT_HEADER_HASH),
    };
    return STATUS_OK;
}

enum status frame_check_header(const struct frame_head *head, const uint8_t *header,
                               struct error *err)
{
    if (hash_xxh3(header, head->header_bytes) == head->header_hash)
        return STATUS_OK;
    return error_set(err, STATUS_DATA_LOSS,
                     "the header of a %s frame (%u bytes) does not have its hash",
                     frame_type_name(head->type), head->header_bytes);
}
