#include "common/net/writer.h"

#include "common/base/alloc.h"

#include "common/wire/message.h"
#include "proto/data.pb-c.h"
#include "tests/lib/fail_alloc.h"
#include "tests/lib/faulty_calls.h"
#include "tests/lib/test.h"

#include <errno.h>

enum { OUTPUT_BYTES = 8 * 1024 * 1024 };

struct written {
    struct memory_socket socket;
    struct writer_pool pool;
    struct writer writer;
    int released;
    int released_written;
};

static uint8_t payload[LIMIT_PAYLOAD_BYTES];

static void written_start(struct written *written)
{
    *written = (struct written){0};
    memory_socket_init(&written->socket, NULL, 0);
    written->socket.output = alloc_array(OUTPUT_BYTES, 1);
    written->socket.output_capacity = OUTPUT_BYTES;
    assert_non_null(written->socket.output);
    writer_init(&written->writer, &written->socket.calls, &written->pool, 0);
}

static void written_stop(struct written *written)
{
    writer_clear(&written->writer);
    writer_pool_release(&written->pool);
    alloc_free(written->socket.output);
}

static void on_released(void *owner, bool was_written)
{
    struct written *written = owner;

    written->released++;
    written->released_written += was_written;
}

static enum status add(struct written *written, size_t bytes, const ProtobufCMessage *message)
{
    struct link_piece piece = {.data = payload, .bytes = bytes};
    struct link_frame frame = {
        .type = FRAME_PULL_REPLY,
        .message = message,
        .pieces = &piece,
        .piece_count = bytes ? 1 : 0,
        .on_released = on_released,
        .owner = written,
    };

    return writer_add(&written->writer, &frame, false);
}

static enum writer_result flush(struct written *written)
{
    uint64_t bytes;
    struct error err = {0};

    return writer_flush(&written->writer, -1, SIZE_MAX, &bytes, &err);
}

static void test_several_frames_leave_in_one_call(void **state)
{
    struct written written;

    (void)state;
    written_start(&written);
    for (int i = 0; i < 10; i++)
        assert_int_equal(add(&written, 1000, NULL), STATUS_OK);
    assert_int_equal(written.writer.frames, 10);
    assert_int_equal(written.writer.bytes, 10640);
    assert_int_equal(flush(&written), WRITER_EMPTY);
    assert_int_equal(written.socket.call_count, 1);
    assert_int_equal(written.socket.output_bytes, 10640);
    assert_int_equal(written.released_written, 10);
    assert_int_equal(written.writer.bytes, 0);
    written_stop(&written);
}

/* The same stream whatever the kernel takes at a time. */
static void test_any_cut_gives_the_same_bytes(void **state)
{
    struct written whole;

    (void)state;
    written_start(&whole);
    for (size_t i = 0; i < 40; i++)
        assert_int_equal(add(&whole, i * 17 % 300, NULL), STATUS_OK);
    assert_int_equal(flush(&whole), WRITER_EMPTY);
    for (size_t slice = 1; slice < 200; slice += 13) {
        struct written cut;
        written_start(&cut);
        cut.socket.slice_bytes = slice;
        for (size_t i = 0; i < 40; i++)
            assert_int_equal(add(&cut, i * 17 % 300, NULL), STATUS_OK);
        while (flush(&cut) == WRITER_BLOCKED)
            continue;
        assert_int_equal(cut.released_written, 40);
        assert_int_equal(cut.socket.output_bytes, whole.socket.output_bytes);
        assert_memory_equal(cut.socket.output, whole.socket.output, whole.socket.output_bytes);
        written_stop(&cut);
    }
    written_stop(&whole);
}

static void test_many_pieces(void **state)
{
    struct written written;
    struct link_piece pieces[LIMIT_FRAME_BLOCKS];
    struct link_frame frame = {
        .type = FRAME_PUSH, .pieces = pieces, .piece_count = LIMIT_FRAME_BLOCKS};
    struct frame_head head;
    struct error err = {0};

    (void)state;
    written_start(&written);
    for (size_t i = 0; i < LIMIT_FRAME_BLOCKS; i++)
        pieces[i] = (struct link_piece){.data = payload + i * 8, .bytes = i % 3 ? 8 : 0};
    assert_int_equal(writer_add(&written.writer, &frame, true), STATUS_OK);
    assert_int_equal(flush(&written), WRITER_EMPTY);
    assert_ok(frame_decode(written.socket.output, &head, &err), &err);
    assert_int_equal(head.flags, FRAME_FLAG_PAYLOAD_HASH);
    assert_int_equal(head.payload_bytes, written.socket.output_bytes - FRAME_PREAMBLE_BYTES);
    written_stop(&written);
}

static void test_frames_larger_than_allowed_are_our_mistake(void **state)
{
    struct written written;
    struct link_piece pieces[2] = {{payload, LIMIT_PAYLOAD_BYTES, NULL}, {payload, 1, NULL}};
    struct link_frame frame = {.type = FRAME_PUSH, .pieces = pieces, .piece_count = 2};
    static uint64_t numbers[LIMIT_HEADER_BYTES];
    Pmd__PushAck ack = PMD__PUSH_ACK__INIT;

    (void)state;
    written_start(&written);
    assert_int_equal(writer_add(&written.writer, &frame, false), STATUS_INTERNAL);
    frame.piece_count = LIMIT_FRAME_BLOCKS + 1;
    assert_int_equal(writer_add(&written.writer, &frame, false), STATUS_INTERNAL);
    ack.n_request = LIMIT_HEADER_BYTES;
    ack.request = numbers;
    assert_int_equal(add(&written, 0, &ack.base), STATUS_INTERNAL);
    assert_int_equal(add(&written, LIMIT_PAYLOAD_BYTES, NULL), STATUS_OK);
    assert_int_equal(written.writer.frames, 1);
    written_stop(&written);
    assert_int_equal(written.released, 1);
    assert_int_equal(written.released_written, 0);
}

