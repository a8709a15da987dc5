#include "common/base/alloc.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { TENSOR_ALIGNMENT = 64, HUGE_PAGE_BYTES = 2 * 1024 * 1024, HUGE_FROM_BYTES = 1024 * 1024 };

static atomic_uint_fast64_t made;      /* successful allocations */
static atomic_uint_fast64_t countdown; /* 0: nothing fails */
static atomic_bool failing;            /* repeat was asked for and the n-th has passed */
static atomic_bool fail_repeats;

void alloc_fail_nth(uint64_t n, bool repeat)
{
    atomic_store(&failing, false);
    atomic_store(&fail_repeats, repeat);
    atomic_store(&countdown, n);
}

uint64_t alloc_count(void)
{
    return atomic_load(&made);
}

static bool must_fail(void)
{
    if (atomic_load_explicit(&failing, memory_order_relaxed))
        return true;
    if (atomic_load_explicit(&countdown, memory_order_relaxed) == 0)
        return false;
    if (atomic_fetch_sub(&countdown, 1) != 1)
        return false;
    atomic_store(&failing, atomic_load(&fail_repeats));
    return true;
}

static void *counted(void *pointer)
{
    if (pointer)
        atomic_fetch_add_explicit(&made, 1, memory_order_relaxed);
    return pointer;
}

void *alloc_zero(size_t size)
{
    return must_fail() ? NULL : counted(calloc(1, size ? size : 1));
}

void *alloc_array(size_t count, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(count, size, &total))
        return NULL;
    return alloc_zero(total);
}

void *alloc_resize(void *old, size_t count, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(count, size, &total) || must_fail())
        return NULL;
    return counted(realloc(old, total ? total : 1));
}

char *alloc_string(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = alloc_zero(size);
    if (copy)
        memcpy(copy, text, size);
    return copy;
}

void alloc_free(void *pointer)
{
    free(pointer);
}

static size_t tensor_reserved_bytes(size_t size)
{
    size_t unit = size >= HUGE_FROM_BYTES ? (size_t)HUGE_PAGE_BYTES : (size_t)TENSOR_ALIGNMENT;
    size_t total;
    if (__builtin_add_overflow(size, unit - 1, &total))
        return 0;
    return total / unit * unit;
}

void *alloc_tensor(size_t size)
{
    size_t total = tensor_reserved_bytes(size ? size : 1);
    void *pointer;

    if (!total || must_fail())
        return NULL;
    if (size < HUGE_FROM_BYTES) {
        pointer = aligned_alloc(TENSOR_ALIGNMENT, total);
        if (pointer)
            memset(pointer, 0, total);
        return counted(pointer);
    }
    pointer = aligned_alloc(HUGE_PAGE_BYTES, total);
    if (!pointer)
        return NULL;
    madvise(pointer, total, MADV_HUGEPAGE); /* a hint; without it the memory is only slower */
    memset(pointer, 0, total);
    return counted(pointer);
}

void alloc_free_tensor(void *pointer, size_t size)
{
    (void)size; /* kept in the interface for an allocator that needs it, as mmap does */
    free(pointer);
}
