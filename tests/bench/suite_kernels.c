#include "common/base/hash.h"
#include "common/optim/optimizer.h"
#include "common/tensor/kernels.h"
#include "tests/bench/bench.h"
#include "tests/bench/floor_loops.h"
#include "tests/bench/raw_socket.h"
#include "tests/bench/timing.h"

#include <string.h>
#include <sys/mman.h>

/*
 * Optimizers, sum and hash on one thread, in blocks as the servers call them, beside STREAM's triad
 * (or, for the hash, reading) over as much memory in the same minutes. Bytes are counted as STREAM
 * does: each array once per read, once per write.
 */

enum {
    BLOCK_ELEMENTS = 65536,
    ARRAYS_MAX = 5,
    NAME_BYTES = 64,
    SMALL_PASSES = 64, /* in one repetition of the set that fits into L2 */
};

enum kernel_work { KERNEL_OPTIMIZER, KERNEL_OPTIMIZER_IN_PLACE, KERNEL_ADD_SCALED, KERNEL_HASH };

struct kernel {
    const char *name;
    enum kernel_work work;
    const char *optimizer;
    struct optimizer_option option; /* no key: none */
    unsigned arrays;                /* in the working set */
    unsigned passes;                /* reads and writes of an array */
};

static const struct kernel kernels[] = {
    {"kernel_sgd", KERNEL_OPTIMIZER, "sgd", {"", 0}, 3, 3},
    {"kernel_momentum", KERNEL_OPTIMIZER, "sgd", {"momentum", 0.9}, 4, 5},
    {"kernel_adagrad", KERNEL_OPTIMIZER, "adagrad", {"", 0}, 4, 5},
    {"kernel_adam", KERNEL_OPTIMIZER, "adam", {"", 0}, 5, 7},
    {"kernel_adam_in_place", KERNEL_OPTIMIZER_IN_PLACE, "adam", {"", 0}, 4, 7},
    {"kernel_add_scaled", KERNEL_ADD_SCALED, NULL, {"", 0}, 2, 3},
    {"kernel_xxh3", KERNEL_HASH, NULL, {"", 0}, 1, 1},
};

struct bed {
    const struct kernel *kernel;
    struct optimizer optimizer;
    float *memory;
    size_t set_bytes;
    unsigned passes; /* over the set in one repetition */
    uint64_t sink;   /* keeps results alive */
};

static void kernel_block(struct bed *bed, const struct optimizer_scalars *scalars, size_t stride,
                         size_t first, size_t count)
{
    float *array[ARRAYS_MAX];

    for (unsigned i = 0; i < bed->kernel->arrays; i++)
        array[i] = bed->memory + i * stride + first;
    switch (bed->kernel->work) {
    case KERNEL_OPTIMIZER: /* value in, gradient, value out, slots */
        optimizer_apply(&bed->optimizer, scalars, array[0], array[2], array + 3, array[1], count);
        break;
    case KERNEL_OPTIMIZER_IN_PLACE:
        optimizer_apply(&bed->optimizer, scalars, array[0], array[0], array + 2, array[1], count);
        break;
    case KERNEL_ADD_SCALED:
        kernels_add_scaled(array[0], array[1], 1e-3f, count);
        break;
    case KERNEL_HASH:
        bed->sink += hash_xxh3(array[0], count * sizeof(float));
        break;
    }
}

static enum status run_kernel(void *context, unsigned what, unsigned count, double *ret_seconds,
                              struct error *err)
{
    struct bed *bed = context;
    size_t elements = bed->set_bytes / bed->kernel->arrays / sizeof(float) / 64 * 64;
    struct optimizer_scalars scalars = {0};

    (void)what;
    (void)err;
    if (bed->kernel->optimizer)
        optimizer_begin_step(&bed->optimizer, 100, 1e-6, &scalars);
    for (unsigned i = 0; i < count; i++) {
        double began = now_s();
        for (unsigned pass = 0; pass < bed->passes; pass++)
            for (size_t first = 0; first < elements; first += BLOCK_ELEMENTS)
                kernel_block(bed, &scalars, elements, first,
                             elements - first < BLOCK_ELEMENTS ? elements - first : BLOCK_ELEMENTS);
        ret_seconds[i] = (now_s() - began) / bed->passes;
    }
    return STATUS_OK;
}

