/* Runs something once for each of its allocations, with that one failing. */
#ifndef PARAMD_TESTS_LIB_FAIL_ALLOC_H
#define PARAMD_TESTS_LIB_FAIL_ALLOC_H

#include "common/base/status.h"

#include <stdint.h>

/* Builds something, releases whatever it has, and returns the status of building it. */
typedef enum status fail_alloc_run(void *context);

/*
 * A clean run, which must be OK and tells how many allocations there are; then one run for each of
 * them, which must end in RESOURCE_EXHAUSTED; then a clean one again. Fails the test otherwise.
 * What a failed run leaks is for the sanitizer to see. Returns the number of allocations. On one
 * thread only.
 */
uint64_t fail_alloc_each(fail_alloc_run *run, void *context);

#endif
