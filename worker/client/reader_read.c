/*
 * One variable or slot, from all servers that have a part of it: blocks are asked for some at a
 * time, and what comes is read straight into its place. What does not belong to the caller's range,
 * or comes too late, is read into nowhere.
 */
#include "worker/client/reader_state.h"

#include "common/base/alloc.h"

#include <string.h>

static size_t element_bytes(const struct reader *reader)
{
    return dtype_bytes(reader->registry.variables[reader->job.variable].dtype);
}

/* ---- asking ---- */

/* Asks for the next blocks of a server once half of what was asked for has come. */
static void pump(struct reader_link *link)
{
    struct reader *reader = link->reader;
    struct reader_job *job = &reader->job;
    Pmd__Read message = PMD__READ__INIT;
    uint32_t variables[READER_DIGEST_BLOCKS];
    uint32_t blocks[READER_DIGEST_BLOCKS];
    uint32_t count = 0;
    uint32_t count_max = job->digest ? READER_DIGEST_BLOCKS : READER_VALUE_BLOCKS;
    uint32_t block;

    if (!job->active || link->outstanding > count_max / 2)
        return;
    while (count < count_max &&
           placement_next_of_variable(&reader->placement, link->server, job->variable,
                                      link->next_block, &block) &&
           block < job->block_end) {
        variables[count] = job->variable;
        blocks[count++] = block;
        link->next_block = block + 1;
    }
    if (count == 0)
        return;
    message.hold = reader->hold;
    message.slot = job->slot;
    message.digest = job->digest;
    message.n_variable = message.n_block = count;
    message.variable = variables;
    message.block = blocks;
    link->outstanding += count;
    if (!reader_send(link, FRAME_READ, &message.base, reader->next_request++))
        reader_read_failed(link, &link->why); /* it was down before */
}

/* ---- answers ---- */

/* Where a block's values go: its part in the caller's range, the rest nowhere. */
static size_t value_places(const struct reader *reader, uint32_t block, struct link_place *places)
{
    const struct reader_job *job = &reader->job;
    size_t bytes = element_bytes(reader);
    uint64_t begin = placement_first_element(&reader->placement, job->variable, block);
    uint64_t end = begin + placement_element_count(&reader->placement, job->variable, block);
    uint64_t from = begin > job->first ? begin : job->first;
    uint64_t to = end < job->first + job->count ? end : job->first + job->count;
    size_t count = 0;

    if (from > begin)
        places[count++] = (struct link_place){NULL, (size_t)(from - begin) * bytes};
    places[count++] = (struct link_place){job->into + (size_t)(from - job->first) * bytes,
                                          (size_t)(to - from) * bytes};
    if (end > to)
        places[count++] = (struct link_place){NULL, (size_t)(end - to) * bytes};
    return count;
}

static enum link_verdict refuse(const struct reader_link *link, const char *what, struct error *err)
{
    error_set(err, STATUS_INVALID_ARGUMENT, "READ_REPLY %llu: %s",
              (unsigned long long)link->head.request, what);
    return LINK_REFUSE;
}

enum link_verdict reader_read_head(struct reader_link *link, const Pmd__ReadReply *reply,
                                   struct link_incoming *ret_incoming, struct error *err)
{
    struct reader *reader = link->reader;
    struct reader_job *job = &reader->job;
    uint64_t total = 0;

    link->receiving = false;
    if (!job->active || link->head.request < job->first_request) { /* of a read that was given up */
        ret_incoming->places[0] = (struct link_place){NULL, link->head.payload_bytes};
        ret_incoming->place_count = link->head.payload_bytes > 0;
        return LINK_TAKE;
    }
    if (reply->hold != reader->hold || reply->step != reader->step || reply->slot != job->slot ||
        (reply->digest != 0) != job->digest)
        return refuse(link, "another snapshot, step or slot than was asked for", err);
    for (size_t i = 0; i < reply->n_block; i++) {
        uint32_t block = reply->block[i];
        if (reply->variable[i] != job->variable || block < job->block_first ||
            block >= link->next_block ||
            placement_server_of(&reader->placement, job->variable, block) != link->server)
            return refuse(link, "a block that was not asked for", err);
        if (ret_incoming->place_count + 3 > LIMIT_FRAME_BLOCKS)
            return refuse(link, "too many blocks", err);
        struct link_place *places = &ret_incoming->places[ret_incoming->place_count];
        size_t count = 1;
        if (job->digest)
            places[0] = (struct link_place){job->into + (size_t)(block - job->block_first) *
                                                            HASH_SHA256_BYTES,
                                            HASH_SHA256_BYTES};
        else
            count = value_places(reader, block, places);
        for (size_t k = 0; k < count; k++)
            total += places[k].bytes;
        ret_incoming->place_count += count;
        link->received[i] = block;
    }
    if (total != link->head.payload_bytes)
        return refuse(link, "not as many bytes as its blocks have", err);
    link->received_count = (uint32_t)reply->n_block;
    link->receiving = true;
    return LINK_TAKE;
}

void reader_read_frame(struct reader_link *link)
{
    struct reader_job *job = &link->reader->job;

    if (!link->receiving)
        return;
    link->receiving = false;
    for (uint32_t i = 0; i < link->received_count; i++) {
        bool *seen = &job->seen[link->received[i] - job->block_first];
        if (*seen)
            continue;
        *seen = true;
        job->missing--;
        link->outstanding--;
    }
    pump(link);
}

