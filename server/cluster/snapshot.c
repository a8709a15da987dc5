/*
 * Snapshots for readers. A hold is numbered and goes through the servers' log, so every server
 * holds the same step. Values alone may be held at once: the published version is there between
 * commit(c) and commit(c + 1), and the entry stands between them in every log. Slots change in
 * place while c + 1 is prepared, so a hold of slots rides on the next commit, unless the job has
 * finished and nothing changes any more.
 */
#include "common/base/mutant.h"
#include "server/cluster/coordinator.h"

/* A hold so young is shared even if a newer step is committed: readers that come together do not
 * chase each other away. */
#define SHARE_NS ((uint64_t)1000 * 1000000)
/* Servers let go after 5 s without a read. */
#define LEASE_NS ((uint64_t)4000 * 1000000)

static void reply(struct coordinator *coordinator, struct member *member, uint64_t request)
{
    Pmd__SnapshotReply message = PMD__SNAPSHOT_REPLY__INIT;

    member->hold = coordinator->hold;
    message.hold = coordinator->hold;
    message.step = coordinator->hold_step;
    coordinator_send(coordinator, member, FRAME_SNAPSHOT_REPLY, &message.base, request);
}

static void note_hold(struct coordinator *coordinator, uint64_t step, bool slots)
{
    if (!MUTANT(HOLD_NOT_NUMBERED) || coordinator->hold == 0 || coordinator->hold_step != step)
        coordinator->hold++;
    coordinator->hold_step = step;
    coordinator->hold_slots = slots;
    coordinator->hold_ns = coordinator->io->now_ns(coordinator->io->context);
}

static bool in_use(const struct coordinator *coordinator)
{
    for (const struct member *member = coordinator->members; member; member = member->next) {
        if (member->kind == MEMBER_READER && member->hold == coordinator->hold && !member->closing)
            return true;
    }
    return false;
}

static bool can_share(const struct coordinator *coordinator, bool slots, uint64_t gone)
{
    uint64_t age_ns = coordinator->io->now_ns(coordinator->io->context) - coordinator->hold_ns;

    if (coordinator->hold == 0 || gone == coordinator->hold || (slots && !coordinator->hold_slots))
        return false;
    if (coordinator->hold_step + 1 == coordinator->committed_plus_1)
        return age_ns < LEASE_NS;
    return age_ns < SHARE_NS && in_use(coordinator);
}

static void hold_alone(struct coordinator *coordinator, bool slots)
{
    uint64_t step = coordinator->committed_plus_1 - 1;

    note_hold(coordinator, step, slots);
    if (MUTANT(HOLD_OUT_OF_ORDER)) {
        commit_hold_past_log(coordinator, NULL);
        return;
    }
    struct log_entry entry = {.kind = PMD__LOG_KIND__LOG_KIND_HOLD,
                              .step = step,
                              .hold = coordinator->hold,
                              .hold_slots = slots};
    commit_log_append(coordinator, &entry);
}

void snapshot_request(struct coordinator *coordinator, struct member *member, uint64_t request,
                      const Pmd__Snapshot *message)
{
    bool settled = coordinator->state == JOB_FINISHED;

    if (can_share(coordinator, message->slots, message->gone)) {
        reply(coordinator, member, request);
        return;
    }
    if (coordinator->committed_plus_1 > 0 && (!message->slots || settled) &&
        !MUTANT(HOLD_WAITS_FOR_COMMIT)) {
        hold_alone(coordinator, message->slots);
        reply(coordinator, member, request);
        return;
    }
    member->snapshot_waits = true;
    member->snapshot_request = request;
    member->snapshot_slots = message->slots;
}

void snapshot_on_commit(struct coordinator *coordinator, struct log_entry *entry)
{
    bool wanted = false;
    bool slots = false;

    for (const struct member *member = coordinator->members; member; member = member->next) {
        wanted = wanted || member->snapshot_waits;
        slots = slots || (member->snapshot_waits && member->snapshot_slots);
    }
    if (!wanted)
        return;
    note_hold(coordinator, entry->step, slots);
    entry->hold = coordinator->hold;
    entry->hold_slots = slots;
}

void snapshot_after_commit(struct coordinator *coordinator)
{
    bool slots = false;
    bool wanted = false;

    for (const struct member *member = coordinator->members; member; member = member->next) {
        wanted = wanted || member->snapshot_waits;
        slots = slots || (member->snapshot_waits && member->snapshot_slots);
    }
    if (!wanted)
        return;
    if (coordinator->hold == 0 || coordinator->hold_step + 1 != coordinator->committed_plus_1 ||
        (slots && !coordinator->hold_slots))
        hold_alone(coordinator, slots);
    for (struct member *member = coordinator->members; member; member = member->next) {
        if (!member->snapshot_waits)
            continue;
        member->snapshot_waits = false;
        reply(coordinator, member, member->snapshot_request);
    }
}
