#include "tests/lib/localhost.h"
#include "tests/lib/toy_engine.h"

#include "common/base/alloc.h"
#include "common/base/rng.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void fill_random(uint8_t *bytes, size_t size, uint64_t seed)
{
    struct rng_sequence rng = {seed};

    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)rng_next(&rng);
}

static uint8_t *random_bytes(size_t size)
{
    uint8_t *bytes = test_malloc(size ? size : 1);

    fill_random(bytes, size, size);
    return bytes;
}

static const size_t sizes[] = {0,     1,      63,     64,     65,     4095,    4096,
                               8191,  8192,   8193,   16320,  16384,  65535,   65536,
                               65537, 262143, 262144, 262145, 524288, 1048575, 1048576};

static void check_round_trips(const char *listen, bool hash)
{
    struct toy_pair pair;
    uint8_t *bytes = random_bytes(LIMIT_PAYLOAD_BYTES);

    toy_pair_start(&pair, listen, NULL, NULL);
    pair.server.echo = true;
    pair.at_client->hash_payload = hash;
    pair.at_server->hash_payload = hash;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        pair.server.place_bytes = i % 3 == 0 ? 0 : i % 3 == 1 ? 4096 : 1000;
        assert_int_equal(toy_send(&pair.client, pair.at_client, FRAME_HEARTBEAT, bytes, sizes[i]),
                         STATUS_OK);
        toy_pair_until(&pair, &pair.client.frames, i + 1);
        assert_int_equal(pair.client.head.payload_bytes, sizes[i]);
        assert_int_equal(pair.client.head.flags, hash && sizes[i] ? FRAME_FLAG_PAYLOAD_HASH : 0);
        assert_memory_equal(pair.client.payload, bytes, sizes[i]);
    }
    toy_pair_until(&pair, &pair.client.released_written, sizeof sizes / sizeof sizes[0]);
    assert_int_equal(pair.client.closed + pair.server.closed, 0);
    toy_pair_stop(&pair);
    test_free(bytes);
}

static void test_all_sizes_over_tcp(void **state)
{
    (void)state;
    check_round_trips("127.0.0.1:0", false);
}

static void test_all_sizes_over_tcp_with_hash(void **state)
{
    (void)state;
    check_round_trips("127.0.0.1:0", true);
}

static void test_all_sizes_over_ipv6(void **state)
{
    (void)state;
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool has_ipv6 = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0;

    if (fd >= 0)
        close(fd);
    if (!has_ipv6) {
        print_message("skipped: this machine has no IPv6\n");
        skip();
    }
    check_round_trips("[::1]:0", true);
}

static void test_all_sizes_over_unix(void **state)
{
    char directory[] = "/tmp/paramd-net-XXXXXX";
    char address[ADDRESS_TEXT_BYTES];

    (void)state;
    assert_non_null(mkdtemp(directory));
    snprintf(address, sizeof address, "unix:%s/socket", directory);
    check_round_trips(address, false);
    assert_int_equal(rmdir(directory), 0); /* the socket's file is gone */
}

static void test_unix_socket_is_private_and_replaces_a_stale_one(void **state)
{
    char directory[] = "/tmp/paramd-net-XXXXXX";
    char address[ADDRESS_TEXT_BYTES];
    char other[ADDRESS_TEXT_BYTES];
    struct toy toy;
    struct toy second;
    struct stat file;
    struct error err = {0};

    (void)state;
    assert_non_null(mkdtemp(directory));
    snprintf(address, sizeof address, "unix:%s/socket", directory);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct address parsed;
    struct socket_addresses numeric;
    assert_int_equal(address_parse(address, &parsed, &err), STATUS_OK);
    assert_true(address_numeric(&parsed, &numeric));
    assert_int_equal(bind(fd, (struct sockaddr *)&numeric.items[0].storage, numeric.items[0].size),
                     0);
    close(fd); /* its file stays */

    toy_start(&toy, NULL);
    toy_listen(&toy, address, other);
    assert_string_equal(other, address);
    assert_int_equal(stat(parsed.host, &file), 0);
    assert_int_equal(file.st_mode & 0777, 0600);

    toy_start(&second, NULL);
    assert_int_equal(net_driver_listen(second.driver, address, NULL, &err), STATUS_UNAVAILABLE);
    assert_non_null(strstr(err.message, "is in use"));
    toy_stop(&second);
    assert_int_equal(stat(parsed.host, &file), 0); /* the loser did not remove it */
    toy_stop(&toy);
    assert_int_equal(rmdir(directory), 0);
}

