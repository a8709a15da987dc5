/*
 * The launcher keeps a folder PARENT/paramd-UID, where PARENT is XDG_RUNTIME_DIR or /tmp. In it are
 * the file `last` and a folder for every running cluster with its token and a file `cluster`. Both
 * files have lines KEY=VALUE: address, token_file, job, launcher. deploy/README.md describes them.
 */
#include "worker/ctl/cluster_file.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINE_BYTES = CLUSTER_PATH_BYTES + 64, LINES_MAX = 32, FOLDERS_MAX = 10000 };

/* A folder that others can write to may have been put there by them. */
static bool is_ours(const char *folder)
{
    struct stat info;

    return lstat(folder, &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == geteuid() &&
           (info.st_mode & (S_IRWXG | S_IRWXO)) == 0;
}

/* As the launcher decides. */
static bool runtime_dir_usable(const char *path)
{
    struct stat info;

    return path && stat(path, &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == geteuid() &&
           access(path, W_OK) == 0;
}

enum place { PLACE_USUAL, PLACE_OTHER, PLACE_COUNT };

/* Where a launcher started like us keeps its folder, or one started from another session. False:
 * there is no such folder that is ours. */
static bool folder_of(enum place place, char *ret_folder, size_t capacity)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    bool usable = runtime_dir_usable(runtime);

    if (place == PLACE_OTHER && !usable)
        return false;
    const char *parent = place == PLACE_USUAL && usable ? runtime : "/tmp";
    int length = snprintf(ret_folder, capacity, "%s/paramd-%u", parent, (unsigned)geteuid());
    return length > 0 && (size_t)length < capacity && is_ours(ret_folder);
}

static void copy_value(const char *line, const char *key, char *ret_value, size_t capacity)
{
    size_t length = strlen(key);

    if (strncmp(line, key, length) == 0 && line[length] == '=')
        snprintf(ret_value, capacity, "%s", line + length + 1);
}

static bool read_file(const char *path, struct cluster_file *ret_file)
{
    struct cluster_file file = {0};
    char line[LINE_BYTES];
    FILE *stream = fopen(path, "re");

    if (!stream)
        return false;
    for (int i = 0; i < LINES_MAX && fgets(line, sizeof line, stream); i++) {
        line[strcspn(line, "\n")] = '\0';
        copy_value(line, "address", file.address, sizeof file.address);
        copy_value(line, "token_file", file.token_file, sizeof file.token_file);
        copy_value(line, "job", file.job, sizeof file.job);
    }
    fclose(stream);
    if (!file.address[0] || !file.token_file[0])
        return false;
    *ret_file = file;
    return true;
}

enum status cluster_file_last(struct cluster_file *ret_file, struct error *err)
{
    char folder[CLUSTER_PATH_BYTES], path[CLUSTER_PATH_BYTES + 8];
    struct cluster_file file = {0};

    if (folder_of(PLACE_USUAL, folder, sizeof folder)) {
        snprintf(path, sizeof path, "%s/last", folder);
        if (read_file(path, &file) && access(file.token_file, F_OK) != 0)
            return error_set(err, STATUS_NOT_FOUND,
                             "the last cluster launched here, job '%s' at %s, has ended; give the "
                             "address of another one with -a, or start one with deploy/launch",
                             file.job, file.address);
        if (file.address[0]) {
            *ret_file = file;
            return STATUS_OK;
        }
    }
    return error_set(err, STATUS_NOT_FOUND,
                     "which cluster? None was launched here: give its address with -a or in "
                     "PARAMD_COORDINATOR, or start one with deploy/launch");
}

static bool search_folder(const char *folder, const char *address, struct cluster_file *ret_file)
{
    char path[2 * CLUSTER_PATH_BYTES];
    bool found = false;
    DIR *stream = opendir(folder);

    if (!stream)
        return false;
    for (int i = 0; !found && i < FOLDERS_MAX; i++) {
        const struct dirent *entry = readdir(stream);
        if (!entry)
            break;
        snprintf(path, sizeof path, "%s/%s/cluster", folder, entry->d_name);
        found = entry->d_name[0] != '.' && read_file(path, ret_file) &&
                strcmp(ret_file->address, address) == 0;
    }
    closedir(stream);
    return found;
}

bool cluster_file_of_address(const char *address, struct cluster_file *ret_file)
{
    char folder[CLUSTER_PATH_BYTES];

    for (int place = PLACE_USUAL; place < PLACE_COUNT; place++) {
        if (folder_of((enum place)place, folder, sizeof folder) &&
            search_folder(folder, address, ret_file))
            return true;
    }
    return false;
}
