/* Read the directory of an archive that is as plain as nearly all are, hold its local headers against it, and read a plain
 * RECORD.
 *
 * No Python in here, so that a fuzzer can have it alone. None of this refuses anything: whatever is not plain is left to
 * wheels/directory.py and wheels/members.py, which alone say what a wheel may be, and why one may not. So what passes here
 * passes there, to the same values; what does not pass here may pass there. Linear in time; nothing outside of the buffers is
 * touched, whatever the archive claims.
 */
#ifndef PORTABLE_BACKEND_ARCHIVE_H
#define PORTABLE_BACKEND_ARCHIVE_H

#include <stddef.h>
#include <stdint.h>

/* What is known of a member; Python reads these as numbers of 64 bits. */
typedef struct {
    uint64_t data; /* where its compressed bytes begin */
    uint64_t packed;
    uint64_t size;
    uint64_t crc;
    uint64_t method;
    uint64_t attributes;
} archive_member;

/* What may be a bomb: a member of more than `large` bytes, or all members of more than `total`, that inflates more than
 * `ratio`-fold. */
typedef struct {
    uint64_t large, total, ratio;
} archive_limits;

/* Bytes of a header of the directory without name, extra fields and comment. */
enum { ARCHIVE_HEADER = 46 };

/* Read a directory of `count` members that begins at `start` of the archive. 1 if it is plain: one version of the format
 * that readers know, no flags but that for names in UTF-8, no extra fields, no comments; members touch each other in the
 * order of the directory, the first begins the archive and the last ends at `start`; names are printable ASCII that no reader
 * can take for another, each once, none both a file and a directory. 0 if not, or where there is no memory. */
int archive_read(const uint8_t *directory, size_t size, uint64_t start, const archive_limits *limits,
                 archive_member *members, size_t count);

/* The name of the member whose header is at `*at`, which goes on to the next. For a directory that was read. */
const uint8_t *archive_name(const uint8_t *directory, size_t *at, size_t *length);

/* Reads so many bytes at an offset; 0 if there are fewer, or none can be read. */
typedef int archive_reader(void *from, uint64_t offset, uint8_t *to, size_t size);

/* 1 if each local header of a directory that was read says the same, to the byte. */
int archive_check(const uint8_t *directory, size_t size, archive_reader *reader, void *from);

/* The reader of files: `from` is where a descriptor is. Where there is no pread, it reads nothing. */
archive_reader archive_read_file;

/* Bytes at a place of one file, and as many at a place of another. */
typedef struct {
    uint64_t one, other, size;
} archive_pair;

/* Tell of each pair, in `same`, whether its bytes are the same and can be read; those that lie close are read at once. 0
 * where there is no memory. */
int archive_compare(archive_reader *reader, void *one, void *other, const archive_pair *pairs, size_t count, uint8_t *same);

/* What a line of RECORD says: a path; the SHA-256 digest in base64, of no length if there is none, and then no size. */
typedef struct {
    const char *path, *digest;
    size_t path_length, digest_length;
    uint64_t size;
} archive_line;

/* Read the line at `*at`, which goes on to the next. 1 if it is plain: nothing quoted, ASCII, three fields. */
int archive_record(const char *text, size_t size, size_t *at, archive_line *line);

#endif
