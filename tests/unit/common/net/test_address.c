#include "common/net/address.h"

#include "tests/lib/localhost.h"
#include "tests/lib/test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

static struct address parsed(const char *text)
{
    struct address address = {0};
    struct error err = {0};

    assert_ok(address_parse(text, &address, &err), &err);
    return address;
}

static void test_every_form_is_printed_as_it_was_written(void **state)
{
    static const char *const texts[] = {
        "127.0.0.1:7070", "localhost:0",      "node-1.cluster_a.example:65535",
        "[::1]:7070",     "[fe80::1%eth0]:1", "unix:/run/paramd/socket",
    };
    char text[ADDRESS_TEXT_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct address address = parsed(texts[i]);
        address_print(&address, text, sizeof text);
        assert_string_equal(text, texts[i]);
    }
    assert_int_equal(parsed("[::1]:7070").port, 7070);
    assert_string_equal(parsed("[::1]:7070").host, "::1");
    assert_int_equal(parsed("unix:/x").kind, ADDRESS_UNIX);
}

static void test_wrong_addresses_say_what_is_wrong(void **state)
{
    static const struct {
        const char *text;
        const char *words;
    } cases[] = {
        {"", "no port"},
        {"localhost", "no port"},
        {"7070", "no port"},
        {"host:", "port is not a number"},
        {"host:70707", "port is not a number"},
        {"host:-1", "port is not a number"},
        {"host:70x", "port is not a number"},
        {"host:007070", "port is not a number"},
        {":7070", "the host is no name"},
        {"a b:1", "the host is no name"},
        {"http://host:1", "brackets"},
        {"::1:7070", "brackets"},
        {"[::1:7070", "brackets"},
        {"[::g]:7070", "the host is no name"},
        {"[host]:7070", "the host is no name"},
        {"[]:7070", "the host is no name"},
        {"unix:relative", "begins with /"},
        {"unix:", "begins with /"},
        {"unix:/"
         "01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678"
         "90123456"
         "7890123456",
         "at most 107 bytes"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct address address = {.port = 99};
        struct error err = {0};
        assert_refused(address_parse(cases[i].text, &address, &err), STATUS_INVALID_ARGUMENT, &err,
                       cases[i].words);
        assert_int_equal(address.port, 99);
    }
}

static void test_length_is_bounded(void **state)
{
    char text[ADDRESS_TEXT_BYTES + 10];
    struct address address;
    struct error err = {0};

    (void)state;
    memset(text, 'a', sizeof text);
    memcpy(text + ADDRESS_TEXT_BYTES - 3, ":1", 3);
    assert_int_equal(strlen(text), ADDRESS_TEXT_BYTES - 1);
    assert_ok(address_parse(text, &address, &err), &err);
    memcpy(text + ADDRESS_TEXT_BYTES - 3, ":12", 4);
    assert_refused(address_parse(text, &address, &err), STATUS_INVALID_ARGUMENT, &err, "256 bytes");
}

static void test_loopback(void **state)
{
    static const char *const inside[] = {"127.0.0.1:1", "127.255.0.9:1", "[::1]:1",
                                         "localhost:1", "unix:/x",       "[::ffff:127.0.0.1]:1"};
    static const char *const outside[] = {"0.0.0.0:1",          "10.0.0.1:1", "[::]:1",
                                          "[2001:db8::1]:1",    "example:1",  "[::ffff:10.0.0.1]:1",
                                          "localhost.example:1"};

    (void)state;
    for (size_t i = 0; i < sizeof inside / sizeof inside[0]; i++) {
        struct address address = parsed(inside[i]);
        assert_true(address_is_loopback(&address));
    }
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++) {
        struct address address = parsed(outside[i]);
        assert_false(address_is_loopback(&address));
    }
}

static void test_numeric_addresses_need_no_look_up(void **state)
{
    struct socket_addresses found;
    char text[ADDRESS_TEXT_BYTES];
    struct address address;
    static const char *const texts[] = {"127.0.0.1:7070", "[::1]:7071", "unix:/run/x"};

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        address = parsed(texts[i]);
        assert_true(address_numeric(&address, &found));
        assert_int_equal(found.count, 1);
        address_print_socket(&found.items[0], text, sizeof text);
        assert_string_equal(text, texts[i]);
    }
    address = parsed("localhost:1");
    assert_false(address_numeric(&address, &found));
}

static void test_names_resolve(void **state)
{
    struct socket_addresses found = {0};
    struct error err = {0};
    struct address address = parsed("localhost:7070");

    (void)state;
    skip_without_localhost();
    assert_ok(address_resolve(&address, &found, &err), &err);
    assert_in_range(found.count, 1, ADDRESS_RESOLVED_MAX);
    address = parsed("no-such-host.invalid:1");
    assert_refused(address_resolve(&address, &found, &err), STATUS_UNAVAILABLE, &err,
                   "look up no-such-host.invalid: ");
}

static struct socket_address socket_of(const char *text)
{
    struct socket_addresses found;
    struct address address = parsed(text);

    assert_true(address_numeric(&address, &found));
    return found.items[0];
}

static void test_same_host(void **state)
{
    static const struct {
        const char *local;
        const char *peer;
        bool same;
    } cases[] = {
        {"127.0.0.1:1", "127.0.0.1:2", true}, {"127.0.0.1:1", "127.0.0.2:2", true},
        {"10.0.0.1:1", "10.0.0.1:2", true},   {"10.0.0.1:1", "10.0.0.2:2", false},
        {"[::1]:1", "[::1]:2", true},         {"[2001:db8::1]:1", "[2001:db8::2]:1", false},
        {"[::1]:1", "127.0.0.1:1", false},    {"unix:/a", "unix:/b", true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct socket_address local = socket_of(cases[i].local);
        struct socket_address peer = socket_of(cases[i].peer);
        assert_int_equal(address_same_host(&local, &peer), cases[i].same);
    }
}

static void test_unnamed_sockets_print_as_something(void **state)
{
    struct socket_address unnamed = {.storage.ss_family = AF_UNIX, .size = sizeof(sa_family_t)};
    struct socket_address strange = {.storage.ss_family = AF_PACKET,
                                     .size = sizeof unnamed.storage};
    char text[32];

    (void)state;
    address_print_socket(&unnamed, text, sizeof text);
    assert_string_equal(text, "unix:");
    address_print_socket(&strange, text, sizeof text);
    assert_string_equal(text, "an unknown address");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_form_is_printed_as_it_was_written),
        cmocka_unit_test(test_wrong_addresses_say_what_is_wrong),
        cmocka_unit_test(test_length_is_bounded),
        cmocka_unit_test(test_loopback),
        cmocka_unit_test(test_numeric_addresses_need_no_look_up),
        cmocka_unit_test(test_names_resolve),
        cmocka_unit_test(test_same_host),
        cmocka_unit_test(test_unnamed_sockets_print_as_something),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
