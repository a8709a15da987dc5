#include "worker/data/lines.h"

#include "common/base/alloc.h"

#include <string.h>

enum status lines_init(struct lines *lines, struct source *source, struct error *err)
{
    *lines = (struct lines){.source = source, .capacity = LINES_BUFFER_BYTES};
    lines->buffer = alloc_zero(lines->capacity + 1);
    return lines->buffer ? STATUS_OK : error_no_memory(err, "the lines of a file");
}

void lines_release(struct lines *lines)
{
    if (!lines)
        return;
    alloc_free(lines->buffer);
    *lines = (struct lines){0};
}

/* Moves the unfinished line to the front, makes room behind it and reads once. */
static enum status lines_fill(struct lines *lines, struct error *err)
{
    size_t count;
    enum status status;

    if (lines->used) {
        memmove(lines->buffer, lines->buffer + lines->used, lines->end - lines->used);
        lines->end -= lines->used;
        lines->used = 0;
    }
    if (lines->end == lines->capacity) {
        size_t capacity = lines->capacity * 2;
        char *buffer;
        if (lines->capacity >= LINES_LINE_BYTES_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "%s:%llu: the line is longer than %d bytes",
                             source_name(lines->source), (unsigned long long)lines->number + 1,
                             LINES_LINE_BYTES_MAX);
        buffer = alloc_resize(lines->buffer, capacity + 1, 1);
        if (!buffer)
            return error_no_memory(err, "a long line");
        lines->buffer = buffer;
        lines->capacity = capacity;
    }
    status = source_read(lines->source, lines->buffer + lines->end, lines->capacity - lines->end,
                         &count, err);
    if (status)
        return status;
    lines->end += count;
    lines->source_ended = count == 0;
    return STATUS_OK;
}

/* The line of `size` bytes at the front, `ending` bytes of line end behind it. */
static void lines_give(struct lines *lines, size_t size, size_t ending, char **ret_text,
                       size_t *ret_size)
{
    char *text = lines->buffer + lines->used;

    lines->used += size + ending;
    lines->number++;
    if (size && text[size - 1] == '\r')
        size--;
    if (lines->number == 1 && size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        text += 3;
        size -= 3;
    }
    *ret_text = text;
    *ret_size = size;
}

enum status lines_next(struct lines *lines, char **ret_text, size_t *ret_size, struct error *err)
{
    size_t searched = 0;

    for (;;) {
        size_t left = lines->end - lines->used;
        char *text = lines->buffer + lines->used;
        char *newline = memchr(text + searched, '\n', left - searched);
        enum status status;

        if (newline) {
            lines_give(lines, (size_t)(newline - text), 1, ret_text, ret_size);
            return STATUS_OK;
        }
        if (lines->source_ended) {
            *ret_text = NULL;
            *ret_size = 0;
            if (left) {
                text[left] = '\0';
                lines_give(lines, left, 0, ret_text, ret_size);
            }
            return STATUS_OK;
        }
        searched = left;
        status = lines_fill(lines, err);
        if (status)
            return status;
    }
}

void lines_excerpt(const char *text, size_t size, char ret_excerpt[LINES_EXCERPT_BYTES])
{
    static const char more[] = "...";
    size_t room = LINES_EXCERPT_BYTES - sizeof more;
    bool cut = size > room;
    size_t i;

    if (cut) {
        size = room;
        while (size &&
               ((unsigned char)text[size] & 0xc0) == 0x80) /* not inside a UTF-8 character */
            size--;
    }
    for (i = 0; i < size; i++)
        ret_excerpt[i] = (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? '?' : text[i];
    memcpy(ret_excerpt + size, cut ? more : "", cut ? sizeof more : 1);
}
