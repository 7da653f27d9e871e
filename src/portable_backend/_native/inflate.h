/* Inflate raw deflate streams (RFC 1951) piece by piece, in constant memory.
 *
 * No Python in here, so that a fuzzer can have it alone. A state is used by one thread at a time; nothing else is kept.
 * It accepts and refuses exactly the streams that zlib does, and says where a stream ended.
 */
#ifndef PORTABLE_BACKEND_INFLATE_H
#define PORTABLE_BACKEND_INFLATE_H

#include <stddef.h>
#include <stdint.h>

/* How far back a stream may refer to what it said before (RFC 1951, 2: 32 KiB). */
#define INFLATE_WINDOW 32768u
/* What a call may write beyond the end that it reports: copies are made in whole words. */
#define INFLATE_SLACK 320u

/* What a call ended with: more input is wanted, the output is full, the last block ended, the stream is damaged. */
enum { INFLATE_INPUT = 0, INFLATE_OUTPUT = 1, INFLATE_END = 2, INFLATE_DAMAGED = 3 };

typedef struct inflate_state inflate_state;

/* A fresh state, or NULL where there is no memory. */
inflate_state *inflate_new(void);
void inflate_free(inflate_state *state);
/* Make a state as fresh as a new one. */
void inflate_reset(inflate_state *state);

/* Inflate from `*in`, of which `*size` bytes are left; both are moved past what was used.
 *
 * `out` has `room` bytes, at least INFLATE_WINDOW + 2 * INFLATE_SLACK. A call writes from `*start` to `*end`. What the
 * call before wrote last is moved to the front first, where the window belongs; so the bytes of `out` must be left as
 * they are between two calls, and must be the same buffer. */
int inflate_run(inflate_state *state, const uint8_t **in, size_t *size, uint8_t *out, size_t room, size_t *start,
                size_t *end);

/* Whole bytes that were taken from the input and that the stream did not need: after its end, they belong to others. */
unsigned inflate_unused(const inflate_state *state);

/* Where the last block of a whole stream begins, and where its last code ends, in bits from the beginning. Returns
 * INFLATE_END, or what else inflating it ended with; -1 where there is no memory. */
int inflate_last_block(const uint8_t *data, size_t size, uint64_t *begins, uint64_t *ends);

#endif
