/* The job's token: random bytes in a file that only its owner can read; who does not show them is a
 * stranger. */
#ifndef PARAMD_COMMON_BASE_TOKEN_H
#define PARAMD_COMMON_BASE_TOKEN_H

#include "common/base/error.h"
#include "common/base/limits.h"

#include <stddef.h>
#include <stdint.h>

struct token {
    uint8_t bytes[LIMIT_TOKEN_BYTES];
    size_t count;
};

/*
 * Reads a token, without the line's end. NOT_FOUND: no such file. PERMISSION_DENIED: others than
 * the owner may read or write it (the message names the mode). INVALID_ARGUMENT: empty or longer
 * than LIMIT_TOKEN_BYTES.
 */
NODISCARD enum status token_read(const char *path, struct token *ret_token, struct error *err);

/* Overwrites it. */
void token_release(struct token *token);

#endif
