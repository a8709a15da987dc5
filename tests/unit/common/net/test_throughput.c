#include "tests/lib/test.h"
#include "tests/lib/toy_engine.h"

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/net/socket.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * What the driver costs, beside a raw sender and receiver that do nothing else: 64 MiB in frames of
 * 1 MiB to another process, answered by one small frame; and a ping-pong of 64 bytes. The figures
 * are printed; they depend too much on what else the machine does to be asserted.
 */

enum { PUSH_FRAMES = 64, ROUNDS = 9, PINGS = 2000, CHUNK_BYTES = 256 * 1024 };

#define PUSH_BYTES ((size_t)PUSH_FRAMES * LIMIT_PAYLOAD_BYTES)

struct measure {
    double push_ms[ROUNDS];
    double ping_us;
};

static double now_us(void)
{
    const struct clock clock = clock_machine();

    return (double)clock_now_ns(&clock) / 1e3;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof values[0], by_value);
    return values[count / 2];
}

/* ---- raw ---- */

static void read_all(int fd, uint8_t *to, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        size_t part = bytes - done < CHUNK_BYTES ? bytes - done : CHUNK_BYTES;
        ssize_t got = read(fd, to + done, part);
        if (got <= 0)
            _exit(1);
        done += (size_t)got;
    }
}

static void write_all(int fd, const uint8_t *from, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        size_t part = bytes - done < 4 * LIMIT_PAYLOAD_BYTES ? bytes - done
                                                             : 4 * LIMIT_PAYLOAD_BYTES;
        ssize_t put = write(fd, from + done, part);
        if (put <= 0)
            _exit(1);
        done += (size_t)put;
    }
}

static void set_blocking(int fd)
{
    struct pollfd ready = {.fd = fd, .events = POLLOUT};

    poll(&ready, 1, 5000);
    int flags = fcntl(fd, F_GETFL);
    fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
    socket_tune(fd, true, 10000);
}

static void raw_receiver(int listen_fd, uint8_t *memory)
{
    uint8_t small[64] = {0};
    struct pollfd ready = {.fd = listen_fd, .events = POLLIN};

    poll(&ready, 1, 5000);
    int fd = net_calls_system.accept(NULL, listen_fd);
    set_blocking(fd);
    for (int round = 0; round < ROUNDS; round++) {
        read_all(fd, memory, PUSH_BYTES);
        write_all(fd, small, sizeof small);
    }
    for (int i = 0; i < PINGS; i++) {
        read_all(fd, small, sizeof small);
        write_all(fd, small, sizeof small);
    }
    _exit(0);
}

static void raw_measure(uint8_t *memory, struct measure *ret_measure)
{
    struct address address;
    struct socket_address bound;
    struct socket_file file;
    struct error err = {0};
    uint8_t small[64] = {0};
    int listen_fd;
    int fd;

    assert_ok(address_parse("127.0.0.1:0", &address, &err), &err);
    assert_ok(socket_listen(&address, &listen_fd, &bound, &file, &err), &err);
    pid_t child = fork();
    if (child == 0)
        raw_receiver(listen_fd, memory);
    assert_ok(socket_connect(&bound, &fd, &err), &err);
    set_blocking(fd);
    for (int round = 0; round < ROUNDS; round++) {
        double start = now_us();
        write_all(fd, memory, PUSH_BYTES);
        read_all(fd, small, sizeof small);
        ret_measure->push_ms[round] = (now_us() - start) / 1e3;
    }
    double start = now_us();
    for (int i = 0; i < PINGS; i++) {
        write_all(fd, small, sizeof small);
        read_all(fd, small, sizeof small);
    }
    ret_measure->ping_us = (now_us() - start) / PINGS;
    close(fd);
    close(listen_fd);
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
}

/* ---- the driver ---- */

