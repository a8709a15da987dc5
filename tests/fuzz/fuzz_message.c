/* decoder: common/wire/message.c common/wire/message_scan.c */
/* options: -max_len=65537 -len_control=50 */
#include "common/wire/message.h"

#include "common/base/limits.h"
#include "common/wire/message_scan.h"

#include "proto/data.pb-c.h"
#include "tests/lib/sample_messages.h"

#include <stdlib.h>
#include <string.h>

/* One byte for the frame type, then a header of that type. */

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed);
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct arena arena;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return arena_init(&arena, LIMIT_MESSAGE_ARENA_BYTES) ? 1 : 0;
}

/* Begins with a valid message now and then. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    if (size == 0 || seed % 32 == 0) {
        enum frame_type type = (enum frame_type)(seed / 32 % FRAME_TYPES);
        const ProtobufCMessage *message = sample_message(type);
        size_t header_bytes = message_packed_bytes(message);
        if (message && header_bytes < size_max) {
            data[0] = (uint8_t)type;
            message_pack(message, data + 1);
            size = 1 + header_bytes;
        }
    }
    return LLVMFuzzerMutate(data, size, size_max);
}

/* What the rules promise of a message that was accepted, looked for in the unpacked one. */
static void check_message(const ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *descriptor = message->descriptor;
    const uint8_t *base = (const uint8_t *)message;

    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        const struct message_rule *rule = message_rule_find(descriptor, field->name);
        bool repeated = field->label == PROTOBUF_C_LABEL_REPEATED;
        size_t count = 1;
        if (repeated)
            memcpy(&count, base + field->quantifier_offset, sizeof count);
        if (repeated && count > rule->count_max)
            abort();
        if (rule && rule->beside && !(rule->none_allowed && count == 0)) {
            size_t beside;
            memcpy(&beside,
                   base + protobuf_c_message_descriptor_get_field_by_name(descriptor, rule->beside)
                              ->quantifier_offset,
                   sizeof beside);
            if (count != beside)
                abort();
        }
        const void *const *items = (const void *const *)(const void *)(base + field->offset);
        if (repeated)
            items = count ? (const void *const *)*items : NULL;
        for (size_t k = 0; k < count; k++) {
            if (field->type == PROTOBUF_C_TYPE_STRING && strlen(items[k]) > rule->text_bytes_max)
                abort();
            if (field->type == PROTOBUF_C_TYPE_MESSAGE && items[k])
                check_message(items[k]);
            if (field->type == PROTOBUF_C_TYPE_MESSAGE && !items[k] && rule && rule->required)
                abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const void *message = NULL;
    struct error err = {0};

    if (size == 0)
        return 0;
    enum frame_type type = (enum frame_type)data[0];
    enum status status = message_unpack(type, data + 1, size - 1, &arena, &message, &err);
    if (status && !err.message[0])
        abort();
    if (!status && message) {
        size_t again_bytes = message_packed_bytes(message);
        uint8_t *again = malloc(again_bytes ? again_bytes : 1);
        check_message(message);
        message_pack(message, again);
        arena_clear(&arena);
        if (again_bytes <= LIMIT_HEADER_BYTES &&
            message_unpack(type, again, again_bytes, &arena, &message, &err))
            abort(); /* what we accept, we may also send */
        free(again);
    }
    arena_clear(&arena);
    return 0;
}
