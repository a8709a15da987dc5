/*
 * A push, from its header to the next version of its blocks.
 *
 * Happy path: step_begin of every rank makes W known; a push header names whole blocks, each gets a
 * staging buffer and the payload is read straight into them; when it is complete every block tries
 * to fold what is staged, in rank order; a block that has been folded by all ranks is prepared as
 * soon as the step before is committed; its pulls are answered.
 *
 * Otherwise: a block that is here already is read into nowhere (its ack says duplicate); without
 * room the frame stays in its socket until its turn comes; a connection that breaks in the middle
 * gives its buffers back; a block without a free value buffer (slow readers hold them) waits in the
 * list of starved ones.
 */
#include "common/base/alloc.h"
#include "common/base/mutant.h"
#include "server/service/service.h"

#include <stdio.h>

static void block_name(const struct service *service, const struct block *block, char *ret_text,
                       size_t capacity)
{
    snprintf(ret_text, capacity, "variable '%.200s', block %u",
             service->registry.variables[block->variable].name, block->number);
}

/* Would a push of this block be folded at once? Then it may use the reserve: it gives back what it
 * takes. */
static bool its_turn(const struct service *service, const struct block *block, uint64_t step,
                     uint32_t rank)
{
    if (!block->has_version || block->version + 1 != step ||
        !consistency_total_known(&service->consistency, step))
        return false;
    uint32_t next = block->sum_rank;
    while (next < rank && consistency_duty(&service->consistency, next, step) != RANK_AWAITED &&
           store_staged((struct store *)&service->store, block, step, next)->state == STAGED_EMPTY)
        next++;
    return next == rank;
}

static bool all_folded(const struct service *service, const struct block *block)
{
    return block->sum_rank == service->settings.workers;
}

static void count_prepared(struct service *service, const struct block *block)
{
    if (block->version != service->consistency.committed_plus_1)
        return;
    service->prepared_blocks++;
    if (service->prepared_blocks == service->store.block_count) {
        service->prepared_plus_1 = block->version + 1;
        service->report_wanted = true;
    }
}

static void starve(struct service *service, struct block *block)
{
    uint32_t index = store_index(&service->store, block);

    if (service->is_starved[index])
        return;
    service->is_starved[index] = true;
    service->starved[service->starved_count++] = block;
}

static enum status check_agreement(struct service *service, struct block *block, struct error *err)
{
    char name[300];

    if (block->sum_count == 0 || block->silent_rank_plus_1 == 0 || block->sum_kind == STORE_ASSIGN)
        return STATUS_OK;
    block_name(service, block, name, sizeof name);
    uint64_t step = block->version + 1;
    uint32_t pusher = 0;
    while (pusher < service->settings.workers &&
           store_staged(&service->store, block, step, pusher)->state != STAGED_FOLDED)
        pusher++;
    return error_set(err, STATUS_FAILED_PRECONDITION,
                     "step %llu, %s: rank %u pushed it and rank %u did not; all ranks must agree",
                     (unsigned long long)step, name, pusher, block->silent_rank_plus_1 - 1);
}

/* Prepares a block that all ranks have done their part for; false if the step's order or memory
 * does not allow it yet. */
static bool try_prepare(struct service *service, struct block *block)
{
    struct error err;

    if (!consistency_may_prepare(&service->consistency, block->version, block->version + 1))
        return false;
    if (check_agreement(service, block, &err)) {
        service_complain(service, err.status, "%s", err.message);
        return false;
    }
    if (!store_can_prepare(&service->store, block)) {
        starve(service, block);
        return false;
    }
    if (store_prepare(&service->store, block, &err)) {
        service_complain(service, err.status, "%s", err.message);
        return false;
    }
    service->prepares++;
    service->progress = true;
    count_prepared(service, block);
    pull_block_ready(service, block);
    return true;
}

/* One rank's part of a block: folded, or known to be nothing. False: it is still awaited. */
static bool take_part(struct service *service, struct block *block, uint64_t step, uint32_t rank)
{
    struct staged *staged = store_staged(&service->store, block, step, rank);
    struct error err;
    char name[300];

    if (staged->state == STAGED_COMPLETE) {
        float weight = consistency_weight(&service->consistency, rank, step);
        if (store_fold(&service->store, block, staged, weight, &err)) {
            block_name(service, block, name, sizeof name);
            service_complain(service, err.status, "step %llu, rank %u, %s: %s",
                             (unsigned long long)step, rank, name, err.message);
            return false;
        }
        service->folds++;
        service->progress = true;
        return true;
    }
    if (staged->state == STAGED_FOLDED)
        return true;
    if (staged->state == STAGED_RECEIVING)
        return false;
    enum rank_duty duty = consistency_duty(&service->consistency, rank, step);
    if (duty == RANK_AWAITED)
        return MUTANT(APPLY_EARLY) && block->sum_count > 0;
    if (duty == RANK_SILENT && block->silent_rank_plus_1 == 0)
        block->silent_rank_plus_1 = rank + 1;
    return true;
}

