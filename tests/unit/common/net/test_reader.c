#include "common/net/reader.h"

#include "common/base/alloc.h"

#include "tests/lib/fail_alloc.h"
#include "tests/lib/faulty_calls.h"
#include "tests/lib/sample_messages.h"
#include "tests/lib/test.h"

enum { STREAM_BYTES = 4 * 1024 * 1024 };

/* A stream of frames from memory, and an engine that keeps what it gets. */
struct stream {
    uint8_t *bytes;
    size_t size;
    uint8_t *payload;
    size_t frames;
    uint64_t last_request;
    size_t waits;
    struct reader *reader; /* stopped by on_frame at stop_at */
    size_t stop_at;
};

static struct reader_shared shared;

static void stream_start(struct stream *stream)
{
    *stream = (struct stream){
        .bytes = alloc_array(STREAM_BYTES, 1),
        .payload = alloc_array(LIMIT_PAYLOAD_BYTES, 1),
    };
    assert_non_null(stream->bytes);
    assert_non_null(stream->payload);
}

static void stream_stop(struct stream *stream)
{
    alloc_free(stream->bytes);
    alloc_free(stream->payload);
}

static void stream_add(struct stream *stream, enum frame_type type, uint64_t request,
                       size_t payload_bytes, bool hash)
{
    size_t size = sample_frame(type, request, payload_bytes, hash, stream->bytes + stream->size,
                               STREAM_BYTES - stream->size);

    assert_true(size > 0);
    stream->size += size;
}

static enum link_verdict on_head(void *context, struct link *link, const struct frame_head *head,
                                 const uint8_t *header, struct link_incoming *ret_incoming,
                                 struct error *err)
{
    struct stream *stream = context;

    (void)link;
    (void)header;
    (void)err;
    if (stream->waits > 0) {
        stream->waits--;
        return LINK_WAIT;
    }
    size_t half = head->payload_bytes / 2;
    ret_incoming->places[0] = (struct link_place){stream->payload, half};
    ret_incoming->places[1] = (struct link_place){stream->payload + half,
                                                  head->payload_bytes - half};
    ret_incoming->place_count = 2;
    stream->last_request = head->request;
    return LINK_TAKE;
}

static void on_frame(void *context, struct link *link)
{
    struct stream *stream = context;

    (void)link;
    stream->frames++;
    if (stream->reader && stream->frames == stream->stop_at)
        stream->reader->stopped = true;
}

static struct link_engine engine_of(struct stream *stream)
{
    return (struct link_engine){.context = stream, .on_head = on_head, .on_frame = on_frame};
}

static void test_every_payload_size_and_cut(void **state)
{
    static const size_t payloads[] = {0, 1, 500, 8191, 8193, 16000, 70000, 300000};
    static const size_t slices[] = {0, 7, 64, 100, 5000, 100000};
    struct stream stream;

    (void)state;
    stream_start(&stream);
    struct link_engine engine = engine_of(&stream);
    for (size_t i = 0; i < sizeof payloads / sizeof payloads[0]; i++) {
        for (int k = 0; k < 3; k++)
            stream_add(&stream, FRAME_PULL_REPLY, i, payloads[i], true);
    }
    for (size_t s = 0; s < sizeof slices / sizeof slices[0]; s++) {
        struct memory_socket socket;
        struct reader reader;
        struct link link;
        struct error err = {0};
        memory_socket_init(&socket, stream.bytes, stream.size);
        socket.slice_bytes = slices[s];
        socket.slice_seed = s % 2;
        stream.frames = 0;
        assert_int_equal(reader_init(&reader, &socket.calls, &engine, &link, &shared), STATUS_OK);
        enum reader_result result;
        do {
            result = reader_run(&reader, -1, &err);
        } while (result == READER_BLOCKED || result == READER_MORE);
        assert_int_equal(result, READER_FAILED);
        assert_string_equal(err.message, "it closed the connection");
        assert_int_equal(stream.frames, 24);
        assert_int_equal(reader.frames, 24);
        assert_int_equal(reader.bytes, stream.size);
        reader_release(&reader);
    }
    stream_stop(&stream);
}

/* Many small frames come with few reads; a turn ends after its frames, and nothing is lost. */
static void test_small_frames_share_reads(void **state)
{
    struct stream stream;
    struct memory_socket socket;
    struct reader reader;
    struct link link;
    struct error err = {0};

    (void)state;
    stream_start(&stream);
    struct link_engine engine = engine_of(&stream);
    for (uint64_t i = 0; i < 200; i++)
        stream_add(&stream, FRAME_STEP_CLOSE, i, 0, false);
    memory_socket_init(&socket, stream.bytes, stream.size);
    assert_int_equal(reader_init(&reader, &socket.calls, &engine, &link, &shared), STATUS_OK);
    assert_int_equal(reader_run(&reader, -1, &err), READER_MORE);
    assert_int_equal(stream.frames, READER_TURN_FRAMES);
    assert_in_range(reader.bytes, 13000, 16384);
    while (reader_run(&reader, -1, &err) != READER_FAILED)
        continue;
    assert_int_equal(stream.frames, 200);
    assert_int_equal(stream.last_request, 199);
    reader_release(&reader);
    stream_stop(&stream);
}

