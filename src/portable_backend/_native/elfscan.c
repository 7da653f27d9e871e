/* See elfscan.h, and ../elfscan.py for the why of everything: the functions here bear the same names. */
#include "elfscan.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ET_EXEC = 2,
    ET_DYN = 3,
    PT_LOAD = 1,
    PT_DYNAMIC = 2,
    PT_INTERP = 3,
    PT_NOTE = 4,
    PF_X = 1,
    EM_386 = 3,
    EM_MIPS = 8,
    EM_PPC = 20,
    EM_PPC64 = 21,
    EM_S390 = 22,
    EM_ARM = 40,
    EM_X86_64 = 62,
    EM_AARCH64 = 183,
    EM_RISCV = 243,
    EM_LOONGARCH = 258,
    EM_ALPHA = 0x9026,
    DF_TEXTREL = 4,
    SHT_DYNSYM = 11,
    SHN_UNDEF = 0,
    STB_GLOBAL = 1,
    STB_WEAK = 2,
    STB_GNU_UNIQUE = 10,
    STT_GNU_IFUNC = 10,
    STV_DEFAULT = 0,
    STV_PROTECTED = 3,
    VER_FLG_BASE = 1,
    VER_NDX_LOCAL = 0,
    VER_NDX_GLOBAL = 1,
    VERSYM_HIDDEN = 0x8000,
    VERSYM_VERSION = 0x7FFF,
    NT_GNU_PROPERTY_TYPE_0 = 5
};
#define PT_GNU_STACK 0x6474E551u
#define PT_GNU_PROPERTY 0x6474E553u
#define GNU_PROPERTY_X86_ISA_1_NEEDED 0xC0008002u

#define DT_NULL 0u
#define DT_NEEDED 1u

#define BUDGET 4
#define ALLOWANCE 65536

enum {
    IDENT_SIZE = 16,
    VERNEED_SIZE = 16,
    VERNAUX_SIZE = 16,
    VERDEF_SIZE = 20,
    VERDAUX_SIZE = 8,
    NOTE_SIZE = 12
};

/* The dynamic entries that matter, each with its place in `file.entries`. */
enum entry_name {
    PLTRELSZ, HASH, STRTAB, SYMTAB, RELA, RELASZ, RELAENT, STRSZ, SYMENT, SONAME, RPATH, REL, RELSZ, RELENT, PLTREL,
    TEXTREL, JMPREL, RUNPATH, FLAGS, RELRSZ, RELR, ANDROID_RELR, ANDROID_RELRSZ, GNU_HASH, VERSYM, VERDEF, VERNEED,
    MIPS_SYMTABNO, ENTRY_NAMES
};
static const uint32_t ENTRY_TAGS[ENTRY_NAMES] = {
    2, 4, 5, 6, 7, 8, 9, 10, 11, 14, 15, 17, 18, 19, 20,
    22, 23, 29, 30, 35, 36, 0x6FFFE000, 0x6FFFE001, 0x6FFFFEF5, 0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFE,
    0x70000011
};
enum { DT_REL = 17, DT_RELA = 7 };

typedef struct {
    int present;
    uint64_t value;
    uint64_t at;
} entry;

typedef struct {
    uint64_t offset;
    uint64_t vaddr;
    uint64_t filesz;
    uint64_t align;
    uint32_t type;
    uint64_t at;
} segment;

/* A range of the file that is known to exist. */
typedef struct {
    uint64_t start;
    uint64_t end;
} table;

typedef struct {
    const elfscan_part *parts; /* in order, apart from each other */
    size_t part_count;
    const elfscan_part *part; /* the one that was read last */
    uint64_t size;            /* of the whole file */
    elfscan_list *missing;    /* elfscan_range; NULL where every byte is there */
    elfpass *pass;            /* tables that pass by; NULL where none do */
    uint64_t left; /* of the budget */
    elfscan_facts *facts;
    elfscan_error *error;
    jmp_buf fail;
    int outcome;

    int wide; /* ELFCLASS64 */
    int little;
    uint64_t phoff, shoff;
    unsigned phentsize, phnum, shentsize, shnum;
    unsigned segment_size, section_size, dynamic_size, symbol_size, rel_size, rela_size;

    elfscan_list loads; /* segment */
    int has_dynamic;
    segment dynamic;
    int has_stack_flags;
    uint32_t stack_flags;
    entry entries[ENTRY_NAMES];
    elfscan_list needed; /* entry */
    int has_entries; /* `entries` are complete */
    table strings;
    const uint8_t *names; /* the bytes of `strings`; NULL where they passed by */
    table symbols;
    const uint8_t *symbol_bytes;
    unsigned last_version; /* 0: no versions at all */
} file;

/* The means: failing, growing, reading, paying, finding, naming. */

/* Of what passed by not all is known, so the scan of the whole file has to tell what is wrong with it. */
static void useless(file *f)
{
    f->outcome = ELFSCAN_USELESS;
    longjmp(f->fail, 1);
}

static void malformed(file *f, uint64_t at, const char *what, const char *problem)
{
    if (f->pass)
        useless(f);
    f->error->offset = at;
    snprintf(f->error->what, sizeof f->error->what, "%s%s", what, problem);
    f->outcome = ELFSCAN_MALFORMED;
    longjmp(f->fail, 1);
}

/* Make room for one more item of `width` bytes and return its address, zeroed. */
static void *push(file *f, elfscan_list *list, size_t width)
{
    if (list->count == list->room) {
        size_t room = list->room ? 2 * list->room : 16;
        void *items = room <= SIZE_MAX / width ? realloc(list->items, room * width) : NULL;
        if (!items) {
            f->outcome = ELFSCAN_NO_MEMORY;
            longjmp(f->fail, 1);
        }
        list->items = items;
        list->room = room;
    }
    return memset((char *)list->items + list->count++ * width, 0, width);
}

