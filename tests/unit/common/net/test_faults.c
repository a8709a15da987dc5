#include "tests/lib/faulty_calls.h"
#include "tests/lib/test.h"
#include "tests/lib/toy_engine.h"

#include "common/base/alloc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What the kernel and the allocator may do to connections: cut, interrupt, refuse. */

static uint8_t bytes[200000];

static void fill_bytes(void)
{
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7 + (i >> 8));
}

static void test_calls_cut_to_a_few_bytes(void **state)
{
    static const size_t slices[] = {1, 2, 63, 65, 1000};

    (void)state;
    for (size_t s = 0; s < sizeof slices / sizeof slices[0]; s++) {
        struct faulty_calls faulty;
        struct toy_pair pair;
        faulty_calls_init(&faulty);
        faulty.slice_bytes = slices[s];
        faulty.interrupt_every = 5;
        const struct net_options options = {.calls = &faulty.calls};
        toy_pair_start(&pair, "127.0.0.1:0", &options, &options);
        pair.server.place_bytes = 700;
        pair.at_client->hash_payload = true;
        size_t size = slices[s] * 500 < sizeof bytes ? slices[s] * 500 : sizeof bytes;
        for (size_t i = 0; i < 3; i++) {
            assert_ok(toy_send(&pair.client, pair.at_client, FRAME_HEARTBEAT, bytes, size - i),
                      &pair.client.why);
            toy_pair_until(&pair, &pair.server.frames, i + 1);
            assert_memory_equal(pair.server.payload, bytes, size - i);
        }
        toy_pair_stop(&pair);
    }
}

static void test_discarded_payload_is_hashed_too(void **state)
{
    struct toy_pair pair;

    (void)state;
    toy_pair_start(&pair, "127.0.0.1:0", NULL, NULL);
    pair.server.discard = true;
    pair.at_client->hash_payload = true;
    static const size_t sizes[] = {1, 5000, 20000, 200000};
    for (size_t i = 0; i < 4; i++) {
        pair.server.place_bytes = i % 2 ? 3000 : 0;
        assert_ok(toy_send(&pair.client, pair.at_client, FRAME_HEARTBEAT, bytes, sizes[i]),
                  &pair.client.why);
        toy_pair_until(&pair, &pair.server.frames, i + 1);
    }
    assert_int_equal(pair.server.closed, 0);
    toy_pair_stop(&pair);
}

/* The payload changes between hashing and writing, as a bad memory or network would change it. */
static void check_hash_mismatch(bool discard)
{
    struct faulty_calls faulty;
    struct toy_pair pair;

    faulty_calls_init(&faulty);
    const struct net_options options = {.calls = &faulty.calls};
    toy_pair_start(&pair, "127.0.0.1:0", NULL, &options);
    pair.server.discard = discard;
    pair.at_client->hash_payload = true;
    assert_ok(toy_send(&pair.client, pair.at_client, FRAME_HEARTBEAT, bytes, 50000),
              &pair.client.why);
    bytes[33333] ^= 4;
    toy_pair_until(&pair, &pair.server.closed, 1);
    assert_int_equal(pair.server.why.status, STATUS_DATA_LOSS);
    assert_int_equal(pair.server.frames, 0);
    toy_pair_until(&pair, &pair.client.closed, 1);
    bytes[33333] ^= 4;
    toy_pair_stop(&pair);
}

static void test_payload_that_changed_closes_with_data_loss(void **state)
{
    (void)state;
    check_hash_mismatch(false);
    check_hash_mismatch(true);
}

/* Every read and write in turn fails: the link closes once, on both sides, and everything is
 * released. */
static void check_failing_calls(bool at_server, int number)
{
    for (uint64_t n = 1;; n++) {
        struct faulty_calls faulty;
        struct toy_pair pair;
        faulty_calls_init(&faulty);
        const struct net_options options = {.calls = &faulty.calls};
        toy_pair_start(&pair, "127.0.0.1:0", at_server ? &options : NULL,
                       at_server ? NULL : &options);
        pair.server.echo = true;
        faulty.call_count = 0;
        faulty.fail_at = n;
        faulty.fail_errno = number;
        for (int i = 0; i < 3; i++)
            assert_ok(toy_send(&pair.client, pair.at_client, FRAME_HEARTBEAT, bytes, 100000),
                      &pair.client.why);
        while (pair.client.frames < 3 && pair.client.closed == 0)
            toy_pair_turn(&pair, 1);
        bool failed = faulty.call_count >= n;
        if (pair.client.closed) {
            toy_pair_until(&pair, &pair.server.closed, 1);
            assert_true(failed);
            assert_int_equal(pair.client.closed, 1);
            assert_int_equal(pair.client.why.status, STATUS_UNAVAILABLE);
            assert_int_equal(pair.client.released, 3);
            assert_int_equal(pair.server.released, pair.server.sent);
        }
        toy_pair_stop(&pair);
        if (!failed) {
            assert_true(n > 3);
            return;
        }
    }
}

