/* See names.h. */
#include "names.h"

#include <string.h>

#include "search.h"

/* Bytes of ".so" with as many numbers as there may be, and the zero. */
enum { ENDING = 3 + 6 * 10 + 1 };

static int is_letter(uint8_t byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') || byte == '_' ||
           byte == '.' || byte == '+' || byte == '-';
}

/* As the expression "([!-~]*\/)?lib[A-Za-z0-9_+.-]+" matches all of it. */
static int is_name(const uint8_t *text, size_t size)
{
    size_t base = size, i;
    while (base > 0 && text[base - 1] != '/')
        base--;
    for (i = 0; i < base; i++)
        if (text[i] < '!' || text[i] > '~')
            return 0;
    if (size - base < 4 || memcmp(text + base, "lib", 3) != 0)
        return 0;
    for (i = base + 3; i < size; i++)
        if (!is_letter(text[i]))
            return 0;
    return 1;
}

/* Take the string that ends with the ending at `mark` and the zero at `zero`, if it is a name. */
static void take(names_state *names, const uint8_t *data, size_t mark, size_t zero, int all)
{
    size_t begin = mark, i;
    const size_t least = mark > NAMES_LONGEST ? mark - NAMES_LONGEST : 0;
    while (begin > least && data[begin - 1] != 0)
        begin--;
    if (begin > 0 ? data[begin - 1] != 0 : !all)
        return; /* too long, or begins nowhere */
    if (zero - begin >= NAMES_LONGEST || !is_name(data + begin, mark - begin))
        return;
    for (i = 0; i < names->count; i++)
        if (memcmp(names->found[i], data + begin, zero - begin + 1) == 0)
            return;
    memcpy(names->found[names->count++], data + begin, zero - begin + 1);
}

void names_start(names_state *names)
{
    names->tries = NAMES_TRIES;
    names->count = 0;
}

void names_look(names_state *names, const uint8_t *data, size_t start, size_t end, int all)
{
    /* An ending that is not in what came before has its zero here. */
    size_t at = start > ENDING ? start - ENDING : 0, mark, zero;
    while (names->tries > 0 && names->count < NAMES_MOST && search_ending(data, end, at, &mark, &zero)) {
        at = zero;
        if (zero < start)
            continue;
        names->tries--;
        take(names, data, mark, zero, all);
    }
}