static void ask(file *f, uint64_t at, uint64_t size);

/* Some bytes of the file, which is known to be that large; NULL where they are not among the parts. */
static const uint8_t *look(file *f, uint64_t at, uint64_t size)
{
    const elfscan_part *part = f->part;
    size_t low = 0, high = f->part_count;
    if (size == 0)
        return (const uint8_t *)"";
    if (part && at >= part->offset && at - part->offset <= part->size && size <= part->size - (at - part->offset))
        return part->data + (at - part->offset);
    while (low < high) { /* the last part that begins at `at` or before */
        size_t middle = low + (high - low) / 2;
        if (f->parts[middle].offset <= at)
            low = middle + 1;
        else
            high = middle;
    }
    if (low > 0) {
        part = f->parts + low - 1;
        if (at - part->offset <= part->size && size <= part->size - (at - part->offset)) {
            f->part = part;
            return part->data + (at - part->offset);
        }
    }
    return NULL;
}

/* The same; where they are not there, the scan ends and says which are wanted. */
static const uint8_t *peek(file *f, uint64_t at, uint64_t size)
{
    const uint8_t *found = look(f, at, size);
    if (!found)
        ask(f, at, size);
    return found;
}

static uint16_t half_at(const file *f, const uint8_t *p)
{
    return (uint16_t)(f->little ? p[0] | p[1] << 8 : p[1] | p[0] << 8);
}

static uint32_t word_at(const file *f, const uint8_t *p)
{
    return f->little ? p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24
                     : p[3] | (uint32_t)p[2] << 8 | (uint32_t)p[1] << 16 | (uint32_t)p[0] << 24;
}

static uint64_t xword_at(const file *f, const uint8_t *p)
{
    uint64_t first = word_at(f, p), second = word_at(f, p + 4);
    return f->little ? second << 32 | first : first << 32 | second;
}

/* A field that is as wide as the addresses of the class. */
static uint64_t address_at(const file *f, const uint8_t *p)
{
    return f->wide ? xword_at(f, p) : word_at(f, p);
}

static uint16_t half(file *f, uint64_t at)
{
    return half_at(f, peek(f, at, 2));
}

static uint32_t word(file *f, uint64_t at)
{
    return word_at(f, peek(f, at, 4));
}

static uint64_t xword(file *f, uint64_t at)
{
    return xword_at(f, peek(f, at, 8));
}

static uint64_t address(file *f, uint64_t at)
{
    return f->wide ? xword(f, at) : word(f, at);
}

static uint64_t pad(uint64_t size, uint64_t align)
{
    return (size + align - 1) & ~(align - 1);
}

static void spend(file *f, uint64_t amount, uint64_t at)
{
    if (amount > f->left)
        malformed(f, at, "structures refer to the same bytes too often", "");
    f->left -= amount;
}

/* Empty where no segment has the address. */
static table find(const file *f, uint64_t vaddr)
{
    const segment *loads = f->loads.items;
    table found = {0, 0};
    size_t i;
    for (i = f->loads.count; i-- > 0;) {
        if (loads[i].vaddr <= vaddr && vaddr - loads[i].vaddr < loads[i].filesz) {
            found.start = loads[i].offset + (vaddr - loads[i].vaddr);
            found.end = loads[i].offset + loads[i].filesz;
            break;
        }
    }
    return found;
}

static table locate(file *f, uint64_t vaddr, uint64_t at, const char *what)
{
    table found = find(f, vaddr);
    if (found.start == found.end)
        malformed(f, at, what, " is outside of the file");
    return found;
}

static table locate_entry(file *f, const entry *e, uint64_t size, const char *what)
{
    table found = locate(f, e->value, e->at, what);
    if (size > found.end - found.start)
        malformed(f, e->at, what, " is outside of the file");
    spend(f, size, e->at);
    found.end = found.start + size;
    return found;
}

static elfscan_text string(file *f, uint64_t offset, uint64_t at, const char *what)
{
    elfscan_text text = {NULL, 0};
    const uint8_t *stop;
    uint64_t room = f->strings.end - f->strings.start;
    if (offset >= room)
        malformed(f, at, what, " is outside of the dynamic string table");
    if (!f->names) {
        text.start = elfpass_string(f->pass, offset, &text.size);
        if (!text.start)
            useless(f);
        spend(f, text.size + 1, at);
        return text;
    }
    text.start = f->names + offset;
    stop = memchr(text.start, 0, (size_t)(room - offset));
    if (!stop)
        malformed(f, at, what, " has no end in the dynamic string table");
    text.size = (size_t)(stop - text.start);
    spend(f, text.size + 1, at);
    return text;
}

static elfscan_text entry_string(file *f, enum entry_name name, const char *what)
{
    elfscan_text none = {NULL, 0};
    const entry *e = &f->entries[name];
    return e->present ? string(f, e->value, e->at, what) : none;
}

/* The ELF header. */

