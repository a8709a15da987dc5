#include "tests/bench/floor_loops.h"

#include <math.h>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

/*
 * Each loop for the widest vectors of this CPU and for any other one. Built with the flags of the
 * kernels that it is held against (tests/targets.mk).
 */
#if defined(__clang__)
#define LOOP _Pragma("clang loop vectorize(assume_safety)")
#define WIDE __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl"), min_vector_width(512)))
#else
#define LOOP _Pragma("GCC ivdep")
#define WIDE __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")))
#endif
#define MIDDLE __attribute__((target("avx2,fma")))
#define BODY   static inline __attribute__((always_inline))

BODY void adam_body(float *value, float *momentum, float *velocity, const float *grad, float alpha,
                    size_t count)
{
    LOOP for (size_t i = 0; i < count; i++)
    {
        float g = grad[i];
        float m = momentum[i] + (g - momentum[i]) * 0.1f;
        float v = velocity[i] + (g * g - velocity[i]) * 0.001f;
        momentum[i] = m;
        velocity[i] = v;
        value[i] -= m * alpha / (sqrtf(v) + 1e-7f);
    }
}

BODY void triad_body(float *a, const float *b, const float *c, float s, size_t count)
{
    LOOP for (size_t i = 0; i < count; i++) a[i] = b[i] + s * c[i];
}

BODY uint64_t read_body(const uint64_t *words, size_t count)
{
    /* independent, so that the loads and not the additions are waited for */
    uint64_t sums[32] = {0};
    uint64_t sum = 0;
    size_t i = 0;

    for (; i + 32 <= count; i += 32) {
        LOOP for (size_t k = 0; k < 32; k++) sums[k] += words[i + k];
    }
    for (; i < count; i++)
        sum += words[i];
    for (size_t k = 0; k < 32; k++)
        sum += sums[k];
    return sum;
}

#define VARIANTS(attribute, suffix)                                                                \
    attribute static void adam_##suffix(float *value, float *momentum, float *velocity,            \
                                        const float *grad, float alpha, size_t count)              \
    {                                                                                              \
        adam_body(value, momentum, velocity, grad, alpha, count);                                  \
    }                                                                                              \
    attribute static void triad_##suffix(float *a, const float *b, const float *c, float s,        \
                                         size_t count)                                             \
    {                                                                                              \
        triad_body(a, b, c, s, count);                                                             \
    }                                                                                              \
    attribute static uint64_t read_##suffix(const uint64_t *words, size_t count)                   \
    {                                                                                              \
        return read_body(words, count);                                                            \
    }

VARIANTS(, plain)
#if defined(__x86_64__)
VARIANTS(MIDDLE, middle)
VARIANTS(WIDE, wide)
#define CHOOSE(name, ...)                                                                          \
    (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&                    \
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")              \
         ? name##_wide(__VA_ARGS__)                                                                \
     : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")                             \
         ? name##_middle(__VA_ARGS__)                                                              \
         : name##_plain(__VA_ARGS__))
#else
#define CHOOSE(name, ...) name##_plain(__VA_ARGS__)
#endif

void floor_adam(float *value, float *momentum, float *velocity, const float *grad, float alpha,
                size_t count)
{
    CHOOSE(adam, value, momentum, velocity, grad, alpha, count);
}

void floor_triad(float *a, const float *b, const float *c, float s, size_t count)
{
    CHOOSE(triad, a, b, c, s, count);
}

uint64_t floor_read(const uint64_t *words, size_t count)
{
    return CHOOSE(read, words, count);
}

void floor_flush_denormals(void)
{
#if defined(__x86_64__)
    _mm_setcsr(_mm_getcsr() | 0x8040); /* flush to zero, denormals are zero */
#endif
}
