/* Which cluster is meant when nobody says: what deploy/launch has written down for this user. */
#ifndef PARAMD_WORKER_CTL_CLUSTER_FILE_H
#define PARAMD_WORKER_CTL_CLUSTER_FILE_H

#include "common/base/error.h"
#include "common/base/limits.h"

#include <stdbool.h>

enum { CLUSTER_PATH_BYTES = 1024 };

struct cluster_file {
    char address[LIMIT_ADDRESS_BYTES + 1];
    char token_file[CLUSTER_PATH_BYTES];
    char job[LIMIT_JOB_NAME_BYTES + 1];
};

/*
 * The cluster that this user launched last on this machine. NOT_FOUND: none was launched, or it has
 * ended; the message says which, and what to do.
 */
NODISCARD enum status cluster_file_last(struct cluster_file *ret_file, struct error *err);

/* A running cluster of this user with that address; false: there is none. */
bool cluster_file_of_address(const char *address, struct cluster_file *ret_file);

#endif
