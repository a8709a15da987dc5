/* A TCP port that nobody listens on. */
#ifndef PARAMD_TESTS_LIB_FREE_PORT_H
#define PARAMD_TESTS_LIB_FREE_PORT_H

#include <stdint.h>

/*
 * A port that was free on loopback a moment ago: for a test that needs an unreachable address, or a
 * number before the program starts. Where a program can listen on port 0 and say which it got, that
 * is better.
 */
uint16_t free_port(void);

#endif
