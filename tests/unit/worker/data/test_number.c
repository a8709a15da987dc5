#include "worker/data/number.h"

#include "tests/unit/worker/data/data_test.h"

#include "common/base/rng.h"

#include <locale.h>
#include <math.h>

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static void expect(const char *text, float wanted)
{
    float value = 12345;

    if (number_parse_all(text, strlen(text), &value) != NUMBER_OK ||
        bits_of(value) != bits_of(wanted))
        fail_msg("'%s' gave %.9g instead of %.9g", text, (double)value, (double)wanted);
}

static void expect_as_strtof(const char *text)
{
    expect(text, strtof(text, NULL));
}

static void test_numbers_are_read(void **state)
{
    (void)state;
    expect("0", 0);
    expect("-0", -0.0f);
    expect("7", 7);
    expect("+7", 7);
    expect("0012", 12);
    expect("1234567", 1234567);
    expect("12345678", 12345678);
    expect(" 2.5\t", 2.5f);
    expect(".5", 0.5f);
    expect("5.", 5);
    expect("-1e3", -1000);
    expect("1E+3", 1000);
    expect("25e-1", 2.5f);
    expect("0e999999999999", 0);
    expect("1e-999999999999", 0);
    expect("3.4028235e38", 3.4028235e38f);
    expect("1e-45", 1.4012985e-45f);
    expect("1e-46", 0);
}

static void test_what_is_no_number_is_refused(void **state)
{
    static const char *const texts[] = {"",    " ",   "-",     "+",   ".",   "-.",    "e5",
                                        "1e",  "1e+", "1.2.",  "0x1", "1,5", "1 2",   "--1",
                                        "nan", "inf", "1_000", "1f",  "٣",   "1e5.0", "infinity"};
    size_t i;
    float value = 12345;

    (void)state;
    for (i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (number_parse_all(texts[i], strlen(texts[i]), &value) != NUMBER_ABSENT)
            fail_msg("'%s' was taken as a number", texts[i]);
    }
    assert_true(value == 12345);
}

static void test_numbers_beyond_float32_are_told_apart(void **state)
{
    float value;

    (void)state;
    assert_int_equal(number_parse_all("3.5e38", 6, &value), NUMBER_TOO_LARGE);
    assert_int_equal(number_parse_all("-1e39", 5, &value), NUMBER_TOO_LARGE);
    assert_int_equal(number_parse_all("1e999999999999", 14, &value), NUMBER_TOO_LARGE);
}

/* Halfway between two float32, and a hair beside: where rounding twice would go wrong. */
static void test_rounding_is_to_the_nearest(void **state)
{
    (void)state;
    expect("16777217", 16777216);
    expect("16777217.0000000000000000000000000001", 16777218);
    expect("16777216.9999999999999999999999999999", 16777216);
    expect("16777219", 16777220);
    expect("1.00000005960464477539062500", 1.0f);
    expect("1.00000005960464477539062501", 1.00000011920928955f);
    expect("1.00000017881393432617187500", 1.00000023841857910f);
    expect("1.00000017881393432617187499", 1.00000011920928955f);
    expect("340282346638528859811704183484516925439", 3.4028235e38f);
}

static void test_random_numbers_agree_with_strtof(void **state)
{
    struct rng_sequence rng = {42};
    char text[64];
    int i;

    (void)state;
    for (i = 0; i < 200000; i++) {
        uint64_t whole = rng_next(&rng) >> rng_below(&rng, 64);
        int exponent = (int)rng_below(&rng, 80) - 50;
        switch (i % 3) {
        case 0:
            snprintf(text, sizeof text, "%llue%d", (unsigned long long)whole, exponent);
            break;
        case 1:
            snprintf(text, sizeof text, "%.*f", (int)rng_below(&rng, 20),
                     (double)whole / (double)(rng_next(&rng) | 1));
            break;
        default: /* the middle between two float32, exactly */
            snprintf(text, sizeof text, "%.25e",
                     (double)(whole >> 40) + 0.5 * (double)(i % 2) / (double)(1 << (i % 20)));
        }
        if (isfinite(strtof(text, NULL)))
            expect_as_strtof(text);
    }
}

static void test_digits_are_not_limited(void **state)
{
    enum { DIGITS = 1500000 };
    char *text = malloc(DIGITS + 32);

    (void)state;
    assert_non_null(text);
    memset(text, '0', DIGITS);
    memcpy(text, "1.5", 3);
    text[DIGITS] = '\0';
    expect(text, 1.5f);

    /* A tiny number times a huge one: 0.00...01e1500000. */
    memcpy(text, "0.0", 3);
    memcpy(text + DIGITS - 1, "1e1499998", sizeof "1e1499998");
    expect(text, 1);
    free(text);
}

static void test_the_locale_does_not_matter(void **state)
{
    char text[NUMBER_TEXT_BYTES];
    double value;

    (void)state;
    if (!setlocale(LC_ALL, "de_DE.UTF-8") && !setlocale(LC_ALL, "de_DE.utf8")) {
        printf("# without a locale that has a decimal comma, only the C locale is tried\n");
    }
    expect("1.00000005960464477539062501", 1.00000011920928955f);
    number_print_float64(0.1, text);
    assert_string_equal(text, "0.10000000000000001");
    assert_true(number_parse_float64(text, &value));
    assert_true(value == 0.1);
    setlocale(LC_ALL, "C");
}

static void test_words_for_no_number_are_known(void **state)
{
    (void)state;
    assert_true(number_is_nonfinite("NaN", 3));
    assert_true(number_is_nonfinite(" -inf ", 6));
    assert_true(number_is_nonfinite("Infinity", 8));
    assert_false(number_is_nonfinite("nano", 4));
    assert_false(number_is_nonfinite("", 0));
}

static void test_float64_text_is_exact(void **state)
{
    struct rng_sequence rng = {7};
    char text[NUMBER_TEXT_BYTES];
    double value, again;
    int i;

    (void)state;
    for (i = 0; i < 20000; i++) {
        uint64_t bits = rng_next(&rng);
        memcpy(&value, &bits, sizeof value);
        if (!isfinite(value))
            continue;
        number_print_float64(value, text);
        assert_true(number_parse_float64(text, &again));
        assert_memory_equal(&value, &again, sizeof value);
    }
    assert_false(number_parse_float64("", &value));
    assert_false(number_parse_float64("1e999", &value));
    assert_false(number_parse_float64("1x", &value));
    assert_false(number_parse_float64("nan", &value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_are_read),
        cmocka_unit_test(test_what_is_no_number_is_refused),
        cmocka_unit_test(test_numbers_beyond_float32_are_told_apart),
        cmocka_unit_test(test_rounding_is_to_the_nearest),
        cmocka_unit_test(test_random_numbers_agree_with_strtof),
        cmocka_unit_test(test_digits_are_not_limited),
        cmocka_unit_test(test_the_locale_does_not_matter),
        cmocka_unit_test(test_words_for_no_number_are_known),
        cmocka_unit_test(test_float64_text_is_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