static void test_every_call_of_the_client_may_fail(void **state)
{
    (void)state;
    check_failing_calls(false, ECONNRESET);
    check_failing_calls(false, EPIPE);
}

static void test_every_call_of_the_server_may_fail(void **state)
{
    (void)state;
    check_failing_calls(true, ETIMEDOUT);
}

/* One life of a server and a client with the n-th allocation failing; returns whether everything
 * arrived. */
static bool run_with_failing_allocation(uint64_t n)
{
    struct toy server;
    struct toy client;
    struct toy *const toys[] = {&server, &client};
    char address[ADDRESS_TEXT_BYTES];
    struct link *link = NULL;
    struct error err = {0};
    bool arrived = false;

    toy_start(&server, NULL);
    toy_start(&client, NULL);
    server.place_bytes = 100;
    alloc_fail_nth(n, false);
    if (net_driver_listen(server.driver, "127.0.0.1:0", address, &err))
        goto out;
    if (client.io.connect(client.io.context, address, true, 2000, &client, &link, &err))
        goto out;
    while (!client.opened && !client.closed)
        toys_turn(toys, 2, 1);
    enum status status = client.closed ? STATUS_UNAVAILABLE
                                       : toy_send(&client, link, FRAME_HELLO, NULL, 0);
    for (int i = 0; i < 3 && !status; i++)
        status = toy_send(&client, link, FRAME_HEARTBEAT, bytes, 30000);
    if (status) {
        err.status = status;
        goto out;
    }
    while (server.frames < 4 && !client.closed)
        toys_turn(toys, 2, 1);
    arrived = server.frames == 4;
    err.status = arrived ? STATUS_OK : STATUS_RESOURCE_EXHAUSTED;
out:
    alloc_fail_nth(0, false);
    assert_int_not_equal(err.status == STATUS_OK, !arrived);
    toy_stop(&client);
    toy_stop(&server);
    assert_int_equal(client.opened + client.closed,
                     client.opened ? client.opened * 2 : client.closed);
    assert_int_equal(server.opened, server.closed);
    return arrived;
}

static void test_every_allocation_may_fail(void **state)
{
    int failures = 0;

    (void)state;
    for (uint64_t n = 1; n < 1000; n++) {
        uint64_t before = alloc_count();
        if (run_with_failing_allocation(n) && alloc_count() - before < n)
            break;
        failures++;
    }
    assert_in_range(failures, 8, 100);
}

/* Without file descriptors connections are refused, not left to wake the loop for ever. */
static void test_out_of_file_descriptors_sheds_connections(void **state)
{
    struct faulty_calls faulty;
    struct toy_pair pair;

    (void)state;
    faulty_calls_init(&faulty);
    const struct net_options options = {.calls = &faulty.calls};
    toy_pair_start(&pair, "127.0.0.1:0", &options, NULL);
    faulty.accept_errno = EMFILE;
    faulty.accept_failures = 1;
    toy_connect(&pair.client, pair.address);
    toy_pair_until(&pair, &pair.client.closed, 1);
    assert_int_equal(pair.server.opened, 1);
    faulty.accept_failures = 3; /* even the spare one does not help: it rests */
    toy_connect(&pair.client, pair.address);
    toy_pair_turn(&pair, 50);
    assert_true(faulty.accept_failures == 0 || faulty.accept_failures == 1);
    size_t calls = faulty.accept_count;
    toy_pair_turn(&pair, 50);
    assert_true(faulty.accept_count - calls <= 1);
    faulty.accept_failures = 0;
    toy_pair_until(&pair, &pair.server.opened, 2); /* and comes back */
    toy_pair_stop(&pair);
}

static void test_link_that_takes_nothing_is_closed(void **state)
{
    struct faulty_calls faulty;
    struct toy_pair pair;

    (void)state;
    faulty_calls_init(&faulty);
    const struct net_options options = {.calls = &faulty.calls, .stall_ms = 30};
    toy_pair_start(&pair, "127.0.0.1:0", NULL, &options);
    pair.server.wait_count = 1; /* it does not read on, and says so only every 2 s */
    for (int i = 0; i < 64; i++)
        assert_ok(toy_send(&pair.client, pair.at_client, FRAME_HEARTBEAT, bytes, sizeof bytes),
                  &pair.client.why);
    toy_pair_until(&pair, &pair.client.closed, 1);
    assert_int_equal(pair.client.why.status, STATUS_UNAVAILABLE);
    assert_non_null(strstr(pair.client.why.message, "no sign of life in 30 ms"));
    assert_int_equal(pair.client.released, 64);
    toy_pair_stop(&pair);
}