/*
 * Folds what is staged for the block's next version as far as the rank order allows, then prepares
 * it; then the same for the version after it, which may be folded but not prepared before the
 * commit.
 */
static void advance(struct service *service, struct block *block)
{
    do {
        uint64_t step = block->version + 1;
        if (!block->has_version || service->complaint.status ||
            !consistency_total_known(&service->consistency, step))
            return;
        while (!all_folded(service, block) && take_part(service, block, step, block->sum_rank))
            block->sum_rank++;
    } while (all_folded(service, block) && try_prepare(service, block));
}

/* The mutant folds in the order in which the pushes came: the newest first, whatever its rank. */
static void advance_in_arrival_order(struct service *service, struct block *block, uint64_t step,
                                     struct staged *staged)
{
    uint32_t rank = (uint32_t)(staged - store_staged(&service->store, block, step, 0));
    struct error err;

    if (!block->has_version || block->version + 1 != step || staged->state != STAGED_COMPLETE ||
        !consistency_total_known(&service->consistency, step) || rank < block->sum_rank)
        return;
    if (store_fold(&service->store, block, staged,
                   consistency_weight(&service->consistency, rank, step), &err))
        service_complain(service, err.status, "%s", err.message);
}

void push_advance_all(struct service *service)
{
    for (uint32_t i = 0; i < service->store.block_count; i++)
        advance(service, &service->store.blocks[i]);
}

void push_retry_starved(struct service *service)
{
    uint32_t count = service->starved_count;

    service->starved_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct block *block = service->starved[i];
        service->is_starved[store_index(&service->store, block)] = false;
        advance(service, block);
    }
}

enum status push_begin(struct session *session, const Pmd__StepBegin *message, struct error *err)
{
    struct service *service = session->service;
    bool known = consistency_total_known(&service->consistency, message->step);
    enum status status = consistency_begin(&service->consistency, session->rank, message->step,
                                           message->examples, err);

    if (!status && !known && consistency_total_known(&service->consistency, message->step)) {
        service->progress = true;
        push_advance_all(service);
    }
    return status;
}

enum status push_close(struct session *session, const Pmd__StepClose *message, struct error *err)
{
    struct service *service = session->service;
    enum status status = consistency_close(&service->consistency, session->rank, message->step,
                                           err);

    if (!status && !consistency_step_committed(&service->consistency, message->step) &&
        service->prepared_blocks < service->store.block_count) {
        service->progress = true;
        push_advance_all(service);
    }
    return status;
}

static uint64_t block_payload_bytes(const struct service *service, const struct incoming_push *push,
                                    const struct block *block, uint32_t rows)
{
    return push->encoded_rows && rows > 0 ? store_rows_bytes(&service->store, block, rows)
           : push->encoded_rows           ? 0
                                          : block->bytes;
}

static enum status check_kind(const struct session *session, const Pmd__Push *message,
                              struct error *err)
{
    if (message->kind > PMD__PUSH_KIND__PUSH_KIND_ADD)
        return error_set(err, STATUS_UNIMPLEMENTED, "push kind %d is not known here",
                         (int)message->kind);
    if (message->encoding > PMD__PUSH_ENCODING__PUSH_ENCODING_ROWS)
        return error_set(err, STATUS_UNIMPLEMENTED, "push encoding %d is not known here",
                         (int)message->encoding);
    bool rows = message->encoding == PMD__PUSH_ENCODING__PUSH_ENCODING_ROWS;
    if (rows && message->kind != PMD__PUSH_KIND__PUSH_KIND_GRADIENT &&
        message->kind != PMD__PUSH_KIND__PUSH_KIND_ADD)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "rows can be pushed as gradient or add only");
    if (rows && message->n_rows != message->n_block)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "a push of rows needs a row count for each block");
    bool assign = message->kind == PMD__PUSH_KIND__PUSH_KIND_ASSIGN;
    if (assign && session->rank != 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "assign comes from rank 0 only; this is rank %u", session->rank);
    if (message->step == 0 && (!assign || rows))
        return error_set(err, STATUS_INVALID_ARGUMENT, "step 0 takes whole arrays as assign only");
    return STATUS_OK;
}

