#include "tests/bench/bench.h"
#include "tests/bench/load.h"
#include "tests/bench/timing.h"

#include <stdlib.h>
#include <string.h>

enum { PAIRS_MAX = 64, TRIES = 3 };

static const double load_max = 0.12;

struct series {
    const struct contender *contender;
    unsigned count; /* repetitions in a sample */
    double *all;    /* every repetition of every sample */
    size_t all_count;
    double medians[PAIRS_MAX];
    double seconds[SUBJECT_COUNT_MAX];
};

static enum status run(struct series *series, unsigned count, struct error *err)
{
    const struct contender *contender = series->contender;

    return contender->run(contender->context, contender->what, count, series->seconds, err);
}

/* Also the warm-up: memory is touched, caches and connections are in use. */
static enum status calibrate(const struct bench *bench, struct series *series, struct error *err)
{
    unsigned count = 2;

    for (;;) {
        double began = now_s();
        enum status status = run(series, count, err);
        if (status)
            return status;
        double each = (now_s() - began) / count;
        double fitting = bench->sample_s / each;
        if (count >= fitting / 4 || count == SUBJECT_COUNT_MAX) {
            series->count = fitting < 2                   ? 2
                            : fitting > SUBJECT_COUNT_MAX ? SUBJECT_COUNT_MAX
                                                          : (unsigned)fitting;
            return STATUS_OK;
        }
        count = count * 4 < SUBJECT_COUNT_MAX ? count * 4 : SUBJECT_COUNT_MAX;
    }
}

/* One sample; taken again while others are busy, as long as there is time. */
static enum status sample(struct bench *bench, struct series *series, unsigned pair,
                          double deadline, bool *ret_doubtful, struct error *err)
{
    for (int attempt = 0;; attempt++) {
        struct load_mark mark = load_now();
        enum status status = run(series, series->count, err);
        if (status)
            return status;
        bool busy = load_of_others(&mark) > load_max;
        if (!busy || attempt + 1 >= TRIES || now_s() > deadline) {
            *ret_doubtful = *ret_doubtful || busy;
            break;
        }
        bench->repeated++;
    }
    memcpy(series->all + series->all_count, series->seconds, series->count * sizeof(double));
    series->all_count += series->count;
    series->medians[pair] = quantile(series->seconds, series->count, 0.5);
    return STATUS_OK;
}

static struct figures figures_of(struct series *series, unsigned pairs)
{
    struct figures figures = {
        .p99 = quantile(series->all, series->all_count, 0.99),
        .p50 = quantile(series->medians, pairs, 0.5), /* sorts them */
    };

    figures.low = series->medians[0];
    figures.high = series->medians[pairs - 1];
    return figures;
}

static enum status take_pairs(struct bench *bench, struct series *ours, struct series *floor,
                              struct comparison *ret_comparison, struct error *err)
{
    double deadline = now_s() + bench->row_s;
    unsigned pair = 0;
    bool doubtful = false;

    for (; pair < bench->pairs_max && (pair < bench->pairs_min || now_s() < deadline); pair++) {
        struct series *order[2] = {pair % 2 ? floor : ours, pair % 2 ? ours : floor};
        for (int i = 0; i < 2; i++) {
            enum status status = sample(bench, order[i], pair, deadline, &doubtful, err);
            if (status)
                return status;
        }
    }
    *ret_comparison = (struct comparison){figures_of(ours, pair), figures_of(floor, pair), pair,
                                          doubtful};
    return STATUS_OK;
}

enum status bench_compare(struct bench *bench, const struct contender *ours,
                          const struct contender *floor, struct comparison *ret_comparison,
                          struct error *err)
{
    struct series *series = calloc(2, sizeof *series);
    enum status status = STATUS_OK;

    for (int i = 0; series && i < 2; i++) {
        series[i].contender = i == 0 ? ours : floor;
        series[i].all = calloc((size_t)PAIRS_MAX * SUBJECT_COUNT_MAX, sizeof(double));
    }
    if (!series || !series[0].all || !series[1].all)
        status = error_no_memory(err, "samples");
    if (!status)
        status = calibrate(bench, &series[0], err);
    if (!status)
        status = calibrate(bench, &series[1], err);
    if (!status)
        status = take_pairs(bench, &series[0], &series[1], ret_comparison, err);
    for (int i = 0; series && i < 2; i++)
        free(series[i].all);
    free(series);
    return status;
}

enum status bench_run_subject(void *context, unsigned what, unsigned count, double *ret_seconds,
                              struct error *err)
{
    struct subject *subject = context;

    subject_order(subject, what, count);
    enum status status = subject_wait(subject, err);
    if (!status)
        memcpy(ret_seconds, subject->lane->seconds, count * sizeof(double));
    return status;
}
