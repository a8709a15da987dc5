/* A server's connection to the coordinator: made, broken, made again; what comes down and goes up.
 */
#include "server/cluster/uplink.h"

#include "common/wire/message.h"

#include "tests/lib/fake_link.h"
#include "tests/lib/test.h"

enum { HEARTBEAT_MS = 500, DEAD_MS = 10000, JOIN_MS = 15000, SERVERS = 3, WORKERS = 2 };

struct down {
    struct fake_net net;
    struct uplink uplink;
    struct arena arena;
    uint32_t welcomes, server, registries;
    uint64_t log[64];
    size_t log_count;
};

static struct down down;

static void on_open(void *context, struct link *link)
{
    (void)context;
    uplink_on_open(&down.uplink, link);
}

static enum link_verdict on_head(void *context, struct link *link, const struct frame_head *head,
                                 const uint8_t *header, struct link_incoming *ret_incoming,
                                 struct error *err)
{
    const void *message;

    (void)context;
    (void)ret_incoming;
    assert_ok(message_unpack(head->type, header, head->header_bytes, &down.arena, &message, err),
              err);
    enum status status = uplink_on_frame(&down.uplink, link, head->type, message, err);
    arena_clear(&down.arena);
    return status ? LINK_REFUSE : LINK_TAKE;
}

static void on_frame(void *context, struct link *link)
{
    (void)context;
    (void)link;
}

static void on_closed(void *context, struct link *link, const struct error *why)
{
    (void)context;
    uplink_on_closed(&down.uplink, link, why);
}

static uint64_t on_turn(void *context)
{
    (void)context;
    return uplink_turn(&down.uplink);
}

static void on_welcome(void *context, uint32_t server, uint32_t servers, uint32_t workers,
                       const char *job)
{
    (void)context;
    assert_int_equal(servers, SERVERS);
    assert_int_equal(workers, WORKERS);
    assert_string_equal(job, "job");
    down.welcomes++;
    down.server = server;
}

static void on_registry(void *context, const struct registry *registry)
{
    (void)context;
    assert_int_equal(registry->variable_count, 2);
    down.registries++;
}

static void on_log(void *context, const Pmd__LogEntry *entry)
{
    (void)context;
    down.log[down.log_count++] = entry->index;
}

static int setup(void **state)
{
    struct uplink_settings settings = {.coordinator = "h0:7070",
                                       .address = "h1:7071",
                                       .job = "job",
                                       .token = (const uint8_t *)"secret",
                                       .token_bytes = 6,
                                       .program = "paramd, pid 2",
                                       .heartbeat_ms = HEARTBEAT_MS,
                                       .dead_ms = DEAD_MS,
                                       .join_ms = JOIN_MS};
    struct uplink_events events = {
        .on_welcome = on_welcome, .on_registry = on_registry, .on_log = on_log};
    struct error err;

    (void)state;
    down = (struct down){0};
    fake_net_init(&down.net);
    assert_ok(arena_init(&down.arena, LIMIT_MESSAGE_ARENA_BYTES), &err);
    down.net.engine = (struct link_engine){.on_open = on_open,
                                           .on_head = on_head,
                                           .on_frame = on_frame,
                                           .on_closed = on_closed,
                                           .on_turn = on_turn};
    uplink_init(&down.uplink, &down.net.io, &settings, &events);
    fake_net_run(&down.net);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_net_release(&down.net);
    uplink_release(&down.uplink);
    arena_release(&down.arena);
    return 0;
}

static struct fake_link *link_now(void)
{
    return fake_link_made(&down.net);
}

static void say(enum frame_type type, const void *message)
{
    fake_link_say(link_now(), type, message, 0, 0);
    fake_net_run(&down.net);
}

static void say_welcome(void)
{
    Pmd__HelloReply reply = PMD__HELLO_REPLY__INIT;

    reply.job = "job";
    reply.server = 1;
    reply.servers = SERVERS;
    reply.workers = WORKERS;
    say(FRAME_HELLO_REPLY, &reply);
}

static void say_entry(uint64_t index, Pmd__LogKind kind, uint64_t step)
{
    Pmd__LogEntry entry = PMD__LOG_ENTRY__INIT;

    entry.index = index;
    entry.kind = kind;
    entry.step = step;
    say(FRAME_LOG_ENTRY, &entry);
}

static void connect_up(void)
{
    fake_link_up(link_now());
    fake_net_run(&down.net);
}

