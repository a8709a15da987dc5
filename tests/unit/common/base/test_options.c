#include "common/base/options.h"

#include "common/base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ARGUMENTS(...) ((char *[]){"program", __VA_ARGS__, NULL})

static const char *const scales[] = {"none", "unit", "standard", NULL};

/* A program with one option of each kind, and what a parse made of it. */
struct fixture {
    bool quiet;
    const char *model;
    int64_t epochs;
    int64_t seed;
    int64_t timeout_ms;
    double split;
    int scale;
    struct option_list env;
    bool epochs_given;
    const char *coordinator;
    struct option rows[16];
    struct options options;
    struct options_arguments arguments;
    enum options_wish wish;
    struct error err;
};

static void setup(struct fixture *f)
{
    *f = (struct fixture){.epochs = 1, .timeout_ms = 15000, .scale = 0};
    const struct option rows[] = {
        {.group = "Data"},
        {.name = "model", .value = "FILE", .text = &f->model, .help = "the model"},
        {.name = "scale", .choice = &f->scale, .choices = scales, .help = "features"},
        {.group = "Training"},
        {.name = "epochs",
         .letter = 'n',
         .integer = &f->epochs,
         .min = 1,
         .max = 1000000,
         .ret_given = &f->epochs_given,
         .help = "passes over the data"},
        {.name = "seed", .integer = &f->seed, .help = "of everything random"},
        {.name = "validation-split", .number = &f->split, .number_max = 1, .help = "share"},
        {.name = "join-timeout",
         .duration_ms = &f->timeout_ms,
         .min = 100,
         .max = 3600000,
         .help = "wait"},
        {.name = "quiet", .letter = 'q', .flag = &f->quiet, .help = "say less"},
        {.name = "env", .list = &f->env, .help = "repeated"},
        {.name = "coordinator",
         .text = &f->coordinator,
         .environment = "PARAMD_TEST_COORDINATOR",
         .help = "the cluster"},
    };
    memcpy(f->rows, rows, sizeof rows);
    f->options = (struct options){
        .program = "program",
        .usage = "[options] VERB",
        .summary = "A program.",
        .rows = f->rows,
        .row_count = sizeof rows / sizeof rows[0],
        .arguments_max = 3,
    };
}

static enum status parse(struct fixture *f, char **argv)
{
    int argc = 0;

    while (argv[argc])
        argc++;
    return options_parse(&f->options, argc, argv, &f->wish, &f->arguments, &f->err);
}

static void refused(struct fixture *f, char **argv, const char *message)
{
    assert_int_equal(parse(f, argv), STATUS_INVALID_ARGUMENT);
    assert_string_equal(f->err.message, message);
}

static void test_values_in_both_spellings(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    assert_int_equal(
        parse(&f, ARGUMENTS("--model", "m.json", "--epochs=10", "--scale", "unit", "--quiet",
                            "--validation-split=0.25", "--join-timeout", "500ms")),
        STATUS_OK);
    assert_string_equal(f.model, "m.json");
    assert_int_equal(f.epochs, 10);
    assert_true(f.epochs_given);
    assert_int_equal(f.scale, 1);
    assert_true(f.quiet);
    assert_true(f.split > 0.2499 && f.split < 0.2501);
    assert_int_equal(f.timeout_ms, 500);
    assert_int_equal(f.arguments.count, 0);
}

static void test_defaults_stay(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    assert_int_equal(parse(&f, (char *[]){"program", NULL}), STATUS_OK);
    assert_int_equal(f.epochs, 1);
    assert_false(f.epochs_given);
    assert_null(f.model);
    assert_int_equal(f.wish, OPTIONS_RUN);
}

static void test_letters(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    assert_int_equal(parse(&f, ARGUMENTS("-n", "4", "-q")), STATUS_OK);
    assert_int_equal(f.epochs, 4);
    assert_true(f.quiet);
    setup(&f);
    assert_int_equal(parse(&f, ARGUMENTS("-n8")), STATUS_OK);
    assert_int_equal(f.epochs, 8);
}

