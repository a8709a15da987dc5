#include "common/tensor/array_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static enum status system_error(struct error *err, const char *verb, const char *path)
{
    enum status status = STATUS_UNKNOWN;
    int code = errno;

    if (code == ENOENT || code == ENOTDIR)
        status = STATUS_NOT_FOUND;
    else if (code == EACCES || code == EPERM || code == EROFS)
        status = STATUS_PERMISSION_DENIED;
    else if (code == ENOSPC || code == EDQUOT || code == EFBIG || code == ENOMEM ||
             code == EMFILE || code == ENFILE)
        status = STATUS_RESOURCE_EXHAUSTED;
    return error_set(err, status, "%s '%s': %s", verb, path, strerror(code));
}

enum status array_file_open(struct array_file *ret_file, const char *path, struct error *err)
{
    struct array_file file = {0};
    enum status status = STATUS_OK;
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return system_error(err, "open", path);
    if (fstat(fd, &info) != 0) {
        status = system_error(err, "open", path);
    } else if (!S_ISREG(info.st_mode)) {
        status = error_set(err, STATUS_FAILED_PRECONDITION, "open '%s': not a regular file", path);
    } else if (info.st_size > 0) {
        void *bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (bytes == MAP_FAILED) {
            status = system_error(err, "map", path);
        } else {
            file.bytes = bytes;
            file.size = (size_t)info.st_size;
        }
    }
    close(fd); /* only read from: nothing is lost if this fails */
    if (status == STATUS_OK)
        *ret_file = file;
    return status;
}

void array_file_release(struct array_file *file)
{
    if (!file)
        return;
    if (file->bytes)
        munmap((void *)(uintptr_t)file->bytes, file->size);
    *file = (struct array_file){0};
}

static int write_whole(int fd, const uint8_t *data, size_t size)
{
    while (size > 0) {
        size_t part = size < SSIZE_MAX ? size : SSIZE_MAX;
        ssize_t written = write(fd, data, part);

        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -1;
        data += written;
        size -= (size_t)written;
    }
    return 0;
}

enum status array_file_write(const char *path, const struct array_file_piece *pieces,
                             size_t piece_count, struct error *err)
{
    enum status status = STATUS_OK;
    char beside[PATH_MAX];
    struct stat info;
    int fd, length;

    /* A device or a pipe would be gone, with a file in its place. */
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return error_set(err, STATUS_FAILED_PRECONDITION, "write '%s': not a regular file", path);
    length = snprintf(beside, sizeof beside, "%s.%ld.tmp", path, (long)getpid());
    if (length < 0 || (size_t)length >= sizeof beside)
        return error_set(err, STATUS_INVALID_ARGUMENT, "write '%s': the path is too long", path);
    fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return system_error(err, "create", beside);
    for (size_t i = 0; i < piece_count && status == STATUS_OK; i++) {
        if (write_whole(fd, pieces[i].data, pieces[i].size) != 0)
            status = system_error(err, "write", beside);
    }
    if (status == STATUS_OK && fsync(fd) != 0)
        status = system_error(err, "write", beside);
    if (close(fd) != 0 && status == STATUS_OK)
        status = system_error(err, "write", beside);
    if (status == STATUS_OK && rename(beside, path) != 0)
        status = system_error(err, "write", path);
    if (status != STATUS_OK)
        unlink(beside);
    return status;
}
