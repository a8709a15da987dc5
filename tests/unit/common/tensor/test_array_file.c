#include "common/tensor/array_file.h"

#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATH_BYTES = 64 };

static char folder[PATH_BYTES];

static void path_in_folder(char ret_path[2 * PATH_BYTES], const char *name)
{
    snprintf(ret_path, 2 * PATH_BYTES, "%s/%s", folder, name);
}

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/paramd-array-file-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static size_t files_in_folder(void)
{
    DIR *directory = opendir(folder);
    size_t count = 0;

    assert_non_null(directory);
    for (struct dirent *entry; (entry = readdir(directory));)
        count += entry->d_name[0] != '.';
    closedir(directory);
    return count;
}

static int remove_folder(void **state)
{
    char path[2 * PATH_BYTES];

    (void)state;
    path_in_folder(path, "file");
    unlink(path);
    return rmdir(folder);
}

static void assert_content(const char *path, const char *expected)
{
    struct array_file file;
    struct error err;

    assert_int_equal(array_file_open(&file, path, &err), STATUS_OK);
    assert_int_equal(file.size, strlen(expected));
    if (file.size > 0)
        assert_memory_equal(file.bytes, expected, file.size);
    array_file_release(&file);
    array_file_release(&file);
}

static void test_pieces_become_one_file(void **state)
{
    const struct array_file_piece pieces[] = {{"one ", 4}, {NULL, 0}, {"two", 3}};
    char path[2 * PATH_BYTES];
    struct error err;

    (void)state;
    path_in_folder(path, "file");
    assert_int_equal(array_file_write(path, pieces, 3, &err), STATUS_OK);
    assert_content(path, "one two");
    assert_int_equal(array_file_write(path, pieces, 1, &err), STATUS_OK);
    assert_content(path, "one ");
    assert_int_equal(array_file_write(path, pieces, 0, &err), STATUS_OK);
    assert_content(path, "");
    assert_int_equal(files_in_folder(), 1);
}

static void test_a_failed_write_leaves_the_old_file(void **state)
{
    const struct array_file_piece old = {"old", 3}, new = {"much longer", 11};
    struct rlimit kept, small;
    char path[2 * PATH_BYTES];
    enum status status;
    struct error err;

    (void)state;
    path_in_folder(path, "file");
    assert_int_equal(array_file_write(path, &old, 1, &err), STATUS_OK);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &kept), 0);
    small = (struct rlimit){5, kept.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    status = array_file_write(path, &new, 1, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &kept), 0);
    assert_int_equal(status, STATUS_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(err.message, path));
    assert_content(path, "old");
    assert_int_equal(files_in_folder(), 1);
}

static void test_what_is_no_regular_file_is_left_alone(void **state)
{
    const struct array_file_piece piece = {"x", 1};
    char pipe[2 * PATH_BYTES], link[2 * PATH_BYTES];
    struct stat info;
    struct error err;

    (void)state;
    path_in_folder(pipe, "pipe");
    path_in_folder(link, "link");
    assert_int_equal(mkfifo(pipe, 0600), 0);
    assert_int_equal(symlink(pipe, link), 0);
    assert_int_equal(array_file_write(pipe, &piece, 1, &err), STATUS_FAILED_PRECONDITION);
    assert_non_null(strstr(err.message, pipe));
    assert_int_equal(array_file_write(link, &piece, 1, &err), STATUS_FAILED_PRECONDITION);
    assert_int_equal(array_file_write(folder, &piece, 1, &err), STATUS_FAILED_PRECONDITION);
    assert_int_equal(lstat(pipe, &info), 0);
    assert_true(S_ISFIFO(info.st_mode));
    assert_int_equal(lstat(link, &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_int_equal(files_in_folder(), 2);
    assert_int_equal(unlink(link), 0);
    assert_int_equal(unlink(pipe), 0);
}

static void test_errors_say_what_is_wrong_with_which_path(void **state)
{
    const struct array_file_piece piece = {"x", 1};
    char path[2 * PATH_BYTES], endless[8000];
    struct array_file file;
    struct error err;

    (void)state;
    path_in_folder(path, "missing");
    assert_int_equal(array_file_open(&file, path, &err), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.message, path));
    assert_int_equal(array_file_open(&file, folder, &err), STATUS_FAILED_PRECONDITION);
    path_in_folder(path, "missing/file");
    assert_int_equal(array_file_write(path, &piece, 1, &err), STATUS_NOT_FOUND);
    memset(endless, 'x', sizeof endless);
    endless[sizeof endless - 1] = '\0';
    assert_int_equal(array_file_write(endless, &piece, 1, &err), STATUS_INVALID_ARGUMENT);
    /* A folder cannot be replaced by a file; nothing is left beside it. */
    path_in_folder(path, "");
    path[strlen(path) - 1] = '\0';
    assert_int_not_equal(array_file_write(path, &piece, 1, &err), STATUS_OK);
    assert_int_equal(files_in_folder(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_pieces_become_one_file, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_a_failed_write_leaves_the_old_file, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(test_what_is_no_regular_file_is_left_alone, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(test_errors_say_what_is_wrong_with_which_path, make_folder,
                                        remove_folder),
    };
    return cmocka_run_group_tests_name("array file", tests, NULL, NULL);
}
