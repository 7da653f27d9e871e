/* See elfedit.h, and ../elfedit.py for the why of everything: the functions here bear the same names. */
#include "elfedit.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "elfscan.h"

enum {
    ET_EXEC = 2,
    ET_DYN = 3,
    PT_NULL = 0,
    PT_LOAD = 1,
    PT_DYNAMIC = 2,
    PT_INTERP = 3,
    PT_NOTE = 4,
    PT_PHDR = 6,
    PF_X = 1,
    PF_W = 2,
    PF_R = 4,
    SHT_NULL = 0,
    SHT_PROGBITS = 1,
    SHT_SYMTAB = 2,
    SHT_STRTAB = 3,
    SHT_RELA = 4,
    SHT_HASH = 5,
    SHT_DYNAMIC = 6,
    SHT_NOTE = 7,
    SHT_NOBITS = 8,
    SHT_REL = 9,
    SHT_DYNSYM = 11,
    SHT_GROUP = 17,
    SHT_SYMTAB_SHNDX = 18,
    SHF_ALLOC = 2,
    SHF_INFO_LINK = 0x40,
    SHF_TLS = 0x400,
    EM_MIPS = 8,
    EM_MIPS_RS3_LE = 10
};
#define PT_GNU_STACK 0x6474E551u
#define PT_GNU_PROPERTY 0x6474E553u
#define PT_MIPS_REGINFO 0x70000000u
#define PT_MIPS_OPTIONS 0x70000002u
#define PT_MIPS_ABIFLAGS 0x70000003u
#define SHT_GNU_HASH 0x6FFFFFF6u
#define SHT_GNU_VERDEF 0x6FFFFFFDu
#define SHT_GNU_VERNEED 0x6FFFFFFEu
#define SHT_GNU_VERSYM 0x6FFFFFFFu

#define DT_NULL 0u
#define DT_NEEDED 1u
#define DT_HASH 4u
#define DT_STRTAB 5u
#define DT_SYMTAB 6u
#define DT_STRSZ 10u
#define DT_SONAME 14u
#define DT_RPATH 15u
#define DT_RUNPATH 29u
#define DT_GNU_HASH 0x6FFFFEF5u
#define DT_VERSYM 0x6FFFFFF0u
#define DT_FLAGS_1 0x6FFFFFFBu
#define DT_VERDEF 0x6FFFFFFCu
#define DT_VERNEED 0x6FFFFFFEu
#define DT_MIPS_OPTIONS 0x70000029u
#define DT_MIPS_RLD_MAP_REL 0x70000035u
#define DF_1_PIE 0x08000000u

enum {
    SPARE_ENTRIES = 4,
    MOST_RUNS = 16,
    MOST_SEGMENTS = 256,
    ALIGN = 64,
    MOST_ZEROED = 1 << 20,
    FILLER = 'X',
    SMALLEST_PAGE = 0x1000,
    LARGEST_PAGE = 0x10000
};

static const char OVERLAP[] = "its structures overlap";
static const char NO_ROOM[] = "there is no room for another program header";
static const char CANNOT_MOVE[] = "what follows its program headers cannot move";

typedef struct {
    uint32_t kind, flags;
    uint64_t offset, vaddr, paddr, filesz, memsz, align;
} segment;

typedef struct {
    uint32_t name, kind;
    uint64_t flags, addr, offset, size;
    uint32_t link, info;
    uint64_t align, entsize;
} section;

typedef struct {
    uint64_t tag, value;
    const elfedit_name *text; /* the name that it is to have, where that is to change */
    size_t origin;
} entry;

typedef struct {
    uint64_t start, end;
} range;

/* A place in the version needs, and the new name of the library there. */
typedef struct {
    uint64_t at;
    const elfedit_name *text;
} need;

/* A new name and its offset in the string table. */
typedef struct {
    const elfedit_name *text;
    uint64_t offset;
    int fresh;
} name;

/* Of a name that was referred to: first byte of the string, of the name, end; and whether it still is. */
typedef struct {
    uint64_t start, offset, end;
    int used;
} run;

typedef struct {
    void *items;
    size_t count;
    size_t room;
} list;

typedef struct {
    const uint8_t *data;
    uint64_t size;
    const elfedit_edits *edits;
    elfedit_error *error;
    jmp_buf fail;
    int outcome;
    uint8_t *stripped; /* the file after stripping, where that changed it; `data` then points here */
    uint8_t *out;
    uint64_t out_size;

    /* The headers. */
    int wide, little;
    unsigned type, machine, shstrndx;
    uint64_t phoff, shoff, phend, shend;
    unsigned phnum;
    unsigned header_size, segment_size, section_size, entry_size, symbol_size;
    segment segments[MOST_SEGMENTS + 2];
    section *sections;
    size_t section_count;

    /* What was read and decided. */
    int has_dynamic;
    unsigned dynamic; /* index of its segment */
    uint64_t dynamic_at, capacity;
    list old, new; /* entry */
    void *scratch;
    int changed;
    uint64_t strings_at, strings_end;
    list needs; /* need */
    uint64_t needs_at, needs_end;
    list freed; /* uint64_t */
    list names; /* name */
    uint64_t addition; /* size of what the string table grows by */
    int addition_mark; /* whether that starts with an end mark */
    int reused;
    int stack_flags, stack_header;

    /* Where everything goes. */
    int has_loads;
    unsigned last_load;
    int moves_dynamic, grows, moves_headers, has_home, new_strings;
    range block;
    unsigned more, slots;
    uint32_t extra_flags; /* of the segment that the new content goes to */
    uint64_t start, end, bias, page, shift, delta, block_bias, headers_at, new_dynamic_at, new_strings_at, kept;
    uint64_t block_at, filled; /* filled: zeroed memory that goes into the file */
} file;

/* The means: failing, growing, reading, writing. */

static void fail(file *f, int outcome)
{
    f->outcome = outcome;
    longjmp(f->fail, 1);
}

static void refuse(file *f, const char *what)
{
    snprintf(f->error->what, sizeof f->error->what, "%s", what);
    fail(f, ELFEDIT_REFUSED);
}

static void *push(file *f, list *l, size_t width)
{
    if (l->count == l->room) {
        size_t room = l->room ? 2 * l->room : 16;
        void *items = room <= SIZE_MAX / width ? realloc(l->items, room * width) : NULL;
        if (!items)
            fail(f, ELFEDIT_NO_MEMORY);
        l->items = items;
        l->room = room;
    }
    return memset((char *)l->items + l->count++ * width, 0, width);
}

static unsigned half(const file *f, uint64_t at)
{
    const uint8_t *p = f->data + at;
    return f->little ? p[0] | (unsigned)p[1] << 8 : p[1] | (unsigned)p[0] << 8;
}

static uint32_t word_of(const file *f, const uint8_t *p)
{
    return f->little ? p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24
                     : p[3] | (uint32_t)p[2] << 8 | (uint32_t)p[1] << 16 | (uint32_t)p[0] << 24;
}

static uint64_t address_of(const file *f, const uint8_t *p)
{
    uint64_t first = word_of(f, p), second;
    if (!f->wide)
        return first;
    second = word_of(f, p + 4);
    return f->little ? second << 32 | first : first << 32 | second;
}

static uint32_t word(const file *f, uint64_t at)
{
    return word_of(f, f->data + at);
}

static uint64_t address(const file *f, uint64_t at)
{
    return address_of(f, f->data + at);
}

static void put(const file *f, uint8_t *p, uint64_t value, unsigned width)
{
    unsigned i;
    for (i = 0; i < width; i++)
        p[f->little ? i : width - 1 - i] = (uint8_t)(value >> 8 * i);
}

static void put_address(const file *f, uint8_t *p, uint64_t value)
{
    put(f, p, value, f->wide ? 8 : 4);
}

static uint64_t pad(uint64_t size, uint64_t align)
{
    return (size + align - 1) & ~(align - 1);
}