static void welcomed(void)
{
    connect_up();
    say_welcome();
}

/* Breaks the link and waits until there is a new one. */
static void reconnect(void)
{
    struct fake_link *old = link_now();

    fake_link_break(old);
    fake_net_advance(&down.net, 2000);
    assert_ptr_not_equal(link_now(), old);
    welcomed();
}

static void test_hello_says_who_it_is(void **state)
{
    (void)state;
    assert_string_equal(link_now()->address, "h0:7070");
    assert_false(link_now()->bulk);
    connect_up();
    struct fake_heard *heard = fake_link_find(link_now(), FRAME_HELLO);
    const Pmd__Hello *hello = (const Pmd__Hello *)(void *)heard->message;
    assert_int_equal(heard->request, 1);
    assert_int_equal(hello->role, PMD__ROLE__ROLE_SERVER);
    assert_int_equal(hello->channel, PMD__CHANNEL__CHANNEL_CONTROL);
    assert_string_equal(hello->address, "h1:7071");
    assert_string_equal(hello->job, "job");
    assert_memory_equal(hello->token.data, "secret", 6);
    assert_int_equal(hello->connection, 1);
    assert_true(hello->process != 0);
    say_welcome();
    assert_int_equal(down.welcomes, 1);
    assert_int_equal(down.server, 1);
}

static void test_hello_again_keeps_process_and_counts_connections(void **state)
{
    (void)state;
    welcomed();
    uint64_t process =
        ((const Pmd__Hello *)(void *)fake_link_find(link_now(), FRAME_HELLO)->message)->process;
    say_entry(1, PMD__LOG_KIND__LOG_KIND_FINISH, 0);
    say_entry(2, PMD__LOG_KIND__LOG_KIND_COMMIT, 0);
    reconnect();
    const Pmd__Hello *hello =
        (const Pmd__Hello *)(void *)fake_link_find(link_now(), FRAME_HELLO)->message;
    assert_int_equal(hello->process, process);
    assert_int_equal(hello->connection, 2);
    assert_int_equal(hello->log_index, 2);
}

/* 50 ms doubling to 1 s, each up to half longer. */
static void test_pauses_between_tries_grow(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        uint64_t began = down.net.now_ns;
        uint64_t tries = down.net.connects;
        uint64_t pause_ms = 50u << i < 1000 ? 50u << i : 1000;
        fake_link_break(link_now());
        while (down.net.connects == tries)
            fake_net_advance(&down.net, 1);
        uint64_t waited_ms = (down.net.now_ns - began) / 1000000;
        assert_in_range(waited_ms, pause_ms, pause_ms + pause_ms / 2 + 1);
    }
    welcomed(); /* then it begins anew */
    uint64_t tries = down.net.connects;
    fake_link_break(link_now());
    fake_net_advance(&down.net, 77);
    assert_int_equal(down.net.connects, tries + 1);
}

static void test_address_that_is_none(void **state)
{
    (void)state;
    down.net.refuse_connects = true;
    fake_link_break(link_now());
    fake_net_advance(&down.net, JOIN_MS);
    assert_true(down.uplink.ended);
    assert_int_equal(down.uplink.end_code, EXIT_CODE_NOT_FORMED);
    assert_non_null(
        strstr(down.uplink.end_message,
               "no place at the coordinator h0:7070 in 15.0 s ('h0:7070' is no address)"));
}

static void test_not_welcome_in_time(void **state)
{
    (void)state;
    connect_up();
    fake_net_advance(&down.net, DEAD_MS); /* silent: closed, and tried again */
    fake_net_advance(&down.net, JOIN_MS - DEAD_MS - 1);
    assert_false(down.uplink.ended);
    fake_net_advance(&down.net, 1);
    assert_int_equal(down.uplink.end_code, EXIT_CODE_NOT_FORMED);
    assert_non_null(strstr(down.uplink.end_message, "was silent for 10.0 s"));
}

static void test_coordinator_that_does_not_come_back(void **state)
{
    (void)state;
    welcomed();
    fake_net_advance(&down.net, 1000);
    fake_link_break(link_now());
    fake_net_advance(&down.net, DEAD_MS - 1);
    assert_false(down.uplink.ended);
    fake_net_advance(&down.net, 1);
    assert_int_equal(down.uplink.end_code, EXIT_CODE_PEER_LOST);
    assert_non_null(strstr(down.uplink.end_message, "the coordinator h0:7070 is lost"));
}

