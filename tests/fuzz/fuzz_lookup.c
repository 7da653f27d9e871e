/* The lookup of names under libFuzzer, held against one without a table: whoever misses a name misses it in both; and what
 * else is asked of packed names. The input is cut into files: of each a byte each says how long its imports, codes and exports are; then come its scope and these.
 * See README.md. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lookup.h"

enum { MOST_FILES = 16, HEAD = 4 };

static void require(int condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "broken promise: %s\n", what);
        abort();
    }
}

/* The name number `index`; 0 if there is none. */
static int name_at(packed_bytes packed, size_t index, packed_bytes *name)
{
    size_t i, start = 0;
    for (i = 0; i < packed.size; i++) {
        if (packed.start[i])
            continue;
        name->start = packed.start + start;
        name->size = i - start;
        if (index-- == 0)
            return 1;
        start = i + 1;
    }
    return 0;
}

static int is_among(packed_bytes packed, packed_bytes name)
{
    packed_bytes other;
    size_t i;
    for (i = 0; name_at(packed, i, &other); i++)
        if (other.size == name.size && memcmp(other.start, name.start, name.size) == 0)
            return 1;
    return 0;
}

static int is_missing(const lookup_file *files, size_t count, size_t user, packed_bytes name)
{
    size_t i;
    for (i = 0; i < count; i++)
        if (i / 8 < files[user].scope.size && files[user].scope.start[i / 8] >> i % 8 & 1 && is_among(files[i].exports, name))
            return 0;
    return 1;
}

static int is_told(const lookup *found, const lookup_list *uses, size_t user, packed_bytes name)
{
    const lookup_use *use = uses->items;
    size_t i;
    for (i = 0; i < uses->count; i++) {
        const lookup_name *told = (const lookup_name *)found->names.items + use[i].name;
        if (use[i].file == user && told->size == name.size && memcmp(told->start, name.start, name.size) == 0)
            return 1;
    }
    return 0;
}

static void check_file(const lookup *found, const lookup_file *files, size_t count, size_t user, packed_bytes watched)
{
    const lookup_file *file = files + user;
    packed_bytes name;
    size_t i;
    for (i = 0; i < file->codes.size / 2 && name_at(file->imports, i, &name); i++) {
        uint16_t code;
        memcpy(&code, file->codes.start + 2 * i, sizeof code);
        if (code & 0x8000)
            continue;
        require(is_told(found, &found->watched, user, name) == is_among(watched, name), "watched names are told");
        if (code < file->counted.size && file->counted.start[code])
            require(is_told(found, &found->missing, user, name) == is_missing(files, count, user, name),
                    "missing names are told");
    }
}

static void check_providers(const lookup *found, const lookup_file *files, size_t count)
{
    const lookup_name *names = found->names.items;
    const lookup_provider *providers = found->providers.items;
    size_t i, file;
    for (i = 0; i < found->names.count; i++) {
        packed_bytes name = {names[i].start, names[i].size};
        uint32_t at = names[i].first;
        for (file = 0; file < count; file++) {
            if (!is_among(files[file].exports, name))
                continue;
            require(at && providers[at - 1].file == file, "all providers are told, in order");
            at = providers[at - 1].next;
        }
        require(!at, "no other provider is told");
    }
}

/* Names by how they begin and by their groups are those that name_at has. */
static void check_picked(const lookup_file *file, packed_bytes start)
{
    packed_bytes begun = file->imports, grouped = file->imports, codes = file->codes, name, other;
    size_t i;
    uint8_t group;
    for (i = 0; name_at(file->imports, i, &name); i++) {
        uint16_t code = 0;
        if (start.size <= name.size + 1 && memcmp(start.start, name.start, start.size) == 0)
            require(packed_next_of(&begun, &start, 1, &other) && other.start == name.start, "a beginning is found");
        if (2 * i + 2 > file->codes.size)
            continue;
        memcpy(&code, file->codes.start + 2 * i, sizeof code);
        code &= 0x7FFF;
        if (code < file->counted.size && file->counted.start[code])
            require(packed_next_in(&grouped, &codes, file->counted, &other, &group) && other.start == name.start,
                    "a group is found");
    }
    require(!packed_next_of(&begun, &start, 1, &other), "no other beginning is found");
    require(!packed_next_in(&grouped, &codes, file->counted, &other, &group), "no other name has a group");
}

/* Take bytes off the input: a copy, lest a sanitizer misses who reads beyond them. */
static packed_bytes take(const uint8_t **data, size_t *size, size_t wanted)
{
    packed_bytes taken = {NULL, wanted < *size ? wanted : *size};
    uint8_t *copy = malloc(taken.size);
    if (copy && taken.size)
        memcpy(copy, *data, taken.size);
    taken.start = copy;
    *data += taken.size;
    *size -= taken.size;
    return taken;
}

static void give_back(packed_bytes bytes)
{
    free((void *)(uintptr_t)bytes.start);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t looked_up[] = {1, 0, 1};
    lookup_file files[MOST_FILES];
    packed_bytes watched = take(&data, &size, size ? data[0] % 16 : 0);
    lookup found;
    size_t count = 0, i;
    while (count < MOST_FILES && size >= HEAD) {
        lookup_file *file = files + count++;
        const uint8_t *head = data;
        data += HEAD;
        size -= HEAD;
        file->counted.start = looked_up;
        file->counted.size = head[0] % (sizeof looked_up + 1);
        file->scope = take(&data, &size, head[0] / 64);
        file->imports = take(&data, &size, head[1]);
        file->codes = take(&data, &size, head[2]);
        file->exports = take(&data, &size, head[3]);
    }
    for (i = 0; i < count; i++)
        check_picked(files + i, watched);
    if (lookup_run(&found, files, count, watched) == LOOKUP_OK) {
        for (i = 0; i < count; i++)
            check_file(&found, files, count, i, watched);
        check_providers(&found, files, count);
    }
    lookup_free(&found);
    give_back(watched);
    for (i = 0; i < count; i++) {
        give_back(files[i].scope);
        give_back(files[i].imports);
        give_back(files[i].codes);
        give_back(files[i].exports);
    }
    return 0;
}
