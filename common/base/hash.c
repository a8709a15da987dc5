#include "common/base/hash.h"

#include "common/base/alloc.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdlib.h>
#define XXH_STATIC_LINKING_ONLY /* the streaming state on the stack, not from malloc */
#include <xxhash.h>
/* XXH3 in the widest vectors of this CPU, where the library has it: three times as fast with
 * AVX-512 as with SSE2. */
#if defined(__x86_64__) && __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h>
#endif

uint64_t hash_xxh3(const void *data, size_t size)
{
    return XXH3_64bits(data, size);
}

uint64_t hash_xxh3_pieces(const struct hash_piece *pieces, size_t piece_count)
{
    XXH3_state_t state; /* on the stack: 576 bytes, aligned by the library's own attribute */

    XXH3_INITSTATE(&state);
    XXH3_64bits_reset(&state);
    for (size_t i = 0; i < piece_count; i++) {
        if (pieces[i].size)
            XXH3_64bits_update(&state, pieces[i].data, pieces[i].size);
    }
    return XXH3_64bits_digest(&state);
}

struct hash_xxh3_stream {
    XXH3_state_t state;
};

struct hash_xxh3_stream *hash_xxh3_new(void)
{
    /* XXH3 wants 64-byte alignment */
    struct hash_xxh3_stream *stream = alloc_tensor(sizeof *stream);

    if (stream) {
        XXH3_INITSTATE(&stream->state);
        XXH3_64bits_reset(&stream->state);
    }
    return stream;
}

void hash_xxh3_free(struct hash_xxh3_stream *stream)
{
    if (stream)
        alloc_free_tensor(stream, sizeof *stream);
}

void hash_xxh3_add(struct hash_xxh3_stream *stream, const void *data, size_t size)
{
    XXH3_64bits_update(&stream->state, data, size);
}

uint64_t hash_xxh3_finish(struct hash_xxh3_stream *stream)
{
    uint64_t hash = XXH3_64bits_digest(&stream->state);

    XXH3_64bits_reset(&stream->state);
    return hash;
}

void hash_sha256(const void *data, size_t size, uint8_t ret_digest[HASH_SHA256_BYTES])
{
    SHA256(data, size, ret_digest);
}

void hash_sha256_text(const uint8_t digest[HASH_SHA256_BYTES],
                      char ret_text[HASH_SHA256_TEXT_BYTES])
{
    static const char digits[] = "0123456789abcdef";

    for (int i = 0; i < HASH_SHA256_BYTES; i++) {
        ret_text[2 * i] = digits[digest[i] >> 4];
        ret_text[2 * i + 1] = digits[digest[i] & 15];
    }
    ret_text[HASH_SHA256_TEXT_BYTES - 1] = '\0';
}

struct hash_sha256_stream *hash_sha256_new(void)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();

    if (context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(context);
        context = NULL;
    }
    return (struct hash_sha256_stream *)(void *)context;
}

void hash_sha256_add(struct hash_sha256_stream *stream, const void *data, size_t size)
{
    EVP_DigestUpdate((EVP_MD_CTX *)(void *)stream, data, size);
}

void hash_sha256_finish(struct hash_sha256_stream *stream, uint8_t ret_digest[HASH_SHA256_BYTES])
{
    EVP_MD_CTX *context = (EVP_MD_CTX *)(void *)stream;

    EVP_DigestFinal_ex(context, ret_digest, NULL);
    EVP_MD_CTX_free(context);
}
