#include "search.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { NUMBERS = 6, DIGITS = 9 };

/* Where the zero lies behind the numbers that follow ".so" at `at`; 0 (where no zero can be) if none does. */
static size_t end_of(const uint8_t *data, size_t size, size_t at)
{
    int numbers, digits;
    for (numbers = 0; at < size; numbers++) {
        if (data[at] == 0)
            return at;
        if (data[at] != '.' || numbers == NUMBERS)
            return 0;
        at++;
        for (digits = 0; at < size && data[at] >= '0' && data[at] <= '9'; digits++)
            at++;
        if (digits < 1 || digits > DIGITS)
            return 0;
    }
    return 0;
}

/* The first ".s" at or after `at` that has a byte behind it, or `size`. */
static size_t next_beginning(const uint8_t *data, size_t size, size_t at)
{
#ifdef __SSE2__
    const __m128i point = _mm_set1_epi8('.'), letter = _mm_set1_epi8('s');
    for (; size - at > 17; at += 16) {
        __m128i here = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(const void *)(data + at)), point);
        __m128i next = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(const void *)(data + at + 1)), letter);
        if (_mm_movemask_epi8(_mm_and_si128(here, next)))
            break; /* within the next sixteen */
    }
#endif
    for (; size - at > 2; at++)
        if (data[at] == '.' && data[at + 1] == 's')
            return at;
    return size;
}

int search_ending(const uint8_t *data, size_t size, size_t from, size_t *mark, size_t *end)
{
    size_t at = from;
    while (at <= size && (at = next_beginning(data, size, at)) < size) {
        if (data[at + 2] == 'o' && (*end = end_of(data, size, at + 3)) != 0) {
            *mark = at;
            return 1;
        }
        at += 2;
    }
    return 0;
}
