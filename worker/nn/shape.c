#include "worker/nn/shape.h"

#include <stdio.h>

size_t shape_elements(const struct shape *shape)
{
    size_t count = 1;
    for (size_t i = 0; i < shape->rank; i++)
        count *= shape->size[i];
    return count;
}

bool shape_fits(const struct shape *shape)
{
    size_t count = 1;
    for (size_t i = 0; i < shape->rank; i++) {
        if (shape->size[i] != 0 && count > SHAPE_ELEMENTS_MAX / shape->size[i])
            return false;
        count *= shape->size[i];
    }
    return true;
}

size_t shape_last(const struct shape *shape)
{
    return shape->rank > 0 ? shape->size[shape->rank - 1] : 1;
}

bool shape_equal(const struct shape *a, const struct shape *b)
{
    if (a->rank != b->rank)
        return false;
    for (size_t i = 0; i < a->rank; i++) {
        if (a->size[i] != b->size[i])
            return false;
    }
    return true;
}

void shape_align_ranks(struct shape *a, struct shape *b)
{
    struct shape *longer = a->rank > b->rank ? a : b, *shorter = longer == a ? b : a;
    if (longer->rank != shorter->rank + 1 || shape_last(longer) != 1)
        return;
    if (shorter->rank == 1)
        shorter->size[shorter->rank++] = 1;
    else
        longer->rank--;
}

const char *shape_text(const struct shape *shape, bool batch, char text[SHAPE_TEXT_BYTES])
{
    size_t used = (size_t)snprintf(text, SHAPE_TEXT_BYTES, "(%s", batch ? "None" : "");
    for (size_t i = 0; i < shape->rank; i++)
        used += (size_t)snprintf(text + used, SHAPE_TEXT_BYTES - used, "%s%zu",
                                 i > 0 || batch ? ", " : "", shape->size[i]);
    bool single = shape->rank + (batch ? 1 : 0) == 1;
    snprintf(text + used, SHAPE_TEXT_BYTES - used, single ? ",)" : ")");
    return text;
}
