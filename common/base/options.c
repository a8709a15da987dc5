#include "common/base/options.h"

#include "common/base/exit_code.h"
#include "common/base/options_value.h"
#include "common/base/version.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_MAX = 128 };

/* A word of the command line taken apart: "--epochs=3" is the row of epochs and the value "3". */
struct word {
    const struct option *row; /* NULL: no such option */
    const char *value;        /* in the same word; NULL: none */
    bool is_help, is_version;
};

/* "-" is a file name by habit, and "-1" a number: a rank, a staleness. */
static bool is_option(const char *word)
{
    return word[0] == '-' && word[1] != '\0' && word[1] != '.' && !isdigit((unsigned char)word[1]);
}

static struct word take_long_apart(const struct options *options, const char *text)
{
    const char *equals = strchr(text, '=');
    size_t length = equals ? (size_t)(equals - text) : strlen(text);
    struct word word = {.value = equals ? equals + 1 : NULL};

    for (size_t i = 0; i < options->row_count; i++) {
        const struct option *row = &options->rows[i];
        if (row->name && strlen(row->name) == length && memcmp(row->name, text, length) == 0) {
            word.row = row;
            return word;
        }
    }
    word.is_help = strcmp(text, "help") == 0;
    word.is_version = strcmp(text, "version") == 0;
    return word;
}

static struct word take_apart(const struct options *options, const char *text)
{
    struct word word = {0};

    if (text[1] == '-')
        return take_long_apart(options, text + 2);
    for (size_t i = 0; i < options->row_count; i++) {
        const struct option *row = &options->rows[i];
        if (row->letter && row->letter == text[1]) {
            word.row = row;
            word.value = text[2] ? text + 2 : NULL;
            return word;
        }
    }
    word.is_help = strcmp(text, "-h") == 0;
    return word;
}

/* Looks ahead for --help and --version, so that the help shows defaults and nothing is complained
 * about. */
static enum options_wish find_wish(const struct options *options, int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (!is_option(argv[i])) {
            if (options->stop_at_argument)
                break;
            continue;
        }
        struct word word = take_apart(options, argv[i]);
        if (word.is_help)
            return OPTIONS_HELP;
        if (word.is_version)
            return OPTIONS_VERSION;
        if (word.row && !word.row->flag && !word.value && i + 1 < argc && !is_option(argv[i + 1]))
            i++;
    }
    return OPTIONS_RUN;
}

static enum status unknown_option(const struct options *options, const char *text,
                                  struct error *err)
{
    const char *names[ROWS_MAX + 2] = {"help", "version"};
    size_t name_count = 2;
    int length = (int)strcspn(text, "=");
    char name[64];

    for (size_t i = 0; i < options->row_count && name_count < ROWS_MAX + 2; i++) {
        if (options->rows[i].name)
            names[name_count++] = options->rows[i].name;
    }
    snprintf(name, sizeof name, "%.*s", length - (int)strspn(text, "-"), text + strspn(text, "-"));
    const char *meant = option_suggest(name, names, name_count);
    if (meant)
        return error_set(err, STATUS_INVALID_ARGUMENT, "unknown option %.*s; did you mean --%s?",
                         length, text, meant);
    return error_set(err, STATUS_INVALID_ARGUMENT, "unknown option %.*s; --help lists them", length,
                     text);
}

static enum status store(const struct option *row, const char *shown_name, const char *value,
                         struct error *err)
{
    enum status status = options_value_store(row, value, err);
    if (status != STATUS_OK) {
        status_ignore(error_wrap(err, "%s", shown_name), "it is the status returned already");
        return status;
    }
    if (row->ret_given)
        *row->ret_given = true;
    return STATUS_OK;
}

static enum status store_flag(const struct option *row, const char *text, const struct word *word,
                              struct error *err)
{
    if (word->value)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: --%s takes no value", text, row->name);
    *row->flag = true;
    if (row->ret_given)
        *row->ret_given = true;
    return STATUS_OK;
}

/* One option at argv[index] and its value, which may be the next word; ret_used counts the words.
 */
