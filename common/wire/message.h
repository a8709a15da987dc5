/* Frame types <-> protobuf-c messages, within bounds: no allocation but from an arena, no more than
 * a frame allows. */
#ifndef PARAMD_COMMON_WIRE_MESSAGE_H
#define PARAMD_COMMON_WIRE_MESSAGE_H

#include "common/base/arena.h"
#include "common/base/error.h"
#include "common/wire/frame.h"

#include <protobuf-c/protobuf-c.h>

/* The message of a type; NULL for types without a header (HEARTBEAT) and unknown ones. */
const ProtobufCMessageDescriptor *message_descriptor(enum frame_type type);

/*
 * Unpacks a header into the arena, which the caller clears when it is done with the message.
 *
 *   ret_message  the generated struct of the type (Pmd__Push, ...); NULL for a type without a
 * header.
 *
 * INVALID_ARGUMENT: not a message of this type, a header where none belongs, or lists side by side
 * (variable, block) of different lengths. RESOURCE_EXHAUSTED: a list or a text longer than limits.h
 * allows, or the arena is full.
 */
NODISCARD enum status message_unpack(enum frame_type type, const uint8_t *header,
                                     size_t header_bytes, struct arena *arena,
                                     const void **ret_message, struct error *err);

/* Bytes of the packed header; NULL gives 0. */
size_t message_packed_bytes(const ProtobufCMessage *message);

/* Packs into ret_bytes, which has message_packed_bytes(message) bytes. */
void message_pack(const ProtobufCMessage *message, uint8_t *ret_bytes);

/* Replaces control characters by '?': receivers refuse a text (Failure.message, End.message, ...)
 * that has any. */
void message_clean_text(char *text);

#endif
