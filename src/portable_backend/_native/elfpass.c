/* See elfpass.h. */
#include "elfpass.h"

#include <stdlib.h>
#include <string.h>

#include "sha256.h"

enum {
    STB_GLOBAL = 1,
    STB_WEAK = 2,
    STB_GNU_UNIQUE = 10,
    STT_GNU_IFUNC = 10,
    STV_DEFAULT = 0,
    STV_PROTECTED = 3
};

/* Longer strings, more of them that no symbol bears, and names that share more of their bytes are out of the ordinary. */
enum { LONGEST = 1 << 20, MOST_STRAYS = 1 << 16, SHARED = 2 };

/* Names by which an interpreter knows a module or looks for what is its own, and by which a scan may be asked. */
static const char *const KNOWN[] = {"Py", "_Py", "init", "_cffi_pypyinit_"};

elfpass *elfpass_new(int wide, int little, uint64_t irelative)
{
    elfpass *pass = calloc(1, sizeof *pass);
    if (pass) {
        pass->wide = wide;
        pass->little = little;
        pass->irelative = irelative;
    }
    return pass;
}

void elfpass_free(elfpass *pass)
{
    if (!pass)
        return;
    free(pass->names);
    free(pass->kinds);
    free(pass->digests);
    free(pass->texts);
    free(pass->bytes);
    free(pass->order);
    free(pass->string);
    free(pass);
}

static uint64_t number(const elfpass *pass, const uint8_t *p, unsigned width)
{
    uint64_t value = 0;
    unsigned i;
    for (i = 0; i < width; i++)
        value |= (uint64_t)p[pass->little ? i : width - 1 - i] << 8 * i;
    return value;
}

/* Have room for `count` items in *items, of which there is some for *room; 0 if there is no memory. */
static int reserve(void **items, size_t *room, size_t count, size_t width)
{
    size_t more = *room + *room / 2 + 1024;
    void *grown;
    if (count <= *room)
        return 1;
    if (more < count)
        more = count;
    grown = more <= SIZE_MAX / width ? realloc(*items, more * width) : NULL;
    if (!grown)
        return 0;
    *items = grown;
    *room = more;
    return 1;
}

/* Entries of one width, of which the last may go on in the next piece. */
static void feed_entries(elfpass *pass, uint8_t *part, unsigned *has, unsigned width, const uint8_t *data, size_t size,
                         void (*take)(elfpass *, void *, const uint8_t *), void *context)
{
    if (*has > 0) {
        size_t wanted = width - *has, given = size < wanted ? size : wanted;
        memcpy(part + *has, data, given);
        *has += (unsigned)given;
        data += given;
        size -= given;
        if (*has < width)
            return;
        take(pass, context, part);
    }
    for (; size >= width; data += width, size -= width)
        take(pass, context, data);
    memcpy(part, data, size);
    *has = (unsigned)size;
}

/* Symbols. */

static void take_symbol(elfpass *pass, void *none, const uint8_t *symbol)
{
    uint32_t name = (uint32_t)number(pass, symbol, 4);
    unsigned info = symbol[pass->wide ? 4 : 12], visibility = symbol[pass->wide ? 5 : 13] & 3, binding = info >> 4;
    int undefined = number(pass, symbol + (pass->wide ? 6 : 14), 2) == 0, kind = 0;
    size_t room = pass->room;
    (void)none;
    if (pass->count == room) {
        if (!reserve((void **)&pass->names, &room, pass->count + 1, sizeof *pass->names) ||
            !reserve((void **)&pass->kinds, &pass->room, pass->count + 1, sizeof *pass->kinds)) {
            pass->useless = 1;
            return;
        }
    }
    if (!undefined && (info & 0xF) == STT_GNU_IFUNC)
        kind |= ELFPASS_INDIRECT;
    if (pass->count > 0 && name != 0 && (binding == STB_GLOBAL || binding == STB_WEAK || binding == STB_GNU_UNIQUE)) {
        kind |= ELFPASS_NAMED | (undefined ? ELFPASS_UNDEFINED : 0) | (binding == STB_WEAK ? ELFPASS_WEAK : 0);
        pass->referred++;
    }
    if (visibility == STV_DEFAULT || visibility == STV_PROTECTED)
        kind |= ELFPASS_VISIBLE;
    pass->names[pass->count] = name;
    pass->kinds[pass->count++] = (uint8_t)kind;
}

/* Let the item at `at` sink in a heap of `count` (the largest one on top). */
static void sink(uint64_t *items, size_t at, size_t count)
{
    uint64_t item = items[at];
    size_t child;
    while ((child = 2 * at + 1) < count) {
        if (child + 1 < count && items[child + 1] > items[child])
            child++;
        if (items[child] <= item)
            break;
        items[at] = items[child];
        at = child;
    }
    items[at] = item;
}

/* In place, without recursion, and nothing to do where a linker wrote names in the order of the symbols. */
static void sort(uint64_t *items, size_t count)
{
    size_t i;
    for (i = 1; i < count && items[i - 1] <= items[i]; i++)
        ;
    if (i >= count)
        return;
    for (i = count / 2; i-- > 0;)
        sink(items, i, count);
    for (i = count; i-- > 1;) {
        uint64_t last = items[i];
        items[i] = items[0];
        items[0] = last;
        sink(items, 0, i);
    }
}

