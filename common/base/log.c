#include "common/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static char program_name[64] = "paramd";
static enum log_level highest = LOG_INFO;

static const char *const level_names[] = {"error", "warning", "info", "debug"};

void log_set_name(const char *name)
{
    snprintf(program_name, sizeof program_name, "%s", name);
}

void log_set_level(enum log_level level)
{
    highest = level;
}

enum log_level log_level_named(const char *text)
{
    for (size_t i = 0; text && i < sizeof level_names / sizeof level_names[0]; i++) {
        if (strcmp(text, level_names[i]) == 0)
            return (enum log_level)i;
    }
    return LOG_INFO;
}

void log_write(enum log_level level, const char *format, ...)
{
    char text[1024];
    struct timespec now;
    struct tm calendar;
    va_list args;

    if (level > highest)
        return;
    clock_gettime(CLOCK_REALTIME, &now); /* for people only: no decision reads the wall clock */
    localtime_r(&now.tv_sec, &calendar);
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    /* One write for the whole line, so that lines of several processes do not mix. */
    fprintf(stderr, "%02d:%02d:%02d.%03ld %s %s: %s\n", calendar.tm_hour, calendar.tm_min,
            calendar.tm_sec, now.tv_nsec / 1000000, program_name, level_names[level], text);
}
