/*
 * The bar is Keras 3's Progbar to the byte: backspaces over the last line, bold counts, a green and
 * a grey half, time left (at the end: taken), time per step, and the means so far.
 * https://keras.io/api/utils/python_utils/#progbar-class
 */
#include "worker/train/progress.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define DRAW_INTERVAL_S 0.05

enum { BAR_COLUMNS = 20, LINE_BYTES = 8192 };

/* ---- logs ---- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b); /* the name is an item's first member */
}

static void add_logs(struct logs *logs, const struct model *model,
                     const struct model_totals *totals, const char *prefix)
{
    size_t first = logs->count;

    for (size_t i = 0; i <= model->metric_count; i++) {
        const struct metric_total *total = i == 0 ? &totals->loss : &totals->metrics[i - 1];
        snprintf(logs->items[logs->count].name, LOG_NAME_BYTES, "%s%s", prefix,
                 i == 0 ? "loss" : model->metrics[i - 1].name);
        logs->items[logs->count++].value = metric_mean(total);
    }
    qsort(&logs->items[first], logs->count - first, sizeof logs->items[0], compare_names);
}

void logs_set(struct logs *ret_logs, const struct model *model, const struct model_totals *totals,
              const struct model_totals *validation)
{
    ret_logs->count = 0;
    add_logs(ret_logs, model, totals, "");
    if (validation)
        add_logs(ret_logs, model, validation, "val_");
}

void log_print_number(double value, char ret_text[LOG_NUMBER_BYTES])
{
    if (isnan(value) || fabs(value) <= 1e-3)
        snprintf(ret_text, LOG_NUMBER_BYTES, "%.4e", isnan(value) ? (double)NAN : value);
    else
        snprintf(ret_text, LOG_NUMBER_BYTES, fabs(value) < 1e30 ? "%.4f" : "%.4e", value);
}

/* ---- a line under construction ---- */

struct line {
    char text[LINE_BYTES];
    size_t bytes;
    size_t width; /* columns: without escapes, and a character of the bar is one */
};

static void put(struct line *line, bool visible, const char *format, ...) PRINTF_LIKE(3, 4);

static void put(struct line *line, bool visible, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    int bytes = vsnprintf(line->text + line->bytes, LINE_BYTES - line->bytes, format, arguments);
    va_end(arguments);
    if (bytes < 0 || (size_t)bytes >= LINE_BYTES - line->bytes)
        return;
    line->bytes += (size_t)bytes;
    if (visible)
        line->width += (size_t)bytes;
}

static void put_bold(struct line *line, const char *text)
{
    put(line, false, "\x1b[1m");
    put(line, true, "%s", text);
    put(line, false, "\x1b[0m");
}

static void put_columns(struct line *line, const char *color, size_t count)
{
    put(line, false, "%s", color);
    for (size_t i = 0; i < count; i++)
        put(line, false, "\u2501");
    line->width += count;
    put(line, false, "\x1b[0m");
}

static void put_logs(struct line *line, const struct logs *logs)
{
    char number[LOG_NUMBER_BYTES];

    for (size_t i = 0; i < logs->count; i++) {
        log_print_number(logs->items[i].value, number);
        put(line, true, " - %s: %s", logs->items[i].name, number);
    }
}

/* ---- the bar ---- */

static double now_s(const struct progress *progress)
{
    return (double)clock_now_ns(&progress->clock) / 1e9;
}

/* The first step, which may include preparations, does not count once there is a second. */
static double step_seconds(struct progress *progress, uint64_t step, double now)
{
    double seconds;

    if (step == 0)
        return 0;
    seconds = progress->has_first_step && step > 1
                  ? (now - progress->first_step_s) / (double)(step - 1)
                  : (now - progress->start_s) / (double)step;
    if (step == 1) {
        progress->first_step_s = now;
        progress->has_first_step = true;
    }
    return seconds;
}

