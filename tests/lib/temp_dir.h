/* A folder for one test's files, removed with everything in it. */
#ifndef PARAMD_TESTS_LIB_TEMP_DIR_H
#define PARAMD_TESTS_LIB_TEMP_DIR_H

#include <stddef.h>

enum { TEMP_PATH_BYTES = 512 };

struct temp_dir {
    char path[TEMP_PATH_BYTES];
};

/* Below TMPDIR, else /tmp. Fails the test if that cannot be. */
void temp_dir_init(struct temp_dir *dir);
void temp_dir_release(struct temp_dir *dir);

/* "path/name" in ret_path. */
void temp_dir_path(const struct temp_dir *dir, const char *name, char ret_path[TEMP_PATH_BYTES]);

/* Writes a file of these bytes; its path is in ret_path. Fails the test if that cannot be. */
void temp_dir_write(const struct temp_dir *dir, const char *name, const void *bytes, size_t size,
                    char ret_path[TEMP_PATH_BYTES]);

#endif