static void test_port_in_use_is_named(void **state)
{
    char address[ADDRESS_TEXT_BYTES];
    struct toy toy;
    struct error err = {0};

    (void)state;
    toy_start(&toy, NULL);
    toy_listen(&toy, "127.0.0.1:0", address);
    assert_int_equal(net_driver_listen(toy.driver, address, NULL, &err), STATUS_UNAVAILABLE);
    assert_ptr_equal(strstr(err.message, address), err.message);
    assert_non_null(strstr(err.message, "is in use"));
    toy_listen(&toy, "127.0.0.1:0", NULL); /* several listeners */
    toy_stop(&toy);
}

static void test_refused_connection_is_named(void **state)
{
    char address[ADDRESS_TEXT_BYTES];
    char expected[ADDRESS_TEXT_BYTES + 64];
    struct toy toy;
    struct toy *const toys[] = {&toy};

    (void)state;
    toy_start(&toy, NULL);
    toy_listen(&toy, "127.0.0.1:0", address);
    net_driver_close_listeners(toy.driver);
    toys_turn(toys, 1, 2);
    toy_connect(&toy, address);
    assert_int_equal(toy.closed, 0);
    toys_until(toys, 1, &toy.closed, 1);
    snprintf(expected, sizeof expected, "connect %s: Connection refused", address);
    assert_string_equal(toy.why.message, expected);
    assert_int_equal(toy.why.status, STATUS_UNAVAILABLE);
    assert_int_equal(toy.opened, 0);
    toy_stop(&toy);
}

static void test_bad_addresses_do_not_connect(void **state)
{
    struct toy toy;
    struct link *link = NULL;
    struct error err = {0};

    (void)state;
    toy_start(&toy, NULL);
    assert_int_equal(toy.io.connect(toy.io.context, "nowhere", false, 1, NULL, &link, &err),
                     STATUS_INVALID_ARGUMENT);
    assert_int_equal(toy.io.connect(toy.io.context, "127.0.0.1:0", false, 1, NULL, &link, &err),
                     STATUS_INVALID_ARGUMENT);
    assert_null(link);
    assert_int_equal(net_driver_links(toy.driver), 0);
    toy_stop(&toy);
}

/* The kernel's queue is full, so the connection is never made. */
static void test_connecting_has_a_deadline(void **state)
{
    struct toy toy;
    struct toy *const toys[] = {&toy};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    struct link *link = NULL;
    struct error err;
    char text[64];
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    (void)state;
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 0), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    snprintf(text, sizeof text, "127.0.0.1:%u", ntohs(address.sin_port));
    toy_start(&toy, NULL);
    for (int i = 0; i < 4; i++)
        assert_int_equal(toy.io.connect(toy.io.context, text, false, 50, NULL, &link, &err),
                         STATUS_OK);
    toys_until(toys, 1, &toy.closed, 1);
    assert_non_null(strstr(toy.why.message, "no answer in 50 ms"));
    assert_non_null(strstr(toy.why.message, text));
    toy_stop(&toy);
    close(fd);
}

static void test_names_are_looked_up(void **state)
{
    struct toy_pair pair;
    char by_name[ADDRESS_TEXT_BYTES];
    struct link *link;

    (void)state;
    skip_without_localhost();
    toy_pair_start(&pair, "127.0.0.1:0", NULL, NULL);
    snprintf(by_name, sizeof by_name, "localhost:%s", strrchr(pair.address, ':') + 1);
    link = toy_connect(&pair.client, by_name);
    assert_string_equal(link->peer, by_name);
    toy_pair_until(&pair, &pair.server.opened, 2);
    /* One that is given up while it is looked up. */
    link = toy_connect(&pair.client, by_name);
    pair.client.io.close(pair.client.io.context, link, false, NULL);
    toy_pair_until(&pair, &pair.client.closed, 1);
    toy_pair_stop(&pair);
}

