/* Real servers for the benchmark: paramd processes on this machine. */
#ifndef PARAMD_TESTS_BENCH_CLUSTER_H
#define PARAMD_TESTS_BENCH_CLUSTER_H

#include "common/net/address.h"
#include "tests/bench/bench.h"
#include "tests/bench/raw_socket.h"

enum { CLUSTER_SERVERS_MAX = 4 };

struct cluster {
    pid_t servers[CLUSTER_SERVERS_MAX];
    unsigned server_count;
    char coordinator[ADDRESS_TEXT_BYTES];
};

/* Returns when the first server listens; the others are on their way. */
NODISCARD enum status cluster_start(const struct bench *bench, enum raw_transport transport,
                                    unsigned servers, unsigned workers, struct cluster *ret_cluster,
                                    struct error *err);

/* Workers must have left. A zeroed one is ignored. */
void cluster_stop(struct cluster *cluster);

#endif