static enum status check_block_kind(const struct service *service, const struct block *block,
                                    uint64_t step, uint8_t kind, struct error *err)
{
    const struct store_variable *variable = &service->store.variables[block->variable];
    const char *name = service->registry.variables[block->variable].name;

    if (kind == STORE_GRADIENT && variable->optimizer < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "variable '%s' is not trainable: it takes no gradient", name);
    if (kind == STORE_ASSIGN_MEAN && variable->dtype == DTYPE_INT64)
        return error_set(err, STATUS_INVALID_ARGUMENT, "variable '%s' is int64: it has no mean",
                         name);
    if (step == 0 && variable->initializer.kind != INITIALIZER_ASSIGNED)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "variable '%s' has an initializer: it takes no first values", name);
    return STATUS_OK;
}

/* Step 0 has one pusher and no order: a block is new until it has a version. */
static enum push_answer answer(const struct session *session, const struct block *block,
                               uint64_t step, const struct staged *staged, struct error *err)
{
    if (step == 0)
        return block->has_version || staged->state != STAGED_EMPTY ? PUSH_DUPLICATE : PUSH_STAGE;
    if (!block->has_version) {
        error_set(err, STATUS_FAILED_PRECONDITION, "step %llu: version 0 is not there yet",
                  (unsigned long long)step);
        return PUSH_REFUSE;
    }
    return consistency_push(&session->service->consistency, session->rank, step, block->version,
                            staged->state != STAGED_EMPTY, err);
}

/* Checks every block of the header, and says how many bytes must be staged and whether their turn
 * has come. */
static enum status check_blocks(struct session *session, const Pmd__Push *message,
                                uint32_t payload_bytes, uint64_t *ret_staged_bytes,
                                bool *ret_its_turn, struct error *err)
{
    struct service *service = session->service;
    struct incoming_push *push = session->push;
    uint64_t total = 0;

    *ret_staged_bytes = 0;
    *ret_its_turn = true;
    for (size_t i = 0; i < message->n_block; i++) {
        struct block *block = store_find(&service->store, message->variable[i], message->block[i]);
        uint32_t rows = push->encoded_rows ? message->rows[i] : 0;
        if (!block)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "block %u of variable %u is not on server %u", message->block[i],
                             message->variable[i], service->server);
        enum status status = check_block_kind(service, block, message->step, push->kind, err);
        if (status)
            return status;
        uint64_t bytes = block_payload_bytes(service, push, block, rows);
        if (bytes == 0 && rows > 0)
            return error_set(
                err, STATUS_INVALID_ARGUMENT,
                "%u rows of block %u of variable '%s' are no smaller than the whole block", rows,
                block->number, service->registry.variables[block->variable].name);
        total += bytes;
        struct staged *staged = store_staged(&service->store, block, message->step, session->rank);
        enum push_answer what = answer(session, block, message->step, staged, err);
        if (what == PUSH_REFUSE)
            return err->status;
        push->blocks[i] = block;
        push->rows[i] = rows;
        push->staged[i] = what == PUSH_STAGE ? staged : NULL;
        if (what == PUSH_DUPLICATE)
            continue;
        *ret_staged_bytes += buf_class_bytes(bytes ? bytes : 1);
        if (message->step > 0 && !its_turn(service, block, message->step, session->rank))
            *ret_its_turn = false;
    }
    if (total != payload_bytes)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "the push of %zu blocks has %u bytes of payload, the registry says %llu",
                         message->n_block, payload_bytes, (unsigned long long)total);
    return STATUS_OK;
}

/* A block that stands twice in one frame is staged by its first place; the second finds it
 * RECEIVING. */
static enum status stage_blocks(struct session *session, struct link_incoming *incoming,
                                struct error *err)
{
    struct service *service = session->service;
    struct incoming_push *push = session->push;

