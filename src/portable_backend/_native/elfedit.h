/* Edit one ELF file: the C mirror of ../elfedit.py, which explains it. Bytes, errors and their order are the same.
 *
 * No Python in here, so that a fuzzer can have it alone. Nothing is kept between calls; safe in any thread.
 */
#ifndef PORTABLE_BACKEND_ELFEDIT_H
#define PORTABLE_BACKEND_ELFEDIT_H

#include <stddef.h>
#include <stdint.h>

/* A name without its end mark, and without one in it. No name: start is NULL. */
typedef struct {
    const uint8_t *start;
    size_t size;
} elfedit_name;

typedef struct {
    elfedit_name soname;         /* none: keep */
    const elfedit_name *renamed; /* pairs: old, new */
    size_t renamed_count;        /* of pairs */
    const elfedit_name *removed;
    size_t removed_count;
    const elfedit_name *added;
    size_t added_count;
    uint64_t path_tag; /* DT_RPATH or DT_RUNPATH, for `path`; the other one is removed */
    elfedit_name path; /* none: keep both; empty: remove both */
    int clear_stack;
    int strip;
    /* Where the result is to be made, so that it need not be copied; NULL: malloc(). Asked once at most. It begins with
     * `*same` bytes of `data`; of these what returns has as many as `*same` says then, none if it is set to 0. */
    uint8_t *(*allocate)(void *context, size_t size, size_t *same);
    /* Told of parts of `data`, and of nothing else, that were copied and of which little is looked at again; NULL:
     * nobody asks. */
    void (*passed)(void *context, const uint8_t *start, size_t size);
    void *context;
} elfedit_edits;

/* Why not; `offset` is told of malformed files only. */
typedef struct {
    uint64_t offset;
    char what[128];
} elfedit_error;

enum { ELFEDIT_OK = 0, ELFEDIT_UNCHANGED, ELFEDIT_MALFORMED, ELFEDIT_REFUSED, ELFEDIT_NO_MEMORY };

/* Edit `size` bytes. ELFEDIT_OK: `*out`, of `*out_size` bytes, is the edited file: what `allocate` returned, or else to
 * be released with free(). What `allocate` returned is left to the caller whatever the outcome.
 * ELFEDIT_UNCHANGED: there is nothing to change; `*out` is NULL. */
int elfedit_apply(const uint8_t *data, size_t size, const elfedit_edits *edits, uint8_t **out, size_t *out_size,
                  elfedit_error *error);

#endif
