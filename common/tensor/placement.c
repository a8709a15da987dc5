/*
 * Blocks are dealt like cards: sorted by bytes, largest first, one to each of the 240 partitions in
 * turn. All blocks of a variable but the last have the same size, so a variable is at most two runs
 * of equal cards that lie together in the sorted deck. The place of a block in the deck (its rank)
 * is thus a sum, and nothing is stored for a block.
 */
#include "common/tensor/placement.h"

#include "common/base/alloc.h"

#include <assert.h>
#include <stdlib.h>

struct placement_entry {
    uint64_t element_count;
    uint32_t full_count; /* blocks of BLOCK_ELEMENTS_MAX elements */
    uint32_t full_rank;  /* rank of the first of them; the others follow */
    uint32_t tail_rank;  /* of the shorter last block, if there is one */
    uint32_t element_bytes;
};

/* Blocks of one variable that have the same size. */
struct run {
    uint64_t block_bytes;
    uint32_t row; /* index of the variable */
    uint32_t block_count;
    bool is_tail;
};

static int compare_runs(const void *left, const void *right)
{
    const struct run *a = left, *b = right;

    if (a->block_bytes != b->block_bytes)
        return a->block_bytes > b->block_bytes ? -1 : 1;
    if (a->row != b->row)
        return a->row < b->row ? -1 : 1;
    return (int)a->is_tail - (int)b->is_tail;
}

static uint32_t tail_elements(const struct placement_entry *entry)
{
    return (uint32_t)(entry->element_count % BLOCK_ELEMENTS_MAX);
}

static uint32_t entry_blocks(const struct placement_entry *entry)
{
    return entry->full_count + (tail_elements(entry) != 0);
}

/* How many ranks below `rank` fall to a server: whole rounds over the partitions, then a part of
 * one. */
static uint32_t count_before(const struct placement *placement, uint32_t rank, uint32_t server)
{
    uint32_t servers = placement->server_count;
    uint32_t of_round = (PLACEMENT_PARTITIONS + servers - 1 - server) / servers;
    uint32_t rest = (rank % PLACEMENT_PARTITIONS + servers - 1 - server) / servers;

    return rank / PLACEMENT_PARTITIONS * of_round + rest;
}

static uint32_t server_of_rank(const struct placement *placement, uint32_t rank)
{
    return rank % PLACEMENT_PARTITIONS % placement->server_count;
}

/* Of the first `full` full blocks of a variable, those on a server. */
static uint32_t count_full(const struct placement *placement, const struct placement_entry *entry,
                           uint32_t full, uint32_t server)
{
    return count_before(placement, entry->full_rank + full, server) -
           count_before(placement, entry->full_rank, server);
}

static enum status check_variable(const struct placement_variable *variables, size_t row,
                                  uint64_t blocks_before, struct error *err)
{
    const struct placement_variable *variable = &variables[row];

    if (variable->id != variables[0].id + row || variable->id < variables[0].id)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "place variables: ids must count up by one from %u; number %zu has id %u",
                         variables[0].id, row, variable->id);
    if (dtype_bytes(variable->dtype) == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "place variable %u: unknown dtype %d",
                         variable->id, (int)variable->dtype);
    if (placement_blocks_of_elements(variable->element_count) > LIMIT_BLOCKS - blocks_before)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "place variable %u of %llu elements: the variables have more than %d "
                         "blocks of %d elements",
                         variable->id, (unsigned long long)variable->element_count, LIMIT_BLOCKS,
                         BLOCK_ELEMENTS_MAX);
    return STATUS_OK;
}

static enum status check_and_fill(struct placement *placement,
                                  const struct placement_variable *variables, struct error *err)
{
    uint64_t blocks = 0;

    for (size_t row = 0; row < placement->variable_count; row++) {
        struct placement_entry *entry = &placement->entries[row];
        enum status status = check_variable(variables, row, blocks, err);

        if (status != STATUS_OK)
            return status;
        entry->element_count = variables[row].element_count;
        entry->full_count = (uint32_t)(entry->element_count / BLOCK_ELEMENTS_MAX);
        entry->element_bytes = (uint32_t)dtype_bytes(variables[row].dtype);
        blocks += entry_blocks(entry);
    }
    placement->block_count = (uint32_t)blocks;
    return STATUS_OK;
}

