#include "common/wire/message_scan.h"

#include "common/base/limits.h"

#include "proto/cluster.pb-c.h"
#include "proto/data.pb-c.h"
#include "proto/query.pb-c.h"
#include "proto/tensor.pb-c.h"

#include <string.h>

/*
 * protobuf-c allocates up to 50 times the bytes it reads, cuts strings at a NUL, merges a
 * submessage that comes twice wrongly and knows no limits. So the bytes are walked once before,
 * with the schema and the rules below in hand; what passes has one meaning, and is as large as it
 * may be at most.
 */

enum {
    FIELDS_MAX = 32, /* of one message; a test looks */
    VARINT_BYTES_MAX = 10,
    TAG_BYTES_MAX = 5,
    STATE_NAME_BYTES = 32, /* "training" */
    VERSION_BYTES = 64,
    SENTENCE_BYTES = ERROR_MESSAGE_BYTES,
    RECENT_COMMITS = 2,
};

#define COUNT(m, f, max)                                                                           \
    {                                                                                              \
        .message = &pmd__##m##__descriptor, .field = #f, .count_max = (max)                        \
    }
#define BESIDE(m, f, max, other)                                                                   \
    {                                                                                              \
        .message = &pmd__##m##__descriptor, .field = #f, .count_max = (max), .beside = #other      \
    }
#define TEXT(m, f, kind, max)                                                                      \
    {                                                                                              \
        .message = &pmd__##m##__descriptor, .field = #f, .text = MESSAGE_TEXT_##kind,              \
        .text_bytes_max = (max)                                                                    \
    }
#define TEXTS(m, f, count, kind, max)                                                              \
    {                                                                                              \
        .message = &pmd__##m##__descriptor, .field = #f, .count_max = (count),                     \
        .text = MESSAGE_TEXT_##kind, .text_bytes_max = (max)                                       \
    }
#define REQUIRED(m, f)                                                                             \
    {                                                                                              \
        .message = &pmd__##m##__descriptor, .field = #f, .required = true                          \
    }

