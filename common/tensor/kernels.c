#include "common/tensor/kernels.h"

#include "common/tensor/dispatch.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <xmmintrin.h>

enum {
    WIDTH_UNKNOWN = -1,
    MXCSR_FLUSH_TO_ZERO = 0x8000,
    MXCSR_DENORMALS_ARE_ZERO = 0x0040,
    FLOAT_EXPONENT_BITS = 0x7F800000,
    SCAN_ELEMENTS = 1024, /* find_nonfinite looks for the place only in such a chunk that has one */
};

static _Atomic int chosen_width = WIDTH_UNKNOWN;

static enum kernels_width widest_of_cpu(void)
{
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return KERNELS_AVX512;
    return __builtin_cpu_supports("avx2") ? KERNELS_AVX2 : KERNELS_SSE2;
}

void kernels_limit(enum kernels_width widest)
{
    enum kernels_width possible = widest_of_cpu();

    atomic_store_explicit(&chosen_width, (int)(widest < possible ? widest : possible),
                          memory_order_relaxed);
}

enum kernels_width kernels_width(void)
{
    int width = atomic_load_explicit(&chosen_width, memory_order_relaxed);

    if (width == WIDTH_UNKNOWN) { /* two threads that get here at once store the same */
        width = (int)widest_of_cpu();
        atomic_store_explicit(&chosen_width, width, memory_order_relaxed);
    }
    return (enum kernels_width)width;
}

const char *kernels_width_name(enum kernels_width width)
{
    switch (width) {
    case KERNELS_SSE2:
        return "sse2";
    case KERNELS_AVX2:
        return "avx2";
    case KERNELS_AVX512:
        return "avx512";
    }
    return "unknown";
}

enum status kernels_limit_named(const char *name, struct error *err)
{
    if (!name || !name[0])
        return STATUS_OK;
    for (enum kernels_width width = KERNELS_SSE2; width <= KERNELS_AVX512; width++) {
        if (strcmp(name, kernels_width_name(width)) == 0) {
            kernels_limit(width);
            return STATUS_OK;
        }
    }
    return error_set(err, STATUS_INVALID_ARGUMENT,
                     "PARAMD_KERNELS='%s': sse2, avx2 and avx512 are possible", name);
}

void kernels_flush_denormals(void)
{
    _mm_setcsr(_mm_getcsr() | MXCSR_FLUSH_TO_ZERO | MXCSR_DENORMALS_ARE_ZERO);
}

DISPATCH_BODY void scale_body(float *y, const float *x, float a, size_t count)
{
    DISPATCH_LOOP
    for (size_t i = 0; i < count; i++)
        y[i] = a * x[i];
}
DISPATCH_VARIANTS(scale, (float *y, const float *x, float a, size_t count), (y, x, a, count));

void kernels_scale(float *y, const float *x, float a, size_t count)
{
    scale_by_width[kernels_width()](y, x, a, count);
}

DISPATCH_BODY void add_scaled_body(float *y, const float *x, float a, size_t count)
{
    DISPATCH_LOOP
    for (size_t i = 0; i < count; i++)
        y[i] = y[i] + a * x[i];
}
DISPATCH_VARIANTS(add_scaled, (float *y, const float *x, float a, size_t count), (y, x, a, count));

void kernels_add_scaled(float *y, const float *x, float a, size_t count)
{
    add_scaled_by_width[kernels_width()](y, x, a, count);
}

DISPATCH_BODY void add_body(float *y, const float *x, size_t count)
{
    DISPATCH_LOOP
    for (size_t i = 0; i < count; i++)
        y[i] = y[i] + x[i];
}
DISPATCH_VARIANTS(add, (float *y, const float *x, size_t count), (y, x, count));

void kernels_add(float *y, const float *x, size_t count)
{
    add_by_width[kernels_width()](y, x, count);
}

/* All exponent bits set. On integers, so that compilers make no assumptions about NaN. */
static inline bool is_nonfinite(const float *x)
{
    uint32_t bits;

    memcpy(&bits, x, sizeof bits);
    return (bits & FLOAT_EXPONENT_BITS) == FLOAT_EXPONENT_BITS;
}

DISPATCH_BODY void any_nonfinite_body(const float *x, size_t count, uint32_t *ret_any)
{
    uint32_t any = 0;

    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        /* Bit 31 is set by the addition only if all exponent bits were 1: no branch, so it stays a
         * vector loop. */
        any |= (bits & FLOAT_EXPONENT_BITS) + 0x00800000u;
    }
    *ret_any = any & 0x80000000u;
}
DISPATCH_VARIANTS(any_nonfinite, (const float *x, size_t count, uint32_t *ret_any),
                  (x, count, ret_any));

size_t kernels_find_nonfinite(const float *x, size_t count)
{
    enum kernels_width width = kernels_width();

    for (size_t first = 0; first < count; first += SCAN_ELEMENTS) {
        size_t chunk = count - first < SCAN_ELEMENTS ? count - first : SCAN_ELEMENTS;
        uint32_t any;

        any_nonfinite_by_width[width](x + first, chunk, &any);
        for (size_t i = first; any && i < first + chunk; i++) {
            if (is_nonfinite(&x[i]))
                return i;
        }
    }
    return count;
}
