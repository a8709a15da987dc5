/*
 * A link's life: down -> connecting -> greeting (HELLO is out) -> up -> down. A link that breaks is
 * made anew with growing pauses. The control link given up for good ends the client; a bulk link is
 * tried for as long as the coordinator keeps the job alive, since it is the coordinator that
 * decides whether a server is lost.
 */
#include "worker/client/core_state.h"

#include "common/base/alloc.h"
#include "common/base/mutant.h"
#include "common/base/exit_code.h"

#include <stdio.h>
#include <string.h>

void core_link_name(const struct core_link *link, char *ret_text, size_t capacity)
{
    if (link->control)
        snprintf(ret_text, capacity, "coordinator (%s)", link->address);
    else
        snprintf(ret_text, capacity, "server %u (%s)", link->server, link->address);
}

static uint64_t now_ns(const struct core *core)
{
    return core->io.now_ns(core->io.context);
}

static void plan_retry(struct core_link *link)
{
    struct core *core = link->core;

    if (link->backoff_ns == 0)
        link->backoff_ns = CORE_BACKOFF_MIN_NS;
    uint64_t half = link->backoff_ns / 2;
    link->retry_at_ns = now_ns(core) + half + core->io.random(core->io.context) % (half + 1);
    link->backoff_ns = link->backoff_ns * 2 < CORE_BACKOFF_MAX_NS ? link->backoff_ns * 2
                                                                  : CORE_BACKOFF_MAX_NS;
}

/* The engine's side of a link that is gone, whoever ended it. */
static void link_down(struct core_link *link, const struct error *why)
{
    if (link->state == CORE_LINK_UP)
        link->lost_ns = now_ns(link->core);
    link->link = NULL;
    link->state = CORE_LINK_DOWN;
    link->receiving = NULL;
    snprintf(link->why, sizeof link->why, "%s", why->message);
    plan_retry(link);
    link->core->progress++;
}

void core_link_drop(struct core_link *link, const struct error *why)
{
    if (!link->link)
        return;
    struct link *old = link->link;
    link_down(link, why);
    link->core->io.close(link->core->io.context, old, false, why);
}

void core_link_closed(struct core_link *link, const struct error *why)
{
    link_down(link, why);
}

void core_link_release(struct core_link *link)
{
    alloc_free(link->header);
    link->header = NULL;
}

static void drop_all(struct core *core, const struct error *why)
{
    core_link_drop(&core->control, why);
    for (uint32_t s = 0; core->bulk && s < core->servers; s++) {
        core_link_drop(&core->bulk[s], why);
        while (core->bulk[s].push_first)
            core_push_drop(&core->bulk[s], core->bulk[s].push_first);
    }
}

void core_end(struct core *core, const struct error *why, int exit_code)
{
    if (core->ended)
        return;
    core->ended = true;
    core->end = *why;
    core->exit_code = exit_code;
    core->progress++;
    drop_all(core, why);
}

void core_close(struct core *core)
{
    struct error why = {0};

    core->closing = true;
    error_set(&why, STATUS_CANCELLED, "the client was closed");
    for (uint32_t s = 0; core->bulk && s < core->servers; s++) {
        struct core_link *link = &core->bulk[s];
        core_push_seal(link);
        core_send_bulk(link);
        if (link->link)
            core->io.close(core->io.context, link->link, true, &why);
        link->link = NULL;
    }
    if (core->control.link)
        core->io.close(core->io.context, core->control.link, true, &why);
    core->control.link = NULL;
    core_end(core, &why, EXIT_CODE_FAILED);
}

/* ---- connecting ---- */

static void give_up(struct core_link *link, uint64_t silent_ns)
{
    struct error why;

    error_set(&why, STATUS_UNAVAILABLE, "coordinator %s gave no sign of life for %.1f s (%s)",
              link->address, (double)silent_ns / 1e9, link->why);
    core_end(link->core, &why, EXIT_CODE_PEER_LOST);
}

