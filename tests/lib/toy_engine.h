/* An engine that does what a test tells it, on a driver of its own. */
#ifndef PARAMD_TESTS_LIB_TOY_ENGINE_H
#define PARAMD_TESTS_LIB_TOY_ENGINE_H

#include "common/net/driver.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TOY_LINKS = 64 };

struct toy {
    struct net_driver *driver;
    struct link_io io;

    /* What it does. */
    int wait_count;     /* says LINK_WAIT so many times */
    bool refuse;        /* says LINK_REFUSE */
    bool discard;       /* wants no payload */
    size_t place_bytes; /* payload arrives in places of this size; 0: one place */
    bool close_in_head;
    bool close_in_frame;
    bool close_in_closed; /* closes what is closing: must do nothing */
    bool close_in_released;
    bool close_listeners_in_open;
    bool echo;  /* sends every payload back */
    bool hello; /* says HELLO on every connection that it has made */
    void (*on_frame)(struct toy *toy, struct link *link); /* may be NULL */

    /* What it has seen. */
    struct link *links[TOY_LINKS]; /* open ones, by order of opening; NULL when closed */
    size_t opened;
    size_t closed;
    size_t heads;
    size_t frames;
    size_t turns;
    size_t sent;
    size_t released;
    size_t released_written;
    uint64_t bytes;
    struct frame_head head;
    struct error why; /* of the last on_closed */
    uint8_t *payload; /* owned; of the last frame, unless discarded */
};

void toy_start(struct toy *toy, const struct net_options *options);
void toy_stop(struct toy *toy);

/* Listens; the address goes to ret_address. */
void toy_listen(struct toy *toy, const char *address, char ret_address[ADDRESS_TEXT_BYTES]);
struct link *toy_connect(struct toy *toy, const char *address);

/* A frame of any type without a message, with counted release; the bytes are borrowed. */
enum status toy_send(struct toy *toy, struct link *link, enum frame_type type, const void *payload,
                     size_t bytes);

/* Turns all drivers until *counter reaches value; fails the test after some seconds. */
void toys_until(struct toy *const *toys, size_t toy_count, const size_t *counter, size_t value);

/* Turns all drivers so many times without waiting. */
void toys_turn(struct toy *const *toys, size_t toy_count, int turns);

/* A server and a client, connected and known to each other. */
struct toy_pair {
    struct toy server;
    struct toy client;
    char address[ADDRESS_TEXT_BYTES];
    struct link *at_client;
    struct link *at_server;
};
void toy_pair_start(struct toy_pair *pair, const char *listen,
                    const struct net_options *server_options,
                    const struct net_options *client_options);
void toy_pair_stop(struct toy_pair *pair);
void toy_pair_until(struct toy_pair *pair, const size_t *counter, size_t value);
void toy_pair_turn(struct toy_pair *pair, int turns);

#endif
