/* Read one ELF file: the C mirror of ../elfscan.py, which explains it. Values, errors and their order are the same.
 *
 * No Python in here, so that a fuzzer can have it alone. Nothing is kept between calls; safe in any thread.
 */
#ifndef PORTABLE_BACKEND_ELFSCAN_H
#define PORTABLE_BACKEND_ELFSCAN_H

#include <stddef.h>
#include <stdint.h>

#include "elfpass.h"

/* A name inside of the scanned bytes, without its end mark. No name: start is NULL. */
typedef struct {
    const uint8_t *start;
    size_t size;
} elfscan_text;

/* A version index: `version` has no start where the index is a gap. `need` is 1 + the index into `needs` of the library
 * that has the version, 0 where the file defines it itself. */
typedef struct {
    elfscan_text version;
    size_t need;
} elfscan_slot;

/* The versions needed of one library: `count` texts of `needed_versions`, from `first` on. */
typedef struct {
    elfscan_text library;
    size_t first;
    size_t count;
} elfscan_need;

typedef struct {
    elfscan_text name;
    uint16_t version; /* index into `slots`; 0 is unversioned */
    uint8_t flag;     /* of an import: weak; of an export: default */
} elfscan_symbol;

typedef struct {
    void *items;
    size_t count;
    size_t room;
} elfscan_list;

typedef struct {
    int bits;
    int little;
    unsigned machine;
    unsigned type;
    uint32_t flags;
    elfscan_text interpreter;
    int dynamic;
    elfscan_text soname;
    elfscan_list needed; /* elfscan_text */
    elfscan_text rpath;
    elfscan_text runpath;
    elfscan_list needs;           /* elfscan_need */
    elfscan_list needed_versions; /* elfscan_text */
    elfscan_list definitions;     /* elfscan_text, without the base one */
    elfscan_list imports;         /* elfscan_symbol */
    elfscan_list exports;         /* elfscan_symbol; where names passed by, those alone that were kept */
    elfscan_list slots;           /* elfscan_slot, by version index: at most 32768 */
    int passed;                   /* the names passed by: of each exported symbol there is */
    const uint64_t *digests;      /* the digest of its name, in the pass, as many as there are */
    elfscan_list codes;           /* uint16_t: its version and, highest, its flag */
    int executable_stack;
    int text_relocations;
    int relr;
    int ifunc;
    uint32_t isa_needed;
} elfscan_facts;

/* What is wrong, and the offset of the structure that makes the wrong claim. */
typedef struct {
    uint64_t offset;
    char what[96];
} elfscan_error;

/* Bytes of the file that are there, and ones that are wanted. */
typedef struct {
    uint64_t offset;
    uint64_t size;
    const uint8_t *data;
} elfscan_part;

/* What a range is, as far as it need not be there but may pass by (elfpass.h). */
enum { ELFSCAN_PLAIN = 0, ELFSCAN_SYMBOLS = 1, ELFSCAN_STRINGS = 2, ELFSCAN_REL = 3, ELFSCAN_RELA = 4, ELFSCAN_HASH = 5 };

typedef struct {
    uint64_t start;
    uint64_t end;
    int kind;
} elfscan_range;

enum { ELFSCAN_OK = 0, ELFSCAN_MALFORMED = 1, ELFSCAN_NO_MEMORY = 2, ELFSCAN_MISSING = 3, ELFSCAN_USELESS = 4 };

/* The type of the relocation that calls an indirect function; of 64 bits where none is known. */
uint64_t elfscan_irelative(unsigned machine);

/* Scan `size` bytes. Fills `facts` in any case, to be released with elfscan_free; its texts point into `data`.
 * Fills `error` only when it returns ELFSCAN_MALFORMED. */
int elfscan_read(const uint8_t *data, size_t size, elfscan_facts *facts, elfscan_error *error);

/* The same of a file of `size` bytes of which only parts are there, in order and apart from each other, one at offset 0.
 * ELFSCAN_MISSING says that the facts are in others: `missing` (elfscan_range, to be released with free) lists what to
 * add to the parts before trying again, the bytes that were asked for and those that will be, as far as is known. Facts and
 * errors are those of the whole file.
 *
 * `pass`: tables that need not be there, since they have passed by or will; or NULL. ELFSCAN_USELESS says that the file can
 * only be read without it, and never that it is malformed. With ELFSCAN_OK the facts have texts of the pass, which is of no
 * use for another scan. */
int elfscan_read_parts(uint64_t size, const elfscan_part *parts, size_t count, elfpass *pass, elfscan_facts *facts,
                       elfscan_error *error, elfscan_list *missing);

void elfscan_free(elfscan_facts *facts);

#endif