static uint64_t plus(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t limit(const file *f)
{
    return f->wide ? UINT64_MAX : UINT32_MAX;
}

static uint64_t segment_end(const segment *p)
{
    return plus(p->offset, p->filesz);
}

static uint64_t section_filesz(const section *s)
{
    return s->kind == SHT_NULL || s->kind == SHT_NOBITS ? 0 : s->size;
}

static uint64_t section_end(const section *s)
{
    return plus(s->offset, section_filesz(s));
}

static uint64_t segment_bias(const segment *p)
{
    return p->vaddr - p->offset;
}

static int equal(const elfedit_name *text, const uint8_t *start, uint64_t size)
{
    return text->size == size && (size == 0 || memcmp(text->start, start, size) == 0);
}

static int same(const elfedit_name *a, const elfedit_name *b)
{
    return equal(a, b->start, b->size);
}

/* Headers. */

static segment read_segment(const file *f, uint64_t at)
{
    segment p;
    unsigned w = f->wide ? 8 : 4;
    uint64_t places = at + (f->wide ? 8 : 4);
    p.kind = word(f, at);
    p.flags = word(f, at + (f->wide ? 4 : 24));
    p.offset = address(f, places);
    p.vaddr = address(f, places + w);
    p.paddr = address(f, places + 2 * w);
    p.filesz = address(f, places + 3 * w);
    p.memsz = address(f, places + 4 * w);
    p.align = address(f, at + (f->wide ? 48 : 28));
    return p;
}

static void pack_segment(const file *f, uint8_t *at, const segment *p)
{
    unsigned w = f->wide ? 8 : 4;
    uint8_t *places = at + (f->wide ? 8 : 4);
    put(f, at, p->kind, 4);
    put(f, at + (f->wide ? 4 : 24), p->flags, 4);
    put_address(f, places, p->offset);
    put_address(f, places + w, p->vaddr);
    put_address(f, places + 2 * w, p->paddr);
    put_address(f, places + 3 * w, p->filesz);
    put_address(f, places + 4 * w, p->memsz);
    put_address(f, at + (f->wide ? 48 : 28), p->align);
}

static section read_section(const file *f, uint64_t at)
{
    section s;
    unsigned w = f->wide ? 8 : 4;
    s.name = word(f, at);
    s.kind = word(f, at + 4);
    s.flags = address(f, at + 8);
    s.addr = address(f, at + 8 + w);
    s.offset = address(f, at + 8 + 2 * w);
    s.size = address(f, at + 8 + 3 * w);
    s.link = word(f, at + 8 + 4 * w);
    s.info = word(f, at + 12 + 4 * w);
    s.align = address(f, at + 16 + 4 * w);
    s.entsize = address(f, at + 16 + 5 * w);
    return s;
}

static void pack_section(const file *f, uint8_t *at, const section *s)
{
    unsigned w = f->wide ? 8 : 4;
    put(f, at, s->name, 4);
    put(f, at + 4, s->kind, 4);
    put_address(f, at + 8, s->flags);
    put_address(f, at + 8 + w, s->addr);
    put_address(f, at + 8 + 2 * w, s->offset);
    put_address(f, at + 8 + 3 * w, s->size);
    put(f, at + 8 + 4 * w, s->link, 4);
    put(f, at + 12 + 4 * w, s->info, 4);
    put_address(f, at + 16 + 4 * w, s->align);
    put_address(f, at + 16 + 5 * w, s->entsize);
}

static void read_sections(file *f, unsigned width, uint64_t count)
{
    uint64_t room, i;
    free(f->sections);
    f->sections = NULL;
    f->section_count = 0;
    if (f->shoff == 0 || width != f->section_size || f->shoff > f->size)
        return;
    room = (f->size - f->shoff) / f->section_size;
    if (room < 1)
        return;
    if (count == 0)
        count = read_section(f, f->shoff).size;
    if (count > room || count == 0)
        return;
    f->sections = malloc((size_t)count * sizeof *f->sections);
    if (!f->sections)
        fail(f, ELFEDIT_NO_MEMORY);
    f->section_count = (size_t)count;
    for (i = 0; i < count; i++)
        f->sections[i] = read_section(f, f->shoff + i * f->section_size);
}

static void read_file(file *f)
{
    unsigned i, widths;
    f->wide = f->data[4] == 2;
    f->little = f->data[5] == 1;
    f->header_size = f->wide ? 64 : 52;
    f->segment_size = f->wide ? 56 : 32;
    f->section_size = f->wide ? 64 : 40;
    f->entry_size = f->wide ? 16 : 8;
    f->symbol_size = f->wide ? 24 : 16;
    widths = f->wide ? 54 : 42;
    f->type = half(f, 16);
    f->machine = half(f, 18);
    f->phoff = address(f, f->wide ? 32 : 28);
    f->shoff = address(f, f->wide ? 40 : 32);
    f->phnum = half(f, widths + 2);
    f->shstrndx = half(f, widths + 8);
    if (f->type != ET_EXEC && f->type != ET_DYN)
        refuse(f, "it is neither an executable nor a shared object");
    if (f->phnum > MOST_SEGMENTS)
        refuse(f, "it has too many program headers");
    for (i = 0; i < f->phnum; i++)
        f->segments[i] = read_segment(f, f->phoff + (uint64_t)i * f->segment_size);
    read_sections(f, half(f, widths + 4), half(f, widths + 6));
    f->phend = f->phoff + (uint64_t)f->phnum * f->segment_size;
    f->shend = f->shoff + f->section_count * f->section_size;
}

/* Deciding: the stack. */

static void plan_stack(file *f)
{
    unsigned i, stacks = 0;
    if (!f->edits->clear_stack)
        return;
    for (i = 0; i < f->phnum; i++) {
        if (f->segments[i].kind != PT_GNU_STACK)
            continue;
        stacks++;
        if (f->segments[i].flags & PF_X)
            f->stack_flags = 1;
    }
    switch (f->machine) {
    case 3: case 20: case 22: case 40: case 62: f->stack_header = stacks == 0;
    }
}

/* Deciding: the dynamic segment and the version needs. */

static range locate(file *f, uint64_t vaddr)
{
    range found = {0, 0};
    unsigned i;
    for (i = f->phnum; i-- > 0;) {
        const segment *load = &f->segments[i];
        if (load->kind == PT_LOAD && load->vaddr <= vaddr && vaddr - load->vaddr < load->filesz) {
            found.start = load->offset + (vaddr - load->vaddr);
            found.end = segment_end(load);
            return found;
        }
    }
    refuse(f, "its dynamic segment refers to nothing");
    return found;
}

static int last(const file *f, uint64_t tag, uint64_t *value)
{
    const entry *entries = f->old.items;
    size_t i;
    for (i = f->old.count; i-- > 0;) {
        if (entries[i].tag == tag) {
            *value = entries[i].value;
            return 1;
        }
    }
    return 0;
}

static void read_dynamic(file *f)
{
    const segment *p = &f->segments[f->dynamic];
    range found = locate(f, p->vaddr);
    uint64_t at = found.start, end = found.end, place, table = 0, size = 0;
    for (place = at; end - place >= f->entry_size && address(f, place) != DT_NULL; place += f->entry_size) {
        entry *e = push(f, &f->old, sizeof *e);
        e->tag = address(f, place);
        e->value = address(f, place + f->entry_size / 2);
        e->origin = f->old.count - 1;
    }
    f->capacity = f->old.count;
    if (end > plus(at, p->filesz))
        end = at + p->filesz;
    while (place <= end && end - place >= f->entry_size && address(f, place) == DT_NULL) {
        f->capacity++;
        place += f->entry_size;
    }
    f->dynamic_at = at;
    if (at != p->offset)
        refuse(f, "its dynamic segment is not where its address says");
    if (!last(f, DT_STRTAB, &table) || !last(f, DT_STRSZ, &size))
        refuse(f, "it has no dynamic string table");
    f->strings_at = locate(f, table).start;
    f->strings_end = f->strings_at + size;
}

/* The end of the name at an offset into the string table; UINT64_MAX if there is none. */
static uint64_t name_end(const file *f, uint64_t offset)
{
    uint64_t size = f->strings_end - f->strings_at;
    const uint8_t *table = f->data + f->strings_at, *stop;
    if (offset >= size)
        return UINT64_MAX;
    stop = memchr(table + offset, 0, (size_t)(size - offset));
    return stop ? (uint64_t)(stop - table) : UINT64_MAX;
}

static elfedit_name string(const file *f, uint64_t offset)
{
    elfedit_name text;
    text.start = f->data + f->strings_at + offset;
    text.size = (size_t)(name_end(f, offset) - offset);
    return text;
}

static void set_free(file *f, uint64_t offset)
{
    *(uint64_t *)push(f, &f->freed, sizeof offset) = offset;
}

static entry *add_entry(file *f, uint64_t tag, uint64_t value, const elfedit_name *text, size_t origin)
{
    entry *e = push(f, &f->new, sizeof *e);
    e->tag = tag;
    e->value = value;
    e->text = text;
    e->origin = origin;
    return e;
}

static void keep(file *f, const entry *e, uint64_t tag, const elfedit_name *text)
{
    uint64_t end = name_end(f, e->value);
    if (tag != e->tag)
        f->changed = 1;
    if (!text || (end != UINT64_MAX && equal(text, f->data + f->strings_at + e->value, end - e->value))) {
        add_entry(f, tag, e->value, NULL, e->origin);
        return;
    }
    f->changed = 1;
    set_free(f, e->value);
    add_entry(f, tag, 0, text, e->origin);
}

static int contains(const elfedit_name *texts, size_t count, const elfedit_name *text)
{
    size_t i;
    for (i = 0; i < count; i++)
        if (same(&texts[i], text))
            return 1;
    return 0;
}

/* The new name of a library; NULL if it keeps its own. */
static const elfedit_name *new_name(const file *f, const elfedit_name *text)
{
    size_t i;
    for (i = 0; i < f->edits->renamed_count; i++)
        if (same(&f->edits->renamed[2 * i], text))
            return &f->edits->renamed[2 * i + 1];
    return NULL;
}

static void drop(file *f, const entry *e)
{
    f->changed = 1;
    set_free(f, e->value);
}

/* Whether a library will be needed under a name. */
static int is_needed(const file *f, const elfedit_name *text)
{
    const entry *entries = f->new.items;
    size_t i;
    for (i = 0; i < f->new.count; i++) {
        elfedit_name present;
        if (entries[i].tag != DT_NEEDED)
            continue;
        present = entries[i].text ? *entries[i].text : string(f, entries[i].value);
        if (same(&present, text))
            return 1;
    }
    return 0;
}

static void plan_entries(file *f)
{
    const elfedit_edits *e = f->edits;
    int path_placed = e->path.start == NULL;
    uint64_t value;
    size_t i, count;
    for (i = 0; i < f->old.count; i++) {
        entry each = ((entry *)f->old.items)[i];
        if (each.tag == DT_NEEDED) {
            elfedit_name text = string(f, each.value);
            if (contains(e->removed, e->removed_count, &text))
                drop(f, &each);
            else
                keep(f, &each, DT_NEEDED, new_name(f, &text));
        } else if (each.tag == DT_SONAME && e->soname.start) {
            keep(f, &each, DT_SONAME, &e->soname);
        } else if ((each.tag == DT_RPATH || each.tag == DT_RUNPATH) && e->path.start) {
            if (path_placed || e->path.size == 0) {
                drop(f, &each);
            } else {
                path_placed = 1;
                keep(f, &each, e->path_tag, &e->path);
            }
        } else {
            add_entry(f, each.tag, each.value, NULL, each.origin);
        }
    }
    count = f->new.count;
    for (i = 0; i < e->added_count; i++)
        if (!is_needed(f, &e->added[i]))
            add_entry(f, DT_NEEDED, 0, &e->added[i], 0);
    if (e->soname.start && !last(f, DT_SONAME, &value))
        add_entry(f, DT_SONAME, 0, &e->soname, 0);
    if (e->path.start && e->path.size && !path_placed)
        add_entry(f, e->path_tag, 0, &e->path, 0);
    if (f->new.count != count)
        f->changed = 1;
}

static uint64_t end_of_versions(const file *f, uint64_t at)
{
    for (;;) {
        uint32_t step = word(f, at + 12);
        if (step == 0)
            return at + 16;
        at += step;
    }
}

static void plan_needs(file *f)
{
    uint64_t value, at;
    if (!last(f, DT_VERNEED, &value))
        return;
    at = f->needs_at = locate(f, value).start;
    for (;;) {
        uint32_t offset = word(f, at + 4), aux = word(f, at + 8), step = word(f, at + 12);
        elfedit_name library = string(f, offset);
        const elfedit_name *renamed = new_name(f, &library);
        uint64_t end = end_of_versions(f, at + aux);
        if (contains(f->edits->removed, f->edits->removed_count, &library))
            refuse(f, "it needs symbol versions of a library that is to be removed");
        if (renamed && !same(renamed, &library)) {
            need *n = push(f, &f->needs, sizeof *n);
            n->at = at + 4;
            n->text = renamed;
            set_free(f, offset);
        }
        if (end > f->needs_end)
            f->needs_end = end;
        if (step == 0)
            return;
        at += step;
    }
}

static void plan_dynamic(file *f, int necessary)
{
    unsigned i;
    for (i = 0; i < f->phnum; i++) {
        if (f->segments[i].kind == PT_DYNAMIC && f->segments[i].filesz > 0) {
            f->has_dynamic = 1;
            f->dynamic = i;
        }
    }
    if (!f->has_dynamic && necessary)
        refuse(f, "it has no dynamic segment");
    if (!f->has_dynamic)
        return;
    read_dynamic(f);
    plan_entries(f);
    plan_needs(f);
}

/* Checking. */

static void check_segments(file *f)
{
    uint64_t top = 0;
    unsigned i;
    for (i = 0; i < f->phnum; i++) {
        const segment *load = &f->segments[i];
        if (load->kind != PT_LOAD || (load->memsz == 0 && load->filesz == 0))
            continue;
        if (load->vaddr < top)
            refuse(f, "its load segments overlap or are out of order");
        if (load->filesz > load->memsz || load->memsz > limit(f) - load->vaddr)
            refuse(f, "a load segment is larger in the file than in memory, or than the address space");
        if (load->align && ((load->align & (load->align - 1)) || (segment_bias(load) & (load->align - 1))))
            refuse(f, "a load segment is not aligned as it says");
        top = load->vaddr + load->memsz;
        f->has_loads = 1;
        f->last_load = i;
    }
}

static unsigned regions(const file *f, range *found)
{
    unsigned count = 0;
    range all[6] = {{0, f->header_size}, {f->phoff, f->phend}, {0, 0}, {0, 0}, {0, 0}, {0, 0}};
    if (f->section_count) {
        all[2].start = f->shoff;
        all[2].end = f->shend;
    }
    if (f->has_dynamic) {
        all[3].start = f->dynamic_at;
        all[3].end = f->dynamic_at + f->capacity * f->entry_size;
        all[4].start = f->strings_at;
        all[4].end = f->strings_end;
        all[5].start = f->needs_at;
        all[5].end = f->needs_end;
    }
    for (; count < 6; count++)
        found[count] = all[count];
    return count;
}

static void check_regions(file *f)
{
    range all[6];
    unsigned count = regions(f, all), i, j;
    for (i = 0; i < count; i++)
        for (j = i + 1; j < count; j++)
            if (all[i].start < all[i].end && all[j].start < all[j].end && all[i].start < all[j].end &&
                all[j].start < all[i].end)
                refuse(f, OVERLAP);
    for (i = 3; f->has_dynamic && i < 6; i++) {
        unsigned mapped = 0;
        for (j = 0; j < f->phnum; j++) {
            const segment *load = &f->segments[j];
            if (load->kind == PT_LOAD && load->filesz && load->offset < all[i].end &&
                all[i].start < segment_end(load))
                mapped++;
        }
        if (all[i].start < all[i].end && mapped != 1)
            refuse(f, "its structures are mapped more than once");
    }
}

/* Deciding: where new names go. */

static uint64_t find_name(const file *f, const elfedit_name *text)
{
    const uint8_t *table = f->data + f->strings_at, *end = f->data + f->strings_end, *stop = table;
    while (stop < end && (stop = memchr(stop, 0, (size_t)(end - stop)))) {
        size_t same_bytes = 0;
        /* From the end: a mismatch is met at the beginning of the string at the latest, so all of this is linear. */
        if ((size_t)(stop - table) >= text->size) {
            while (same_bytes < text->size && stop[-1 - (ptrdiff_t)same_bytes] == text->start[text->size - 1 - same_bytes])
                same_bytes++;
            if (same_bytes == text->size)
                return (uint64_t)(stop - table) - text->size;
        }
        stop++;
    }
    return UINT64_MAX;
}

static name *get_name(const file *f, const elfedit_name *text)
{
    name *names = f->names.items;
    size_t i;
    for (i = 0; i < f->names.count; i++)
        if (same(names[i].text, text))
            return &names[i];
    return NULL;
}

static int want(file *f, const elfedit_name *text)
{
    name *n;
    if (get_name(f, text))
        return 0;
    n = push(f, &f->names, sizeof *n);
    n->text = text;
    n->offset = find_name(f, text);
    n->fresh = n->offset == UINT64_MAX;
    return n->fresh;
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static unsigned find_runs(file *f, run *runs)
{
    const uint8_t *table = f->data + f->strings_at;
    uint64_t *freed = f->freed.items;
    unsigned count = 0;
    size_t i;
    if (f->freed.count)
        qsort(freed, f->freed.count, sizeof *freed, ascending);
    for (i = 0; i < f->freed.count && i < MOST_RUNS; i++) {
        uint64_t end = name_end(f, freed[i]), start = freed[i];
        if (end == UINT64_MAX || (count && runs[count - 1].end == end))
            continue;
        while (start > 0 && table[start - 1])
            start--;
        runs[count].start = start;
        runs[count].offset = freed[i];
        runs[count].end = end;
        runs[count++].used = 0;
    }
    return count;
}

/* Where each new name goes. With `write`, they are given their places. */
static int fit(file *f, const run *runs, unsigned count, int write)
{
    range left[MOST_RUNS];
    name *names = f->names.items;
    unsigned i;
    size_t j;
    for (i = 0; i < count; i++) {
        left[i].start = runs[i].offset;
        left[i].end = runs[i].end;
    }
    for (j = 0; j < f->names.count; j++) {
        size_t size = names[j].text->size;
        if (!names[j].fresh)
            continue;
        for (i = 0; i < count; i++)
            if (!runs[i].used && left[i].start <= left[i].end && size <= left[i].end - left[i].start)
                break;
        if (i == count)
            return 0;
        if (write)
            names[j].offset = left[i].start;
        left[i].start += size + 1;
    }
    return 1;
}

static void mark(run *runs, unsigned count, uint64_t reference)
{
    unsigned i;
    for (i = 0; i < count; i++)
        if (runs[i].start <= reference && reference <= runs[i].end)
            runs[i].used = 1;
}

static void mark_needs(file *f, run *runs, unsigned count)
{
    const need *changed = f->needs.items;
    size_t next = 0;
    uint64_t at = f->needs_at, aux;
    uint32_t step;
    if (!f->needs_end)
        return;
    for (;;) {
        if (next < f->needs.count && changed[next].at == at + 4)
            next++;
        else
            mark(runs, count, word(f, at + 4));
        aux = at + word(f, at + 8);
        for (;;) {
            mark(runs, count, word(f, aux + 8));
            step = word(f, aux + 12);
            if (step == 0)
                break;
            aux += step;
        }
        step = word(f, at + 12);
        if (step == 0)
            return;
        at += step;
    }
}

static void mark_definitions(file *f, run *runs, unsigned count)
{
    uint64_t value, at, left = f->size / 8;
    range found;
    if (!last(f, DT_VERDEF, &value))
        return;
    found = locate(f, value);
    at = found.start;
    for (;;) {
        uint32_t step = word(f, at + 16);
        uint64_t names = at + word(f, at + 12);
        unsigned i, total = half(f, at + 6);
        for (i = 0; i < total; i++) {
            uint32_t following;
            if (left-- == 0)
                refuse(f, OVERLAP);
            if (names > found.end || found.end - names < 8)
                break;
            mark(runs, count, word(f, names));
            following = word(f, names + 4);
            if (following < 8)
                break;
            names += following;
        }
        if (step == 0)
            return;
        at += step;
    }
}

static int ends_symbols(uint64_t tag)
{
    switch (tag) {
    case 4: case 5: case 7: case 17: case 23: case 36:
    case DT_GNU_HASH: case DT_VERSYM: case DT_VERDEF: case DT_VERNEED: return 1;
    default: return 0;
    }
}

static void mark_symbols(file *f, run *runs, unsigned count)
{
    const entry *old = f->old.items;
    uint64_t symbols, at, end;
    range found;
    size_t i;
    if (!last(f, DT_SYMTAB, &symbols))
        return;
    found = locate(f, symbols);
    at = found.start;
    end = found.end;
    for (i = 0; i < f->old.count; i++)
        if (ends_symbols(old[i].tag) && old[i].value > symbols && old[i].value - symbols < end - at)
            end = at + (old[i].value - symbols);
    for (; end - at >= f->symbol_size; at += f->symbol_size)
        mark(runs, count, word(f, at));
}

static int reuse(file *f)
{
    run runs[MOST_RUNS];
    unsigned count = find_runs(f, runs);
    const entry *new = f->new.items;
    const name *names = f->names.items;
    size_t i;
    if (!fit(f, runs, count, 0))
        return 0;
    for (i = 0; i < f->names.count; i++)
        if (!names[i].fresh)
            mark(runs, count, names[i].offset);
    for (i = 0; i < f->new.count; i++)
        if (!new[i].text)
            mark(runs, count, new[i].value);
    mark_needs(f, runs, count);
    mark_definitions(f, runs, count);
    mark_symbols(f, runs, count);
    return fit(f, runs, count, 1);
}

static void place_names(file *f)
{
    const entry *new = f->new.items;
    const need *needs = f->needs.items;
    uint64_t size = f->strings_end - f->strings_at;
    name *names;
    size_t i;
    int fresh = 0;
    for (i = 0; i < f->new.count; i++)
        if (new[i].text)
            fresh |= want(f, new[i].text);
    for (i = 0; i < f->needs.count; i++)
        fresh |= want(f, needs[i].text);
    if (!fresh)
        return;
    f->reused = reuse(f);
    if (f->reused)
        return;
    f->addition_mark = size == 0 || f->data[f->strings_end - 1] != 0;
    f->addition = (uint64_t)f->addition_mark;
    names = f->names.items;
    for (i = 0; i < f->names.count; i++) {
        if (!names[i].fresh)
            continue;
        names[i].offset = size + f->addition;
        f->addition += names[i].text->size + 1;
    }
    if (size + f->addition > UINT32_MAX)
        refuse(f, "its dynamic string table would be too large");
}

/* Where: the segment. */

static int can_grow(const file *f, const segment *p)
{
    uint64_t end = segment_end(p);
    size_t i;
    if (p->align < ALIGN || f->phend > end ||
        ((p->flags & f->extra_flags) != f->extra_flags && p->flags != PF_R) ||
        (f->section_count && f->shend > end && f->shoff < end))
        return 0;
    for (i = 0; i < f->phnum; i++)
        if (f->segments[i].filesz && segment_end(&f->segments[i]) > end)
            return 0;
    for (i = 0; i < f->section_count; i++) {
        const section *s = &f->sections[i];
        if (section_filesz(s) && section_end(s) > end && (s->offset < end || (s->flags & SHF_ALLOC)))
            return 0;
    }
    return 1;
}

static void choose_home(file *f)
{
    const segment *p = &f->segments[f->last_load];
    uint64_t page = SMALLEST_PAGE;
    unsigned i;
    if (!f->has_loads)
        refuse(f, "it has no load segment");
    if (p->filesz == p->memsz && can_grow(f, p)) {
        f->has_home = 1;
        f->start = segment_end(p);
        f->bias = segment_bias(p);
        return;
    }
    f->start = pad(f->size, 16);
    for (i = 0; i < f->phnum; i++)
        if (f->segments[i].kind == PT_LOAD && f->segments[i].memsz && f->segments[i].align > page)
            page = f->segments[i].align;
    f->page = page > LARGEST_PAGE ? LARGEST_PAGE : page;
    f->bias = pad(p->vaddr + p->memsz, f->page) + f->start % f->page - f->start;
}

/* Where: the program headers. */

static int movable_segment(uint32_t kind)
{
    return kind == PT_INTERP || kind == PT_NOTE || kind == PT_GNU_PROPERTY || kind == PT_MIPS_REGINFO ||
           kind == PT_MIPS_OPTIONS || kind == PT_MIPS_ABIFLAGS;
}

static int movable_section(uint32_t kind)
{
    return kind == SHT_STRTAB || kind == SHT_HASH || kind == SHT_NOTE || kind == SHT_DYNSYM || kind == SHT_GNU_HASH ||
           kind == SHT_GNU_VERDEF || kind == SHT_GNU_VERNEED || kind == SHT_GNU_VERSYM;
}

static int movable_tag(uint64_t tag)
{
    return tag == DT_HASH || tag == DT_STRTAB || tag == DT_SYMTAB || tag == DT_GNU_HASH || tag == DT_VERSYM ||
           tag == DT_VERDEF || tag == DT_VERNEED || tag == DT_MIPS_OPTIONS;
}

static int may_move(const file *f, const section *s)
{
    unsigned i;
    if (!(s->flags & SHF_ALLOC) || s->align > ALIGN)
        return 0;
    if (movable_section(s->kind))
        return 1;
    for (i = 0; i < f->phnum; i++)
        if (movable_segment(f->segments[i].kind) && f->segments[i].offset <= s->offset &&
            section_end(s) <= segment_end(&f->segments[i]))
            return 1;
    return 0;
}

static int extend(uint64_t start, range *found, uint64_t offset, uint64_t end, int movable)
{
    int grew = offset < found->start || end > found->end;
    if (!movable || offset < start)
        return -1;
    if (offset < found->start)
        found->start = offset;
    if (end > found->end)
        found->end = end;
    return grew;
}

static const char *block_behind(file *f, uint64_t start, uint64_t stop)
{
    range found;
    unsigned pass;
    size_t i;
    found.start = found.end = stop;
    f->block.start = f->block.end = 0;
    if (start < f->shend && f->shoff < stop)
        return "its section headers follow its program headers";
    for (pass = 0; pass < MOST_RUNS; pass++) {
        int grew = 0;
        for (i = 0; i < f->section_count; i++) {
            const section *s = &f->sections[i];
            if (section_filesz(s) && s->offset < found.end && start < section_end(s))
                grew |= extend(start, &found, s->offset, section_end(s), may_move(f, s));
            if (grew < 0)
                return CANNOT_MOVE;
        }
        for (i = 0; i < f->phnum; i++) {
            const segment *p = &f->segments[i];
            if (p->kind != PT_NULL && p->kind != PT_LOAD && p->kind != PT_PHDR && p->filesz &&
                p->offset < found.end && start < segment_end(p))
                grew |= extend(start, &found, p->offset, segment_end(p), movable_segment(p->kind));
            if (grew < 0)
                return CANNOT_MOVE;
        }
        if (!grew) {
            f->block = found;
            return NULL;
        }
    }
    return CANNOT_MOVE;
}

static const char *check_block(const file *f, const segment *load)
{
    uint64_t lowest = f->phend, highest = f->phend + f->segment_size, bias = segment_bias(load);
    const entry *old = f->old.items;
    size_t i, j;
    if (f->block.end > highest)
        highest = f->block.end;
    for (i = 0; i < f->old.count; i++) {
        if (!movable_tag(old[i].tag) || old[i].value - bias < lowest || old[i].value - bias >= highest)
            continue;
        for (j = 0; j < f->section_count; j++)
            if (f->sections[j].addr == old[i].value && lowest <= f->sections[j].offset &&
                f->sections[j].offset < highest)
                break;
        if (j == f->section_count)
            return "its section headers and its dynamic segment disagree";
    }
    for (i = 0; i < f->section_count; i++) {
        const section *s = &f->sections[i];
        if (section_filesz(s) && lowest <= s->offset && s->offset < highest && s->addr - s->offset != bias)
            return "its section headers and its program headers disagree";
    }
    return NULL;
}

/* NULL, or the reason why not. */
static const char *make_way(file *f, uint64_t size)
{
    uint64_t start = f->phend, stop = f->phend + size, flags = 0, at;
    const segment *load = NULL;
    const char *reason;
    unsigned i;
    if (!f->section_count) {
        int interpreted = 0;
        if (!last(f, DT_FLAGS_1, &flags))
            flags = 0;
        for (i = 0; i < f->phnum; i++)
            if (f->segments[i].kind == PT_INTERP)
                interpreted = 1;
        if (f->type == ET_EXEC || interpreted || (flags & DF_1_PIE))
            return NO_ROOM;
        f->moves_headers = 1;
        return NULL;
    }
    for (i = 0; !load && i < f->phnum; i++) {
        const segment *p = &f->segments[i];
        if (p->kind == PT_LOAD && p->memsz && p->offset <= f->phoff && start <= segment_end(p))
            load = p;
    }
    if (!load)
        return "its program headers are not loaded";
    reason = block_behind(f, start, stop);
    if (reason)
        return reason;
    if (f->block.end > segment_end(load))
        return NO_ROOM;
    for (at = start; at < f->block.start && at < stop; at++)
        if (f->data[at] && f->data[at] != FILLER)
            return "what follows its program headers belongs to no section";
    if (f->block.start == f->block.end)
        f->block.start = f->block.end = 0;
    f->block_bias = segment_bias(load);
    return check_block(f, load);
}

/* Let the last segment grow over its zeroed memory, which then is in the file. */
static int fill_zeroed(file *f)
{
    segment *p = &f->segments[f->last_load];
    uint64_t size = p->memsz - p->filesz, most = f->size > MOST_ZEROED ? f->size : MOST_ZEROED;
    if (f->has_home || f->stack_header || p->filesz == 0 || size > most || !(p->flags & PF_W) || !can_grow(f, p))
        return 0;
    f->has_home = f->grows = 1;
    f->moves_headers = 0;
    f->block.start = f->block.end = 0;
    f->slots = f->more = 0;
    f->start = segment_end(p);
    f->bias = segment_bias(p);
    f->filled = size;
    return 1;
}

static void choose_slots(file *f)
{
    unsigned i, empty = 0, turn;
    const char *reason;
    for (i = 0; i < f->phnum; i++)
        empty += f->segments[i].kind == PT_NULL;
    for (turn = 0; turn < 2; turn++) {
        f->slots = (unsigned)f->stack_header + (f->grows && !f->has_home);
        f->more = f->slots > empty ? f->slots - empty : 0;
        if (f->more == 0)
            return;
        reason = make_way(f, (uint64_t)f->more * f->segment_size);
        if (reason && fill_zeroed(f))
            return;
        if (reason)
            refuse(f, reason);
        if (f->grows)
            return;
        f->grows = f->moves_headers || f->block.start < f->block.end;
    }
}

/* Writing: the content. */

static uint64_t new_entries_size(const file *f)
{
    return (f->new.count + 1 + SPARE_ENTRIES) * (uint64_t)f->entry_size;
}

/* Give every part of the new content its place. */
static void place_content(file *f)
{
    const segment *p = &f->segments[f->last_load];
    uint64_t at = f->start + f->filled, top = p->vaddr + p->memsz;
    if (f->block.start < f->block.end) {
        at += (f->block.start - at) % ALIGN;
        f->block_at = at;
        f->delta = at - f->block.start;
        at += f->block.end - f->block.start;
    }
    if (f->moves_headers) {
        f->headers_at = at = pad(at, 16);
        at += (uint64_t)(f->phnum + f->more) * f->segment_size;
    }
    if (f->moves_dynamic) {
        f->new_dynamic_at = at = pad(at, 16);
        at += new_entries_size(f);
    }
    if (f->addition) {
        if (at != f->start || !f->has_home || f->strings_end != f->start) {
            f->new_strings = 1;
            f->new_strings_at = at;
            at += f->strings_end - f->strings_at;
        }
        at += f->addition;
    }
    f->end = at;
    if (plus(top > f->end ? top : f->end, 2 * (uint64_t)LARGEST_PAGE + (f->end - f->start)) > limit(f) ||
        (f->wide && top > UINT64_MAX - 2 * (uint64_t)LARGEST_PAGE - (f->end - f->start)))
        refuse(f, "it would be larger than its addresses can be");
}

/* Decide what of the bytes behind `start` is kept, and where. */
static void place_tail(file *f)
{
    uint64_t at;
    size_t i;
    int used = f->section_count && f->shoff >= f->start;
    f->kept = f->size > f->start ? f->size - f->start : 0;
    for (i = 0; i < f->section_count; i++)
        if (section_filesz(&f->sections[i]) && f->sections[i].offset >= f->start)
            used = 1;
    for (at = f->start; !used && at < f->size; at++)
        used = f->data[at] != 0;
    if (!used)
        f->kept = 0;
    if (f->kept)
        f->shift = pad(f->end - f->start, ALIGN);
    f->out_size = f->kept ? f->start + f->shift + f->kept : f->end;
}

/* Copy a part of the file, and say so by and by: then the memory of a mapped one can be had for something else. */
static void carry_over(const file *f, uint64_t to, uint64_t from, uint64_t size)
{
    const uint64_t step = 4 << 20;
    while (size > 0) {
        size_t part = (size_t)(size < step ? size : step);
        memcpy(f->out + to, f->data + from, part);
        if (f->edits->passed && f->data != f->stripped) /* what was stripped is memory of our own */
            f->edits->passed(f->edits->context, f->data + from, part);
        to += part;
        from += part;
        size -= part;
    }
}

static void allocate(file *f)
{
    uint64_t head = f->start < f->size ? f->start : f->size;
    size_t same = 0;
    f->out_size = f->size;
    if (f->grows) {
        place_content(f);
        place_tail(f);
    } else {
        head = f->size;
    }
    if (f->out_size > SIZE_MAX)
        fail(f, ELFEDIT_NO_MEMORY);
    if (f->edits->allocate) {
        same = f->data == f->stripped ? 0 : (size_t)head;
        f->out = f->edits->allocate(f->edits->context, (size_t)f->out_size, &same);
    } else {
        f->out = malloc((size_t)f->out_size);
    }
    if (!f->out)
        fail(f, ELFEDIT_NO_MEMORY);
    carry_over(f, same, same, head - same);
    if (f->grows) {
        uint64_t end = f->kept ? f->start + f->shift : f->out_size;
        if (head < end)
            memset(f->out + head, 0, (size_t)(end - head));
        carry_over(f, f->start + f->shift, f->start, f->kept);
    }
}

static void write_names(file *f)
{
    const need *needs = f->needs.items;
    const name *names = f->names.items;
    size_t i;
    if (f->reused) {
        run runs[MOST_RUNS];
        unsigned count = find_runs(f, runs), r;
        /* As in Python, the rest of the room behind a name is zeroed; a later name may go there. */
        for (i = 0; i < f->names.count; i++) {
            if (!names[i].fresh)
                continue;
            for (r = 0; r < count; r++)
                if (runs[r].offset <= names[i].offset && names[i].offset <= runs[r].end)
                    break;
            memset(f->out + f->strings_at + names[i].offset, 0, (size_t)(runs[r].end - names[i].offset));
            memcpy(f->out + f->strings_at + names[i].offset, names[i].text->start, names[i].text->size);
        }
    }
    for (i = 0; i < f->needs.count; i++)
        put(f, f->out + needs[i].at, get_name(f, needs[i].text)->offset, 4);
}

static void write_content(file *f)
{
    const name *names = f->names.items;
    uint64_t size = f->strings_end - f->strings_at, at = f->end - f->addition;
    size_t i;
    if (f->block.start < f->block.end)
        memcpy(f->out + f->block_at, f->out + f->block.start, (size_t)(f->block.end - f->block.start));
    if (!f->addition)
        return;
    if (f->new_strings)
        memcpy(f->out + f->new_strings_at, f->data + f->strings_at, (size_t)size);
    at += (uint64_t)f->addition_mark;
    for (i = 0; i < f->names.count; i++) {
        if (!names[i].fresh)
            continue;
        memcpy(f->out + at, names[i].text->start, names[i].text->size);
        f->out[at + names[i].text->size] = 0;
        at += names[i].text->size + 1;
    }
}

/* Writing: the dynamic segment. */

static int in_block(const file *f, uint64_t offset)
{
    return f->block.start <= offset && offset < f->block.end;
}

static uint64_t value_of(const file *f, size_t index, const entry *e)
{
    if (e->text)
        return get_name(f, e->text)->offset;
    if (e->tag == DT_STRTAB && f->new_strings)
        return f->new_strings_at + f->bias;
    if (e->tag == DT_STRSZ)
        return e->value + f->addition;
    if (movable_tag(e->tag) && in_block(f, e->value - f->block_bias))
        return e->value + f->delta + f->bias - f->block_bias;
    if (e->tag == DT_MIPS_RLD_MAP_REL && (f->machine == EM_MIPS || f->machine == EM_MIPS_RS3_LE)) {
        uint64_t moved = f->new_dynamic_at - f->dynamic_at;
        if (f->moves_dynamic)
            moved += f->bias - segment_bias(&f->segments[f->dynamic]);
        return e->value - moved - ((uint64_t)index - e->origin) * f->entry_size;
    }
    return e->value;
}

static void write_dynamic(file *f)
{
    const entry *new = f->new.items;
    uint8_t *at = f->out + f->new_dynamic_at;
    size_t i;
    if (!f->has_dynamic)
        return;
    for (i = 0; i < f->new.count; i++) {
        put_address(f, at, new[i].tag);
        put_address(f, at + f->entry_size / 2, value_of(f, i, &new[i]));
        at += f->entry_size;
    }
    if (!f->moves_dynamic && f->new.count < f->old.count)
        memset(at, 0, (f->old.count - f->new.count) * f->entry_size);
}

/* Writing: the section headers, and symbols of sections that moved. */

static uint64_t sections_at(const file *f)
{
    return f->shoff + (f->shoff >= f->start ? f->shift : 0);
}

static void move_section(file *f, section *s)
{
    uint64_t value, zeroed = f->start + f->bias;
    if (!(s->flags & SHF_ALLOC)) {
        if (s->kind != SHT_NULL && s->offset >= f->start)
            s->offset = (s->offset + f->shift) & limit(f);
    } else if (f->has_dynamic && f->addition && s->kind == SHT_STRTAB && last(f, DT_STRTAB, &value) &&
               s->addr == value) {
        if (f->new_strings) {
            s->offset = f->new_strings_at;
            s->addr = f->new_strings_at + f->bias;
        }
        s->size = f->strings_end - f->strings_at + f->addition;
    } else if (f->has_dynamic && f->moves_dynamic && s->kind == SHT_DYNAMIC) {
        if (s->addr == f->segments[f->dynamic].vaddr) {
            s->offset = f->new_dynamic_at;
            s->addr = f->new_dynamic_at + f->bias;
            s->size = new_entries_size(f);
        }
    } else if (section_filesz(s) && in_block(f, s->offset)) {
        s->offset += f->delta;
        s->addr += f->delta + f->bias - f->block_bias;
    } else if (f->filled && s->kind == SHT_NOBITS && s->size && !(s->flags & SHF_TLS) && zeroed <= s->addr &&
               plus(s->addr, s->size) <= zeroed + f->filled) {
        s->kind = SHT_PROGBITS;
        s->offset = s->addr - f->bias;
    }
}

static int overlaps(const section *s, uint64_t start, uint64_t end)
{
    return s->offset < end && start < section_end(s);
}

/* Where a section was, and by how much it moved. */
typedef struct {
    uint64_t start, end, delta;
} move;

static void write_symbols(file *f, const move *moves)
{
    const section *found = NULL;
    uint64_t at = sections_at(f), table_end = at + f->section_count * f->section_size;
    size_t i;
    for (i = 0; !found && i < f->section_count; i++)
        if (f->sections[i].kind == SHT_SYMTAB)
            found = &f->sections[i];
    if (!found || section_end(found) > f->out_size)
        return;
    for (i = 0; i < f->phnum; i++) {
        const segment *p = &f->segments[i];
        if (p->kind == PT_LOAD && p->memsz && overlaps(found, p->offset, segment_end(p)))
            return;
    }
    if (overlaps(found, 0, f->header_size) || overlaps(found, f->phoff, f->phend) ||
        overlaps(found, f->start, f->end) || overlaps(found, at, table_end))
        return;
    for (at = found->offset; section_end(found) - at >= f->symbol_size; at += f->symbol_size) {
        uint8_t *p = f->out + at, *section_index = p + (f->wide ? 6 : 14), *value_at = p + (f->wide ? 8 : 4);
        unsigned index = f->little ? section_index[0] | (unsigned)section_index[1] << 8
                                   : section_index[1] | (unsigned)section_index[0] << 8;
        uint64_t value = address_of(f, value_at);
        if (index < f->section_count && moves[index].delta && moves[index].start <= value &&
            value <= moves[index].end)
            put_address(f, value_at, value + moves[index].delta);
    }
}

static void write_sections(file *f)
{
    move *moves = f->section_count ? calloc(f->section_count, sizeof *moves) : NULL;
    uint8_t *at;
    int moved = 0;
    size_t i;
    if (!f->section_count)
        return;
    if (!moves)
        fail(f, ELFEDIT_NO_MEMORY);
    for (i = 0; i < f->section_count; i++) {
        section *s = &f->sections[i];
        uint64_t addr = s->addr;
        moves[i].start = addr;
        moves[i].end = plus(addr, s->size);
        move_section(f, s);
        moves[i].delta = s->addr - addr;
        moved |= moves[i].delta != 0;
    }
    if (moved)
        write_symbols(f, moves);
    free(moves);
    at = f->out + sections_at(f);
    for (i = 0; i < f->section_count; i++, at += f->section_size)
        pack_section(f, at, &f->sections[i]);
}

/* Writing: the program headers and the ELF header. */

static void place(const file *f, segment *p, uint64_t offset)
{
    p->offset = offset;
    p->vaddr = p->paddr = offset + f->bias;
}

static void move_segment(file *f, unsigned index)
{
    segment *p = &f->segments[index];
    if (f->has_home && index == f->last_load && f->grows) {
        p->filesz = p->memsz = f->end - p->offset;
        p->flags |= f->extra_flags;
    } else if (p->kind == PT_GNU_STACK && f->edits->clear_stack) {
        p->flags &= ~(uint32_t)PF_X;
    } else if (p->kind == PT_PHDR && f->more) {
        p->filesz = p->memsz = (uint64_t)(f->phnum + f->more) * f->segment_size;
        if (f->moves_headers)
            place(f, p, f->headers_at);
    } else if (f->has_dynamic && index == f->dynamic && f->moves_dynamic) {
        p->filesz = p->memsz = new_entries_size(f);
        place(f, p, f->new_dynamic_at);
    } else if (movable_segment(p->kind) && p->filesz && in_block(f, p->offset)) {
        place(f, p, p->offset + f->delta);
    }
}

static void write_segments(file *f)
{
    uint8_t *at = f->out + f->headers_at;
    unsigned i, empty = f->slots, count = 0;
    for (i = 0; i < f->phnum; i++)
        move_segment(f, i);
    for (i = 0; i < f->phnum; i++) {
        if (f->segments[i].kind == PT_NULL && empty > 0) {
            empty--;
            continue;
        }
        pack_segment(f, at + (size_t)count++ * f->segment_size, &f->segments[i]);
        if (i == f->last_load && f->grows && !f->has_home) {
            segment p = {PT_LOAD, PF_R | f->extra_flags, f->start, 0, 0, 0, 0, f->page};
            p.vaddr = p.paddr = f->start + f->bias;
            p.filesz = p.memsz = f->end - f->start;
            pack_segment(f, at + (size_t)count++ * f->segment_size, &p);
        }
    }
    if (f->stack_header) {
        segment p = {PT_GNU_STACK, PF_R | PF_W, 0, 0, 0, 0, 0, 16};
        pack_segment(f, at + (size_t)count++ * f->segment_size, &p);
    }
    put_address(f, f->out + (f->wide ? 32 : 28), f->headers_at);
    put(f, f->out + (f->wide ? 56 : 44), count, 2);
    if (f->shoff >= f->start && f->shift)
        put_address(f, f->out + (f->wide ? 40 : 32), sections_at(f));
    if (!f->section_count) {
        put_address(f, f->out + (f->wide ? 40 : 32), 0);
        memset(f->out + (f->wide ? 60 : 48), 0, 4);
    }
}

/* Loaders write into the dynamic segment, except where it never was writable. */
static uint32_t find_flags(const file *f)
{
    unsigned i;
    for (i = 0; i < f->phnum; i++) {
        const segment *p = &f->segments[i];
        if (p->kind == PT_LOAD && p->memsz && p->offset <= f->dynamic_at && f->dynamic_at < segment_end(p))
            return p->flags & PF_W;
    }
    return 0;
}

static void edit(file *f)
{
    const elfedit_edits *e = f->edits;
    int named = e->soname.start || e->renamed_count || e->removed_count || e->added_count || e->path.start;
    uint64_t entries;
    read_file(f);
    plan_stack(f);
    if (named || f->stack_header)
        plan_dynamic(f, named);
    if (!(f->stack_flags || f->stack_header || f->needs.count || f->changed))
        return;
    check_segments(f);
    check_regions(f);
    place_names(f);
    entries = f->new.count;
    f->moves_dynamic = entries > f->old.count && entries + 1 > f->capacity;
    f->grows = f->addition || f->moves_dynamic;
    f->extra_flags = f->moves_dynamic ? find_flags(f) : 0;
    f->start = f->end = f->size;
    f->headers_at = f->phoff;
    f->new_dynamic_at = f->dynamic_at;
    choose_home(f);
    choose_slots(f);
    allocate(f);
    write_names(f);
    if (f->grows)
        write_content(f);
    write_dynamic(f);
    write_sections(f);
    write_segments(f);
}

/* Stripping. */

static int starts_with(const uint8_t *text, uint64_t room, const char *prefix)
{
    size_t size = strlen(prefix);
    return size <= room && memcmp(text, prefix, size) == 0;
}

static int is_debugging(const uint8_t *text, uint64_t room)
{
    static const char *const prefixes[] = {".debug", ".gnu.debuglto_.debug_", ".gnu.linkonce.wi.", ".zdebug",
                                           ".line", ".stab", ".gdb_index"};
    size_t i;
    for (i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (starts_with(text, room, prefixes[i]))
            return 1;
    return 0;
}

static int unneeded(const file *f, const section *s, range names)
{
    if (s->kind == SHT_NULL || s->kind == SHT_STRTAB)
        return 0;
    if (s->kind == SHT_SYMTAB || s->kind == SHT_SYMTAB_SHNDX || s->kind == SHT_REL || s->kind == SHT_RELA ||
        s->kind == SHT_GROUP)
        return 1;
    return s->name < names.end - names.start &&
           is_debugging(f->data + names.start + s->name, names.end - names.start - s->name);
}

enum { DROPPED = 1, LINKED_BY_DROPPED = 2, LINKED_BY_KEPT = 4 };

/* Find what to drop; `marks` has a byte for each section. The number of those. */
static size_t find_unneeded(const file *f, uint8_t *marks)
{
    const section *s = f->sections, *names = &s[f->shstrndx];
    range table = {names->offset, section_end(names)};
    size_t i, count = 0;
    if (table.end > f->size)
        table.end = f->size;
    if (table.start > table.end)
        table.start = table.end;
    for (i = 0; i < f->section_count; i++)
        if (!(s[i].flags & SHF_ALLOC) && unneeded(f, &s[i], table))
            marks[i] = DROPPED;
    for (i = 0; i < f->section_count; i++)
        if (s[i].link < f->section_count)
            marks[s[i].link] |= marks[i] & DROPPED ? LINKED_BY_DROPPED : LINKED_BY_KEPT;
    for (i = 0; i < f->section_count; i++) {
        if (s[i].kind == SHT_STRTAB && !(s[i].flags & SHF_ALLOC) &&
            (marks[i] & (LINKED_BY_DROPPED | LINKED_BY_KEPT)) == LINKED_BY_DROPPED)
            marks[i] = i != f->shstrndx ? DROPPED : 0;
        count += marks[i] & DROPPED;
    }
    return count;
}

static void renumber(file *f, const uint8_t *marks, uint32_t *index_of)
{
    section *s = f->sections;
    size_t i, count = 0, old_count = f->section_count, last_loaded = 0;
    for (i = 0; i < old_count; i++)
        if (s[i].flags & SHF_ALLOC)
            last_loaded = i;
    for (i = 0; i < old_count; i++) {
        if (!(marks[i] & DROPPED)) {
            index_of[i] = (uint32_t)count;
            s[count++] = s[i];
        } else if (i < last_loaded) {
            memset(&s[count++], 0, sizeof *s);
        }
    }
    for (i = 0; i < count; i++) {
        if (s[i].link < old_count)
            s[i].link = index_of[s[i].link];
        if ((s[i].flags & SHF_INFO_LINK) && s[i].info < old_count)
            s[i].info = index_of[s[i].info];
    }
    f->shstrndx = index_of[f->shstrndx];
    f->section_count = count;
}

static uint64_t end_of_loaded(const file *f)
{
    uint64_t end = f->header_size > f->phend ? f->header_size : f->phend;
    size_t i;
    for (i = 0; i < f->phnum; i++)
        if (segment_end(&f->segments[i]) > end)
            end = segment_end(&f->segments[i]);
    for (i = 0; i < f->section_count; i++)
        if ((f->sections[i].flags & SHF_ALLOC) && section_end(&f->sections[i]) > end)
            end = section_end(&f->sections[i]);
    return end;
}

/* A section that stays, in the order of places; those at the same place in the order of headers. */
typedef struct {
    uint64_t offset, to;
    size_t index;
} stay;

static int by_offset(const void *a, const void *b)
{
    const stay *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

/* Give what stays its place behind the loaded bytes. The size of the file then; 0 where it does not get smaller. */
static uint64_t pack(const file *f, uint64_t loaded, stay *stays, size_t *count, uint64_t *shoff)
{
    uint64_t cursor = loaded;
    size_t i;
    *count = 0;
    for (i = 0; i < f->section_count; i++) {
        const section *s = &f->sections[i];
        if (section_filesz(s) && !(s->flags & SHF_ALLOC) && section_end(s) > loaded) {
            stays[*count].offset = s->offset;
            stays[(*count)++].index = i;
        }
    }
    qsort(stays, *count, sizeof *stays, by_offset);
    for (i = 0; i < *count; i++) {
        const section *s = &f->sections[stays[i].index];
        if (s->offset < loaded || section_end(s) > f->size)
            return 0;
        if (s->align > 1 && s->align <= LARGEST_PAGE && !(s->align & (s->align - 1)))
            cursor = pad(cursor, s->align);
        stays[i].to = cursor;
        cursor += s->size;
        if (cursor > f->size)
            return 0;
    }
    *shoff = f->shoff;
    if (f->shoff >= loaded) {
        *shoff = pad(cursor, 8);
        cursor = *shoff + f->section_count * f->section_size;
    } else if (f->shend > loaded) {
        return 0;
    }
    return cursor > f->size ? 0 : cursor;
}

static void write_stripped(file *f, stay *stays)
{
    uint64_t loaded = end_of_loaded(f), shoff = 0, size = 0;
    size_t count = 0, i;
    if (loaded <= f->size)
        size = pack(f, loaded, stays, &count, &shoff);
    f->stripped = malloc((size_t)(size ? size : f->size));
    if (!f->stripped)
        fail(f, ELFEDIT_NO_MEMORY);
    if (size) {
        memcpy(f->stripped, f->data, (size_t)loaded);
        memset(f->stripped + loaded, 0, (size_t)(size - loaded));
        for (i = 0; i < count; i++) {
            section *s = &f->sections[stays[i].index];
            memcpy(f->stripped + stays[i].to, f->data + s->offset, (size_t)s->size);
            s->offset = stays[i].to;
        }
        f->shoff = shoff;
        f->size = size;
    } else {
        memcpy(f->stripped, f->data, (size_t)f->size);
    }
    for (i = 0; i < f->section_count; i++)
        pack_section(f, f->stripped + f->shoff + i * f->section_size, &f->sections[i]);
    put_address(f, f->stripped + (f->wide ? 40 : 32), f->shoff);
    put(f, f->stripped + (f->wide ? 60 : 48), f->section_count, 2);
    put(f, f->stripped + (f->wide ? 62 : 50), f->shstrndx, 2);
    f->data = f->stripped;
}

static void check_section_headers(file *f)
{
    range table = {f->shoff, f->shend};
    unsigned i;
    int overlap = table.start < f->header_size || (table.start < f->phend && f->phoff < table.end);
    for (i = 0; i < f->phnum; i++)
        if (f->segments[i].kind == PT_LOAD && table.start < segment_end(&f->segments[i]) &&
            f->segments[i].offset < table.end)
            overlap = 1;
    if (overlap)
        refuse(f, "its section headers overlap with what is loaded");
}

/* The scratch of stripping is one piece, kept where a failure frees it. */
static void strip(file *f)
{
    size_t count;
    uint8_t *marks;
    stay *stays;
    uint32_t *index_of;
    read_file(f);
    count = f->section_count;
    if (!count || half(f, f->wide ? 60 : 48) == 0 || f->shstrndx >= count)
        return;
    f->scratch = stays = calloc(count, sizeof *stays + sizeof *index_of + 1);
    if (!stays)
        fail(f, ELFEDIT_NO_MEMORY);
    index_of = (uint32_t *)(void *)(stays + count);
    marks = (uint8_t *)(index_of + count);
    if (find_unneeded(f, marks)) {
        check_section_headers(f);
        renumber(f, marks, index_of);
        write_stripped(f, stays);
    }
}

static void run_edits(file *f)
{
    elfscan_facts facts;
    elfscan_error error;
    int outcome = elfscan_read(f->data, (size_t)f->size, &facts, &error);
    elfscan_free(&facts);
    if (outcome == ELFSCAN_MALFORMED) {
        f->error->offset = error.offset;
        memcpy(f->error->what, error.what, sizeof error.what);
        fail(f, ELFEDIT_MALFORMED);
    }
    if (outcome != ELFSCAN_OK)
        fail(f, ELFEDIT_NO_MEMORY);
    if (f->edits->strip)
        strip(f);
    edit(f);
    if (!f->out && !f->stripped)
        return;
    if (f->out)
        outcome = elfscan_read(f->out, (size_t)f->out_size, &facts, &error);
    else
        outcome = elfscan_read(f->stripped, (size_t)f->size, &facts, &error);
    elfscan_free(&facts);
    if (outcome == ELFSCAN_MALFORMED)
        refuse(f, "its structures depend on each other in a way that the edit would break");
    if (outcome != ELFSCAN_OK)
        fail(f, ELFEDIT_NO_MEMORY);
}

int elfedit_apply(const uint8_t *data, size_t size, const elfedit_edits *edits, uint8_t **out, size_t *out_size,
                  elfedit_error *error)
{
    /* One jump out of any depth, as in the scanner. */
    file *f = calloc(1, sizeof *f);
    int outcome;
    *out = NULL;
    *out_size = 0;
    if (!f)
        return ELFEDIT_NO_MEMORY;
    f->data = data;
    f->size = size;
    f->edits = edits;
    f->error = error;
    if (setjmp(f->fail) == 0) {
        run_edits(f);
        f->outcome = f->out || f->stripped ? ELFEDIT_OK : ELFEDIT_UNCHANGED;
    }
    outcome = f->outcome;
    if (outcome == ELFEDIT_OK) {
        *out = f->out ? f->out : f->stripped;
        *out_size = (size_t)(f->out ? f->out_size : f->size);
        if (f->out)
            free(f->stripped);
    } else {
        if (!edits->allocate)
            free(f->out);
        free(f->stripped);
    }
    free(f->sections);
    free(f->scratch);
    free(f->old.items);
    free(f->new.items);
    free(f->needs.items);
    free(f->freed.items);
    free(f->names.items);
    free(f);
    return outcome;
}