/* Sorts the runs and gives every one its first rank. */
static void deal(struct placement *placement, struct run *runs)
{
    size_t count = 0;
    uint32_t rank = 0;

    for (size_t row = 0; row < placement->variable_count; row++) {
        const struct placement_entry *entry = &placement->entries[row];
        uint64_t tail = tail_elements(entry), size = entry->element_bytes;

        if (entry->full_count > 0)
            runs[count++] = (struct run){BLOCK_ELEMENTS_MAX * size, (uint32_t)row,
                                         entry->full_count, false};
        if (tail > 0)
            runs[count++] = (struct run){tail * size, (uint32_t)row, 1, true};
    }
    qsort(runs, count, sizeof *runs, compare_runs);
    for (size_t i = 0; i < count; i++) {
        struct placement_entry *entry = &placement->entries[runs[i].row];
        *(runs[i].is_tail ? &entry->tail_rank : &entry->full_rank) = rank;
        rank += runs[i].block_count;
    }
}

/* Fills first_index (one row more than there are variables: the totals) and server_bytes. */
static void index_blocks(struct placement *placement)
{
    uint32_t servers = placement->server_count;

    for (size_t row = 0; row < placement->variable_count; row++) {
        const struct placement_entry *entry = &placement->entries[row];
        const uint32_t *before = &placement->first_index[row * servers];
        uint32_t *after = &placement->first_index[(row + 1) * servers];

        for (uint32_t server = 0; server < servers; server++) {
            uint64_t full = count_full(placement, entry, entry->full_count, server);
            after[server] = before[server] + (uint32_t)full;
            placement->server_bytes[server] += full * BLOCK_ELEMENTS_MAX * entry->element_bytes;
        }
        if (tail_elements(entry) > 0) {
            uint32_t server = server_of_rank(placement, entry->tail_rank);
            after[server]++;
            placement->server_bytes[server] += (uint64_t)tail_elements(entry) *
                                               entry->element_bytes;
        }
    }
}

enum status placement_init(struct placement *ret_placement,
                           const struct placement_variable *variables, size_t count,
                           uint32_t server_count, struct error *err)
{
    struct placement placement = {.variable_count = count, .server_count = server_count};
    struct run *runs = NULL;
    enum status status;

    if (server_count < 1 || server_count > LIMIT_SERVERS)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "place variables on %u servers: there must be 1 to %d", server_count,
                         LIMIT_SERVERS);
    if (count > LIMIT_VARIABLES)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "place %zu variables: there may be at most %d", count, LIMIT_VARIABLES);
    placement.first_id = count > 0 ? variables[0].id : 0;
    placement.entries = alloc_array(count, sizeof *placement.entries);
    placement.first_index = alloc_array((count + 1) * server_count, sizeof *placement.first_index);
    placement.server_bytes = alloc_array(server_count, sizeof *placement.server_bytes);
    runs = alloc_array(2 * count, sizeof *runs);
    if (!placement.entries || !placement.first_index || !placement.server_bytes || !runs) {
        status = error_no_memory(err, "the placement of variables");
        goto out;
    }
    status = check_and_fill(&placement, variables, err);
    if (status != STATUS_OK)
        goto out;
    deal(&placement, runs);
    index_blocks(&placement);
    *ret_placement = placement;
    placement = (struct placement){0};
out:
    alloc_free(runs);
    placement_release(&placement);
    return status;
}

void placement_release(struct placement *placement)
{
    if (!placement)
        return;
    alloc_free(placement->entries);
    alloc_free(placement->first_index);
    alloc_free(placement->server_bytes);
    *placement = (struct placement){0};
}

/* The place of a variable in the arrays; variable_count if it is not placed (smaller ids wrap to
 * large numbers). */
static size_t row_of(const struct placement *placement, uint32_t variable)
{
    uint32_t row = variable - placement->first_id;

    return row < placement->variable_count ? row : placement->variable_count;
}

static const struct placement_entry *entry_of(const struct placement *placement, uint32_t variable,
                                              uint32_t block)
{
    assert(placement_has(placement, variable, block));
    return &placement->entries[row_of(placement, variable)];
}

bool placement_has(const struct placement *placement, uint32_t variable, uint32_t block)
{
    return block < placement_block_count(placement, variable);
}

uint32_t placement_block_count(const struct placement *placement, uint32_t variable)
{
    size_t row = row_of(placement, variable);

    return row < placement->variable_count ? entry_blocks(&placement->entries[row]) : 0;
}

uint64_t placement_first_element(const struct placement *placement, uint32_t variable,
                                 uint32_t block)
{
    assert(placement_has(placement, variable, block));
    return (uint64_t)block * BLOCK_ELEMENTS_MAX;
}

