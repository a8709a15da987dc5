#include "worker/train/history.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROW_BYTES = LOGS_MAX * (LOG_NAME_BYTES + 32) };

/* Moves to behind the last row that is kept, and cuts the file there. */
static bool keep_rows(FILE *file, uint64_t epoch_first)
{
    char row[ROW_BYTES];
    long kept = 0;

    for (bool names = true; fgets(row, sizeof row, file); names = false) {
        char *end;
        unsigned long long epoch = strtoull(row, &end, 10);
        if (!names && (end == row || epoch >= epoch_first))
            break;
        kept = ftell(file);
    }
    return kept >= 0 && !ferror(file) && fseek(file, kept, SEEK_SET) == 0 &&
           ftruncate(fileno(file), kept) == 0;
}

enum status history_open(const char *path, uint64_t epoch_first, FILE **ret_file, struct error *err)
{
    FILE *file = epoch_first > 0 ? fopen(path, "r+") : fopen(path, "w");

    if (!file && epoch_first > 0 && errno == ENOENT)
        file = fopen(path, "w+");
    if (!file)
        return error_set(err, STATUS_UNAVAILABLE, "write the history to '%s': %m", path);
    if (epoch_first > 0 && !keep_rows(file, epoch_first)) {
        enum status status = error_set(err, STATUS_UNAVAILABLE,
                                       "go on with the history in '%s': %m", path);
        fclose(file);
        return status;
    }
    *ret_file = file;
    return STATUS_OK;
}

enum status history_add(FILE *file, uint64_t epoch, const struct logs *logs, struct error *err)
{
    if (ftell(file) == 0) {
        fprintf(file, "epoch");
        for (size_t i = 0; i < logs->count; i++)
            fprintf(file, ",%s", logs->items[i].name);
        fprintf(file, "\n");
    }
    fprintf(file, "%llu", (unsigned long long)epoch);
    for (size_t i = 0; i < logs->count; i++)
        fprintf(file, ",%.9g", logs->items[i].value);
    fprintf(file, "\n");
    if (fflush(file) != 0)
        return error_set(err, STATUS_UNAVAILABLE, "write a row of the history: %m");
    return STATUS_OK;
}
