/* exp for float32 loops that should vectorise: within 1 unit in the last place, where libm's is a
 * call per element. */
#ifndef PARAMD_WORKER_NN_EXPONENTIAL_H
#define PARAMD_WORKER_NN_EXPONENTIAL_H

#include <stdint.h>
#include <string.h>

/*
 * e to the x. Below -87.33 the result is 0 (its true value is denormal, and denormals count as
 * zero), above 88.72 it is infinity; NaN gives NaN.
 *
 * exp(x) = 2^n exp(r) with n = round(x / ln 2) and r = x - n ln 2, ln 2 taken in two parts so that
 * n times the first one is exact (Cody & Waite 1980); exp(r) is its Taylor polynomial of degree 7,
 * whose rest is below 2^-27 for
 * |r| <= ln 2 / 2. 2^n is put together from its bits, in two factors because n can be 128.
 */
static inline float exponential(float x)
{
    const float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    const float magic =
        12582912.0f; /* 1.5 * 2^23: what is added to it becomes an integer in the low bits */
    const uint32_t magic_bits = 0x4b400000;
    float bounded = x > -87.5f ? x : -87.5f;
    bounded = bounded < 89.0f ? bounded : 89.0f;
    float shifted = bounded * 1.44269504f + magic, n = shifted - magic;
    uint32_t shifted_bits;
    memcpy(&shifted_bits, &shifted, sizeof shifted_bits);
    float r = bounded - n * ln2_high - n * ln2_low;
    float p = 1.0f / 5040.0f;
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * (r * r) + r + 1.0f;
    int32_t exponent = (int32_t)(shifted_bits - magic_bits), half = exponent >> 1;
    uint32_t bits_a = (uint32_t)(half + 127) << 23, bits_b = (uint32_t)(exponent - half + 127)
                                                             << 23;
    float a, b;
    memcpy(&a, &bits_a, sizeof a);
    memcpy(&b, &bits_b, sizeof b);
    float y = p * a * b;
    y = x < -87.33654f ? 0.0f : y;
    return x == x ? y : x;
}

#endif
