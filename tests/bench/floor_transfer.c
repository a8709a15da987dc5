#include "tests/bench/floor_transfer.h"

#include "tests/bench/floor_loops.h"
#include "tests/bench/timing.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * The client walks through 128 MiB where it pushes or pulls, as the measured worker does:
 * parameters are not in cache. In a step both use the same arrays again and again. The server uses
 * two buffers in turn: of a small message its memory is in cache, as a parameter server's reused
 * buffers are.
 */
#define WALK_BYTES ((size_t)128 << 20)

enum { PING_BYTES = 64, SERVER_BUFFERS = 2, SEARCH_ROUNDS = 3, SEARCH_ROUNDS_SMALL = 30 };

struct tuning {
    size_t piece;    /* of a read or write */
    int send_buffer; /* of a Unix socket; 0: the system's */
};

/* Sent before a series, outside of what is timed. */
struct series {
    enum floor_work work;
    unsigned count;
    struct tuning tuning;
};

struct side {
    int fd, other_fd; /* the other process's end is closed here: so its end is noticed */
    enum raw_transport transport;
    size_t bytes;
    int cpu;             /* process_pin */
    int set_send_buffer; /* what was set last */
};

static void set_send_buffer(struct side *side, const struct tuning *tuning)
{
    if (side->transport != RAW_UNIX || !tuning->send_buffer ||
        side->set_send_buffer == tuning->send_buffer)
        return;
    setsockopt(side->fd, SOL_SOCKET, SO_SNDBUF, &tuning->send_buffer, sizeof tuning->send_buffer);
    side->set_send_buffer = tuning->send_buffer;
}

/* ---- server ---- */

struct server_memory {
    uint8_t *buffers; /* SERVER_BUFFERS of the transfer's bytes */
    float *value, *momentum, *velocity;
    float *grad; /* one piece */
};

static bool server_step(struct side *side, struct server_memory *memory, size_t piece)
{
    for (size_t at = 0; at < side->bytes; at += piece) {
        size_t part = side->bytes - at < piece ? side->bytes - at : piece;
        size_t first = at / sizeof(float);
        if (!raw_read(side->fd, memory->grad, part, part))
            return false;
        floor_adam(memory->value + first, memory->momentum + first, memory->velocity + first,
                   memory->grad, 0.001f, part / sizeof(float));
        if (!raw_write(side->fd, memory->value + first, part, part))
            return false;
    }
    return true;
}

static bool server_once(struct side *side, struct server_memory *memory,
                        const struct series *series, unsigned round)
{
    uint8_t *buffer = memory->buffers + round % SERVER_BUFFERS * side->bytes;
    uint8_t small[PING_BYTES];
    size_t piece = series->tuning.piece;

    switch (series->work) {
    case FLOOR_PING:
        return raw_read(side->fd, small, PING_BYTES, PING_BYTES) &&
               raw_write(side->fd, small, PING_BYTES, PING_BYTES);
    case FLOOR_PUSH:
        return raw_read(side->fd, buffer, side->bytes, piece) && raw_write(side->fd, small, 1, 1);
    case FLOOR_PULL:
        return raw_read(side->fd, small, 1, 1) && raw_write(side->fd, buffer, side->bytes, piece);
    case FLOOR_STEP:
        return server_step(side, memory, piece);
    default:
        return false;
    }
}

static void serve(struct orders *orders, void *context)
{
    struct side *side = context;
    struct server_memory memory = {
        .buffers = raw_memory(SERVER_BUFFERS * side->bytes),
        .value = raw_memory(side->bytes),
        .momentum = raw_memory(side->bytes),
        .velocity = raw_memory(side->bytes),
        .grad = raw_memory(side->bytes),
    };
    struct series series;

    if (!memory.buffers || !memory.value || !memory.momentum || !memory.velocity || !memory.grad)
        orders_fail(orders, "the floor's server: no memory");
    close(side->other_fd);
    process_pin(0, side->cpu);
    floor_flush_denormals();
    while (raw_read(side->fd, &series, sizeof series, sizeof series)) {
        set_send_buffer(side, &series.tuning);
        for (unsigned i = 0; i < series.count; i++)
            if (!server_once(side, &memory, &series, i))
                return;
    }
}

/* ---- client ---- */

struct client_memory {
    uint8_t *walk; /* WALK_BYTES at least */
    size_t at;
    uint8_t *grad, *value; /* of the step */
};

static uint8_t *walk(struct client_memory *memory, size_t bytes)
{
    if (memory->at + bytes > WALK_BYTES)
        memory->at = 0;
    uint8_t *place = memory->walk + memory->at;
    memory->at += (bytes + 63) / 64 * 64;
    return place;
}

