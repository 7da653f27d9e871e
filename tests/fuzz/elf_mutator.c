/* A byte flipped somewhere hits code, mostly. Here a known field of a known structure is hit instead: of the ELF header,
 * a program or section header, a dynamic entry, a symbol, a hash table, or the chains of version needs and definitions.
 * It gets a value that such a field of another file might have: nothing, everything, a size, another structure's place.
 *
 * The structures are found as a loader does, as far as the file is whole; what cannot be found is not mutated. */
#include "elf_mutator.h"

#include <string.h>

typedef struct {
    uint8_t *data;
    size_t size;
    int wide, little;
    uint64_t chance;
} elf;

static uint64_t random_below(elf *e, uint64_t limit)
{
    e->chance ^= e->chance << 13;
    e->chance ^= e->chance >> 7;
    e->chance ^= e->chance << 17;
    return limit ? (e->chance >> 11) % limit : 0;
}

static uint64_t get(const elf *e, uint64_t at, unsigned width)
{
    uint64_t value = 0;
    unsigned i;
    if (at > e->size || width > e->size - at)
        return 0;
    for (i = 0; i < width; i++)
        value |= (uint64_t)e->data[at + i] << 8 * (e->little ? i : width - 1 - i);
    return value;
}

static int put(elf *e, uint64_t at, unsigned width, uint64_t value)
{
    unsigned i;
    if (at > e->size || width > e->size - at)
        return 0;
    for (i = 0; i < width; i++)
        e->data[at + i] = (uint8_t)(value >> 8 * (e->little ? i : width - 1 - i));
    return 1;
}

/* Where the program headers are, and how many. */
typedef struct {
    uint64_t start, count;
    unsigned size;
} headers;

static headers program_headers(const elf *e)
{
    headers found;
    found.start = get(e, e->wide ? 32 : 28, e->wide ? 8 : 4);
    found.count = get(e, e->wide ? 56 : 44, 2);
    found.size = e->wide ? 56 : 32;
    return found;
}

static headers section_headers(const elf *e)
{
    headers found;
    found.start = get(e, e->wide ? 40 : 32, e->wide ? 8 : 4);
    found.count = get(e, e->wide ? 60 : 48, 2);
    found.size = e->wide ? 64 : 40;
    return found;
}

static uint64_t offset_of(const elf *e, uint64_t vaddr)
{
    headers all = program_headers(e);
    unsigned word = e->wide ? 8 : 4;
    uint64_t i;
    for (i = 0; i < all.count && i < 64; i++) {
        uint64_t at = all.start + i * all.size;
        uint64_t offset = get(e, at + (e->wide ? 8 : 4), word), start = get(e, at + (e->wide ? 16 : 8), word);
        if (get(e, at, 4) == 1 && vaddr >= start && vaddr - start < get(e, at + (e->wide ? 32 : 16), word))
            return offset + (vaddr - start);
    }
    return 0;
}

/* Where the dynamic segment is; 0 where there is none. */
static uint64_t dynamic_segment(const elf *e, uint64_t *size)
{
    headers all = program_headers(e);
    uint64_t i;
    for (i = 0; i < all.count && i < 64; i++) {
        uint64_t at = all.start + i * all.size;
        if (get(e, at, 4) == 2) {
            *size = get(e, at + (e->wide ? 32 : 16), e->wide ? 8 : 4);
            return get(e, at + (e->wide ? 8 : 4), e->wide ? 8 : 4);
        }
    }
    return 0;
}

/* What the dynamic segment says of a tag; 0 where it is silent. */
static uint64_t dynamic_value(const elf *e, uint64_t tag)
{
    unsigned word = e->wide ? 8 : 4;
    uint64_t size = 0, at = dynamic_segment(e, &size), i;
    for (i = 0; at && i < size / (2 * word) && i < 256; i++)
        if (get(e, at + i * 2 * word, word) == tag)
            return get(e, at + i * 2 * word + word, word);
    return 0;
}

/* A place in the file that means something. */
static uint64_t some_place(elf *e)
{
    static const uint32_t tags[] = {4, 5, 6, 7, 17, 23, 36, 0x6FFFFEF5, 0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFE};
    headers of;
    uint64_t size;
    switch (random_below(e, 5)) {
    case 0: return e->size;
    case 1: return dynamic_segment(e, &size);
    case 2:
        of = program_headers(e);
        return of.start + random_below(e, of.count + 1) * of.size;
    case 3:
        of = section_headers(e);
        return of.start + random_below(e, of.count + 1) * of.size;
    default: return dynamic_value(e, tags[random_below(e, sizeof tags / sizeof *tags)]);
    }
}

static uint64_t some_value(elf *e, uint64_t old)
{
    switch (random_below(e, 12)) {
    case 0: return 0;
    case 1: return ~(uint64_t)0;
    case 2: return old + 1;
    case 3: return old - 1;
    case 4: return (uint64_t)1 << random_below(e, 64);
    case 5: return ((uint64_t)1 << random_below(e, 64)) - 1;
    case 6: return 0 - random_below(e, 64);
    case 7: return random_below(e, 64);
    case 8: return random_below(e, e->size + 1);
    case 9: return old ^ (uint64_t)1 << random_below(e, 32);
    case 10: return old * 2;
    default: return some_place(e) + random_below(e, 3) - 1;
    }
}

