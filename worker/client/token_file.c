#include "worker/client/token_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum status check_mode(int fd, const char *path, struct error *err)
{
    struct stat info;

    if (fstat(fd, &info) != 0)
        return error_set(err, STATUS_NOT_FOUND, "token file '%s': %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return error_set(err, STATUS_INVALID_ARGUMENT, "token file '%s': it is not a regular file", path);
    if (info.st_mode & (S_IRWXG | S_IRWXO))
        return error_set(err, STATUS_PERMISSION_DENIED,
                         "token file '%s': others may use it (mode %04o); chmod 600 it", path,
                         (unsigned)info.st_mode & 07777);
    return STATUS_OK;
}

static enum status read_token(int fd, const char *path, uint8_t *ret_token, size_t *ret_bytes,
                              struct error *err)
{
    uint8_t bytes[LIMIT_TOKEN_BYTES + 64];
    size_t count = 0;

    while (count < sizeof bytes) {
        ssize_t got = read(fd, bytes + count, sizeof bytes - count);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_set(err, STATUS_NOT_FOUND, "token file '%s': %s", path, strerror(errno));
        if (got == 0)
            break;
        count += (size_t)got;
    }
    while (count && strchr(" \t\r\n", bytes[count - 1]) && bytes[count - 1])
        count--;
    if (count == 0 || count > LIMIT_TOKEN_BYTES)
        return error_set(err, STATUS_INVALID_ARGUMENT, "token file '%s': a token has 1 to %d bytes", path,
                         LIMIT_TOKEN_BYTES);
    memcpy(ret_token, bytes, count);
    *ret_bytes = count;
    return STATUS_OK;
}

enum status token_file_read(const char *path, uint8_t ret_token[LIMIT_TOKEN_BYTES], size_t *ret_bytes,
                            struct error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return error_set(err, STATUS_NOT_FOUND, "token file '%s': %s", path, strerror(errno));
    enum status status = check_mode(fd, path, err);
    if (!status)
        status = read_token(fd, path, ret_token, ret_bytes, err);
    close(fd);
    return status;
}