static void put_time_left(struct line *line, double seconds)
{
    char text[64];
    long long whole = (long long)seconds;

    if (seconds > 3600)
        snprintf(text, sizeof text, "%lld:%02lld:%02lld", whole / 3600, whole % 3600 / 60,
                 whole % 60);
    else if (seconds > 60)
        snprintf(text, sizeof text, "%lld:%02lld", whole / 60, whole % 60);
    else
        snprintf(text, sizeof text, "%llds", whole);
    put(line, true, " ");
    put_bold(line, text);
}

static void put_time_taken(struct line *line, double seconds)
{
    char text[64];

    snprintf(text, sizeof text, "%.0fs", seconds);
    put(line, true, " ");
    put_bold(line, text);
}

static void put_step_time(struct line *line, double seconds)
{
    if (seconds >= 1 || seconds == 0)
        put(line, true, " %.0fs/step", seconds);
    else if (seconds >= 1e-3)
        put(line, true, " %.0fms/step", seconds * 1e3);
    else
        put(line, true, " %.0fus/step", seconds * 1e6);
}

static void put_counts(struct line *line, uint64_t step, uint64_t steps)
{
    char target[32], text[64];
    int digits = snprintf(target, sizeof target, "%llu", (unsigned long long)steps);
    size_t filled = (size_t)((double)BAR_COLUMNS * ((double)step / (double)steps));

    snprintf(text, sizeof text, "%*llu/%s", digits, (unsigned long long)step, target);
    put_bold(line, text);
    put(line, true, " ");
    if (filled > 0)
        put_columns(line, "\x1b[32m", filled);
    put_columns(line, "\x1b[37m", BAR_COLUMNS - filled);
}

static void draw(struct progress *progress, uint64_t step, const struct logs *logs, bool last)
{
    double now = now_s(progress), seconds = step_seconds(progress, step, now);
    struct line line = {.bytes = 0};

    if (!last && now - progress->last_draw_s < DRAW_INTERVAL_S)
        return;
    for (size_t i = 0; i < progress->width; i++)
        put(&line, false, "\b");
    put(&line, false, "\r");
    put_counts(&line, step, progress->steps);
    if (last)
        put_time_taken(&line, now - progress->start_s);
    else
        put_time_left(&line, seconds * (double)(progress->steps - step));
    put_step_time(&line, seconds);
    put_logs(&line, logs);
    size_t width = line.width;
    for (size_t i = width; i < progress->width; i++)
        put(&line, false, " ");
    if (last)
        put(&line, false, "\n");
    fwrite(line.text, 1, line.bytes, progress->out);
    fflush(progress->out);
    progress->width = last ? 0 : width;
    progress->last_draw_s = now;
}

/* ---- an epoch ---- */

void progress_epoch_begin(struct progress *progress, uint64_t epoch, uint64_t steps)
{
    progress->epoch = epoch;
    progress->steps = steps;
    progress->width = 0;
    progress->has_first_step = false;
    progress->last_draw_s = -DRAW_INTERVAL_S;
    progress->start_s = now_s(progress);
    if (progress->bar && progress->epoch_count > 1) {
        fprintf(progress->out, "Epoch %llu/%llu\n", (unsigned long long)epoch + 1,
                (unsigned long long)progress->epoch_count);
        fflush(progress->out);
    }
}

void progress_step(struct progress *progress, uint64_t step, const struct logs *logs)
{
    if (progress->bar)
        draw(progress, step, logs, false);
}

void progress_epoch_end(struct progress *progress, const struct logs *logs)
{
    struct line line = {.bytes = 0};

    if (progress->bar) {
        draw(progress, progress->steps, logs, true);
        return;
    }
    put(&line, true, "Epoch %llu/%llu", (unsigned long long)progress->epoch + 1,
        (unsigned long long)progress->epoch_count);
    put_logs(&line, logs);
    fprintf(progress->out, "%s\n", line.text);
    fflush(progress->out);
}
