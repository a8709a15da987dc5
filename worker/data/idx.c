#include "worker/data/idx.h"

#include "common/base/alloc.h"
#include "common/base/bytes.h"
#include "worker/data/labels.h"

#include <string.h>

enum {
    IDX_MAGIC_BYTES = 4,
    IDX_AXIS_BYTES = 4,
    IDX_AXES_MAX = DATASET_RANK_MAX + 1, /* the examples' own axis comes first */
    IDX_UNSIGNED_BYTE = 0x08,
    IDX_BLOCK_BYTES = 64 * 1024,
};

struct idx_header {
    size_t axis_count;
    uint32_t axes[IDX_AXES_MAX];
};

static const char *type_name(uint8_t type)
{
    switch (type) {
    case IDX_UNSIGNED_BYTE:
        return "unsigned byte";
    case 0x09:
        return "signed byte";
    case 0x0b:
        return "int16";
    case 0x0c:
        return "int32";
    case 0x0d:
        return "float32";
    case 0x0e:
        return "float64";
    default:
        return NULL;
    }
}

static bool idx_recognize(const uint8_t *head, size_t size)
{
    return size >= IDX_MAGIC_BYTES && head[0] == 0 && head[1] == 0 && type_name(head[2]) &&
           head[3] > 0;
}

/* Exactly `size` bytes; `what` they are is for the message where the file is too short. */
static enum status read_exactly(struct source *source, uint8_t *bytes, size_t size,
                                const char *what, struct error *err)
{
    size_t done = 0;

    while (done < size) {
        size_t count;
        enum status status = source_read(source, bytes + done, size - done, &count, err);
        if (status)
            return status;
        if (count == 0)
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s: the file ends within its %s",
                             source_name(source), what);
        done += count;
    }
    return STATUS_OK;
}

static enum status read_header(struct source *source, struct idx_header *ret_header,
                               struct error *err)
{
    uint8_t bytes[IDX_AXES_MAX * IDX_AXIS_BYTES];
    struct idx_header header = {0};
    size_t i;
    enum status status = read_exactly(source, bytes, IDX_MAGIC_BYTES, "header", err);

    if (status)
        return status;
    if (bytes[2] != IDX_UNSIGNED_BYTE)
        return error_set(err, STATUS_UNIMPLEMENTED,
                         "%s: the element type is %s; only unsigned bytes are supported",
                         source_name(source), type_name(bytes[2]));
    header.axis_count = bytes[3];
    if (header.axis_count > IDX_AXES_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s: the header has %zu axes; %d is the most", source_name(source),
                         header.axis_count, IDX_AXES_MAX);
    status = read_exactly(source, bytes, header.axis_count * IDX_AXIS_BYTES, "header", err);
    if (status)
        return status;
    for (i = 0; i < header.axis_count; i++)
        header.axes[i] = bytes_get_u32_big_endian(bytes + i * IDX_AXIS_BYTES);
    *ret_header = header;
    return STATUS_OK;
}

/* The declared size is within bounds and not beyond what the file can hold, before anything is
 * allocated. */
static enum status check_size(const struct source *source, const struct idx_header *header,
                              struct error *err)
{
    uint64_t feature_count = 1, bytes;
    uint64_t header_bytes = IDX_MAGIC_BYTES + header->axis_count * IDX_AXIS_BYTES;
    uint64_t bound = source_bytes_bound(source);
    size_t i;

    if (header->axes[0] == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: the file has no examples",
                         source_name(source));
    for (i = 1; i < header->axis_count; i++) {
        feature_count *= header->axes[i]; /* both below 2^32 */
        if (feature_count == 0 || feature_count > DATASET_FEATURE_COUNT_MAX)
            return error_set(
                err, STATUS_INVALID_ARGUMENT,
                "%s: axis %zu is %u, which makes examples of %llu elements; 1 to %d are "
                "possible",
                source_name(source), i, header->axes[i], (unsigned long long)feature_count,
                DATASET_FEATURE_COUNT_MAX);
    }
    bytes = header_bytes + header->axes[0] * feature_count;
    if (bytes > bound)
        return error_set(
            err, STATUS_INVALID_ARGUMENT,
            "%s: the header declares %u examples of %llu bytes, more than the file can hold",
            source_name(source), header->axes[0], (unsigned long long)feature_count);
    return STATUS_OK;
}