/* All symbols have come by, and the strings begin. */
static void order_names(elfpass *pass)
{
    size_t i, count = 0;
    if (pass->symbols_at < pass->symbols_end || pass->count > UINT32_MAX) { /* too early, or more than there can be */
        pass->useless = 1;
        return;
    }
    pass->order = malloc((pass->referred + 1) * sizeof *pass->order);
    pass->digests = calloc(pass->count + 1, sizeof *pass->digests);
    if (!pass->order || !pass->digests) {
        pass->useless = 1;
        return;
    }
    for (i = 0; i < pass->count; i++)
        if (pass->kinds[i] & ELFPASS_NAMED)
            pass->order[count++] = (uint64_t)pass->names[i] << 32 | i;
    sort(pass->order, count);
}

/* Names. */

static int is_known(const uint8_t *name, size_t size)
{
    size_t i;
    for (i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++)
        if (size >= strlen(KNOWN[i]) && memcmp(name, KNOWN[i], strlen(KNOWN[i])) == 0)
            return 1;
    return 0;
}

static void keep(elfpass *pass, uint64_t offset, const uint8_t *text, size_t size)
{
    elfpass_text *kept = pass->texts + pass->text_count;
    if (pass->text_count && kept[-1].offset == offset)
        return;
    if (!reserve((void **)&pass->texts, &pass->text_room, pass->text_count + 1, sizeof *pass->texts) ||
        !reserve((void **)&pass->bytes, &pass->byte_room, pass->byte_count + size + 1, 1)) {
        pass->useless = 1;
        return;
    }
    kept = pass->texts + pass->text_count++;
    kept->offset = (uint32_t)offset;
    kept->size = (uint32_t)size;
    kept->place = pass->byte_count;
    memcpy(pass->bytes + kept->place, text, size);
    pass->bytes[kept->place + size] = 0;
    pass->byte_count += size + 1;
}

uint64_t elfpass_digest(const uint8_t *name, size_t size)
{
    sha256_state state;
    uint8_t digest[SHA256_DIGEST];
    uint64_t first;
    sha256_start(&state);
    sha256_add(&state, name, size);
    sha256_end(&state, digest);
    memcpy(&first, digest, sizeof first);
    return first;
}

/* The name of a symbol has come by. */
static void name_symbol(elfpass *pass, size_t index, uint64_t offset, const uint8_t *name, size_t size)
{
    uint8_t *kind = pass->kinds + index;
    pass->names_size += size + 1;
    if (pass->names_size > SHARED * (pass->strings_end - pass->strings_start) + LONGEST) {
        pass->useless = 1;
    } else if (size == 0) {
        *kind &= (uint8_t)~ELFPASS_NAMED;
    } else if (*kind & ELFPASS_UNDEFINED) {
        keep(pass, offset, name, size);
    } else {
        pass->digests[index] = elfpass_digest(name, size);
        if (is_known(name, size)) {
            *kind |= ELFPASS_KEPT;
            keep(pass, offset, name, size);
        }
    }
}

static void end_string(elfpass *pass, const uint8_t *text, size_t size)
{
    const uint64_t start = pass->string_start, end = start + size;
    if (size && (pass->next == pass->referred || pass->order[pass->next] >> 32 != start)) { /* no symbol bears it */
        if (++pass->strays > MOST_STRAYS)
            pass->useless = 1;
        else
            keep(pass, start, text, size);
    }
    while (!pass->useless && pass->next < pass->referred && pass->order[pass->next] >> 32 <= end) {
        uint64_t offset = pass->order[pass->next] >> 32, index = pass->order[pass->next] & UINT32_MAX;
        pass->next++;
        if (offset < start)
            pass->useless = 1; /* cannot be: it would have come by before */
        else
            name_symbol(pass, (size_t)index, offset, text + (offset - start), (size_t)(end - offset));
    }
    pass->string_start = end + 1;
}

static void feed_strings(elfpass *pass, const uint8_t *data, size_t size)
{
    while (size > 0 && !pass->useless) {
        const uint8_t *zero = memchr(data, 0, size);
        size_t part = zero ? (size_t)(zero - data) : size;
        if (!zero || pass->string_size > 0) {
            if (pass->string_size + part > LONGEST ||
                !reserve((void **)&pass->string, &pass->string_room, pass->string_size + part + 1, 1)) {
                pass->useless = 1;
                return;
            }
            memcpy(pass->string + pass->string_size, data, part);
            pass->string_size += part;
        }
        if (zero) {
            if (pass->string_size > 0)
                end_string(pass, pass->string, pass->string_size);
            else
                end_string(pass, data, part);
            pass->string_size = 0;
            part++;
        }
        data += part;
        size -= part;
    }
}

