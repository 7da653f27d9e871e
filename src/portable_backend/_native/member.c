/* See member.h. */
#ifndef _WIN32
#define _POSIX_C_SOURCE 200809L /* pread */
#define _FILE_OFFSET_BITS 64
#endif
#include "member.h"

#include <stdlib.h>
#include <string.h>

#include "crc32.h"

#ifndef _WIN32
#include <errno.h>
#include <unistd.h>
#endif

enum { AT_ONCE = 128 << 10 };

int member_open(member_source *source, int file, uint64_t offset, uint64_t packed, int stored)
{
    memset(source, 0, sizeof *source);
    source->file = file;
    source->offset = offset;
    source->left = packed;
    if (stored)
        return 1;
    source->inflater = inflate_new();
    source->packed = malloc(AT_ONCE);
    source->in = source->packed; /* some place, even if there is nothing to read */
    return source->inflater && source->packed;
}

void member_close(member_source *source)
{
    inflate_free(source->inflater);
    free(source->packed);
}

/* Read some of what is left, at most `room` bytes. */
static int read_some(member_source *source, uint8_t *to, size_t room, size_t *size)
{
#ifndef _WIN32
    size_t wanted = source->left < room ? (size_t)source->left : room;
    ssize_t got;
    do
        got = pread(source->file, to, wanted, (off_t)source->offset);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        source->error = errno;
    if (got <= 0)
        return got < 0 ? MEMBER_UNREADABLE : MEMBER_CUT;
    *size = (size_t)got;
    source->offset += *size;
    source->left -= *size;
    return MEMBER_MORE;
#else
    (void)source, (void)to, (void)room, (void)size;
    return MEMBER_CUT;
#endif
}

/* Stored data go where inflated ones would. */
static int next_stored(member_source *source, uint8_t *out, size_t room, size_t *start, size_t *end)
{
    size_t kept = source->end < INFLATE_WINDOW ? source->end : INFLATE_WINDOW, size = 0;
    int outcome = MEMBER_MORE;
    memmove(out, out + source->end - kept, kept);
    if (source->left > 0)
        outcome = read_some(source, out + kept, room - kept, &size);
    *start = kept;
    *end = source->end = kept + size;
    return outcome == MEMBER_MORE && source->left == 0 ? MEMBER_END : outcome;
}

static int next_inflated(member_source *source, uint8_t *out, size_t room, size_t *start, size_t *end)
{
    int outcome;
    if (source->in_size == 0 && source->left > 0) {
        outcome = read_some(source, source->packed, AT_ONCE, &source->in_size);
        if (outcome != MEMBER_MORE)
            return outcome;
        source->in = source->packed;
    }
    outcome = inflate_run(source->inflater, &source->in, &source->in_size, out, room, start, end);
    source->end = *end;
    if (outcome == INFLATE_DAMAGED)
        return MEMBER_DAMAGED;
    if (outcome == INFLATE_END)
        return source->in_size + inflate_unused(source->inflater) + source->left == 0 ? MEMBER_END : MEMBER_NOT_WHOLE;
    return outcome == INFLATE_INPUT && source->left == 0 ? MEMBER_NOT_WHOLE : MEMBER_MORE;
}

int member_next(member_source *source, const uint8_t *before, uint8_t *out, size_t room, size_t *start, size_t *end)
{
    *start = *end = 0;
    if (before && before != out) { /* bring the window along */
        size_t kept = source->end < INFLATE_WINDOW ? source->end : INFLATE_WINDOW;
        memcpy(out + source->end - kept, before + source->end - kept, kept);
    }
    return (source->inflater ? next_inflated : next_stored)(source, out, room, start, end);
}

void member_start(member_reader *reader, uint64_t size, uint64_t crc, int hashes, int finds)
{
    reader->size = size;
    reader->crc = crc;
    reader->position = 0;
    reader->sum = 0;
    reader->hashes = hashes;
    reader->finds = finds;
    sha256_start(&reader->hash);
    names_start(&reader->names);
}

static void copy_wanted(const member_range *range, uint64_t position, const uint8_t *data, size_t size)
{
    uint64_t first = position > range->start ? position : range->start;
    uint64_t last = position + size < range->end ? position + size : range->end;
    if (first < last)
        memcpy(range->to + (first - range->start), data + (first - position), (size_t)(last - first));
}

int member_look(member_reader *reader, const uint8_t *data, size_t start, size_t end, int follows,
                const member_range *wanted, size_t count, elfpass *pass)
{
    const uint64_t position = reader->position;
    const size_t size = end - start;
    size_t i;
    if (size > reader->size - position)
        return MEMBER_ANOTHER; /* whatever follows */
    reader->position += size;
    reader->sum = crc32_add(reader->sum, data + start, size);
    if (reader->hashes)
        sha256_add(&reader->hash, data + start, size);
    for (i = 0; i < count; i++)
        copy_wanted(wanted + i, position, data + start, size);
    if (pass)
        elfpass_feed(pass, position, data + start, size);
    if (reader->finds && position < 4 && reader->position >= 4) /* then all of it is here */
        reader->finds = memcmp(data, "\177ELF", 4) == 0;
    if (reader->finds)
        names_look(&reader->names, data, start, end, start == position);
    if (follows == MEMBER_END && (reader->position != reader->size || reader->sum != reader->crc))
        return MEMBER_ANOTHER;
    return follows;
}
