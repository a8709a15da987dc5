/* The floors of moving tensors: a raw sender and a raw receiver that do nothing else. */
#ifndef PARAMD_TESTS_BENCH_FLOOR_TRANSFER_H
#define PARAMD_TESTS_BENCH_FLOOR_TRANSFER_H

#include "tests/bench/raw_socket.h"
#include "tests/bench/subject.h"

/* What a floor's subject can be told to do. */
enum floor_work {
    FLOOR_PING, /* 64 bytes there, 64 bytes back */
    FLOOR_PUSH, /* all bytes there, one byte back */
    FLOOR_PULL, /* one byte there, all bytes back */
    FLOOR_STEP, /* all bytes there in pieces; each one through Adam and back at once */
    FLOOR_WORK_COUNT,
};

/* Added to a work: tries piece sizes, remembers the best and notes it in lane->note. */
enum { FLOOR_SEARCH = 0x100 };

struct floor_transfer {
    struct subject server, client; /* orders go to the client */
};

/* Two processes with buffers for so many bytes; pinned: each on a CPU of its own. */
NODISCARD enum status floor_transfer_start(struct floor_transfer *floor,
                                           enum raw_transport transport, size_t bytes, bool pinned,
                                           struct error *err);
void floor_transfer_stop(struct floor_transfer *floor);

#endif
