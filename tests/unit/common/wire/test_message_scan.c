#include "common/wire/message_scan.h"

#include "common/base/limits.h"
#include "common/wire/message.h"

#include "proto/cluster.pb-c.h"
#include "proto/data.pb-c.h"
#include "proto/query.pb-c.h"
#include "tests/lib/sample_messages.h"
#include "tests/lib/test.h"

static uint8_t packed[256 * 1024];

/* A message within a message within ... ends before the scan's bound, and no type holds itself. */
static void walk(const ProtobufCMessageDescriptor *message, unsigned depth)
{
    assert_true(depth < MESSAGE_DEPTH_MAX);
    assert_true(message->n_fields <= 32);
    for (unsigned i = 0; i < message->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->fields[i];
        const struct message_rule *rule = message_rule_find(message, field->name);
        bool repeated = field->label == PROTOBUF_C_LABEL_REPEATED;
        bool text = field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_BYTES;
        if ((repeated || text) && !rule)
            fail_msg("%s.%s has no rule in message_scan.c", message->name, field->name);
        if (rule) {
            assert_int_equal(rule->count_max > 0, repeated);
            assert_int_equal(rule->text != MESSAGE_TEXT_NONE, text);
            assert_int_equal(rule->text_bytes_max > 0, text);
            if (rule->beside)
                assert_non_null(
                    protobuf_c_message_descriptor_get_field_by_name(message, rule->beside));
        }
        if (field->type == PROTOBUF_C_TYPE_MESSAGE)
            walk(field->descriptor, depth + 1);
    }
}

static void test_every_list_and_text_has_a_rule(void **state)
{
    (void)state;
    for (enum frame_type type = sample_next_type(0); type; type = sample_next_type(type)) {
        if (message_descriptor(type))
            walk(message_descriptor(type), 0);
    }
}

static void check(const ProtobufCMessage *message, enum status status, const char *words)
{
    struct error err = {0};
    size_t size = message_packed_bytes(message);

    assert_in_range(size, 0, sizeof packed);
    message_pack(message, packed);
    if (status == STATUS_OK)
        assert_ok(message_scan(message->descriptor, packed, size, &err), &err);
    else
        assert_refused(message_scan(message->descriptor, packed, size, &err), status, &err, words);
}

static void test_lists_side_by_side(void **state)
{
    static uint32_t numbers[LIMIT_FRAME_BLOCKS + 1];
    Pmd__Push push = PMD__PUSH__INIT;

    (void)state;
    push.variable = push.block = push.rows = numbers;
    check(&push.base, STATUS_OK, "");
    push.n_variable = 3;
    check(&push.base, STATUS_INVALID_ARGUMENT, "0 of block beside 3 of variable");
    push.n_block = 3;
    check(&push.base, STATUS_OK, "");
    push.n_rows = 2;
    check(&push.base, STATUS_INVALID_ARGUMENT, "2 of rows beside 3 of variable");
    push.n_rows = 3;
    check(&push.base, STATUS_OK, "");
    push.n_variable = push.n_block = push.n_rows = LIMIT_FRAME_BLOCKS;
    check(&push.base, STATUS_OK, "");
    push.n_variable = LIMIT_FRAME_BLOCKS + 1;
    check(&push.base, STATUS_RESOURCE_EXHAUSTED, "variable has more than 1024");
}

static void test_lists_of_messages(void **state)
{
    static Pmd__Metric metric = PMD__METRIC__INIT;
    static Pmd__Metric *metrics[LIMIT_METRICS + 1];
    Pmd__StepEnd end = PMD__STEP_END__INIT;

    (void)state;
    metric.name = "loss";
    for (size_t i = 0; i <= LIMIT_METRICS; i++)
        metrics[i] = &metric;
    end.metrics = metrics;
    end.n_metrics = LIMIT_METRICS;
    check(&end.base, STATUS_OK, "");
    end.n_metrics++;
    check(&end.base, STATUS_RESOURCE_EXHAUSTED, "metrics has more than 64");
    end.n_metrics = 1;
    metric.name = "top 5";
    check(&end.base, STATUS_INVALID_ARGUMENT, "name has the byte 0x20 at 3");
}

static void test_text_lengths(void **state)
{
    static char text[LIMIT_NAME_BYTES + 2];
    Pmd__VariableSpec spec = PMD__VARIABLE_SPEC__INIT;
    Pmd__Create create = PMD__CREATE__INIT;

    (void)state;
    check(&create.base, STATUS_INVALID_ARGUMENT, "without its spec");
    create.spec = &spec;
    spec.name = text;
    memset(text, 'a', LIMIT_NAME_BYTES);
    check(&create.base, STATUS_OK, "");
    text[LIMIT_NAME_BYTES] = 'a';
    check(&create.base, STATUS_RESOURCE_EXHAUSTED, "name has 257 bytes, more than 256");
}

