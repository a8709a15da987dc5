/*
 * Bugs that the simulator must catch. Each is compiled in by its PARAMD_MUTANT_... macro only, for a build of the
 * simulator that proves it would notice; the decision that it spoils reads the constant below.
 */
#ifndef PARAMD_WORKER_CLIENT_MUTANTS_H
#define PARAMD_WORKER_CLIENT_MUTANTS_H

/* A step begins without a grant (core_step.c). */
#ifdef PARAMD_MUTANT_STEP_WITHOUT_GRANT
enum { MUTANT_STEP_WITHOUT_GRANT = 1 };
#else
enum { MUTANT_STEP_WITHOUT_GRANT = 0 };
#endif

/* A new connection does not repeat STEP_BEGIN (core_send.c). */
#ifdef PARAMD_MUTANT_STEP_BEGIN_NOT_REPEATED
enum { MUTANT_STEP_BEGIN_NOT_REPEATED = 1 };
#else
enum { MUTANT_STEP_BEGIN_NOT_REPEATED = 0 };
#endif

/* STEP_BEGIN follows the step's pushes (core_send.c). */
#ifdef PARAMD_MUTANT_STEP_BEGIN_NOT_FIRST
enum { MUTANT_STEP_BEGIN_NOT_FIRST = 1 };
#else
enum { MUTANT_STEP_BEGIN_NOT_FIRST = 0 };
#endif

/* Pushes without an acknowledgement are not sent again on a new connection (core_send.c). */
#ifdef PARAMD_MUTANT_PUSH_NOT_RESENT
enum { MUTANT_PUSH_NOT_RESENT = 1 };
#else
enum { MUTANT_PUSH_NOT_RESENT = 0 };
#endif

/* Frames do not name the last commit (core_send.c). */
#ifdef PARAMD_MUTANT_FRAME_WITHOUT_COMMIT
enum { MUTANT_FRAME_WITHOUT_COMMIT = 1 };
#else
enum { MUTANT_FRAME_WITHOUT_COMMIT = 0 };
#endif

/* A reconnect does not raise the connection number (core_link.c). */
#ifdef PARAMD_MUTANT_CONNECTION_NOT_COUNTED
enum { MUTANT_CONNECTION_NOT_COUNTED = 1 };
#else
enum { MUTANT_CONNECTION_NOT_COUNTED = 0 };
#endif

/* A push is done when it is staged, not when it is committed (core_push.c). */
#ifdef PARAMD_MUTANT_PUSH_DONE_AT_ACK
enum { MUTANT_PUSH_DONE_AT_ACK = 1 };
#else
enum { MUTANT_PUSH_DONE_AT_ACK = 0 };
#endif

#endif
