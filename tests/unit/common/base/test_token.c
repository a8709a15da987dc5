/* The token's file: whose it must be, how long it may be. */
#include "common/base/token.h"

#include "tests/lib/temp_dir.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static struct temp_dir dir;
static struct error err;

static int setup(void **state)
{
    (void)state;
    temp_dir_init(&dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    temp_dir_release(&dir);
    return 0;
}

static enum status read_file(const void *bytes, size_t count, unsigned mode, struct token *token)
{
    char path[TEMP_PATH_BYTES];

    temp_dir_write(&dir, "token", bytes, count, path);
    assert_int_equal(chmod(path, mode), 0);
    return token_read(path, token, &err);
}

static void test_line_end_does_not_belong_to_it(void **state)
{
    static const char *const files[] = {"secret", "secret\n", "secret\r\n", "secret\n\n"};
    struct token token;

    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        assert_ok(read_file(files[i], strlen(files[i]), 0600, &token), &err);
        assert_int_equal(token.count, 6);
        assert_memory_equal(token.bytes, "secret", 6);
    }
    token_release(&token);
    assert_int_equal(token.count, 0);
    assert_int_equal(token.bytes[0], 0);
}

static void test_any_bytes_may_be_in_it(void **state)
{
    struct token token;

    (void)state;
    assert_ok(read_file("\0\xff\n\x01", 4, 0400, &token), &err);
    assert_int_equal(token.count, 4);
    assert_memory_equal(token.bytes, "\0\xff\n\x01", 4);
}

static void test_length_is_bounded(void **state)
{
    char bytes[2 * LIMIT_TOKEN_BYTES];
    struct token token;

    (void)state;
    memset(bytes, 'x', sizeof bytes);
    assert_ok(read_file(bytes, 1, 0600, &token), &err);
    assert_ok(read_file(bytes, LIMIT_TOKEN_BYTES, 0600, &token), &err);
    assert_int_equal(token.count, LIMIT_TOKEN_BYTES);
    const size_t wrong[] = {0, LIMIT_TOKEN_BYTES + 1, LIMIT_TOKEN_BYTES + 2, sizeof bytes};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_refused(read_file(bytes, wrong[i], 0600, &token), STATUS_INVALID_ARGUMENT, &err,
                       "must hold 1 to 256 bytes");
    assert_refused(read_file("\n\r\n", 3, 0600, &token), STATUS_INVALID_ARGUMENT, &err,
                   "must hold");
    bytes[LIMIT_TOKEN_BYTES] = bytes[LIMIT_TOKEN_BYTES + 1] = '\n'; /* a line's end, and more */
    assert_ok(read_file(bytes, LIMIT_TOKEN_BYTES + 1, 0600, &token), &err);
    assert_refused(read_file(bytes, sizeof bytes, 0600, &token), STATUS_INVALID_ARGUMENT, &err,
                   "must hold 1 to 256 bytes");
}

static void test_only_its_owner_may_get_at_it(void **state)
{
    static const unsigned modes[] = {0640, 0620, 0610, 0604, 0602, 0601, 0666};
    struct token token;
    char words[16];

    (void)state;
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        snprintf(words, sizeof words, "mode %04o", modes[i]);
        assert_refused(read_file("secret", 6, modes[i], &token), STATUS_PERMISSION_DENIED, &err,
                       words);
    }
}

static void test_file_that_is_none(void **state)
{
    struct token token;
    char path[TEMP_PATH_BYTES];

    (void)state;
    temp_dir_path(&dir, "missing", path);
    assert_refused(token_read(path, &token, &err), STATUS_NOT_FOUND, &err, path);
    temp_dir_path(&dir, "folder", path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_refused(token_read(path, &token, &err), STATUS_INVALID_ARGUMENT, &err, path);
}

#define TOKEN(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TOKEN(test_line_end_does_not_belong_to_it),
        TOKEN(test_any_bytes_may_be_in_it),
        TOKEN(test_length_is_bounded),
        TOKEN(test_only_its_owner_may_get_at_it),
        TOKEN(test_file_that_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
