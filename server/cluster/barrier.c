/*
 * Barriers by name. One is done when every rank that has not finished has come to it; the ranks'
 * metrics are added up in rank order. Results are kept for a while, for a rank that was started
 * again and passes the same way.
 */
#include "common/base/alloc.h"
#include "server/cluster/coordinator.h"

#include <stdio.h>
#include <string.h>

static void barrier_free(struct barrier *barrier)
{
    alloc_free(barrier->ranks);
    alloc_free(barrier);
}

void barrier_release_all(struct coordinator *coordinator)
{
    while (coordinator->barriers) {
        struct barrier *barrier = coordinator->barriers;
        coordinator->barriers = barrier->next;
        barrier_free(barrier);
    }
    coordinator->barrier_count = 0;
}

/* Forgets the oldest one that is done, if there are too many. */
static void forget_oldest(struct coordinator *coordinator)
{
    struct barrier **oldest = NULL;

    for (struct barrier **at = &coordinator->barriers; *at; at = &(*at)->next) {
        if ((*at)->done)
            oldest = at;
    }
    if (coordinator->barrier_count < LIMIT_BARRIERS_KEPT || !oldest)
        return;
    struct barrier *barrier = *oldest;
    *oldest = barrier->next;
    coordinator->barrier_count--;
    barrier_free(barrier);
}

static struct barrier *find_or_make(struct coordinator *coordinator, const char *name)
{
    for (struct barrier *barrier = coordinator->barriers; barrier; barrier = barrier->next) {
        if (strcmp(barrier->name, name) == 0)
            return barrier;
    }
    forget_oldest(coordinator);
    if (coordinator->barrier_count >= 2 * LIMIT_BARRIERS_KEPT)
        return NULL; /* all of them are waited at */
    struct barrier *barrier = alloc_zero(sizeof *barrier);
    if (!barrier)
        return NULL;
    barrier->ranks = alloc_array(coordinator->settings.workers, sizeof barrier->ranks[0]);
    if (!barrier->ranks) {
        barrier_free(barrier);
        return NULL;
    }
    snprintf(barrier->name, sizeof barrier->name, "%s", name);
    barrier->next = coordinator->barriers;
    coordinator->barriers = barrier;
    coordinator->barrier_count++;
    return barrier;
}

static void answer(struct coordinator *coordinator, const struct barrier *barrier,
                   struct member *member, uint64_t request)
{
    Pmd__BarrierReply reply = PMD__BARRIER_REPLY__INIT;
    struct metric_messages totals;

    metric_list_to_messages(&barrier->totals, &totals);
    reply.name = (char *)barrier->name;
    reply.n_totals = barrier->totals.count;
    reply.totals = totals.pointers;
    coordinator_send(coordinator, member, FRAME_BARRIER_REPLY, &reply.base, request);
}

static void check(struct coordinator *coordinator, struct barrier *barrier)
{
    if (barrier->done || barrier->arrived == 0)
        return;
    for (uint32_t rank = 0; rank < coordinator->settings.workers; rank++) {
        if (!barrier->ranks[rank].arrived && !coordinator->workers[rank].finished)
            return;
    }
    barrier->done = true;
    for (uint32_t rank = 0; rank < coordinator->settings.workers; rank++) {
        const struct metric_list *metrics = &barrier->ranks[rank].metrics;
        for (size_t i = 0; barrier->ranks[rank].arrived && i < metrics->count; i++)
            metric_list_add(&barrier->totals, &metrics->items[i]);
    }
    for (uint32_t rank = 0; rank < coordinator->settings.workers; rank++) {
        struct coordinator_worker *worker = &coordinator->workers[rank];
        if (barrier->ranks[rank].waits && worker->member)
            answer(coordinator, barrier, worker->member, barrier->ranks[rank].request);
    }
    alloc_free(barrier->ranks);
    barrier->ranks = NULL;
}

void barrier_check_all(struct coordinator *coordinator)
{
    for (struct barrier *barrier = coordinator->barriers; barrier; barrier = barrier->next)
        check(coordinator, barrier);
}

/* What an older incarnation has brought to a barrier counts no more: its successor comes by itself.
 */
void barrier_rank_lost(struct coordinator *coordinator, uint32_t rank)
{
    for (struct barrier *barrier = coordinator->barriers; barrier; barrier = barrier->next) {
        if (barrier->done || !barrier->ranks[rank].arrived)
            continue;
        barrier->ranks[rank] = (struct barrier_rank){0};
        barrier->arrived--;
    }
}

enum status barrier_arrive(struct coordinator *coordinator, struct member *member, uint64_t request,
                           const Pmd__Barrier *message, struct error *err)
{
    struct metric_list metrics;

    if (!message->name[0] || strlen(message->name) > LIMIT_BARRIER_NAME_BYTES)
        return error_set(err, STATUS_INVALID_ARGUMENT, "a barrier's name has 1 to %d bytes",
                         LIMIT_BARRIER_NAME_BYTES);
    enum status status = metric_list_from_message(message->n_metrics, message->metrics, &metrics,
                                                  err);
    if (status)
        return status;
    struct barrier *barrier = find_or_make(coordinator, message->name);
    if (!barrier)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "barrier '%s': too many barriers are waited at, or no memory",
                         message->name);
    if (barrier->done) {
        answer(coordinator, barrier, member, request);
        return STATUS_OK;
    }
    struct barrier_rank *rank = &barrier->ranks[member->index];
    barrier->arrived += !rank->arrived;
    rank->arrived = true;
    rank->waits = true;
    rank->request = request;
    rank->metrics = metrics;
    check(coordinator, barrier);
    return STATUS_OK;
}