static void read_header(file *f)
{
    const uint8_t *head;
    int wide;
    if (f->size < 4 || memcmp(peek(f, 0, 4), "\177ELF", 4) != 0)
        malformed(f, 0, "not an ELF file", "");
    if (f->size < IDENT_SIZE)
        malformed(f, 0, "ELF header is cut off", "");
    head = peek(f, 0, IDENT_SIZE);
    if (head[4] != 1 && head[4] != 2)
        malformed(f, 4, "unknown ELF class", "");
    if (head[5] != 1 && head[5] != 2)
        malformed(f, 5, "unknown byte order", "");
    if (head[6] != 1)
        malformed(f, 6, "unknown ELF version", "");
    f->wide = head[4] == 2;
    f->little = head[5] == 1;
    wide = f->wide;
    if (f->size < (wide ? 64u : 52u))
        malformed(f, 0, "ELF header is cut off", "");
    f->facts->bits = wide ? 64 : 32;
    f->facts->little = f->little;
    f->facts->type = half(f, 16);
    f->facts->machine = half(f, 18);
    if (word(f, 20) != 1)
        malformed(f, 20, "unknown ELF version", "");
    f->phoff = address(f, wide ? 32 : 28);
    f->shoff = address(f, wide ? 40 : 32);
    f->facts->flags = word(f, wide ? 48 : 36);
    f->phentsize = half(f, wide ? 54 : 42);
    f->phnum = half(f, wide ? 56 : 44);
    f->shentsize = half(f, wide ? 58 : 46);
    f->shnum = half(f, wide ? 60 : 48);
    f->segment_size = wide ? 56 : 32;
    f->section_size = wide ? 64 : 40;
    f->dynamic_size = wide ? 16 : 8;
    f->symbol_size = wide ? 24 : 16;
    f->rel_size = wide ? 16 : 8;
    f->rela_size = wide ? 24 : 12;
}

/* Program headers. */

static void read_properties(file *f, uint64_t position, uint64_t end)
{
    while (position <= end && end - position >= 8) {
        uint32_t kind = word(f, position), size = word(f, position + 4);
        position += 8;
        if (size > end - position)
            return;
        if (kind == GNU_PROPERTY_X86_ISA_1_NEEDED && size == 4)
            f->facts->isa_needed |= word(f, position);
        position += pad(size, f->wide ? 8 : 4);
    }
}

static void read_notes(file *f, const segment *s)
{
    uint64_t align = s->align == 8 ? 8 : 4;
    uint64_t position = s->offset, end = s->offset + s->filesz;
    spend(f, s->filesz, s->at);
    peek(f, position, s->filesz);
    while (position <= end && end - position >= NOTE_SIZE) {
        uint32_t namesz = word(f, position), descsz = word(f, position + 4), kind = word(f, position + 8);
        uint64_t desc = position + pad((uint64_t)NOTE_SIZE + namesz, align);
        if (desc > end || descsz > end - desc)
            return;
        if (kind == NT_GNU_PROPERTY_TYPE_0 && namesz == 4 && memcmp(peek(f, position + 12, 4), "GNU", 4) == 0)
            read_properties(f, desc, desc + descsz);
        position = desc + pad(descsz, align);
    }
}

static void check_segment(file *f, const segment *s, const char *what)
{
    if (s->offset > f->size || s->filesz > f->size - s->offset)
        malformed(f, s->at, what, " is outside of the file");
}

static void read_interpreter(file *f, const segment *s)
{
    const uint8_t *start, *stop;
    check_segment(f, s, "interpreter name");
    start = peek(f, s->offset, s->filesz);
    stop = memchr(start, 0, (size_t)s->filesz);
    if (!stop)
        malformed(f, s->at, "interpreter name has no end", "");
    f->facts->interpreter.start = start;
    f->facts->interpreter.size = (size_t)(stop - start);
}

static void read_segment(file *f, const segment *s)
{
    unsigned machine = f->facts->machine;
    if (s->type == PT_GNU_STACK) {
        f->has_stack_flags = 1;
        f->stack_flags = word(f, s->at + (f->wide ? 4 : 24));
    } else if (s->filesz == 0) {
        return;
    } else if (s->type == PT_LOAD) {
        check_segment(f, s, "load segment");
        *(segment *)push(f, &f->loads, sizeof *s) = *s;
    } else if (s->type == PT_DYNAMIC) {
        f->has_dynamic = 1;
        f->dynamic = *s;
    } else if (s->type == PT_INTERP && !f->facts->interpreter.start) {
        read_interpreter(f, s);
    } else if ((s->type == PT_NOTE || s->type == PT_GNU_PROPERTY) && (machine == EM_386 || machine == EM_X86_64)) {
        check_segment(f, s, "note segment");
        read_notes(f, s);
    }
}

static void read_segments(file *f)
{
    uint64_t length = (uint64_t)f->phnum * f->segment_size;
    unsigned i;
    if (f->phnum == 0)
        return;
    if (f->phentsize != f->segment_size)
        malformed(f, 0, "program headers have the wrong size", "");
    if (f->phoff > f->size || length > f->size - f->phoff)
        malformed(f, 0, "program header table is outside of the file", "");
    peek(f, f->phoff, length);
    for (i = 0; i < f->phnum; i++) {
        segment s;
        s.at = f->phoff + (uint64_t)i * f->segment_size;
        s.type = word(f, s.at);
        s.offset = address(f, s.at + (f->wide ? 8 : 4));
        s.vaddr = address(f, s.at + (f->wide ? 16 : 8));
        s.filesz = address(f, s.at + (f->wide ? 32 : 16));
        s.align = address(f, s.at + (f->wide ? 48 : 28));
        read_segment(f, &s);
    }
}

/* The dynamic segment. */

static void keep_entry(file *f, uint64_t tag, uint64_t value, uint64_t at)
{
    entry found;
    int i;
    found.present = 1;
    found.value = value;
    found.at = at;
    if (tag == DT_NEEDED) {
        *(entry *)push(f, &f->needed, sizeof found) = found;
        return;
    }
    for (i = 0; i < ENTRY_NAMES; i++)
        if (ENTRY_TAGS[i] == tag)
            f->entries[i] = found;
}

