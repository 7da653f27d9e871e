/* Read one large member of an archive that lies in a file: inflate it piece by piece, and look at each piece while it is
 * in the processor's own memory: checksum, digest, names of libraries, and copies of what is wanted.
 *
 * No Python in here, so that a fuzzer can have it alone. What makes pieces and what looks at them may be two threads, with
 * a buffer for each piece; each is used by one thread at a time. Whatever archive and file claim, nothing outside of the
 * buffers is touched. Where there is no pread, no file can be read by this.
 */
#ifndef PORTABLE_BACKEND_MEMBER_H
#define PORTABLE_BACKEND_MEMBER_H

#include <stddef.h>
#include <stdint.h>

#include "elfpass.h"
#include "inflate.h"
#include "names.h"
#include "sha256.h"

/* The least that a buffer for a piece may have. */
#define MEMBER_LEAST (INFLATE_WINDOW + 2 * INFLATE_SLACK)

/* What follows a piece: more; nothing, and all is well so far; damaged data; an incomplete stream or one followed by other
 * data; nothing, for it has another size or checksum than the archive says; the archive ends; the file cannot be read, and
 * `error` of the source says why. */
enum {
    MEMBER_MORE = 0,
    MEMBER_END = 1,
    MEMBER_DAMAGED = 2,
    MEMBER_NOT_WHOLE = 3,
    MEMBER_ANOTHER = 4,
    MEMBER_CUT = 5,
    MEMBER_UNREADABLE = 6
};

typedef struct {
    int file;
    uint64_t offset, left; /* of the compressed bytes that were not read yet */
    inflate_state *inflater; /* NULL where the member is stored */
    uint8_t *packed;         /* what was read last, and of it what is left */
    const uint8_t *in;
    size_t in_size;
    size_t end; /* of the piece before, in its buffer */
    int error;
} member_source;

/* 0 where there is no memory; what there is then is freed by member_close all the same. */
int member_open(member_source *source, int file, uint64_t offset, uint64_t packed, int stored);
void member_close(member_source *source);

/* Write the next piece to out[start:end], behind up to INFLATE_WINDOW bytes that came before it. `before` is the buffer that
 * has the piece before, as it was left: this one or another of the same room, NULL for the first. Returns what follows; with
 * anything that is wrong there may be a last piece. */
int member_next(member_source *source, const uint8_t *before, uint8_t *out, size_t room, size_t *start, size_t *end);

/* A range of the file that is wanted, and where it is copied to. */
typedef struct {
    uint64_t start, end;
    uint8_t *to;
} member_range;

typedef struct {
    uint64_t size, crc; /* as the archive says */
    uint64_t position;
    uint32_t sum;
    int hashes, finds;
    sha256_state hash;
    names_state names;
} member_reader;

/* Begin. `finds`: look for names of libraries, if it begins like an ELF file. */
void member_start(member_reader *reader, uint64_t size, uint64_t crc, int hashes, int finds);

/* Look at the next piece, which `follows` follows as member_next told; returns what follows now that it is known.
 * `pass`: what wants to see it, too; or NULL. */
int member_look(member_reader *reader, const uint8_t *data, size_t start, size_t end, int follows,
                const member_range *wanted, size_t count, elfpass *pass);

#endif
