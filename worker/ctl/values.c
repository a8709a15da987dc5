#include "worker/ctl/values.h"

#include "common/base/alloc.h"

#include <math.h>
#include <string.h>

enum {
    CHUNK_BYTES = 32 << 20,
    /* A server sends whole blocks, so gaps up to a block are read along. */
    GAP_ELEMENTS = LIMIT_BLOCK_ELEMENTS,
    TRIES = 8,
};

/* Where the reading is: `done` elements of run `run` are handed on. */
struct position {
    uint64_t run, done;
};

struct walk {
    struct reader *reader;
    uint32_t variable;
    size_t element_bytes;
    const struct selection *selection;
    const struct values_sink *sink;
    uint8_t *chunk; /* owned */
    uint64_t chunk_elements;
    uint64_t step;
    bool begun;
};

/* The elements to be read next, first .. end - 1: runs that lie close together. */
static void next_span(const struct walk *walk, struct position at, uint64_t *ret_first,
                      uint64_t *ret_end)
{
    const struct selection *selection = walk->selection;
    uint64_t first = selection_run_first(selection, at.run) + at.done;
    uint64_t end = first + (selection->run_elements - at.done);

    if (end - first > walk->chunk_elements)
        end = first + walk->chunk_elements;
    else
        for (uint64_t run = at.run + 1; run < selection->run_count; run++) {
            uint64_t begin = selection_run_first(selection, run);
            if (begin - end > GAP_ELEMENTS ||
                begin + selection->run_elements - first > walk->chunk_elements)
                break;
            end = begin + selection->run_elements;
        }
    *ret_first = first;
    *ret_end = end;
}

/* Hands on what the chunk has of the selection; moves `at` on. */
static enum status hand_on(const struct walk *walk, uint64_t first, uint64_t end,
                           struct position *at, struct error *err)
{
    const struct selection *selection = walk->selection;

    while (at->run < selection->run_count) {
        uint64_t begin = selection_run_first(selection, at->run) + at->done;
        uint64_t count = selection->run_elements - at->done;
        if (begin >= end)
            break;
        if (count > end - begin)
            count = end - begin;
        enum status status = walk->sink->take(
            walk->sink->context, walk->chunk + (begin - first) * walk->element_bytes, count, err);
        if (status)
            return status;
        at->done += count;
        if (at->done == selection->run_elements)
            *at = (struct position){.run = at->run + 1};
    }
    return STATUS_OK;
}

static enum status begin(struct walk *walk, uint64_t step, struct error *err)
{
    walk->step = step;
    walk->begun = true;
    return walk->sink->begin(walk->sink->context, step, err);
}

/* ret_lost: another step came than the one that was begun. */
static enum status walk_once(struct walk *walk, bool *ret_lost, struct error *err)
{
    struct position at = {0};
    uint64_t first, end, step;

    *ret_lost = false;
    walk->begun = false;
    while (at.run < walk->selection->run_count) {
        next_span(walk, at, &first, &end);
        enum status status = reader_read(walk->reader, walk->variable, 0, first, end - first,
                                         walk->chunk, &step, err);
        if (!status && walk->begun && step != walk->step) {
            *ret_lost = true;
            return STATUS_OK;
        }
        if (!status && !walk->begun)
            status = begin(walk, step, err);
        if (!status)
            status = hand_on(walk, first, end, &at, err);
        if (status)
            return status;
    }
    return STATUS_OK;
}

/* From the first selected element to the last. */
static uint64_t span_of(const struct selection *selection)
{
    if (selection->run_count == 0)
        return 0;
    return selection_run_first(selection, selection->run_count - 1) + selection->run_elements -
           selection_run_first(selection, 0);
}

bool values_in_one_part(enum dtype dtype, const struct selection *selection)
{
    if (span_of(selection) > CHUNK_BYTES / dtype_bytes(dtype))
        return false;
    for (uint64_t run = 1; run < selection->run_count; run++) {
        uint64_t end = selection_run_first(selection, run - 1) + selection->run_elements;
        if (selection_run_first(selection, run) - end > GAP_ELEMENTS)
            return false;
    }
    return true;
}

enum status values_read(struct reader *reader, uint32_t variable, enum dtype dtype,
                        const struct selection *selection, const struct values_sink *sink,
                        struct error *err)
{
    struct walk walk = {.reader = reader,
                        .variable = variable,
                        .element_bytes = dtype_bytes(dtype),
                        .selection = selection,
                        .sink = sink};
    bool lost = true;
    uint64_t step;

    if (selection->element_count == 0) {
        enum status status = reader_snapshot(reader, false, &step, err);
        return status ? status : begin(&walk, step, err);
    }
    uint64_t span = span_of(selection);
    walk.chunk_elements = CHUNK_BYTES / walk.element_bytes;
    if (span < walk.chunk_elements)
        walk.chunk_elements = span;
    walk.chunk = alloc_tensor(walk.chunk_elements * walk.element_bytes);
    if (!walk.chunk)
        return error_no_memory(err, "a part of a variable");
    enum status status = STATUS_OK;
    for (int i = 0; lost && !status && i < TRIES; i++)
        status = walk_once(&walk, &lost, err);
    alloc_free_tensor(walk.chunk, walk.chunk_elements * walk.element_bytes);
    if (!status && lost)
        status = error_set(err, STATUS_ABORTED,
                           "the snapshot was replaced %d times before all its values were read",
                           TRIES);
    return status;
}

/* ---- statistics ---- */

double value_as_double(enum dtype dtype, const void *values, uint64_t index)
{
    if (dtype == DTYPE_FLOAT64)
        return ((const double *)values)[index];
    if (dtype == DTYPE_INT64)
        return (double)((const int64_t *)values)[index];
    return (double)((const float *)values)[index];
}

struct statistics_sink {
    struct statistics statistics;
    enum dtype dtype;
};

static enum status statistics_begin(void *context, uint64_t step, struct error *err)
{
    struct statistics_sink *sink = context;

    (void)err;
    sink->statistics = (struct statistics){.step = step};
    return STATUS_OK;
}

static enum status statistics_take(void *context, const void *values, uint64_t count,
                                   struct error *err)
{
    struct statistics_sink *sink = context;
    struct statistics *sums = &sink->statistics;

    (void)err;
    for (uint64_t i = 0; i < count; i++) {
        double value = value_as_double(sink->dtype, values, i);
        bool first = sums->count == sums->nan_count + sums->inf_count;
        sums->count++;
        if (isnan(value)) {
            sums->nan_count++;
        } else if (isinf(value)) {
            sums->inf_count++;
        } else {
            sums->sum += value;
            sums->square_sum += value * value;
            sums->min = first || value < sums->min ? value : sums->min;
            sums->max = first || value > sums->max ? value : sums->max;
        }
    }
    return STATUS_OK;
}

enum status statistics_read(struct reader *reader, uint32_t variable, enum dtype dtype,
                            const struct selection *selection, struct statistics *ret_statistics,
                            struct error *err)
{
    struct statistics_sink sink = {.dtype = dtype};
    const struct values_sink values = {
        .context = &sink, .begin = statistics_begin, .take = statistics_take};
    enum status status = values_read(reader, variable, dtype, selection, &values, err);

    if (!status)
        *ret_statistics = sink.statistics;
    return status;
}

double statistics_norm(const struct statistics *statistics)
{
    return sqrt(statistics->square_sum);
}

double statistics_mean(const struct statistics *statistics)
{
    uint64_t finite = statistics->count - statistics->nan_count - statistics->inf_count;

    return finite ? statistics->sum / (double)finite : 0;
}
