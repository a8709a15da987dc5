/* Every allocation of the project: zeroed, counted, and able to fail on demand in tests. */
#ifndef PARAMD_COMMON_BASE_ALLOC_H
#define PARAMD_COMMON_BASE_ALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed memory, or NULL. size 0 gives a pointer that may be freed. */
void *alloc_zero(size_t size) __attribute__((malloc));

/* Zeroed array of count elements; NULL also when count * size overflows. */
void *alloc_array(size_t count, size_t size) __attribute__((malloc));

/* Grows or shrinks to count elements (new ones are NOT zeroed); NULL leaves the old one alive. */
void *alloc_resize(void *old, size_t count, size_t size) __attribute__((warn_unused_result));

/* A copy of a string, or NULL. */
char *alloc_string(const char *text) __attribute__((malloc));

void alloc_free(void *pointer);

/*
 * Memory for tensor bytes: zeroed, aligned to 64 bytes (to 2 MiB with huge pages asked for where
 * size is 1 MiB or more, since first touch of 4 KiB pages costs ten times as much). Freed by
 * alloc_free_tensor with the same size.
 */
void *alloc_tensor(size_t size) __attribute__((malloc));
void alloc_free_tensor(void *pointer, size_t size);

/*
 * Makes the n-th allocation from now fail, and with repeat every later one too; n counts from 1, 0
 * turns it off. Thread-safe. For tests.
 */
void alloc_fail_nth(uint64_t n, bool repeat);

/* Successful allocations so far, of all threads: a test counts that a step makes none. */
uint64_t alloc_count(void);

#endif
