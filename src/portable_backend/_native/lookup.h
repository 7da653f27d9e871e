/* Names of symbols that files look up, and which files have them: all those of a wheel at once, since it may have a hundred
 * thousand of them. No Python in here, so that a fuzzer can have it alone; bytes are hostile. Linear time: where names were
 * made such that it would take longer, it says so and is of no use.
 *
 * Only names that somebody looks up are kept, as places in what the caller holds. */
#ifndef PORTABLE_BACKEND_LOOKUP_H
#define PORTABLE_BACKEND_LOOKUP_H

#include <stddef.h>
#include <stdint.h>

#include "packed.h"

/* Imports and exports are packed names. */
typedef struct {
    packed_bytes imports;
    packed_bytes codes;   /* of each import an unsigned short: its version index and, highest, whether it is weak */
    packed_bytes counted; /* by version index, whether such imports are looked up by their name */
    packed_bytes exports;
    packed_bytes scope; /* the files that are loaded with it, each the bit of its number, lowest bits first */
} lookup_file;

typedef struct {
    uint64_t hash;
    const uint8_t *start;
    uint32_t size;
    uint32_t first, last; /* of its providers, by their order; 0 where there is none, or their place and one */
    uint32_t user;        /* the last file that looks it up, and one */
    int watched, missed;
} lookup_name;

/* A file that exports a name; the next one as above. */
typedef struct {
    uint32_t file, next;
} lookup_provider;

/* A file, by its number, and a name that it refers to, by its place. */
typedef struct {
    uint32_t file, name;
} lookup_use;

typedef struct {
    void *items;
    size_t count, room;
} lookup_list;

typedef struct {
    lookup_list names;     /* lookup_name */
    lookup_list providers; /* lookup_provider */
    /* lookup_use, by file: names that are looked up and that no file of the scope exports; and names that are watched, which
     * may be there twice. */
    lookup_list missing, watched;
    uint32_t *slots; /* places in `names`, and one */
    size_t slot_count;
} lookup;

enum { LOOKUP_OK, LOOKUP_NO_MEMORY, LOOKUP_CROWDED };

/* Look up the strong imports of some files among the exports of all; to be freed whatever comes out.
 * watched: names of which all strong references are told, whatever their version. */
int lookup_run(lookup *result, const lookup_file *files, size_t count, packed_bytes watched);
void lookup_free(lookup *result);

#endif
