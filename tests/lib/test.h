/* cmocka with the headers that it needs, and assertions for our statuses. */
#ifndef PARAMD_TESTS_LIB_TEST_H
#define PARAMD_TESTS_LIB_TEST_H

#include "common/base/error.h"
#include "common/base/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* The call, given once, returns STATUS_OK; else its error message is printed. */
#define assert_ok(call, err)                                                                       \
    do {                                                                                           \
        enum status assert_ok_status = (call);                                                     \
        if (assert_ok_status != STATUS_OK)                                                         \
            fail_msg("%s: %s: %s", #call, status_name(assert_ok_status), (err)->message);          \
    } while (0)

/* The call is refused with this status and a message that has these words in it. */
#define assert_refused(call, expected, err, words)                                                 \
    do {                                                                                           \
        enum status assert_refused_status = (call);                                                \
        if (assert_refused_status != (expected))                                                   \
            fail_msg("%s: %s instead of %s", #call, status_name(assert_refused_status),            \
                     status_name(expected));                                                       \
        if (!strstr((err)->message, (words)))                                                      \
            fail_msg("%s: '%s' does not say '%s'", #call, (err)->message, (words));                \
    } while (0)

#endif
