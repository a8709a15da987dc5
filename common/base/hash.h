/* XXH3-64 for frames, SHA-256 for digests that people compare, FNV-like mixing for seeds. */
#ifndef PARAMD_COMMON_BASE_HASH_H
#define PARAMD_COMMON_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t hash_xxh3(const void *data, size_t size);

/* XXH3-64 over several pieces, as if they were one; data may be NULL where size is 0. */
struct hash_piece {
    const void *data;
    size_t size;
};
uint64_t hash_xxh3_pieces(const struct hash_piece *pieces, size_t piece_count);

/* Streaming XXH3-64, for bytes that are gone before the last one is there. */
struct hash_xxh3_stream;
struct hash_xxh3_stream *hash_xxh3_new(void); /* NULL: out of memory; ready for the first byte */
void hash_xxh3_free(struct hash_xxh3_stream *stream);
void hash_xxh3_add(struct hash_xxh3_stream *stream, const void *data, size_t size);
/* The hash of what was added; the stream is ready for the first byte again. */
uint64_t hash_xxh3_finish(struct hash_xxh3_stream *stream);

enum { HASH_SHA256_BYTES = 32, HASH_SHA256_TEXT_BYTES = 65 };

/* SHA-256 of data into ret_digest. */
void hash_sha256(const void *data, size_t size, uint8_t ret_digest[HASH_SHA256_BYTES]);

/* Lower-case hexadecimal, terminated. */
void hash_sha256_text(const uint8_t digest[HASH_SHA256_BYTES],
                      char ret_text[HASH_SHA256_TEXT_BYTES]);

/* Streaming SHA-256. */
struct hash_sha256_stream;
struct hash_sha256_stream *hash_sha256_new(void); /* NULL: out of memory */
void hash_sha256_add(struct hash_sha256_stream *stream, const void *data, size_t size);
/* Writes the digest and frees the stream. */
void hash_sha256_finish(struct hash_sha256_stream *stream, uint8_t ret_digest[HASH_SHA256_BYTES]);

#endif