static void test_silent_coordinator_is_left(void **state)
{
    (void)state;
    welcomed();
    struct fake_link *link = link_now();
    fake_net_advance(&down.net, DEAD_MS - 1);
    assert_false(link->closed);
    fake_net_advance(&down.net, 1);
    assert_true(link->closed);
    assert_non_null(strstr(link->why.message, "was silent for 10.0 s"));
    fake_net_advance(&down.net, 100);
    assert_ptr_not_equal(link_now(), link);
    welcomed();
    fake_net_advance(&down.net, DEAD_MS - 1);
    assert_false(down.uplink.ended);
}

static void test_heartbeats(void **state)
{
    (void)state;
    connect_up();
    fake_net_advance(&down.net, 2 * HEARTBEAT_MS);
    assert_null(fake_link_find(link_now(), FRAME_HEARTBEAT)); /* not before the welcome */
    say_welcome();
    for (int i = 0; i < 60; i++) {
        say(FRAME_HEARTBEAT, NULL);
        fake_net_advance(&down.net, HEARTBEAT_MS);
    }
    for (int i = 0; i < 60; i++)
        assert_non_null(fake_link_find(link_now(), FRAME_HEARTBEAT));
    assert_false(link_now()->closed);
}

static void test_log_is_applied_once_in_order(void **state)
{
    (void)state;
    welcomed();
    say_entry(1, PMD__LOG_KIND__LOG_KIND_COMMIT, 0);
    say_entry(2, PMD__LOG_KIND__LOG_KIND_COMMIT, 1);
    say_entry(1, PMD__LOG_KIND__LOG_KIND_COMMIT, 0); /* sent again */
    say_entry(2, PMD__LOG_KIND__LOG_KIND_COMMIT, 1);
    assert_int_equal(down.log_count, 2);
    assert_int_equal(down.uplink.committed_plus_1, 2);
    struct fake_heard *heard = fake_link_find(link_now(), FRAME_LOG_ACK);
    heard = fake_link_find(link_now(), FRAME_LOG_ACK);
    assert_int_equal(((const Pmd__LogAck *)(void *)heard->message)->index, 2);
    assert_int_equal(heard->commit_plus_1, 2);
    assert_null(fake_link_find(link_now(), FRAME_LOG_ACK));
}

static void test_gap_in_the_log_closes_the_link(void **state)
{
    (void)state;
    welcomed();
    say_entry(1, PMD__LOG_KIND__LOG_KIND_COMMIT, 0);
    struct fake_link *link = link_now();
    say_entry(3, PMD__LOG_KIND__LOG_KIND_COMMIT, 2);
    assert_true(link->closed);
    assert_non_null(strstr(link->why.message, "log entry 3 follows 1"));
    assert_int_equal(down.log_count, 1);
}

static void test_nothing_comes_before_the_welcome(void **state)
{
    (void)state;
    connect_up();
    struct fake_link *link = link_now();
    say_entry(1, PMD__LOG_KIND__LOG_KIND_COMMIT, 0);
    assert_true(link->closed);
    assert_non_null(strstr(link->why.message, "LOG_ENTRY before HELLO_REPLY"));
    assert_int_equal(down.log_count, 0);
}

static void test_registry_comes_in_pages_once(void **state)
{
    Pmd__VariableSpec specs[2] = {PMD__VARIABLE_SPEC__INIT, PMD__VARIABLE_SPEC__INIT};
    Pmd__VariableSpec *pointers[2] = {&specs[0], &specs[1]};
    Pmd__Registry page = PMD__REGISTRY__INIT;

    (void)state;
    welcomed();
    for (int i = 0; i < 2; i++) {
        specs[i].name = i ? "b" : "a";
        specs[i].dtype = PMD__DATA_TYPE__DATA_TYPE_FLOAT32;
    }
    page.total = 2;
    page.n_variables = 1;
    page.variables = pointers;
    say(FRAME_REGISTRY, &page);
    assert_int_equal(down.registries, 0);
    reconnect(); /* the pages come again */
    say(FRAME_REGISTRY, &page);
    page.first = 1;
    page.variables = pointers + 1;
    say(FRAME_REGISTRY, &page);
    assert_int_equal(down.registries, 1);
    say(FRAME_REGISTRY, &page);
    assert_int_equal(down.registries, 1);
}