/* Rows of one message stand together. */
static const struct message_rule rules[] = {
    /* tensor.proto */
    TEXT(variable_spec, name, NAME, LIMIT_NAME_BYTES),
    COUNT(variable_spec, shape, LIMIT_RANK),
    TEXT(optimizer_spec, name, NAME, LIMIT_NAME_BYTES),
    TEXTS(optimizer_spec, key, LIMIT_OPTIMIZER_OPTIONS, NAME, LIMIT_NAME_BYTES),
    BESIDE(optimizer_spec, value, LIMIT_OPTIMIZER_OPTIONS, key),

    /* data.proto */
    COUNT(push, variable, LIMIT_FRAME_BLOCKS),
    BESIDE(push, block, LIMIT_FRAME_BLOCKS, variable),
    {.message = &pmd__push__descriptor,
     .field = "rows",
     .count_max = LIMIT_FRAME_BLOCKS,
     .beside = "variable",
     .none_allowed = true},
    COUNT(push_ack, request, LIMIT_QUEUED_FRAMES),
    COUNT(pull, variable, LIMIT_FRAME_BLOCKS),
    BESIDE(pull, block, LIMIT_FRAME_BLOCKS, variable),
    COUNT(pull_reply, variable, LIMIT_FRAME_BLOCKS),
    BESIDE(pull_reply, block, LIMIT_FRAME_BLOCKS, variable),
    COUNT(read, variable, LIMIT_FRAME_BLOCKS),
    BESIDE(read, block, LIMIT_FRAME_BLOCKS, variable),
    COUNT(read_reply, variable, LIMIT_FRAME_BLOCKS),
    BESIDE(read_reply, block, LIMIT_FRAME_BLOCKS, variable),

    /* cluster.proto */
    TEXT(hello, job, NAME, LIMIT_JOB_NAME_BYTES),
    TEXT(hello, token, BYTES, LIMIT_TOKEN_BYTES),
    TEXT(hello, address, PRINTABLE, LIMIT_ADDRESS_BYTES),
    TEXT(hello, program, PRINTABLE, LIMIT_PROGRAM_BYTES),
    TEXT(hello_reply, job, NAME, LIMIT_JOB_NAME_BYTES),
    COUNT(hello_reply, recent, RECENT_COMMITS),
    TEXTS(members, server_address, LIMIT_SERVERS, PRINTABLE, LIMIT_ADDRESS_BYTES),
    REQUIRED(create, spec),
    REQUIRED(configure, spec),
    COUNT(registry, variables, LIMIT_VARIABLES),
    COUNT(registry, optimizers, LIMIT_OPTIMIZERS),
    TEXT(metric, name, NAME, LIMIT_METRIC_NAME_BYTES),
    COUNT(step_end, metrics, LIMIT_METRICS),
    COUNT(commit, totals, LIMIT_METRICS),
    COUNT(commit, running, LIMIT_METRICS),
    TEXT(barrier, name, NAME, LIMIT_BARRIER_NAME_BYTES),
    COUNT(barrier, metrics, LIMIT_METRICS),
    TEXT(barrier_reply, name, NAME, LIMIT_BARRIER_NAME_BYTES),
    COUNT(barrier_reply, totals, LIMIT_METRICS),
    TEXT(failure, message, PRINTABLE, SENTENCE_BYTES),
    TEXT(end, message, PRINTABLE, SENTENCE_BYTES),
    TEXT(log_entry, message, PRINTABLE, SENTENCE_BYTES),
    TEXT(complaint, message, PRINTABLE, SENTENCE_BYTES),

    /* query.proto */
    TEXT(worker_status, state, PRINTABLE, STATE_NAME_BYTES),
    TEXT(worker_status, peer, PRINTABLE, LIMIT_ADDRESS_BYTES),
    TEXT(server_status, address, PRINTABLE, LIMIT_ADDRESS_BYTES),
    TEXT(status_reply, job, NAME, LIMIT_JOB_NAME_BYTES),
    TEXT(status_reply, state, PRINTABLE, STATE_NAME_BYTES),
    COUNT(status_reply, workers, LIMIT_WORKERS),
    COUNT(status_reply, servers, LIMIT_SERVERS),
    TEXT(status_reply, waiting_for, PRINTABLE, SENTENCE_BYTES),
    TEXT(status_reply, version, PRINTABLE, VERSION_BYTES),
    COUNT(status_reply, optimizers, LIMIT_OPTIMIZERS),
    TEXT(set, key, NAME, LIMIT_NAME_BYTES),
};

/* One walk over one message; counts[i] is how often its i-th field came. */
struct scan {
    const ProtobufCMessageDescriptor *message;
    const struct message_rule *rules; /* those of the message */
    size_t rule_count;
    const uint8_t *at;
    const uint8_t *end;
    unsigned depth;
    size_t counts[FIELDS_MAX];
};

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_LENGTH = 2, WIRE_FIXED32 = 5 };

enum { RULES = sizeof rules / sizeof rules[0] };

static size_t rules_of(const ProtobufCMessageDescriptor *message,
                       const struct message_rule **ret_rules)
{
    size_t first = 0;
    while (first < RULES && rules[first].message != message)
        first++;
    size_t end = first;
    while (end < RULES && rules[end].message == message)
        end++;
    *ret_rules = &rules[first < RULES ? first : 0];
    return end - first;
}

static const struct message_rule *find_rule(const struct message_rule *first, size_t count,
                                            const char *field)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(first[i].field, field) == 0)
            return &first[i];
    }
    return NULL;
}

const struct message_rule *message_rule_find(const ProtobufCMessageDescriptor *message,
                                             const char *field)
{
    const struct message_rule *first;
    size_t count = rules_of(message, &first);

    return find_rule(first, count, field);
}