/* Give the field of a structure another value. */
static int change(elf *e, uint64_t at, unsigned width)
{
    return put(e, at, width, some_value(e, get(e, at, width)));
}

/* One of the fields of a structure, whose widths are given one after the other. */
static int change_one_of(elf *e, uint64_t at, const char *widths)
{
    uint64_t chosen = random_below(e, strlen(widths)), i;
    for (i = 0; i < chosen; i++)
        at += (uint64_t)(widths[i] - '0');
    return change(e, at, (unsigned)(widths[chosen] - '0'));
}

static int change_header(elf *e)
{
    return change_one_of(e, 16, e->wide ? "2248884222222" : "2244444222222");
}

static int change_program_header(elf *e)
{
    headers all = program_headers(e);
    return change_one_of(e, all.start + random_below(e, all.count) * all.size, e->wide ? "44888888" : "44444444");
}

static int change_section_header(elf *e)
{
    headers all = section_headers(e);
    return all.start ? change_one_of(e, all.start + random_below(e, all.count) * all.size,
                                     e->wide ? "4488884488" : "4444444444")
                     : 0;
}

/* An entry gets another value, another tag, or the value or tag of its neighbour. */
static int change_dynamic(elf *e)
{
    static const uint32_t tags[] = {0,  1,  2,  4,  5,  6,  7,  8,  10, 11, 14, 15,         17,         20,         21,
                                    22, 23, 24, 29, 30, 35, 36, 37, 25, 27, 12, 0x6FFFFEF5, 0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFE};
    unsigned word = e->wide ? 8 : 4;
    uint64_t size = 0, start = dynamic_segment(e, &size);
    uint64_t count = size / (2 * word) < 64 ? size / (2 * word) : 64, at, other;
    if (!start || !count)
        return 0;
    at = start + random_below(e, count) * 2 * word;
    other = start + random_below(e, count) * 2 * word;
    switch (random_below(e, 4)) {
    case 0: return put(e, at, word, tags[random_below(e, sizeof tags / sizeof *tags)]);
    case 1: return put(e, at + word, word, get(e, other + word, word));
    default: return change(e, at + word, word);
    }
}

static int change_symbol(elf *e)
{
    uint64_t table = offset_of(e, dynamic_value(e, 6));
    return table ? change_one_of(e, table + random_below(e, 24) * (e->wide ? 24 : 16), e->wide ? "411288" : "444112") : 0;
}

static int change_version_index(elf *e)
{
    uint64_t table = offset_of(e, dynamic_value(e, 0x6FFFFFF0));
    return table ? change(e, table + random_below(e, 24) * 2, 2) : 0;
}

/* Down the chain of version needs or definitions, some steps, and down that of an entry of it. */
static int change_version(elf *e)
{
    int needs = (int)random_below(e, 2);
    uint64_t at = offset_of(e, dynamic_value(e, needs ? 0x6FFFFFFE : 0x6FFFFFFC)), next, steps;
    if (!at)
        return 0;
    for (steps = random_below(e, 4); steps > 0; steps--, at += next)
        if ((next = get(e, at + (needs ? 12 : 16), 4)) == 0)
            break;
    if (random_below(e, 2))
        return change_one_of(e, at, needs ? "22444" : "2222444");
    at += get(e, at + (needs ? 8 : 12), 4);
    for (steps = random_below(e, 4); steps > 0; steps--, at += next)
        if ((next = get(e, at + (needs ? 12 : 4), 4)) == 0)
            break;
    return change_one_of(e, at, needs ? "42244" : "44");
}

static int change_hash(elf *e)
{
    int gnu = (int)random_below(e, 2);
    uint64_t table = offset_of(e, dynamic_value(e, gnu ? 0x6FFFFEF5 : 4));
    return table ? change(e, table + 4 * random_below(e, random_below(e, 3) ? 4 : 32), 4) : 0;
}

/* Whole structures change places: a program header or dynamic entry is laid over another. */
static int copy_structure(elf *e)
{
    headers all = program_headers(e);
    uint64_t from = all.start + random_below(e, all.count) * all.size;
    uint64_t to = all.start + random_below(e, all.count) * all.size;
    if (from > e->size || to > e->size || all.size > e->size - from || all.size > e->size - to)
        return 0;
    memmove(e->data + to, e->data + from, all.size);
    return 1;
}

static int change_something(elf *e)
{
    switch (random_below(e, 13)) {
    case 0: return change_header(e);
    case 1:
    case 2: return change_program_header(e);
    case 3: return change_section_header(e);
    case 4:
    case 5:
    case 6: return change_dynamic(e);
    case 7: return change_symbol(e);
    case 8: return change_version_index(e);
    case 9:
    case 10: return change_version(e);
    case 11: return change_hash(e);
    default: return copy_structure(e);
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
    elf e;
    int tries = 8, wanted;
    e.chance = seed * 0x9E3779B97F4A7C15u + 1;
    if (size < 64 || memcmp(data, "\177ELF", 4) != 0 || random_below(&e, 3) == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    e.data = data;
    e.size = size;
    e.wide = data[4] == 2;
    e.little = data[5] != 2;
    for (wanted = 1 + (int)random_below(&e, 3); wanted > 0 && tries > 0; tries--)
        wanted -= change_something(&e);
    return tries > 0 ? size : LLVMFuzzerMutate(data, size, max_size);
}
