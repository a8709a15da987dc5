#include "common/base/options.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

enum { WORD_BYTES_MAX = 64 };

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static bool same_letter(char a, char b)
{
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/*
 * Optimal string alignment distance: one each for a letter inserted, dropped or replaced, or two
 * neighbours swapped. Three rows of the table suffice, since a swap looks two rows back. Both words
 * are below WORD_BYTES_MAX.
 */
static size_t distance(const char *a, const char *b)
{
    size_t rows[3][WORD_BYTES_MAX + 1];
    size_t a_length = strlen(a), b_length = strlen(b);
    size_t *before = rows[0], *last = rows[1], *row = rows[2];

    for (size_t j = 0; j <= b_length; j++)
        last[j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            size_t replaced = last[j - 1] + (same_letter(a[i - 1], b[j - 1]) ? 0 : 1);
            row[j] = smaller(replaced, smaller(last[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && same_letter(a[i - 1], b[j - 2]) &&
                same_letter(a[i - 2], b[j - 1]))
                row[j] = smaller(row[j], before[j - 2] + 1);
        }
        size_t *spare = before;
        before = last;
        last = row;
        row = spare;
    }
    return last[b_length];
}

static const char *only_one_that_begins_with(const char *word, const char *const *candidates,
                                             size_t candidate_count)
{
    const char *found = NULL;

    for (size_t i = 0; i < candidate_count; i++) {
        if (strncasecmp(candidates[i], word, strlen(word)) != 0)
            continue;
        if (found)
            return NULL;
        found = candidates[i];
    }
    return found;
}

const char *option_suggest(const char *word, const char *const *candidates, size_t candidate_count)
{
    size_t length = strlen(word);
    const char *best = NULL;

    if (length < 2 || length >= WORD_BYTES_MAX)
        return NULL;
    size_t best_distance = length / 3 + 1;
    for (size_t i = 0; i < candidate_count; i++) {
        if (strlen(candidates[i]) >= WORD_BYTES_MAX)
            continue;
        size_t apart = distance(word, candidates[i]);
        if (apart < best_distance) {
            best = candidates[i];
            best_distance = apart;
        }
    }
    return best ? best : only_one_that_begins_with(word, candidates, candidate_count);
}