static enum status malformed(const struct scan *scan, struct error *err)
{
    return error_set(err, STATUS_INVALID_ARGUMENT, "malformed %s message",
                     scan->message->short_name);
}

/* A varint of at most bytes_max bytes; false: there is none. */
static bool take_varint(struct scan *scan, size_t bytes_max, uint64_t *ret_value)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes_max && scan->at < scan->end; i++) {
        uint8_t byte = *scan->at++;
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (!(byte & 0x80)) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

static bool name_character(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '/' || c == '-';
}

/* Bytes from 128 up pass: names of files in messages, in any encoding. */
static bool printable_character(uint8_t c)
{
    return c >= 0x20 && c != 0x7f;
}

static enum status check_text(const struct scan *scan, const struct message_rule *rule,
                              const uint8_t *text, size_t size, struct error *err)
{
    if (size > rule->text_bytes_max)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "%s.%s has %zu bytes, more than %zu",
                         scan->message->short_name, rule->field, size, rule->text_bytes_max);
    if (rule->text == MESSAGE_TEXT_BYTES)
        return STATUS_OK;
    for (size_t i = 0; i < size; i++) {
        bool fits = rule->text == MESSAGE_TEXT_NAME ? name_character(text[i])
                                                    : printable_character(text[i]);
        if (!fits)
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s.%s has the byte 0x%02x at %zu, %s",
                             scan->message->short_name, rule->field, text[i], i,
                             rule->text == MESSAGE_TEXT_NAME
                                 ? "a name has only letters, digits and _ . / -"
                                 : "a text has no control characters");
    }
    return STATUS_OK;
}

/* Elements of a packed list, which must end with a whole one. */
static bool packed_count(ProtobufCType type, const uint8_t *bytes, size_t size, size_t *ret_count)
{
    size_t width = type == PROTOBUF_C_TYPE_DOUBLE || type == PROTOBUF_C_TYPE_FIXED64 ||
                           type == PROTOBUF_C_TYPE_SFIXED64
                       ? 8
                   : type == PROTOBUF_C_TYPE_FLOAT || type == PROTOBUF_C_TYPE_FIXED32 ||
                           type == PROTOBUF_C_TYPE_SFIXED32
                       ? 4
                       : 0;
    if (width) {
        *ret_count = size / width;
        return size % width == 0;
    }
    size_t count = 0;
    for (size_t i = 0; i < size; i++)
        count += !(bytes[i] & 0x80);
    *ret_count = count;
    return size == 0 || !(bytes[size - 1] & 0x80);
}

static enum status scan_level(const ProtobufCMessageDescriptor *message, const uint8_t *bytes,
                              size_t size, unsigned depth, struct error *err);

/* A field with a length in front: text, bytes, message or packed list. */
static enum status scan_length(struct scan *scan, const ProtobufCFieldDescriptor *field,
                               const struct message_rule *rule, size_t *ret_count,
                               struct error *err)
{
    uint64_t size;

    if (!take_varint(scan, VARINT_BYTES_MAX, &size) || size > (uint64_t)(scan->end - scan->at))
        return malformed(scan, err);
    const uint8_t *bytes = scan->at;
    scan->at += size;
    *ret_count = 1;
    if (!field)
        return STATUS_OK;
    if (field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_BYTES)
        return rule ? check_text(scan, rule, bytes, size, err) : malformed(scan, err);
    if (field->type == PROTOBUF_C_TYPE_MESSAGE)
        return scan_level(field->descriptor, bytes, size, scan->depth + 1, err);
    if (field->label != PROTOBUF_C_LABEL_REPEATED ||
        !packed_count(field->type, bytes, size, ret_count))
        return malformed(scan, err);
    return STATUS_OK;
}