/* Everything was written, but the kernel of the peer has not taken it. */
static void test_peer_that_acknowledges_nothing_is_given_up(void **state)
{
    char directory[] = "/tmp/paramd-net-XXXXXX";
    char address[ADDRESS_TEXT_BYTES];
    struct toy_pair pair;
    const struct net_options options = {.stall_ms = 30};

    (void)state;
    assert_non_null(mkdtemp(directory));
    snprintf(address, sizeof address, "unix:%s/socket", directory);
    toy_pair_start(&pair, address, NULL, &options);
    assert_ok(toy_send(&pair.client, pair.at_client, FRAME_HEARTBEAT, bytes, 10), &pair.client.why);
    struct toy *const clients[] = {&pair.client}; /* the server does not run */
    toys_until(clients, 1, &pair.client.released_written, 1);
    toys_until(clients, 1, &pair.client.closed, 1);
    assert_non_null(strstr(pair.client.why.message, "no sign of life"));
    toy_pair_stop(&pair);
    assert_int_equal(rmdir(directory), 0);
}

/* However long a frame waits: the waiting side is told that the other one lives. */
static void test_waiting_frame_keeps_its_link(void **state)
{
    struct toy_pair pair;
    const struct net_options options = {.stall_ms = 250};

    (void)state;
    toy_pair_start(&pair, "127.0.0.1:0", &options, &options);
    pair.server.wait_count = 1;
    for (int i = 0; i < 64; i++)
        assert_ok(toy_send(&pair.client, pair.at_client, FRAME_HEARTBEAT, bytes, sizeof bytes),
                  &pair.client.why);
    uint64_t end_ns = pair.client.io.now_ns(pair.client.io.context) + 600 * 1000000ull;
    while (pair.client.io.now_ns(pair.client.io.context) < end_ns)
        toy_pair_turn(&pair, 1);
    assert_int_equal(pair.client.closed + pair.server.closed, 0);
    assert_in_range(pair.client.frames, 2, 20); /* heartbeats */
    pair.server.io.resume(pair.server.io.context, pair.at_server);
    toy_pair_until(&pair, &pair.server.frames, 64);
    toy_pair_stop(&pair);
}

/* The peer said why it left, and then our write failed: the reason is heard. */
static void test_last_frame_of_a_peer_is_read_although_writing_fails(void **state)
{
    struct faulty_calls faulty;
    struct toy_pair pair;

    (void)state;
    faulty_calls_init(&faulty);
    const struct net_options options = {.calls = &faulty.calls};
    toy_pair_start(&pair, "127.0.0.1:0", NULL, &options);
    assert_ok(toy_send(&pair.server, pair.at_server, FRAME_HEARTBEAT, bytes, 1000),
              &pair.server.why);
    pair.server.io.close(pair.server.io.context, pair.at_server, true, NULL);
    struct toy *const servers[] = {&pair.server};
    toys_turn(servers, 1, 3);
    faulty.call_count = 0;
    faulty.fail_at = 1;
    faulty.fail_errno = EPIPE;
    assert_ok(toy_send(&pair.client, pair.at_client, FRAME_HEARTBEAT, bytes, 10), &pair.client.why);
    net_driver_turn(pair.client.driver); /* writes before it reads */
    assert_int_equal(pair.client.frames, 0);
    toy_pair_until(&pair, &pair.client.closed, 1);
    assert_int_equal(pair.client.frames, 1);
    assert_int_equal(pair.client.released, 1);
    assert_int_equal(pair.client.released_written, 0);
    toy_pair_stop(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls_cut_to_a_few_bytes),
        cmocka_unit_test(test_discarded_payload_is_hashed_too),
        cmocka_unit_test(test_payload_that_changed_closes_with_data_loss),
        cmocka_unit_test(test_every_call_of_the_client_may_fail),
        cmocka_unit_test(test_every_call_of_the_server_may_fail),
        cmocka_unit_test(test_every_allocation_may_fail),
        cmocka_unit_test(test_out_of_file_descriptors_sheds_connections),
        cmocka_unit_test(test_link_that_takes_nothing_is_closed),
        cmocka_unit_test(test_peer_that_acknowledges_nothing_is_given_up),
        cmocka_unit_test(test_waiting_frame_keeps_its_link),
        cmocka_unit_test(test_last_frame_of_a_peer_is_read_although_writing_fails),
    };
    fill_bytes();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