static void test_last_of_a_repeated_option_counts(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    assert_int_equal(parse(&f, ARGUMENTS("--epochs=2", "--epochs=3")), STATUS_OK);
    assert_int_equal(f.epochs, 3);
}

static void test_list_keeps_every_value_up_to_its_limit(void **state)
{
    struct fixture f;
    char *argv[OPTION_LIST_MAX + 3] = {"program"};

    (void)state;
    setup(&f);
    for (int i = 1; i <= OPTION_LIST_MAX; i++)
        argv[i] = i % 2 ? "--env=A=1" : "--env=B";
    assert_int_equal(parse(&f, argv), STATUS_OK);
    assert_int_equal(f.env.count, OPTION_LIST_MAX);
    assert_string_equal(f.env.items[0], "A=1");
    assert_string_equal(f.env.items[1], "B");
    setup(&f);
    argv[OPTION_LIST_MAX + 1] = "--env=C";
    refused(&f, argv, "--env: given more than 64 times");
}

static void test_arguments_stand_anywhere(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    assert_int_equal(parse(&f, ARGUMENTS("set", "--epochs", "2", "staleness", "-q", "-1")),
                     STATUS_OK);
    assert_int_equal(f.arguments.count, 3);
    assert_string_equal(f.arguments.words[0], "set");
    assert_string_equal(f.arguments.words[1], "staleness");
    assert_string_equal(f.arguments.words[2], "-1");
    assert_true(f.quiet);
}

static void test_two_dashes_end_the_options(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    assert_int_equal(parse(&f, ARGUMENTS("-q", "--", "--epochs", "--help")), STATUS_OK);
    assert_int_equal(f.arguments.count, 2);
    assert_string_equal(f.arguments.words[0], "--epochs");
    assert_string_equal(f.arguments.words[1], "--help");
}

static void test_first_argument_may_end_the_options(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    f.options.stop_at_argument = true;
    assert_int_equal(parse(&f, ARGUMENTS("--epochs", "2", "command", "--help", "-x")), STATUS_OK);
    assert_int_equal(f.wish, OPTIONS_RUN);
    assert_int_equal(f.epochs, 2);
    assert_int_equal(f.arguments.count, 3);
    assert_string_equal(f.arguments.words[1], "--help");
}

static void test_number_of_arguments_is_checked(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    refused(&f, ARGUMENTS("a", "b", "c", "d"), "'d' belongs to no option; --help shows the use");
    setup(&f);
    f.options.arguments_min = 1;
    f.options.arguments_name = "VERB";
    refused(&f, ARGUMENTS("-q"), "VERB is missing; --help shows the use");
}

static void test_whole_numbers_at_and_beyond_their_bounds(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    assert_int_equal(parse(&f, ARGUMENTS("--epochs", "1")), STATUS_OK);
    assert_int_equal(parse(&f, ARGUMENTS("--epochs", "1000000")), STATUS_OK);
    assert_int_equal(f.epochs, 1000000);
    refused(&f, ARGUMENTS("--epochs", "0"), "--epochs: '0' is not within 1 to 1000000");
    refused(&f, ARGUMENTS("--epochs", "1000001"), "--epochs: '1000001' is not within 1 to 1000000");
    refused(&f, ARGUMENTS("--epochs=99999999999999999999"),
            "--epochs: '99999999999999999999' is not within 1 to 1000000");
    assert_int_equal(f.epochs, 1000000);
    assert_int_equal(parse(&f, ARGUMENTS("--seed", "-9223372036854775808")), STATUS_OK);
    assert_int_equal(f.seed, INT64_MIN);
    refused(&f, ARGUMENTS("--seed=9223372036854775808"),
            "--seed: '9223372036854775808' does not fit 64 bits");
}