/* The value of one field, whatever it is; ret_count is how many elements it adds. */
static enum status scan_value(struct scan *scan, unsigned wire,
                              const ProtobufCFieldDescriptor *field,
                              const struct message_rule *rule, size_t *ret_count, struct error *err)
{
    uint64_t ignored;
    size_t width = wire == WIRE_FIXED64 ? 8 : 4;

    *ret_count = 1;
    switch (wire) {
    case WIRE_VARINT:
        return take_varint(scan, VARINT_BYTES_MAX, &ignored) ? STATUS_OK : malformed(scan, err);
    case WIRE_LENGTH:
        return scan_length(scan, field, rule, ret_count, err);
    case WIRE_FIXED64:
    case WIRE_FIXED32:
        if ((size_t)(scan->end - scan->at) < width)
            return malformed(scan, err);
        scan->at += width;
        return STATUS_OK;
    default:
        return malformed(scan, err); /* groups, and numbers that mean nothing */
    }
}

static const ProtobufCFieldDescriptor *find_field(const ProtobufCMessageDescriptor *message,
                                                  uint64_t id)
{
    for (unsigned i = 0; i < message->n_fields; i++) {
        if (message->fields[i].id == id)
            return &message->fields[i];
    }
    return NULL;
}

static enum status scan_field(struct scan *scan, struct error *err)
{
    uint64_t tag;
    size_t count;

    if (!take_varint(scan, TAG_BYTES_MAX, &tag) || tag >> 3 == 0 || tag > UINT32_MAX)
        return malformed(scan, err);
    const ProtobufCFieldDescriptor *field = find_field(scan->message, tag >> 3);
    const struct message_rule *rule = field ? find_rule(scan->rules, scan->rule_count, field->name)
                                            : NULL;
    enum status status = scan_value(scan, tag & 7, field, rule, &count, err);
    if (status || !field)
        return status; /* an unknown field: a newer minor version */

    size_t *total = &scan->counts[field - scan->message->fields];
    *total += count;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        size_t count_max = rule ? rule->count_max : 0;
        if (*total > count_max)
            return error_set(err, STATUS_RESOURCE_EXHAUSTED, "%s.%s has more than %zu elements",
                             scan->message->short_name, field->name, count_max);
    } else if (*total > 1 && field->type == PROTOBUF_C_TYPE_MESSAGE) {
        return malformed(scan, err);
    }
    return STATUS_OK;
}

static size_t count_of(const struct scan *scan, const char *name)
{
    const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field_by_name(
        scan->message, name);

    return scan->counts[field - scan->message->fields];
}

/* What can be said only when all of a message has been seen. */
static enum status check_whole(const struct scan *scan, struct error *err)
{
    for (size_t i = 0; i < scan->rule_count; i++) {
        const struct message_rule *rule = &scan->rules[i];
        if (!rule->required && !rule->beside)
            continue;
        size_t count = count_of(scan, rule->field);
        if (rule->required && count == 0)
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s without its %s",
                             scan->message->short_name, rule->field);
        if (!rule->beside || (rule->none_allowed && count == 0))
            continue;
        size_t beside = count_of(scan, rule->beside);
        if (count != beside)
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s has %zu of %s beside %zu of %s",
                             scan->message->short_name, count, rule->field, beside, rule->beside);
    }
    return STATUS_OK;
}

static enum status scan_level(const ProtobufCMessageDescriptor *message, const uint8_t *bytes,
                              size_t size, unsigned depth, struct error *err)
{
    struct scan scan = {.message = message, .at = bytes, .end = bytes, .depth = depth};

    if (size) /* else bytes may be NULL */
        scan.end += size;
    scan.rule_count = rules_of(message, &scan.rules);
    if (depth >= MESSAGE_DEPTH_MAX || message->n_fields > FIELDS_MAX)
        return malformed(&scan, err);
    while (scan.at < scan.end) {
        enum status status = scan_field(&scan, err);
        if (status)
            return status;
    }
    return check_whole(&scan, err);
}

enum status message_scan(const ProtobufCMessageDescriptor *message, const uint8_t *bytes,
                         size_t size, struct error *err)
{
    return scan_level(message, bytes, size, 0, err);
}