static enum status check_end(struct source *source, struct error *err)
{
    uint8_t byte;
    size_t count;
    enum status status = source_read(source, &byte, 1, &count, err);

    if (!status && count)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s: the file goes on after the examples that its header declares",
                         source_name(source));
    return status;
}

/* Rows one by one, so that memory grows with what has arrived. Labels come later, as zeros. */
static enum status read_images(struct source *source, struct dataset_builder *builder,
                               size_t example_count, struct error *err)
{
    size_t feature_count = builder->dataset->feature_count;
    uint8_t *block = alloc_zero(IDX_BLOCK_BYTES);
    enum status status = block ? STATUS_OK : error_no_memory(err, "reading images");
    size_t row, at, i;

    for (row = 0; !status && row < example_count; row++) {
        float *features;
        status = dataset_builder_row(builder, &features, err);
        for (at = 0; !status && at < feature_count; at += IDX_BLOCK_BYTES) {
            size_t count = feature_count - at < IDX_BLOCK_BYTES ? feature_count - at
                                                                : IDX_BLOCK_BYTES;
            status = read_exactly(source, block, count, "images", err);
            for (i = 0; !status && i < count; i++)
                features[at + i] = block[i];
        }
        if (!status)
            dataset_builder_add(builder, 0);
    }
    alloc_free(block);
    return status ? status : check_end(source, err);
}

static enum status read_labels(struct source *source, const struct data_options *options,
                               struct dataset *dataset, struct error *err)
{
    struct labels labels;
    uint8_t *block = alloc_zero(IDX_BLOCK_BYTES);
    enum status status = block ? STATUS_OK : error_no_memory(err, "reading labels");
    size_t at, i;

    labels_init(&labels, options);
    for (at = 0; !status && at < dataset->example_count; at += IDX_BLOCK_BYTES) {
        size_t left = dataset->example_count - at;
        size_t count = left < IDX_BLOCK_BYTES ? left : IDX_BLOCK_BYTES;
        status = read_exactly(source, block, count, "labels", err);
        for (i = 0; !status && i < count; i++) {
            dataset->labels[at + i] = block[i];
            status = labels_check(&labels, block[i], err);
            if (status && err)
                error_wrap(err, "%s: label of example %zu", source_name(source), at + i);
        }
    }
    labels_release(&labels);
    alloc_free(block);
    return status ? status : check_end(source, err);
}

/* The second header against the first. */
static enum status check_pair(struct source *const *parts, const struct idx_header *images,
                              const struct idx_header *labels, struct error *err)
{
    if (labels->axis_count != 1)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s: the labels have %zu axes instead of 1; is it the file of the images?",
                         source_name(parts[1]), labels->axis_count);
    if (images->axes[0] != labels->axes[0])
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s has %u examples, but %s has %u labels",
                         source_name(parts[0]), images->axes[0], source_name(parts[1]),
                         labels->axes[0]);
    return check_size(parts[1], labels, err);
}

static enum status idx_read(struct source *const *parts, size_t part_count,
                            const struct data_options *options, struct dataset *dataset,
                            struct error *err)
{
    struct dataset_builder builder;
    struct idx_header images, labels;
    bool labelled = part_count > 1;
    size_t i;
    enum status status = read_header(parts[0], &images, err);

    if (!status && images.axis_count < 2)
        status = error_set(
            err, STATUS_INVALID_ARGUMENT,
            "%s: the images have 1 axis instead of 2 or more; is it the file of the labels?",
            source_name(parts[0]));
    if (!status)
        status = check_size(parts[0], &images, err);
    if (!status && labelled)
        status = read_header(parts[1], &labels, err);
    if (!status && labelled)
        status = check_pair(parts, &images, &labels, err);
    if (status)
        return status;
    dataset->rank = images.axis_count - 1;
    for (i = 0; i < dataset->rank; i++)
        dataset->shape[i] = images.axes[i + 1];
    dataset_builder_init(&builder, dataset, labelled);
    status = read_images(parts[0], &builder, images.axes[0], err);
    if (!status)
        dataset_builder_finish(&builder);
    if (!status && labelled)
        status = read_labels(parts[1], options, dataset, err);
    return status;
}

const struct data_format idx_format = {
    .name = "IDX",
    .part_names = {"images", "labels"},
    .recognize = idx_recognize,
    .read = idx_read,
};