static void test_what_is_no_whole_number(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    refused(&f, ARGUMENTS("--epochs", "ten"),
            "--epochs: 'ten' is not a whole number (1 to 1000000)");
    refused(&f, ARGUMENTS("-n", "10x"), "--epochs: '10x' is not a whole number (1 to 1000000)");
    refused(&f, ARGUMENTS("--epochs", " 3"), "--epochs: ' 3' is not a whole number (1 to 1000000)");
    refused(&f, ARGUMENTS("--seed", "0x10"), "--seed: '0x10' is not a whole number");
    refused(&f, ARGUMENTS("--seed", "1.5"), "--seed: '1.5' is not a whole number");
    refused(&f, ARGUMENTS("--epochs="), "--epochs: the value is empty");
}

static void test_numbers(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    assert_int_equal(parse(&f, ARGUMENTS("--validation-split", ".5")), STATUS_OK);
    assert_int_equal(parse(&f, ARGUMENTS("--validation-split", "1e-3")), STATUS_OK);
    assert_int_equal(parse(&f, ARGUMENTS("--validation-split", "1")), STATUS_OK);
    assert_int_equal(parse(&f, ARGUMENTS("--validation-split", "0")), STATUS_OK);
    refused(&f, ARGUMENTS("--validation-split", "1.01"),
            "--validation-split: '1.01' is not within 0 to 1");
    refused(&f, ARGUMENTS("--validation-split", "-0.1"),
            "--validation-split: '-0.1' is not within 0 to 1");
    refused(&f, ARGUMENTS("--validation-split", "nan"),
            "--validation-split: 'nan' is not a number (0 to 1)");
    refused(&f, ARGUMENTS("--validation-split", "1e999"),
            "--validation-split: '1e999' is not a number (0 to 1)");
    refused(&f, ARGUMENTS("--validation-split", "0.5x"),
            "--validation-split: '0.5x' is not a number (0 to 1)");
}

static void test_times(void **state)
{
    static const struct {
        char *text;
        int64_t ms;
    } good[] = {{"15", 15000}, {"1.5s", 1500}, {"100ms", 100}, {"2m", 120000}, {"1h", 3600000}};
    struct fixture f;

    (void)state;
    setup(&f);
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(parse(&f, ARGUMENTS("--join-timeout", good[i].text)), STATUS_OK);
        assert_int_equal(f.timeout_ms, good[i].ms);
    }
    refused(&f, ARGUMENTS("--join-timeout", "99ms"),
            "--join-timeout: '99ms' is not within 100ms to 60m");
    refused(&f, ARGUMENTS("--join-timeout", "61m"),
            "--join-timeout: '61m' is not within 100ms to 60m");
    refused(&f, ARGUMENTS("--join-timeout", "5 days"),
            "--join-timeout: '5 days' is not a time such as 15, 1.5s, 500ms or 2m");
    refused(&f, ARGUMENTS("--join-timeout", "soon"),
            "--join-timeout: 'soon' is not a time such as 15, 1.5s, 500ms or 2m");
}

static void test_choices(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    assert_int_equal(parse(&f, ARGUMENTS("--scale=standard")), STATUS_OK);
    assert_int_equal(f.scale, 2);
    refused(&f, ARGUMENTS("--scale", "units"),
            "--scale: 'units' is not one of none, unit, standard; did you mean unit?");
    refused(&f, ARGUMENTS("--scale", "zzzzz"),
            "--scale: 'zzzzz' is not one of none, unit, standard");
    assert_int_equal(f.scale, 2);
}

static void test_unknown_options_are_named_with_what_was_meant(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    refused(&f, ARGUMENTS("--epoch", "3"), "unknown option --epoch; did you mean --epochs?");
    refused(&f, ARGUMENTS("--epcohs=3"), "unknown option --epcohs; did you mean --epochs?");
    refused(&f, ARGUMENTS("--valid"), "unknown option --valid; did you mean --validation-split?");
    refused(&f, ARGUMENTS("-epochs"), "unknown option -epochs; did you mean --epochs?");
    refused(&f, ARGUMENTS("--hlep"), "unknown option --hlep; did you mean --help?");
    refused(&f, ARGUMENTS("--frobnicate"), "unknown option --frobnicate; --help lists them");
    refused(&f, ARGUMENTS("-z"), "unknown option -z; --help lists them");
}

