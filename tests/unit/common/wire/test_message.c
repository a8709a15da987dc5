#include "common/wire/message.h"

#include "common/base/hash.h"
#include "common/base/limits.h"

#include "proto/cluster.pb-c.h"
#include "proto/data.pb-c.h"
#include "tests/lib/sample_messages.h"
#include "tests/lib/test.h"

#include <stdlib.h>

static struct arena arena;
static uint8_t packed[LIMIT_HEADER_BYTES + 64];

static int make_arena(void **state)
{
    (void)state;
    return arena_init(&arena, LIMIT_MESSAGE_ARENA_BYTES) != STATUS_OK;
}

static int drop_arena(void **state)
{
    (void)state;
    arena_release(&arena);
    return 0;
}

static enum status unpack(enum frame_type type, const uint8_t *bytes, size_t size,
                          const void **ret_message, struct error *err)
{
    arena_clear(&arena);
    return message_unpack(type, bytes, size, &arena, ret_message, err);
}

/* What comes out of unpacking packs to the same bytes again. */
static void test_every_type_round_trips(void **state)
{
    static uint8_t again[sizeof packed];
    int with_header = 0;

    (void)state;
    for (enum frame_type type = sample_next_type(0); type; type = sample_next_type(type)) {
        const ProtobufCMessage *message = sample_message(type);
        const void *got = packed;
        struct error err = {0};
        size_t size = message_packed_bytes(message);
        assert_int_equal(message != NULL, message_descriptor(type) != NULL);
        message_pack(message, packed);
        assert_ok(unpack(type, packed, size, &got, &err), &err);
        assert_int_equal(got != NULL, message != NULL);
        if (!message)
            continue;
        with_header++;
        assert_ptr_equal(((const ProtobufCMessage *)got)->descriptor, message_descriptor(type));
        assert_int_equal(message_packed_bytes(got), size);
        message_pack(got, again);
        assert_memory_equal(again, packed, size);
    }
    assert_in_range(with_header, 35, FRAME_TYPES);
}

static void test_heartbeat_has_no_header(void **state)
{
    const void *message = packed;
    struct error err = {0};

    (void)state;
    assert_ok(unpack(FRAME_HEARTBEAT, packed, 0, &message, &err), &err);
    assert_null(message);
    assert_refused(unpack(FRAME_HEARTBEAT, packed, 1, &message, &err), STATUS_INVALID_ARGUMENT,
                   &err, "HEARTBEAT");
    assert_null(message_descriptor(FRAME_HEARTBEAT));
    assert_null(message_descriptor((enum frame_type)FRAME_TYPES));
    assert_int_equal(message_packed_bytes(NULL), 0);
    message_pack(NULL, NULL);
}

static void test_unknown_fields_are_tolerated(void **state)
{
    /* step = 5; field 90: a varint; field 91: three bytes; field 92: 8 bytes; field 93: 4 bytes. */
    static const uint8_t bytes[] = {0x08, 5, 0xd0, 0x05, 0x96, 0x01, 0xda, 0x05, 3, 1,
                                    2,    3, 0xe1, 0x05, 1,    2,    3,    4,    5, 6,
                                    7,    8, 0xed, 0x05, 1,    2,    3,    4};
    const void *message;
    struct error err = {0};

    (void)state;
    assert_ok(unpack(FRAME_STEP_CLOSE, bytes, sizeof bytes, &message, &err), &err);
    assert_int_equal(((const Pmd__StepClose *)message)->step, 5);
}

static void test_header_beyond_its_limit_is_refused(void **state)
{
    const void *message;
    struct error err = {0};

    (void)state;
    assert_refused(unpack(FRAME_PULL, packed, LIMIT_HEADER_BYTES + 1, &message, &err),
                   STATUS_RESOURCE_EXHAUSTED, &err, "65537");
}

/* Fields that nobody knows cost most; the arena bounds them. */
static void test_worst_header_fits_or_is_refused_in_order(void **state)
{
    const void *message;
    struct error err = {0};
    struct arena small;

    (void)state;
    for (size_t i = 0; i < LIMIT_HEADER_BYTES; i += 2) {
        packed[i] = 15 << 3;
        packed[i + 1] = 1;
    }
    enum status status = unpack(FRAME_STEP_CLOSE, packed, LIMIT_HEADER_BYTES, &message, &err);
    assert_true(status == STATUS_OK || status == STATUS_RESOURCE_EXHAUSTED);

    assert_int_equal(arena_init(&small, 10000), STATUS_OK);
    assert_refused(
        message_unpack(FRAME_STEP_CLOSE, packed, LIMIT_HEADER_BYTES, &small, &message, &err),
        STATUS_RESOURCE_EXHAUSTED, &err, "more memory than it may");
    arena_release(&small);
}

