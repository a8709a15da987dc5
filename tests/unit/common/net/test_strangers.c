#include "tests/lib/test.h"
#include "tests/lib/toy_engine.h"

#include "common/base/bytes.h"
#include "common/base/hash.h"
#include "common/base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

/* What somebody unknown can do to a listening port: nothing that lasts. */

struct stranger {
    struct toy server;
    char address[ADDRESS_TEXT_BYTES];
    struct socket_addresses where;
};

static void stranger_start(struct stranger *stranger, const struct net_options *options)
{
    struct address parsed;
    struct error err = {0};

    toy_start(&stranger->server, options);
    toy_listen(&stranger->server, "127.0.0.1:0", stranger->address);
    assert_ok(address_parse(stranger->address, &parsed, &err), &err);
    assert_true(address_numeric(&parsed, &stranger->where));
}

static int stranger_connect(const struct stranger *stranger)
{
    const struct socket_address *to = &stranger->where.items[0];
    int fd = socket(to->storage.ss_family, SOCK_STREAM, 0);

    assert_int_equal(connect(fd, (const struct sockaddr *)&to->storage, to->size), 0);
    return fd;
}

static void server_until(struct stranger *stranger, const size_t *counter, size_t value)
{
    struct toy *const toys[] = {&stranger->server};

    toys_until(toys, 1, counter, value);
}

static void server_turn(struct stranger *stranger, int turns)
{
    struct toy *const toys[] = {&stranger->server};

    toys_turn(toys, 1, turns);
}

/* Sends bytes; the server must close with this status, saying these words. */
static void check_refused(const void *bytes, size_t size, enum status status, const char *words)
{
    struct stranger stranger;

    stranger_start(&stranger, NULL);
    int fd = stranger_connect(&stranger);
    assert_int_equal(write(fd, bytes, size), size);
    server_until(&stranger, &stranger.server.closed, 1);
    assert_int_equal(stranger.server.why.status, status);
    if (!strstr(stranger.server.why.message, words))
        fail_msg("'%s' does not say '%s'", stranger.server.why.message, words);
    assert_int_equal(stranger.server.heads, 0);
    close(fd);
    toy_stop(&stranger.server);
}

static void test_other_protocols_are_named(void **state)
{
    (void)state;
    check_refused("GET / HTTP/1.1\r\n\r\n", 18, STATUS_INVALID_ARGUMENT, "speaks HTTP/1,");
    check_refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24, STATUS_INVALID_ARGUMENT,
                  "speaks HTTP/2,");
    check_refused("\x16\x03\x01\x02\x00", 5, STATUS_INVALID_ARGUMENT, "speaks TLS,");
    check_refused("\0\0\0\0", 4, STATUS_INVALID_ARGUMENT, "an unknown protocol");
}

static void encode(struct frame_head head, const uint8_t *header,
                   uint8_t ret_bytes[FRAME_PREAMBLE_BYTES])
{
    head.header_hash = hash_xxh3(header, head.header_bytes);
    frame_encode(&head, ret_bytes);
}

static void test_only_a_small_hello_is_let_in(void **state)
{
    static const uint8_t header[LIMIT_HELLO_BYTES + 1];
    uint8_t frame[FRAME_PREAMBLE_BYTES];

    (void)state;
    encode((struct frame_head){.type = FRAME_PUSH}, header, frame);
    check_refused(frame, sizeof frame, STATUS_FAILED_PRECONDITION, "PUSH, not HELLO");
    encode((struct frame_head){.type = FRAME_HELLO, .header_bytes = LIMIT_HELLO_BYTES + 1}, header,
           frame);
    check_refused(frame, sizeof frame, STATUS_RESOURCE_EXHAUSTED, "4097 + 0 bytes");
    encode((struct frame_head){.type = FRAME_HELLO, .payload_bytes = 1}, header, frame);
    check_refused(frame, sizeof frame, STATUS_RESOURCE_EXHAUSTED, "0 + 1 bytes");
    encode((struct frame_head){.type = FRAME_HELLO}, header, frame);
    frame[20] ^= 1;
    check_refused(frame, sizeof frame, STATUS_DATA_LOSS, "preamble");
}

