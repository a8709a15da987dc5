/* Some containers have no /etc/hosts: tests that look up a name say so and are skipped there. */
#ifndef PARAMD_TESTS_LIB_LOCALHOST_H
#define PARAMD_TESTS_LIB_LOCALHOST_H

#include "tests/lib/test.h"

#include <netdb.h>

/* Skips the test if this machine does not know "localhost". */
static inline void skip_without_localhost(void)
{
    struct addrinfo *found = NULL;

    if (getaddrinfo("localhost", NULL, NULL, &found) == 0) {
        freeaddrinfo(found);
        return;
    }
    print_message("skipped: this machine does not know the name localhost\n");
    skip();
}

#endif
