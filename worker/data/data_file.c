#include "worker/data/data_file.h"

#include "common/base/alloc.h"
#include "worker/data/csv.h"
#include "worker/data/idx.h"

#include <string.h>
#include <unistd.h>

/* In the order in which they are asked; CSV, which takes any text, is last. */
static const struct data_format *const formats[] = {
    &idx_format,
    &csv_format,
};

enum { FORMAT_COUNT = sizeof formats / sizeof formats[0] };

static enum status find_format(struct source *source, const struct data_format **ret_format,
                               struct error *err)
{
    const uint8_t *head;
    size_t size, i;
    enum status status = source_head(source, &head, &size, err);

    if (status)
        return status;
    if (size == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: the file is empty",
                         source_name(source));
    for (i = 0; i < FORMAT_COUNT; i++) {
        if (formats[i]->recognize(head, size)) {
            *ret_format = formats[i];
            return STATUS_OK;
        }
    }
    return error_set(
        err, STATUS_INVALID_ARGUMENT,
        "%s: the content is neither CSV nor IDX, plain or gzip; it begins with the bytes "
        "%02x %02x %02x %02x",
        source_name(source), head[0], size > 1 ? head[1] : 0, size > 2 ? head[2] : 0,
        size > 3 ? head[3] : 0);
}

/* All parts are of one format, and there are as many as it has. */
static enum status check_parts(struct source *const *parts, size_t part_count,
                               const struct data_options *options,
                               const struct data_format **ret_format, struct error *err)
{
    const struct data_format *format = NULL, *next = NULL;
    enum status status = find_format(parts[0], &format, err);
    bool paired;
    size_t i;

    if (status)
        return status;
    for (i = 1; i < part_count; i++) {
        status = find_format(parts[i], &next, err);
        if (status)
            return status;
        if (next != format)
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s is %s, but %s is %s",
                             source_name(parts[0]), format->name, source_name(parts[i]),
                             next->name);
    }
    paired = format->part_names[1] != NULL;
    if (!paired && part_count > 1)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s is %s, which is one file with its labels; '%s' was given beside it",
                         source_name(parts[0]), format->name, source_name(parts[1]));
    if (paired && part_count == 1 && !options->unlabelled_feature_count)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s is %s, which comes as a pair: write %s,%s", source_name(parts[0]),
                         format->name, format->part_names[0], format->part_names[1]);
    *ret_format = format;
    return STATUS_OK;
}

enum status data_file_read_parts(const char *name, struct source *const *parts, size_t part_count,
                                 const struct data_options *options, struct dataset *ret_dataset,
                                 struct error *err)
{
    const struct data_format *format = NULL;
    struct dataset dataset = {0};
    enum status status = check_parts(parts, part_count, options, &format, err);

    if (status)
        return status;
    dataset.name = alloc_string(name);
    if (!dataset.name)
        return error_no_memory(err, "a data set");
    status = format->read(parts, part_count, options, &dataset, err);
    if (status) {
        dataset_release(&dataset);
        return status;
    }
    *ret_dataset = dataset;
    return STATUS_OK;
}

enum status data_file_read(const char *path, const struct data_options *options,
                           struct dataset *ret_dataset, struct error *err)
{
    struct source *parts[DATA_FILE_PART_COUNT_MAX] = {NULL};
    size_t part_count = 1;
    enum status status = STATUS_OK;
    char *first = alloc_string(path);
    char *comma;

    if (!first)
        return error_no_memory(err, "a path");
    comma = strchr(first, ',');
    if (comma && access(path, F_OK) != 0) { /* else it is one file with a comma in its name */
        *comma = '\0';
        part_count = 2;
    }
    status = source_open(first, &parts[0], err);
    if (!status && part_count == 2)
        status = source_open(comma + 1, &parts[1], err);
    if (!status)
        status = data_file_read_parts(path, parts, part_count, options, ret_dataset, err);
    source_free(parts[1]);
    source_free(parts[0]);
    alloc_free(first);
    return status;
}
