/* A cluster of n ranks in one process, a thread each: their shares of a batch are added up as
 * servers do it. */
#ifndef PARAMD_TESTS_LIB_SHARES_SYNC_H
#define PARAMD_TESTS_LIB_SHARES_SYNC_H

#include "worker/train/trainer.h"

enum { SHARES_RANKS_MAX = 8 };

/*
 * Runs trainer_fit on rank_count models of equal description and params, a thread each, with the
 * means of their shares weighted by examples in float32 and in rank order. listener is called by
 * rank 0 only.
 *
 *   trace_path  gets the digest of each step, as sync_local_new writes it; NULL: none.
 *
 * A failing rank would leave the others waiting, so use it for trainings that are to succeed; what
 * rank 0 returned.
 */
NODISCARD enum status shares_fit(struct model *const *models, uint32_t rank_count,
                                 const struct optimizer *optimizer,
                                 const struct fit_options *options, const char *trace_path,
                                 struct error *err);

#endif
