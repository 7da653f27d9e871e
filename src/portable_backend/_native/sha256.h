/* SHA-256 (FIPS 180-4). No Python in here, so that a fuzzer can have it alone. A state is used by one thread at a time. */
#ifndef PORTABLE_BACKEND_SHA256_H
#define PORTABLE_BACKEND_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { SHA256_BLOCK = 64, SHA256_DIGEST = 32 };

typedef struct {
    uint32_t words[8];
    uint64_t size; /* bytes taken so far; the last size % 64 of them wait in `block` */
    uint8_t block[SHA256_BLOCK];
} sha256_state;

void sha256_start(sha256_state *state);
void sha256_add(sha256_state *state, const uint8_t *data, size_t size);
/* Add `blocks` whole blocks to each of two messages, of neither of which a part of a block waits: both in little more time
 * than one takes, where the processor has instructions for it that wait for each other. */
void sha256_add_two(sha256_state *first, const uint8_t *data, sha256_state *second, const uint8_t *other, size_t blocks);
/* The digest of all that was added; the state is of no use afterwards but to be started again. */
void sha256_end(sha256_state *state, uint8_t digest[SHA256_DIGEST]);

/* Whether this processor has instructions for it, and this was compiled to use them. */
int sha256_is_fast(void);

/* How blocks are taken: 0 by portable C, 1 by the best that this processor has. For tests, which hold the two against
 * each other: not to be called while others hash. */
void sha256_choose(int the_best);

#endif