/* Whether this very table passes by, which then it has to have done. */
static int passes(file *f, table found, int kind)
{
    const elfpass *pass = f->pass;
    uint64_t start = 0, end = 0, at = 0;
    if (!pass || found.start == found.end)
        return 0;
    if (kind == ELFSCAN_SYMBOLS) {
        start = pass->symbols_start;
        end = found.start == start ? found.end : 0; /* it may be smaller than was thought */
        at = pass->symbols_at;
    } else if (kind == ELFSCAN_STRINGS) {
        start = pass->strings_start;
        end = pass->strings_end;
        at = pass->strings_at;
    }
    if (start != found.start || end != found.end)
        return 0;
    if (at < end)
        ask(f, found.start, found.end - found.start);
    return 1;
}

static void find_strings(file *f)
{
    const entry *start = &f->entries[STRTAB], *size = &f->entries[STRSZ];
    if (!start->present)
        return;
    if (!size->present)
        malformed(f, start->at, "dynamic string table has no size", "");
    f->strings = locate_entry(f, start, size->value, "dynamic string table");
    if (!passes(f, f->strings, ELFSCAN_STRINGS))
        f->names = peek(f, f->strings.start, size->value);
}

static void read_dynamic(file *f)
{
    table found = locate(f, f->dynamic.vaddr, f->dynamic.at, "dynamic segment");
    uint64_t at;
    for (at = found.start; found.end - at >= f->dynamic_size; at += f->dynamic_size) {
        uint64_t tag = address(f, at);
        spend(f, f->dynamic_size, at);
        if (tag == DT_NULL)
            break;
        keep_entry(f, tag, address(f, at + f->dynamic_size / 2), at);
    }
    f->has_entries = 1;
    find_strings(f);
}

static int has_relr(const file *f)
{
    const entry *e = f->entries;
    return (e[RELR].present && e[RELRSZ].present && e[RELRSZ].value > 0) ||
           (e[ANDROID_RELR].present && e[ANDROID_RELRSZ].present && e[ANDROID_RELRSZ].value > 0);
}

/* Versions. */

static void keep_version(file *f, unsigned index, elfscan_text version, size_t need)
{
    elfscan_list *slots = &f->facts->slots;
    elfscan_slot *slot;
    index &= VERSYM_VERSION;
    while (slots->count <= index)
        push(f, slots, sizeof(elfscan_slot));
    slot = (elfscan_slot *)slots->items + index;
    slot->version = version;
    slot->need = need;
    if (index > f->last_version)
        f->last_version = index;
}

/* Returns the first byte behind the versions. */
static uint64_t read_needed_versions(file *f, elfscan_need *need, uint64_t source, uint64_t at, uint64_t end)
{
    for (;;) {
        elfscan_text *name;
        uint32_t step;
        if (at > end || end - at < VERNAUX_SIZE)
            malformed(f, source, "needed version is outside of the file", "");
        step = word(f, at + 12);
        spend(f, VERNAUX_SIZE, at);
        name = push(f, &f->facts->needed_versions, sizeof *name);
        *name = string(f, word(f, at + 8), at, "name of a needed version");
        need->count++;
        keep_version(f, half(f, at + 6), *name, f->facts->needs.count);
        if (step == 0)
            return at + VERNAUX_SIZE;
        if (step < VERNAUX_SIZE)
            malformed(f, at, "needed versions overlap", "");
        source = at;
        at += step;
    }
}

static void read_version_needs(file *f)
{
    const entry *e = &f->entries[VERNEED];
    uint64_t at, end, free_from, source = e->at;
    table found;
    if (!e->present)
        return;
    found = locate(f, e->value, e->at, "version need");
    at = free_from = found.start;
    end = found.end;
    for (;;) {
        elfscan_need *need;
        uint32_t aux, step;
        if (at > end || end - at < VERNEED_SIZE)
            malformed(f, source, "version need is outside of the file", "");
        aux = word(f, at + 8);
        step = word(f, at + 12);
        spend(f, VERNEED_SIZE, at);
        if (half(f, at) != 1)
            malformed(f, at, "version need has an unknown format", "");
        need = push(f, &f->facts->needs, sizeof *need);
        need->first = f->facts->needed_versions.count;
        need->library = string(f, word(f, at + 4), at, "library name of a version need");
        if (aux < VERNEED_SIZE || at + aux < free_from)
            malformed(f, at, "version needs overlap", "");
        free_from = read_needed_versions(f, need, at, at + aux, end);
        if (step == 0)
            return;
        if (step < VERNEED_SIZE)
            malformed(f, at, "version needs overlap", "");
        source = at;
        at += step;
    }
}

static void read_version_definitions(file *f)
{
    const entry *e = &f->entries[VERDEF];
    uint64_t at, end, source = e->at;
    table found;
    if (!e->present)
        return;
    found = locate(f, e->value, e->at, "version definition");
    at = found.start;
    end = found.end;
    for (;;) {
        elfscan_text name;
        uint32_t aux, step;
        if (at > end || end - at < VERDEF_SIZE)
            malformed(f, source, "version definition is outside of the file", "");
        aux = word(f, at + 12);
        step = word(f, at + 16);
        spend(f, VERDEF_SIZE + VERDAUX_SIZE, at);
        if (half(f, at) != 1)
            malformed(f, at, "version definition has an unknown format", "");
        if (end - at < (uint64_t)VERDAUX_SIZE + aux)
            malformed(f, at, "name of a version definition is outside of the file", "");
        name = string(f, word(f, at + aux), at, "name of a version definition");
        keep_version(f, half(f, at + 4), name, 0);
        if (!(half(f, at + 2) & VER_FLG_BASE))
            *(elfscan_text *)push(f, &f->facts->definitions, sizeof name) = name;
        if (step == 0)
            return;
        if (step < VERDEF_SIZE)
            malformed(f, at, "version definitions overlap", "");
        source = at;
        at += step;
    }
}

