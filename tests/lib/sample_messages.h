/* A valid message of every frame type, for tests and fuzz targets to begin with. */
#ifndef PARAMD_TESTS_LIB_SAMPLE_MESSAGES_H
#define PARAMD_TESTS_LIB_SAMPLE_MESSAGES_H

#include "common/wire/frame.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* NULL for types without a header and for unknown ones. Static storage. */
const ProtobufCMessage *sample_message(enum frame_type type);

/* The next known type after this one (0 to begin); FRAME_INVALID after the last. */
enum frame_type sample_next_type(enum frame_type type);

/*
 * A whole frame: preamble, header, payload_bytes of payload. Returns its size; 0 if capacity does
 * not do.
 *
 *   hash  with a payload hash.
 */
size_t sample_frame(enum frame_type type, uint64_t request, size_t payload_bytes, bool hash,
                    uint8_t *ret_bytes, size_t capacity);

/* Makes the hashes of a changed frame right again, as far as its lengths let one find them. */
void sample_mend(uint8_t *bytes, size_t size);

#endif
