#include "tests/lib/faulty_calls.h"

#include "common/base/rng.h"

#include <errno.h>
#include <string.h>

enum { PARTS_MAX = 1024 };

/* The first parts, up to so many bytes. */
static int cut(const struct iovec *parts, int part_count, size_t bytes,
               struct iovec ret_parts[PARTS_MAX])
{
    int count = 0;

    for (; count < part_count && count < PARTS_MAX && bytes > 0; count++) {
        ret_parts[count] = parts[count];
        if (ret_parts[count].iov_len > bytes)
            ret_parts[count].iov_len = bytes;
        bytes -= ret_parts[count].iov_len;
    }
    return count;
}

/* 0, or the errno that this call has to fail with. */
static int next_fault(struct faulty_calls *faulty)
{
    faulty->call_count++;
    if (faulty->fail_at && faulty->call_count == faulty->fail_at)
        return faulty->fail_errno;
    if (faulty->interrupt_every && faulty->call_count % faulty->interrupt_every == 0)
        return EINTR;
    return 0;
}

static ssize_t faulty_readv(void *context, int fd, const struct iovec *parts, int part_count)
{
    struct faulty_calls *faulty = context;
    struct iovec some[PARTS_MAX];

    errno = next_fault(faulty);
    if (errno)
        return -1;
    int count = cut(parts, part_count, faulty->slice_bytes ? faulty->slice_bytes : SIZE_MAX, some);
    return net_calls_system.readv(NULL, fd, some, count);
}

static ssize_t faulty_writev(void *context, int fd, const struct iovec *parts, int part_count)
{
    struct faulty_calls *faulty = context;
    struct iovec some[PARTS_MAX];

    errno = next_fault(faulty);
    if (!errno && faulty->writev_blocked > 0) {
        faulty->writev_blocked--;
        errno = EAGAIN;
    }
    if (errno)
        return -1;
    int count = cut(parts, part_count, faulty->slice_bytes ? faulty->slice_bytes : SIZE_MAX, some);
    return net_calls_system.writev(NULL, fd, some, count);
}

static int faulty_accept(void *context, int fd)
{
    struct faulty_calls *faulty = context;

    faulty->accept_count++;
    if (faulty->accept_failures > 0) {
        faulty->accept_failures--;
        errno = faulty->accept_errno;
        return -1;
    }
    return net_calls_system.accept(NULL, fd);
}

void faulty_calls_init(struct faulty_calls *faulty)
{
    *faulty = (struct faulty_calls){
        .calls = {.readv = faulty_readv,
                  .writev = faulty_writev,
                  .accept = faulty_accept,
                  .context = faulty},
    };
}

static size_t slice(struct memory_socket *socket)
{
    if (!socket->slice_bytes)
        return SIZE_MAX;
    if (!socket->slice_seed)
        return socket->slice_bytes;
    struct rng_sequence rng = {socket->slice_seed + socket->call_count};
    return 1 + rng_below(&rng, socket->slice_bytes);
}

static ssize_t memory_readv(void *context, int fd, const struct iovec *parts, int part_count)
{
    struct memory_socket *socket = context;
    struct iovec some[PARTS_MAX];
    size_t total = 0;

    (void)fd;
    if (socket->pauses && socket->call_count++ % 2 == 0) {
        errno = EAGAIN;
        return -1;
    }
    int count = cut(parts, part_count, slice(socket), some);
    for (int i = 0; i < count; i++) {
        size_t left = socket->input_bytes - socket->input_at;
        size_t bytes = some[i].iov_len < left ? some[i].iov_len : left;
        memcpy(some[i].iov_base, socket->input + socket->input_at, bytes);
        socket->input_at += bytes;
        total += bytes;
    }
    return (ssize_t)total;
}

static ssize_t memory_writev(void *context, int fd, const struct iovec *parts, int part_count)
{
    struct memory_socket *socket = context;
    struct iovec some[PARTS_MAX];
    size_t total = 0;

    (void)fd;
    socket->call_count++;
    int count = cut(parts, part_count, slice(socket), some);
    for (int i = 0; i < count; i++) {
        size_t room = socket->output ? socket->output_capacity - socket->output_bytes
                                     : some[i].iov_len;
        size_t bytes = some[i].iov_len < room ? some[i].iov_len : room;
        if (socket->output)
            memcpy(socket->output + socket->output_bytes, some[i].iov_base, bytes);
        socket->output_bytes += bytes;
        total += bytes;
    }
    return (ssize_t)total;
}

static int memory_accept(void *context, int fd)
{
    (void)context;
    (void)fd;
    errno = EAGAIN;
    return -1;
}

void memory_socket_init(struct memory_socket *socket, const uint8_t *input, size_t input_bytes)
{
    *socket = (struct memory_socket){
        .calls = {.readv = memory_readv,
                  .writev = memory_writev,
                  .accept = memory_accept,
                  .context = socket},
        .input = input,
        .input_bytes = input_bytes,
    };
}
