#include "common/net/sniff.h"

#include "tests/lib/test.h"

static void check(const char *bytes, size_t size, enum sniff expected)
{
    enum sniff got = sniff_protocol((const uint8_t *)bytes, size);

    if (got != expected)
        fail_msg("'%.*s' is %s, not %s", (int)size, bytes, sniff_name(got), sniff_name(expected));
}

static void test_each_protocol(void **state)
{
    (void)state;
    check("PMD1\x01\0", 6, SNIFF_RAW);
    check("PRI * HTTP/2.0\r\n", 16, SNIFF_HTTP2);
    check("GET /metrics HTTP/1.1", 21, SNIFF_HTTP1);
    check("HEAD / HTTP/1.1", 15, SNIFF_HTTP1);
    check("POST / HTTP/1.1", 15, SNIFF_HTTP1);
    check("HTTP/1.1 400 Bad Request", 24,
          SNIFF_HTTP1); /* an answer: we have connected to a web server */
    check("\x16\x03\x01", 3, SNIFF_TLS);
    check("SSH-2.0-OpenSSH", 15, SNIFF_UNKNOWN);
    check("PMD2", 4, SNIFF_UNKNOWN);
}

/* Decides as soon as, and not before, the bytes allow it. */
static void test_few_bytes(void **state)
{
    (void)state;
    check("", 0, SNIFF_MORE);
    check("P", 1, SNIFF_MORE);
    check("PM", 2, SNIFF_MORE);
    check("PR", 2, SNIFF_MORE);
    check("PMD", 3, SNIFF_MORE);
    check("PMX", 3, SNIFF_UNKNOWN);
    check("H", 1, SNIFF_MORE);
    check("\x16", 1, SNIFF_MORE);
    check("\x16\x02", 2, SNIFF_UNKNOWN);
    check("x", 1, SNIFF_UNKNOWN);
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(sniff_name(SNIFF_RAW), "paramd's frames");
    assert_string_equal(sniff_name(SNIFF_HTTP2), "HTTP/2");
    assert_string_equal(sniff_name(SNIFF_HTTP1), "HTTP/1");
    assert_string_equal(sniff_name(SNIFF_TLS), "TLS");
    assert_string_equal(sniff_name(SNIFF_MORE), "an unknown protocol");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_protocol),
        cmocka_unit_test(test_few_bytes),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
