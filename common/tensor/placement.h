/* Which server owns which block: computed alike by servers and clients from the variables. */
#ifndef PARAMD_COMMON_TENSOR_PLACEMENT_H
#define PARAMD_COMMON_TENSOR_PLACEMENT_H

#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/tensor/dtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    /* consecutive elements; the last block of a variable has fewer */
    BLOCK_ELEMENTS_MAX = LIMIT_BLOCK_ELEMENTS,
    /* virtual shards, even over 1 to 6 servers; partition p lives on server p mod S */
    PLACEMENT_PARTITIONS = 240,
};

struct placement_variable {
    uint32_t id;
    enum dtype dtype;
    uint64_t element_count; /* 0 is allowed: such a variable has no block */
};

/* One block: of a variable, by number from 0. */
struct placement_block {
    uint32_t variable; /* id */
    uint32_t block;
};

struct placement_entry;

/* Blocks sorted by bytes (largest first, ties by id and number) are dealt over the partitions in
 * turn. */
struct placement {
    struct placement_entry *entries; /* owned; one a variable */
    /* owned; [row * server_count + server]: blocks of earlier variables on that server */
    uint32_t *first_index;
    uint64_t *server_bytes; /* owned; value bytes on each server */
    size_t variable_count;
    uint32_t first_id;
    uint32_t server_count;
    uint32_t block_count; /* of all variables */
};

/*
 * Places the blocks of all variables. ids count up by one from variables[0].id (whatever that is),
 * as the registry gives them. No variable at all is allowed.
 *
 * INVALID_ARGUMENT: a dtype without a size, ids that are not consecutive, server_count outside
 * 1..LIMIT_SERVERS. RESOURCE_EXHAUSTED: more than LIMIT_VARIABLES or LIMIT_BLOCKS, or no memory.
 * Takes O(variables * servers) memory and time, whatever the number of blocks.
 */
NODISCARD enum status placement_init(struct placement *ret_placement,
                                     const struct placement_variable *variables, size_t count,
                                     uint32_t server_count, struct error *err);
void placement_release(struct placement *placement);

/* Is there such a block? All functions below assert it; ask first about numbers from outside. */
bool placement_has(const struct placement *placement, uint32_t variable, uint32_t block);

/* Blocks of a variable; 0 for an id that is not placed. */
uint32_t placement_block_count(const struct placement *placement, uint32_t variable);

/* The elements of a block: first (row-major index) and count (1..BLOCK_ELEMENTS_MAX). */
uint64_t placement_first_element(const struct placement *placement, uint32_t variable,
                                 uint32_t block);
uint32_t placement_element_count(const struct placement *placement, uint32_t variable,
                                 uint32_t block);
size_t placement_block_bytes(const struct placement *placement, uint32_t variable, uint32_t block);

/* The server that owns a block, and its partition. O(1). */
uint32_t placement_server_of(const struct placement *placement, uint32_t variable, uint32_t block);
uint32_t placement_partition_of(const struct placement *placement, uint32_t variable,
                                uint32_t block);

/*
 * The blocks of one server in their fixed order (variable id, then block number) have the indexes
 * 0..placement_server_block_count-1: an array with one element for each block is indexed so.
 */
uint32_t placement_server_block_count(const struct placement *placement, uint32_t server);
uint64_t placement_server_bytes(const struct placement *placement, uint32_t server);

/* The index of a block among those of the server that owns it. O(1). */
uint32_t placement_index_of(const struct placement *placement, uint32_t variable, uint32_t block);

/* The block with that index on a server. O(log); to walk over all, placement_next is cheaper. */
struct placement_block placement_block_at(const struct placement *placement, uint32_t server,
                                          uint32_t index);

/*
 * Walks over the blocks of one server in index order. Start with placement_first; false: there is
 * no (further) block.
 *
 *     for (bool more = placement_first(p, server, &at); more; more = placement_next(p, server,
 * &at))
 */
bool placement_first(const struct placement *placement, uint32_t server,
                     struct placement_block *ret_block);
bool placement_next(const struct placement *placement, uint32_t server,
                    struct placement_block *block);

/* The same over the blocks of one variable: the first of them at or after `from` on that server, or
 * false. */
bool placement_next_of_variable(const struct placement *placement, uint32_t server,
                                uint32_t variable, uint32_t from, uint32_t *ret_block);

/* Blocks of n elements: n / BLOCK_ELEMENTS_MAX, rounded up. */
static inline uint64_t placement_blocks_of_elements(uint64_t element_count)
{
    return element_count / BLOCK_ELEMENTS_MAX + (element_count % BLOCK_ELEMENTS_MAX != 0);
}

#endif
