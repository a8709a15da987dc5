/* paramctl: what its verbs share. One file per verb, one row per verb in verbs.c. */
#ifndef PARAMD_WORKER_CTL_CTL_H
#define PARAMD_WORKER_CTL_CTL_H

#include "common/base/error.h"
#include "worker/client/reader.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum format { FORMAT_UNSET = -1, FORMAT_TEXT, FORMAT_NPY, FORMAT_SAFETENSORS };

/* Options that only some verbs have. */
enum ctl_option {
    CTL_FORMAT = 1 << 0,
    CTL_OUTPUT = 1 << 1,
    CTL_STEP = 1 << 2,
    CTL_INTERVAL = 1 << 3,
    CTL_COUNT = 1 << 4,
    CTL_VALUES_ONLY = 1 << 5,
};

/* The command line, and the job that it is about. */
struct ctl {
    struct reader *reader; /* owned by main */
    char **arguments;      /* of the verb */
    size_t argument_count;
    bool json;
    unsigned given;     /* enum ctl_option */
    int format;         /* enum format */
    const char *output; /* NULL: stdout */
    int64_t step, count, interval_ms, timeout_ms;
    bool values_only;
};

struct verb {
    const char *name, *arguments, *help;
    size_t arguments_min, arguments_max;
    unsigned options; /* enum ctl_option: those that it knows */
    unsigned needs;   /* and those that it cannot do without */
    /* INVALID_ARGUMENT is wrong use, any other status a failure at work. */
    enum status (*run)(struct ctl *ctl, struct error *err);
};

/* NULL, and INVALID_ARGUMENT with what may have been meant, for a word that is no verb. */
const struct verb *verb_find(const char *word, struct error *err);
/* One line a verb, for --help; the caller frees it with alloc_free. NULL: no memory. */
char *verbs_help(void);

/*
 * The variable of a name that may be followed by a slice. NOT_FOUND says which name may have been
 * meant.
 *
 *   ret_spec   a copy.
 *   ret_slice  points at what follows the name in the text: "" or "[...".
 */
NODISCARD enum status ctl_find_variable(struct ctl *ctl, const char *text, uint32_t *ret_id,
                                        struct variable_spec *ret_spec, const char **ret_slice,
                                        struct error *err);

/* Results that nobody gets are a failure: UNAVAILABLE if stdout did not take what was printed. */
NODISCARD enum status ctl_flush(struct error *err);

enum status verb_status(struct ctl *ctl, struct error *err);
enum status verb_list(struct ctl *ctl, struct error *err);
enum status verb_get(struct ctl *ctl, struct error *err);
enum status verb_stat(struct ctl *ctl, struct error *err);
enum status verb_watch(struct ctl *ctl, struct error *err);
enum status verb_checksum(struct ctl *ctl, struct error *err);
enum status verb_set(struct ctl *ctl, struct error *err);
enum status verb_wait(struct ctl *ctl, struct error *err);
enum status verb_shutdown(struct ctl *ctl, struct error *err);

#endif