static void test_waiting_frame_is_offered_after_resume(void **state)
{
    struct toy_pair pair;
    uint8_t *bytes = random_bytes(300000);

    (void)state;
    toy_pair_start(&pair, "127.0.0.1:0", NULL, NULL);
    pair.server.wait_count = 2;
    for (int i = 0; i < 3; i++)
        assert_int_equal(toy_send(&pair.client, pair.at_client, FRAME_HEARTBEAT, bytes, 300000),
                         STATUS_OK);
    toy_pair_until(&pair, &pair.server.heads, 1);
    toy_pair_turn(&pair, 20);
    assert_int_equal(pair.server.heads, 1);
    pair.server.io.resume(pair.server.io.context, pair.at_server);
    pair.server.io.resume(pair.server.io.context, pair.at_server);
    toy_pair_until(&pair, &pair.server.heads, 2);
    toy_pair_turn(&pair, 20);
    assert_int_equal(pair.server.heads, 2);
    assert_int_equal(pair.server.frames, 0);
    pair.server.io.resume(pair.server.io.context, pair.at_server);
    toy_pair_until(&pair, &pair.server.frames, 3);
    assert_memory_equal(pair.server.payload, bytes, 300000);
    pair.server.io.resume(pair.server.io.context,
                          pair.at_server); /* nothing waits: nothing happens */
    toy_pair_stop(&pair);
    test_free(bytes);
}

static void test_peer_that_leaves_while_its_frame_waits(void **state)
{
    struct toy_pair pair;

    (void)state;
    toy_pair_start(&pair, "127.0.0.1:0", NULL, NULL);
    pair.server.wait_count = 1;
    assert_int_equal(toy_send(&pair.client, pair.at_client, FRAME_HEARTBEAT, NULL, 0), STATUS_OK);
    toy_pair_until(&pair, &pair.server.heads, 1);
    pair.client.io.close(pair.client.io.context, pair.at_client, false, NULL);
    toy_pair_until(&pair, &pair.server.closed, 1);
    assert_int_equal(pair.server.why.status, STATUS_UNAVAILABLE);
    toy_pair_stop(&pair);
}

static void test_ten_thousand_small_frames(void **state)
{
    struct toy_pair pair;
    size_t sent = 0;

    (void)state;
    toy_pair_start(&pair, "127.0.0.1:0", NULL, NULL);
    while (sent < 10000) {
        while (sent < 10000 && toy_send(&pair.client, pair.at_client, FRAME_HEARTBEAT, "12345678",
                                        sent % 9) == STATUS_OK)
            sent++;
        toy_pair_turn(&pair, 1);
    }
    toy_pair_until(&pair, &pair.server.frames, 10000);
    assert_int_equal(pair.server.bytes,
                     10000 / 9 * 36 + 0); /* 0 + 1 + .. + 8 in each nine; the last frame has 0 */
    assert_int_equal(pair.client.released, 10000);
    assert_int_equal(pair.client.released_written, 10000);
    toy_pair_stop(&pair);
}

static void test_send_fails_when_too_much_is_queued(void **state)
{
    struct toy_pair pair;
    struct net_options options = {.queued_bytes_max = 1000};
    uint8_t bytes[600] = {0};

    (void)state;
    toy_pair_start(&pair, "127.0.0.1:0", NULL, &options);
    assert_int_equal(toy_send(&pair.client, pair.at_client, FRAME_HEARTBEAT, bytes, 600),
                     STATUS_OK);
    assert_int_equal(toy_send(&pair.client, pair.at_client, FRAME_HEARTBEAT, bytes, 600),
                     STATUS_RESOURCE_EXHAUSTED);
    toy_pair_until(&pair, &pair.server.frames, 1);
    assert_int_equal(pair.client.released, 1);
    int accepted = 0;
    while (toy_send(&pair.client, pair.at_client, FRAME_HEARTBEAT, NULL, 0) == STATUS_OK)
        accepted++;
    assert_int_equal(accepted, 1000 / 64);
    toy_pair_stop(&pair);
}

static void test_closing_with_flush_writes_what_is_queued(void **state)
{
    struct toy_pair pair;
    uint8_t *bytes = random_bytes(LIMIT_PAYLOAD_BYTES);
    struct error why;

    (void)state;
    toy_pair_start(&pair, "127.0.0.1:0", NULL, NULL);
    for (int i = 0; i < 8; i++)
        assert_int_equal(
            toy_send(&pair.client, pair.at_client, FRAME_HEARTBEAT, bytes, LIMIT_PAYLOAD_BYTES),
            STATUS_OK);
    error_set(&why, STATUS_ABORTED, "the test is over");
    pair.client.io.close(pair.client.io.context, pair.at_client, true, &why);
    assert_int_equal(toy_send(&pair.client, pair.at_client, FRAME_HEARTBEAT, NULL, 0),
                     STATUS_UNAVAILABLE);
    /* What the other side sends now is not delivered, and does not destroy what is on its way. */
    assert_int_equal(toy_send(&pair.server, pair.at_server, FRAME_HEARTBEAT, bytes, 1000),
                     STATUS_OK);
    toy_pair_until(&pair, &pair.server.closed, 1);
    assert_int_equal(pair.server.frames, 8);
    toy_pair_until(&pair, &pair.client.closed, 1);
    assert_int_equal(pair.client.why.status, STATUS_ABORTED);
    assert_int_equal(pair.client.released_written, 8);
    assert_int_equal(pair.client.frames, 0);
    assert_int_equal(net_driver_links(pair.client.driver), 0);
    toy_pair_stop(&pair);
    test_free(bytes);
}

