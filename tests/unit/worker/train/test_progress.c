#include "worker/train/progress.h"

#include "tests/lib/test.h"

#include <math.h>
#include <stdlib.h>

/* Keras reads the clock once when a bar is made and once at each update; here each reading is a
 * step later. */
struct ticking {
    uint64_t now_ns, step_ns;
};

static uint64_t tick(void *context)
{
    struct ticking *ticking = context;

    ticking->now_ns += ticking->step_ns;
    return ticking->now_ns;
}

struct screen {
    struct progress progress;
    struct ticking ticking;
    char *text; /* owned */
    size_t bytes;
};

static void screen_init(struct screen *screen, bool bar, uint64_t epochs, uint64_t step_ns)
{
    *screen = (struct screen){.ticking = {UINT64_C(1000000000000), step_ns}};
    screen->progress.out = open_memstream(&screen->text, &screen->bytes);
    assert_non_null(screen->progress.out);
    screen->progress.bar = bar;
    screen->progress.epoch_count = epochs;
    screen->progress.clock = (struct clock){tick, &screen->ticking};
}

static void screen_expect(struct screen *screen, const char *expected)
{
    fclose(screen->progress.out);
    assert_string_equal(screen->text, expected);
    free(screen->text);
}

static struct logs two_logs(double loss, double mae)
{
    struct logs logs = {.items = {{"loss", loss}, {"mae", mae}}, .count = 2};

    return logs;
}

#define BACK_10   "\b\b\b\b\b\b\b\b\b\b"
#define BACK_66   BACK_10 BACK_10 BACK_10 BACK_10 BACK_10 BACK_10 "\b\b\b\b\b\b"
#define COLUMNS_5 "\u2501\u2501\u2501\u2501\u2501"
#define BAR_1_OF_4                                                                                 \
    "\r\x1b[1m1/4\x1b[0m \x1b[32m" COLUMNS_5 "\x1b[0m\x1b[37m" COLUMNS_5 COLUMNS_5 COLUMNS_5       \
    "\x1b[0m "
#define BAR_3_OF_4                                                                                 \
    "\r\x1b[1m3/4\x1b[0m \x1b[32m" COLUMNS_5 COLUMNS_5 COLUMNS_5 "\x1b[0m\x1b[37m" COLUMNS_5       \
    "\x1b[0m "
#define BAR_4_OF_4                                                                                 \
    "\r\x1b[1m4/4\x1b[0m \x1b[32m" COLUMNS_5 COLUMNS_5 COLUMNS_5 COLUMNS_5 "\x1b[0m\x1b[37m\x1b["  \
    "0m "

/* What Keras 3.15.1 wrote for this training with this clock. */
static void test_bar_is_keras_to_the_byte(void **state)
{
    static const double loss[2][4] = {{8.1374, 7.5, 7.3092, 7.2554}, {2.3322, 2.3, 2.3637, 2.3341}};
    static const double mae[2][4] = {{2.5258, 2.3, 2.2453, 2.2416}, {1.3408, 1.3, 1.2538, 1.2494}};
    struct screen screen;
    struct logs logs;

    (void)state;
    screen_init(&screen, true, 2, 30000000);
    for (uint64_t epoch = 0; epoch < 2; epoch++) {
        progress_epoch_begin(&screen.progress, epoch, 4);
        for (uint64_t step = 1; step <= 4; step++) {
            logs = two_logs(loss[epoch][step - 1], mae[epoch][step - 1]);
            progress_step(&screen.progress, step, &logs);
        }
        progress_epoch_end(&screen.progress, &logs);
    }
    screen_expect(&screen,
                  "Epoch 1/2\n" BAR_1_OF_4
                  "\x1b[1m0s\x1b[0m 30ms/step - loss: 8.1374 - mae: 2.5258" BACK_66 BAR_3_OF_4
                  "\x1b[1m0s\x1b[0m 30ms/step - loss: 7.3092 - mae: 2.2453" BACK_66 BAR_4_OF_4
                  "\x1b[1m0s\x1b[0m 40ms/step - loss: 7.2554 - mae: 2.2416\n"
                  "Epoch 2/2\n" BAR_1_OF_4
                  "\x1b[1m0s\x1b[0m 30ms/step - loss: 2.3322 - mae: 1.3408" BACK_66 BAR_3_OF_4
                  "\x1b[1m0s\x1b[0m 30ms/step - loss: 2.3637 - mae: 1.2538" BACK_66 BAR_4_OF_4
                  "\x1b[1m0s\x1b[0m 40ms/step - loss: 2.3341 - mae: 1.2494\n");
}

/* Shown for a single epoch without its number; the time left shrinks, and what it leaves is
 * blanked. */
