/* See archive.h. */
#ifndef _WIN32
#define _POSIX_C_SOURCE 200809L /* pread */
#define _FILE_OFFSET_BITS 64
#endif
#include "archive.h"

#include <stdlib.h>
#include <string.h>

#ifndef _WIN32
#include <errno.h>
#include <unistd.h>
#endif

enum {
    LOCAL = 30,         /* bytes of a local header without the name */
    SAID = 22,          /* bytes that both headers have: flags to length of the name */
    NEWEST = 63,        /* as in directory.py */
    UTF8_NAME = 0x800,
    STORED = 0,
    DEFLATED = 8,
    TRIES = 32,         /* places of a set that are looked at; with halves of it free, this many are next to never full */
    STEP = 96 << 10,    /* bytes that are read at once: more than any local header has */
    GAP = 4 << 10       /* bytes between headers that are rather read along than left out by another call */
};

static uint32_t get16(const uint8_t *at)
{
    return at[0] | (uint32_t)at[1] << 8;
}

static uint32_t get32(const uint8_t *at)
{
    return get16(at) | get16(at + 2) << 16;
}

const uint8_t *archive_name(const uint8_t *directory, size_t *at, size_t *length)
{
    const uint8_t *name = directory + *at + ARCHIVE_HEADER;
    *length = get16(directory + *at + 28);
    *at += ARCHIVE_HEADER + *length;
    return name;
}

/* One header of the directory, of a member that begins at `offset`. */
static int read_header(const uint8_t *header, uint64_t offset, const archive_limits *limits, archive_member *member)
{
    const uint32_t flags = get16(header + 8), length = get16(header + 28);
    member->method = get16(header + 10);
    member->crc = get32(header + 16);
    member->packed = get32(header + 20);
    member->size = get32(header + 24);
    member->attributes = get32(header + 38);
    member->data = offset + LOCAL + length;
    if (memcmp(header, "PK\1\2", 4) != 0 || get16(header + 6) > NEWEST || (flags & ~(uint32_t)UTF8_NAME))
        return 0;
    if (get16(header + 30) || get16(header + 32) || get16(header + 34)) /* extra fields, comment, disk */
        return 0;
    if (member->method != STORED && member->method != DEFLATED)
        return 0;
    if (member->packed == UINT32_MAX || member->size == UINT32_MAX || get32(header + 42) == UINT32_MAX)
        return 0;
    if (member->size > limits->large && member->size > limits->ratio * member->packed)
        return 0;
    return get32(header + 42) == offset;
}

/* Letters that can stand in a name: printable ASCII without the backslash. */
static int is_letter(uint8_t byte)
{
    return byte >= ' ' && byte < 0x7f && byte != '\\';
}

/* Whether a component is empty or all points, as "." and ".." are. */
static int is_strange(const uint8_t *component, size_t length)
{
    return length == 0 || (component[0] == '.' && (length == 1 || (length == 2 && component[1] == '.')));
}

/* A relative name in normal form, with or without a slash at its end. */
static int is_plain(const uint8_t *name, size_t length)
{
    size_t begin = 0, i;
    if (length == 0 || (length > 1 && name[1] == ':'))
        return 0;
    for (i = 0; i < length; i++) {
        if (!is_letter(name[i]))
            return 0;
        if (name[i] == '/') {
            if (is_strange(name + begin, i - begin))
                return 0;
            begin = i + 1;
        }
    }
    return begin == length || !is_strange(name + begin, length - begin);
}

/* A set of names, by their hashes alone: names that have the same one may be the same, and that is all that is asked. 0 is
 * a free place. */
typedef struct {
    uint64_t *places;
    size_t mask;
} name_set;

static const uint64_t SEED = 0xcbf29ce484222325u;

static uint64_t add_letter(uint64_t hash, uint8_t letter)
{
    return (hash ^ letter) * 0x100000001b3u; /* FNV-1a */
}

/* The place of a hash: its own, a free one, or none if it would take long to find. */
static uint64_t *find_place(const name_set *set, uint64_t *hash)
{
    size_t at, tries;
    *hash |= *hash == 0;
    at = (size_t)(*hash ^ *hash >> 32);
    for (tries = 0; tries < TRIES; tries++) {
        uint64_t *place = set->places + ((at + tries) & set->mask);
        if (*place == 0 || *place == *hash)
            return place;
    }
    return NULL;
}

static int add_name(name_set *set, const uint8_t *name, size_t length)
{
    uint64_t hash = SEED, *place;
    size_t i;
    for (i = 0; i < length; i++)
        hash = add_letter(hash, name[i]);
    place = find_place(set, &hash);
    if (!place || *place)
        return 0;
    *place = hash;
    return 1;
}

