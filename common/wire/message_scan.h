/* Judges a packed message before protobuf-c sees it: counts, texts and lists side by side, from the
 * bytes alone. */
#ifndef PARAMD_COMMON_WIRE_MESSAGE_SCAN_H
#define PARAMD_COMMON_WIRE_MESSAGE_SCAN_H

#include "common/base/error.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The deepest message within a message. Schemas are not recursive; this bounds the scan's own
 * recursion. */
enum { MESSAGE_DEPTH_MAX = 4 };

enum message_text {
    MESSAGE_TEXT_NONE,      /* not a text: a number, a message */
    MESSAGE_TEXT_NAME,      /* only [A-Za-z0-9_./-] */
    MESSAGE_TEXT_PRINTABLE, /* no control characters */
    MESSAGE_TEXT_BYTES,     /* anything */
};

/* What a field may hold. Every repeated, text and bytes field has a row (a test looks). */
struct message_rule {
    const ProtobufCMessageDescriptor *message;
    const char *field;
    size_t count_max; /* repeated fields; 0: not repeated */
    enum message_text text;
    size_t text_bytes_max;
    const char *beside; /* has as many elements as this field of the same message */
    bool none_allowed;  /* ... or none at all */
    bool required;      /* a message within the message that must be there */
};

/* NULL where there is none. */
const struct message_rule *message_rule_find(const ProtobufCMessageDescriptor *message,
                                             const char *field);

/*
 * INVALID_ARGUMENT: malformed, a text with other characters than it may have, lists side by side of
 * different lengths, a part missing. RESOURCE_EXHAUSTED: a list or a text too long. Allocates
 * nothing.
 */
NODISCARD enum status message_scan(const ProtobufCMessageDescriptor *message, const uint8_t *bytes,
                                   size_t size, struct error *err);

#endif
