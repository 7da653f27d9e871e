/* What is kept of the large tables of an ELF file while they pass by, in pieces and once: the symbols, their names, their
 * hashes, and relocations, which together may take a hundred megabytes of which a scan asks little.
 *
 * Of the name of a symbol that others may bind to, a digest is kept: whoever asks for a name knows it. Names that the file
 * itself asks for are kept as they are, and so are strings that no symbol bears (names of libraries and versions) and
 * names by which an interpreter knows a module. The symbol table has to come by before the strings.
 *
 * What is out of the ordinary makes it useless, and the tables have to be kept whole: so the scan alone decides what is
 * wrong with a file. No Python in here, so that a fuzzer can have it alone. Memory and time are in proportion to the bytes
 * that came by.
 */
#ifndef PORTABLE_BACKEND_ELFPASS_H
#define PORTABLE_BACKEND_ELFPASS_H

#include <stddef.h>
#include <stdint.h>

enum { ELFPASS_RELOCATIONS = 3 };

/* Of a symbol: it has a name that counts; it is weak; it is wanted of others; others can see it; it is an indirect
 * function that is defined here; its name is among the texts. */
enum {
    ELFPASS_NAMED = 1,
    ELFPASS_WEAK = 2,
    ELFPASS_UNDEFINED = 4,
    ELFPASS_VISIBLE = 8,
    ELFPASS_INDIRECT = 16,
    ELFPASS_KEPT = 32
};

typedef struct {
    uint64_t start, end; /* in the file */
    uint64_t at;         /* up to where it has come by */
    unsigned width;      /* of an entry */
    uint64_t highest;    /* r_info */
    int indirect;        /* an IRELATIVE one is among them */
    uint8_t part[24];
    unsigned has;
} elfpass_relocations;

/* A GNU hash table, of which the number of symbols is asked. */
typedef struct {
    uint64_t start, end, at;
    uint64_t place; /* of the next word, in words */
    uint64_t buckets, first, bloom;
    uint64_t highest; /* symbol of a bucket; later, of the chain that it begins */
    uint64_t count;   /* of symbols; 0 until the last chain has ended */
    uint8_t part[4];
    unsigned has;
} elfpass_hash;

/* A string that is kept: where it begins in the string table, its size, and its place among the bytes. */
typedef struct {
    uint32_t offset, size;
    size_t place;
} elfpass_text;

typedef struct {
    /* What is to come by: empty ranges where it is not wanted. */
    int wide, little;
    uint64_t irelative; /* the type of IRELATIVE relocations; none of 64 bits is one */
    uint64_t symbols_start, symbols_end, symbols_at, strings_start, strings_end, strings_at;
    elfpass_relocations relocations[ELFPASS_RELOCATIONS];
    size_t relocation_count;
    elfpass_hash hash;

    /* What has come by. */
    int useless;
    size_t count; /* of symbols, the first one included */
    uint32_t *names;
    uint8_t *kinds;
    uint64_t *digests; /* the first eight bytes of the SHA-256 of each name that is to be found, as they are */
    uint64_t names_size; /* of all names that count, with their ends */
    elfpass_text *texts; /* by offset */
    size_t text_count;
    uint8_t *bytes; /* of the texts, each with its end */

    size_t room, text_room, byte_count, byte_room, strays;
    uint8_t part[24];
    unsigned has;
    uint64_t *order; /* offset of a name, highest, and its symbol */
    size_t referred, next;
    uint64_t string_start;
    uint8_t *string; /* of the string under way, what came by in pieces before */
    size_t string_size, string_room;
} elfpass;

/* NULL where there is no memory. Nothing is wanted of it yet: to add ranges is to fill the fields above. */
elfpass *elfpass_new(int wide, int little, uint64_t irelative);
void elfpass_free(elfpass *pass);

/* Bytes of the file. Those of each table have to come in order. */
void elfpass_feed(elfpass *pass, uint64_t position, const uint8_t *data, size_t size);

/* Whether all that is wanted has come by. */
int elfpass_is_done(const elfpass *pass);

/* Whether some bytes of the file are among what comes by. */
int elfpass_has(const elfpass *pass, uint64_t start, uint64_t end);

/* The string at an offset of the string table; NULL where it is not kept. */
const uint8_t *elfpass_string(const elfpass *pass, uint64_t offset, size_t *size);

/* Let go of what is known of each symbol, but for the digests. */
void elfpass_forget(elfpass *pass);

/* The digest of a name. */
uint64_t elfpass_digest(const uint8_t *name, size_t size);

#endif