/* Whether no directory that the name lies in is in the set. */
static int is_below_none(const name_set *set, const uint8_t *name, size_t length)
{
    uint64_t hash = SEED;
    size_t i;
    for (i = 0; i < length; i++) {
        if (name[i] == '/') {
            uint64_t directory = hash, *place = find_place(set, &directory);
            if (!place || *place)
                return 0;
        }
        hash = add_letter(hash, name[i]);
    }
    return 1;
}

static size_t directory_length(const uint8_t *name, size_t length)
{
    while (length > 0 && name[length - 1] != '/')
        length--;
    return length;
}

/* Whether no name is there twice, or that of a file and of a directory. */
static int names_differ(const uint8_t *directory, size_t size, const name_set *set)
{
    const uint8_t *before = directory;
    size_t at = 0, length, before_length = 0;
    name_set filled = *set;
    while (at < size) {
        const uint8_t *name = archive_name(directory, &at, &length);
        if (!add_name(&filled, name, length))
            return 0;
    }
    for (at = 0; at < size;) {
        const uint8_t *name = archive_name(directory, &at, &length);
        length = directory_length(name, length);
        /* Most lie where the one before lies. */
        if (length != before_length || memcmp(name, before, length) != 0)
            if (!is_below_none(set, name, length))
                return 0;
        before = name;
        before_length = length;
    }
    return 1;
}

static int check_names(const uint8_t *directory, size_t size, size_t count)
{
    name_set set = {NULL, 0};
    size_t room = 64;
    int differ;
    while (room / 2 < count)
        room *= 2;
    set.places = calloc(room, sizeof *set.places);
    set.mask = room - 1;
    if (!set.places)
        return 0;
    differ = names_differ(directory, size, &set);
    free(set.places);
    return differ;
}

int archive_read(const uint8_t *directory, size_t size, uint64_t start, const archive_limits *limits,
                 archive_member *members, size_t count)
{
    uint64_t offset = 0, total = 0, packed = 0;
    size_t at = 0, i;
    if (count > size / ARCHIVE_HEADER)
        return 0;
    for (i = 0; i < count; i++) {
        const uint8_t *header = directory + at;
        size_t length;
        if (size - at < ARCHIVE_HEADER || size - at - ARCHIVE_HEADER < get16(header + 28))
            return 0;
        if (!read_header(header, offset, limits, members + i))
            return 0;
        archive_name(directory, &at, &length);
        if (!is_plain(header + ARCHIVE_HEADER, length))
            return 0;
        offset = members[i].data + members[i].packed;
        total += members[i].size;
        packed += members[i].packed;
    }
    if (at != size || offset != start || (total > limits->total && total > limits->ratio * packed))
        return 0;
    return check_names(directory, size, count);
}

/* Where the local header lies whose directory header this is, and where it ends. */
static uint64_t header_start(const uint8_t *header)
{
    return get32(header + 42);
}

static uint64_t header_end(const uint8_t *header)
{
    return header_start(header) + LOCAL + get16(header + 28);
}

/* How much to read, from the local header of the member at `at` on: those of the next ones, too, where they lie close. */
static size_t read_how_much(const uint8_t *directory, size_t size, size_t at)
{
    const uint64_t begin = header_start(directory + at);
    uint64_t end = header_end(directory + at);
    size_t length;
    for (archive_name(directory, &at, &length); at < size; archive_name(directory, &at, &length)) {
        const uint8_t *next = directory + at;
        if (header_start(next) > end + GAP || header_end(next) > begin + STEP)
            break;
        end = header_end(next);
    }
    return (size_t)(end - begin);
}

/* Whether a local header, whose version nobody asks for, says what the directory says, and has no extra fields. */
static int agrees(const uint8_t *local, const uint8_t *header)
{
    return memcmp(local, "PK\3\4", 4) == 0 && memcmp(local + 6, header + 8, SAID) == 0 && get16(local + 28) == 0 &&
           memcmp(local + LOCAL, header + ARCHIVE_HEADER, get16(header + 28)) == 0;
}

static int check_locals(const uint8_t *directory, size_t size, archive_reader *reader, void *from, uint8_t *buffer)
{
    uint64_t begin = 0, end = 0; /* of what is in the buffer */
    size_t at = 0, length;
    while (at < size) {
        const uint8_t *header = directory + at;
        const uint64_t start = header_start(header);
        if (header_end(header) > end) {
            const size_t much = read_how_much(directory, size, at);
            if (!reader(from, start, buffer, much))
                return 0;
            begin = start;
            end = start + much;
        }
        if (!agrees(buffer + (start - begin), header))
            return 0;
        archive_name(directory, &at, &length);
    }
    return 1;
}

int archive_check(const uint8_t *directory, size_t size, archive_reader *reader, void *from)
{
    uint8_t *buffer = malloc(STEP);
    const int agree = buffer && check_locals(directory, size, reader, from, buffer);
    free(buffer);
    return agree;
}

