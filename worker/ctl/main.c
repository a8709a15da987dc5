/* paramctl: looks into a running job, and gives it orders. Command line around the verbs. */
#include "common/base/alloc.h"
#include "common/base/exit_code.h"
#include "common/base/options.h"
#include "common/base/token.h"
#include "worker/ctl/cluster_file.h"
#include "worker/ctl/ctl.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const format_choices[] = {"text", "npy", "safetensors", NULL};

struct config {
    const char *address, *job, *token_file;
    struct cluster_file file; /* what address and token_file may point into */
    const struct verb *verb;
};

static bool parse(int argc, char **argv, struct config *config, struct ctl *ctl, int *ret_exit_code)
{
    bool format = false, output = false, step = false, interval = false, count = false;
    char *verbs = verbs_help();
    const struct option rows[] = {
        {.group = "Which job"},
        {.name = "address",
         .letter = 'a',
         .value = "ADDRESS",
         .text = &config->address,
         .environment = "PARAMD_COORDINATOR",
         .help = "of the coordinator",
         .default_text = "the last cluster launched here"},
        {.name = "token-file",
         .value = "FILE",
         .text = &config->token_file,
         .environment = "PARAMD_TOKEN_FILE",
         .help = "the job's token",
         .default_text = "the launcher's, for a cluster launched here"},
        {.name = "job",
         .value = "NAME",
         .text = &config->job,
         .environment = "PARAMD_JOB",
         .help = "refuse any other job there"},
        {.group = "Results"},
        {.name = "json", .flag = &ctl->json, .help = "one JSON object a line"},
        {.name = "format",
         .choice = &ctl->format,
         .choices = format_choices,
         .ret_given = &format,
         .help = "of get",
         .default_text = "by the name of the file, else text"},
        {.name = "output",
         .letter = 'o',
         .value = "FILE",
         .text = &ctl->output,
         .ret_given = &output,
         .help = "of get; the file appears whole or not at all",
         .default_text = "stdout"},
        {.name = "values-only",
         .flag = &ctl->values_only,
         .help = "checksum without optimizer slots"},
        {.group = "Time"},
        {.name = "step",
         .integer = &ctl->step,
         .min = 0,
         .max = INT64_MAX,
         .ret_given = &step,
         .help = "get: values of no other step; wait: until it is committed",
         .default_text = ""},
        {.name = "interval",
         .value = "TIME",
         .duration_ms = &ctl->interval_ms,
         .min = 1,
         .max = 86400000,
         .ret_given = &interval,
         .help = "of watch"},
        {.name = "count",
         .integer = &ctl->count,
         .min = 1,
         .max = INT64_MAX,
         .ret_given = &count,
         .help = "lines of watch",
         .default_text = "without end"},
        {.name = "timeout",
         .value = "TIME",
         .duration_ms = &ctl->timeout_ms,
         .min = 1,
         .max = 86400000,
         .help = "for an answer; of wait: in all"},
    };
    const struct options options = {
        .program = "paramctl",
        .usage = "[-a ADDRESS] VERB [ARGUMENTS] [options]",
        .summary = "Reads the live parameters of a running job, and gives it orders.",
        .footer = verbs,
        .rows = rows,
        .row_count = sizeof rows / sizeof rows[0],
        .arguments_min = 1,
        .arguments_max = 3,
        .arguments_name = "VERB",
    };
    struct options_arguments arguments;
    bool run = options_main(&options, argc, argv, &arguments, ret_exit_code);

    alloc_free(verbs);
    if (!run)
        return false;
    ctl->arguments = arguments.words;
    ctl->argument_count = arguments.count;
    ctl->given = (format ? CTL_FORMAT : 0) | (output ? CTL_OUTPUT : 0) | (step ? CTL_STEP : 0) |
                 (interval ? CTL_INTERVAL : 0) | (count ? CTL_COUNT : 0) |
                 (ctl->values_only ? CTL_VALUES_ONLY : 0);
    return true;
}

static const char *option_name(unsigned bit)
{
    static const char *const names[] = {"format",   "output", "step",
                                        "interval", "count",  "values-only"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (bit & (1u << i))
            return names[i];
    }
    return "";
}

/* Takes the verb off the arguments. */
static enum status choose_verb(struct config *config, struct ctl *ctl, struct error *err)
{
    const struct verb *verb = verb_find(ctl->arguments[0], err);

    if (!verb)
        return err->status;
    config->verb = verb;
    ctl->arguments++;
    ctl->argument_count--;
    if (ctl->given & ~verb->options)
        return error_set(err, STATUS_INVALID_ARGUMENT, "--%s is not for %s",
                         option_name(ctl->given & ~verb->options), verb->name);
    if (verb->needs & ~ctl->given)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s needs --%s", verb->name,
                         option_name(verb->needs & ~ctl->given));
    if (ctl->argument_count < verb->arguments_min)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s needs %s", verb->name, verb->arguments);
    if (ctl->argument_count > verb->arguments_max)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: one argument too many, '%.80s'",
                         verb->name, ctl->arguments[verb->arguments_max]);
    return STATUS_OK;
}

/* An address without a token may be that of a cluster launched here. */
static enum status choose_cluster(struct config *config, struct error *err)
{
    struct token token;

    if (config->address && !config->token_file &&
        cluster_file_of_address(config->address, &config->file))
        config->token_file = config->file.token_file;
    if (!config->address) {
        enum status status = cluster_file_last(&config->file, err);
        if (status)
            return status;
        config->address = config->file.address;
        if (!config->token_file)
            config->token_file = config->file.token_file;
    }
    enum status status = config->token_file ? token_read(config->token_file, &token, err)
                                            : STATUS_OK;
    if (!status && config->token_file)
        token_release(&token);
    return status;
}

static int fail(const struct error *err, enum exit_code code)
{
    fprintf(stderr, "paramctl: %s\n", err->message);
    return code;
}

static int run(const struct config *config, struct ctl *ctl)
{
    const struct reader_options options = {.coordinator = config->address,
                                           .job = config->job,
                                           .token_file = config->token_file,
                                           .program = "paramctl",
                                           .timeout_ms = (uint32_t)ctl->timeout_ms};
    struct error err;
    enum status status = reader_connect(&options, &ctl->reader, &err);

    if (status)
        return fail(&err,
                    status == STATUS_INVALID_ARGUMENT ? EXIT_CODE_WRONG_USE : EXIT_CODE_FAILED);
    status = config->verb->run(ctl, &err);
    if (!status)
        status = ctl_flush(&err);
    reader_close(ctl->reader);
    if (status)
        return fail(&err,
                    status == STATUS_INVALID_ARGUMENT ? EXIT_CODE_WRONG_USE : EXIT_CODE_FAILED);
    return EXIT_CODE_DONE;
}

int main(int argc, char **argv)
{
    struct config config = {0};
    struct ctl ctl = {.format = FORMAT_UNSET, .interval_ms = 1000, .timeout_ms = 30000};
    struct sigaction action = {.sa_handler = SIG_IGN};
    struct error err;
    int exit_code;

    sigaction(SIGPIPE, &action, NULL); /* a lost peer is a message, not a death */
    if (!parse(argc, argv, &config, &ctl, &exit_code))
        return exit_code;
    if (choose_verb(&config, &ctl, &err) || choose_cluster(&config, &err))
        return fail(&err, EXIT_CODE_WRONG_USE);
    return run(&config, &ctl);
}
