/* Selected values of a variable, read part by part and handed on in order, all of one step. */
#ifndef PARAMD_WORKER_CTL_VALUES_H
#define PARAMD_WORKER_CTL_VALUES_H

#include "worker/client/reader.h"
#include "worker/ctl/selection.h"

/* Who takes the values. */
struct values_sink {
    void *context;
    /*
     * Before the first values of `step`. Called again if the snapshot was lost on the way: then
     * everything comes anew, of another step. An error ends the reading.
     */
    enum status (*begin)(void *context, uint64_t step, struct error *err);
    /* count elements of the variable's dtype, row-major. */
    enum status (*take)(void *context, const void *values, uint64_t count, struct error *err);
};

/*
 * Never holds more than 32 MiB at a time. Errors are those of reader_read and of the sink; ABORTED:
 * the snapshot was lost again and again.
 */
NODISCARD enum status values_read(struct reader *reader, uint32_t variable, enum dtype dtype,
                                  const struct selection *selection, const struct values_sink *sink,
                                  struct error *err);

/* Are they few enough to come in one part, so that nothing ever comes anew? */
bool values_in_one_part(enum dtype dtype, const struct selection *selection);

/* What the values of a selection are like. NaN and Inf are counted, and left out of the rest. */
struct statistics {
    uint64_t step;
    uint64_t count, nan_count, inf_count;
    double sum, square_sum, min, max; /* min and max: 0 if there is no finite value */
};

NODISCARD enum status statistics_read(struct reader *reader, uint32_t variable, enum dtype dtype,
                                      const struct selection *selection,
                                      struct statistics *ret_statistics, struct error *err);
double statistics_norm(const struct statistics *statistics);
double statistics_mean(const struct statistics *statistics);

/* Element `index` of an array as a double; int64 may lose its last bits. */
double value_as_double(enum dtype dtype, const void *values, uint64_t index);

#endif
