/* See lookup.h. */
#include "lookup.h"

#include <stdlib.h>
#include <string.h>

/* Slots there are four times as many as names, so that one of a million names is found within some twenty; and files that
 * have a name are gone through as often as there are references, some times over. */
enum { SPARE = 4, FIRST_SLOTS = 1024, MOST_PROBES = 64, MOST_STEPS = 64, WEAK = 0x8000 };

/* Have room for one more item; 0 if there is no memory. */
static int reserve(lookup_list *list, size_t width)
{
    size_t room = list->room ? 2 * list->room : 256;
    void *grown;
    if (list->count < list->room)
        return 1;
    grown = room <= SIZE_MAX / width ? realloc(list->items, room * width) : NULL;
    if (!grown)
        return 0;
    list->items = grown;
    list->room = room;
    return 1;
}

static int add_use(lookup_list *uses, size_t file, size_t name)
{
    lookup_use *use;
    if (!reserve(uses, sizeof *use))
        return LOOKUP_NO_MEMORY;
    use = (lookup_use *)uses->items + uses->count++;
    use->file = (uint32_t)file;
    use->name = (uint32_t)name;
    return LOOKUP_OK;
}

static uint64_t mix(uint64_t hash, const uint8_t *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ hash >> 32;
}

/* Not one that withstands names that were made to collide: those are noticed. */
static uint64_t hash_name(packed_bytes name)
{
    uint64_t hash = name.size;
    uint8_t rest[8] = {0};
    size_t at;
    for (at = 0; name.size - at > sizeof rest; at += sizeof rest)
        hash = mix(hash, name.start + at);
    if (at > 0) /* the last eight bytes, of which some were taken before */
        return mix(hash, name.start + name.size - sizeof rest);
    for (; at < name.size; at++)
        rest[at] = name.start[at];
    return mix(hash, rest);
}

/* The slot of a name, or the free one where it belongs; NULL if it takes too long to find. */
static uint32_t *find_slot(const lookup *table, packed_bytes name, uint64_t hash)
{
    const lookup_name *names = table->names.items;
    size_t at = hash & (table->slot_count - 1), probes;
    for (probes = 0; probes < MOST_PROBES; probes++) {
        uint32_t *slot = table->slots + at;
        const lookup_name *other;
        if (!*slot)
            return slot;
        other = names + *slot - 1;
        if (other->hash == hash && other->size == name.size && memcmp(other->start, name.start, name.size) == 0)
            return slot;
        at = (at + 1) & (table->slot_count - 1);
    }
    return NULL;
}

/* Have slots for one more name. */
static int grow(lookup *table)
{
    const lookup_name *names = table->names.items;
    size_t slots = table->slot_count ? 2 * table->slot_count : FIRST_SLOTS, i;
    if ((table->names.count + 1) * SPARE <= table->slot_count)
        return LOOKUP_OK;
    free(table->slots);
    table->slot_count = slots;
    table->slots = calloc(slots, sizeof *table->slots);
    if (!table->slots)
        return LOOKUP_NO_MEMORY;
    for (i = 0; i < table->names.count; i++) {
        size_t at = names[i].hash & (slots - 1), probes;
        for (probes = 0; table->slots[at] && probes < MOST_PROBES; probes++)
            at = (at + 1) & (slots - 1);
        if (table->slots[at])
            return LOOKUP_CROWDED;
        table->slots[at] = (uint32_t)i + 1;
    }
    return LOOKUP_OK;
}

/* Have a name in the table, and say where it is. */
static int keep_name(lookup *table, packed_bytes name, size_t *place)
{
    uint64_t hash = hash_name(name);
    lookup_name *kept;
    uint32_t *slot;
    int outcome = grow(table);
    if (outcome != LOOKUP_OK)
        return outcome;
    slot = find_slot(table, name, hash);
    if (!slot || name.size >= UINT32_MAX || table->names.count >= UINT32_MAX - 1)
        return LOOKUP_CROWDED;
    if (!*slot) {
        if (!reserve(&table->names, sizeof *kept))
            return LOOKUP_NO_MEMORY;
        kept = (lookup_name *)table->names.items + table->names.count++;
        memset(kept, 0, sizeof *kept);
        kept->hash = hash;
        kept->start = name.start;
        kept->size = (uint32_t)name.size;
        *slot = (uint32_t)table->names.count;
    }
    *place = *slot - 1;
    return LOOKUP_OK;
}

