#include "common/base/options.h"
#include "common/base/options_value.h"

#include <stdio.h>
#include <string.h>

enum { SCREEN_COLUMNS = 80, HELP_COLUMN = 28, LEFT_BYTES = 160, RIGHT_BYTES = 512 };

/* Writes text in words from column on, and goes on below in the same column. Ends the line. */
static void print_wrapped(const char *text, int column, FILE *out)
{
    int at = column;

    while (*text) {
        int length = (int)strcspn(text, " ");
        if (at > column && at + 1 + length > SCREEN_COLUMNS) {
            fprintf(out, "\n%*s", column, "");
            at = column;
        } else if (at > column) {
            fputc(' ', out);
            at++;
        }
        fprintf(out, "%.*s", length, text);
        at += length;
        text += length;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

/* "what it does (default 32; or PARAMD_RANK)". */
static void describe(const struct option *row, char *ret_text, size_t size)
{
    char value[128];
    const char *variable = row->environment;

    options_value_show(row, value, sizeof value);
    if (row->required)
        snprintf(ret_text, size, "%s (required%s%s)", row->help, variable ? "; or " : "",
                 variable ? variable : "");
    else if (value[0] || variable)
        snprintf(ret_text, size, "%s (default %s%s%s)", row->help, variable ? variable : "",
                 variable && value[0] ? ", else " : "", value);
    else
        snprintf(ret_text, size, "%s", row->help);
}

static void print_row(const struct option *row, FILE *out)
{
    char value[96], left[LEFT_BYTES], right[RIGHT_BYTES], letter[8] = "";

    options_value_name(row, value, sizeof value);
    if (row->letter)
        snprintf(letter, sizeof letter, "-%c, ", row->letter);
    int used = snprintf(left, sizeof left, "  %s--%s%s%s", letter, row->name, value[0] ? " " : "",
                        value);
    describe(row, right, sizeof right);
    fputs(left, out);
    if (used > HELP_COLUMN - 2)
        fprintf(out, "\n%*s", HELP_COLUMN, "");
    else
        fprintf(out, "%*s", HELP_COLUMN - used, "");
    print_wrapped(right, HELP_COLUMN, out);
}

void options_print_help(const struct options *options, FILE *out)
{
    static bool unused;
    const struct option help = {
        .name = "help", .letter = 'h', .flag = &unused, .help = "this text"};
    const struct option version = {.name = "version", .flag = &unused, .help = "version, and end"};

    fprintf(out, "usage: %s %s\n", options->program, options->usage);
    if (options->summary)
        print_wrapped(options->summary, 0, out);
    for (size_t i = 0; i < options->row_count; i++) {
        const struct option *row = &options->rows[i];
        if (row->group)
            fprintf(out, "\n%s\n", row->group);
        else
            print_row(row, out);
    }
    fputs(options->row_count ? "\nOther\n" : "\n", out);
    print_row(&help, out);
    print_row(&version, out);
    if (options->footer)
        fprintf(out, "\n%s\n", options->footer);
}
