/* A pair of IDX files: one byte of options, the length of the images in two bytes, the images, the
 * labels. */
/* decoder: worker/data/idx.c worker/data/data_file.c */
/* options: -max_len=2048 */
#include "worker/data/idx.h"

#include <stdlib.h>
#include <string.h>

enum { HEAD_BYTES = 3, INPUT_BYTES = 2048, OPTION_ALONE = 1, OPTION_FEW_CLASSES = 2 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max);

static size_t images_bytes(const uint8_t *data, size_t size)
{
    size_t bytes = (size_t)data[1] << 8 | data[2];

    return bytes < size - HEAD_BYTES ? bytes : size - HEAD_BYTES;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct source *parts[2];
    struct dataset dataset = {0};
    struct error err = {0};
    size_t bytes, part_count, i;
    enum status status;

    if (size < HEAD_BYTES)
        return 0;
    bytes = images_bytes(data, size);
    part_count = data[0] & OPTION_ALONE ? 1 : 2;
    const struct data_options options = {
        .class_count = data[0] & OPTION_FEW_CLASSES ? 4 : 0,
        .unlabelled_feature_count = data[0] & OPTION_ALONE,
    };
    if (source_open_bytes("images", data + HEAD_BYTES, bytes, &parts[0], &err) ||
        source_open_bytes("labels", data + HEAD_BYTES + bytes, size - HEAD_BYTES - bytes, &parts[1],
                          &err))
        abort();
    source_limit_unpacked(parts[0], 1 << 20);
    source_limit_unpacked(parts[1], 1 << 20);
    status = data_file_read_parts("images,labels", parts, part_count, &options, &dataset, &err);
    if (status && (!err.message[0] || err.status != status))
        abort();
    for (i = 0; !status && i < dataset.example_count * dataset.feature_count; i++) {
        if (dataset.features[i] != dataset.features[i])
            abort();
    }
    dataset_release(&dataset);
    source_free(parts[1]);
    source_free(parts[0]);
    return 0;
}

static void put_axis(uint8_t *at, size_t value)
{
    at[0] = (uint8_t)(value >> 24);
    at[1] = (uint8_t)(value >> 16);
    at[2] = (uint8_t)(value >> 8);
    at[3] = (uint8_t)value;
}

/* A pair whose headers tell the truth, of 1 to 8 examples. Returns its size. */
static size_t make_pair(uint8_t *data, unsigned seed)
{
    size_t count = 1 + seed % 8, rows = 1 + seed / 8 % 5, columns = 1 + seed / 64 % 5;
    size_t bytes = 16 + count * rows * columns;
    uint8_t *labels = data + HEAD_BYTES + bytes;
    size_t i;

    data[0] = (uint8_t)(seed >> 12);
    data[1] = (uint8_t)(bytes >> 8);
    data[2] = (uint8_t)bytes;
    memcpy(data + HEAD_BYTES, "\0\0\x08\x03", 4);
    put_axis(data + HEAD_BYTES + 4, count);
    put_axis(data + HEAD_BYTES + 8, rows);
    put_axis(data + HEAD_BYTES + 12, columns);
    for (i = 16; i < bytes; i++)
        data[HEAD_BYTES + i] = (uint8_t)(seed >> i % 24);
    memcpy(labels, "\0\0\x08\x01", 4);
    put_axis(labels + 4, count);
    for (i = 0; i < count; i++)
        labels[8 + i] = (uint8_t)i;
    return HEAD_BYTES + bytes + 8 + count;
}

/* Makes the counts fit the bytes again: examples of the images, then those of the labels. */
static size_t mend(uint8_t *data, size_t size)
{
    size_t bytes = images_bytes(data, size), features = 1, axis_count, i;
    uint8_t *images = data + HEAD_BYTES, *labels = images + bytes;
    size_t label_bytes = size - HEAD_BYTES - bytes;

    if (bytes < 8)
        return size;
    axis_count = images[3];
    if (axis_count < 2 || axis_count > 9 || bytes < 4 + 4 * axis_count)
        return size;
    for (i = 1; i < axis_count; i++) {
        put_axis(images + 4 + 4 * i, images[7 + 4 * i] % 8);
        features *= images[7 + 4 * i];
    }
    if (features == 0 || (bytes - 4 - 4 * axis_count) % features != 0)
        return size;
    put_axis(images + 4, (bytes - 4 - 4 * axis_count) / features);
    if (label_bytes >= 8)
        put_axis(labels + 4, label_bytes - 8);
    return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    if (seed % 16 == 0 && size_max >= 512)
        return make_pair(data, seed / 16);
    size = LLVMFuzzerMutate(data, size, size_max);
    if (seed % 4 != 0 && size > HEAD_BYTES)
        size = mend(data, size);
    return size;
}