/* How many symbols? */

static uint64_t count_by_hash(file *f)
{
    const entry *e = &f->entries[HASH];
    unsigned machine = f->facts->machine;
    int wide = f->wide && (machine == EM_S390 || machine == EM_ALPHA);
    unsigned width = wide ? 8 : 4;
    uint64_t room;
    table found;
    if (!e->present)
        return 0;
    found = locate(f, e->value, e->at, "symbol hash table");
    room = (found.end - found.start) / width;
    if (room >= 2) {
        uint64_t buckets = wide ? xword(f, found.start) : word(f, found.start);
        uint64_t symbols = wide ? xword(f, found.start + width) : word(f, found.start + width);
        if (buckets <= room - 2 && symbols <= room - 2 - buckets)
            return symbols;
    }
    if (wide && f->entries[GNU_HASH].present)
        return 0;
    malformed(f, e->at, "symbol hash table is outside of the file", "");
    return 0;
}

/* The same of a table that passed by, the end of which was guessed. */
static uint64_t count_by_passed_hash(file *f, table found)
{
    const elfpass_hash *hash = &f->pass->hash;
    uint64_t header = 16 + hash->bloom * (f->wide ? 8 : 4), chains = header + 4 * hash->buckets;
    if (hash->at < hash->end)
        ask(f, hash->start, hash->end - hash->start);
    if (chains > hash->end - hash->start)
        useless(f);
    spend(f, chains, found.start);
    if (hash->highest == 0)
        return hash->first;
    if (!hash->count)
        useless(f);
    return hash->count;
}

static uint64_t count_by_gnu_hash(file *f)
{
    const entry *e = &f->entries[GNU_HASH];
    uint64_t at, buckets_at, chains, first, highest = 0;
    const uint8_t *bucket, *bucket_end;
    table found;
    if (!e->present)
        return 0;
    found = locate(f, e->value, e->at, "GNU hash table");
    if (found.end - found.start < 16)
        malformed(f, e->at, "GNU hash table is outside of the file", "");
    if (f->pass && f->pass->hash.end && f->pass->hash.start == found.start)
        return count_by_passed_hash(f, found);
    first = word(f, found.start + 4);
    buckets_at = found.start + 16 + (uint64_t)word(f, found.start + 8) * (f->wide ? 8 : 4);
    chains = buckets_at + (uint64_t)word(f, found.start) * 4;
    if (chains > found.end)
        malformed(f, e->at, "GNU hash table is outside of the file", "");
    spend(f, chains - found.start, e->at);
    bucket = peek(f, buckets_at, chains - buckets_at);
    for (bucket_end = bucket + (chains - buckets_at); bucket < bucket_end; bucket += 4)
        if (word_at(f, bucket) > highest)
            highest = word_at(f, bucket);
    if (highest == 0)
        return first;
    if (highest < first)
        malformed(f, e->at, "GNU hash table refers to a symbol that it does not cover", "");
    for (at = chains + 4 * (highest - first); at <= found.end && found.end - at >= 4; at += 4) {
        highest++;
        if (word(f, at) & 1)
            return highest;
    }
    malformed(f, e->at, "GNU hash table has no end", "");
    return 0;
}

/* Where glibc gives a file without PT_GNU_STACK an executable stack (DEFAULT_STACK_PERMS in its stackinfo.h). */
static int executable_by_default(unsigned machine)
{
    return machine == EM_386 || machine == EM_PPC || machine == EM_S390 || machine == EM_ARM || machine == EM_X86_64;
}

uint64_t elfscan_irelative(unsigned machine)
{
    switch (machine) {
    case EM_386: return 42;
    case EM_PPC:
    case EM_PPC64: return 248;
    case EM_S390: return 61;
    case EM_ARM: return 160;
    case EM_X86_64: return 37;
    case EM_AARCH64: return 1032;
    case EM_RISCV: return 58;
    case EM_LOONGARCH: return 12;
    default: return UINT64_MAX;
    }
}

/* What was seen of this very table while it passed by; NULL if it did not. */
static const elfpass_relocations *passed_relocations(file *f, table found, unsigned width)
{
    size_t i;
    for (i = 0; f->pass && i < f->pass->relocation_count; i++) {
        const elfpass_relocations *each = f->pass->relocations + i;
        if (each->start == found.start && each->end == found.end && each->width == width) {
            if (each->at < found.end)
                ask(f, found.start, found.end - found.start);
            return each;
        }
    }
    return NULL;
}

static uint64_t count_by_relocations(file *f, const entry *e, uint64_t size, unsigned width)
{
    table found = locate_entry(f, e, size, "relocation table");
    const elfpass_relocations *passed = passed_relocations(f, found, width);
    unsigned shift = f->wide ? 32 : 8;
    uint64_t highest = 0, kind = elfscan_irelative(f->facts->machine), mask = ((uint64_t)1 << shift) - 1;
    const uint8_t *record, *end;
    if (passed) {
        f->facts->ifunc |= passed->indirect;
        return 1 + (passed->highest >> shift);
    }
    record = peek(f, found.start, size);
    end = record + (size - size % width);
    for (; record < end; record += width) {
        uint64_t info = address_at(f, record + (f->wide ? 8 : 4));
        if (info > highest)
            highest = info;
        if ((info & mask) == kind)
            f->facts->ifunc = 1;
    }
    return 1 + (highest >> shift);
}

static uint64_t count_by_relocation_table(file *f, enum entry_name start, enum entry_name size, enum entry_name width,
                                          unsigned natural)
{
    const entry *e = f->entries;
    if (!e[start].present || !e[size].present || e[size].value == 0)
        return 0;
    if (e[width].present && e[width].value != natural)
        malformed(f, e[width].at, "relocations have the wrong size", "");
    return count_by_relocations(f, &e[start], e[size].value, natural);
}

