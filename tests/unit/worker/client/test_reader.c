/* A reader whose peers break, or answer what was not asked, in virtual time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/fake_link.h"
#include "worker/client/reader_state.h"

#include <string.h>

enum { SERVERS = 2, HOLD = 5, STEP = 17, TIMEOUT_MS = 3000 };

/* One variable of more blocks than one READ of each server asks for; most tests read four. */
enum {
    BLOCKS = 2 * (READER_VALUE_BLOCKS + 8),
    ELEMENTS = BLOCKS * BLOCK_ELEMENTS_MAX,
    FOUR_BLOCKS = 4 * BLOCK_ELEMENTS_MAX,
};

struct world {
    struct fake_net net;
    struct reader *reader;
    struct placement placement;
    bool integers;
    /* Answers in the truth's place, or not at all; false: the truth does. NULL: always. */
    bool (*lie)(struct world *world, struct fake_link *link, const struct fake_heard *heard);
    bool lied;
};

static uint8_t payload[LIMIT_PAYLOAD_BYTES];
static uint8_t values[ELEMENTS * sizeof(float)];

static bool is_control(const struct fake_link *link)
{
    return link->address[0] == 'c';
}

static void say_hello_reply(struct fake_link *link)
{
    Pmd__HelloReply reply = PMD__HELLO_REPLY__INIT;
    Pmd__Members members = PMD__MEMBERS__INIT;
    char *addresses[SERVERS] = {(char *)"s0:1", (char *)"s1:1"};

    reply.servers = SERVERS;
    reply.server = (uint32_t)(link->address[1] == '1');
    fake_link_say(link, FRAME_HELLO_REPLY, &reply, 1, 0);
    members.n_server_address = SERVERS;
    members.server_address = addresses;
    if (is_control(link))
        fake_link_say(link, FRAME_MEMBERS, &members, 0, 0);
}

static void say_registry(struct world *world, struct fake_link *link, uint64_t request,
                         const char *name)
{
    Pmd__Registry page = PMD__REGISTRY__INIT;
    Pmd__VariableSpec spec = PMD__VARIABLE_SPEC__INIT;
    Pmd__VariableSpec *pointer = &spec;
    uint64_t shape = ELEMENTS;

    spec.name = (char *)name;
    spec.dtype = world->integers ? PMD__DATA_TYPE__DATA_TYPE_INT64
                                 : PMD__DATA_TYPE__DATA_TYPE_FLOAT32;
    spec.n_shape = 1;
    spec.shape = &shape;
    page.first = (uint32_t)world->reader->registry.variable_count;
    page.total = page.first + 1;
    page.servers = SERVERS;
    page.n_variables = 1;
    page.variables = &pointer;
    fake_link_say(link, FRAME_REGISTRY, &page, request, 0);
}

static void say_block(struct fake_link *link, const Pmd__Read *read, uint64_t request,
                      uint32_t block)
{
    Pmd__ReadReply reply = PMD__READ_REPLY__INIT;
    uint32_t variable = 0;

    reply.hold = read->hold;
    reply.step = STEP;
    reply.n_variable = reply.n_block = 1;
    reply.variable = &variable;
    reply.block = &block;
    memset(payload, 1, BLOCK_ELEMENTS_MAX * sizeof(float));
    fake_link_say_payload(link, FRAME_READ_REPLY, &reply, request, 0, payload,
                          BLOCK_ELEMENTS_MAX * sizeof(float));
}

static void tell_the_truth(struct world *world, struct fake_link *link,
                           const struct fake_heard *heard)
{
    Pmd__SnapshotReply snapshot = PMD__SNAPSHOT_REPLY__INIT;
    Pmd__StatusReply status = PMD__STATUS_REPLY__INIT;
    const Pmd__Read *read;

    switch (heard->type) {
    case FRAME_HELLO:
        say_hello_reply(link);
        break;
    case FRAME_LIST:
        say_registry(world, link, heard->request, "w");
        break;
    case FRAME_SNAPSHOT:
        snapshot.hold = HOLD;
        snapshot.step = STEP;
        fake_link_say(link, FRAME_SNAPSHOT_REPLY, &snapshot, heard->request, 0);
        break;
    case FRAME_STATUS:
        fake_link_say(link, FRAME_STATUS_REPLY, &status, heard->request, 0);
        break;
    case FRAME_READ:
        read = (const Pmd__Read *)heard->message;
        for (size_t i = 0; i < read->n_block; i++)
            say_block(link, read, heard->request, read->block[i]);
        break;
    default:
        break;
    }
}