static void test_values_that_are_missing_or_too_many(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    refused(&f, ARGUMENTS("--model"), "--model needs a value");
    refused(
        &f, ARGUMENTS("--model", "--epochs"),
        "--model needs a value, not '--epochs' (one that begins with a dash: --model=--epochs)");
    refused(&f, ARGUMENTS("--quiet=yes"), "--quiet=yes: --quiet takes no value");
    refused(&f, ARGUMENTS("-qn"), "-qn: --quiet takes no value");
    assert_int_equal(parse(&f, ARGUMENTS("--model=--odd", "--seed", "-3")), STATUS_OK);
    assert_string_equal(f.model, "--odd");
    assert_int_equal(f.seed, -3);
    assert_int_equal(parse(&f, ARGUMENTS("--model", "-")), STATUS_OK);
    assert_string_equal(f.model, "-");
}

static void test_environment_fills_what_is_not_given(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    setenv("PARAMD_TEST_COORDINATOR", "127.0.0.1:7070", 1);
    assert_int_equal(parse(&f, (char *[]){"program", NULL}), STATUS_OK);
    assert_string_equal(f.coordinator, "127.0.0.1:7070");
    assert_int_equal(parse(&f, ARGUMENTS("--coordinator", "[::1]:1")), STATUS_OK);
    assert_string_equal(f.coordinator, "[::1]:1");
    setup(&f);
    setenv("PARAMD_TEST_COORDINATOR", "", 1);
    assert_int_equal(parse(&f, (char *[]){"program", NULL}), STATUS_OK);
    assert_null(f.coordinator);
    unsetenv("PARAMD_TEST_COORDINATOR");
}

static void test_wrong_variable_is_named(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    f.rows[4].environment = "PARAMD_TEST_EPOCHS";
    f.rows[8].environment = "PARAMD_TEST_QUIET";
    setenv("PARAMD_TEST_EPOCHS", "many", 1);
    refused(&f, (char *[]){"program", NULL},
            "PARAMD_TEST_EPOCHS: 'many' is not a whole number (1 to 1000000)");
    unsetenv("PARAMD_TEST_EPOCHS");
    setenv("PARAMD_TEST_QUIET", "maybe", 1);
    refused(&f, (char *[]){"program", NULL}, "PARAMD_TEST_QUIET: 'maybe' is not 1 or 0");
    setenv("PARAMD_TEST_QUIET", "1", 1);
    assert_int_equal(parse(&f, (char *[]){"program", NULL}), STATUS_OK);
    assert_true(f.quiet);
    unsetenv("PARAMD_TEST_QUIET");
}

static void test_required_option_is_missed(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    f.rows[1].required = true;
    refused(&f, ARGUMENTS("-q"), "--model FILE is required");
    assert_int_equal(parse(&f, ARGUMENTS("--model=m")), STATUS_OK);
    setup(&f);
    f.rows[10].required = true;
    refused(&f, ARGUMENTS("-q"), "--coordinator TEXT is required, or PARAMD_TEST_COORDINATOR");
}

static void test_help_and_version_come_before_any_complaint(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    f.rows[1].required = true;
    assert_int_equal(parse(&f, ARGUMENTS("--epochs", "none", "--help")), STATUS_OK);
    assert_int_equal(f.wish, OPTIONS_HELP);
    assert_int_equal(f.epochs, 1);
    assert_int_equal(parse(&f, ARGUMENTS("-h")), STATUS_OK);
    assert_int_equal(f.wish, OPTIONS_HELP);
    assert_int_equal(parse(&f, ARGUMENTS("--frobnicate", "--version")), STATUS_OK);
    assert_int_equal(f.wish, OPTIONS_VERSION);
}

