#include "tests/lib/sample_messages.h"

#include "common/base/bytes.h"
#include "common/base/hash.h"
#include "common/wire/message.h"

#include "proto/cluster.pb-c.h"
#include "proto/data.pb-c.h"
#include "proto/query.pb-c.h"
#include "proto/tensor.pb-c.h"

#include <string.h>

/* The same bytes as in proto/README.md. */
enum {
    AT_HEADER_BYTES = 8,
    AT_PAYLOAD_BYTES = 12,
    AT_PAYLOAD_HASH = 40,
    AT_HEADER_HASH = 48,
    AT_HASH = 56
};

static uint32_t variables[] = {0, 0, 1, 70000};
static uint32_t blocks[] = {0, 1, 0, 300};
static uint32_t rows[] = {2, 3, 1, 65536};
static uint64_t shape[] = {784, 128};
static uint64_t requests[] = {7, 8, 1ull << 40};
static char *addresses[] = {"127.0.0.1:7070", "[::1]:7071", "unix:/run/paramd/2"};
static char *keys[] = {"learning_rate", "beta_1"};
static double values[] = {0.001, 0.9};

static Pmd__Metric metric_loss = {PROTOBUF_C_MESSAGE_INIT(&pmd__metric__descriptor), "loss", 1.25,
                                  64};
static Pmd__Metric metric_accuracy = {PROTOBUF_C_MESSAGE_INIT(&pmd__metric__descriptor), "accuracy",
                                      60, 64};
static Pmd__Metric *metrics[] = {&metric_loss, &metric_accuracy};

static Pmd__VariableSpec variable;
static Pmd__VariableSpec *variable_list[] = {&variable, &variable};
static Pmd__OptimizerSpec optimizer;
static Pmd__OptimizerSpec *optimizer_list[] = {&optimizer};
static Pmd__Commit commit;
static Pmd__Commit *commit_list[] = {&commit, &commit};
static Pmd__WorkerStatus worker;
static Pmd__WorkerStatus *worker_list[] = {&worker};
static Pmd__ServerStatus server;
static Pmd__ServerStatus *server_list[] = {&server};

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

static void fill_parts(void)
{
    pmd__variable_spec__init(&variable);
    variable.name = "dense/kernel";
    variable.dtype = PMD__DATA_TYPE__DATA_TYPE_FLOAT32;
    variable.n_shape = COUNT(shape);
    variable.shape = shape;
    variable.initializer = PMD__INITIALIZER_KIND__INITIALIZER_KIND_UNIFORM;
    variable.initializer_a = -0.05;
    variable.initializer_b = 0.05;
    variable.initializer_seed = -77;
    variable.trainable = 1;
    pmd__optimizer_spec__init(&optimizer);
    optimizer.name = "adam";
    optimizer.n_key = COUNT(keys);
    optimizer.key = keys;
    optimizer.n_value = COUNT(values);
    optimizer.value = values;
    pmd__commit__init(&commit);
    commit.step = 9;
    commit.grant = 11;
    commit.n_totals = commit.n_running = COUNT(metrics);
    commit.totals = commit.running = metrics;
    pmd__worker_status__init(&worker);
    worker.state = "training";
    worker.peer = "127.0.0.1:40000";
    worker.silent_s = 0.25;
    pmd__server_status__init(&server);
    server.address = addresses[0];
    server.present = 1;
    server.blocks = 12;
}

/* Makes the message M of a type in static storage; the statements that follow fill it. */
#define SAMPLE(Type, type_name)                                                                    \
    static Pmd__##Type type_name##_message;                                                        \
    Pmd__##Type *message = &type_name##_message;                                                   \
    pmd__##type_name##__init(message);

#define LISTS(message)                                                                             \
    (message)->n_variable = (message)->n_block = COUNT(variables);                                 \
    (message)->variable = variables;                                                               \
    (message)->block = blocks;

static const ProtobufCMessage *sample_hello(void)
{
    SAMPLE(Hello, hello)
    message->protocol_minor = 1;
    message->features = 1;
    message->job = "digits";
    message->token = (ProtobufCBinaryData){5, (uint8_t *)"s\0x\xff."};
    message->role = PMD__ROLE__ROLE_WORKER;
    message->channel = PMD__CHANNEL__CHANNEL_CONTROL;
    message->process = ~0ull;
    message->address = addresses[1];
    message->program = "paramd-worker 0.1.0, pid 4711";
    return &message->base;
}