/* A strong reference. */
static int take_import(lookup *table, size_t file, packed_bytes name, int counted)
{
    lookup_name *kept;
    size_t place;
    int outcome;
    if (counted) {
        outcome = keep_name(table, name, &place);
        if (outcome != LOOKUP_OK)
            return outcome;
    } else {
        uint32_t *slot = find_slot(table, name, hash_name(name));
        if (!slot || !*slot)
            return slot ? LOOKUP_OK : LOOKUP_CROWDED;
        place = *slot - 1;
    }
    kept = (lookup_name *)table->names.items + place;
    if (kept->watched && (outcome = add_use(&table->watched, file, place)) != LOOKUP_OK)
        return outcome;
    if (!counted || kept->user == file + 1)
        return LOOKUP_OK;
    kept->user = (uint32_t)file + 1;
    return add_use(&table->missing, file, place);
}

static int take_imports(lookup *table, size_t number, const lookup_file *file)
{
    packed_bytes rest = file->imports, name;
    size_t at;
    for (at = 0; file->codes.size - at >= 2 && packed_next(&rest, &name); at += 2) {
        uint16_t code;
        int outcome;
        memcpy(&code, file->codes.start + at, sizeof code);
        if (code & WEAK)
            continue;
        outcome = take_import(table, number, name, code < file->counted.size && file->counted.start[code]);
        if (outcome != LOOKUP_OK)
            return outcome;
    }
    return LOOKUP_OK;
}

static int take_exports(lookup *table, size_t number, packed_bytes exports)
{
    lookup_name *names = table->names.items, *kept;
    lookup_provider *providers;
    packed_bytes name;
    while (packed_next(&exports, &name)) {
        const uint32_t *slot = find_slot(table, name, hash_name(name));
        if (!slot)
            return LOOKUP_CROWDED;
        if (!*slot)
            continue;
        kept = names + *slot - 1;
        providers = table->providers.items;
        if (kept->last && providers[kept->last - 1].file == number)
            continue;
        if (table->providers.count >= UINT32_MAX - 1)
            return LOOKUP_CROWDED;
        if (!reserve(&table->providers, sizeof *providers))
            return LOOKUP_NO_MEMORY;
        providers = table->providers.items;
        providers[table->providers.count].file = (uint32_t)number;
        providers[table->providers.count++].next = 0;
        if (kept->last)
            providers[kept->last - 1].next = (uint32_t)table->providers.count;
        else
            kept->first = (uint32_t)table->providers.count;
        kept->last = (uint32_t)table->providers.count;
    }
    return LOOKUP_OK;
}

static int is_in(packed_bytes scope, uint32_t file)
{
    return file / 8 < scope.size && (scope.start[file / 8] >> file % 8 & 1);
}

/* Of all names that are looked up, leave those that no file of a scope has. */
static int leave_missing(lookup *table, const lookup_file *files)
{
    const lookup_provider *providers = table->providers.items;
    lookup_name *names = table->names.items;
    lookup_use *uses = table->missing.items;
    size_t i, left = 0, steps = 0;
    for (i = 0; i < table->missing.count; i++) {
        lookup_name *name = names + uses[i].name;
        uint32_t at = name->first;
        for (; at && !is_in(files[uses[i].file].scope, providers[at - 1].file); at = providers[at - 1].next)
            steps++;
        if (steps / MOST_STEPS > table->missing.count)
            return LOOKUP_CROWDED;
        if (!at) {
            name->missed = 1;
            uses[left++] = uses[i];
        }
    }
    table->missing.count = left;
    return LOOKUP_OK;
}

int lookup_run(lookup *result, const lookup_file *files, size_t count, packed_bytes watched)
{
    packed_bytes name;
    size_t i, place;
    int outcome;
    memset(result, 0, sizeof *result);
    outcome = count < UINT32_MAX ? grow(result) : LOOKUP_CROWDED;
    while (outcome == LOOKUP_OK && packed_next(&watched, &name)) {
        outcome = keep_name(result, name, &place);
        if (outcome == LOOKUP_OK)
            ((lookup_name *)result->names.items)[place].watched = 1;
    }
    for (i = 0; outcome == LOOKUP_OK && i < count; i++)
        outcome = take_imports(result, i, files + i);
    for (i = 0; outcome == LOOKUP_OK && i < count; i++)
        outcome = take_exports(result, i, files[i].exports);
    return outcome == LOOKUP_OK ? leave_missing(result, files) : outcome;
}

void lookup_free(lookup *result)
{
    free(result->names.items);
    free(result->providers.items);
    free(result->missing.items);
    free(result->watched.items);
    free(result->slots);
}
