/* Command lines: words separated by newlines, against a table with one option of each kind. */
/* decoder: common/base/options.c common/base/options_value.c common/base/options_suggest.c */
/* options: -max_len=256 */
#include "common/base/options.h"

#include <stdlib.h>
#include <string.h>

enum { WORDS_MAX = 16, TEXT_BYTES = 256 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max);

static const char *const seeds[] = {
    "--epochs\n3\n--model=m.json\nget",
    "-n4\n--quiet\n--\n-x\ny",
    "--scale\nunit\n--env=A=1\n--env\nB=2",
    "--validation-split=0.25\n--join-timeout\n1.5s",
    "--epcohs=2\n--help",
    "--version",
    "--join-timeout\n500ms\n--seed\n-7",
    "--join-timeout=2m\n--join-timeout=1h",
    "--scale=units\n--split\n--model\n--x",
    "--validation\n--validation-split=1e-3\n--validation-split=x",
};

/* Whatever the words are: a verdict, no crash; a message where it is a refusal. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const scales[] = {"none", "unit", "standard", NULL};
    char text[TEXT_BYTES + 1];
    char *argv[WORDS_MAX + 2] = {"program"};
    int argc = 1;
    bool quiet = false, given = false;
    const char *model = NULL, *place = NULL;
    int64_t epochs = 1, seed = 0, timeout_ms = 1000;
    double split = 0;
    int scale = 0;
    struct option_list env = {0};
    const struct option rows[] = {
        {.group = "Everything"},
        {.name = "model", .text = &model, .help = "file"},
        {.name = "place", .text = &place, .environment = "PARAMD_FUZZ_PLACE", .help = "address"},
        {.name = "epochs",
         .letter = 'n',
         .integer = &epochs,
         .min = 1,
         .max = 1000,
         .ret_given = &given},
        {.name = "seed", .integer = &seed, .help = "number"},
        {.name = "join-timeout", .duration_ms = &timeout_ms, .help = "wait"},
        {.name = "validation-split", .number = &split, .number_max = 1, .help = "share"},
        {.name = "scale", .choice = &scale, .choices = scales, .help = "features"},
        {.name = "env", .list = &env, .help = "repeated"},
        {.name = "quiet", .letter = 'q', .flag = &quiet, .help = "say less"},
    };
    struct options options = {
        .program = "program", .usage = "", .rows = rows, .row_count = sizeof rows / sizeof rows[0]};
    struct options_arguments arguments = {0};
    enum options_wish wish = OPTIONS_RUN;
    struct error err = {0};

    if (size == 0 || size > TEXT_BYTES)
        return 0;
    options.stop_at_argument = data[0] & 1;
    options.arguments_max = data[0] >> 1 & 7;
    memcpy(text, data, size);
    text[size] = '\0';
    for (char *rest = text + 1, *word; argc <= WORDS_MAX && (word = strsep(&rest, "\n"));)
        argv[argc++] = word;
    enum status status = options_parse(&options, argc, argv, &wish, &arguments, &err);
    if (status != STATUS_OK && (status != STATUS_INVALID_ARGUMENT || !err.message[0]))
        abort();
    if (status == STATUS_OK && wish == OPTIONS_RUN &&
        (arguments.count > options.arguments_max || epochs < 1 || epochs > 1000 || split < 0 ||
         split > 1))
        abort();
    return 0;
}

/* Now and then starts again from a whole command line, which bytes alone hardly reach. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    if (seed % 8 == 0) {
        const char *text = seeds[seed / 8 % (sizeof seeds / sizeof seeds[0])];
        size_t length = strlen(text);
        if (length + 1 <= size_max) {
            data[0] = (uint8_t)(seed >> 16);
            memcpy(data + 1, text, length);
            size = length + 1;
            if (seed / 8 % 3 == 0)
                return size;
        }
    }
    return LLVMFuzzerMutate(data, size, size_max);
}