static const ProtobufCMessage *sample_hello_reply(void)
{
    SAMPLE(HelloReply, hello_reply)
    message->job = "digits";
    message->workers = 2;
    message->servers = 3;
    message->committed_plus_1 = 10;
    message->n_recent = COUNT(commit_list);
    message->recent = commit_list;
    return &message->base;
}

static const ProtobufCMessage *sample_data(enum frame_type type)
{
    if (type == FRAME_PUSH) {
        SAMPLE(Push, push)
        LISTS(message)
        message->step = 10;
        message->encoding = PMD__PUSH_ENCODING__PUSH_ENCODING_ROWS;
        message->n_rows = COUNT(rows);
        message->rows = rows;
        return &message->base;
    }
    if (type == FRAME_PUSH_ACK) {
        SAMPLE(PushAck, push_ack)
        message->n_request = COUNT(requests);
        message->request = requests;
        return &message->base;
    }
    if (type == FRAME_PULL) {
        SAMPLE(Pull, pull)
        LISTS(message)
        message->step = 9;
        return &message->base;
    }
    if (type == FRAME_PULL_REPLY) {
        SAMPLE(PullReply, pull_reply)
        LISTS(message)
        message->step = 9;
        message->grant = 11;
        return &message->base;
    }
    if (type == FRAME_READ) {
        SAMPLE(Read, read)
        LISTS(message)
        message->hold = 3;
        message->digest = 1;
        return &message->base;
    }
    SAMPLE(ReadReply, read_reply)
    LISTS(message)
    message->hold = 3;
    return &message->base;
}

static const ProtobufCMessage *sample_registry(enum frame_type type)
{
    if (type == FRAME_CREATE) {
        SAMPLE(Create, create)
        message->spec = &variable;
        return &message->base;
    }
    if (type == FRAME_CONFIGURE) {
        SAMPLE(Configure, configure)
        message->spec = &optimizer;
        return &message->base;
    }
    if (type == FRAME_MEMBERS) {
        SAMPLE(Members, members)
        message->servers = COUNT(addresses);
        message->n_server_address = COUNT(addresses);
        message->server_address = addresses;
        return &message->base;
    }
    SAMPLE(Registry, registry)
    message->total = 5;
    message->n_variables = COUNT(variable_list);
    message->variables = variable_list;
    message->n_optimizers = COUNT(optimizer_list);
    message->optimizers = optimizer_list;
    return &message->base;
}

static const ProtobufCMessage *sample_commit(enum frame_type type)
{
    if (type == FRAME_STEP_END) {
        SAMPLE(StepEnd, step_end)
        message->step = 9;
        message->n_metrics = COUNT(metrics);
        message->metrics = metrics;
        return &message->base;
    }
    if (type == FRAME_BARRIER) {
        SAMPLE(Barrier, barrier)
        message->name = "epoch-1/end";
        message->n_metrics = COUNT(metrics);
        message->metrics = metrics;
        return &message->base;
    }
    if (type == FRAME_BARRIER_REPLY) {
        SAMPLE(BarrierReply, barrier_reply)
        message->name = "epoch-1/end";
        message->n_totals = COUNT(metrics);
        message->totals = metrics;
        return &message->base;
    }
    return &commit.base;
}

static const ProtobufCMessage *sample_text(enum frame_type type)
{
    static char text[] = "gradient of 'dense/kernel' is not finite";
    if (type == FRAME_FAILURE) {
        SAMPLE(Failure, failure)
        message->status = 3;
        message->message = text;
        return &message->base;
    }
    if (type == FRAME_END) {
        SAMPLE(End, end)
        message->message = text;
        return &message->base;
    }
    if (type == FRAME_COMPLAINT) {
        SAMPLE(Complaint, complaint)
        message->message = text;
        return &message->base;
    }
    if (type == FRAME_SET) {
        SAMPLE(Set, set)
        message->key = "learning-rate";
        message->value = 0.01;
        return &message->base;
    }
    SAMPLE(LogEntry, log_entry)
    message->index = 4;
    message->kind = PMD__LOG_KIND__LOG_KIND_END;
    message->message = text;
    return &message->base;
}

static const ProtobufCMessage *sample_status(void)
{
    SAMPLE(StatusReply, status_reply)
    message->job = "digits";
    message->state = "training";
    message->n_workers = COUNT(worker_list);
    message->workers = worker_list;
    message->n_servers = COUNT(server_list);
    message->servers = server_list;
    message->waiting_for = "1 of 2 servers";
    message->version = "0.1.0";
    message->n_optimizers = COUNT(optimizer_list);
    message->optimizers = optimizer_list;
    return &message->base;
}