static enum status parse_option(const struct options *options, int argc, char **argv, int index,
                                int *ret_used, struct error *err)
{
    const char *text = argv[index];
    const char *next = index + 1 < argc ? argv[index + 1] : NULL;
    struct word word = take_apart(options, text);
    const char *value = word.value;
    char shown_name[72];

    if (!word.row)
        return unknown_option(options, text, err);
    *ret_used = 1;
    if (word.row->flag)
        return store_flag(word.row, text, &word, err);
    snprintf(shown_name, sizeof shown_name, "--%s", word.row->name);
    if (!value) {
        if (!next)
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s needs a value", shown_name);
        if (is_option(next))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "%s needs a value, not '%s' (one that begins with a dash: %s=%s)",
                             shown_name, next, shown_name, next);
        value = next;
        *ret_used = 2;
    }
    return store(word.row, shown_name, value, err);
}

/* Where neither the option nor its variable is given, a required one is missed. */
static enum status fill_from_environment(const struct options *options, const bool *given,
                                         struct error *err)
{
    for (size_t i = 0; i < options->row_count; i++) {
        const struct option *row = &options->rows[i];
        const char *value = row->environment ? getenv(row->environment) : NULL;
        char name[72];

        if (given[i] || row->group)
            continue;
        if (value && *value) {
            enum status status = store(row, row->environment, value, err);
            if (status != STATUS_OK)
                return status;
        } else if (row->required) {
            options_value_name(row, name, sizeof name);
            return error_set(err, STATUS_INVALID_ARGUMENT, "--%s %s is required%s%s", row->name,
                             name, row->environment ? ", or " : "",
                             row->environment ? row->environment : "");
        }
    }
    return STATUS_OK;
}

static enum status check_arguments(const struct options *options,
                                   const struct options_arguments *arguments, struct error *err)
{
    const char *name = options->arguments_name ? options->arguments_name : "argument";

    if (arguments->count < options->arguments_min)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s is missing; --help shows the use", name);
    if (arguments->count > options->arguments_max)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "'%s' belongs to no option; --help shows the use",
                         arguments->words[options->arguments_max]);
    return STATUS_OK;
}

enum status options_parse(const struct options *options, int argc, char **argv,
                          enum options_wish *ret_wish, struct options_arguments *ret_arguments,
                          struct error *err)
{
    struct options_arguments arguments = {.words = argv + (argc > 0 ? 1 : 0)};
    bool given[ROWS_MAX] = {false};
    enum status status;
    int index = 1;

    if (options->row_count > ROWS_MAX)
        return error_set(err, STATUS_INTERNAL, "%zu rows of options, %d at most",
                         options->row_count, ROWS_MAX);
    *ret_wish = find_wish(options, argc, argv);
    if (*ret_wish != OPTIONS_RUN)
        return STATUS_OK;
    while (index < argc) {
        int used = 1;
        if (strcmp(argv[index], "--") == 0) {
            index++;
            break;
        }
        if (is_option(argv[index])) {
            const struct option *row = take_apart(options, argv[index]).row;
            status = parse_option(options, argc, argv, index, &used, err);
            if (status != STATUS_OK)
                return status;
            given[row - options->rows] = true;
            index += used;
            continue;
        }
        if (options->stop_at_argument)
            break;
        /* never ahead of index: nothing is lost */
        arguments.words[arguments.count++] = argv[index++];
    }
    while (index < argc)
        arguments.words[arguments.count++] = argv[index++];
    status = fill_from_environment(options, given, err);
    if (status == STATUS_OK)
        status = check_arguments(options, &arguments, err);
    if (status == STATUS_OK)
        *ret_arguments = arguments;
    return status;
}

bool options_main(const struct options *options, int argc, char **argv,
                  struct options_arguments *ret_arguments, int *ret_exit_code)
{
    enum options_wish wish = OPTIONS_RUN;
    struct error err = {0};

    if (options_parse(options, argc, argv, &wish, ret_arguments, &err) != STATUS_OK) {
        fprintf(stderr, "%s: %s\n", options->program, err.message);
        *ret_exit_code = EXIT_CODE_WRONG_USE;
        return false;
    }
    *ret_exit_code = EXIT_CODE_DONE;
    if (wish == OPTIONS_HELP)
        options_print_help(options, stdout);
    else if (wish == OPTIONS_VERSION)
        printf("%s %s\n", options->program, PARAMD_VERSION);
    return wish == OPTIONS_RUN;
}