int archive_read_file(void *file, uint64_t offset, uint8_t *to, size_t size)
{
#ifndef _WIN32
    while (size > 0) {
        const ssize_t got = pread(*(const int *)file, to, size, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return 0;
        to += got;
        offset += (uint64_t)got;
        size -= (size_t)got;
    }
    return 1;
#else
    (void)file, (void)offset, (void)to, (void)size;
    return 0;
#endif
}

/* Whether bytes lie behind the end of those before, or nearly so. */
static int is_close(uint64_t start, uint64_t end)
{
    return start >= end && start - end <= GAP;
}

/* How many pairs to read at once; none if the first is too large. */
static size_t compare_how_many(const archive_pair *pairs, size_t count)
{
    uint64_t one_end = pairs->one, other_end = pairs->other;
    size_t i;
    for (i = 0; i < count; i++) {
        const archive_pair *pair = pairs + i;
        if (!is_close(pair->one, one_end) || !is_close(pair->other, other_end) || pair->size > STEP)
            break;
        one_end = pair->one + pair->size;
        other_end = pair->other + pair->size;
        if (one_end - pairs->one > STEP || other_end - pairs->other > STEP)
            break;
    }
    return i;
}

/* Pairs that are read at once. */
static void compare_some(archive_reader *reader, void *one, void *other, const archive_pair *pairs, size_t count,
                         uint8_t *buffer, uint8_t *same)
{
    const archive_pair *last = pairs + count - 1;
    const int read = reader(one, pairs->one, buffer, (size_t)(last->one + last->size - pairs->one)) &&
                     reader(other, pairs->other, buffer + STEP, (size_t)(last->other + last->size - pairs->other));
    size_t i;
    for (i = 0; i < count; i++)
        same[i] = read && memcmp(buffer + (pairs[i].one - pairs->one), buffer + STEP + (pairs[i].other - pairs->other),
                                 (size_t)pairs[i].size) == 0;
}

/* A pair that is too large to be read at once. */
static int compare_large(archive_reader *reader, void *one, void *other, const archive_pair *pair, uint8_t *buffer)
{
    uint64_t at = 0;
    while (at < pair->size) {
        const size_t much = pair->size - at < STEP ? (size_t)(pair->size - at) : STEP;
        if (!reader(one, pair->one + at, buffer, much) || !reader(other, pair->other + at, buffer + STEP, much) ||
            memcmp(buffer, buffer + STEP, much) != 0)
            return 0;
        at += much;
    }
    return 1;
}

int archive_compare(archive_reader *reader, void *one, void *other, const archive_pair *pairs, size_t count, uint8_t *same)
{
    uint8_t *buffer = malloc(2 * STEP);
    size_t at = 0;
    while (buffer && at < count) {
        const size_t many = compare_how_many(pairs + at, count - at);
        if (many)
            compare_some(reader, one, other, pairs + at, many, buffer, same + at);
        else
            same[at] = (uint8_t)compare_large(reader, one, other, pairs + at, buffer);
        at += many ? many : 1;
    }
    free(buffer);
    return at == count;
}

static int is_base64(char letter)
{
    return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') || (letter >= '0' && letter <= '9') ||
           letter == '-' || letter == '_';
}

/* Digits that fit 64 bits, at least one. */
static int read_number(const char *text, size_t size, size_t *at, uint64_t *number)
{
    const size_t begin = *at;
    *number = 0;
    for (; *at < size && text[*at] >= '0' && text[*at] <= '9'; (*at)++) {
        if (*at - begin == 18)
            return 0;
        *number = *number * 10 + (uint64_t)(text[*at] - '0');
    }
    return *at > begin;
}

static int read_line_end(const char *text, size_t size, size_t *at)
{
    if (*at < size && text[*at] == '\r') {
        if (++*at == size)
            return 0;
    }
    if (*at == size)
        return 1;
    return text[(*at)++] == '\n';
}

int archive_record(const char *text, size_t size, size_t *at, archive_line *line)
{
    static const char sha256[] = "sha256=";
    const size_t begin = *at;
    while (*at < size && text[*at] != ',' && text[*at] != '"' && is_letter((uint8_t)text[*at]))
        ++*at;
    line->path = text + begin;
    line->path_length = *at - begin;
    if (*at == begin || *at == size || text[(*at)++] != ',')
        return 0;
    line->digest = text + *at;
    line->digest_length = 0;
    line->size = 0;
    if (*at < size && text[*at] == ',') {
        ++*at;
        return read_line_end(text, size, at);
    }
    if (size - *at < sizeof sha256 - 1 || memcmp(text + *at, sha256, sizeof sha256 - 1) != 0)
        return 0;
    *at += sizeof sha256 - 1;
    line->digest = text + *at;
    while (*at < size && is_base64(text[*at]))
        ++*at;
    line->digest_length = (size_t)(text + *at - line->digest);
    if (line->digest_length == 0 || *at == size || text[(*at)++] != ',')
        return 0;
    return read_number(text, size, at, &line->size) && read_line_end(text, size, at);
}