static void test_closing_without_flush_drops_the_queue(void **state)
{
    struct toy_pair pair;
    uint8_t *bytes = random_bytes(LIMIT_PAYLOAD_BYTES);

    (void)state;
    toy_pair_start(&pair, "127.0.0.1:0", NULL, NULL);
    for (int i = 0; i < 64; i++)
        assert_int_equal(
            toy_send(&pair.client, pair.at_client, FRAME_HEARTBEAT, bytes, LIMIT_PAYLOAD_BYTES),
            STATUS_OK);
    pair.client.close_in_closed = true;
    pair.client.io.close(pair.client.io.context, pair.at_client, false, NULL);
    pair.client.io.close(pair.client.io.context, pair.at_client, true, NULL);
    assert_int_equal(pair.client.released, 0); /* never from inside a call */
    toy_pair_until(&pair, &pair.client.closed, 1);
    toy_pair_turn(&pair, 5);
    assert_int_equal(pair.client.closed, 1);
    assert_int_equal(pair.client.released, 64);
    assert_int_equal(pair.client.released_written, 0);
    toy_pair_until(&pair, &pair.server.closed, 1);
    toy_pair_stop(&pair);
    test_free(bytes);
}

static void test_engine_may_close_from_every_callback(void **state)
{
    (void)state;
    for (int which = 0; which < 4; which++) {
        struct toy_pair pair;
        toy_pair_start(&pair, "127.0.0.1:0", NULL, NULL);
        pair.server.close_in_head = which == 0;
        pair.server.close_in_frame = which == 1;
        pair.server.refuse = which == 2;
        pair.client.close_in_released = which == 3;
        for (int i = 0; i < 100; i++)
            assert_int_equal(toy_send(&pair.client, pair.at_client, FRAME_HEARTBEAT, "abc", 3),
                             STATUS_OK);
        toy_pair_until(&pair, &pair.server.closed, 1);
        toy_pair_until(&pair, &pair.client.closed, 1);
        assert_int_equal(pair.client.released, 100);
        if (which < 3)
            assert_int_equal(pair.server.heads, 1);
        if (which == 2)
            assert_non_null(strstr(pair.server.why.message, "refused by the test"));
        toy_pair_stop(&pair);
    }
}

static void test_engine_may_close_the_listeners_from_on_open(void **state)
{
    struct toy_pair pair;

    (void)state;
    toy_pair_start(&pair, "127.0.0.1:0", NULL, NULL);
    pair.server.close_listeners_in_open = true;
    toy_connect(&pair.client, pair.address);
    toy_connect(&pair.client, pair.address);
    toy_pair_until(&pair, &pair.client.closed, 1); /* the kernel turns away who has waited */
    assert_int_equal(pair.server.opened, 2);
    toy_pair_stop(&pair);
}

/* Closing both drivers in the middle of a transfer gives everything back (the sanitizer looks). */
static void test_drivers_may_be_freed_while_busy(void **state)
{
    uint8_t *bytes = random_bytes(LIMIT_PAYLOAD_BYTES);

    (void)state;
    for (int turns = 0; turns < 12; turns++) {
        struct toy_pair pair;
        toy_pair_start(&pair, "127.0.0.1:0", NULL, NULL);
        for (int i = 0; i < 20; i++)
            assert_int_equal(
                toy_send(&pair.client, pair.at_client, FRAME_HEARTBEAT, bytes, LIMIT_PAYLOAD_BYTES),
                STATUS_OK);
        toy_pair_turn(&pair, turns);
        toy_connect(&pair.client, pair.address);
        toy_pair_stop(&pair);
        assert_int_equal(pair.client.released, 20);
        assert_int_equal(pair.client.closed, 2);
        assert_int_equal(pair.server.opened, pair.server.closed);
    }
    test_free(bytes);
}