static uint64_t count_by_plt(file *f)
{
    const entry *e = f->entries;
    unsigned width;
    if (!e[JMPREL].present || !e[PLTRELSZ].present || e[PLTRELSZ].value == 0)
        return 0;
    if (!e[PLTREL].present || (e[PLTREL].value != DT_REL && e[PLTREL].value != DT_RELA))
        malformed(f, e[PLTREL].present ? e[PLTREL].at : e[JMPREL].at,
                  "relocations of the procedure linkage table are of no known kind", "");
    width = e[PLTREL].value == DT_RELA ? f->rela_size : f->rel_size;
    return count_by_relocations(f, &e[JMPREL], e[PLTRELSZ].value, width);
}

static uint64_t count_by_section(file *f, uint64_t vaddr, uint64_t room)
{
    uint64_t length = (uint64_t)f->shnum * f->section_size, count = 0;
    unsigned i;
    if (f->shentsize != f->section_size || f->shoff > f->size || length > f->size - f->shoff)
        return 0;
    spend(f, length, 0);
    peek(f, f->shoff, length);
    for (i = 0; i < f->shnum; i++) {
        uint64_t at = f->shoff + (uint64_t)i * f->section_size;
        uint64_t claim = address(f, at + (f->wide ? 32 : 20)) / f->symbol_size;
        if (word(f, at + 4) == SHT_DYNSYM && address(f, at + (f->wide ? 16 : 12)) == vaddr &&
            address(f, at + (f->wide ? 56 : 36)) == f->symbol_size && claim <= room && claim > count)
            count = claim;
    }
    return count;
}

static uint64_t max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t count_symbols(file *f)
{
    const entry *e = &f->entries[SYMTAB], *width = &f->entries[SYMENT], *mips = &f->entries[MIPS_SYMTABNO];
    uint64_t count, room;
    table found;
    count = count_by_hash(f);
    count = max(count, count_by_gnu_hash(f));
    if (f->facts->machine == EM_MIPS) {
        count = max(count, mips->present ? mips->value : 0);
    } else {
        count = max(count, count_by_relocation_table(f, REL, RELSZ, RELENT, f->rel_size));
        count = max(count, count_by_relocation_table(f, RELA, RELASZ, RELAENT, f->rela_size));
        count = max(count, count_by_plt(f));
    }
    if (!e->present) {
        if (count > 1)
            malformed(f, f->dynamic.at, "dynamic symbol table is missing", "");
        return 0;
    }
    if (width->present && width->value != f->symbol_size)
        malformed(f, width->at, "dynamic symbols have the wrong size", "");
    found = locate(f, e->value, e->at, "dynamic symbol table");
    room = (found.end - found.start) / f->symbol_size;
    count = max(count, count_by_section(f, e->value, room));
    if (count > room)
        malformed(f, e->at, "dynamic symbol table is outside of the file", "");
    f->symbols = locate_entry(f, e, count * f->symbol_size, "dynamic symbol table");
    if (!f->pass || !passes(f, f->symbols, ELFSCAN_SYMBOLS))
        f->symbol_bytes = peek(f, f->symbols.start, count * f->symbol_size);
    else if (f->names || !f->pass->digests || count > f->pass->count)
        useless(f);
    return count;
}

/* Symbols. */

/* Check a version index, and make it 0 where it means unversioned. */
static uint16_t version(file *f, unsigned versym, uint64_t at)
{
    const elfscan_slot *slots = f->facts->slots.items;
    unsigned index = versym & VERSYM_VERSION;
    if (index == VER_NDX_LOCAL || index == VER_NDX_GLOBAL)
        return 0;
    if (index > f->last_version)
        malformed(f, at, "dynamic symbol has an unknown version", "");
    return slots[index].version.start ? (uint16_t)index : 0;
}

static void read_symbol(file *f, uint64_t index, unsigned versym)
{
    const uint8_t *bytes = f->symbol_bytes + index * f->symbol_size;
    uint64_t at = f->symbols.start + index * f->symbol_size;
    uint32_t name = word_at(f, bytes);
    unsigned info = bytes[f->wide ? 4 : 12], other = bytes[f->wide ? 5 : 13];
    unsigned section = half_at(f, bytes + (f->wide ? 6 : 14)), binding = info >> 4, visibility = other & 3;
    elfscan_text text;
    elfscan_symbol symbol = {{NULL, 0}, 0, 0};
    if (section != SHN_UNDEF && (info & 0xF) == STT_GNU_IFUNC)
        f->facts->ifunc = 1;
    if (name == 0 || (binding != STB_GLOBAL && binding != STB_WEAK && binding != STB_GNU_UNIQUE))
        return;
    text = string(f, name, at, "name of a dynamic symbol");
    if (text.size == 0)
        return;
    symbol.name = text;
    if (section == SHN_UNDEF) {
        symbol.version = version(f, versym, at);
        symbol.flag = binding == STB_WEAK;
        *(elfscan_symbol *)push(f, &f->facts->imports, sizeof symbol) = symbol;
    } else if ((visibility == STV_DEFAULT || visibility == STV_PROTECTED) &&
               (versym & VERSYM_VERSION) != VER_NDX_LOCAL) {
        symbol.version = version(f, versym, at);
        symbol.flag = !(versym & VERSYM_HIDDEN);
        *(elfscan_symbol *)push(f, &f->facts->exports, sizeof symbol) = symbol;
    }
}

