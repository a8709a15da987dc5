/* What every program's exit code means; launchers and other people's scripts depend on the numbers.
 */
#ifndef PARAMD_COMMON_BASE_EXIT_CODE_H
#define PARAMD_COMMON_BASE_EXIT_CODE_H

enum exit_code {
    EXIT_CODE_DONE = 0,
    EXIT_CODE_FAILED = 1,     /* at work; the message says what */
    EXIT_CODE_WRONG_USE = 2,  /* option, file or configuration */
    EXIT_CODE_NOT_FORMED = 3, /* the cluster was not complete in time */
    EXIT_CODE_PEER_LOST = 4,  /* gave up on a peer during work */
    EXIT_CODE_FENCED = 5,     /* a newer holder of this rank exists; never restarted */
    EXIT_CODE_SIGINT = 130,   /* after an orderly end */
    EXIT_CODE_SIGTERM = 143,
};

#endif
