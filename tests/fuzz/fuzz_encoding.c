/* The saved encoding: pairs "key=value", each on its line. What is taken is printed as the same
 * text again. */
/* decoder: worker/data/encoding_text.c */
/* options: -max_len=512 */
#include "worker/data/encoding_text.h"

#include <stdlib.h>
#include <string.h>

enum { TEXT_BYTES = 512, PAIRS_MAX = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max);

static const char *const seeds[] = {
    "classes=[\"A\",\"B\"]\nscale=none",
    "classes=[\"a \\\"b\\\" \\\\\",\"tab\\u0009\"]\nscale=unit\nformat=pt",
    "scale=standard\nscale_deviation=1 0.5 2.25\nscale_mean=0 -1e-300 0.10000000000000001",
    "scale=standard\nscale_deviation=1 1\nscale_mean=1",
    "scale_mean=1\nclasses=[\"b\",\"a\"]\nscale=none",
};

static const char *find(const struct encoding_pair *pairs, size_t count, const char *key)
{
    size_t i;

    for (i = 0; i < count; i++) {
        if (strcmp(pairs[i].key, key) == 0)
            return pairs[i].value;
    }
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[TEXT_BYTES + 1];
    struct encoding_pair pairs[PAIRS_MAX];
    size_t pair_count = 0, i;
    struct encoding encoding;
    struct encoding_text printed;
    struct error err = {0};
    enum status status;

    if (size > TEXT_BYTES)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    for (char *rest = text, *line; pair_count < PAIRS_MAX && (line = strsep(&rest, "\n"));) {
        char *value = strchr(line, '=');
        if (value) {
            *value = '\0';
            pairs[pair_count++] = (struct encoding_pair){line, value + 1};
        }
    }
    status = encoding_parse(pairs, pair_count, &encoding, &err);
    if (status) {
        if (!err.message[0] || err.status != status)
            abort();
        return 0;
    }
    if (encoding_print(&encoding, &printed, &err))
        abort();
    for (i = 0; i < printed.pair_count; i++) {
        const char *given = find(pairs, pair_count, printed.pairs[i].key);
        if (given ? strcmp(given, printed.pairs[i].value) != 0
                  : strcmp(printed.pairs[i].value, "none") != 0)
            abort();
    }
    encoding_text_release(&printed);
    encoding_release(&encoding);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    if (seed % 8 == 0) {
        const char *text = seeds[seed / 8 % (sizeof seeds / sizeof seeds[0])];
        if (strlen(text) <= size_max) {
            size = strlen(text);
            memcpy(data, text, size);
        }
    }
    return LLVMFuzzerMutate(data, size, size_max);
}
