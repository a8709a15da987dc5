/* Matrix products through OpenBLAS, and which of its kernels run; nobody else includes it. */
#ifndef PARAMD_COMMON_TENSOR_BLAS_H
#define PARAMD_COMMON_TENSOR_BLAS_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Call it first in main(), before any thread. OpenBLAS picks its kernels when it is loaded and
 * takes AVX-512 CPUs that it does not know for older ones, at half the speed. If that happened and
 * the user did not set OPENBLAS_CORETYPE, sets it and starts this program anew with the same
 * arguments (once: the variable is then set). Returns where there is nothing to do, or where
 * starting anew failed (then only speed is lost).
 */
void blas_prepare_environment(char *const argv[]);

/* The kernels in use, "SkylakeX": bytes of products depend on it, so programs print it. Static
 * storage. */
const char *blas_core_name(void);

/* Threads of one product from now on (at least 1). Process-wide; more than 1 can change the last
 * bits. */
void blas_set_threads(unsigned count);

/*
 * c = alpha * op(a) op(b) + beta * c, everything row-major float32; op transposes where asked.
 *
 *   a      (rows, inner), or (inner, rows) if transpose_a; a_stride: elements from one row of the
 * stored array to the next.
 *   b      (inner, cols), or (cols, inner) if transpose_b.
 *   c      (rows, cols); not read if beta is 0; must not overlap a or b.
 *
 * Sizes and strides must be below 2^31 (asserted). rows or cols of 0: nothing happens; inner of 0:
 * c = beta * c.
 */
struct blas_matrix {
    const float *data;
    size_t stride;
    bool transpose;
};
void blas_sgemm(size_t rows, size_t cols, size_t inner, float alpha, struct blas_matrix a,
                struct blas_matrix b, float beta, float *c, size_t c_stride);

#endif