static void test_full_push_fits(void **state)
{
    static uint32_t numbers[LIMIT_FRAME_BLOCKS];
    Pmd__Push push = PMD__PUSH__INIT;
    const void *message;
    struct error err = {0};

    (void)state;
    for (size_t i = 0; i < LIMIT_FRAME_BLOCKS; i++)
        numbers[i] = UINT32_MAX;
    push.n_variable = push.n_block = push.n_rows = LIMIT_FRAME_BLOCKS;
    push.variable = push.block = push.rows = numbers;
    size_t size = message_packed_bytes(&push.base);
    assert_in_range(size, 15000, LIMIT_HEADER_BYTES);
    message_pack(&push.base, packed);
    assert_ok(unpack(FRAME_PUSH, packed, size, &message, &err), &err);
    assert_int_equal(((const Pmd__Push *)message)->rows[LIMIT_FRAME_BLOCKS - 1], UINT32_MAX);
}

/* The example of proto/README.md, which others may write their own clients by. */
static void test_push_of_the_readme(void **state)
{
    static const uint8_t expected[] = {
        0x50, 0x4d, 0x44, 0x31, 0x11, 0x00, 0x01, 0x00, 0x08, 0x00, 0x00, 0x00, 0x08, 0x00,
        0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x0c, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x46, 0x58,
        0x1f, 0xd5, 0x2b, 0x50, 0x5c, 0xcb, 0x9e, 0x09, 0x75, 0x0f, 0xb8, 0x6b, 0x2c, 0x16,
        0x32, 0x59, 0x40, 0x71, 0xe4, 0xc3, 0x63, 0x78, 0x08, 0x03, 0x22, 0x01, 0x01, 0x2a,
        0x01, 0x00, 0x00, 0x00, 0x00, 0x3f, 0x00, 0x00, 0x80, 0xbf,
    };
    const float values[2] = {0.5f, -1.0f};
    uint32_t variable = 1;
    uint32_t block = 0;
    Pmd__Push push = PMD__PUSH__INIT;
    uint8_t frame[sizeof expected];
    uint8_t *header = frame + FRAME_PREAMBLE_BYTES;

    (void)state;
    push.step = 3;
    push.n_variable = push.n_block = 1;
    push.variable = &variable;
    push.block = &block;
    assert_int_equal(message_packed_bytes(&push.base), 8);
    message_pack(&push.base, header);
    memcpy(header + 8, values, sizeof values);
    const struct frame_head head = {
        .type = FRAME_PUSH,
        .flags = FRAME_FLAG_PAYLOAD_HASH,
        .header_bytes = 8,
        .payload_bytes = sizeof values,
        .lineage = FRAME_LINEAGE,
        .map_version = FRAME_MAP_VERSION,
        .commit_plus_1 = 3,
        .request = 12,
        .payload_hash = hash_xxh3(values, sizeof values),
        .header_hash = hash_xxh3(header, 8),
    };
    frame_encode(&head, frame);
    assert_memory_equal(frame, expected, sizeof expected);
}

static void test_texts_are_cleaned(void **state)
{
    char text[] = "bad\tcell \x1b[31m in 'caf\xc3\xa9'\n\x7f";

    (void)state;
    message_clean_text(text);
    assert_string_equal(text, "bad?cell ?[31m in 'caf\xc3\xa9'??");
}

/* An empty message has no bytes, and perhaps no memory (undefined behaviour once: see make asan).
 */
static void test_an_empty_header_may_be_null(void **state)
{
    const void *message = NULL;
    struct error err;

    (void)state;
    assert_int_equal(unpack(FRAME_STATUS, NULL, 0, &message, &err), STATUS_OK);
    assert_non_null(message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type_round_trips),
        cmocka_unit_test(test_heartbeat_has_no_header),
        cmocka_unit_test(test_an_empty_header_may_be_null),
        cmocka_unit_test(test_unknown_fields_are_tolerated),
        cmocka_unit_test(test_header_beyond_its_limit_is_refused),
        cmocka_unit_test(test_worst_header_fits_or_is_refused_in_order),
        cmocka_unit_test(test_full_push_fits),
        cmocka_unit_test(test_push_of_the_readme),
        cmocka_unit_test(test_texts_are_cleaned),
    };
    return cmocka_run_group_tests(tests, make_arena, drop_arena);
}
