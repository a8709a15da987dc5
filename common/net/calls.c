#include "common/net/calls.h"

#include <stddef.h>
#include <sys/socket.h>

static ssize_t system_readv(void *context, int fd, const struct iovec *parts, int part_count)
{
    (void)context;
    return readv(fd, parts, part_count);
}

static ssize_t system_writev(void *context, int fd, const struct iovec *parts, int part_count)
{
    struct msghdr message = {.msg_iov = (struct iovec *)parts, .msg_iovlen = (size_t)part_count};

    (void)context;
    return sendmsg(fd, &message, MSG_NOSIGNAL); /* a library must not end its program by SIGPIPE */
}

static int system_accept(void *context, int fd)
{
    (void)context;
    return accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

const struct net_calls net_calls_system = {
    .readv = system_readv,
    .writev = system_writev,
    .accept = system_accept,
};