void reader_read_failed(struct reader_link *link, const struct error *why)
{
    struct reader_job *job = &link->reader->job;

    if (!job->active || job->failure.status || link->outstanding == 0)
        return;
    job->failure = *why;
    if (!link->link) /* it broke: whatever the reason, the read may be tried again */
        job->failure.status = STATUS_UNAVAILABLE;
    error_wrap(&job->failure, "server %u (%s)", link->server, link->address);
}

/* ---- the job ---- */

static bool job_done(const struct reader *reader)
{
    return reader->job.missing == 0 || reader->job.failure.status != STATUS_OK;
}

static enum status links_up(struct reader *reader, struct error *err)
{
    const struct reader_job *job = &reader->job;
    uint32_t block;

    for (uint32_t s = 0; s < reader->servers; s++) {
        struct reader_link *link = &reader->bulk[s];
        link->next_block = job->block_first;
        link->outstanding = 0;
        if (!placement_next_of_variable(&reader->placement, s, job->variable, job->block_first,
                                        &block) ||
            block >= job->block_end)
            continue;
        enum status status = reader_link_up(link, err);
        if (status)
            return status;
    }
    return STATUS_OK;
}

/* Nothing may be written to the caller's memory any more. */
static void job_end(struct reader *reader)
{
    struct error why;

    reader->job.active = false;
    error_set(&why, STATUS_CANCELLED, "a read was given up while its bytes were arriving");
    for (uint32_t s = 0; s < reader->servers; s++) {
        if (reader->bulk[s].receiving)
            reader_drop(&reader->bulk[s], &why);
    }
    alloc_free(reader->job.seen);
    reader->job.seen = NULL;
}

static enum status job_run(struct reader *reader, struct error *err)
{
    struct reader_job *job = &reader->job;
    enum status status = links_up(reader, err);

    if (status)
        return status;
    job->active = true;
    for (uint32_t s = 0; s < reader->servers; s++)
        pump(&reader->bulk[s]);
    if (!reader_wait(reader, job_done, reader_deadline(reader)))
        return error_set(err, STATUS_DEADLINE_EXCEEDED, "%u of %u blocks are missing after %.1f s",
                         job->missing, job->block_end - job->block_first,
                         (double)reader->timeout_ns / 1e9);
    if (job->missing == 0)
        return STATUS_OK;
    *err = job->failure;
    return err->status;
}

enum status reader_read_held(struct reader *reader, uint32_t variable, uint32_t slot,
                             uint64_t first, uint64_t count, bool digest, void *into,
                             struct error *err)
{
    struct reader_job *job = &reader->job;

    *job = (struct reader_job){.first_request = reader->next_request,
                               .variable = variable,
                               .slot = slot,
                               .digest = digest,
                               .first = first,
                               .count = count,
                               .block_first = (uint32_t)(first / BLOCK_ELEMENTS_MAX),
                               .block_end = (uint32_t)((first + count - 1) / BLOCK_ELEMENTS_MAX) +
                                            1,
                               .into = into};
    job->missing = job->block_end - job->block_first;
    job->seen = alloc_array(job->missing, sizeof *job->seen);
    if (!job->seen)
        return error_no_memory(err, "the blocks of a read");
    enum status status = job_run(reader, err);
    job_end(reader);
    if (status)
        error_wrap(err, "read '%s' of step %llu", reader->registry.variables[variable].name,
                   (unsigned long long)reader->step);
    return status;
}

static enum status check_range(const struct reader *reader, uint32_t variable, uint32_t slot,
                               uint64_t first, uint64_t count, struct error *err)
{
    if (variable >= reader->registry.variable_count)
        return error_set(err, STATUS_OUT_OF_RANGE, "read variable %u: the job has %zu variables",
                         variable, reader->registry.variable_count);
    const struct variable_spec *spec = &reader->registry.variables[variable];
    if (slot > 0 && spec->dtype != DTYPE_FLOAT32)
        return error_set(err, STATUS_INVALID_ARGUMENT, "read slot %u of '%s': it has no slots",
                         slot, spec->name);
    if (first > spec->elements || count > spec->elements - first)
        return error_set(err, STATUS_OUT_OF_RANGE,
                         "read '%s': %llu elements from %llu on, it has %llu", spec->name,
                         (unsigned long long)count, (unsigned long long)first,
                         (unsigned long long)spec->elements);
    return STATUS_OK;
}

enum status reader_read(struct reader *reader, uint32_t variable, uint32_t slot, uint64_t first,
                        uint64_t count, void *ret_values, uint64_t *ret_step, struct error *err)
{
    enum status status;
    unsigned tries = 0;

    do {
        status = reader_hold(reader, slot > 0, err);
        if (!status)
            status = check_range(reader, variable, slot, first, count, err);
        if (!status && count > 0)
            status = reader_read_held(reader, variable, slot, first, count, false, ret_values, err);
    } while (status && reader_try_again(reader, status, &tries));
    if (!status && ret_step)
        *ret_step = reader->step;
    return status;
}

enum status reader_digest(struct reader *reader, uint32_t variable, uint32_t slot,
                          uint8_t *ret_digests, uint64_t *ret_step, struct error *err)
{
    enum status status;
    unsigned tries = 0;

    do {
        status = reader_hold(reader, slot > 0, err);
        if (!status)
            status = check_range(reader, variable, slot, 0, 0, err);
        if (!status)
            status = reader_read_held(reader, variable, slot, 0,
                                      reader->registry.variables[variable].elements, true,
                                      ret_digests, err);
    } while (status && reader_try_again(reader, status, &tries));
    if (!status && ret_step)
        *ret_step = reader->step;
    return status;
}
