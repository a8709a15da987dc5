/* Loops over float32 arrays whose bits are promised: one result at any vector width. */
#ifndef PARAMD_COMMON_TENSOR_KERNELS_H
#define PARAMD_COMMON_TENSOR_KERNELS_H

#include "common/base/error.h"

#include <stddef.h>
#include <stdint.h>

/* Vector widths the dispatch knows; PARAMD_KERNELS=sse2|avx2|avx512 caps the choice (read by
 * main(), see kernels_limit). */
enum kernels_width { KERNELS_SSE2, KERNELS_AVX2, KERNELS_AVX512 };

/* Caps the width used from now on; the CPU's own limit still holds. Not thread-safe: call it first
 * in main(). */
void kernels_limit(enum kernels_width widest);
/* The same by name, as PARAMD_KERNELS has it; NULL or "" changes nothing. INVALID_ARGUMENT: no such
 * width. */
NODISCARD enum status kernels_limit_named(const char *name, struct error *err);
enum kernels_width kernels_width(void);
const char *kernels_width_name(enum kernels_width width);

/* Denormals count as zero in this thread (FTZ and DAZ), as in TensorFlow. Every computing thread
 * calls it first. */
void kernels_flush_denormals(void);

/* y = a * x. x and y may be the same array. Here and below: which of the NaNs a NaN is, is not
 * promised. */
void kernels_scale(float *y, const float *x, float a, size_t count);

/* y = y + a * x, product and sum each rounded. */
void kernels_add_scaled(float *y, const float *x, float a, size_t count);

/* y = y + x. */
void kernels_add(float *y, const float *x, size_t count);

/* Index of the first NaN or infinity, or count. */
size_t kernels_find_nonfinite(const float *x, size_t count);

#endif
