#include "tests/bench/bench.h"
#include "tests/bench/load.h"
#include "tests/bench/timing.h"

#include <stdlib.h>
#include <string.h>

enum { PAIRS_MAX = 64, TRIES = 3, WARM_UP = 4, QUIET_PAIRS_MIN = 3 };

static const double load_max = 0.12;

struct series {
    const char *name; /* "ours" or "floor" */
    const struct contender *contender;
    unsigned count; /* repetitions in a sample */
    double *all;    /* PAIRS_MAX times SUBJECT_COUNT_MAX: every repetition of every sample */
};

static enum status run(const struct series *series, unsigned count, double *ret_seconds,
                       struct error *err)
{
    const struct contender *contender = series->contender;

    return contender->run(contender->context, contender->what, count, ret_seconds, err);
}

/* How many repetitions fill a sample. The first ones, which touch memory and fill caches, don't
 * count. */
static enum status calibrate(const struct bench *bench, struct series *series, struct error *err)
{
    enum status status = run(series, WARM_UP, series->all, err);

    for (unsigned count = 2; !status; count *= 4) {
        if (count > SUBJECT_COUNT_MAX)
            count = SUBJECT_COUNT_MAX;
        double began = now_s();
        status = run(series, count, series->all, err);
        double fitting = bench->sample_s / (now_s() - began) * count;
        if (count < fitting / 4 && count < SUBJECT_COUNT_MAX)
            continue;
        series->count = fitting < 2                   ? 2
                        : fitting > SUBJECT_COUNT_MAX ? SUBJECT_COUNT_MAX
                                                      : (unsigned)fitting;
        break;
    }
    return status;
}

/* One sample; taken again while others are busy, as long as there is time. */
static enum status sample(struct bench *bench, const struct series *series, unsigned pair,
                          double deadline, bool *ret_busy, struct error *err)
{
    double *seconds = series->all + (size_t)pair * SUBJECT_COUNT_MAX;

    for (int attempt = 0;; attempt++) {
        struct load_mark mark = load_now();
        enum status status = run(series, series->count, seconds, err);
        if (status)
            return status;
        double others = load_of_others(&mark);
        *ret_busy = others > load_max;
        if (bench->samples)
            printf("    %-5s %2u: %u repetitions, median %.1f us; others %.0f %%\n", series->name,
                   pair, series->count, quantile(seconds, series->count, 0.5) * 1e6, others * 100);
        if (!*ret_busy || attempt + 1 >= TRIES || now_s() > deadline)
            return STATUS_OK;
        bench->repeated++;
    }
}

/* Of the first `pairs` samples. */
static struct figures figures_of(struct series *series, unsigned pairs)
{
    double medians[PAIRS_MAX];
    size_t used = 0;

    for (unsigned pair = 0; pair < pairs; pair++) {
        double *seconds = series->all + (size_t)pair * SUBJECT_COUNT_MAX;
        medians[pair] = quantile(seconds, series->count, 0.5);
        memmove(series->all + used, seconds, series->count * sizeof(double));
        used += series->count;
    }
    struct figures figures = {
        .p50 = quantile(medians, pairs, 0.5), /* sorts them */
        .p99 = quantile(series->all, used, 0.99),
    };
    figures.low = medians[0];
    figures.high = medians[pairs - 1];
    return figures;
}

static void move_sample(struct series *series, unsigned to, unsigned from)
{
    if (to != from)
        memcpy(series->all + (size_t)to * SUBJECT_COUNT_MAX,
               series->all + (size_t)from * SUBJECT_COUNT_MAX, series->count * sizeof(double));
}

/* Pairs that were disturbed are left out if there are enough others. */
static enum status take_pairs(struct bench *bench, struct series *ours, struct series *floor,
                              struct comparison *ret_comparison, struct error *err)
{
    double deadline = now_s() + bench->row_s;
    bool disturbed[PAIRS_MAX];
    unsigned pairs = 0, quiet = 0;

    for (; !bench_signal && pairs < bench->pairs_max &&
           (pairs < bench->pairs_min || now_s() < deadline);
         pairs++) {
        struct series *order[2] = {pairs % 2 ? floor : ours, pairs % 2 ? ours : floor};
        bool busy[2];
        for (int i = 0; i < 2; i++) {
            enum status status = sample(bench, order[i], pairs, deadline, &busy[i], err);
            if (status)
                return status;
        }
        disturbed[pairs] = busy[0] || busy[1];
        quiet += !disturbed[pairs];
    }
    if (pairs == 0)
        return error_set(err, STATUS_CANCELLED, "interrupted");
    bool enough = quiet >= QUIET_PAIRS_MIN;
    unsigned kept = 0;
    for (unsigned pair = 0; pair < pairs; pair++) {
        if (enough && disturbed[pair])
            continue;
        move_sample(ours, kept, pair);
        move_sample(floor, kept++, pair);
    }
    *ret_comparison = (struct comparison){figures_of(ours, kept), figures_of(floor, kept), kept,
                                          !enough};
    return STATUS_OK;
}

enum status bench_compare(struct bench *bench, const struct contender *ours,
                          const struct contender *floor, struct comparison *ret_comparison,
                          struct error *err)
{
    struct series series[2] = {0};
    enum status status = STATUS_OK;

    for (int i = 0; i < 2; i++) {
        series[i].name = i == 0 ? "ours" : "floor";
        series[i].contender = i == 0 ? ours : floor;
        series[i].all = calloc((size_t)PAIRS_MAX * SUBJECT_COUNT_MAX, sizeof(double));
    }
    if (!series[0].all || !series[1].all)
        status = error_no_memory(err, "samples");
    if (!status)
        status = calibrate(bench, &series[0], err);
    if (!status)
        status = calibrate(bench, &series[1], err);
    if (!status)
        status = take_pairs(bench, &series[0], &series[1], ret_comparison, err);
    for (int i = 0; i < 2; i++)
        free(series[i].all);
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
