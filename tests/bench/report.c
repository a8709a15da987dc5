#include "tests/bench/bench.h"

#include <stdlib.h>
#include <string.h>

bool bench_wants(const struct bench *bench, const char *name)
{
    if (bench_signal)
        return false;
    return !bench->only || strstr(name, bench->only) ||
           strncmp(bench->only, name, strlen(name)) == 0;
}

void bench_heading(const char *text)
{
    printf("\n%s\n", text);
    printf("  %-30s %9s %9s         %6s %5s  %-17s %s\n", "", "ours", "floor", "ratio", "pairs",
           "ours, range", "floor");
    fflush(stdout);
}

static void json_text(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', out);
        fputc(*text, out);
    }
    fputc('"', out);
}

static void json_row(struct bench *bench, const struct row *row, double ratio, unsigned runs)
{
    FILE *out = bench->json;

    fprintf(out, "%s\n  {\"name\": ", bench->rows > 0 ? "," : "");
    json_text(out, row->name);
    fprintf(out, ", \"value\": %.6g, \"unit\": ", row->value);
    json_text(out, row->unit);
    fprintf(out, ", \"floor\": %.6g, \"floor_name\": ", row->floor);
    json_text(out, row->floor_name);
    fprintf(out, ", \"ratio\": %.4g, \"higher_is_better\": %s, \"runs\": %u}", ratio,
            row->higher_is_better ? "true" : "false", runs);
}

void bench_row(struct bench *bench, const struct row *row, const struct comparison *comparison)
{
    double ratio = row->floor > 0 ? row->value / row->floor : 0;
    char range[32];

    if (!bench_wants(bench, row->name))
        return;
    snprintf(range, sizeof range, "%.4g..%.4g", row->low, row->high);
    printf("  %-30s %9.4g %9.4g %-7s %6.2f%s%5u  %-17s %s\n", row->name, row->value, row->floor,
           row->unit, ratio, comparison->doubtful ? "~" : " ", comparison->runs, range,
           row->floor_name);
    fflush(stdout);
    if (bench->json)
        json_row(bench, row, ratio, comparison->runs);
    bench->rows++;
    bench->doubtful += comparison->doubtful;
}

void bench_time_row(struct bench *bench, const char *name, const char *unit, double scale, bool p99,
                    const struct comparison *comparison, const char *floor_name)
{
    const struct figures *ours = &comparison->ours;
    const struct figures *floor = &comparison->floor;
    const struct row row = {
        .name = name,
        .unit = unit,
        .value = (p99 ? ours->p99 : ours->p50) * scale,
        .floor = (p99 ? floor->p99 : floor->p50) * scale,
        .low = p99 ? ours->p99 * scale : ours->low * scale,
        .high = p99 ? ours->p99 * scale : ours->high * scale,
        .floor_name = floor_name,
    };

    bench_row(bench, &row, comparison);
}

void bench_rate_row(struct bench *bench, const char *name, const char *unit, double amount,
                    double floor_amount, const struct comparison *comparison,
                    const char *floor_name)
{
    const struct row row = {
        .name = name,
        .unit = unit,
        .value = amount / comparison->ours.p50,
        .floor = floor_amount / comparison->floor.p50,
        .low = amount / comparison->ours.high,
        .high = amount / comparison->ours.low,
        .floor_name = floor_name,
        .higher_is_better = true,
    };

    bench_row(bench, &row, comparison);
}

void bench_failed(struct bench *bench, const char *name, const struct error *err)
{
    if (bench_signal)
        return;
    printf("  %-30s failed: %s\n", name, err->message);
    fflush(stdout);
    bench->failures++;
}