    push->duplicates = 0;
    for (uint32_t i = 0; i < push->count; i++) {
        uint64_t bytes = block_payload_bytes(service, push, push->blocks[i], push->rows[i]);
        struct staged *staged = push->staged[i];
        if (staged && staged->state != STAGED_EMPTY && !MUTANT(NO_DEDUPE))
            staged = push->staged[i] = NULL;
        if (!staged) {
            push->duplicates++;
            incoming->places[i] = (struct link_place){.data = NULL, .bytes = bytes};
            continue;
        }
        if (MUTANT(NO_DEDUPE) && staged->buf) {
            staged->state = STAGED_COMPLETE;
            store_unstage(&service->store, staged);
        }
        if (store_stage(&service->store, staged, bytes)) {
            push->count = i;
            session->push_open = true;
            push_dropped(session);
            return error_no_memory(err, "a staging buffer");
        }
        staged->kind = push->kind;
        staged->encoded_rows = push->encoded_rows;
        staged->rows = push->rows[i];
        incoming->places[i] = (struct link_place){.data = staged->buf->data, .bytes = bytes};
    }
    incoming->place_count = push->count;
    session->push_open = true;
    return STATUS_OK;
}

enum link_verdict push_head(struct session *session, const struct frame_head *head,
                            const Pmd__Push *message, struct link_incoming *ret_incoming,
                            struct error *err)
{
    struct service *service = session->service;
    uint64_t staged_bytes;
    bool turn;

    if (!session->push)
        session->push = alloc_zero(sizeof *session->push);
    if (!session->push) {
        error_no_memory(err, "a push");
        return LINK_REFUSE;
    }
    if (check_kind(session, message, err))
        return LINK_REFUSE;
    session->push->step = message->step;
    session->push->kind = (uint8_t)message->kind;
    session->push->encoded_rows = message->encoding == PMD__PUSH_ENCODING__PUSH_ENCODING_ROWS;
    session->push->count = (uint32_t)message->n_block;
    if (check_blocks(session, message, head->payload_bytes, &staged_bytes, &turn, err))
        return LINK_REFUSE;
    if (!store_has_room(&service->store, staged_bytes, turn))
        return LINK_WAIT;
    return stage_blocks(session, ret_incoming, err) ? LINK_REFUSE : LINK_TAKE;
}

static void initial_value(struct service *service, struct block *block, struct staged *staged)
{
    struct error err;

    if (store_assign_initial(&service->store, block, staged, &err)) {
        service_complain(service, err.status, "%s", err.message);
        return;
    }
    count_prepared(service, block);
    pull_block_ready(service, block);
}

void push_frame(struct session *session)
{
    struct service *service = session->service;
    struct incoming_push *push = session->push;

    session->push_open = false;
    service->duplicates += push->duplicates;
    for (uint32_t i = 0; i < push->count; i++) {
        struct block *block = push->blocks[i];
        struct staged *staged = push->staged[i];
        if (!staged)
            continue;
        staged->state = STAGED_COMPLETE;
        if (push->step == 0) {
            initial_value(service, block, staged);
            continue;
        }
        if (MUTANT(ARRIVAL_ORDER))
            advance_in_arrival_order(service, block, push->step, staged);
        if (MUTANT(NO_DEDUPE) && block->version + 1 == push->step &&
            session->rank < block->sum_rank &&
            consistency_total_known(&service->consistency, push->step)) {
            struct error err;
            if (store_fold(&service->store, block, staged,
                           consistency_weight(&service->consistency, session->rank, push->step),
                           &err))
                service_complain(service, err.status, "%s", err.message);
        }
        advance(service, block);
    }
    if (session->ack_count == SESSION_ACKS_MAX)
        push_flush_acks(session);
    session->acks[session->ack_count++] = session->incoming_request;
    session->ack_duplicates += push->duplicates;
    service->progress = true;
    session_mark_dirty(session);
}

void push_dropped(struct session *session)
{
    if (!session->push_open)
        return;
    session->push_open = false;
    if (MUTANT(RESERVE_NOT_RETURNED))
        return;
    for (uint32_t i = 0; i < session->push->count; i++) {
        struct staged *staged = session->push->staged[i];
        if (staged && staged->state == STAGED_RECEIVING)
            store_unstage(&session->service->store, staged);
    }
}

void push_flush_acks(struct session *session)
{
    Pmd__PushAck ack = PMD__PUSH_ACK__INIT;

    if (session->ack_count == 0)
        return;
    ack.n_request = session->ack_count;
    ack.request = session->acks;
    ack.duplicates = session->ack_duplicates;
    session->ack_count = 0;
    session->ack_duplicates = 0;
    session_send(session, FRAME_PUSH_ACK, &ack.base, 0);
}
