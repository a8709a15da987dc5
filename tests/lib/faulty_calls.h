/* System calls for common/net that cut, interrupt and fail on demand. */
#ifndef PARAMD_TESTS_LIB_FAULTY_CALLS_H
#define PARAMD_TESTS_LIB_FAULTY_CALLS_H

#include "common/net/calls.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct faulty_calls {
    struct net_calls calls;   /* what the driver gets; calls.context points back here */
    size_t slice_bytes;       /* at most so many bytes a call; 0: as many as there are */
    uint64_t interrupt_every; /* each n-th call fails with EINTR; 0: none */
    uint64_t fail_at;         /* the n-th call from the start fails; 0: none */
    int fail_errno;
    uint64_t call_count;
    int accept_errno; /* not 0: the next accept_failures accepts fail with it */
    int accept_failures;
    size_t accept_count;
    size_t writev_blocked; /* the next so many writes find the kernel's buffer full */
};

void faulty_calls_init(struct faulty_calls *faulty);

/* A connection that is a piece of memory: reads come from input, EOF follows; writes are kept in
 * output. */
struct memory_socket {
    struct net_calls calls; /* calls.context points back here; any fd will do */
    const uint8_t *input;   /* borrowed */
    size_t input_bytes;
    size_t input_at;
    size_t slice_bytes;  /* at most so many bytes a call; 0: as many as fit */
    uint64_t slice_seed; /* not 0: each call has another bound, from 1 to slice_bytes */
    bool pauses;         /* every second read finds nothing */
    uint64_t call_count;
    uint8_t *output; /* borrowed; NULL: thrown away */
    size_t output_capacity;
    size_t output_bytes;
};

void memory_socket_init(struct memory_socket *socket, const uint8_t *input, size_t input_bytes);

#endif
