/* Read many small members of an archive that lie in memory: inflate, compare size and checksum, hash.
 *
 * No Python in here, so that a fuzzer can have it alone. Nothing is kept between calls but the inflater's state, which is
 * used by one thread at a time. Whatever the members claim, nothing outside of the buffers is touched.
 */
#ifndef PORTABLE_BACKEND_BATCH_H
#define PORTABLE_BACKEND_BATCH_H

#include <stddef.h>
#include <stdint.h>

#include "inflate.h"

/* What `out` has to have room for beside the largest member. */
#define BATCH_SLACK (INFLATE_WINDOW + 2 * INFLATE_SLACK)
/* Letters of a digest as RECORD writes it: urlsafe base64 without padding (PEP 376), of 32 bytes. */
enum { BATCH_DIGEST = 43 };

/* What the archive says of a member. */
typedef struct {
    uint64_t offset; /* where its compressed bytes begin */
    uint64_t packed; /* how many they are */
    uint64_t size;
    uint64_t crc;
    uint64_t method; /* 0 is stored; any other, deflated */
} batch_member;

/* What ended a call: all are read; the last one read begins like an ELF file; the next has damaged data, or incomplete
 * ones or ones followed by others, or another size or checksum, or lies outside of the bytes. */
enum {
    BATCH_ALL = 0,
    BATCH_ELF = 1,
    BATCH_DAMAGED = 2,
    BATCH_NOT_WHOLE = 3,
    BATCH_ANOTHER = 4,
    BATCH_OUTSIDE = 5
};

/* Read members up to the first that begins like an ELF file, that one included, or the first that is wrong; `*done` is
 * how many were read, each with its digest in `digests`. Of the last one `*content` are the `*length` bytes, in `data`
 * or in `out`. `room` is at least BATCH_SLACK; deflated members for which it has no room besides are of another size. */
int batch_read(inflate_state *state, const uint8_t *data, size_t size, const batch_member *members, size_t count,
               uint8_t *out, size_t room, char (*digests)[BATCH_DIGEST], size_t *done, const uint8_t **content,
               size_t *length);

#endif
