#include "common/base/rng.h"

#include "common/base/hash.h"

#include <string.h>

enum { PHILOX_ROUNDS = 10 };

void rng_block(const struct rng_philox *rng, uint32_t ret_words[4])
{
    uint32_t c0 = rng->counter[0], c1 = rng->counter[1];
    uint32_t c2 = rng->counter[2], c3 = rng->counter[3];
    uint32_t k0 = rng->key[0], k1 = rng->key[1];

    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        uint64_t p = (uint64_t)0xD2511F53u * c0;
        uint64_t q = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(q >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)q;
        c2 = (uint32_t)(p >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    ret_words[0] = c0;
    ret_words[1] = c1;
    ret_words[2] = c2;
    ret_words[3] = c3;
}

struct rng_philox rng_stateless(int64_t a, int64_t b)
{
    struct rng_philox seeder = {
        .counter = {(uint32_t)(uint64_t)a, (uint32_t)((uint64_t)a >> 32), (uint32_t)(uint64_t)b,
                    (uint32_t)((uint64_t)b >> 32)},
        .key = {0x3EC8F720u, 0x02461E29u},
    };
    uint32_t mixed[4];

    rng_block(&seeder, mixed);
    return (struct rng_philox){.counter = {0, 0, mixed[2], mixed[3]}, .key = {mixed[0], mixed[1]}};
}

void rng_skip(struct rng_philox *rng, uint64_t blocks)
{
    uint64_t low = (uint64_t)rng->counter[1] << 32 | rng->counter[0];
    uint64_t high = (uint64_t)rng->counter[3] << 32 | rng->counter[2];
    uint64_t sum = low + blocks;

    if (sum < low)
        high++;
    rng->counter[0] = (uint32_t)sum;
    rng->counter[1] = (uint32_t)(sum >> 32);
    rng->counter[2] = (uint32_t)high;
    rng->counter[3] = (uint32_t)(high >> 32);
}

uint64_t rng_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

uint64_t rng_next(struct rng_sequence *rng)
{
    rng->state += 0x9E3779B97F4A7C15u;
    return rng_mix(rng->state);
}

uint64_t rng_below(struct rng_sequence *rng, uint64_t bound)
{
    return (uint64_t)(((unsigned __int128)rng_next(rng) * bound) >> 64);
}

int64_t rng_variable_seed(uint64_t job_seed, const char *name)
{
    return (int64_t)(rng_mix(job_seed ^ hash_xxh3(name, strlen(name))) & 0x7FFFFFFFu);
}
