/* The shape of an array: up to 8 sizes, the batch left out or included as the user says. */
#ifndef PARAMD_WORKER_NN_SHAPE_H
#define PARAMD_WORKER_NN_SHAPE_H

#include <stdbool.h>
#include <stddef.h>

enum { SHAPE_RANK_MAX = 8, SHAPE_TEXT_BYTES = 192 };

/* An element count beyond this is refused wherever a shape comes from outside. */
#define SHAPE_ELEMENTS_MAX ((size_t)1 << 40)

struct shape {
    size_t rank;
    size_t size[SHAPE_RANK_MAX];
};

/* Product of all sizes, 1 for rank 0. The shape is within SHAPE_ELEMENTS_MAX or made of such
 * shapes. */
size_t shape_elements(const struct shape *shape);

/* Whether the product of all sizes stays within SHAPE_ELEMENTS_MAX. */
bool shape_fits(const struct shape *shape);

/* The last size, 1 for rank 0. */
size_t shape_last(const struct shape *shape);

bool shape_equal(const struct shape *a, const struct shape *b);

/*
 * Keras's squeeze_or_expand_to_same_rank: where ranks differ by one and the longer shape ends in 1,
 * the shorter one gets that 1 too if it is of rank 1, else the longer one loses it. The elements
 * stay where they are.
 */
void shape_align_ranks(struct shape *a, struct shape *b);

/* "(3, 4)", "(4,)", "()"; with batch "(None, 3, 4)". Returns text. */
const char *shape_text(const struct shape *shape, bool batch, char text[SHAPE_TEXT_BYTES]);

#endif
