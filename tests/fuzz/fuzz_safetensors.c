/* decoder: common/tensor/safetensors.c common/tensor/element.c */
/* Files of named arrays. What is accepted must survive being written and read again. */
/* options: -max_len=4096 */
#include "common/base/alloc.h"
#include "common/base/bytes.h"
#include "common/tensor/safetensors.h"

#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max);

static void require(bool truth)
{
    if (!truth)
        abort();
}

/* Every array lies inside the file, and can be found by its name. */
static uint64_t check_arrays(const struct safetensors *safetensors, const uint8_t *data,
                             size_t size)
{
    uint64_t total = 0;

    for (size_t i = 0; i < safetensors->tensor_count; i++) {
        const struct safetensors_tensor *tensor = &safetensors->tensors[i];
        uint64_t bytes = tensor->element_count * element_bytes(tensor->type);
        const uint8_t *at = tensor->data;

        require(at >= data && at <= data + size && bytes <= (uint64_t)(data + size - at));
        require(safetensors_find(safetensors, tensor->name) == tensor);
        require(element_named(element_name(tensor->type)) == tensor->type);
        total += bytes;
    }
    for (size_t i = 0; i < safetensors->metadata_count; i++)
        require(safetensors_metadata(safetensors, safetensors->metadata[i].key) != NULL);
    return total;
}

/* Writes the header again, puts zeros behind it, and reads that. */
static void write_and_read(struct safetensors *safetensors, uint64_t data_bytes)
{
    struct safetensors again;
    uint8_t *header, *file;
    size_t header_bytes;
    struct error err;

    if (safetensors_make_header(safetensors->tensors, safetensors->tensor_count,
                                safetensors->metadata, safetensors->metadata_count, &header,
                                &header_bytes, &err) != STATUS_OK)
        return; /* an empty name is read, but not written */
    file = alloc_array(header_bytes + data_bytes, 1);
    require(file != NULL);
    memcpy(file, header, header_bytes);
    require(safetensors_parse(&again, file, header_bytes + data_bytes, &err) == STATUS_OK);
    require(again.tensor_count == safetensors->tensor_count);
    require(again.metadata_count == safetensors->metadata_count);
    safetensors_release(&again);
    alloc_free(file);
    alloc_free(header);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct safetensors safetensors;
    struct error err = {0};

    if (safetensors_parse(&safetensors, data, size, &err) != STATUS_OK) {
        require(err.message[0] != '\0');
        return 0;
    }
    write_and_read(&safetensors, check_arrays(&safetensors, data, size));
    safetensors_release(&safetensors);
    return 0;
}

/* Mostly the length in front is mended to end behind the last brace: else it turns nearly all away.
 */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    size_t mutated = LLVMFuzzerMutate(data, size, size_max);
    size_t end = mutated;

    if (seed % 8 == 0 || mutated <= LENGTH_BYTES)
        return mutated;
    while (end > LENGTH_BYTES && data[end - 1] != '}')
        end--;
    bytes_put_u64(data, end - LENGTH_BYTES);
    return mutated;
}
