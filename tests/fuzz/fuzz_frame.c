/* decoder: common/wire/frame.c */
/* options: -max_len=4096 */
#include "common/wire/frame.h"

#include "common/base/limits.h"
#include "tests/lib/sample_messages.h"

#include <stdlib.h>
#include <string.h>

/* One frame: a preamble, and as much of its header as there is. */

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Without right hashes nothing gets further than the first check: most inputs get them. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    if (size < FRAME_PREAMBLE_BYTES || seed % 32 == 0) {
        size_t fresh = sample_frame((enum frame_type)(1 + seed / 32 % (FRAME_TYPES - 1)), seed, 0,
                                    seed % 3 == 0, data, size_max);
        size = fresh ? fresh : size;
    }
    size = LLVMFuzzerMutate(data, size, size_max);
    if (seed % 8)
        sample_mend(data, size);
    return size;
}

static void check_round_trip(const struct frame_head *head, const uint8_t *data)
{
    uint8_t again[FRAME_PREAMBLE_BYTES];

    frame_encode(head, again);
    if (memcmp(again, data, sizeof again) != 0)
        abort();
    if (head->header_bytes > LIMIT_HEADER_BYTES || head->payload_bytes > LIMIT_PAYLOAD_BYTES)
        abort();
    if (strcmp(frame_type_name(head->type), "UNKNOWN") == 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame_head head;
    struct error err = {0};
    uint8_t *exact;

    if (size < FRAME_PREAMBLE_BYTES)
        return 0;
    if (frame_decode(data, &head, &err)) {
        if (!err.message[0])
            abort();
        return 0;
    }
    check_round_trip(&head, data);
    size_t left = size - FRAME_PREAMBLE_BYTES;
    if (head.header_bytes > left)
        return 0;
    /* A copy of just that size: reading past its end is seen. */
    exact = malloc(head.header_bytes ? head.header_bytes : 1);
    memcpy(exact, data + FRAME_PREAMBLE_BYTES, head.header_bytes);
    status_ignore(frame_check_header(&head, exact, &err), "either answer will do");
    free(exact);
    return 0;
}
