/* Our reader of plain archives under libFuzzer: what it takes for plain must be so, by a reader that is slow and simple.
 * The input ends with an end record, which says where the directory is; without one the middle is taken for it. The same
 * bytes are read as a RECORD, and held against themselves, too. See README.md. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "archive.h"

enum { MOST = 1 << 12, END = 22, LOCAL = 30 };

typedef struct {
    const uint8_t *data;
    size_t size;
} memory;

static void require(int condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "broken promise: %s\n", what);
        abort();
    }
}

static uint32_t number(const uint8_t *at, size_t bytes)
{
    uint32_t value = 0;
    while (bytes-- > 0)
        value = value << 8 | at[bytes];
    return value;
}

static int read_memory(void *from, uint64_t offset, uint8_t *to, size_t size)
{
    const memory *archive = from;
    if (offset > archive->size || size > archive->size - offset)
        return 0;
    memcpy(to, archive->data + offset, size);
    return 1;
}

static int is_name(const uint8_t *name, size_t length)
{
    char text[2 + 0x10000 + 2], *component = text;
    size_t i;
    if (length == 0 || name[0] == '/' || (length > 1 && name[1] == ':'))
        return 0;
    for (i = 0; i < length; i++)
        if (name[i] < ' ' || name[i] > '~' || name[i] == '\\')
            return 0;
    memcpy(text, name, length);
    text[length - (name[length - 1] == '/')] = 0;
    for (;;) {
        char *slash = strchr(component, '/');
        if (slash)
            *slash = 0;
        if (!*component || !strcmp(component, ".") || !strcmp(component, ".."))
            return 0;
        if (!slash)
            return 1;
        component = slash + 1;
    }
}

/* Whether one is the other, or a directory that the other lies in. */
static int clash(const uint8_t *one, size_t length, const uint8_t *other, size_t other_length)
{
    if (length > other_length || memcmp(one, other, length) != 0)
        return 0;
    return length == other_length || other[length] == '/';
}

static void check_member(const memory *archive, const uint8_t *header, const archive_member *member, uint64_t offset)
{
    const size_t length = number(header + 28, 2);
    const uint8_t *local = archive->data + offset;
    require(memcmp(header, "PK\1\2", 4) == 0, "a header");
    require(number(header + 6, 2) <= 63 && (number(header + 8, 2) & ~0x800u) == 0, "its version and flags");
    require(number(header + 30, 2) == 0 && number(header + 32, 2) == 0 && number(header + 34, 2) == 0, "nothing else");
    require(number(header + 42, 4) == offset, "members that touch");
    require(offset + LOCAL + length + member->packed <= archive->size, "members in the archive");
    require(member->data == offset + LOCAL + length, "where its data are");
    require(member->method == number(header + 10, 2) && (member->method == 0 || member->method == 8), "its method");
    require(member->crc == number(header + 16, 4) && member->packed == number(header + 20, 4) &&
                member->size == number(header + 24, 4) && member->attributes == number(header + 38, 4),
            "its numbers");
    require(memcmp(local, "PK\3\4", 4) == 0 && memcmp(local + 6, header + 8, 22) == 0 && number(local + 28, 2) == 0 &&
                memcmp(local + LOCAL, header + ARCHIVE_HEADER, length) == 0,
            "a local header that agrees");
    require(is_name(header + ARCHIVE_HEADER, length), "its name");
}

static void check(const memory *archive, const uint8_t *directory, size_t size, uint64_t start,
                  const archive_member *members, size_t count)
{
    size_t at = 0, i, length, other_length;
    uint64_t offset = 0;
    for (i = 0; i < count; i++) {
        const uint8_t *header = directory + at, *name, *other;
        size_t rest = 0;
        require(size - at >= ARCHIVE_HEADER + number(header + 28, 2), "the directory has all");
        check_member(archive, header, members + i, offset);
        offset = members[i].data + members[i].packed;
        name = archive_name(directory, &at, &length);
        while (rest < size) {
            other = archive_name(directory, &rest, &other_length);
            require(other == name || !clash(name, length, other, other_length), "names that differ");
        }
    }
    require(at == size && offset == start, "all of the directory, and nothing in front of it");
}

