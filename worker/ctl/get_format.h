/* The formats of `get`: a row each. What stands before the values, the values, what stands behind.
 */
#ifndef PARAMD_WORKER_CTL_GET_FORMAT_H
#define PARAMD_WORKER_CTL_GET_FORMAT_H

#include "worker/ctl/ctl.h"
#include "worker/ctl/output.h"

struct get {
    const char *name;  /* of the variable, without slice */
    const char *slice; /* "" or "[...]" */
    enum dtype dtype;
    uint64_t shape[LIMIT_RANK]; /* of what is selected */
    size_t rank;
    uint64_t element_count;
    uint64_t step;    /* once it is known */
    uint64_t written; /* elements so far */
    struct output output;
};

struct get_format {
    enum status (*begin)(struct get *get, struct error *err);
    enum status (*take)(struct get *get, const void *values, uint64_t count, struct error *err);
    enum status (*end)(struct get *get, struct error *err);
    bool binary;
};

extern const struct get_format get_text, get_json, get_npy, get_safetensors;

#endif
