#include "common/net/conn.h"

#include "common/base/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/*
 * Connections are accepted while there are fewer strangers than allowed; others wait in the
 * kernel's queue, where they cost us nothing. One too many in all, or one without a file descriptor
 * left for it, is closed at once: left waiting, it would wake the loop for ever.
 */

enum { ACCEPTS_PER_TURN = 64, ACCEPT_PAUSE_MS = 100 };

static void on_incoming(uv_poll_t *handle, int status, int events);

static void listener_set(struct listener *listener, bool paused)
{
    if (listener->paused == paused)
        return;
    listener->paused = paused;
    net_poll_set(listener->poll, paused ? 0 : UV_READABLE, on_incoming);
}

void listeners_update(struct net_driver *driver)
{
    bool paused = driver->stranger_count >= driver->options.strangers_max ||
                  (driver->accept_after_ns && net_now_ns() < driver->accept_after_ns);

    if (!paused)
        driver->accept_after_ns = 0;
    for (struct listener *listener = driver->listeners; listener; listener = listener->next)
        listener_set(listener, paused);
}

static void pause_accepting(struct net_driver *driver)
{
    driver->accept_after_ns = net_now_ns() + ACCEPT_PAUSE_MS * NS_PER_MS;
    net_sweep_by(driver, driver->accept_after_ns);
    listeners_update(driver);
}

/* No file descriptor is left: the spare one makes room to take the connection and close it. */
static void shed(struct listener *listener)
{
    struct net_driver *driver = listener->driver;

    net_complain(driver, listener->text,
                 "too many open files: a connection is refused (raise ulimit -n)");
    if (driver->spare_fd < 0) {
        pause_accepting(driver);
        driver->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        return;
    }
    close(driver->spare_fd);
    int fd = driver->calls->accept(driver->calls->context, listener->fd);
    if (fd >= 0)
        close(fd);
    else
        pause_accepting(driver);
    driver->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void accepted(struct listener *listener, int fd)
{
    struct net_driver *driver = listener->driver;
    struct socket_address peer = socket_peer(fd);
    char text[LINK_PEER_BYTES];

    if (peer.size && peer.storage.ss_family != AF_UNIX)
        address_print_socket(&peer, text, sizeof text);
    else
        snprintf(text, sizeof text, "%.*s", (int)sizeof text - 1, listener->text);
    if (driver->accepted_count >= driver->options.connections_max) {
        net_complain(driver, text, "a connection is refused, there are as many as allowed");
        close(fd);
        return;
    }
    conn_accept(driver, fd, text);
}

static void on_incoming(uv_poll_t *handle, int status, int events)
{
    struct net_poll *poll = handle->data;
    struct listener *listener = poll->owner;

    (void)events;
    if (listener && status < 0) {
        listener->paused = true;
        pause_accepting(listener->driver);
        return;
    }
    /* on_open may close all listeners: the poll outlives them, and says so. */
    for (int i = 0; i < ACCEPTS_PER_TURN && poll->owner && !listener->paused; i++) {
        struct net_driver *driver = listener->driver;
        int fd = driver->calls->accept(driver->calls->context, listener->fd);
        if (fd >= 0) {
            accepted(listener, fd);
            listeners_update(driver);
        } else if (errno == EMFILE || errno == ENFILE) {
            shed(listener);
        } else if (errno == ENOBUFS || errno == ENOMEM) {
            net_complain(driver, listener->text, "the system has no memory for a connection");
            pause_accepting(driver);
        } else if (errno != EINTR && errno != ECONNABORTED && errno != EPROTO) {
            return; /* nobody else waits */
        }
    }
}

enum status net_driver_listen(struct net_driver *driver, const char *address,
                              char ret_address[ADDRESS_TEXT_BYTES], struct error *err)
{
    struct address parsed;
    struct socket_address bound;
    enum status status = address_parse(address, &parsed, err);

    if (status)
        return status;
    struct listener *listener = alloc_zero(sizeof *listener);
    if (!listener)
        return error_no_memory(err, "a listener");
    status = socket_listen(&parsed, &listener->fd, &bound, &listener->file, err);
    if (status) {
        alloc_free(listener);
        return status;
    }
    listener->driver = driver;
    listener->poll = net_poll_new(driver, listener->fd, listener);
    if (!listener->poll) {
        socket_file_remove(&listener->file);
        close(listener->fd);
        alloc_free(listener);
        return error_no_memory(err, "a listener");
    }
    if (parsed.kind == ADDRESS_UNIX)
        address_print(&parsed, listener->text, sizeof listener->text);
    else
        address_print_socket(&bound, listener->text, sizeof listener->text);
    if (ret_address)
        snprintf(ret_address, ADDRESS_TEXT_BYTES, "%s", listener->text);
    listener->next = driver->listeners;
    driver->listeners = listener;
    listener->paused = true;
    listeners_update(driver);
    return STATUS_OK;
}

void listeners_close(struct net_driver *driver)
{
    while (driver->listeners) {
        struct listener *listener = driver->listeners;
        driver->listeners = listener->next;
        net_poll_close(listener->poll);
        close(listener->fd);
        socket_file_remove(&listener->file);
        alloc_free(listener);
    }
}