/* Types whose messages are a few numbers: all of them 300. */
static const ProtobufCMessage *sample_numbers(enum frame_type type)
{
    static uint8_t storage[FRAME_TYPES][256] __attribute__((aligned(16)));
    const ProtobufCMessageDescriptor *descriptor = message_descriptor(type);

    if (!descriptor || descriptor->sizeof_message > sizeof storage[0])
        return NULL;
    ProtobufCMessage *message = (void *)storage[type];
    descriptor->message_init(message);
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        uint64_t number = 300;
        if (field->type == PROTOBUF_C_TYPE_UINT64)
            memcpy((uint8_t *)message + field->offset, &number, sizeof number);
        else if (field->type == PROTOBUF_C_TYPE_UINT32)
            memcpy((uint8_t *)message + field->offset, &number, sizeof(uint32_t));
    }
    return message;
}

const ProtobufCMessage *sample_message(enum frame_type type)
{
    fill_parts();
    switch (type) {
    case FRAME_HELLO:
        return sample_hello();
    case FRAME_HELLO_REPLY:
        return sample_hello_reply();
    case FRAME_PUSH:
    case FRAME_PUSH_ACK:
    case FRAME_PULL:
    case FRAME_PULL_REPLY:
    case FRAME_READ:
    case FRAME_READ_REPLY:
        return sample_data(type);
    case FRAME_CREATE:
    case FRAME_CONFIGURE:
    case FRAME_MEMBERS:
    case FRAME_REGISTRY:
        return sample_registry(type);
    case FRAME_STEP_END:
    case FRAME_COMMIT:
    case FRAME_BARRIER:
    case FRAME_BARRIER_REPLY:
        return sample_commit(type);
    case FRAME_FAILURE:
    case FRAME_END:
    case FRAME_COMPLAINT:
    case FRAME_SET:
    case FRAME_LOG_ENTRY:
        return sample_text(type);
    case FRAME_STATUS_REPLY:
        return sample_status();
    default:
        return sample_numbers(type);
    }
}

enum frame_type sample_next_type(enum frame_type type)
{
    for (unsigned next = (unsigned)type + 1; next < FRAME_TYPES; next++) {
        if (strcmp(frame_type_name((enum frame_type)next), "UNKNOWN") != 0)
            return (enum frame_type)next;
    }
    return FRAME_INVALID;
}

size_t sample_frame(enum frame_type type, uint64_t request, size_t payload_bytes, bool hash,
                    uint8_t *ret_bytes, size_t capacity)
{
    const ProtobufCMessage *message = sample_message(type);
    size_t header_bytes = message_packed_bytes(message);
    size_t size = FRAME_PREAMBLE_BYTES + header_bytes + payload_bytes;
    struct frame_head head = {
        .type = type,
        .flags = hash ? FRAME_FLAG_PAYLOAD_HASH : 0,
        .header_bytes = (uint32_t)header_bytes,
        .payload_bytes = (uint32_t)payload_bytes,
        .request = request,
    };

    if (size > capacity)
        return 0;
    frame_encode(&head, ret_bytes);
    message_pack(message, ret_bytes + FRAME_PREAMBLE_BYTES);
    for (size_t i = 0; i < payload_bytes; i++)
        ret_bytes[FRAME_PREAMBLE_BYTES + header_bytes + i] = (uint8_t)(i * 3 + type);
    sample_mend(ret_bytes, size);
    return size;
}

void sample_mend(uint8_t *bytes, size_t size)
{
    if (size < FRAME_PREAMBLE_BYTES)
        return;
    size_t left = size - FRAME_PREAMBLE_BYTES;
    size_t header_bytes = bytes_get_u32(bytes + AT_HEADER_BYTES);
    size_t payload_bytes = bytes_get_u32(bytes + AT_PAYLOAD_BYTES);

    if (header_bytes <= left) {
        const uint8_t *header = bytes + FRAME_PREAMBLE_BYTES;
        bytes_put_u64(bytes + AT_HEADER_HASH, hash_xxh3(header, header_bytes));
        if (payload_bytes <= left - header_bytes)
            bytes_put_u64(bytes + AT_PAYLOAD_HASH, hash_xxh3(header + header_bytes, payload_bytes));
    }
    bytes_put_u64(bytes + AT_HASH, hash_xxh3(bytes, AT_HASH));
}
