/* paramctl watch NAME[SLICE]: one line for every new step that is seen. */
#include "worker/ctl/ctl.h"
#include "worker/ctl/print.h"
#include "worker/ctl/values.h"

#include <stdio.h>

static enum status print_line(const struct ctl *ctl, const struct statistics *statistics,
                              struct error *err)
{
    enum status status = STATUS_OK;

    if (ctl->json)
        status = print_json(
            json_pack(
                "{s:s, s:I, s:o, s:o, s:o, s:o, s:I, s:I}", "name", ctl->arguments[0], "step",
                (json_int_t)statistics->step, "norm", json_of_double(statistics_norm(statistics)),
                "mean", json_of_double(statistics_mean(statistics)), "min",
                json_of_double(statistics->min), "max", json_of_double(statistics->max), "nan",
                (json_int_t)statistics->nan_count, "inf", (json_int_t)statistics->inf_count),
            err);
    else
        printf("step %llu  norm %.6g  mean %.6g  min %.6g  max %.6g",
               (unsigned long long)statistics->step, statistics_norm(statistics),
               statistics_mean(statistics), statistics->min, statistics->max);
    if (!ctl->json && statistics->nan_count + statistics->inf_count)
        printf("  NaN %llu  Inf %llu", (unsigned long long)statistics->nan_count,
               (unsigned long long)statistics->inf_count);
    if (!ctl->json)
        printf("\n");
    return status ? status : ctl_flush(err);
}

enum status verb_watch(struct ctl *ctl, struct error *err)
{
    struct variable_spec spec;
    struct selection selection;
    struct statistics statistics;
    const char *slice;
    uint32_t id;
    uint64_t last_plus_1 = 0;
    int64_t printed = 0;
    enum status status = ctl_find_variable(ctl, ctl->arguments[0], &id, &spec, &slice, err);

    if (!status)
        status = selection_parse(slice, spec.shape, spec.rank, &selection, err);
    while (!status) {
        status = statistics_read(ctl->reader, id, spec.dtype, &selection, &statistics, err);
        if (!status && statistics.step + 1 != last_plus_1) {
            last_plus_1 = statistics.step + 1;
            status = print_line(ctl, &statistics, err);
            if (!status && ++printed == ctl->count)
                break;
        }
        if (!status) {
            reader_idle(ctl->reader, (uint32_t)ctl->interval_ms);
            status = reader_release_snapshot(ctl->reader, err);
        }
    }
    return status;
}
