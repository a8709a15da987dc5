/* CSV: one byte of options, then the file. Numbers are compared with the C library's. */
/* decoder: worker/data/csv.c worker/data/lines.c worker/data/labels.c worker/data/number.c */
/* options: -max_len=2048 */
#include "worker/data/csv.h"

#include "worker/data/number.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_BYTES = 2048 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max);

static const char *const seeds[] = {
    "x1,x2,y\n1,2,0\n3.5,-4e2,1\n",
    "1,2,apple\n3,4,pear\n5,6,\"apple\"\n",
    "\xef\xbb\xbf\"a, \"\"b\"\"\",y\r\n \"1\" ,\t2\r\n\r\n",
    "y,x\n0,1e-45\n1,16777217\n2,0.1000000014901161193847656250\n",
    "1,2\n3,4\n\n",
    "1999,2000,y\n1,2,3\n",
};

static const char *const pieces[] = {
    ",",    "\n",       "\r\n",   "\"",
    "\"\"", "1",        "-2.5e3", "nan",
    "a",    ".",        "e",      "\n\n",
    "y",    "16777217", "1e39",   "0.00000005960464477539062500000000001",
};

/*
 * The bits of the option byte: 0x03 the header, 0x04 values, 0x08 two classes, 0x10 the label is y,
 * 0x20 labels may be missing, 0x40 read again with the classes found.
 */
static void read_file(uint8_t choice, const uint8_t *text, size_t size, const struct names *classes,
                      struct dataset *ret_dataset, enum status *ret_status)
{
    const struct data_options options = {
        .header = (enum data_header)(choice % 4 % 3),
        .label_kind = choice & 0x04 ? DATA_LABELS_VALUES : DATA_LABELS_CLASSES,
        .class_count = choice & 0x08 ? 2 : 0,
        .label = choice & 0x10 ? "y" : NULL,
        .unlabelled_feature_count = choice & 0x20 ? 2 : 0,
        .classes = classes,
    };
    struct source *source;
    struct error err = {0};

    if (source_open_bytes("t.csv", text, size, &source, &err))
        abort();
    source_limit_unpacked(source, 1 << 20);
    *ret_status = csv_format.read(&source, 1, &options, ret_dataset, &err);
    if (*ret_status && (!err.message[0] || err.status != *ret_status))
        abort();
    source_free(source);
}

static void check_dataset(const struct dataset *dataset)
{
    size_t i;

    if (dataset->example_count == 0 || dataset->feature_count == 0)
        abort();
    for (i = 0; i < dataset->example_count * dataset->feature_count; i++) {
        if (!isfinite(dataset->features[i]))
            abort();
    }
    for (i = 0; dataset->classes.count && i < dataset->example_count; i++) {
        if (!(dataset->labels[i] < (float)dataset->classes.count))
            abort();
    }
    if (dataset->columns.count && dataset->columns.count != dataset->feature_count)
        abort();
}

/* The same value, to the bit, as strtof gives for the same characters. */
static void check_number(const char *text, size_t size)
{
    const char *end;
    char *other_end;
    float value = 0, other;

    if (number_parse(text, text + size, &value, &end) != NUMBER_OK)
        return;
    other = strtof(text, &other_end);
    if (end == other_end && memcmp(&value, &other, sizeof value) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dataset dataset = {0}, again = {0};
    char text[TEXT_BYTES + 1];
    enum status status, status_again;
    size_t i;

    if (size == 0 || size > TEXT_BYTES)
        return 0;
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    for (i = 0; i < size - 1; i++)
        check_number(text + i, size - 1 - i > 64 ? 64 : size - 1 - i);
    read_file(data[0], data + 1, size - 1, NULL, &dataset, &status);
    if (status == STATUS_OK)
        check_dataset(&dataset);
    if (status == STATUS_OK && data[0] & 0x40) { /* the file fits the classes that it gave */
        read_file(data[0] & ~0x08, data + 1, size - 1, &dataset.classes, &again, &status_again);
        if (status_again || memcmp(dataset.labels ? dataset.labels : (float *)text,
                                   again.labels ? again.labels : (float *)text,
                                   dataset.labels ? dataset.example_count * sizeof(float) : 0) != 0)
            abort();
        dataset_release(&again);
    }
    dataset_release(&dataset);
    return 0;
}

/* Starts again from a valid file now and then, and puts in what files are made of. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    unsigned choice = seed >> 8;

    if (seed % 16 == 0) {
        const char *text = seeds[choice % (sizeof seeds / sizeof seeds[0])];
        if (strlen(text) + 1 <= size_max) {
            data[0] = (uint8_t)(seed >> 16);
            memcpy(data + 1, text, strlen(text));
            return strlen(text) + 1;
        }
    }
    if (seed % 3 == 0 && size > 0) {
        const char *piece = pieces[choice % (sizeof pieces / sizeof pieces[0])];
        size_t length = strlen(piece);
        size_t at = 1 + choice / 16 % size;
        if (size + length <= size_max && at <= size) {
            memmove(data + at + length, data + at, size - at);
            memcpy(data + at, piece, length);
            return size + length;
        }
    }
    return LLVMFuzzerMutate(data, size, size_max);
}
