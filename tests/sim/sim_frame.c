/* Frames between send and delivery. */
#include "tests/sim/sim_frame.h"

#include "common/base/hash.h"
#include "common/wire/message.h"

#include <stdlib.h>
#include <string.h>

void *sim_alloc(size_t bytes)
{
    void *memory = calloc(1, bytes ? bytes : 1);

    if (!memory)
        abort();
    return memory;
}

void frames_append(struct sim_frames *list, struct sim_frame *frame)
{
    frame->next = NULL;
    if (list->last)
        list->last->next = frame;
    else
        list->first = frame;
    list->last = frame;
    list->count++;
    list->bytes += frame->payload_bytes;
}

struct sim_frame *frames_take(struct sim_frames *list)
{
    struct sim_frame *frame = list->first;

    if (!frame)
        return NULL;
    list->first = frame->next;
    if (!list->first)
        list->last = NULL;
    list->count--;
    list->bytes -= frame->payload_bytes;
    frame->next = NULL;
    return frame;
}

void frame_let_go(struct sim_frame *frame)
{
    for (size_t i = 0; frame->pieces && i < frame->piece_count; i++)
        buf_unref(frame->pieces[i].buf);
    free(frame->pieces);
    frame->pieces = NULL;
}

void frame_free(struct sim_frame *frame)
{
    frame_let_go(frame);
    free(frame->header);
    free(frame->payload);
    free(frame);
}

uint64_t frame_pieces_hash(const struct sim_frame *frame)
{
    struct hash_piece pieces[LIMIT_FRAME_BLOCKS];

    for (size_t i = 0; i < frame->piece_count; i++)
        pieces[i] = (struct hash_piece){frame->pieces[i].data, frame->pieces[i].bytes};
    return hash_xxh3_pieces(pieces, frame->piece_count);
}

struct sim_frame *frame_make(const struct link_frame *from, bool hash_payload)
{
    struct sim_frame *frame = sim_alloc(sizeof *frame);
    bool hello = from->type == FRAME_HELLO;
    struct frame_head head = {.type = from->type,
                              .lineage = hello ? 0 : FRAME_LINEAGE,
                              .map_version = hello ? 0 : FRAME_MAP_VERSION,
                              .commit_plus_1 = from->commit_plus_1,
                              .request = from->request};

    frame->type = from->type;
    frame->header_bytes = message_packed_bytes(from->message);
    frame->header = sim_alloc(frame->header_bytes);
    if (from->message)
        message_pack(from->message, frame->header);
    frame->piece_count = from->piece_count;
    frame->pieces = sim_alloc(from->piece_count * sizeof frame->pieces[0]);
    for (size_t i = 0; i < from->piece_count; i++) {
        frame->pieces[i] = from->pieces[i];
        if (frame->pieces[i].buf)
            buf_ref(frame->pieces[i].buf);
        frame->payload_bytes += from->pieces[i].bytes;
    }
    frame->sent_hash = frame_pieces_hash(frame);
    head.header_bytes = (uint32_t)frame->header_bytes;
    head.payload_bytes = (uint32_t)frame->payload_bytes;
    head.header_hash = hash_xxh3(frame->header, frame->header_bytes);
    if (hash_payload) {
        head.flags |= FRAME_FLAG_PAYLOAD_HASH;
        head.payload_hash = frame->sent_hash;
    }
    frame_encode(&head, frame->preamble);
    frame->on_released = from->on_released;
    frame->owner = from->owner;
    return frame;
}

/* The same frame once more, already written. */
struct sim_frame *frame_double(const struct sim_frame *frame)
{
    struct sim_frame *copy = sim_alloc(sizeof *copy);

    *copy = *frame;
    copy->next = NULL;
    copy->pieces = NULL;
    copy->on_released = NULL;
    copy->header = sim_alloc(frame->header_bytes);
    memcpy(copy->header, frame->header, frame->header_bytes);
    copy->payload = sim_alloc(frame->payload_bytes);
    memcpy(copy->payload, frame->payload, frame->payload_bytes);
    return copy;
}

/* Frames that may come twice without harm, as they do when they are sent again after a reconnect.
 */
bool frame_may_double(enum frame_type type)
{
    static const enum frame_type types[] = {
        FRAME_STEP_BEGIN,   FRAME_PUSH,      FRAME_STEP_CLOSE, FRAME_PULL,      FRAME_PUSH_ACK,
        FRAME_STEP_END,     FRAME_COMMIT,    FRAME_REPORT,     FRAME_LOG_ENTRY, FRAME_LOG_ACK,
        FRAME_CREATE,       FRAME_CONFIGURE, FRAME_START,      FRAME_BARRIER,   FRAME_FINISH,
        FRAME_MEMBERS,      FRAME_REGISTRY,  FRAME_HEARTBEAT,  FRAME_DONE,      FRAME_BARRIER_REPLY,
        FRAME_CREATE_REPLY,
    };

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (types[i] == type)
            return true;
    }
    return false;
}
