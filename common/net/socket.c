#include "common/net/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    BACKLOG = 1024,
    UNIX_BUFFER_BYTES = 2 * 1024 * 1024, /* a Unix socket's buffer does not grow by itself */
    KEEPALIVE_IDLE_S = 10,
    KEEPALIVE_INTERVAL_S = 5,
    KEEPALIVE_COUNT = 3,
};

static int socket_open(const struct socket_address *address)
{
    return socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static const struct sockaddr *as_sockaddr(const struct socket_address *address)
{
    return (const struct sockaddr *)&address->storage;
}

/* The file is left from a process that is gone: a socket, and nobody accepts there. */
static bool unix_file_is_stale(const struct socket_address *address)
{
    const struct sockaddr_un *local = (const struct sockaddr_un *)&address->storage;
    struct stat file;

    if (lstat(local->sun_path, &file) != 0 || !S_ISSOCK(file.st_mode))
        return false;
    int fd = socket_open(address);
    if (fd < 0)
        return false;
    bool refused = connect(fd, as_sockaddr(address), address->size) != 0 && errno == ECONNREFUSED;
    close(fd);
    return refused;
}

static int bind_one(int fd, const struct socket_address *address)
{
    const int on = 1;

    if (address->storage.ss_family == AF_UNIX) {
        if (fchmod(fd, 0600) != 0) /* before bind: the file never has another mode */
            return -1;
    } else if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) {
        return -1;
    }
    if (bind(fd, as_sockaddr(address), address->size) == 0)
        return 0;
    if (errno != EADDRINUSE || address->storage.ss_family != AF_UNIX ||
        !unix_file_is_stale(address)) {
        return -1;
    }
    const struct sockaddr_un *local = (const struct sockaddr_un *)&address->storage;
    if (unlink(local->sun_path) != 0)
        return -1;
    return bind(fd, as_sockaddr(address), address->size);
}

static enum status listen_failed(const struct address *address, int number, struct error *err)
{
    char text[ADDRESS_TEXT_BYTES + 8];

    address_print(address, text, sizeof text);
    if (number == EADDRINUSE)
        return error_set(err, STATUS_UNAVAILABLE,
                         "%s is in use: another process listens there, choose another %s", text,
                         address->kind == ADDRESS_UNIX ? "path" : "port (0: any free one)");
    return error_set(err, STATUS_UNAVAILABLE, "listen on %s: %s", text, strerror(number));
}

/* Takes fd; remembers which file it made. */
static void remember_file(const struct address *address, struct socket_file *ret_file)
{
    struct stat file;

    *ret_file = (struct socket_file){0};
    if (address->kind != ADDRESS_UNIX || lstat(address->host, &file) != 0)
        return;
    snprintf(ret_file->path, sizeof ret_file->path, "%s", address->host);
    ret_file->device = file.st_dev;
    ret_file->inode = file.st_ino;
}

enum status socket_listen(const struct address *address, int *ret_fd,
                          struct socket_address *ret_bound, struct socket_file *ret_file,
                          struct error *err)
{
    struct socket_addresses found;
    enum status status = address_resolve(address, &found, err);

    if (status)
        return error_wrap(err, "listen");
    int fd = socket_open(&found.items[0]);
    if (fd < 0)
        return listen_failed(address, errno, err);
    if (bind_one(fd, &found.items[0]) != 0 || listen(fd, BACKLOG) != 0) {
        status = listen_failed(address, errno, err);
        close(fd);
        return status;
    }
    remember_file(address, ret_file);
    memset(ret_bound, 0, sizeof *ret_bound);
    ret_bound->size = sizeof ret_bound->storage;
    if (getsockname(fd, (struct sockaddr *)&ret_bound->storage, &ret_bound->size) != 0) {
        status = listen_failed(address, errno, err);
        socket_file_remove(ret_file);
        close(fd);
        return status;
    }
    *ret_fd = fd;
    return STATUS_OK;
}

void socket_file_remove(struct socket_file *file)
{
    struct stat now;

    if (file->path[0] && lstat(file->path, &now) == 0 && now.st_dev == file->device &&
        now.st_ino == file->inode)
        unlink(file->path);
    file->path[0] = '\0';
}

enum status socket_connect(const struct socket_address *to, int *ret_fd, struct error *err)
{
    int fd = socket_open(to);

    if (fd < 0)
        return error_set(err, STATUS_UNAVAILABLE, "%s", strerror(errno));
    if (connect(fd, as_sockaddr(to), to->size) != 0 && errno != EINPROGRESS) {
        enum status status = error_set(err, STATUS_UNAVAILABLE, "%s", strerror(errno));
        close(fd);
        return status;
    }
    *ret_fd = fd;
    return STATUS_OK;
}

static struct socket_address local_address(int fd)
{
    struct socket_address address = {.size = sizeof address.storage};

    if (getsockname(fd, (struct sockaddr *)&address.storage, &address.size) != 0)
        address.size = 0;
    return address;
}

struct socket_address socket_peer(int fd)
{
    struct socket_address address = {.size = sizeof address.storage};

    if (getpeername(fd, (struct sockaddr *)&address.storage, &address.size) != 0)
        address.size = 0;
    return address;
}

static int pending_error(int fd)
{
    int number = 0;
    socklen_t size = sizeof number;

    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &size) == 0 ? number : errno;
}

const char *socket_error_text(int fd)
{
    int number = pending_error(fd);

    return strerror(number ? number : EPIPE);
}

enum status socket_connected(int fd, struct error *err)
{
    int number = pending_error(fd);
    struct socket_address local = local_address(fd);
    struct socket_address peer = socket_peer(fd);

    if (!number && peer.size == 0)
        number = ENOTCONN;
    /* Connecting to a free port of this machine may, by chance, connect the socket to itself. */
    if (!number && local.storage.ss_family != AF_UNIX && local.size == peer.size &&
        memcmp(&local.storage, &peer.storage, local.size) == 0)
        number = ECONNREFUSED;
    return number ? error_set(err, STATUS_UNAVAILABLE, "%s", strerror(number)) : STATUS_OK;
}

/* An option that this kernel refuses is done without. */
static void set_option(int fd, int level, int name, int value)
{
    setsockopt(fd, level, name, &value, sizeof value);
}

size_t socket_unacknowledged(int fd)
{
    int bytes = 0;

    return ioctl(fd, SIOCOUTQ, &bytes) == 0 && bytes > 0 ? (size_t)bytes : 0;
}

void socket_tune(int fd, bool bulk, uint64_t stall_ms)
{
    struct socket_address local = local_address(fd);
    struct socket_address peer = socket_peer(fd);

    if (local.storage.ss_family == AF_UNIX) {
        if (bulk)
            set_option(fd, SOL_SOCKET, SO_SNDBUF, UNIX_BUFFER_BYTES);
        return;
    }
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (stall_ms)
        set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT,
                   stall_ms < INT32_MAX ? (int)stall_ms : INT32_MAX);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT);
    /* On loopback nothing is lost and nothing is shared: reno is up to twice as fast as cubic or
     * bbr there. */
    if (address_same_host(&local, &peer))
        setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", strlen("reno"));
}