static void test_report_goes_up_and_again_after_a_reconnect(void **state)
{
    Pmd__Report report = PMD__REPORT__INIT;

    (void)state;
    report.prepared_plus_1 = 1;
    uplink_report(&down.uplink, &report);
    welcomed();
    report.prepared_plus_1 = 2; /* only the newest counts */
    uplink_report(&down.uplink, &report);
    report.prepared_plus_1 = 3;
    uplink_report(&down.uplink, &report);
    fake_net_run(&down.net);
    for (uint64_t i = 1; i <= 3; i += 2) {
        struct fake_heard *heard = fake_link_find(link_now(), FRAME_REPORT);
        assert_int_equal(((const Pmd__Report *)(void *)heard->message)->prepared_plus_1, i);
    }
    assert_null(fake_link_find(link_now(), FRAME_REPORT));
    reconnect();
    struct fake_heard *heard = fake_link_find(link_now(), FRAME_REPORT);
    assert_int_equal(((const Pmd__Report *)(void *)heard->message)->prepared_plus_1, 3);
}

static void test_complaint_goes_up_until_the_end(void **state)
{
    struct error complaint;

    (void)state;
    error_set(&complaint, STATUS_FAILED_PRECONDITION, "ranks do not agree");
    uplink_complain(&down.uplink, &complaint); /* while there is no link */
    welcomed();
    for (int i = 0; i < 2; i++) {
        struct fake_heard *heard = fake_link_find(link_now(), FRAME_COMPLAINT);
        assert_non_null(heard);
        assert_string_equal(((const Pmd__Complaint *)(void *)heard->message)->message,
                            "ranks do not agree");
        reconnect();
    }
}

static void test_end_of_the_job(void **state)
{
    Pmd__End end = PMD__END__INIT;

    (void)state;
    welcomed();
    end.status = STATUS_UNAVAILABLE;
    end.exit_code = EXIT_CODE_PEER_LOST;
    end.message = "worker 1 was lost";
    say(FRAME_END, &end);
    assert_true(down.uplink.ended);
    assert_int_equal(down.uplink.end_code, EXIT_CODE_PEER_LOST);
    assert_int_equal(down.uplink.end_status, STATUS_UNAVAILABLE);
    assert_string_equal(down.uplink.end_message, "worker 1 was lost");
    end.exit_code = EXIT_CODE_FAILED; /* the first end counts */
    say(FRAME_END, &end);
    assert_int_equal(down.uplink.end_code, EXIT_CODE_PEER_LOST);
    uint64_t tries = down.net.connects;
    fake_link_break(link_now());
    fake_net_advance(&down.net, 5000);
    assert_int_equal(down.net.connects, tries);
}

static void test_refusal_ends_the_server(void **state)
{
    Pmd__Failure failure = PMD__FAILURE__INIT;

    (void)state;
    connect_up();
    failure.status = STATUS_UNAUTHENTICATED;
    failure.message = "a job token is needed";
    say(FRAME_FAILURE, &failure);
    assert_true(down.uplink.ended);
    assert_int_equal(down.uplink.end_code, EXIT_CODE_WRONG_USE);
    assert_string_equal(down.uplink.end_message, "a job token is needed");
}

static void test_frame_of_another_role(void **state)
{
    Pmd__Commit commit = PMD__COMMIT__INIT;

    (void)state;
    welcomed();
    struct fake_link *link = link_now();
    say(FRAME_COMMIT, &commit);
    assert_true(link->closed);
    assert_non_null(strstr(link->why.message, "the coordinator sent COMMIT to a server"));
    assert_false(down.uplink.ended);
}

#define UPLINK(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        UPLINK(test_hello_says_who_it_is),
        UPLINK(test_hello_again_keeps_process_and_counts_connections),
        UPLINK(test_pauses_between_tries_grow),
        UPLINK(test_address_that_is_none),
        UPLINK(test_not_welcome_in_time),
        UPLINK(test_coordinator_that_does_not_come_back),
        UPLINK(test_silent_coordinator_is_left),
        UPLINK(test_heartbeats),
        UPLINK(test_log_is_applied_once_in_order),
        UPLINK(test_gap_in_the_log_closes_the_link),
        UPLINK(test_nothing_comes_before_the_welcome),
        UPLINK(test_registry_comes_in_pages_once),
        UPLINK(test_report_goes_up_and_again_after_a_reconnect),
        UPLINK(test_complaint_goes_up_until_the_end),
        UPLINK(test_end_of_the_job),
        UPLINK(test_refusal_ends_the_server),
        UPLINK(test_frame_of_another_role),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