static enum status run_floor(void *context, unsigned what, unsigned count, double *ret_seconds,
                             struct error *err)
{
    struct bed *bed = context;
    size_t third = bed->set_bytes / 3 / sizeof(float) / 64 * 64;

    (void)what;
    (void)err;
    for (unsigned i = 0; i < count; i++) {
        double began = now_s();
        for (unsigned pass = 0; pass < bed->passes; pass++) {
            if (bed->kernel->work == KERNEL_HASH)
                bed->sink += floor_read((const uint64_t *)(const void *)bed->memory,
                                        bed->set_bytes / sizeof(uint64_t));
            else
                floor_triad(bed->memory, bed->memory + third, bed->memory + 2 * third, 0.5f, third);
        }
        ret_seconds[i] = (now_s() - began) / bed->passes;
    }
    return STATUS_OK;
}

static enum status prepare(struct bed *bed, const struct kernel *kernel, struct error *err)
{
    bed->kernel = kernel;
    for (size_t i = 0; i < bed->set_bytes / sizeof(float); i++)
        bed->memory[i] = 0.01f;
    if (!kernel->optimizer)
        return STATUS_OK;
    return optimizer_init(&bed->optimizer, kernel->optimizer, &kernel->option,
                          kernel->option.key[0] ? 1 : 0, err);
}

static void kernel_row(struct bench *bench, struct bed *bed, const struct kernel *kernel,
                       const char *set_name)
{
    struct comparison comparison;
    struct error err;
    char name[NAME_BYTES];
    const struct contender ours = {run_kernel, bed, 0};
    const struct contender floor = {run_floor, bed, 0};
    bool hash = kernel->work == KERNEL_HASH;

    snprintf(name, sizeof name, "%s/%s", kernel->name, set_name);
    if (!bench_wants(bench, name))
        return;
    enum status status = prepare(bed, kernel, &err);
    if (!status)
        status = bench_compare(bench, &ours, &floor, &comparison, &err);
    if (status) {
        bench_failed(bench, name, &err);
        return;
    }
    size_t elements = bed->set_bytes / kernel->arrays / sizeof(float) / 64 * 64;
    size_t third = bed->set_bytes / 3 / sizeof(float) / 64 * 64;
    double moved = (double)(kernel->passes * elements * sizeof(float));
    double floor_moved = hash ? (double)bed->set_bytes : (double)(3 * third * sizeof(float));
    bench_rate_row(bench, name, "GB/s", moved / 1e9, floor_moved / 1e9, &comparison,
                   hash ? "reading as much memory" : "STREAM triad over as much memory");
}

void suite_kernels(struct bench *bench)
{
    static const struct {
        const char *name;
        size_t bytes;
    } sets[] = {{"512KiB", 512 << 10}, {"256MiB", 256 << 20}};
    size_t largest = sets[1].bytes;

    if (!bench_wants(bench, "kernel_"))
        return;
    bench_heading("Kernels, one thread, bytes read and written per second; the set is all "
                  "their arrays together.");
    kernels_flush_denormals();
    float *memory = raw_memory(largest);
    if (!memory) {
        struct error err;
        error_no_memory(&err, "256 MiB for the kernels");
        bench_failed(bench, "kernel_", &err);
        return;
    }
    for (size_t s = 0; s < sizeof sets / sizeof sets[0]; s++) {
        struct bed bed = {.memory = memory,
                          .set_bytes = sets[s].bytes,
                          .passes = sets[s].bytes < largest ? SMALL_PASSES : 1};
        for (size_t i = 0; i < sizeof kernels / sizeof kernels[0]; i++)
            kernel_row(bench, &bed, &kernels[i], sets[s].name);
    }
    munmap(memory, largest);
}