static void test_help_is_grouped_with_defaults_within_80_columns(void **state)
{
    struct fixture f;
    char *text = NULL;
    size_t size = 0;

    (void)state;
    setup(&f);
    f.rows[4].help = "passes over the data, each in an order of its own that depends on the seed";
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    options_print_help(&f.options, out);
    fclose(out);
    assert_ptr_equal(strstr(text, "usage: program [options] VERB\nA program.\n\nData\n"), text);
    assert_non_null(strstr(text, "\n  --model FILE              the model\n"));
    assert_non_null(strstr(
        text,
        "\n  --scale none|unit|standard\n                            features (default none)\n"));
    assert_non_null(strstr(text, "\nTraining\n  -n, --epochs N            passes"));
    assert_non_null(strstr(text, "(default 1)"));
    assert_non_null(strstr(text, "wait (default 15s)"));
    assert_non_null(strstr(text, "the cluster (default PARAMD_TEST_COORDINATOR)"));
    assert_non_null(strstr(text, "\n  -q, --quiet               say less\n"));
    assert_non_null(strstr(text, "  -h, --help                this text\n"));
    for (char *line = text; *line; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 80);
    free(text);
}

static void test_parse_allocates_nothing(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    uint64_t before = alloc_count();
    assert_int_equal(parse(&f, ARGUMENTS("--model", "m", "-n4")), STATUS_OK);
    assert_int_equal(alloc_count(), before);
}

static void test_suggestions(void **state)
{
    static const char *const names[] = {"adam", "adagrad", "sgd",
                                        "sparse_categorical_crossentropy"};

    (void)state;
    assert_string_equal(option_suggest("adma", names, 4), "adam");
    assert_string_equal(option_suggest("Adam", names, 4), "adam");
    assert_string_equal(option_suggest("adagard", names, 4), "adagrad");
    assert_string_equal(option_suggest("sparse", names, 4), "sparse_categorical_crossentropy");
    assert_null(option_suggest("rmsprop", names, 4));
    assert_null(option_suggest("a", names, 4));
    assert_null(option_suggest("", names, 4));
    assert_null(option_suggest("adam", names, 0));
    assert_null(option_suggest("ad", names, 4)); /* begins two of them */
}

static void test_suggestion_bounds_the_length_of_words(void **state)
{
    char word[101], same[101];
    const char *names[1] = {same};

    (void)state;
    memset(word, 'x', 100);
    word[100] = '\0';
    memcpy(same, word, sizeof same);
    assert_null(option_suggest(word, names, 1));
    word[63] = '\0';
    same[63] = '\0';
    assert_string_equal(option_suggest(word, names, 1), same);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_in_both_spellings),
        cmocka_unit_test(test_defaults_stay),
        cmocka_unit_test(test_letters),
        cmocka_unit_test(test_last_of_a_repeated_option_counts),
        cmocka_unit_test(test_list_keeps_every_value_up_to_its_limit),
        cmocka_unit_test(test_arguments_stand_anywhere),
        cmocka_unit_test(test_two_dashes_end_the_options),
        cmocka_unit_test(test_first_argument_may_end_the_options),
        cmocka_unit_test(test_number_of_arguments_is_checked),
        cmocka_unit_test(test_whole_numbers_at_and_beyond_their_bounds),
        cmocka_unit_test(test_what_is_no_whole_number),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_unknown_options_are_named_with_what_was_meant),
        cmocka_unit_test(test_values_that_are_missing_or_too_many),
        cmocka_unit_test(test_environment_fills_what_is_not_given),
        cmocka_unit_test(test_wrong_variable_is_named),
        cmocka_unit_test(test_required_option_is_missed),
        cmocka_unit_test(test_help_and_version_come_before_any_complaint),
        cmocka_unit_test(test_help_is_grouped_with_defaults_within_80_columns),
        cmocka_unit_test(test_parse_allocates_nothing),
        cmocka_unit_test(test_suggestions),
        cmocka_unit_test(test_suggestion_bounds_the_length_of_words),
    };
    return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
