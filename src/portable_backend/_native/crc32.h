/* The CRC-32 of zip archives (RFC 1952, 8). No Python in here; nothing is kept. */
#ifndef PORTABLE_BACKEND_CRC32_H
#define PORTABLE_BACKEND_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of what has the checksum `crc` (0 of nothing) with `data` behind it. */
uint32_t crc32_add(uint32_t crc, const uint8_t *data, size_t size);

/* How: 0 by portable C, 1 by the best that this processor has. For tests; not to be called while others reckon. */
void crc32_choose(int the_best);

#endif