/* Sends and receives as either is possible; sleeps when neither is. */
static bool client_step(struct side *side, struct client_memory *memory, size_t piece)
{
    size_t sent = 0, received = 0;

    while (received < side->bytes) {
        bool idle = true;
        if (sent < side->bytes) {
            size_t part = side->bytes - sent < piece ? side->bytes - sent : piece;
            ssize_t put = send(side->fd, memory->grad + sent, part, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (put < 0 && errno != EAGAIN)
                return false;
            sent += put > 0 ? (size_t)put : 0;
            idle = put <= 0;
        }
        size_t part = side->bytes - received < piece ? side->bytes - received : piece;
        ssize_t got = recv(side->fd, memory->value + received, part, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN))
            return false;
        received += got > 0 ? (size_t)got : 0;
        if (idle && got < 0) {
            struct pollfd ready = {.fd = side->fd,
                                   .events = (short)(POLLIN | (sent < side->bytes ? POLLOUT : 0))};
            poll(&ready, 1, -1);
        }
    }
    return true;
}

static bool client_once(struct side *side, struct client_memory *memory,
                        const struct series *series)
{
    uint8_t small[PING_BYTES] = {0};
    size_t piece = series->tuning.piece;
    uint8_t *place = walk(memory, side->bytes);

    switch (series->work) {
    case FLOOR_PING:
        return raw_write(side->fd, small, PING_BYTES, PING_BYTES) &&
               raw_read(side->fd, small, PING_BYTES, PING_BYTES);
    case FLOOR_PUSH:
        return raw_write(side->fd, place, side->bytes, piece) && raw_read(side->fd, small, 1, 1);
    case FLOOR_PULL:
        return raw_write(side->fd, small, 1, 1) && raw_read(side->fd, place, side->bytes, piece);
    case FLOOR_STEP:
        return client_step(side, memory, piece);
    default:
        return false;
    }
}

static void client_series(struct orders *orders, struct side *side, struct client_memory *memory,
                          const struct series *series)
{
    set_send_buffer(side, &series->tuning);
    if (!raw_write(side->fd, series, sizeof *series, sizeof *series))
        orders_fail(orders, "the floor's server is gone");
    for (unsigned i = 0; i < series->count; i++) {
        double began = now_s();
        if (!client_once(side, memory, series))
            orders_fail(orders, "the floor's server is gone");
        orders->lane->seconds[i] = now_s() - began;
    }
}

static void search(struct orders *orders, struct side *side, struct client_memory *memory,
                   enum floor_work work, struct tuning *ret_best)
{
    static const size_t pieces[] = {64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20, 4 << 20};
    static const int send_buffers[] = {212992, 2 << 20};
    double best = 0;

    for (size_t p = 0; p < sizeof pieces / sizeof pieces[0]; p++) {
        if (p > 0 && pieces[p - 1] >= side->bytes)
            break;
        for (size_t b = 0; b < (side->transport == RAW_UNIX ? 2 : 1); b++) {
            struct series series = {work,
                                    side->bytes <= 1 << 20 ? SEARCH_ROUNDS_SMALL : SEARCH_ROUNDS,
                                    {pieces[p], send_buffers[b]}};
            client_series(orders, side, memory, &series);
            double median = quantile(orders->lane->seconds, series.count, 0.5);
            if (best > 0 && median >= best)
                continue;
            best = median;
            *ret_best = series.tuning;
        }
    }
    if (side->bytes > pieces[0])
        snprintf(orders->lane->note, sizeof orders->lane->note, "%zu KiB pieces",
                 ret_best->piece >> 10);
}

static void drive(struct orders *orders, void *context)
{
    struct side *side = context;
    struct tuning best[FLOOR_WORK_COUNT] = {[FLOOR_PING] = {PING_BYTES, 0}};
    struct client_memory memory = {
        .walk = raw_memory(WALK_BYTES + side->bytes),
        .grad = raw_memory(side->bytes),
        .value = raw_memory(side->bytes),
    };
    unsigned what, count;

    process_pin(0, side->cpu);
    if (!memory.walk || !memory.grad || !memory.value)
        orders_fail(orders, "the floor's client: no memory");
    for (size_t i = 0; i < side->bytes / sizeof(float); i++)
        ((float *)(void *)memory.grad)[i] = 0.01f;
    while (orders_next(orders, &what, &count)) {
        enum floor_work work = (enum floor_work)(what & 0xff);
        struct series series = {work, count, best[work]};
        if (what & FLOOR_SEARCH)
            search(orders, side, &memory, work, &best[work]);
        else
            client_series(orders, side, &memory, &series);
        orders_done(orders);
    }
}

enum status floor_transfer_start(struct floor_transfer *floor, enum raw_transport transport,
                                 size_t bytes, bool pinned, struct error *err)
{
    int fds[2];
    struct side server, client;

    *floor = (struct floor_transfer){0};
    if (!raw_pair(transport, fds))
        return error_set(err, STATUS_UNAVAILABLE, "a pair of sockets for the floor: %s",
                         strerror(errno));
    server = (struct side){fds[0], fds[1], transport, bytes, pinned ? 0 : -1, 0};
    client = (struct side){fds[1], -1, transport, bytes, pinned ? 1 : -1, 0};
    enum status status = subject_start(&floor->server, serve, &server, fds[0], err);
    if (status) {
        close(fds[1]);
        return status;
    }
    status = subject_start(&floor->client, drive, &client, fds[1], err);
    if (status)
        floor_transfer_stop(floor);
    return status;
}

void floor_transfer_stop(struct floor_transfer *floor)
{
    subject_stop(&floor->client);
    subject_stop(&floor->server);
}
