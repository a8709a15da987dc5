/* One line a record on stderr: "12:03:04.567 paramd[server-0] warning: text". */
#ifndef PARAMD_COMMON_BASE_LOG_H
#define PARAMD_COMMON_BASE_LOG_H

#include "common/base/status.h"

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

/* Program name and part, "paramd[server-0]"; copied. */
void log_set_name(const char *name);

/* Records above level are dropped; LOG_INFO at start, PARAMD_LOG=debug|info|warning|error decides
 * in main(). */
void log_set_level(enum log_level level);

/* The level named by text; LOG_INFO where the text is NULL or unknown. */
enum log_level log_level_named(const char *text);

void log_write(enum log_level level, const char *format, ...) PRINTF_LIKE(2, 3);

#define log_error(...)   log_write(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_WARNING, __VA_ARGS__)
#define log_info(...)    log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...)   log_write(LOG_DEBUG, __VA_ARGS__)

#endif