static void test_characters(void **state)
{
    Pmd__Failure failure = PMD__FAILURE__INIT;
    Pmd__Set set = PMD__SET__INIT;

    (void)state;
    failure.message = "caf\xc3\xa9: no such file, 100 %";
    check(&failure.base, STATUS_OK, "");
    failure.message = "red \x1b[31m";
    check(&failure.base, STATUS_INVALID_ARGUMENT, "0x1b at 4");
    failure.message = "two\nlines";
    check(&failure.base, STATUS_INVALID_ARGUMENT, "no control characters");
    set.key = "azAZ09_./-";
    check(&set.base, STATUS_OK, "");
    set.key = "caf\xc3\xa9";
    check(&set.base, STATUS_INVALID_ARGUMENT, "a name has only letters");
}

/* Bytes that protobuf-c would read in another way, or that end too early. */
static void test_malformed_bytes(void **state)
{
    static const struct {
        const ProtobufCMessageDescriptor *message;
        const char *bytes;
        size_t size;
    } cases[] = {
        {&pmd__failure__descriptor,
         "\x12\x02"
         "a\0",
         4}, /* a NUL in a text */
        {&pmd__failure__descriptor,
         "\x12\x05"
         "abc",
         5},                                    /* a text past the end */
        {&pmd__failure__descriptor, "\x12", 1}, /* no length */
        {&pmd__failure__descriptor, "\x08", 1}, /* no number */
        {&pmd__failure__descriptor, "\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
         12},                                                       /* too long a number */
        {&pmd__failure__descriptor, "\x80\x80\x80\x80\x80\x01", 6}, /* too long a tag */
        {&pmd__failure__descriptor, "\xf8\xff\xff\xff\x7f\x01", 6}, /* a tag beyond 32 bits */
        {&pmd__failure__descriptor, "\x00\x01", 2},                 /* field 0 */
        {&pmd__failure__descriptor, "\x0b\x0c", 2},                 /* a group */
        {&pmd__failure__descriptor, "\x0f", 1},                     /* wire type 7 */
        {&pmd__failure__descriptor,
         "\x09"
         "1234567",
         8}, /* 7 of 8 bytes */
        {&pmd__failure__descriptor,
         "\x0d"
         "123",
         4},                                             /* 3 of 4 bytes */
        {&pmd__failure__descriptor, "\x0a\x01\x05", 3},  /* a list where a number belongs */
        {&pmd__push__descriptor, "\x22\x02\x01\x80", 4}, /* a list that ends within a number */
        {&pmd__configure__descriptor, "\x0a\x03\x22\x01\x00", 5}, /* a list of doubles of 1 byte */
        {&pmd__create__descriptor, "\x0a\x00\x0a\x00", 4},        /* the same part twice */
        {&pmd__create__descriptor, "\x0a\x02\x0a\x05", 4}, /* a text past the end of its part */
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err = {0};
        enum status status = message_scan(cases[i].message, (const uint8_t *)cases[i].bytes,
                                          cases[i].size, &err);
        if (status != STATUS_INVALID_ARGUMENT)
            fail_msg("case %zu: %s", i, status_name(status));
    }
}

/* A list may come as single numbers, packed, or both: they are counted together. */
static void test_unpacked_lists_are_counted(void **state)
{
    static const uint8_t mixed[] = {0x20, 1, 0x22, 2, 2, 3, 0x2a, 3, 1, 2, 3};
    static const uint8_t uneven[] = {0x20, 1, 0x22, 2, 2, 3, 0x2a, 2, 1, 2};
    struct error err = {0};

    (void)state;
    assert_ok(message_scan(&pmd__push__descriptor, mixed, sizeof mixed, &err), &err);
    assert_refused(message_scan(&pmd__push__descriptor, uneven, sizeof uneven, &err),
                   STATUS_INVALID_ARGUMENT, &err, "2 of block beside 3 of variable");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_list_and_text_has_a_rule),
        cmocka_unit_test(test_lists_side_by_side),
        cmocka_unit_test(test_lists_of_messages),
        cmocka_unit_test(test_text_lengths),
        cmocka_unit_test(test_characters),
        cmocka_unit_test(test_malformed_bytes),
        cmocka_unit_test(test_unpacked_lists_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
