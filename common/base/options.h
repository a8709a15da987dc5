/* Command lines: a table of options, typed values with bounds, --help of one screen, "did you
 * mean". */
#ifndef PARAMD_COMMON_BASE_OPTIONS_H
#define PARAMD_COMMON_BASE_OPTIONS_H

#include "common/base/error.h"
#include "common/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Values of an option that may be repeated, in their order. */
enum { OPTION_LIST_MAX = 64 };
struct option_list {
    const char *items[OPTION_LIST_MAX]; /* borrowed from argv */
    size_t count;
};

/*
 * One row of the table. Exactly one of the pointers flag .. list is set: it says which kind of
 * value the option takes and where it goes. What stands there before the parse is the default, and
 * help prints it.
 *
 *     {.name = "epochs", .value = "N", .integer = &epochs, .min = 1, .max = 1000000, .help =
 * "passes"},
 */
struct option {
    const char *group; /* a heading of the help; then the row is nothing else */

    const char *name;         /* "epochs", for --epochs N and --epochs=N */
    char letter;              /* 's' for -s N and -sN; 0: none */
    const char *value;        /* "FILE" in the help; NULL: "N", "TEXT", ... by kind */
    const char *help;         /* without a full stop; the default is put behind it */
    const char *default_text; /* printed as the default instead of the value; "" prints none */
    /* variable that is read when the option is not given; empty counts as unset */
    const char *environment;
    bool required;   /* by option or environment */
    bool *ret_given; /* set when the option or its variable is given; may be NULL */

    bool *flag;        /* takes no value */
    const char **text; /* not empty; borrowed from argv or the environment */
    int64_t *integer;  /* min to max; both 0: any */
    /* "15", "15s", "1.5s", "500ms", "2m"; a bare number is seconds; bounds in ms */
    int64_t *duration_ms;
    double *number; /* finite, number_min to number_max; both 0: any */
    int *choice;    /* index into choices; a negative default prints none */
    struct option_list *list;

    int64_t min, max;
    double number_min, number_max;
    const char *const *choices; /* NULL-terminated */
};

struct options {
    const char *program; /* "paramd-worker" */
    const char *usage;   /* what follows the program's name, "--model FILE [options]" */
    const char *summary; /* a sentence; NULL: none */
    const char *footer;  /* printed below the table as it is; NULL: none */
    const struct option *rows;
    size_t row_count;
    size_t arguments_min, arguments_max; /* words that belong to no option */
    const char *arguments_name;          /* "VERB", for the messages; NULL: "argument" */
    /* the first one ends the options, as in `env` and `sudo` */
    bool stop_at_argument;
};

enum options_wish { OPTIONS_RUN, OPTIONS_HELP, OPTIONS_VERSION };

/* The words that belong to no option, in order; argv's own array, rearranged. */
struct options_arguments {
    char **words;
    size_t count;
};

/*
 * Parses argv[1] .. argv[argc - 1] into the places that the table names. Every option may stand
 * before, between or behind the arguments; "--" ends the options; "-" and negative numbers are
 * arguments, not options. The last of a repeated option counts, unless it is a list. --help (-h)
 * and --version need no row: with one of them ret_wish says so, and what is missing elsewhere is no
 * mistake.
 *
 * INVALID_ARGUMENT with one message that names the option, the value and what would be right.
 * Values already read stay written; rearranges argv; allocates nothing.
 */
NODISCARD enum status options_parse(const struct options *options, int argc, char **argv,
                                    enum options_wish *ret_wish,
                                    struct options_arguments *ret_arguments, struct error *err);

/* The help text, 80 columns wide. Print it before the parse or with untouched defaults. */
void options_print_help(const struct options *options, FILE *out);

/*
 * For main(): options_parse, and what it asks for. Returns true to go on. Else the program ends
 * with ret_exit_code: 0 after --help or --version (printed on stdout), 2 after a mistake (printed
 * on stderr).
 */
bool options_main(const struct options *options, int argc, char **argv,
                  struct options_arguments *ret_arguments, int *ret_exit_code);

/*
 * The candidate that a misspelt word means most likely: within a third of its letters by edit
 * distance (insert, drop, replace, swap two), or the only one that begins with it; NULL if none.
 * Letter case is ignored.
 */
const char *option_suggest(const char *word, const char *const *candidates, size_t candidate_count);

#endif
