/*
 * Reads a running job from outside: the list of variables, values and slots of one committed step,
 * the checksum, status; and what an operator asks for. For paramctl and tests; blocking, one
 * thread.
 *
 * Values come from a snapshot that all servers hold for 5 s after its last read. A snapshot that is
 * gone is asked for anew (a newer step, perhaps), and what was being read begins again, so one
 * call's bytes are always of one step. Calls that lost a connection make it again. A wait for one
 * peer ends at the timeout with DEADLINE_EXCEEDED, and so does the call; one that had to begin
 * again (8 times at most) has waited more often. UNAVAILABLE names a peer that cannot be reached.
 */
#ifndef PARAMD_WORKER_CLIENT_READER_H
#define PARAMD_WORKER_CLIENT_READER_H

#include "common/base/error.h"
#include "common/base/hash.h"
#include "common/wire/registry.h"
#include "proto/query.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct reader;

/* Zero means the default of each. */
struct reader_options {
    const char *coordinator;
    const char *job;        /* any */
    const char *token_file; /* no token */
    const char *program;    /* "reader" */
    /* an address that refuses is tried again until then; default: once */
    uint32_t connect_timeout_ms;
    uint32_t timeout_ms; /* of a wait for one peer; 30000 */
};

/* INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED: address or token file. UNAUTHENTICATED,
 * FAILED_PRECONDITION: refused. */
NODISCARD enum status reader_connect(const struct reader_options *options,
                                     struct reader **ret_reader, struct error *err);
/* NULL is ignored. */
void reader_close(struct reader *reader);

/* Reads go on working while a program waits here: it is how `watch` sleeps. */
void reader_idle(struct reader *reader, uint32_t ms);

/* The variables (so far, while the job is being set up); borrowed until the next call. */
NODISCARD enum status reader_list(struct reader *reader, const struct registry **ret_registry,
                                  struct error *err);

/*
 * Takes a snapshot of the last committed step, with optimizer slots if asked for (that waits for
 * the next step); reads that follow are of it. ret_step may be NULL.
 */
NODISCARD enum status reader_snapshot(struct reader *reader, bool slots, uint64_t *ret_step,
                                      struct error *err);
/* The reader is done with its snapshot; the next read takes another. */
NODISCARD enum status reader_release_snapshot(struct reader *reader, struct error *err);

/*
 * Elements first .. first + count - 1 (row-major) of a variable's value (slot 0) or of its
 * optimizer slot (slot 1, 2, ...).
 *
 *   ret_values  (count) of the variable's dtype; slots are float32.
 *   ret_step    the step they belong to; may be NULL. Compare it where several reads must be of one
 * step.
 *
 * OUT_OF_RANGE: no such element. NOT_FOUND: no such variable, or snapshots were gone too often.
 * INVALID_ARGUMENT: no such slot.
 */
NODISCARD enum status reader_read(struct reader *reader, uint32_t variable, uint32_t slot,
                                  uint64_t first, uint64_t count, void *ret_values,
                                  uint64_t *ret_step, struct error *err);

/* SHA-256 of each block of a variable or slot: ret_digests has 32 bytes a block, in order of block
 * number. */
NODISCARD enum status reader_digest(struct reader *reader, uint32_t variable, uint32_t slot,
                                    uint8_t *ret_digests, uint64_t *ret_step, struct error *err);

/*
 * One digest for a whole snapshot, the same for any number of servers: SHA-256 over one line per
 * block,
 *
 *     name dtype shape slot first_element sha256\n
 *
 * with dtype as "float32"; shape as "784x128", "scalar" for none; slot "value" or the optimizer's
 * name for it ("velocity"); first_element of the block, decimal; sha256 of the block's
 * little-endian bytes, 64 lower-case hexadecimal digits. Lines are sorted by name (bytes), then the
 * value before the slots in the optimizer's order, then first_element. Without slots only the lines
 * of values.
 */
NODISCARD enum status reader_checksum(struct reader *reader, bool slots, uint64_t *ret_step,
                                      char ret_text[HASH_SHA256_TEXT_BYTES], struct error *err);

/* Slots of a variable and their names; 0 for one that is not trainable. name: slot numbers from 0
 * here. Static storage. */
size_t reader_slot_count(const struct registry *registry, uint32_t variable);
const char *reader_slot_name(const struct registry *registry, uint32_t variable, size_t slot);

/* Borrowed until the next call. */
NODISCARD enum status reader_status(struct reader *reader, const Pmd__StatusReply **ret_status,
                                    struct error *err);
/* key: "learning-rate". ret_from_step: the first step that has it; may be NULL. */
NODISCARD enum status reader_set(struct reader *reader, const char *key, double value,
                                 uint64_t *ret_from_step, struct error *err);
/* Ends the job for everybody. */
NODISCARD enum status reader_shutdown(struct reader *reader, struct error *err);

#endif
