/* The system calls on the path of the bytes, in a table: a test cuts, shortens or fails any of
 * them. */
#ifndef PARAMD_COMMON_NET_CALLS_H
#define PARAMD_COMMON_NET_CALLS_H

#include <sys/types.h>
#include <sys/uio.h>

/* Each returns what the system call does, with errno. */
struct net_calls {
    ssize_t (*readv)(void *context, int fd, const struct iovec *parts, int part_count);
    ssize_t (*writev)(void *context, int fd, const struct iovec *parts, int part_count);
    int (*accept)(void *context, int fd); /* non-blocking, closed on exec */
    void *context;
};

/* The real ones. writev never raises SIGPIPE. */
extern const struct net_calls net_calls_system;

#endif
