/* paramctl stat NAME[SLICE] */
#include "worker/ctl/ctl.h"
#include "worker/ctl/print.h"
#include "worker/ctl/values.h"

#include <stdio.h>

static enum status stat_json(const char *name, const struct variable_spec *spec,
                             const struct selection *selection, const struct statistics *statistics,
                             struct error *err)
{
    uint64_t shape[LIMIT_RANK];
    size_t rank = selection_shape(selection, shape);

    return print_json(
        json_pack("{s:s, s:s, s:o, s:I, s:I, s:o, s:o, s:o, s:o, s:I, s:I}", "name", name, "dtype",
                  dtype_name(spec->dtype), "shape", json_of_shape(shape, rank), "step",
                  (json_int_t)statistics->step, "count", (json_int_t)statistics->count, "norm",
                  json_of_double(statistics_norm(statistics)), "mean",
                  json_of_double(statistics_mean(statistics)), "min",
                  json_of_double(statistics->min), "max", json_of_double(statistics->max), "nan",
                  (json_int_t)statistics->nan_count, "inf", (json_int_t)statistics->inf_count),
        err);
}

static void stat_text(const char *name, const struct variable_spec *spec,
                      const struct selection *selection, const struct statistics *statistics)
{
    uint64_t shape[LIMIT_RANK];
    size_t rank = selection_shape(selection, shape);
    char shape_text[256], count[32];

    print_shape(shape, rank, shape_text, sizeof shape_text);
    print_count(statistics->count, count, sizeof count);
    printf("%s %s %s, %s element%s, step %llu\n", name, dtype_name(spec->dtype), shape_text, count,
           statistics->count == 1 ? "" : "s", (unsigned long long)statistics->step);
    printf("norm %.9g  mean %.9g  min %.9g  max %.9g\n", statistics_norm(statistics),
           statistics_mean(statistics), statistics->min, statistics->max);
    printf("NaN %llu  Inf %llu%s\n", (unsigned long long)statistics->nan_count,
           (unsigned long long)statistics->inf_count,
           statistics->nan_count + statistics->inf_count ? ", left out above" : "");
}

enum status verb_stat(struct ctl *ctl, struct error *err)
{
    struct variable_spec spec;
    struct selection selection;
    struct statistics statistics;
    const char *slice;
    uint32_t id;
    enum status status = ctl_find_variable(ctl, ctl->arguments[0], &id, &spec, &slice, err);

    if (!status)
        status = selection_parse(slice, spec.shape, spec.rank, &selection, err);
    if (!status)
        status = statistics_read(ctl->reader, id, spec.dtype, &selection, &statistics, err);
    if (status)
        return status;
    if (ctl->json)
        return stat_json(ctl->arguments[0], &spec, &selection, &statistics, err);
    stat_text(ctl->arguments[0], &spec, &selection, &statistics);
    return STATUS_OK;
}
