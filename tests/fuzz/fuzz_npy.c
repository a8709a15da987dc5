/* decoder: common/tensor/npy.c */
/* NumPy's files of one array. What is accepted must survive being written and read again. */
/* options: -max_len=1024 */
#include "common/base/alloc.h"
#include "common/base/bytes.h"
#include "common/tensor/npy.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION = 6, LENGTH = 8, VERSION_1_PREFIX = 10, VERSION_2_PREFIX = 12 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max);

static void require(bool truth)
{
    if (!truth)
        abort();
}

static void write_and_read(const struct npy *npy)
{
    size_t data_bytes = npy->element_count * element_bytes(npy->type), header_bytes;
    uint8_t *file = alloc_array(NPY_HEADER_BYTES_MAX + data_bytes, 1);
    struct npy again;
    struct error err;

    require(file != NULL);
    require(npy_make_header(npy->type, npy->rank, npy->shape, file, &header_bytes, &err) ==
            STATUS_OK);
    require(header_bytes % 64 == 0 && header_bytes <= NPY_HEADER_BYTES_MAX);
    require(npy_parse(&again, file, header_bytes + data_bytes, &err) == STATUS_OK);
    require(again.type == npy->type && again.rank == npy->rank);
    require(memcmp(again.shape, npy->shape, npy->rank * sizeof *npy->shape) == 0);
    npy_release(&again);
    alloc_free(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = {0};
    struct npy npy;

    if (npy_parse(&npy, data, size, &err) != STATUS_OK) {
        require(err.message[0] != '\0');
        return 0;
    }
    require((const uint8_t *)npy.data + npy.element_count * element_bytes(npy.type) == data + size);
    write_and_read(&npy);
    npy_release(&npy);
    return 0;
}

/* Mostly the header's length is mended to end behind the brace, and the magic is put back. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    size_t mutated = LLVMFuzzerMutate(data, size, size_max);
    size_t prefix, end = mutated;

    if (seed % 8 == 0 || mutated <= VERSION_2_PREFIX)
        return mutated;
    memcpy(data, "\x93NUMPY", VERSION);
    prefix = data[VERSION] == 1 ? VERSION_1_PREFIX : VERSION_2_PREFIX;
    while (end > prefix && data[end - 1] != '}')
        end--;
    if (prefix == VERSION_1_PREFIX)
        bytes_put_u16(data + LENGTH, (uint16_t)(end - prefix));
    else
        bytes_put_u32(data + LENGTH, (uint32_t)(end - prefix));
    return mutated;
}
