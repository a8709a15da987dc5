#include "common/tensor/blas.h"

#include <assert.h>
#include <cblas.h>
#include <limits.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

enum { PROGRAM_PATH_BYTES = 4096 };

/* The kernels that OpenBLAS falls back to on an AVX-512 CPU that is younger than it is. */
static bool is_core_without_avx512(const char *core)
{
    return strcasecmp(core, "Haswell") == 0 || strcasecmp(core, "Zen") == 0;
}

void blas_prepare_environment(char *const argv[])
{
    char path[PROGRAM_PATH_BYTES];
    ssize_t length;

    if (getenv("OPENBLAS_CORETYPE") || !__builtin_cpu_supports("avx512f") ||
        !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512dq") ||
        !__builtin_cpu_supports("avx512vl") || !is_core_without_avx512(blas_core_name()))
        return;
    /* The path itself, not /proc/self/exe, which ps and top would show as "exe". */
    length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length <= 0 || setenv("OPENBLAS_CORETYPE", "SkylakeX", 1) != 0)
        return;
    path[length] = '\0';
    execv(path, argv);
    execv("/proc/self/exe", argv); /* the file was replaced or removed since we were started */
    unsetenv("OPENBLAS_CORETYPE");
}

const char *blas_core_name(void)
{
    return openblas_get_corename();
}

void blas_set_threads(unsigned count)
{
    openblas_set_num_threads(count > 0 && count < INT_MAX ? (int)count : 1);
}

void blas_sgemm(size_t rows, size_t cols, size_t inner, float alpha, struct blas_matrix a,
                struct blas_matrix b, float beta, float *c, size_t c_stride)
{
    assert(rows <= INT_MAX && cols <= INT_MAX && inner <= INT_MAX);
    assert(a.stride <= INT_MAX && b.stride <= INT_MAX && c_stride <= INT_MAX);
    if (rows == 0 || cols == 0)
        return;
    cblas_sgemm(CblasRowMajor, a.transpose ? CblasTrans : CblasNoTrans,
                b.transpose ? CblasTrans : CblasNoTrans, (int)rows, (int)cols, (int)inner, alpha,
                a.data, a.stride > 0 ? (int)a.stride : 1, b.data, b.stride > 0 ? (int)b.stride : 1,
                beta, c, (int)c_stride);
}
