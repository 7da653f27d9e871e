/* See packed.h. */
#include "packed.h"

#include <string.h>

int packed_next(packed_bytes *rest, packed_bytes *name)
{
    const uint8_t *zero = rest->size ? memchr(rest->start, 0, rest->size) : NULL;
    if (!zero)
        return 0;
    name->start = rest->start;
    name->size = (size_t)(zero - rest->start);
    rest->start = zero + 1;
    rest->size -= name->size + 1;
    return 1;
}

static int begins(packed_bytes name, packed_bytes with)
{
    if (with.size == 0)
        return 1;
    /* Nearly all differ in the first byte, which may be the zero. */
    return with.start[0] == name.start[0] && with.size <= name.size + 1 && memcmp(with.start, name.start, with.size) == 0;
}

int packed_next_of(packed_bytes *rest, const packed_bytes *starts, size_t count, packed_bytes *name)
{
    size_t i;
    while (packed_next(rest, name))
        for (i = 0; i < count; i++)
            if (begins(*name, starts[i]))
                return 1;
    return 0;
}

int packed_next_in(packed_bytes *rest, packed_bytes *codes, packed_bytes groups, packed_bytes *name, uint8_t *group)
{
    while (codes->size >= 2 && packed_next(rest, name)) {
        uint16_t code;
        memcpy(&code, codes->start, sizeof code);
        codes->start += sizeof code;
        codes->size -= sizeof code;
        code &= 0x7FFF;
        *group = code < groups.size ? groups.start[code] : 0;
        if (*group)
            return 1;
    }
    return 0;
}
