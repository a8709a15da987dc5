#include "common/base/hash.h"

#include "tests/lib/test.h"

static void assert_digest(const char *text, size_t size, const char *expected)
{
    uint8_t digest[HASH_SHA256_BYTES];
    char shown[HASH_SHA256_TEXT_BYTES];

    hash_sha256(text, size, digest);
    hash_sha256_text(digest, shown);
    assert_string_equal(shown, expected);
}

/* The examples of FIPS 180-4, and the empty message. */
static void test_sha256_known_answers(void **state)
{
    (void)state;
    assert_digest("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_digest("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
                  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

static void test_sha256_in_pieces_is_that_of_the_whole(void **state)
{
    uint8_t data[300], whole[HASH_SHA256_BYTES], pieces[HASH_SHA256_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7);
    hash_sha256(data, sizeof data, whole);
    for (size_t cut = 0; cut <= sizeof data; cut += 61) {
        struct hash_sha256_stream *stream = hash_sha256_new();
        assert_non_null(stream);
        hash_sha256_add(stream, data, cut);
        hash_sha256_add(stream, data + cut, sizeof data - cut);
        hash_sha256_finish(stream, pieces);
        assert_memory_equal(pieces, whole, sizeof whole);
    }
}

/* XXH3's published value of the empty input with seed 0. */
static void test_xxh3_known_answer(void **state)
{
    (void)state;
    assert_true(hash_xxh3("", 0) == 0x2d06800538d394c2u);
}

static void test_xxh3_in_pieces_is_that_of_the_whole(void **state)
{
    uint8_t data[2000];

    (void)state;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 31 + i / 256);
    for (size_t size = 0; size <= sizeof data; size += 125) {
        const struct hash_piece pieces[] = {
            {data, size / 3}, {NULL, 0}, {data + size / 3, size - size / 3}};
        assert_true(hash_xxh3_pieces(pieces, 3) == hash_xxh3(data, size));
    }
}

static void test_one_bit_changes_the_hash(void **state)
{
    uint8_t data[64] = {0};
    uint64_t before = hash_xxh3(data, sizeof data);

    (void)state;
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] ^= 1;
        assert_true(hash_xxh3(data, sizeof data) != before);
        data[i] ^= 1;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256_known_answers),
        cmocka_unit_test(test_sha256_in_pieces_is_that_of_the_whole),
        cmocka_unit_test(test_xxh3_known_answer),
        cmocka_unit_test(test_xxh3_in_pieces_is_that_of_the_whole),
        cmocka_unit_test(test_one_bit_changes_the_hash),
    };
    return cmocka_run_group_tests_name("hash", tests, NULL, NULL);
}
