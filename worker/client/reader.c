#include "worker/client/reader.h"

#include "common/base/alloc.h"
#include "common/base/version.h"
#include "worker/client/reader_state.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- life ---- */

static enum status prepare(struct reader *reader, const struct reader_options *options,
                           struct error *err)
{
    enum status status = STATUS_OK;

    if (!options->coordinator || strlen(options->coordinator) > LIMIT_ADDRESS_BYTES ||
        (options->job && strlen(options->job) > LIMIT_JOB_NAME_BYTES))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "the coordinator's address or the job's name is %s",
                         options->coordinator ? "too long" : "missing");
    snprintf(reader->control.address, sizeof reader->control.address, "%s", options->coordinator);
    snprintf(reader->job_name, sizeof reader->job_name, "%s", options->job ? options->job : "");
    snprintf(reader->program, sizeof reader->program, "%.80s %s, pid %ld",
             options->program ? options->program : "reader", PARAMD_VERSION, (long)getpid());
    reader->connect_ns = (uint64_t)options->connect_timeout_ms * 1000000;
    reader->timeout_ns = (uint64_t)(options->timeout_ms ? options->timeout_ms : 30000) * 1000000;
    reader->next_request = 2; /* 1 is every link's HELLO */
    reader->control.reader = reader;
    reader->control.control = true;
    if (options->token_file)
        status = token_read(options->token_file, &reader->token, err);
    if (!status && (arena_init(&reader->arena, LIMIT_MESSAGE_ARENA_BYTES) ||
                    arena_init(&reader->status_arena, LIMIT_MESSAGE_ARENA_BYTES)))
        status = error_no_memory(err, "a reader's messages");
    return status;
}

enum status reader_new(const struct reader_options *options, struct reader **ret_reader,
                       struct error *err)
{
    struct reader *reader = alloc_zero(sizeof *reader);

    if (!reader)
        return error_no_memory(err, "a reader");
    enum status status = prepare(reader, options, err);
    if (status) {
        reader_close(reader);
        return status;
    }
    *ret_reader = reader;
    return STATUS_OK;
}

void reader_set_loop(struct reader *reader, const struct link_io *io,
                     void (*run_once)(void *loop, uint64_t max_wait_ns), void *loop)
{
    reader->io = *io;
    reader->run_once = run_once;
    reader->loop = loop;
    reader->process = io->random(io->context);
}

static void run_sockets(void *loop, uint64_t max_wait_ns)
{
    net_driver_run_once(loop, max_wait_ns);
}

static enum status make_sockets(struct reader *reader, struct error *err)
{
    const struct link_engine engine = reader_engine(reader);
    enum status status = net_driver_new(NULL, &reader->driver, err);

    if (status)
        return status;
    net_driver_set_engine(reader->driver, &engine);
    const struct link_io io = net_driver_io(reader->driver);
    reader_set_loop(reader, &io, run_sockets, reader->driver);
    return STATUS_OK;
}

enum status reader_connect(const struct reader_options *options, struct reader **ret_reader,
                           struct error *err)
{
    struct reader *reader = NULL;
    enum status status = reader_new(options, &reader, err);

    if (status)
        return status;
    status = make_sockets(reader, err);
    if (!status)
        status = reader_link_up(&reader->control, err);
    if (status) {
        reader_close(reader);
        return status;
    }
    *ret_reader = reader;
    return STATUS_OK;
}

void reader_close(struct reader *reader)
{
    if (!reader)
        return;
    net_driver_free(reader->driver); /* on_closed of every link, for the last time */
    alloc_free(reader->control.header);
    for (uint32_t s = 0; reader->bulk && s < reader->servers; s++)
        alloc_free(reader->bulk[s].header);
    alloc_free(reader->bulk);
    alloc_free(reader->job.seen);
    registry_release(&reader->registry);
    placement_release(&reader->placement);
    arena_release(&reader->arena);
    arena_release(&reader->status_arena);
    token_release(&reader->token);
    alloc_free(reader);
}

void reader_idle(struct reader *reader, uint32_t ms)
{
    uint64_t until = reader_now_ns(reader) + (uint64_t)ms * 1000000;

    for (uint64_t now = reader_now_ns(reader); now < until; now = reader_now_ns(reader))
        reader->run_once(reader->loop, until - now);
}

/* ---- requests ---- */

static bool is_answered(const struct reader *reader)
{
    return reader->answered;
}

static enum frame_type answer_to(enum frame_type type)
{
    switch (type) {
    case FRAME_LIST:
        return FRAME_REGISTRY;
    case FRAME_SNAPSHOT:
        return FRAME_SNAPSHOT_REPLY;
    case FRAME_STATUS:
        return FRAME_STATUS_REPLY;
    case FRAME_SET:
        return FRAME_SET_REPLY;
    default:
        return FRAME_DONE;
    }
}

/* Asks the coordinator and waits; once more if the connection broke, since all requests may be
 * asked twice. */
