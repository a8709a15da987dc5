#include "common/base/token.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum status token_read(const char *path, struct token *ret_token, struct error *err)
{
    struct stat info;
    uint8_t bytes[2 * LIMIT_TOKEN_BYTES]; /* with ends of lines; a full buffer is too long a file */
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (file < 0 || fstat(file, &info) != 0) {
        enum status status = errno == ENOENT ? STATUS_NOT_FOUND : STATUS_PERMISSION_DENIED;
        error_set(err, status, "open the token file '%s': %s", path, strerror(errno));
        if (file >= 0)
            close(file);
        return status;
    }
    ssize_t count = read(file, bytes, sizeof bytes);
    close(file);
    if (info.st_mode & (S_IRWXG | S_IRWXO))
        return error_set(err, STATUS_PERMISSION_DENIED,
                         "the token file '%s' has mode %04o: others than its owner can get at it; "
                         "it must be 0600",
                         path, (unsigned)(info.st_mode & 07777));
    bool whole = count < (ssize_t)sizeof bytes;
    while (count > 0 && (bytes[count - 1] == '\n' || bytes[count - 1] == '\r'))
        count--;
    if (!whole || count <= 0 || count > LIMIT_TOKEN_BYTES)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "the token file '%s' must hold 1 to %d bytes", path, LIMIT_TOKEN_BYTES);
    memcpy(ret_token->bytes, bytes, (size_t)count);
    ret_token->count = (size_t)count;
    explicit_bzero(bytes, sizeof bytes);
    return STATUS_OK;
}

void token_release(struct token *token)
{
    explicit_bzero(token, sizeof *token);
}
