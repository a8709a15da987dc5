/* Frames of tests/sim between send and delivery: packed, with the pieces as they were, and lists of
 * them. */
#ifndef PARAMD_TESTS_SIM_SIM_FRAME_H
#define PARAMD_TESTS_SIM_SIM_FRAME_H

#include "tests/sim/sim.h"

/* Zeroed memory, or the end. */
void *sim_alloc(size_t bytes);

struct sim_frame *frame_make(const struct link_frame *from, bool hash_payload);
void frame_free(struct sim_frame *frame);
/* Gives the pieces' buffers back. */
void frame_let_go(struct sim_frame *frame);
uint64_t frame_pieces_hash(const struct sim_frame *frame);
/* The same frame once more; it is written already. */
struct sim_frame *frame_double(const struct sim_frame *frame);
/* May it come twice without harm, as frames do that are sent again after a reconnect? */
bool frame_may_double(enum frame_type type);

void frames_append(struct sim_frames *list, struct sim_frame *frame);
/* NULL: the list is empty. */
struct sim_frame *frames_take(struct sim_frames *list);

#endif