static enum status ask(struct reader *reader, enum frame_type type, const ProtobufCMessage *message,
                       struct error *err)
{
    enum status status = STATUS_OK;

    for (int i = 0; i < 2; i++) {
        status = reader_link_up(&reader->control, err);
        if (status)
            return status;
        reader->request = reader->next_request++;
        reader->expected = answer_to(type);
        reader->answered = false;
        reader->failure = (struct error){0};
        reader_send(&reader->control, type, message, reader->request);
        bool in_time = reader_wait(reader, is_answered, reader_deadline(reader));
        reader->request = 0;
        if (!in_time)
            return error_set(
                err, STATUS_DEADLINE_EXCEEDED, "coordinator %s: no answer to %s after %.1f s",
                reader->control.address, frame_type_name(type), (double)reader->timeout_ns / 1e9);
        status = reader->failure.status;
        if (status != STATUS_UNAVAILABLE || reader->end.status)
            break;
    }
    if (status && reader->end.status) {
        reader->failure = reader->end;
        status = reader->end.status;
    }
    if (status && err)
        *err = reader->failure;
    return status;
}

enum status reader_list(struct reader *reader, const struct registry **ret_registry,
                        struct error *err)
{
    Pmd__List list = PMD__LIST__INIT;
    enum status status = STATUS_OK;

    if (!reader->placed)
        status = ask(reader, FRAME_LIST, &list.base, err);
    if (!status)
        *ret_registry = &reader->registry;
    return status;
}

enum status reader_place(struct reader *reader, struct error *err)
{
    const struct registry *registry;

    if (reader->placed)
        return STATUS_OK;
    enum status status = reader_list(reader, &registry, err);
    if (status)
        return status;
    struct placement_variable *variables = alloc_array(registry->variable_count, sizeof *variables);
    if (!variables)
        return error_no_memory(err, "the list of variables");
    for (size_t i = 0; i < registry->variable_count; i++) {
        variables[i].id = (uint32_t)i;
        variables[i].dtype = registry->variables[i].dtype;
        variables[i].element_count = registry->variables[i].elements;
    }
    status = placement_init(&reader->placement, variables, registry->variable_count,
                            reader->servers, err);
    alloc_free(variables);
    reader->placed = !status;
    return status;
}

enum status reader_snapshot(struct reader *reader, bool slots, uint64_t *ret_step,
                            struct error *err)
{
    Pmd__Snapshot snapshot = PMD__SNAPSHOT__INIT;

    /* One that this reader still holds would be shared with it, however old it is. */
    enum status status = reader_release_snapshot(reader, err);
    if (status)
        return error_wrap(err, "snapshot");
    snapshot.slots = slots;
    snapshot.gone = reader->gone;
    status = ask(reader, FRAME_SNAPSHOT, &snapshot.base, err);
    if (status)
        return error_wrap(err, "snapshot");
    reader->hold_slots = slots;
    if (ret_step)
        *ret_step = reader->step;
    return reader_place(reader, err);
}

enum status reader_hold(struct reader *reader, bool slots, struct error *err)
{
    if (reader->hold && (reader->hold_slots || !slots))
        return reader_place(reader, err);
    return reader_snapshot(reader, slots, NULL, err);
}

bool reader_try_again(struct reader *reader, enum status status, unsigned *tries)
{
    if ((status != STATUS_NOT_FOUND && status != STATUS_UNAVAILABLE) || reader->end.status ||
        ++*tries >= READER_TRIES)
        return false;
    if (status == STATUS_NOT_FOUND) {
        reader->gone = reader->hold;
        reader->hold = 0;
    }
    return true;
}

enum status reader_release_snapshot(struct reader *reader, struct error *err)
{
    Pmd__Release release = PMD__RELEASE__INIT;

    if (reader->hold == 0)
        return STATUS_OK;
    release.hold = reader->hold;
    reader->hold = 0;
    return ask(reader, FRAME_RELEASE, &release.base, err);
}

enum status reader_status(struct reader *reader, const Pmd__StatusReply **ret_status,
                          struct error *err)
{
    Pmd__Status message = PMD__STATUS__INIT;
    enum status status = ask(reader, FRAME_STATUS, &message.base, err);

    if (!status)
        *ret_status = reader->status;
    return status;
}

enum status reader_set(struct reader *reader, const char *key, double value,
                       uint64_t *ret_from_step, struct error *err)
{
    Pmd__Set set = PMD__SET__INIT;

    set.key = (char *)key;
    set.value = value;
    enum status status = ask(reader, FRAME_SET, &set.base, err);
    if (status)
        return error_wrap(err, "set %s", key);
    if (ret_from_step)
        *ret_from_step = reader->from_step;
    return STATUS_OK;
}

enum status reader_shutdown(struct reader *reader, struct error *err)
{
    Pmd__Shutdown shutdown = PMD__SHUTDOWN__INIT;

    return ask(reader, FRAME_SHUTDOWN, &shutdown.base, err);
}
