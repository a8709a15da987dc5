/* `get` as .npy and as safetensors: a header, then the values as they came. */
#include "common/base/alloc.h"
#include "common/tensor/npy.h"
#include "common/tensor/safetensors.h"
#include "worker/ctl/get_format.h"

static enum status npy_begin(struct get *get, struct error *err)
{
    uint8_t header[NPY_HEADER_BYTES_MAX];
    size_t size;
    enum status status = npy_make_header(element_of_dtype(get->dtype), get->rank, get->shape,
                                         header, &size, err);

    return status ? status : output_write(&get->output, header, size, err);
}

/* The step is in the metadata. */
static enum status safetensors_begin(struct get *get, struct error *err)
{
    struct safetensors_tensor tensor = {
        .name = get->name, .type = element_of_dtype(get->dtype), .rank = get->rank};
    char step[32];
    struct safetensors_text metadata[] = {{"slice", get->slice}, {"step", step}};
    uint8_t *header;
    size_t size;

    for (size_t i = 0; i < get->rank; i++)
        tensor.shape[i] = get->shape[i];
    snprintf(step, sizeof step, "%llu", (unsigned long long)get->step);
    enum status status = safetensors_make_header(
        &tensor, 1, metadata, sizeof metadata / sizeof metadata[0], &header, &size, err);
    if (status)
        return status;
    status = output_write(&get->output, header, size, err);
    alloc_free(header);
    return status;
}

static enum status binary_take(struct get *get, const void *values, uint64_t count,
                               struct error *err)
{
    get->written += count;
    return output_write(&get->output, values, count * dtype_bytes(get->dtype), err);
}

static enum status binary_end(struct get *get, struct error *err)
{
    (void)get;
    (void)err;
    return STATUS_OK;
}

const struct get_format get_npy = {
    .begin = npy_begin, .take = binary_take, .end = binary_end, .binary = true};
const struct get_format get_safetensors = {
    .begin = safetensors_begin, .take = binary_take, .end = binary_end, .binary = true};
