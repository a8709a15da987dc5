#include "tests/lib/toy_engine.h"

#include "common/base/alloc.h"
#include "common/base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PATIENCE_S = 20 };

static void toy_opened(void *context, struct link *link)
{
    struct toy *toy = context;

    assert_true(toy->opened < TOY_LINKS || !toy->links[toy->opened % TOY_LINKS]);
    toy->links[toy->opened++ % TOY_LINKS] = link;
    if (toy->close_listeners_in_open)
        net_driver_close_listeners(toy->driver);
    if (toy->hello && link->user)
        assert_int_equal(toy_send(toy, link, FRAME_HELLO, NULL, 0), STATUS_OK);
}

static enum link_verdict toy_head(void *context, struct link *link, const struct frame_head *head,
                                  const uint8_t *header, struct link_incoming *ret_incoming,
                                  struct error *err)
{
    struct toy *toy = context;
    size_t left = head->payload_bytes;
    size_t each = toy->place_bytes ? toy->place_bytes : left;

    (void)header;
    toy->heads++;
    toy->head = *head;
    if (toy->wait_count > 0) {
        toy->wait_count--;
        return LINK_WAIT;
    }
    if (toy->refuse) {
        error_set(err, STATUS_PERMISSION_DENIED, "refused by the test");
        return LINK_REFUSE;
    }
    if (toy->close_in_head)
        toy->io.close(toy->io.context, link, false, NULL);
    uint8_t *at = toy->payload;
    for (ret_incoming->place_count = 0; left; ret_incoming->place_count++) {
        size_t bytes = left < each ? left : each;
        bool last_place = ret_incoming->place_count == LIMIT_FRAME_BLOCKS - 1;
        bytes = last_place ? left : bytes;
        ret_incoming->places[ret_incoming->place_count] = (struct link_place){
            toy->discard ? NULL : at, bytes};
        at += bytes;
        left -= bytes;
    }
    return LINK_TAKE;
}

static void toy_frame(void *context, struct link *link)
{
    struct toy *toy = context;

    toy->frames++;
    toy->bytes += toy->head.payload_bytes;
    if (toy->echo) {
        /* UNAVAILABLE: writing has failed already, and what had arrived is still delivered. */
        enum status status = toy_send(toy, link, FRAME_HEARTBEAT, toy->payload,
                                      toy->head.payload_bytes);
        assert_true(status == STATUS_OK || status == STATUS_UNAVAILABLE);
    }
    if (toy->on_frame)
        toy->on_frame(toy, link);
    if (toy->close_in_frame)
        toy->io.close(toy->io.context, link, false, NULL);
}

static void toy_closed(void *context, struct link *link, const struct error *why)
{
    struct toy *toy = context;

    toy->closed++;
    toy->why = *why;
    assert_int_not_equal(why->status, STATUS_OK);
    for (size_t i = 0; i < TOY_LINKS; i++) {
        if (toy->links[i] == link)
            toy->links[i] = NULL;
    }
    if (toy->close_in_closed)
        toy->io.close(toy->io.context, link, true, why);
    assert_int_equal(toy_send(toy, link, FRAME_HEARTBEAT, NULL, 0), STATUS_UNAVAILABLE);
}

static uint64_t toy_turned(void *context)
{
    struct toy *toy = context;

    toy->turns++;
    return UINT64_MAX;
}

void toy_start(struct toy *toy, const struct net_options *options)
{
    struct error err;
    struct link_engine engine = {
        .context = toy,
        .on_open = toy_opened,
        .on_head = toy_head,
        .on_frame = toy_frame,
        .on_closed = toy_closed,
        .on_turn = toy_turned,
    };

    *toy = (struct toy){.payload = alloc_array(LIMIT_PAYLOAD_BYTES, 1)};
    assert_non_null(toy->payload);
    assert_int_equal(net_driver_new(options, &toy->driver, &err), STATUS_OK);
    net_driver_set_engine(toy->driver, &engine);
    toy->io = net_driver_io(toy->driver);
}

void toy_stop(struct toy *toy)
{
    net_driver_free(toy->driver);
    alloc_free(toy->payload);
    toy->payload = NULL;
    toy->driver = NULL;
}

void toy_listen(struct toy *toy, const char *address, char ret_address[ADDRESS_TEXT_BYTES])
{
    struct error err = {0};

    if (net_driver_listen(toy->driver, address, ret_address, &err))
        fail_msg("%s", err.message);
}

struct link *toy_connect(struct toy *toy, const char *address)
{
    struct error err = {0};
    struct link *link = NULL;

    if (toy->io.connect(toy->io.context, address, true, 5000, toy, &link, &err))
        fail_msg("%s", err.message);
    return link;
}

static void toy_released(void *owner, bool written)
{
    struct toy *toy = owner;

    toy->released++;
    toy->released_written += written;
    if (toy->close_in_released && toy->links[0])
        toy->io.close(toy->io.context, toy->links[0], false, NULL);
}

enum status toy_send(struct toy *toy, struct link *link, enum frame_type type, const void *payload,
                     size_t bytes)
{
    struct link_piece piece = {.data = payload, .bytes = bytes};
    struct link_frame frame = {
        .type = type,
        .pieces = &piece,
        .piece_count = bytes ? 1 : 0,
        .on_released = toy_released,
        .owner = toy,
    };

    enum status status = toy->io.send(toy->io.context, link, &frame);
    toy->sent += status == STATUS_OK;
    return status;
}

void toys_turn(struct toy *const *toys, size_t toy_count, int turns)
{
    for (int turn = 0; turn < turns; turn++) {
        for (size_t i = 0; i < toy_count; i++)
            net_driver_run_once(toys[i]->driver, 0);
    }
}

void toys_until(struct toy *const *toys, size_t toy_count, const size_t *counter, size_t value)
{
    struct clock clock = clock_machine();
    uint64_t end_ns = clock_now_ns(&clock) + PATIENCE_S * (uint64_t)1000000000;

    while (*counter < value) {
        if (clock_now_ns(&clock) > end_ns)
            fail_msg("a counter is at %zu after %d s, not at %zu", *counter, PATIENCE_S, value);
        for (size_t i = 0; i < toy_count; i++)
            net_driver_run_once(toys[i]->driver, toy_count == 1 ? 1000000 : 0);
    }
}

void toy_pair_until(struct toy_pair *pair, const size_t *counter, size_t value)
{
    struct toy *const toys[] = {&pair->server, &pair->client};

    toys_until(toys, 2, counter, value);
}

void toy_pair_turn(struct toy_pair *pair, int turns)
{
    struct toy *const toys[] = {&pair->server, &pair->client};

    toys_turn(toys, 2, turns);
}

void toy_pair_start(struct toy_pair *pair, const char *listen,
                    const struct net_options *server_options,
                    const struct net_options *client_options)
{
    toy_start(&pair->server, server_options);
    toy_start(&pair->client, client_options);
    pair->client.hello = true;
    toy_listen(&pair->server, listen, pair->address);
    pair->at_client = toy_connect(&pair->client, pair->address);
    toy_pair_until(pair, &pair->server.frames, 1);
    pair->at_server = pair->server.links[0];
    pair->server.frames = 0;
    pair->server.heads = 0;
    toy_pair_until(pair, &pair->client.released, 1);
    pair->client.released = 0;
    pair->client.released_written = 0;
}

void toy_pair_stop(struct toy_pair *pair)
{
    toy_stop(&pair->client);
    toy_stop(&pair->server);
}