/* Acknowledges each whole push and each ping, into memory that is walked as a model's is. */
static void receiver_frame(struct toy *toy, struct link *link)
{
    if (toy->head.payload_bytes == 0 || toy->frames % PUSH_FRAMES == 0)
        status_ignore(toy_send(toy, link, FRAME_HEARTBEAT, NULL, 0), "the sender sees it");
    if (toy->head.payload_bytes)
        toy->payload += LIMIT_PAYLOAD_BYTES;
    if (toy->head.payload_bytes && toy->frames % PUSH_FRAMES == 0)
        toy->payload -= PUSH_BYTES;
}

static void driver_receiver(struct toy *toy, uint8_t *memory, const char *address)
{
    struct toy *const toys[] = {toy};

    toy_start(toy, NULL);
    alloc_free(toy->payload);
    toy->payload = memory;
    toy->hello = true;
    toy_connect(toy, address);
    toys_until(toys, 1, &toy->opened, 1);
    toy->on_frame = receiver_frame;
    while (!toy->closed)
        net_driver_run_once(toy->driver, UINT64_MAX);
    toy->payload = NULL;
    toy_stop(toy);
    _exit(0);
}

static void push_once(struct toy *toy, const uint8_t *memory)
{
    for (size_t i = 0; i < PUSH_FRAMES; i++)
        assert_int_equal(toy_send(toy, toy->links[0], FRAME_HEARTBEAT,
                                  memory + i * LIMIT_PAYLOAD_BYTES, LIMIT_PAYLOAD_BYTES),
                         STATUS_OK);
}

/* The pushing side listens, so that its process is the one that measures. */
static void driver_measure(uint8_t *memory, struct measure *ret_measure)
{
    struct toy toy;
    struct toy receiver;
    struct toy *const toys[] = {&toy};
    char address[ADDRESS_TEXT_BYTES];

    toy_start(&toy, NULL);
    toy_listen(&toy, "127.0.0.1:0", address);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        driver_receiver(&receiver, memory, address);
    toys_until(toys, 1, &toy.frames, 1);
    for (size_t round = 0; round < ROUNDS; round++) {
        double start = now_us();
        push_once(&toy, memory);
        while (toy.frames < round + 2)
            net_driver_run_once(toy.driver, UINT64_MAX);
        ret_measure->push_ms[round] = (now_us() - start) / 1e3;
    }
    double start = now_us();
    for (size_t i = 0; i < PINGS; i++) {
        assert_int_equal(toy_send(&toy, toy.links[0], FRAME_HEARTBEAT, NULL, 0), STATUS_OK);
        while (toy.frames < ROUNDS + 2 + i)
            net_driver_run_once(toy.driver, UINT64_MAX);
    }
    ret_measure->ping_us = (now_us() - start) / PINGS;
    toy_stop(&toy);
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
}

static void test_figures_beside_a_raw_sender_and_receiver(void **state)
{
    uint8_t *memory = alloc_tensor(PUSH_BYTES);
    double raw_push[3];
    double driver_push[3];
    double raw_ping[3];
    double driver_ping[3];

    (void)state;
    assert_non_null(memory);
    memset(memory, 1, PUSH_BYTES);
    for (int i = 0; i < 3; i++) {
        struct measure raw;
        struct measure driver;
        raw_measure(memory, &raw);
        driver_measure(memory, &driver);
        raw_push[i] = median(raw.push_ms, ROUNDS);
        driver_push[i] = median(driver.push_ms, ROUNDS);
        raw_ping[i] = raw.ping_us;
        driver_ping[i] = driver.ping_us;
    }
    double raw_ms = median(raw_push, 3);
    double driver_ms = median(driver_push, 3);
    double raw_us = median(raw_ping, 3);
    double driver_us = median(driver_ping, 3);
    print_message("push of 64 MiB in 1 MiB frames: %.1f ms (%.2f GB/s), raw %.1f ms: %.2f of raw\n",
                  driver_ms, (double)PUSH_BYTES / driver_ms / 1e6, raw_ms, raw_ms / driver_ms);
    print_message("ping-pong of 64 bytes: %.1f us, raw %.1f us\n", driver_us, raw_us);
    alloc_free_tensor(memory, PUSH_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_figures_beside_a_raw_sender_and_receiver),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
