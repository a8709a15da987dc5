/* paramctl set KEY VALUE */
#include "common/base/options.h"
#include "worker/ctl/ctl.h"
#include "worker/ctl/print.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const keys[] = {"learning-rate"};

static enum status check_key(const char *key, struct error *err)
{
    const char *meant = option_suggest(key, keys, sizeof keys / sizeof keys[0]);

    if (strcmp(key, keys[0]) == 0)
        return STATUS_OK;
    if (meant)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "set: unknown key '%.60s': did you mean '%s'?", key, meant);
    return error_set(err, STATUS_INVALID_ARGUMENT, "set: unknown key '%.60s'; there is '%s'", key,
                     keys[0]);
}

enum status verb_set(struct ctl *ctl, struct error *err)
{
    const char *key = ctl->arguments[0], *text = ctl->arguments[1];
    char *end;
    uint64_t from_step;
    enum status status = check_key(key, err);

    if (status)
        return status;
    double value = strtod(text, &end);
    if (end == text || *end || !isfinite(value))
        return error_set(err, STATUS_INVALID_ARGUMENT, "set %s: '%.60s' is no number", key, text);
    status = reader_set(ctl->reader, key, value, &from_step, err);
    if (status)
        return error_wrap(err, "set %s %s", key, text);
    if (ctl->json)
        return print_json(json_pack("{s:s, s:o, s:I}", "key", key, "value", json_of_double(value),
                                    "from_step", (json_int_t)from_step),
                          err);
    printf("%s %s from step %llu\n", key, text, (unsigned long long)from_step);
    return STATUS_OK;
}