static void start_connecting(struct core_link *link)
{
    struct core *core = link->core;
    struct error err;

    link->tried_ns = now_ns(core);
    enum status status = core->io.connect(core->io.context, link->address, !link->control,
                                          CORE_CONNECT_MS, link, &link->link, &err);

    if (status == STATUS_INVALID_ARGUMENT) {
        core_end(core, &err, EXIT_CODE_WRONG_USE);
        return;
    }
    if (status) {
        link_down(link, &err);
        return;
    }
    core->open_links++;
    link->state = CORE_LINK_CONNECTING;
}

void core_link_open(struct core_link *link)
{
    struct core *core = link->core;
    Pmd__Hello hello = PMD__HELLO__INIT;

    if (!MUTANT(CONNECTION_NOT_COUNTED) || core->connection == 0)
        core->connection++;
    hello.protocol_major = PROTOCOL_MAJOR;
    hello.protocol_minor = PROTOCOL_MINOR;
    hello.features = FEATURE_PAYLOAD_HASH; /* offered; the server decides (--payload-hash) */
    hello.job = core->job;
    hello.token.data = core->token;
    hello.token.len = core->token_bytes;
    hello.role = PMD__ROLE__ROLE_WORKER;
    hello.channel = link->control ? PMD__CHANNEL__CHANNEL_CONTROL : PMD__CHANNEL__CHANNEL_BULK;
    hello.rank_plus_1 = core->rank_plus_1;
    hello.incarnation = core->incarnation;
    hello.connection = core->connection;
    hello.process = core->process;
    hello.program = core->program;
    link->state = CORE_LINK_GREETING;
    link->greeting_until_ns = now_ns(core) + LIMIT_HELLO_MS * (uint64_t)1000000;
    if (!core_send(link, FRAME_HELLO, &hello.base, 1))
        return;
    core->progress++;
}

static void earliest(uint64_t *wake_ns, uint64_t at_ns)
{
    if (at_ns < *wake_ns)
        *wake_ns = at_ns;
}

static void turn_up(struct core_link *link, uint64_t now, uint64_t *wake_ns)
{
    struct core *core = link->core;

    if (!link->control)
        return;
    if (now >= link->heard_ns + core->dead_ns) {
        struct error why;
        error_set(&why, STATUS_UNAVAILABLE, "nothing was heard for %.1f s",
                  (double)(now - link->heard_ns) / 1e9);
        core_link_drop(link, &why);
        earliest(wake_ns, link->retry_at_ns);
        return;
    }
    if (now >= link->said_ns + core->heartbeat_ns && !core_send(link, FRAME_HEARTBEAT, NULL, 0))
        return;
    earliest(wake_ns, link->heard_ns + core->dead_ns);
    earliest(wake_ns, link->said_ns + core->heartbeat_ns);
}

/* True if the client was ended here. */
static bool turn_patience(struct core_link *link, uint64_t now, uint64_t *wake_ns)
{
    struct core *core = link->core;

    if (!link->control || !core->greeted)
        return false;
    uint64_t until = link->heard_ns + core->dead_ns;
    if (until < link->lost_ns + CORE_GRACE_NS)
        until = link->lost_ns + CORE_GRACE_NS;
    /* A process that slept (SIGSTOP, a suspended machine) has not tried in all that time: it does
     * now. */
    bool tried_lately = link->tried_ns + CORE_GRACE_NS > until;
    if (tried_lately && link->state != CORE_LINK_DOWN)
        until = link->tried_ns + CORE_GRACE_NS;
    if (now < until) {
        earliest(wake_ns, until);
        return false;
    }
    if (!tried_lately && link->state == CORE_LINK_DOWN)
        return false;
    give_up(link, now - link->heard_ns);
    return true;
}

void core_link_turn(struct core_link *link, uint64_t now, uint64_t *wake_ns)
{
    struct core *core = link->core;

    if (core->ended || (!link->control && !core->addresses_known))
        return;
    if (link->state == CORE_LINK_UP) {
        turn_up(link, now, wake_ns);
        return;
    }
    if (turn_patience(link, now, wake_ns))
        return;
    if (link->state == CORE_LINK_GREETING && now >= link->greeting_until_ns) {
        struct error why;
        error_set(&why, STATUS_DEADLINE_EXCEEDED, "no answer to hello in %d ms", LIMIT_HELLO_MS);
        core_link_drop(link, &why);
    }
    if (link->state == CORE_LINK_GREETING)
        earliest(wake_ns, link->greeting_until_ns);
    if (link->state == CORE_LINK_DOWN && now >= link->retry_at_ns)
        start_connecting(link);
    if (link->state == CORE_LINK_DOWN && !core->ended)
        earliest(wake_ns, link->retry_at_ns);
}

