#include "common/tensor/blas.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { ROWS = 3, COLS = 4, INNER = 5, STRIDE = 7 };

static char *program; /* argv[0], for the test that starts this program anew */

static float at(const float *data, bool transpose, size_t row, size_t col)
{
    return transpose ? data[col * STRIDE + row] : data[row * STRIDE + col];
}

static void fill(float *data, float first)
{
    for (size_t i = 0; i < (size_t)STRIDE * STRIDE; i++)
        data[i] = first + (float)(i % 11) * 0.5f;
}

/* All products are small multiples of 1/4: exact in any order. */
static void test_products_are_row_major_with_transposes(void **state)
{
    float a[STRIDE * STRIDE], b[STRIDE * STRIDE], c[STRIDE * STRIDE], expected[STRIDE * STRIDE];

    (void)state;
    fill(a, -2.0f);
    fill(b, 1.0f);
    for (int transposes = 0; transposes < 4; transposes++) {
        bool transpose_a = (transposes & 1) != 0, transpose_b = (transposes & 2) != 0;

        fill(c, 3.0f);
        memcpy(expected, c, sizeof c);
        for (size_t i = 0; i < ROWS; i++) {
            for (size_t j = 0; j < COLS; j++) {
                float sum = 0.0f;
                for (size_t k = 0; k < INNER; k++)
                    sum += at(a, transpose_a, i, k) * at(b, transpose_b, k, j);
                expected[i * STRIDE + j] = 2.0f * sum - expected[i * STRIDE + j];
            }
        }
        blas_sgemm(ROWS, COLS, INNER, 2.0f, (struct blas_matrix){a, STRIDE, transpose_a},
                   (struct blas_matrix){b, STRIDE, transpose_b}, -1.0f, c, STRIDE);
        assert_memory_equal(c, expected, sizeof c);
    }
}

static void test_with_beta_of_0_the_result_is_not_read(void **state)
{
    const float one = 1.0f;
    float c = NAN;

    (void)state;
    blas_sgemm(1, 1, 1, 1.0f, (struct blas_matrix){&one, 1, false},
               (struct blas_matrix){&one, 1, false}, 0.0f, &c, 1);
    assert_true(c == 1.0f);
}

static void test_empty_products_are_allowed(void **state)
{
    const float one = 1.0f;
    float c = 5.0f;

    (void)state;
    blas_sgemm(0, 1, 1, 1.0f, (struct blas_matrix){&one, 1, false},
               (struct blas_matrix){&one, 1, false}, 0.0f, &c, 1);
    assert_true(c == 5.0f);
    blas_sgemm(1, 1, 0, 1.0f, (struct blas_matrix){&one, 0, false},
               (struct blas_matrix){&one, 1, false}, 2.0f, &c, 1);
    assert_true(c == 10.0f);
}

static void test_the_core_has_a_name(void **state)
{
    (void)state;
    blas_set_threads(1);
    assert_true(strlen(blas_core_name()) > 0);
}

/* The program is started with --core-test, maybe twice by itself, and must come to its end with its
 * arguments. */
static void test_preparing_keeps_arguments_and_ends(void **state)
{
    static const char *const settings[] = {NULL, "Haswell"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        int code;
        pid_t child = fork();

        if (child == 0) {
            if (settings[i])
                setenv("OPENBLAS_CORETYPE", settings[i], 1);
            else
                unsetenv("OPENBLAS_CORETYPE");
            execl(program, program, "--core-test", settings[i] ? settings[i] : "", (char *)NULL);
            _exit(99);
        }
        assert_true(child > 0);
        assert_int_equal(waitpid(child, &code, 0), child);
        assert_true(WIFEXITED(code));
        assert_int_equal(WEXITSTATUS(code), 0);
    }
}

/* In the child: what the user set stays set; else the variable is set or not needed. */
static int run_core_test(char **argv)
{
    const char *setting;

    blas_prepare_environment(argv);
    setting = getenv("OPENBLAS_CORETYPE");
    if (argv[2][0] != '\0')
        return setting && strcmp(setting, argv[2]) == 0 ? 0 : 1;
    return !setting || strcmp(setting, "SkylakeX") == 0 ? 0 : 2;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products_are_row_major_with_transposes),
        cmocka_unit_test(test_with_beta_of_0_the_result_is_not_read),
        cmocka_unit_test(test_empty_products_are_allowed),
        cmocka_unit_test(test_the_core_has_a_name),
        cmocka_unit_test(test_preparing_keeps_arguments_and_ends),
    };

    if (argc == 3 && strcmp(argv[1], "--core-test") == 0)
        return run_core_test(argv);
    program = argv[0];
    return cmocka_run_group_tests_name("blas", tests, NULL, NULL);
}
