/* The own steps: begun under a grant, ended once, kept until they are known to be committed. */
#include "worker/client/core_state.h"

#include "common/base/alloc.h"
#include "common/base/mutant.h"

#include <string.h>

enum status core_steps_init(struct core *core, struct error *err)
{
    for (size_t i = 0; i < CORE_STEPS; i++) {
        core->steps[i].begin_sent = alloc_array(core->servers, sizeof(bool));
        core->steps[i].close_sent = alloc_array(core->servers, sizeof(bool));
        if (!core->steps[i].begin_sent || !core->steps[i].close_sent)
            return error_no_memory(err, "the steps under way");
    }
    return STATUS_OK;
}

void core_steps_release(struct core *core)
{
    for (size_t i = 0; i < CORE_STEPS; i++) {
        alloc_free(core->steps[i].begin_sent);
        alloc_free(core->steps[i].close_sent);
    }
    for (size_t i = 0; i < CORE_TOTALS; i++) {
        alloc_free(core->totals[i].totals);
        alloc_free(core->totals[i].running);
    }
    for (size_t i = 0; i < core->name_count; i++)
        alloc_free(core->names[i]);
    alloc_free(core->names);
}

struct core_step *core_step_find(struct core *core, uint64_t step)
{
    struct core_step *found = &core->steps[step % CORE_STEPS];

    return found->step == step && step >= core->step_first ? found : NULL;
}

/* ---- grants and commits ---- */

void core_granted(struct core *core, uint64_t grant)
{
    if (grant <= core->grant)
        return;
    core->grant = grant;
    core->progress++;
}

void core_commit(struct core *core, uint64_t commit_plus_1)
{
    if (commit_plus_1 <= core->commit_plus_1)
        return;
    core->commit_plus_1 = commit_plus_1;
    core->progress++;
    if (core->step_first < commit_plus_1)
        core->step_first = commit_plus_1;
    core_push_committed(core);
}

/* ---- begin and end ---- */

/* The step that comes next: after the last one begun here or, before that, after the last committed
 * one. */
static uint64_t step_next(const struct core *core)
{
    if (core->last_begun)
        return core->last_begun + 1;
    return core->commit_plus_1 > 1 ? core->commit_plus_1 : 1;
}

bool core_step_open(const struct core *core)
{
    return core->last_begun &&
           core->steps[core->last_begun % CORE_STEPS].step == core->last_begun &&
           !core->steps[core->last_begun % CORE_STEPS].ended;
}

enum status core_step_check(const struct core *core, uint64_t step, struct error *err)
{
    if (core->ended)
        return core_ended_error(core, err);
    if (!core->registry_known)
        return error_set(err, STATUS_FAILED_PRECONDITION, "begin step %llu: call ps_start first",
                         (unsigned long long)step);
    if (core->finished || core->finish_sent)
        return error_set(err, STATUS_FAILED_PRECONDITION, "begin step %llu: rank %u has finished",
                         (unsigned long long)step, core->rank_plus_1 - 1);
    if (core_step_open(core))
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "begin step %llu: step %llu has not been ended", (unsigned long long)step,
                         (unsigned long long)core->last_begun);
    if (step != step_next(core))
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "begin step %llu: the next one is step %llu", (unsigned long long)step,
                         (unsigned long long)step_next(core));
    return STATUS_OK;
}

bool core_step_granted(const struct core *core, uint64_t step)
{
    return MUTANT(GRANT_IGNORED) || (step <= core->grant && step < core->step_first + CORE_STEPS);
}

enum status core_step_begin(struct core *core, uint64_t step, uint64_t examples, struct error *err)
{
    enum status status = core_step_check(core, step, err);

    if (status)
        return status;
    if (!core_step_granted(core, step))
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "begin step %llu: the coordinator allows steps up to %llu so far",
                         (unsigned long long)step, (unsigned long long)core->grant);
    struct core_step *slot = &core->steps[step % CORE_STEPS];
    slot->step = step;
    slot->examples = examples;
    slot->ended = slot->end_sent = slot->restart_totals = false;
    slot->metric_count = 0;
    memset(slot->begin_sent, 0, core->servers * sizeof(bool));
    memset(slot->close_sent, 0, core->servers * sizeof(bool));
    core->last_begun = step;
    for (uint32_t s = 0; s < core->servers; s++)
        core_send_bulk(&core->bulk[s]);
    return STATUS_OK;
}

/* As receivers judge it: a name that they refuse would cost the connection, not the call. */
static bool metric_name_fits(const char *name)
{
    size_t length = strspn(name,
                           "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./-");

    return length > 0 && length <= LIMIT_METRIC_NAME_BYTES && name[length] == 0;
}

enum status core_metrics_check(const struct ps_metric *metrics, size_t count, struct error *err)
{
    if (count > LIMIT_METRICS)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%zu metrics, at most %d are possible",
                         count, LIMIT_METRICS);
    for (size_t i = 0; i < count; i++) {
        if (!metrics[i].name || !metric_name_fits(metrics[i].name))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "metric %zu: a name of 1 to %d letters, digits and _ . / - is needed, "
                             "'%.80s' was given",
                             i, LIMIT_METRIC_NAME_BYTES, metrics[i].name ? metrics[i].name : "");
    }
    return STATUS_OK;
}