static void run_once(void *loop, uint64_t max_wait_ns)
{
    struct world *world = loop;
    const struct fake_heard *heard;

    (void)max_wait_ns;
    fake_net_run(&world->net);
    for (struct fake_link *link = world->net.links; link; link = link->next) {
        if (!link->open && !link->closing)
            fake_link_up(link);
        while (!link->closing && (heard = fake_link_take(link))) {
            if (!world->lie || !world->lie(world, link, heard))
                tell_the_truth(world, link, heard);
        }
    }
    fake_net_advance(&world->net, 10);
}

static void begin(struct world *world)
{
    const struct reader_options options = {.coordinator = "c:7070", .timeout_ms = TIMEOUT_MS};
    const struct placement_variable variable = {0, DTYPE_FLOAT32, ELEMENTS};
    struct error err;

    *world = (struct world){0};
    fake_net_init(&world->net);
    assert_int_equal(placement_init(&world->placement, &variable, 1, SERVERS, &err), STATUS_OK);
    assert_int_equal(reader_new(&options, &world->reader, &err), STATUS_OK);
    reader_set_loop(world->reader, &world->net.io, run_once, world);
    world->net.engine = reader_engine(world->reader);
    assert_int_equal(reader_link_up(&world->reader->control, &err), STATUS_OK);
}

static void end(struct world *world)
{
    fake_net_release(&world->net);
    reader_close(world->reader);
    placement_release(&world->placement);
}

static enum status read_all(struct world *world, struct error *err)
{
    memset(values, 0, FOUR_BLOCKS * sizeof(float));
    return reader_read(world->reader, 0, 0, 0, FOUR_BLOCKS, values, NULL, err);
}

static void assert_all_read(void)
{
    for (size_t i = 0; i < FOUR_BLOCKS * sizeof(float); i++)
        assert_int_equal(values[i], 1);
}

static void test_reads_from_every_server(void **state)
{
    struct world world;
    struct error err;

    (void)state;
    begin(&world);
    assert_int_equal(read_all(&world, &err), STATUS_OK);
    assert_all_read();
    end(&world);
}

static bool say_done_once(struct world *world, struct fake_link *link,
                          const struct fake_heard *heard)
{
    Pmd__Done done = PMD__DONE__INIT;

    if (world->lied || heard->type != FRAME_STATUS)
        return false;
    world->lied = true;
    fake_link_say(link, FRAME_DONE, &done, heard->request, 0);
    return true;
}

/* DONE is no status: the connection is given up, and the question asked again. */
static void test_an_answer_to_another_question_is_none(void **state)
{
    struct world world;
    const Pmd__StatusReply *status = NULL;
    struct error err;

    (void)state;
    begin(&world);
    world.lie = say_done_once;
    assert_int_equal(reader_status(world.reader, &status, &err), STATUS_OK);
    assert_true(world.lied);
    assert_non_null(status);
    assert_int_equal(world.net.connects, 2);
    end(&world);
}

static bool say_a_page_too_much(struct world *world, struct fake_link *link,
                                const struct fake_heard *heard)
{
    if (world->lied || heard->type != FRAME_STATUS)
        return false;
    world->lied = true;
    say_registry(world, link, heard->request, "more");
    return true;
}

/* A variable that comes after the placement would have no blocks. */
static void test_a_placed_registry_does_not_grow(void **state)
{
    struct world world;
    const Pmd__StatusReply *status;
    struct error err;

    (void)state;
    begin(&world);
    assert_int_equal(read_all(&world, &err), STATUS_OK);
    world.lie = say_a_page_too_much;
    assert_int_equal(reader_status(world.reader, &status, &err), STATUS_OK);
    assert_true(world.lied);
    assert_int_equal(reader_read(world.reader, 1, 0, 0, 1, values, NULL, &err),
                     STATUS_OUT_OF_RANGE);
    end(&world);
}

static bool say_the_last_block(struct world *world, struct fake_link *link,
                               const struct fake_heard *heard)
{
    uint32_t block = BLOCKS - 1;

    if (heard->type != FRAME_READ)
        return false;
    world->lied = true;
    while (placement_server_of(&world->placement, 0, block) != (uint32_t)(link->address[1] - '0'))
        block--;
    say_block(link, (const Pmd__Read *)heard->message, heard->request, block);
    return true;
}

