/* Packed names, as a scan gives those of symbols: a zero after each. No Python in here; bytes are hostile. */
#ifndef PORTABLE_BACKEND_PACKED_H
#define PORTABLE_BACKEND_PACKED_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const uint8_t *start;
    size_t size;
} packed_bytes;

/* Take the next of some packed names off them; 0 if there is none. */
int packed_next(packed_bytes *rest, packed_bytes *name);

/* The same of the next name that begins as one of some texts, where a zero is the end of the name. */
int packed_next_of(packed_bytes *rest, const packed_bytes *starts, size_t count, packed_bytes *name);

/* The same of the next name with a group. codes: an unsigned short for each name, its version index and, highest, a flag,
 * taken off as well; groups: by version index a group, 0 for none. */
int packed_next_in(packed_bytes *rest, packed_bytes *codes, packed_bytes groups, packed_bytes *name, uint8_t *group);

#endif
