/* Every bound on what comes from outside, each with its reason. A length is compared with these
 * before any arithmetic. */
#ifndef PARAMD_COMMON_BASE_LIMITS_H
#define PARAMD_COMMON_BASE_LIMITS_H

enum {
    /* Frames. */
    /* protobuf-c may need 50 times as much: it never sees more */
    LIMIT_HEADER_BYTES = 64 * 1024,
    LIMIT_HELLO_BYTES = 4 * 1024,      /* what a stranger can make us read */
    LIMIT_PAYLOAD_BYTES = 1024 * 1024, /* a frame; an urgent one never waits behind more */
    LIMIT_MESSAGE_ARENA_BYTES = 4 * 1024 * 1024, /* 64 KiB of wire at its worst amplification */
    LIMIT_FRAME_BLOCKS = 1024,                   /* blocks of one push, pull or read */

    /* The registry. */
    LIMIT_NAME_BYTES = 256,
    LIMIT_RANK = 8, /* dimensions of a shape */
    LIMIT_VARIABLES = 65536,
    LIMIT_BLOCKS = 4 * 1024 * 1024, /* of a job: 1 TiB of float32 */
    LIMIT_OPTIMIZERS = 16,
    LIMIT_OPTIMIZER_OPTIONS = 32, /* keys of one OptimizerSpec */
    LIMIT_BLOCK_ELEMENTS = 65536, /* 256 KiB of float32: fits L2 beside its slots */

    /* The cluster. */
    LIMIT_WORKERS = 1024,
    LIMIT_SERVERS = 240, /* the number of partitions */
    LIMIT_METRICS = 64,  /* of one step_end */
    LIMIT_METRIC_NAME_BYTES = 64,
    LIMIT_BARRIER_NAME_BYTES = 128,
    LIMIT_BARRIERS_KEPT = 256, /* results kept for a rank that comes back */
    LIMIT_ADDRESS_BYTES = 256,
    LIMIT_JOB_NAME_BYTES = 64,
    LIMIT_TOKEN_BYTES = 256,
    LIMIT_PROGRAM_BYTES = 128,
    LIMIT_READERS = 64,

    /* Connections. */
    LIMIT_CONNECTIONS = 4096,
    LIMIT_STRANGERS = 256,      /* connections that have not said hello */
    LIMIT_HELLO_MS = 5000,      /* until then */
    LIMIT_QUEUED_FRAMES = 4096, /* waiting to be written on one connection */
};

/* 1 TiB: products of shapes stay far from overflow */
#define LIMIT_VARIABLE_BYTES ((uint64_t)1 << 40)
/* waiting to be written on one reader's connection */
#define LIMIT_QUEUED_BYTES ((uint64_t)256 << 20)

#endif
