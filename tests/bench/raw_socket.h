/* Plain sockets for the floors: no code of the product, libc only. */
#ifndef PARAMD_TESTS_BENCH_RAW_SOCKET_H
#define PARAMD_TESTS_BENCH_RAW_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum raw_transport { RAW_TCP, RAW_UNIX };

/* Two connected, blocking stream sockets on this machine; TCP without Nagle, with reno if that may
 * be set. */
bool raw_pair(enum raw_transport transport, int ret_fds[2]);

/* The congestion control of a socket: reno asked for as the floors do, or the system's default. */
void raw_congestion(bool ask_reno, char *ret_name, size_t capacity);

/* All bytes, at most `piece` a call. False: the other side is gone. */
bool raw_read(int fd, void *to, size_t bytes, size_t piece);
bool raw_write(int fd, const void *from, size_t bytes, size_t piece);

/* Memory in huge pages where there are any, every page touched. NULL: none. */
void *raw_memory(size_t bytes);

#endif