static void test_waiting_and_stopping(void **state)
{
    struct stream stream;
    struct memory_socket socket;
    struct reader reader;
    struct link link;
    struct error err = {0};

    (void)state;
    stream_start(&stream);
    struct link_engine engine = engine_of(&stream);
    for (uint64_t i = 0; i < 5; i++)
        stream_add(&stream, FRAME_PUSH, i, 100, true);
    memory_socket_init(&socket, stream.bytes, stream.size);
    assert_int_equal(reader_init(&reader, &socket.calls, &engine, &link, &shared), STATUS_OK);
    stream.waits = 2;
    stream.reader = &reader;
    stream.stop_at = 3;
    assert_int_equal(reader_run(&reader, -1, &err), READER_HELD);
    assert_int_equal(reader_run(&reader, -1, &err), READER_HELD); /* not resumed: not offered */
    assert_int_equal(stream.waits, 1);
    reader_resume(&reader);
    assert_int_equal(reader_run(&reader, -1, &err), READER_HELD);
    reader_resume(&reader);
    assert_int_equal(reader_run(&reader, -1, &err), READER_STOPPED);
    assert_int_equal(stream.frames, 3); /* although more had been read */
    assert_int_equal(reader_run(&reader, -1, &err), READER_STOPPED);
    reader_release(&reader);
    stream_stop(&stream);
}

static void test_end_within_a_frame_is_said(void **state)
{
    struct stream stream;
    struct link link;

    (void)state;
    stream_start(&stream);
    struct link_engine engine = engine_of(&stream);
    stream_add(&stream, FRAME_PUSH, 1, 20000, true);
    for (size_t size = 1; size < stream.size; size += 97) {
        struct memory_socket socket;
        struct reader reader;
        struct error err = {0};
        memory_socket_init(&socket, stream.bytes, size);
        assert_int_equal(reader_init(&reader, &socket.calls, &engine, &link, &shared), STATUS_OK);
        while (reader_run(&reader, -1, &err) == READER_BLOCKED)
            continue;
        assert_string_equal(err.message, "it closed the connection in the middle of a frame");
        assert_int_equal(err.status, STATUS_UNAVAILABLE);
        reader_release(&reader);
    }
    assert_int_equal(stream.frames, 0);
    stream_stop(&stream);
}

/* The buffer grows once for a header that does not fit, and keeps what follows it. */
static void test_large_header(void **state)
{
    struct stream stream;
    struct memory_socket socket;
    struct reader reader;
    struct link link;
    struct error err = {0};

    (void)state;
    stream_start(&stream);
    struct link_engine engine = engine_of(&stream);
    for (uint64_t i = 0; i < 3; i++) {
        uint8_t *frame = stream.bytes + stream.size;
        const struct frame_head head = {.type = FRAME_REGISTRY,
                                        .request = i,
                                        .header_bytes = LIMIT_HEADER_BYTES,
                                        .payload_bytes = 50};
        frame_encode(&head, frame);
        memset(frame + FRAME_PREAMBLE_BYTES, (int)i, LIMIT_HEADER_BYTES + 50);
        stream.size += FRAME_PREAMBLE_BYTES + LIMIT_HEADER_BYTES + 50;
        sample_mend(frame, FRAME_PREAMBLE_BYTES + LIMIT_HEADER_BYTES + 50);
    }
    memory_socket_init(&socket, stream.bytes, stream.size);
    assert_int_equal(reader_init(&reader, &socket.calls, &engine, &link, &shared), STATUS_OK);
    while (reader_run(&reader, -1, &err) != READER_FAILED)
        continue;
    assert_int_equal(stream.frames, 3);
    assert_int_equal(stream.payload[49], 2);
    reader_release(&reader);
    stream_stop(&stream);
}

static enum status read_one(void *context)
{
    struct stream *stream = context;
    struct link_engine engine = engine_of(stream);
    struct memory_socket socket;
    struct reader reader = {0};
    struct link link;
    struct error err = {0};

    memory_socket_init(&socket, stream->bytes, stream->size);
    stream->frames = 0;
    enum status status = reader_init(&reader, &socket.calls, &engine, &link, &shared);
    enum reader_result result = READER_BLOCKED;
    while (!status && (result == READER_BLOCKED || result == READER_MORE))
        result = reader_run(&reader, -1, &err);
    reader_release(&reader);
    return status ? status : stream->frames == 1 ? STATUS_OK : err.status;
}

static void test_every_allocation_may_fail(void **state)
{
    struct stream stream;

    (void)state;
    stream_start(&stream);
    stream_add(&stream, FRAME_PUSH, 1, 20000, true);
    assert_int_equal(fail_alloc_each(read_one, &stream), 2);
    stream_stop(&stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_payload_size_and_cut),
        cmocka_unit_test(test_small_frames_share_reads),
        cmocka_unit_test(test_waiting_and_stopping),
        cmocka_unit_test(test_end_within_a_frame_is_said),
        cmocka_unit_test(test_large_header),
        cmocka_unit_test(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