/* A symbol whose name has passed by; `exports` is how many have been found. The digests of these are moved together. */
static void read_passed_symbol(file *f, uint64_t index, unsigned versym, size_t *exports)
{
    uint64_t at = f->symbols.start + index * f->symbol_size;
    unsigned kind = f->pass->kinds[index];
    elfscan_symbol symbol = {{NULL, 0}, 0, 0};
    if (kind & ELFPASS_INDIRECT)
        f->facts->ifunc = 1;
    if (!(kind & ELFPASS_NAMED))
        return;
    if (kind & (ELFPASS_UNDEFINED | ELFPASS_KEPT)) {
        symbol.name.start = elfpass_string(f->pass, f->pass->names[index], &symbol.name.size);
        if (!symbol.name.start)
            useless(f);
    }
    if (kind & ELFPASS_UNDEFINED) {
        symbol.version = version(f, versym, at);
        symbol.flag = (kind & ELFPASS_WEAK) != 0;
        *(elfscan_symbol *)push(f, &f->facts->imports, sizeof symbol) = symbol;
    } else if ((kind & ELFPASS_VISIBLE) && (versym & VERSYM_VERSION) != VER_NDX_LOCAL) {
        symbol.version = version(f, versym, at);
        symbol.flag = !(versym & VERSYM_HIDDEN);
        if (kind & ELFPASS_KEPT)
            *(elfscan_symbol *)push(f, &f->facts->exports, sizeof symbol) = symbol;
        *(uint16_t *)push(f, &f->facts->codes, sizeof(uint16_t)) =
            (uint16_t)(symbol.version | (symbol.flag ? 0x8000u : 0));
        f->pass->digests[(*exports)++] = f->pass->digests[index];
    }
}

static void read_passed_symbols(file *f, uint64_t count, const uint8_t *versyms)
{
    size_t exports = 0;
    uint64_t i;
    spend(f, f->pass->names_size, f->symbols.start);
    for (i = 1; i < count; i++)
        read_passed_symbol(f, i, versyms ? half_at(f, versyms + 2 * i) : (unsigned)VER_NDX_GLOBAL, &exports);
    elfpass_forget(f->pass);
    f->facts->passed = 1;
    f->facts->digests = f->pass->digests;
}

static void read_symbols(file *f, uint64_t count)
{
    const entry *e = &f->entries[VERSYM];
    int versioned = e->present && f->facts->slots.count > 0 && count > 1;
    const uint8_t *versyms = NULL;
    uint64_t i;
    if (versioned)
        versyms = peek(f, locate_entry(f, e, 2 * count, "symbol version table").start, 2 * count);
    if (count > 1 && !f->symbol_bytes) {
        read_passed_symbols(f, count, versyms);
        return;
    }
    for (i = 1; i < count; i++)
        read_symbol(f, i, versyms ? half_at(f, versyms + 2 * i) : (unsigned)VER_NDX_GLOBAL);
}

static void read_dynamic_facts(file *f)
{
    const entry *needed = f->needed.items;
    size_t i;
    for (i = 0; i < f->needed.count; i++) {
        elfscan_text *name = push(f, &f->facts->needed, sizeof *name);
        *name = string(f, needed[i].value, needed[i].at, "needed library name");
    }
    f->facts->soname = entry_string(f, SONAME, "soname");
    f->facts->rpath = entry_string(f, RPATH, "rpath");
    f->facts->runpath = entry_string(f, RUNPATH, "runpath");
    read_version_needs(f);
    read_version_definitions(f);
    read_symbols(f, count_symbols(f));
}

static void read_file(file *f)
{
    elfscan_facts *facts = f->facts;
    int loadable;
    read_header(f);
    loadable = facts->type == ET_EXEC || facts->type == ET_DYN;
    if (loadable)
        read_segments(f);
    if (f->has_dynamic) {
        read_dynamic(f);
        read_dynamic_facts(f);
    }
    facts->dynamic = f->has_dynamic;
    facts->executable_stack =
        loadable && (f->has_stack_flags ? (f->stack_flags & PF_X) != 0 : executable_by_default(facts->machine));
    facts->text_relocations =
        f->entries[TEXTREL].present || (f->entries[FLAGS].present && (f->entries[FLAGS].value & DF_TEXTREL));
    facts->relr = has_relr(f);
}

/* Which bytes are wanted. */

/* Of what has no size of its own, this much is asked for at once, and at most that much because the next table is far. */
#define LEAST_WANTED 65536u
#define MOST_GUESSED (4u << 20)

static void want(file *f, uint64_t at, uint64_t size, int kind)
{
    elfscan_range *range;
    if (at >= f->size || size == 0)
        return;
    if (size > f->size - at)
        size = f->size - at;
    if (f->pass && elfpass_has(f->pass, at, at + size))
        return;
    range = push(f, f->missing, sizeof *range);
    range->start = at;
    range->end = at + size;
    range->kind = kind;
}

/* What the program headers lead to, and the section headers. */
static void want_segments(file *f)
{
    const elfscan_part *first = f->parts;
    uint64_t length = (uint64_t)f->phnum * f->segment_size;
    unsigned i;
    if (f->shentsize == f->section_size)
        want(f, f->shoff, (uint64_t)f->shnum * f->section_size, ELFSCAN_PLAIN);
    if (f->phentsize != f->segment_size || f->phoff > first->size || length > first->size - f->phoff)
        return; /* not there yet, or not at all */
    for (i = 0; i < f->phnum; i++) {
        const uint8_t *header = first->data + f->phoff + (uint64_t)i * f->segment_size;
        uint32_t type = word_at(f, header);
        uint64_t size = address_at(f, header + (f->wide ? 32 : 16));
        if (type == PT_DYNAMIC || type == PT_INTERP || type == PT_NOTE || type == PT_GNU_PROPERTY)
            want(f, address_at(f, header + (f->wide ? 8 : 4)), size < LEAST_WANTED ? size : LEAST_WANTED,
                 ELFSCAN_PLAIN);
    }
}

