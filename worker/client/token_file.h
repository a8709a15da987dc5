/* The job's token: a file that only its owner may read. */
#ifndef PARAMD_WORKER_CLIENT_TOKEN_FILE_H
#define PARAMD_WORKER_CLIENT_TOKEN_FILE_H

#include "common/base/error.h"
#include "common/base/limits.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Reads the token, without the white space at its end. NOT_FOUND: the file cannot be opened. PERMISSION_DENIED: its mode
 * lets others read it. INVALID_ARGUMENT: no regular file, empty, or longer than LIMIT_TOKEN_BYTES.
 */
NODISCARD enum status token_file_read(const char *path, uint8_t ret_token[LIMIT_TOKEN_BYTES],
                                      size_t *ret_bytes, struct error *err);

#endif
