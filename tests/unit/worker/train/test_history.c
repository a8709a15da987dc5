#include "worker/train/history.h"

#include "tests/lib/temp_dir.h"
#include "tests/lib/test.h"

static struct logs logs_of(double loss)
{
    struct logs logs = {.items = {{"accuracy", 0.5}, {"loss", loss}}, .count = 2};

    return logs;
}

static void add_rows(const char *path, uint64_t first, uint64_t end, double loss)
{
    struct logs logs = logs_of(loss);
    struct error err;
    FILE *file;

    assert_ok(history_open(path, first, &file, &err), &err);
    for (uint64_t epoch = first; epoch < end; epoch++)
        assert_ok(history_add(file, epoch, &logs, &err), &err);
    fclose(file);
}

static void expect_text(const char *path, const char *expected)
{
    char text[1024];
    FILE *file = fopen(path, "r");

    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    assert_string_equal(text, expected);
}

static void test_a_row_an_epoch(void **state)
{
    struct temp_dir dir;
    char path[TEMP_PATH_BYTES];

    (void)state;
    temp_dir_init(&dir);
    temp_dir_path(&dir, "history.csv", path);
    add_rows(path, 0, 2, 1.25);
    expect_text(path, "epoch,accuracy,loss\n0,0.5,1.25\n1,0.5,1.25\n");
    /* From the beginning: what was there is another training's. */
    add_rows(path, 0, 1, 3);
    expect_text(path, "epoch,accuracy,loss\n0,0.5,3\n");
    temp_dir_release(&dir);
}

/* After a restart rows of epochs that come again are written anew, and only once. */
static void test_goes_on_where_it_was(void **state)
{
    struct temp_dir dir;
    char path[TEMP_PATH_BYTES];

    (void)state;
    temp_dir_init(&dir);
    temp_dir_path(&dir, "history.csv", path);
    add_rows(path, 0, 3, 1);
    add_rows(path, 2, 4, 2);
    expect_text(path, "epoch,accuracy,loss\n0,0.5,1\n1,0.5,1\n2,0.5,2\n3,0.5,2\n");
    add_rows(path, 4, 5, 3);
    expect_text(path, "epoch,accuracy,loss\n0,0.5,1\n1,0.5,1\n2,0.5,2\n3,0.5,2\n4,0.5,3\n");
    temp_dir_path(&dir, "new.csv", path);
    add_rows(path, 7, 8, 4);
    expect_text(path, "epoch,accuracy,loss\n7,0.5,4\n");
    temp_dir_release(&dir);
}

static void test_says_where_it_cannot_write(void **state)
{
    struct error err;
    FILE *file;

    (void)state;
    assert_refused(history_open("/nonexistent/h.csv", 0, &file, &err), STATUS_UNAVAILABLE, &err,
                   "/nonexistent/h.csv");
    assert_refused(history_open("/nonexistent/h.csv", 3, &file, &err), STATUS_UNAVAILABLE, &err,
                   "/nonexistent/h.csv");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_row_an_epoch),
        cmocka_unit_test(test_goes_on_where_it_was),
        cmocka_unit_test(test_says_where_it_cannot_write),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