static void test_header_that_changed_is_refused(void **state)
{
    uint8_t bytes[FRAME_PREAMBLE_BYTES + 4] = {0};

    (void)state;
    encode((struct frame_head){.type = FRAME_HELLO, .header_bytes = 4},
           bytes + FRAME_PREAMBLE_BYTES, bytes);
    bytes[FRAME_PREAMBLE_BYTES] ^= 1;
    check_refused(bytes, sizeof bytes, STATUS_DATA_LOSS, "the header of a HELLO frame");
}

static void test_slow_stranger_is_closed(void **state)
{
    struct stranger stranger;
    const struct net_options options = {.hello_ms = 20};
    uint8_t frame[FRAME_PREAMBLE_BYTES];

    (void)state;
    encode((struct frame_head){.type = FRAME_HELLO, .header_bytes = 100}, (uint8_t[100]){0}, frame);
    stranger_start(&stranger, &options);
    int silent = stranger_connect(&stranger);
    int slow = stranger_connect(&stranger);
    assert_int_equal(write(slow, frame, sizeof frame), sizeof frame); /* its header never comes */
    server_until(&stranger, &stranger.server.closed, 2);
    assert_int_equal(stranger.server.why.status, STATUS_DEADLINE_EXCEEDED);
    assert_int_equal(read(silent, frame, 1), 0);
    close(silent);
    close(slow);
    toy_stop(&stranger.server);
}

static void test_hello_ends_the_deadline(void **state)
{
    struct toy_pair pair;
    const struct net_options options = {.hello_ms = 300};

    (void)state;
    toy_pair_start(&pair, "127.0.0.1:0", &options, NULL);
    uint64_t end_ns = pair.server.io.now_ns(pair.server.io.context) + 400 * (uint64_t)1000000;
    while (pair.server.io.now_ns(pair.server.io.context) < end_ns)
        toy_pair_turn(&pair, 1);
    assert_int_equal(pair.server.closed, 0);
    toy_pair_stop(&pair);
}

static void test_probe_is_closed_without_noise(void **state)
{
    struct stranger stranger;

    (void)state;
    stranger_start(&stranger, NULL);
    close(stranger_connect(&stranger));
    server_until(&stranger, &stranger.server.closed, 1);
    assert_int_equal(stranger.server.why.status, STATUS_UNAVAILABLE);
    toy_stop(&stranger.server);
}

/* Beyond the bound they wait in the kernel's queue, and come in as others leave. */
static void test_strangers_beyond_the_bound_wait(void **state)
{
    struct stranger stranger;
    const struct net_options options = {.strangers_max = 2};
    int fds[4];

    (void)state;
    stranger_start(&stranger, &options);
    for (int i = 0; i < 4; i++)
        fds[i] = stranger_connect(&stranger);
    server_until(&stranger, &stranger.server.opened, 2);
    server_turn(&stranger, 20);
    assert_int_equal(stranger.server.opened, 2);
    close(fds[0]);
    server_until(&stranger, &stranger.server.opened, 3);
    server_turn(&stranger, 20);
    assert_int_equal(stranger.server.opened, 3);
    uint8_t frame[FRAME_PREAMBLE_BYTES];
    encode((struct frame_head){.type = FRAME_HELLO}, frame, frame);
    assert_int_equal(write(fds[1], frame, sizeof frame), sizeof frame);
    server_until(&stranger, &stranger.server.opened, 4); /* one of them is known now */
    for (int i = 1; i < 4; i++)
        close(fds[i]);
    toy_stop(&stranger.server);
}

static void test_connections_beyond_the_bound_are_closed(void **state)
{
    struct stranger stranger;
    const struct net_options options = {.connections_max = 2};
    int fds[3];
    char byte;

    (void)state;
    stranger_start(&stranger, &options);
    for (int i = 0; i < 3; i++)
        fds[i] = stranger_connect(&stranger);
    server_until(&stranger, &stranger.server.opened, 2);
    server_turn(&stranger, 5);
    assert_int_equal(read(fds[2], &byte, 1), 0);
    assert_int_equal(stranger.server.opened, 2);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    toy_stop(&stranger.server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_other_protocols_are_named),
        cmocka_unit_test(test_only_a_small_hello_is_let_in),
        cmocka_unit_test(test_header_that_changed_is_refused),
        cmocka_unit_test(test_slow_stranger_is_closed),
        cmocka_unit_test(test_hello_ends_the_deadline),
        cmocka_unit_test(test_probe_is_closed_without_noise),
        cmocka_unit_test(test_strangers_beyond_the_bound_wait),
        cmocka_unit_test(test_connections_beyond_the_bound_are_closed),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