enum status core_step_end(struct core *core, const struct ps_metric *metrics, size_t count,
                          bool restart_totals, struct error *err)
{
    if (core->ended)
        return core_ended_error(core, err);
    if (!core_step_open(core))
        return error_set(err, STATUS_FAILED_PRECONDITION, "end of a step: none was begun");
    enum status status = core_metrics_check(metrics, count, err);
    if (status) {
        error_wrap(err, "end of step %llu", (unsigned long long)core->last_begun);
        return status;
    }
    struct core_step *step = &core->steps[core->last_begun % CORE_STEPS];
    for (size_t i = 0; i < count; i++) {
        step->metrics[i] = metrics[i];
        step->metrics[i].name = core_name_keep(core, metrics[i].name);
        if (!step->metrics[i].name) {
            status = core_name_error(core, metrics[i].name, err);
            error_wrap(err, "end of step %llu", (unsigned long long)core->last_begun);
            return status;
        }
    }
    step->metric_count = count;
    step->restart_totals = restart_totals;
    step->ended = true;
    core_flush(core);
    core_send_control(core);
    return STATUS_OK;
}

bool core_step_done(const struct core *core, uint64_t step)
{
    return core->commit_plus_1 > step && !core_push_loaned(core, step);
}

/* ---- totals ---- */

const char *core_name_keep(struct core *core, const char *name)
{
    for (size_t i = 0; i < core->name_count; i++) {
        if (strcmp(core->names[i], name) == 0)
            return core->names[i];
    }
    if (core->name_count == CORE_NAMES)
        return NULL;
    if (core->name_count == core->name_capacity) {
        size_t capacity = core->name_capacity ? core->name_capacity * 2 : 16;
        char **grown = alloc_resize(core->names, capacity, sizeof *grown);
        if (!grown)
            return NULL;
        core->names = grown;
        core->name_capacity = capacity;
    }
    char *copy = alloc_string(name);
    if (copy)
        core->names[core->name_count++] = copy;
    return copy;
}

enum status core_name_error(const struct core *core, const char *name, struct error *err)
{
    if (core->name_count < CORE_NAMES)
        return error_no_memory(err, "the name of a metric");
    return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                     "metric '%.80s': a client knows at most %d different names of metrics", name,
                     CORE_NAMES);
}

static bool totals_copy(struct core *core, struct ps_metric *metrics, Pmd__Metric *const *from,
                        size_t count)
{
    for (size_t i = 0; i < count; i++) {
        metrics[i].name = core_name_keep(core, from[i]->name);
        metrics[i].sum = from[i]->sum;
        metrics[i].count = from[i]->count;
        if (!metrics[i].name)
            return false;
    }
    return true;
}

static bool totals_grow(struct core_totals *totals, size_t count)
{
    if (count <= totals->capacity)
        return true;
    struct ps_metric *grown = alloc_resize(totals->totals, count, sizeof *grown);
    if (!grown)
        return false;
    totals->totals = grown;
    grown = alloc_resize(totals->running, count, sizeof *grown);
    if (!grown)
        return false;
    totals->running = grown;
    totals->capacity = count;
    return true;
}

/* Without memory for them, or with too many names, the totals of this step are lost (core_totals
 * gives none); training goes on. */
void core_totals_keep(struct core *core, const Pmd__Commit *commit)
{
    struct core_totals *totals = &core->totals[commit->step % CORE_TOTALS];
    size_t count = commit->n_totals > commit->n_running ? commit->n_totals : commit->n_running;

    if (totals->step_plus_1 > commit->step)
        return; /* seen before, or newer */
    totals->step_plus_1 = commit->step + 1;
    totals->count = totals->running_count = 0;
    if (totals_grow(totals, count) &&
        totals_copy(core, totals->totals, commit->totals, commit->n_totals) &&
        totals_copy(core, totals->running, commit->running, commit->n_running)) {
        totals->count = commit->n_totals;
        totals->running_count = commit->n_running;
    }
    core->progress++;
}

static const struct ps_metric *metric_find(const struct ps_metric *metrics, size_t count,
                                           const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (metrics[i].name == name)
            return &metrics[i];
    }
    return NULL;
}

enum status core_totals(const struct core *core, uint64_t step, struct ps_metric *ret_totals,
                        struct ps_metric *ret_running, size_t capacity, size_t *ret_count,
                        struct error *err)
{
    const struct core_totals *totals = &core->totals[step % CORE_TOTALS];

    if (totals->step_plus_1 > step + 1)
        return error_set(err, STATUS_OUT_OF_RANGE,
                         "totals of step %llu: only those of the last %d committed steps are kept",
                         (unsigned long long)step, CORE_TOTALS);
    if (totals->step_plus_1 < step + 1) {
        if (core->ended)
            return core_ended_error(core, err);
        if (core->commit_plus_1 > step || step <= core->last_begun)
            return error_set(err, STATUS_UNAVAILABLE,
                             "totals of step %llu: the step is not committed",
                             (unsigned long long)step);
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "totals of step %llu: the last step begun is %llu",
                         (unsigned long long)step, (unsigned long long)core->last_begun);
    }
    /* Running totals may have names that this step did not bring: they come behind. */
    size_t count = totals->count;
    for (size_t i = 0; i < totals->count && i < capacity; i++) {
        const struct ps_metric *running = metric_find(totals->running, totals->running_count,
                                                      totals->totals[i].name);
        if (ret_totals)
            ret_totals[i] = totals->totals[i];
        if (ret_running)
            ret_running[i] = running ? *running
                                     : (struct ps_metric){.name = totals->totals[i].name};
    }
    for (size_t i = 0; i < totals->running_count; i++) {
        const struct ps_metric *running = &totals->running[i];
        if (metric_find(totals->totals, totals->count, running->name))
            continue;
        if (count < capacity && ret_totals)
            ret_totals[count] = (struct ps_metric){.name = running->name};
        if (count < capacity && ret_running)
            ret_running[count] = *running;
        count++;
    }
    if (ret_count)
        *ret_count = count;
    return STATUS_OK;
}
