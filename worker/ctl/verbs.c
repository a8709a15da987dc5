/* The table of verbs, and what several of them need. */
#include "common/base/alloc.h"
#include "common/base/options.h"
#include "worker/ctl/ctl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct verb verbs[] = {
    {.name = "status",
     .help = "state of the job, its step, servers and workers",
     .run = verb_status},
    {.name = "list", .help = "the variables: type, shape, optimizer", .run = verb_list},
    {.name = "get",
     .arguments = "NAME[SLICE]",
     .help = "values of one step, cut as in Python: 'w[0:4, -1]'",
     .arguments_min = 1,
     .arguments_max = 1,
     .options = CTL_FORMAT | CTL_OUTPUT | CTL_STEP,
     .run = verb_get},
    {.name = "stat",
     .arguments = "NAME[SLICE]",
     .help = "shape, norm, mean, min, max, how many NaN and Inf",
     .arguments_min = 1,
     .arguments_max = 1,
     .run = verb_stat},
    {.name = "watch",
     .arguments = "NAME[SLICE]",
     .help = "a line of statistics for every new step that is seen",
     .arguments_min = 1,
     .arguments_max = 1,
     .options = CTL_INTERVAL | CTL_COUNT,
     .run = verb_watch},
    {.name = "checksum",
     .help = "step and digest of all values; the same for any number of servers",
     .options = CTL_VALUES_ONLY,
     .run = verb_checksum},
    {.name = "set",
     .arguments = "learning-rate X",
     .help = "changes the learning rate from the next possible step on",
     .arguments_min = 2,
     .arguments_max = 2,
     .run = verb_set},
    {.name = "wait",
     .help = "until --step N is committed",
     .options = CTL_STEP,
     .needs = CTL_STEP,
     .run = verb_wait},
    {.name = "shutdown", .help = "ends the job for everybody", .run = verb_shutdown},
};

enum { VERB_COUNT = sizeof verbs / sizeof verbs[0], HELP_BYTES = 4096 };

const struct verb *verb_find(const char *word, struct error *err)
{
    const char *names[VERB_COUNT];

    for (size_t i = 0; i < VERB_COUNT; i++) {
        names[i] = verbs[i].name;
        if (strcmp(word, verbs[i].name) == 0)
            return &verbs[i];
    }
    const char *meant = option_suggest(word, names, VERB_COUNT);
    if (meant)
        error_set(err, STATUS_INVALID_ARGUMENT, "unknown verb '%.60s': did you mean '%s'?", word,
                  meant);
    else
        error_set(err, STATUS_INVALID_ARGUMENT,
                  "unknown verb '%.60s'; paramctl --help lists them all", word);
    return NULL;
}

char *verbs_help(void)
{
    char *text = alloc_zero(HELP_BYTES);
    size_t used = 0;

    if (!text)
        return NULL;
    used += (size_t)snprintf(text, HELP_BYTES, "Verbs\n");
    for (size_t i = 0; i < VERB_COUNT && used < HELP_BYTES; i++) {
        char left[64];
        snprintf(left, sizeof left, "%s %s", verbs[i].name,
                 verbs[i].arguments ? verbs[i].arguments : "");
        used += (size_t)snprintf(text + used, HELP_BYTES - used, "  %-20s %s\n", left,
                                 verbs[i].help);
    }
    if (used < HELP_BYTES)
        snprintf(text + used, HELP_BYTES - used,
                 "\nResults go to stdout, messages to stderr. Exit code: 0 done, 1 failed, 2 wrong "
                 "use.\n");
    return text;
}

static void name_not_found(const struct registry *registry, const char *name, struct error *err)
{
    const char **names = alloc_array(registry->variable_count, sizeof *names);
    const char *meant = NULL;

    for (size_t i = 0; names && i < registry->variable_count; i++)
        names[i] = registry->variables[i].name;
    if (names)
        meant = option_suggest(name, names, registry->variable_count);
    if (meant)
        error_set(err, STATUS_NOT_FOUND, "there is no variable '%.256s': did you mean '%s'?", name,
                  meant);
    else if (registry->variable_count == 0)
        error_set(err, STATUS_NOT_FOUND, "there is no variable '%.256s': the job has none yet",
                  name);
    else
        error_set(err, STATUS_NOT_FOUND,
                  "there is no variable '%.256s'; paramctl list shows all %zu", name,
                  registry->variable_count);
    alloc_free(names);
}

enum status ctl_find_variable(struct ctl *ctl, const char *text, uint32_t *ret_id,
                              struct variable_spec *ret_spec, const char **ret_slice,
                              struct error *err)
{
    const struct registry *registry;
    size_t length = strcspn(text, "[");
    char name[LIMIT_NAME_BYTES + 1];

    if (length == 0 || length > LIMIT_NAME_BYTES)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "'%.80s': the name of a variable has 1 to %d characters", text,
                         LIMIT_NAME_BYTES);
    memcpy(name, text, length);
    name[length] = '\0';
    enum status status = reader_list(ctl->reader, &registry, err);
    if (status)
        return status;
    const struct variable_spec *spec = registry_find(registry, name, ret_id);
    if (!spec) {
        name_not_found(registry, name, err);
        return err->status;
    }
    *ret_spec = *spec;
    *ret_slice = text + length;
    return STATUS_OK;
}

enum status ctl_flush(struct error *err)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return STATUS_OK;
    return error_set(err, STATUS_UNAVAILABLE, "write to stdout: %s", strerror(errno));
}