static void test_queue_is_bounded(void **state)
{
    struct written written;

    (void)state;
    written_start(&written);
    for (int i = 0; i < LIMIT_QUEUED_FRAMES; i++)
        assert_int_equal(add(&written, 0, NULL), STATUS_OK);
    assert_int_equal(add(&written, 0, NULL), STATUS_RESOURCE_EXHAUSTED);
    writer_clear(&written.writer);
    assert_int_equal(written.released, LIMIT_QUEUED_FRAMES);
    for (uint64_t bytes = 0;
         bytes + LIMIT_PAYLOAD_BYTES + FRAME_PREAMBLE_BYTES <= LIMIT_QUEUED_BYTES;
         bytes += LIMIT_PAYLOAD_BYTES + FRAME_PREAMBLE_BYTES)
        assert_int_equal(add(&written, LIMIT_PAYLOAD_BYTES, NULL), STATUS_OK);
    assert_int_equal(add(&written, LIMIT_PAYLOAD_BYTES, NULL), STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(add(&written, 0, NULL), STATUS_OK);
    written_stop(&written);
}

/* A large header takes memory once, and leaves it to the frames that follow. */
static void test_grown_frames_are_used_again(void **state)
{
    struct written written;
    static uint64_t numbers[5000];
    Pmd__PushAck ack = PMD__PUSH_ACK__INIT;

    (void)state;
    written_start(&written);
    for (size_t i = 0; i < 5000; i++)
        numbers[i] = UINT64_MAX;
    ack.n_request = 4000;
    ack.request = numbers;
    assert_int_equal(add(&written, 100, &ack.base), STATUS_OK);
    assert_int_equal(flush(&written), WRITER_EMPTY);
    uint64_t before = alloc_count();
    for (int i = 0; i < 10; i++) {
        assert_int_equal(add(&written, 100, &ack.base), STATUS_OK);
        assert_int_equal(flush(&written), WRITER_EMPTY);
    }
    assert_int_equal(alloc_count(), before);
    ack.n_request = 5000;
    assert_int_equal(add(&written, 100, &ack.base), STATUS_OK);
    assert_int_equal(flush(&written), WRITER_EMPTY);
    written_stop(&written);
}

static enum status add_one_of_each(void *context)
{
    struct writer_pool pool = {0};
    struct writer writer;
    static uint64_t numbers[1000];
    Pmd__PushAck ack = PMD__PUSH_ACK__INIT;
    struct link_piece pieces[20] = {{payload, 10, NULL}};
    struct link_frame frame = {
        .type = FRAME_PUSH_ACK, .message = &ack.base, .pieces = pieces, .piece_count = 20};

    (void)context;
    ack.n_request = 1000;
    ack.request = numbers;
    writer_init(&writer, &net_calls_system, &pool, 0);
    enum status status = writer_add(&writer, &frame, true);
    assert_int_equal(writer.frames, status == STATUS_OK);
    writer_clear(&writer);
    writer_pool_release(&pool);
    return status;
}

static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    assert_int_equal(fail_alloc_each(add_one_of_each, NULL), 3);
}

static void test_budget_of_a_turn(void **state)
{
    struct written written;
    uint64_t bytes;
    struct error err = {0};

    (void)state;
    written_start(&written);
    for (int i = 0; i < 6; i++)
        assert_int_equal(add(&written, LIMIT_PAYLOAD_BYTES, NULL), STATUS_OK);
    assert_int_equal(writer_flush(&written.writer, -1, 1000, &bytes, &err), WRITER_MORE);
    assert_in_range(bytes, LIMIT_PAYLOAD_BYTES, 5 * LIMIT_PAYLOAD_BYTES);
    assert_int_equal(flush(&written), WRITER_EMPTY);
    written_stop(&written);
}

static void test_failure_leaves_the_queue(void **state)
{
    struct written written;
    struct faulty_calls faulty;
    uint64_t bytes;
    struct error err = {0};

    (void)state;
    written_start(&written);
    faulty_calls_init(&faulty);
    faulty.fail_at = 1;
    faulty.fail_errno = EPIPE;
    written.writer.calls = &faulty.calls;
    assert_int_equal(add(&written, 10, NULL), STATUS_OK);
    assert_int_equal(writer_flush(&written.writer, -1, SIZE_MAX, &bytes, &err), WRITER_FAILED);
    assert_string_equal(err.message, "Broken pipe");
    assert_int_equal(written.released, 0);
    written_stop(&written);
    assert_int_equal(written.released, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_several_frames_leave_in_one_call),
        cmocka_unit_test(test_any_cut_gives_the_same_bytes),
        cmocka_unit_test(test_many_pieces),
        cmocka_unit_test(test_frames_larger_than_allowed_are_our_mistake),
        cmocka_unit_test(test_queue_is_bounded),
        cmocka_unit_test(test_grown_frames_are_used_again),
        cmocka_unit_test(test_every_allocation_may_fail),
        cmocka_unit_test(test_budget_of_a_turn),
        cmocka_unit_test(test_failure_leaves_the_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