uint32_t placement_element_count(const struct placement *placement, uint32_t variable,
                                 uint32_t block)
{
    const struct placement_entry *entry = entry_of(placement, variable, block);

    return block < entry->full_count ? BLOCK_ELEMENTS_MAX : tail_elements(entry);
}

size_t placement_block_bytes(const struct placement *placement, uint32_t variable, uint32_t block)
{
    const struct placement_entry *entry = entry_of(placement, variable, block);

    return (size_t)placement_element_count(placement, variable, block) * entry->element_bytes;
}

static uint32_t rank_of(const struct placement_entry *entry, uint32_t block)
{
    return block < entry->full_count ? entry->full_rank + block : entry->tail_rank;
}

uint32_t placement_partition_of(const struct placement *placement, uint32_t variable,
                                uint32_t block)
{
    return rank_of(entry_of(placement, variable, block), block) % PLACEMENT_PARTITIONS;
}

uint32_t placement_server_of(const struct placement *placement, uint32_t variable, uint32_t block)
{
    return server_of_rank(placement, rank_of(entry_of(placement, variable, block), block));
}

uint32_t placement_server_block_count(const struct placement *placement, uint32_t server)
{
    assert(server < placement->server_count);
    return placement->first_index[placement->variable_count * placement->server_count + server];
}

uint64_t placement_server_bytes(const struct placement *placement, uint32_t server)
{
    assert(server < placement->server_count);
    return placement->server_bytes[server];
}

uint32_t placement_index_of(const struct placement *placement, uint32_t variable, uint32_t block)
{
    const struct placement_entry *entry = entry_of(placement, variable, block);
    uint32_t server = server_of_rank(placement, rank_of(entry, block));
    size_t row = row_of(placement, variable);

    return placement->first_index[row * placement->server_count + server] +
           count_full(placement, entry, block < entry->full_count ? block : entry->full_count,
                      server);
}

/* The last row whose first index on this server is at most `index`: it has a block there, as later
 * rows start beyond. */
static size_t row_of_index(const struct placement *placement, uint32_t server, uint32_t index)
{
    size_t low = 0, high = placement->variable_count; /* the row is in [low, high) */

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (placement->first_index[middle * placement->server_count + server] <= index)
            low = middle;
        else
            high = middle;
    }
    return low;
}

struct placement_block placement_block_at(const struct placement *placement, uint32_t server,
                                          uint32_t index)
{
    const struct placement_entry *entry;
    uint32_t low = 0, high, wanted;
    size_t row;

    assert(index < placement_server_block_count(placement, server));
    row = row_of_index(placement, server, index);
    entry = &placement->entries[row];
    wanted = index - placement->first_index[row * placement->server_count + server];
    high = entry->full_count;
    /* the first block with more than `wanted` of this server's up to and with it; else the tail */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (count_full(placement, entry, middle + 1, server) > wanted)
            high = middle;
        else
            low = middle + 1;
    }
    return (struct placement_block){placement->first_id + (uint32_t)row, low};
}

bool placement_next_of_variable(const struct placement *placement, uint32_t server,
                                uint32_t variable, uint32_t from, uint32_t *ret_block)
{
    size_t row = row_of(placement, variable);
    const struct placement_entry *entry;

    assert(server < placement->server_count);
    if (row == placement->variable_count)
        return false;
    entry = &placement->entries[row];
    for (uint32_t block = from; block < entry_blocks(entry); block++) {
        if (server_of_rank(placement, rank_of(entry, block)) == server) {
            *ret_block = block;
            return true;
        }
    }
    return false;
}

/* The first block at or after (row, block) on a server; variables without one there are passed over
 * unseen. */
static bool find_from(const struct placement *placement, uint32_t server, size_t row,
                      uint32_t block, struct placement_block *ret_block)
{
    for (; row < placement->variable_count; row++, block = 0) {
        uint32_t variable = placement->first_id + (uint32_t)row;
        size_t at = row * placement->server_count + server;
        bool has_any = placement->first_index[at + placement->server_count] >
                       placement->first_index[at];

        if (has_any && placement_next_of_variable(placement, server, variable, block, &block)) {
            *ret_block = (struct placement_block){variable, block};
            return true;
        }
    }
    return false;
}

bool placement_first(const struct placement *placement, uint32_t server,
                     struct placement_block *ret_block)
{
    assert(server < placement->server_count);
    return find_from(placement, server, 0, 0, ret_block);
}

bool placement_next(const struct placement *placement, uint32_t server,
                    struct placement_block *block)
{
    assert(server < placement->server_count &&
           placement_has(placement, block->variable, block->block));
    return find_from(placement, server, row_of(placement, block->variable), block->block + 1,
                     block);
}