/* All strings have come by: each name has been found, and the last string has an end. */
static void end_strings(elfpass *pass)
{
    if (pass->string_size > 0 || pass->next < pass->referred)
        pass->useless = 1;
    free(pass->order);
    free(pass->string);
    pass->order = NULL;
    pass->string = NULL;
    pass->string_room = 0;
}

/* Relocations. */

static void take_relocation(elfpass *pass, void *context, const uint8_t *relocation)
{
    elfpass_relocations *table = context;
    unsigned width = pass->wide ? 8 : 4;
    uint64_t info = number(pass, relocation + width, width), mask = pass->wide ? UINT32_MAX : 0xFF;
    if (info > table->highest)
        table->highest = info;
    if ((info & mask) == pass->irelative)
        table->indirect = 1;
}

/* Hashes. */

/* Header, filter, buckets, and one word for each symbol from `first` on, whose lowest bit ends a chain. */
static void take_hash(elfpass *pass, void *context, const uint8_t *bytes)
{
    elfpass_hash *table = context;
    const uint64_t word = number(pass, bytes, 4), place = table->place++;
    const uint64_t buckets = 4 + table->bloom * (pass->wide ? 2 : 1), chains = buckets + table->buckets;
    if (place == 0)
        table->buckets = word;
    else if (place == 1)
        table->first = word;
    else if (place == 2)
        table->bloom = word;
    else if (place == 3 || place < buckets)
        return;
    else if (place < chains)
        table->highest = word > table->highest ? word : table->highest;
    else if (table->highest && table->highest >= table->first && place == chains + (table->highest - table->first) && !table->count) {
        table->highest++;
        if (word & 1)
            table->count = table->highest;
    }
}

/* Cut out of a piece what follows in a table; 0 if nothing does, or what came before it is missing. */
static int cut(elfpass *pass, uint64_t *at, uint64_t end, uint64_t position, const uint8_t **data, size_t *size)
{
    uint64_t last = position + *size < end ? position + *size : end;
    if (*at >= last)
        return 0;
    if (position > *at) {
        pass->useless = 1;
        return 0;
    }
    *data += *at - position;
    *size = (size_t)(last - *at);
    *at = last;
    return 1;
}

void elfpass_feed(elfpass *pass, uint64_t position, const uint8_t *data, size_t size)
{
    const uint8_t *some = data;
    size_t count = size, i;
    if (!pass->useless && cut(pass, &pass->symbols_at, pass->symbols_end, position, &some, &count))
        feed_entries(pass, pass->part, &pass->has, pass->wide ? 24 : 16, some, count, take_symbol, NULL);
    some = data;
    count = size;
    if (!pass->useless && cut(pass, &pass->strings_at, pass->strings_end, position, &some, &count)) {
        if (!pass->order)
            order_names(pass);
        feed_strings(pass, some, count);
        if (pass->strings_at == pass->strings_end && !pass->useless)
            end_strings(pass);
    }
    some = data;
    count = size;
    if (!pass->useless && cut(pass, &pass->hash.at, pass->hash.end, position, &some, &count))
        feed_entries(pass, pass->hash.part, &pass->hash.has, 4, some, count, take_hash, &pass->hash);
    for (i = 0; !pass->useless && i < pass->relocation_count; i++) {
        elfpass_relocations *table = pass->relocations + i;
        some = data;
        count = size;
        if (cut(pass, &table->at, table->end, position, &some, &count))
            feed_entries(pass, table->part, &table->has, table->width, some, count, take_relocation, table);
    }
}

int elfpass_is_done(const elfpass *pass)
{
    size_t i;
    for (i = 0; i < pass->relocation_count; i++)
        if (pass->relocations[i].at < pass->relocations[i].end)
            return 0;
    return pass->symbols_at == pass->symbols_end && pass->strings_at == pass->strings_end &&
           pass->hash.at == pass->hash.end;
}

int elfpass_has(const elfpass *pass, uint64_t start, uint64_t end)
{
    size_t i;
    if (start >= pass->symbols_start && end <= pass->symbols_end)
        return 1;
    if (start >= pass->strings_start && end <= pass->strings_end)
        return 1;
    if (start >= pass->hash.start && end <= pass->hash.end)
        return 1;
    for (i = 0; i < pass->relocation_count; i++)
        if (start >= pass->relocations[i].start && end <= pass->relocations[i].end)
            return 1;
    return 0;
}

void elfpass_forget(elfpass *pass)
{
    free(pass->names);
    free(pass->kinds);
    pass->names = NULL;
    pass->kinds = NULL;
    pass->room = pass->count = 0;
    pass->useless = 1;
}

const uint8_t *elfpass_string(const elfpass *pass, uint64_t offset, size_t *size)
{
    size_t low = 0, high = pass->text_count;
    const elfpass_text *text;
    while (low < high) { /* the last one that begins at `offset` or before */
        size_t middle = low + (high - low) / 2;
        if (pass->texts[middle].offset <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return NULL;
    text = pass->texts + low - 1;
    if (offset - text->offset > text->size)
        return NULL;
    *size = (size_t)(text->size - (offset - text->offset));
    return pass->bytes + text->place + (offset - text->offset);
}
