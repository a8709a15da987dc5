#include "worker/data/names.h"

#include "common/base/alloc.h"
#include "common/base/hash.h"

#include <stdlib.h>
#include <string.h>

enum { ITEMS_FIRST = 16, SLOTS_PER_ITEM = 2 };

void names_release(struct names *names)
{
    size_t i;

    if (!names)
        return;
    for (i = 0; i < names->count; i++)
        alloc_free(names->items[i]);
    alloc_free(names->items);
    alloc_free(names->slots);
    *names = (struct names){0};
}

/* The slot that holds the text, or the empty one where it belongs. Some slot is empty. */
static uint32_t *find_slot(const struct names *names, const char *text, size_t size)
{
    size_t mask = names->slot_count - 1;
    size_t at = (size_t)hash_xxh3(text, size) & mask;

    for (;; at = (at + 1) & mask) {
        uint32_t slot = names->slots[at];
        const char *item;
        if (slot == 0)
            return &names->slots[at];
        item = names->items[slot - 1];
        if (strlen(item) == size && memcmp(item, text, size) == 0)
            return &names->slots[at];
    }
}

static void fill_slots(struct names *names)
{
    size_t i;

    memset(names->slots, 0, names->slot_count * sizeof *names->slots);
    for (i = 0; i < names->count; i++) {
        uint32_t *slot = find_slot(names, names->items[i], strlen(names->items[i]));
        if (*slot == 0)
            *slot = (uint32_t)i + 1;
    }
}

static enum status names_grow(struct names *names, struct error *err)
{
    size_t capacity = names->capacity ? names->capacity * 2 : ITEMS_FIRST;
    char **items;
    uint32_t *slots;

    if (capacity > UINT32_MAX / SLOTS_PER_ITEM)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "more than %zu names", names->count);
    items = alloc_resize(names->items, capacity, sizeof *items);
    if (!items)
        return error_no_memory(err, "names");
    names->items = items;
    slots = alloc_array(capacity * SLOTS_PER_ITEM, sizeof *slots);
    if (!slots)
        return error_no_memory(err, "names");
    alloc_free(names->slots);
    names->slots = slots;
    names->slot_count = capacity * SLOTS_PER_ITEM;
    names->capacity = capacity;
    fill_slots(names);
    return STATUS_OK;
}

enum status names_append(struct names *names, const char *text, size_t size, struct error *err)
{
    uint32_t *slot;
    char *copy;

    if (names->count == names->capacity) {
        enum status status = names_grow(names, err);
        if (status)
            return status;
    }
    copy = alloc_zero(size + 1);
    if (!copy)
        return error_no_memory(err, "names");
    if (size)
        memcpy(copy, text, size);
    slot = find_slot(names, copy, strlen(copy));
    names->items[names->count++] = copy;
    if (*slot == 0)
        *slot = (uint32_t)names->count;
    return STATUS_OK;
}

bool names_find(const struct names *names, const char *text, size_t size, size_t *ret_index)
{
    uint32_t slot = names->slot_count ? *find_slot(names, text, size) : 0;

    if (slot)
        *ret_index = slot - 1;
    return slot != 0;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

enum status names_sort(struct names *names, uint32_t *ret_moved, struct error *err)
{
    char **before;
    size_t i;

    if (names->count == 0)
        return STATUS_OK;
    before = alloc_array(names->count, sizeof *before);
    if (!before)
        return error_no_memory(err, "sorting names");
    memcpy(before, names->items, names->count * sizeof *before);
    qsort(names->items, names->count, sizeof *names->items, compare_texts);
    fill_slots(names);
    for (i = 0; ret_moved && i < names->count; i++)
        ret_moved[i] = *find_slot(names, before[i], strlen(before[i])) - 1;
    alloc_free(before);
    return STATUS_OK;
}

enum status names_copy(const struct names *names, struct names *ret_names, struct error *err)
{
    struct names copy = {0};
    size_t i;

    for (i = 0; i < names->count; i++) {
        enum status status = names_append(&copy, names->items[i], strlen(names->items[i]), err);
        if (status) {
            names_release(&copy);
            return status;
        }
    }
    *ret_names = copy;
    return STATUS_OK;
}

bool names_equal(const struct names *a, const struct names *b)
{
    size_t i;

    if (a->count != b->count)
        return false;
    for (i = 0; i < a->count; i++) {
        if (strcmp(a->items[i], b->items[i]) != 0)
            return false;
    }
    return true;
}

/* Bytes of the character that begins here, 0 if none is well formed. */
static size_t utf8_character(const unsigned char *text, size_t size)
{
    unsigned char first = text[0];
    size_t length = first < 0x80                    ? 1
                    : first >= 0xc2 && first < 0xe0 ? 2
                    : first >= 0xe0 && first < 0xf0 ? 3
                    : first >= 0xf0 && first < 0xf5 ? 4
                                                    : 0;
    size_t i;

    if (length == 0 || length > size)
        return 0;
    for (i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    }
    if ((first == 0xe0 && text[1] < 0xa0) ||
        (first == 0xed && text[1] > 0x9f) || /* overlong, surrogate */
        (first == 0xf0 && text[1] < 0x90) ||
        (first == 0xf4 && text[1] > 0x8f)) /* overlong, > 10FFFF */
        return 0;
    return length;
}

bool names_text_is_valid(const char *text, size_t size)
{
    size_t at = 0;

    while (at < size) {
        size_t length = utf8_character((const unsigned char *)text + at, size - at);
        if (length == 0 || text[at] == '\0')
            return false;
        at += length;
    }
    return true;
}