/* ---- hello's answer ---- */

static enum status join_check(const struct core *core, const Pmd__HelloReply *reply,
                              struct error *err)
{
    if (reply->servers == 0 || reply->servers > LIMIT_SERVERS || reply->workers == 0 ||
        reply->workers > LIMIT_WORKERS || reply->rank >= reply->workers || reply->incarnation == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "coordinator %s: hello answered with rank %u of %u workers, %u servers",
                         core->control.address, reply->rank, reply->workers, reply->servers);
    if (core->greeted &&
        (reply->servers != core->servers || reply->workers != core->workers ||
         reply->rank + 1 != core->rank_plus_1 || reply->incarnation != core->incarnation))
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "coordinator %s: it is another job than before (rank %u, incarnation "
                         "%llu; here rank %u, "
                         "incarnation %llu)",
                         core->control.address, reply->rank, (unsigned long long)reply->incarnation,
                         core->rank_plus_1 - 1, (unsigned long long)core->incarnation);
    return STATUS_OK;
}

static enum status join(struct core *core, const Pmd__HelloReply *reply, struct error *err)
{
    enum status status = join_check(core, reply, err);

    if (status || core->greeted)
        return status;
    core->bulk = alloc_array(reply->servers, sizeof *core->bulk);
    if (!core->bulk)
        return error_no_memory(err, "the connections to the servers");
    core->servers = reply->servers;
    core->workers = reply->workers;
    for (uint32_t s = 0; s < core->servers; s++) {
        core->bulk[s].core = core;
        core->bulk[s].server = s;
    }
    status = core_steps_init(core, err);
    if (status)
        return status;
    core->rank_plus_1 = reply->rank + 1;
    core->incarnation = reply->incarnation;
    core->greeted = true;
    return STATUS_OK;
}

void core_link_greeted(struct core_link *link, const Pmd__HelloReply *reply)
{
    struct core *core = link->core;
    struct error err;

    if (link->control && join(core, reply, &err)) {
        core_end(core, &err, EXIT_CODE_FAILED);
        return;
    }
    if (!link->control && reply->server != link->server) {
        error_set(&err, STATUS_UNAVAILABLE, "%s is server %u now, not %u", link->address,
                  reply->server, link->server);
        core_link_drop(link, &err);
        return;
    }
    link->state = CORE_LINK_UP;
    link->backoff_ns = 0;
    link->heard_ns = now_ns(core);
    link->link->hash_payload = (reply->features & FEATURE_PAYLOAD_HASH) != 0;
    core->progress++;
    if (!link->control) {
        core_send_again(link);
        core_send_bulk(link);
        return;
    }
    core->finished = core->finished || reply->finished;
    core_granted(core, reply->grant);
    core_commit(core, reply->committed_plus_1);
    for (size_t i = 0; i < reply->n_recent; i++)
        core_totals_keep(core, reply->recent[i]);
    core_send_again(link);
    core_send_control(core);
}

void core_link_refused(struct core_link *link, const Pmd__Failure *failure)
{
    struct core *core = link->core;
    enum status status = status_of_failure(failure->status);
    char name[LIMIT_ADDRESS_BYTES + 32];
    struct error why;

    core_link_name(link, name, sizeof name);
    error_set(&why, status, "%s: %s", name, failure->message);
    if (status == STATUS_UNAVAILABLE) {
        core_link_drop(link, &why);
        return;
    }
    if (status == STATUS_ABORTED)
        core_end(core, &why, EXIT_CODE_FENCED);
    else
        core_end(core, &why, core->greeted ? EXIT_CODE_FAILED : EXIT_CODE_WRONG_USE);
}
