#include "common/wire/frame.h"

#include "common/base/bytes.h"
#include "common/base/hash.h"
#include "common/base/limits.h"

#include "tests/lib/test.h"

static const struct frame_head full = {
    .type = FRAME_PUSH,
    .flags = FRAME_FLAG_PAYLOAD_HASH,
    .header_bytes = LIMIT_HEADER_BYTES,
    .payload_bytes = LIMIT_PAYLOAD_BYTES,
    .lineage = 0x01020304,
    .map_version = 0x05060708,
    .commit_plus_1 = 0x1112131415161718,
    .request = 0x2122232425262728,
    .payload_hash = 0x3132333435363738,
    .header_hash = 0x4142434445464748,
};

/* The layout is a promise to other programs: byte by byte, as proto/README.md draws it. */
static void test_layout(void **state)
{
    static const uint8_t expected[56] = {
        'P',  'M',  'D',  '1',  0x11, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
        0x10, 0x00, 0x04, 0x03, 0x02, 0x01, 0x08, 0x07, 0x06, 0x05, 0x18, 0x17, 0x16, 0x15,
        0x14, 0x13, 0x12, 0x11, 0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21, 0x38, 0x37,
        0x36, 0x35, 0x34, 0x33, 0x32, 0x31, 0x48, 0x47, 0x46, 0x45, 0x44, 0x43, 0x42, 0x41,
    };
    uint8_t bytes[FRAME_PREAMBLE_BYTES];

    (void)state;
    frame_encode(&full, bytes);
    assert_memory_equal(bytes, expected, sizeof expected);
    assert_true(bytes_get_u64(bytes + 56) == hash_xxh3(bytes, 56));
}

static void test_decoding_gives_back_what_was_encoded(void **state)
{
    uint8_t bytes[FRAME_PREAMBLE_BYTES];
    struct frame_head head;
    struct error err = {0};

    (void)state;
    frame_encode(&full, bytes);
    assert_ok(frame_decode(bytes, &head, &err), &err);
    /* Field by field: the struct has padding. */
    assert_int_equal(head.type, full.type);
    assert_int_equal(head.flags, full.flags);
    assert_int_equal(head.header_bytes, full.header_bytes);
    assert_int_equal(head.payload_bytes, full.payload_bytes);
    assert_int_equal(head.lineage, full.lineage);
    assert_int_equal(head.map_version, full.map_version);
    assert_true(head.commit_plus_1 == full.commit_plus_1);
    assert_true(head.request == full.request);
    assert_true(head.payload_hash == full.payload_hash);
    assert_true(head.header_hash == full.header_hash);
}

/* Any single bit: the hash is looked at before anything that it covers, but for the magic. */
static void test_every_flipped_bit_is_noticed(void **state)
{
    uint8_t bytes[FRAME_PREAMBLE_BYTES];
    struct frame_head head = {.request = 99};
    struct error err = {0};

    (void)state;
    frame_encode(&full, bytes);
    for (int bit = 0; bit < FRAME_PREAMBLE_BYTES * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        enum status expected = bit < 32 ? STATUS_INVALID_ARGUMENT : STATUS_DATA_LOSS;
        assert_int_equal(frame_decode(bytes, &head, &err), expected);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(head.request, 99); /* written on success only */
}

static void check_refused(struct frame_head head, enum status status, const char *words)
{
    uint8_t bytes[FRAME_PREAMBLE_BYTES];
    struct error err = {0};

    frame_encode(&head, bytes);
    assert_refused(frame_decode(bytes, &head, &err), status, &err, words);
}

static void test_bounds(void **state)
{
    (void)state;
    check_refused((struct frame_head){.type = FRAME_INVALID}, STATUS_UNIMPLEMENTED, "type 0");
    check_refused((struct frame_head){.type = 15}, STATUS_UNIMPLEMENTED, "type 15");
    check_refused((struct frame_head){.type = FRAME_TYPES}, STATUS_UNIMPLEMENTED, "type 96");
    check_refused((struct frame_head){.type = 65535}, STATUS_UNIMPLEMENTED, "type 65535");
    check_refused((struct frame_head){.type = FRAME_PULL, .flags = 2}, STATUS_INVALID_ARGUMENT,
                  "flags 0002");
    check_refused((struct frame_head){.type = FRAME_PULL, .header_bytes = LIMIT_HEADER_BYTES + 1},
                  STATUS_RESOURCE_EXHAUSTED, "PULL frame with a header of 65537 bytes");
    check_refused((struct frame_head){.type = FRAME_PUSH, .payload_bytes = UINT32_MAX},
                  STATUS_RESOURCE_EXHAUSTED, "PUSH frame with a payload of 4294967295 bytes");
}

static void test_header_hash(void **state)
{
    uint8_t header[100] = {1, 2, 3};
    struct frame_head head = {.type = FRAME_PUSH, .header_bytes = sizeof header};
    struct error err = {0};

    (void)state;
    head.header_hash = hash_xxh3(header, sizeof header);
    assert_ok(frame_check_header(&head, header, &err), &err);
    header[99] = 1;
    assert_refused(frame_check_header(&head, header, &err), STATUS_DATA_LOSS, &err, "PUSH");
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(frame_type_name(FRAME_PUSH), "PUSH");
    assert_string_equal(frame_type_name(FRAME_SHUTDOWN), "SHUTDOWN");
    assert_string_equal(frame_type_name(FRAME_INVALID), "UNKNOWN");
    assert_string_equal(frame_type_name((enum frame_type)1000), "UNKNOWN");
    assert_string_equal(frame_type_name((enum frame_type) - 1), "UNKNOWN");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_decoding_gives_back_what_was_encoded),
        cmocka_unit_test(test_every_flipped_bit_is_noticed),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_header_hash),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
