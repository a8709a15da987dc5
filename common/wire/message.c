#include "common/wire/message.h"

#include "common/base/limits.h"
#include "common/wire/message_scan.h"

#include "proto/cluster.pb-c.h"
#include "proto/data.pb-c.h"
#include "proto/query.pb-c.h"

#include <stdbool.h>

static const ProtobufCMessageDescriptor *const descriptors[FRAME_TYPES] = {
    [FRAME_HELLO] = &pmd__hello__descriptor,
    [FRAME_HELLO_REPLY] = &pmd__hello_reply__descriptor,
    [FRAME_FAILURE] = &pmd__failure__descriptor,
    [FRAME_DONE] = &pmd__done__descriptor,
    [FRAME_END] = &pmd__end__descriptor,
    [FRAME_STEP_BEGIN] = &pmd__step_begin__descriptor,
    [FRAME_PUSH] = &pmd__push__descriptor,
    [FRAME_PUSH_ACK] = &pmd__push_ack__descriptor,
    [FRAME_STEP_CLOSE] = &pmd__step_close__descriptor,
    [FRAME_PULL] = &pmd__pull__descriptor,
    [FRAME_PULL_REPLY] = &pmd__pull_reply__descriptor,
    [FRAME_MEMBERS] = &pmd__members__descriptor,
    [FRAME_CREATE] = &pmd__create__descriptor,
    [FRAME_CREATE_REPLY] = &pmd__create_reply__descriptor,
    [FRAME_CONFIGURE] = &pmd__configure__descriptor,
    [FRAME_START] = &pmd__start__descriptor,
    [FRAME_REGISTRY] = &pmd__registry__descriptor,
    [FRAME_STEP_END] = &pmd__step_end__descriptor,
    [FRAME_COMMIT] = &pmd__commit__descriptor,
    [FRAME_BARRIER] = &pmd__barrier__descriptor,
    [FRAME_BARRIER_REPLY] = &pmd__barrier_reply__descriptor,
    [FRAME_FINISH] = &pmd__finish__descriptor,
    [FRAME_LOG_ENTRY] = &pmd__log_entry__descriptor,
    [FRAME_LOG_ACK] = &pmd__log_ack__descriptor,
    [FRAME_REPORT] = &pmd__report__descriptor,
    [FRAME_COMPLAINT] = &pmd__complaint__descriptor,
    [FRAME_SNAPSHOT] = &pmd__snapshot__descriptor,
    [FRAME_SNAPSHOT_REPLY] = &pmd__snapshot_reply__descriptor,
    [FRAME_RELEASE] = &pmd__release__descriptor,
    [FRAME_READ] = &pmd__read__descriptor,
    [FRAME_READ_REPLY] = &pmd__read_reply__descriptor,
    [FRAME_LIST] = &pmd__list__descriptor,
    [FRAME_STATUS] = &pmd__status__descriptor,
    [FRAME_STATUS_REPLY] = &pmd__status_reply__descriptor,
    [FRAME_SET] = &pmd__set__descriptor,
    [FRAME_SET_REPLY] = &pmd__set_reply__descriptor,
    [FRAME_SHUTDOWN] = &pmd__shutdown__descriptor,
};

const ProtobufCMessageDescriptor *message_descriptor(enum frame_type type)
{
    return (unsigned)type < FRAME_TYPES ? descriptors[type] : NULL;
}

/* protobuf-c's view of an arena; it says NULL for any failure, so the reason is kept beside. */
struct arena_allocator {
    ProtobufCAllocator base; /* base.allocator_data points back here */
    struct arena *arena;     /* borrowed */
    bool full;
};

static void *arena_allocator_take(void *context, size_t size)
{
    struct arena_allocator *allocator = context;
    void *piece = arena_take(allocator->arena, size);

    if (!piece)
        allocator->full = true;
    return piece;
}

static void arena_allocator_free(void *context, void *pointer)
{
    (void)context;
    (void)pointer; /* the arena gives everything back at once */
}

enum status message_unpack(enum frame_type type, const uint8_t *header, size_t header_bytes,
                           struct arena *arena, const void **ret_message, struct error *err)
{
    const ProtobufCMessageDescriptor *descriptor = message_descriptor(type);

    if (header_bytes > LIMIT_HEADER_BYTES)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "a %s header of %zu bytes, more than %d",
                         frame_type_name(type), header_bytes, LIMIT_HEADER_BYTES);
    if (!descriptor) {
        if (header_bytes)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "a %s frame has no header, but one of %zu bytes came",
                             frame_type_name(type), header_bytes);
        *ret_message = NULL;
        return STATUS_OK;
    }
    enum status status = message_scan(descriptor, header, header_bytes, err);
    if (status)
        return status;
    struct arena_allocator allocator = {
        .base = {.alloc = arena_allocator_take, .free = arena_allocator_free},
        .arena = arena,
    };
    allocator.base.allocator_data = &allocator;
    const void *message = protobuf_c_message_unpack(descriptor, &allocator.base, header_bytes,
                                                    header);
    if (!message && allocator.full)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "a %s message of %zu bytes needs more memory than it may",
                         descriptor->short_name, header_bytes);
    if (!message)
        return error_set(err, STATUS_INVALID_ARGUMENT, "malformed %s message",
                         descriptor->short_name);
    *ret_message = message;
    return STATUS_OK;
}

size_t message_packed_bytes(const ProtobufCMessage *message)
{
    return message ? protobuf_c_message_get_packed_size(message) : 0;
}

void message_pack(const ProtobufCMessage *message, uint8_t *ret_bytes)
{
    if (message)
        protobuf_c_message_pack(message, ret_bytes);
}

void message_clean_text(char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x20 || c == 0x7f)
            *text = '?';
    }
}
