#include "tests/bench/raw_socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HUGE_PAGE_BYTES = 2 * 1024 * 1024 };

static void tune(int fd)
{
    const int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", strlen("reno"));
}

static bool tcp_pair(int ret_fds[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int left = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int right = -1;

    if (listener >= 0 && left >= 0) {
        tune(listener);
        tune(left);
        if (bind(listener, (struct sockaddr *)&address, size) == 0 && listen(listener, 1) == 0 &&
            getsockname(listener, (struct sockaddr *)&address, &size) == 0 &&
            connect(left, (struct sockaddr *)&address, size) == 0)
            right = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    }
    if (listener >= 0)
        close(listener);
    if (right < 0) {
        if (left >= 0)
            close(left);
        return false;
    }
    tune(right);
    ret_fds[0] = left;
    ret_fds[1] = right;
    return true;
}

bool raw_pair(enum raw_transport transport, int ret_fds[2])
{
    if (transport == RAW_TCP)
        return tcp_pair(ret_fds);
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ret_fds) == 0;
}

void raw_congestion(bool ask_reno, char *ret_name, size_t capacity)
{
    socklen_t size = (socklen_t)capacity - 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memset(ret_name, 0, capacity);
    if (fd >= 0 && ask_reno)
        tune(fd);
    if (fd < 0 || getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, ret_name, &size) != 0)
        snprintf(ret_name, capacity, "unknown");
    if (fd >= 0)
        close(fd);
}

bool raw_read(int fd, void *to, size_t bytes, size_t piece)
{
    uint8_t *at = to;

    while (bytes > 0) {
        ssize_t got = recv(fd, at, bytes < piece ? bytes : piece, 0);
        if (got <= 0)
            return false;
        at += got;
        bytes -= (size_t)got;
    }
    return true;
}

bool raw_write(int fd, const void *from, size_t bytes, size_t piece)
{
    const uint8_t *at = from;

    while (bytes > 0) {
        ssize_t put = send(fd, at, bytes < piece ? bytes : piece, MSG_NOSIGNAL);
        if (put <= 0)
            return false;
        at += put;
        bytes -= (size_t)put;
    }
    return true;
}

void *raw_memory(size_t bytes)
{
    size_t rounded = (bytes + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
    uint8_t *memory = mmap(NULL, rounded + HUGE_PAGE_BYTES, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        return NULL;
    uintptr_t at = ((uintptr_t)memory + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
    memory = (uint8_t *)at;
    madvise(memory, rounded, MADV_HUGEPAGE);
    memset(memory, 0, rounded);
    return memory;
}
