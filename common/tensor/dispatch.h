/* One loop in plain C, compiled for SSE2, AVX2 and AVX-512, and chosen when it runs. */
#ifndef PARAMD_COMMON_TENSOR_DISPATCH_H
#define PARAMD_COMMON_TENSOR_DISPATCH_H

#include "common/tensor/kernels.h"

/*
 * The loop is written once, as a function `name_body` marked DISPATCH_BODY. DISPATCH_VARIANTS(name,
 * parameters, arguments) makes three functions of it and the table name_by_width; a call is
 *
 *     scale_by_width[kernels_width()](y, x, a, count);
 *
 * AVX2 comes without FMA on purpose, and the files are built with -ffp-contract=off: each operation
 * of an element is rounded by itself, so the three give the same bits. (Compilers have
 * target_clones for this; its resolver runs before ThreadSanitizer is set up and crashes there.)
 */
#define DISPATCH_BODY static inline __attribute__((always_inline))

/* Says in front of a loop that no iteration depends on another one, so in-place use needs no slower
 * second version. */
#if defined(__clang__)
#define DISPATCH_LOOP _Pragma("clang loop vectorize(assume_safety)")
#define DISPATCH_AVX512                                                                            \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl"), min_vector_width(512)))
#else
#define DISPATCH_LOOP _Pragma("GCC ivdep")
#define DISPATCH_AVX512                                                                            \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")))
#endif
#define DISPATCH_AVX2 __attribute__((target("avx2")))

#define DISPATCH_VARIANTS(name, parameters, arguments)                                             \
    static void name##_sse2 parameters                                                             \
    {                                                                                              \
        name##_body arguments;                                                                     \
    }                                                                                              \
    DISPATCH_AVX2 static void name##_avx2 parameters                                               \
    {                                                                                              \
        name##_body arguments;                                                                     \
    }                                                                                              \
    DISPATCH_AVX512 static void name##_avx512 parameters                                           \
    {                                                                                              \
        name##_body arguments;                                                                     \
    }                                                                                              \
    static void(*const name##_by_width[]) parameters = {                                           \
        [KERNELS_SSE2] = name##_sse2,                                                              \
        [KERNELS_AVX2] = name##_avx2,                                                              \
        [KERNELS_AVX512] = name##_avx512,                                                          \
    }

#endif