/* What was not asked for yet would be counted off what was. */
static void test_a_block_that_was_not_asked_for_is_refused(void **state)
{
    struct world world;
    struct error err;

    (void)state;
    begin(&world);
    world.lie = say_the_last_block;
    assert_int_equal(reader_read(world.reader, 0, 0, 0, ELEMENTS, values, NULL, &err),
                     STATUS_UNAVAILABLE);
    assert_true(world.lied);
    assert_non_null(strstr(err.message, "a block that was not asked for"));
    end(&world);
}

static bool break_the_other_server(struct world *world, struct fake_link *link,
                                   const struct fake_heard *heard)
{
    if (world->lied || heard->type != FRAME_HELLO || link->address[1] != '1')
        return false;
    for (struct fake_link *other = world->net.links; other; other = other->next) {
        if (other->address[1] == '0' && other->open) {
            world->lied = true;
            fake_link_break(other);
        }
    }
    return false;
}

/* The first server is lost while the second one is greeted: known at once, not at the timeout. */
static void test_a_server_lost_before_the_read_is_found_again(void **state)
{
    struct world world;
    struct error err;

    (void)state;
    begin(&world);
    world.lie = break_the_other_server;
    uint64_t began_ns = world.net.now_ns;
    assert_int_equal(read_all(&world, &err), STATUS_OK);
    assert_true(world.lied);
    assert_all_read();
    assert_true(world.net.now_ns - began_ns < (uint64_t)TIMEOUT_MS * 1000000);
    end(&world);
}

static void test_slots_are_float32(void **state)
{
    struct world world;
    struct error err;

    (void)state;
    begin(&world);
    world.integers = true;
    assert_int_equal(reader_read(world.reader, 0, 1, 0, 1, values, NULL, &err),
                     STATUS_INVALID_ARGUMENT);
    assert_string_equal(err.message, "read slot 1 of 'w': it has no slots");
    end(&world);
}

static bool say_it_of_another_lineage(struct world *world, struct fake_link *link,
                                      const struct fake_heard *heard)
{
    const struct frame_head head = {.type = FRAME_STATUS_REPLY,
                                    .request = heard->request,
                                    .lineage = FRAME_LINEAGE + 1,
                                    .map_version = FRAME_MAP_VERSION};

    if (heard->type != FRAME_STATUS)
        return false;
    world->lied = true;
    fake_link_say_raw(link, &head, NULL, 0, NULL, 0);
    return true;
}

static void test_frames_of_another_lineage_are_refused(void **state)
{
    struct world world;
    const Pmd__StatusReply *status;
    struct error err;

    (void)state;
    begin(&world);
    world.lie = say_it_of_another_lineage;
    assert_int_equal(reader_status(world.reader, &status, &err), STATUS_UNAVAILABLE);
    assert_non_null(strstr(err.message, "lineage 2"));
    end(&world);
}

static bool say_the_end(struct world *world, struct fake_link *link, const struct fake_heard *heard)
{
    Pmd__End end_of_job = PMD__END__INIT;

    if (heard->type != FRAME_STATUS)
        return false;
    world->lied = true;
    end_of_job.status = STATUS_ABORTED;
    end_of_job.message = (char *)"somebody stopped it";
    fake_link_say(link, FRAME_END, &end_of_job, 0, 0);
    return true;
}

/* The call that waits, and every later one, return the status that their error has. */
static void test_the_end_of_the_job_ends_a_request(void **state)
{
    struct world world;
    const Pmd__StatusReply *status;
    struct error err;

    (void)state;
    begin(&world);
    world.lie = say_the_end;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(reader_status(world.reader, &status, &err), STATUS_ABORTED);
        assert_int_equal(err.status, STATUS_ABORTED);
        assert_non_null(strstr(err.message, "the job is over: somebody stopped it"));
    }
    end(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_from_every_server),
        cmocka_unit_test(test_an_answer_to_another_question_is_none),
        cmocka_unit_test(test_a_placed_registry_does_not_grow),
        cmocka_unit_test(test_a_block_that_was_not_asked_for_is_refused),
        cmocka_unit_test(test_a_server_lost_before_the_read_is_found_again),
        cmocka_unit_test(test_slots_are_float32),
        cmocka_unit_test(test_frames_of_another_lineage_are_refused),
        cmocka_unit_test(test_the_end_of_the_job_ends_a_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
