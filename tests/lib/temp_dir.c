#include "tests/lib/temp_dir.h"

#include "tests/lib/test.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { OPEN_FOLDERS_MAX = 16 };

void temp_dir_init(struct temp_dir *dir)
{
    const char *base = getenv("TMPDIR");

    snprintf(dir->path, sizeof dir->path, "%s/paramd-test.XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(dir->path))
        fail_msg("mkdtemp %s failed", dir->path);
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

void temp_dir_release(struct temp_dir *dir)
{
    if (dir->path[0])
        nftw(dir->path, remove_one, OPEN_FOLDERS_MAX, FTW_DEPTH | FTW_PHYS);
    dir->path[0] = '\0';
}

void temp_dir_path(const struct temp_dir *dir, const char *name, char ret_path[TEMP_PATH_BYTES])
{
    int length = snprintf(ret_path, TEMP_PATH_BYTES, "%s/%s", dir->path, name);

    assert_in_range(length, 1, TEMP_PATH_BYTES - 1);
}

void temp_dir_write(const struct temp_dir *dir, const char *name, const void *bytes, size_t size,
                    char ret_path[TEMP_PATH_BYTES])
{
    temp_dir_path(dir, name, ret_path);
    FILE *file = fopen(ret_path, "wb");
    if (!file)
        fail_msg("cannot write %s", ret_path);
    size_t written = fwrite(bytes, 1, size, file);
    if (fclose(file) != 0 || written != size)
        fail_msg("cannot write %zu bytes to %s", size, ret_path);
}
