/* What the scenarios of tests/sim share, and the list of those in sim_misuse.c. */
#ifndef PARAMD_TESTS_SIM_SIM_SCENARIO_H
#define PARAMD_TESTS_SIM_SIM_SCENARIO_H

#include "tests/sim/sim_raw.h"

#define SCENARIO_COORDINATOR "10.0.0.1:7070"
#define SCENARIO_OTHER       "10.0.0.2:7070"

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition))                                                                          \
            sim_fail(sim, "scenario", "line %d: %s", __LINE__, #condition);                        \
    } while (0)

#define EXPECT_TEXT(text, part) scenario_expect_text(sim, __LINE__, text, part)

/* The answer to a frame is FAILURE or END with this status, and says this. */
#define REFUSED(link, type, message, status, part)                                                 \
    scenario_expect_refused(sim, __LINE__, link, type, message, status, part)

void scenario_expect_text(struct sim *sim, int line, const char *text, const char *part);
void scenario_expect_refused(struct sim *sim, int line, struct raw_link *link, enum frame_type type,
                             const ProtobufCMessage *message, enum status status, const char *part);
void scenario_seconds(struct sim *sim, uint64_t count);
const struct server *scenario_server(struct sim *sim, uint32_t slot);

void scenario_hellos(struct sim *sim);
void scenario_ranks_and_readers(struct sim *sim);
void scenario_requests(struct sim *sim);
void scenario_barriers(struct sim *sim);
void scenario_wrong_steps(struct sim *sim);
void scenario_late_and_finished(struct sim *sim);
void scenario_disagreement(struct sim *sim);

#endif
