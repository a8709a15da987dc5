/*
 * Mistakes on purpose, to prove that the simulator would see them. In a normal build MUTANT(X) is
 * the constant 0 and nothing is left of it; the simulator's second build (-DPARAMD_MUTANTS)
 * switches one on by name.
 */
#ifndef PARAMD_COMMON_BASE_MUTANT_H
#define PARAMD_COMMON_BASE_MUTANT_H

/* One X(name, what is done wrong) each, at the production decision. */
#define MUTANT_LIST(X)                                                                             \
    X(NO_DEDUPE, "a block pushed twice is folded twice")                                           \
    X(ARRIVAL_ORDER, "gradients are folded in order of arrival")                                   \
    X(APPLY_EARLY, "a block is prepared before all ranks have pushed it")                          \
    X(PUBLISH_EARLY, "readers get a prepared version before its commit")                           \
    X(PREPARE_WITHOUT_COMMIT, "t+1 is prepared before commit(t)")                                  \
    X(DROP_PREVIOUS_EARLY, "version t-1 is let go when t is prepared, not when it is committed")   \
    X(SLOTS_NOT_COPIED, "slots of a held snapshot change under the reader")                        \
    X(NO_RESERVE, "no staging buffer is kept for the rank whose turn it is")                       \
    X(RESERVE_NOT_RETURNED, "a closed connection keeps its half-received buffers")                 \
    X(KEEP_OLD_STEP_END, "a restarted worker's old step_end still counts")                         \
    X(STEP_END_TWICE, "a repeated step_end is added up again")                                     \
    X(NO_FENCE, "an older incarnation is still listened to")                                       \
    X(COMMIT_NOT_AWAITED, "a frame that names a later commit is not left in the socket")           \
    X(HOLD_OUT_OF_ORDER, "a hold is carried out when it comes, not in log order")                  \
    X(LOG_NOT_RESENT, "log entries are not sent again after a reconnect")                          \
    X(HOLD_NOT_NUMBERED, "a new hold of the same step keeps the old number")                       \
    X(HOLD_WAITS_FOR_COMMIT, "a hold always waits for the next commit")                            \
    X(CONNECTION_NOT_COMPARED, "the connection that says hello last wins")                         \
    X(STEP_BEGIN_NOT_REPEATED, "step_begin is not sent again on a new connection")                 \
    X(STEP_BEGIN_LAST, "step_begin follows the pushes of its step")                                \
    X(GRANT_IGNORED, "a step is begun without a grant")                                            \
    X(GRANT_TOO_FAR, "the coordinator grants one step too many")                                   \
    X(PUSH_NOT_RESENT, "pushes without an ack are not sent again after a reconnect")               \
    X(COMMIT_NOT_NAMED, "frames do not name the last commit")                                      \
    X(CONNECTION_NOT_COUNTED, "a reconnect uses the old connection number")                        \
    X(LOAN_ENDS_AT_ACK, "a push's array is given back at the ack")                                 \
    X(CHANGE_TOO_SOON, "a new learning rate holds for a step that is being prepared")              \
    X(WRONG_WEIGHTS, "ranks count alike whatever their examples")                                  \
    X(LATE_PUSH_STAGED, "a push of a step that is prepared or committed is taken for a new one")   \
    X(STEP_END_NOT_AWAITED, "a step is committed before all ranks have ended it")                  \
    X(PULL_STILL_WRITES, "a pull that was given up still gets the rest of its frame")

#define MUTANT_ENUM(name, text) MUTANT_##name,
enum mutant { MUTANT_NONE, MUTANT_LIST(MUTANT_ENUM) MUTANT_COUNT };
#undef MUTANT_ENUM

#ifdef PARAMD_MUTANTS
extern enum mutant mutant_active; /* set by the simulator */
#define MUTANT(name) (mutant_active == MUTANT_##name)
#else
#define MUTANT(name) 0
#endif

#endif