static void test_bar_blanks_what_is_left_of_a_longer_line(void **state)
{
    struct screen screen;
    struct logs none = {.count = 0};

    (void)state;
    screen_init(&screen, true, 1, UINT64_C(100000000000));
    progress_epoch_begin(&screen.progress, 0, 3);
    progress_step(&screen.progress, 1, &none);
    screen.ticking.step_ns = 100000000;
    progress_step(&screen.progress, 2, &none);
    screen_expect(
        &screen,
        "\r\x1b[1m1/3\x1b[0m \x1b[32m" COLUMNS_5 "\u2501\x1b[0m\x1b[37m" COLUMNS_5 COLUMNS_5
        "\u2501\u2501\u2501\u2501\x1b[0m \x1b[1m3:20\x1b[0m 100s/step" BACK_10 BACK_10 BACK_10
        "\b\b\b\b\b\b\b\b\b"
        "\r\x1b[1m2/3\x1b[0m \x1b[32m" COLUMNS_5 COLUMNS_5
        "\u2501\u2501\u2501\x1b[0m\x1b[37m" COLUMNS_5
        "\u2501\u2501\x1b[0m \x1b[1m0s\x1b[0m 100ms/step ");
}

/* More than an hour, steps of microseconds, counts aligned to the right. */
static void test_bar_has_hours_and_microseconds(void **state)
{
    struct screen screen;
    struct logs none = {.count = 0};

    (void)state;
    screen_init(&screen, true, 1, 500000000);
    progress_epoch_begin(&screen.progress, 0, 20000);
    progress_step(&screen.progress, 1, &none);
    screen_expect(&screen,
                  "\r\x1b[1m    1/20000\x1b[0m \x1b[37m" COLUMNS_5 COLUMNS_5 COLUMNS_5 COLUMNS_5
                  "\x1b[0m \x1b[1m2:46:39\x1b[0m 500ms/step");
    screen_init(&screen, true, 1, 100000000);
    progress_epoch_begin(&screen.progress, 0, 1000);
    progress_step(&screen.progress, 500, &none);
    screen_expect(&screen,
                  "\r\x1b[1m 500/1000\x1b[0m \x1b[32m" COLUMNS_5 COLUMNS_5
                  "\x1b[0m\x1b[37m" COLUMNS_5 COLUMNS_5 "\x1b[0m \x1b[1m0s\x1b[0m 200us/step");
}

static void test_line_for_an_epoch_elsewhere(void **state)
{
    struct screen screen;
    struct logs logs = {.items = {{"accuracy", 0.90123},
                                  {"loss", 0.34108},
                                  {"val_accuracy", 1},
                                  {"val_loss", 0.00012345}},
                        .count = 4};

    (void)state;
    screen_init(&screen, false, 10, 1000);
    progress_epoch_begin(&screen.progress, 0, 4);
    progress_step(&screen.progress, 4, &logs);
    progress_epoch_end(&screen.progress, &logs);
    screen_expect(&screen, "Epoch 1/10 - accuracy: 0.9012 - loss: 0.3411 - val_accuracy: 1.0000 - "
                           "val_loss: 1.2345e-04\n");
}

static void test_numbers(void **state)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0, "0.0000e+00"},     {0.001, "1.0000e-03"},   {0.00101, "0.0010"},
                 {-2.5, "-2.5000"},     {123456, "123456.0000"}, {NAN, "nan"},
                 {-(double)NAN, "nan"}, {INFINITY, "inf"}};
    char text[LOG_NUMBER_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        log_print_number(cases[i].value, text);
        assert_string_equal(text, cases[i].text);
    }
    log_print_number(1.7e300, text);
    assert_string_equal(text, "1.7000e+300");
}

/* Names in alphabetical order, whatever the order in which metrics were compiled; means, not sums.
 */
static void test_logs_are_sorted_means(void **state)
{
    struct model model = {.metric_count = 2};
    struct model_totals totals = {.loss = {6, 4}, .metrics = {{3, 4}, {1, 2}}};
    struct model_totals validation = {.loss = {1, 1}};
    struct logs logs;

    (void)state;
    snprintf(model.metrics[0].name, sizeof model.metrics[0].name, "mae");
    snprintf(model.metrics[1].name, sizeof model.metrics[1].name, "accuracy");
    logs_set(&logs, &model, &totals, &validation);
    assert_int_equal(logs.count, 6);
    assert_string_equal(logs.items[0].name, "accuracy");
    assert_string_equal(logs.items[1].name, "loss");
    assert_string_equal(logs.items[2].name, "mae");
    assert_string_equal(logs.items[3].name, "val_accuracy");
    assert_string_equal(logs.items[5].name, "val_mae");
    assert_true(logs.items[0].value == 0.5 && logs.items[1].value == 1.5);
    assert_true(logs.items[4].value == 1 && logs.items[5].value == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bar_is_keras_to_the_byte),
        cmocka_unit_test(test_bar_blanks_what_is_left_of_a_longer_line),
        cmocka_unit_test(test_bar_has_hours_and_microseconds),
        cmocka_unit_test(test_line_for_an_epoch_elsewhere),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_logs_are_sorted_means),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