static void test_buffers_are_held_until_written(void **state)
{
    struct toy_pair pair;
    struct buf_pool pool;

    (void)state;
    toy_pair_start(&pair, "127.0.0.1:0", NULL, NULL);
    buf_pool_init(&pool, 1 << 20);
    struct buf *buf = buf_take(&pool, 1000);
    assert_non_null(buf);
    struct link_piece pieces[2] = {{buf->data, 400, buf}, {buf->data + 400, 600, buf}};
    struct link_frame frame = {.type = FRAME_HEARTBEAT, .pieces = pieces, .piece_count = 2};
    fill_random(buf->data, 1000, 1);
    assert_int_equal(pair.client.io.send(pair.client.io.context, pair.at_client, &frame),
                     STATUS_OK);
    assert_int_equal(buf->refs, 3);
    toy_pair_until(&pair, &pair.server.frames, 1);
    assert_memory_equal(pair.server.payload, buf->data, 1000);
    assert_int_equal(buf->refs, 1);
    assert_int_equal(pair.client.io.send(pair.client.io.context, pair.at_client, &frame),
                     STATUS_OK);
    toy_pair_stop(&pair);
    assert_int_equal(buf->refs, 1);
    buf_unref(buf);
    buf_pool_release(&pool);
}

static void test_sending_allocates_nothing_in_the_steady_state(void **state)
{
    struct toy_pair pair;
    uint8_t *bytes = random_bytes(100000);
    uint64_t before = 0;

    (void)state;
    toy_pair_start(&pair, "127.0.0.1:0", NULL, NULL);
    pair.server.echo = true;
    for (size_t i = 0; i < 50; i++) {
        if (i == 10)
            before = alloc_count();
        assert_int_equal(toy_send(&pair.client, pair.at_client, FRAME_HEARTBEAT, bytes, 100000),
                         STATUS_OK);
        toy_pair_until(&pair, &pair.client.frames, i + 1);
    }
    assert_int_equal(alloc_count(), before);
    toy_pair_stop(&pair);
    test_free(bytes);
}

static void test_on_turn_is_called_when_it_asked(void **state)
{
    struct toy toy;

    (void)state;
    toy_start(&toy, NULL);
    net_driver_run_once(toy.driver, UINT64_MAX); /* the first turn does not wait */
    assert_int_equal(toy.turns, 1);
    uint64_t before = toy.io.now_ns(toy.io.context);
    net_driver_run_once(toy.driver, 3000000);
    assert_true(toy.io.now_ns(toy.io.context) - before >= 3000000);
    assert_int_equal(toy.turns, 2);
    net_driver_wake(toy.driver);
    net_driver_run_once(toy.driver, UINT64_MAX); /* returns at once */
    net_driver_stop(toy.driver);
    net_driver_run(toy.driver); /* a stop that came before */
    assert_int_not_equal(toy.io.random(toy.io.context), toy.io.random(toy.io.context));
    toy_stop(&toy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_sizes_over_tcp),
        cmocka_unit_test(test_all_sizes_over_tcp_with_hash),
        cmocka_unit_test(test_all_sizes_over_ipv6),
        cmocka_unit_test(test_all_sizes_over_unix),
        cmocka_unit_test(test_unix_socket_is_private_and_replaces_a_stale_one),
        cmocka_unit_test(test_port_in_use_is_named),
        cmocka_unit_test(test_refused_connection_is_named),
        cmocka_unit_test(test_bad_addresses_do_not_connect),
        cmocka_unit_test(test_connecting_has_a_deadline),
        cmocka_unit_test(test_names_are_looked_up),
        cmocka_unit_test(test_waiting_frame_is_offered_after_resume),
        cmocka_unit_test(test_peer_that_leaves_while_its_frame_waits),
        cmocka_unit_test(test_ten_thousand_small_frames),
        cmocka_unit_test(test_send_fails_when_too_much_is_queued),
        cmocka_unit_test(test_closing_with_flush_writes_what_is_queued),
        cmocka_unit_test(test_closing_without_flush_drops_the_queue),
        cmocka_unit_test(test_engine_may_close_from_every_callback),
        cmocka_unit_test(test_engine_may_close_the_listeners_from_on_open),
        cmocka_unit_test(test_drivers_may_be_freed_while_busy),
        cmocka_unit_test(test_buffers_are_held_until_written),
        cmocka_unit_test(test_sending_allocates_nothing_in_the_steady_state),
        cmocka_unit_test(test_on_turn_is_called_when_it_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