static void read_record(const char *text, size_t size)
{
    size_t at = 0;
    archive_line line;
    while (at < size) {
        const size_t begin = at;
        if (!archive_record(text, size, &at, &line))
            break;
        require(at > begin && at <= size, "lines that end");
        require(line.path == text + begin && line.path_length > 0 && line.path_length < at - begin, "a path");
        require(line.digest >= text && line.digest + line.digest_length <= text + at, "a digest");
        require(!memchr(text + begin, '"', at - begin) && !memchr(text + begin, '\n', at - begin - 1), "one line");
        require(!memchr(line.path, ',', line.path_length) && !memchr(line.digest, ',', line.digest_length), "fields");
        require(line.digest_length || line.size == 0, "no size without a digest");
    }
    require(at <= size, "an end");
}

/* The data, held against themselves and against all but their end, in places that they name. */
static void compare(const uint8_t *data, size_t size)
{
    enum { PAIRS = 24, EACH = 7 };
    archive_pair pairs[PAIRS];
    uint8_t same[PAIRS];
    const memory one = {data, size}, other = {data, size - size / 8};
    const size_t count = size / EACH < PAIRS ? size / EACH : PAIRS;
    size_t i;
    for (i = 0; i < count; i++) {
        const uint8_t *at = data + i * EACH;
        const uint64_t far = at[6] & 1 ? UINT64_MAX - 0xffff : 0;
        pairs[i].one = number(at, 2);
        pairs[i].other = (at[6] & 2 ? pairs[i].one : number(at + 2, 2)) + far;
        pairs[i].size = number(at + 4, 2) << (at[6] & 4 ? 2 : 0);
    }
    require(archive_compare(read_memory, (void *)(uintptr_t)&one, (void *)(uintptr_t)&other, pairs, count, same), "memory");
    for (i = 0; i < count; i++) {
        const archive_pair *pair = pairs + i;
        const int there = pair->one <= one.size && pair->size <= one.size - pair->one && pair->other <= other.size &&
                          pair->size <= other.size - pair->other;
        /* What cannot be read may take its neighbours along. */
        if (same[i])
            require(there && memcmp(data + pair->one, data + pair->other, (size_t)pair->size) == 0, "the same bytes");
        else if (count == 1 && there)
            require(memcmp(data + pair->one, data + pair->other, (size_t)pair->size) != 0, "other bytes");
    }
}

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed);

/* Half of the mutations tell the same lie in a header of the directory and in the local one: a byte of a field or a name. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed)
{
    static const char letters[] = "/.\\:aA \x7f\xff";
    size_t places[64], count = 0, at, place, local;
    for (at = 0; at + ARCHIVE_HEADER < size && count < 64; at++)
        if (memcmp(data + at, "PK\1\2", 4) == 0)
            places[count++] = at;
    if (seed % 2 || count == 0)
        return LLVMFuzzerMutate(data, size, room);
    seed /= 2;
    place = places[seed % count];
    seed /= 64;
    local = number(data + place + 42, 4);
    at = seed % (22 + number(data + place + 28, 2) % 64); /* from the flags on; the names begin elsewhere */
    seed /= 256;
    if (local >= size || place + ARCHIVE_HEADER + at >= size || local + LOCAL + at >= size)
        return LLVMFuzzerMutate(data, size, room);
    if (at < 22)
        data[place + 8 + at] = data[local + 6 + at] = (uint8_t)seed;
    else
        data[place + ARCHIVE_HEADER + at - 22] = data[local + LOCAL + at - 22] = (uint8_t)letters[seed % (sizeof letters - 1)];
    return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static archive_member members[MOST];
    const archive_limits limits = {1 << 16, 1 << 20, 200};
    const memory archive = {data, size};
    size_t start, length, count;
    uint8_t *directory;
    read_record((const char *)data, size);
    compare(data, size);
    if (size < END)
        return 0;
    count = number(data + size - 12, 2) % MOST;
    length = number(data + size - 10, 4) % (size - END + 1);
    start = size - END - length;
    directory = malloc(length + 1); /* so that what lies behind it is noticed */
    require(directory != NULL, "memory");
    memcpy(directory, data + start, length);
    if (archive_read(directory, length, start, &limits, members, count) &&
        archive_check(directory, length, read_memory, (void *)(uintptr_t)&archive))
        check(&archive, directory, length, start, members, count);
    free(directory);
    return 0;
}
