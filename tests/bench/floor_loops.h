/* The arithmetic of the floors, in plain loops of their own: libc only. */
#ifndef PARAMD_TESTS_BENCH_FLOOR_LOOPS_H
#define PARAMD_TESTS_BENCH_FLOOR_LOOPS_H

#include <stddef.h>
#include <stdint.h>

/* Fused Adam in place: reads four arrays, writes three. */
void floor_adam(float *value, float *momentum, float *velocity, const float *grad, float alpha,
                size_t count);

/* STREAM's triad, a = b + s * c. */
void floor_triad(float *a, const float *b, const float *c, float s, size_t count);

/* Reads all words, and returns their sum so that nothing is left out. */
uint64_t floor_read(const uint64_t *words, size_t count);

/* Denormals count as zero on this thread, as on the servers. */
void floor_flush_denormals(void);

#endif