/* How large the symbol table is by the section headers, if these are there: a guess, since loaders do not look at them. */
static uint64_t guess_symbols(file *f, uint64_t room)
{
    uint64_t length = (uint64_t)f->shnum * f->section_size, vaddr = f->entries[SYMTAB].value;
    const uint8_t *header = NULL;
    unsigned i;
    if (f->shentsize == f->section_size && f->shoff <= f->size && length <= f->size - f->shoff)
        header = look(f, f->shoff, length);
    for (i = 0; header && i < f->shnum; i++, header += f->section_size) {
        uint64_t size = address_at(f, header + (f->wide ? 32 : 20));
        if (word_at(f, header + 4) == SHT_DYNSYM && address_at(f, header + (f->wide ? 16 : 12)) == vaddr && size <= room)
            return size;
    }
    return 0;
}

static int kind_of(const file *f, enum entry_name name)
{
    if (name == JMPREL)
        return f->entries[PLTREL].value == DT_RELA ? ELFSCAN_RELA : ELFSCAN_REL;
    return name == STRTAB ? ELFSCAN_STRINGS : name == RELA ? ELFSCAN_RELA : ELFSCAN_REL;
}

/* The tables that the dynamic segment names. Those without a size are taken to reach to the next one. */
static void want_tables(file *f)
{
    static const enum entry_name sized[4][2] = {{STRTAB, STRSZ}, {REL, RELSZ}, {RELA, RELASZ}, {JMPREL, PLTRELSZ}};
    static const enum entry_name starts[10] = {STRTAB, REL, RELA, JMPREL, HASH, GNU_HASH, SYMTAB, VERSYM, VERNEED, VERDEF};
    const entry *e = f->entries;
    size_t i, j;
    for (i = 0; i < 4; i++) {
        table found = find(f, e[sized[i][0]].present ? e[sized[i][0]].value : 0);
        uint64_t size = e[sized[i][1]].value;
        if (e[sized[i][0]].present && e[sized[i][1]].present && size <= found.end - found.start)
            want(f, found.start, size, kind_of(f, sized[i][0]));
    }
    for (i = 4; i < 10; i++) {
        uint64_t guess = MOST_GUESSED;
        table found = find(f, e[starts[i]].present ? e[starts[i]].value : 0);
        uint64_t size = found.end - found.start;
        if (!e[starts[i]].present)
            continue;
        for (j = 0; j < 10; j++) {
            uint64_t other = e[starts[j]].present ? find(f, e[starts[j]].value).start : 0;
            if (other > found.start && other - found.start < size)
                size = other - found.start;
        }
        if (starts[i] == SYMTAB && guess_symbols(f, size) > guess)
            guess = guess_symbols(f, size);
        if (starts[i] == HASH)
            guess = 16; /* two words, which may be wide */
        if (starts[i] == GNU_HASH)
            guess = 4 * MOST_GUESSED; /* it may pass by, and if it does, it has to do so whole */
        want(f, found.start, size < guess ? size : guess,
             starts[i] == SYMTAB     ? ELFSCAN_SYMBOLS
             : starts[i] == GNU_HASH ? ELFSCAN_HASH
                                     : ELFSCAN_PLAIN);
    }
}

/* These bytes are not there: end the scan with all that is likely to be wanted. */
static void ask(file *f, uint64_t at, uint64_t size)
{
    if (!f->missing || at > f->size || size > f->size - at)
        malformed(f, 0, "structures are outside of the file", ""); /* cannot be: every range was compared with it */
    if (f->pass && elfpass_is_done(f->pass) && elfpass_has(f->pass, at, at + size))
        useless(f); /* it came by, and something else is there as well */
    f->missing->count = 0;
    want(f, at, size < LEAST_WANTED ? LEAST_WANTED : size, ELFSCAN_PLAIN);
    if (f->segment_size > 0)
        want_segments(f);
    if (f->has_entries)
        want_tables(f);
    f->outcome = ELFSCAN_MISSING;
    longjmp(f->fail, 1);
}

int elfscan_read_parts(uint64_t size, const elfscan_part *parts, size_t count, elfpass *pass, elfscan_facts *facts,
                       elfscan_error *error, elfscan_list *missing)
{
    /* One jump out of any depth: the alternative is a check after each of two hundred calls. It crosses no Python. */
    file *f = calloc(1, sizeof *f);
    int outcome;
    memset(facts, 0, sizeof *facts);
    if (!f)
        return ELFSCAN_NO_MEMORY;
    f->parts = parts;
    f->part_count = count;
    f->size = size;
    f->missing = missing;
    f->pass = pass;
    f->left = (uint64_t)BUDGET * size + ALLOWANCE;
    f->facts = facts;
    f->error = error;
    if (pass && pass->useless)
        f->outcome = ELFSCAN_USELESS;
    else if (setjmp(f->fail) == 0)
        read_file(f);
    outcome = f->outcome;
    free(f->loads.items);
    free(f->needed.items);
    free(f);
    return outcome;
}

int elfscan_read(const uint8_t *data, size_t size, elfscan_facts *facts, elfscan_error *error)
{
    elfscan_part whole;
    whole.offset = 0;
    whole.size = size;
    whole.data = data;
    return elfscan_read_parts(size, &whole, 1, NULL, facts, error, NULL);
}

void elfscan_free(elfscan_facts *facts)
{
    free(facts->needed.items);
    free(facts->needs.items);
    free(facts->needed_versions.items);
    free(facts->definitions.items);
    free(facts->imports.items);
    free(facts->exports.items);
    free(facts->codes.items);
    free(facts->slots.items);
    memset(facts, 0, sizeof *facts);
}
