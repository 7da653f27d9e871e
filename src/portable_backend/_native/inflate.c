/* See inflate.h. The words are those of RFC 1951.
 *
 * Speed comes from two things. Codes are looked up in tables by as many of the next bits as most codes have (longer ones
 * lead to a second table), and an entry holds all that follows from it: how many bits to take, and a literal or the base
 * of a length or distance. And as long as there is plenty of input and room, nothing is checked but the distances.
 */
#include "inflate.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__)
#define ALWAYS __attribute__((always_inline))
#if defined(__x86_64__)
#include <cpuid.h>
#define HAS_BMI2
#endif
#else
#define ALWAYS
#endif

enum {
    MAX_BITS = 15,
    LITERALS = 288,
    DISTANCES = 32,
    LENGTH_CODES = 19,
    LITERAL_ROOT = 11,
    DISTANCE_ROOT = 8,
    LENGTH_ROOT = 7,
    /* The sums of all tables of complete codes of at most 15 bits, for these numbers of symbols and roots, are at most
     * 2342 and 402 entries. Building checks it all the same. */
    LITERAL_ROOM = 2400,
    DISTANCE_ROOM = 432,
    END_OF_BLOCK = 256,
    MAX_LENGTH = 258,
    FAST_INPUT = 16 /* two refills of eight bytes */
};

/* An entry: bits to take (0-7), of which code (8-11); what it is (12-15); value or base or subtable (16-31). */
#define LITERAL 0x8000u
#define SPECIAL 0x4000u /* the end of the block, a subtable, or nothing */
#define SUBTABLE 0x2000u
#define END 0x1000u
#define TAKE(entry) ((entry)&0xFFu)
#define CODE(entry) ((entry) >> 8 & 0xFu)
#define VALUE(entry) ((entry) >> 16)

enum phase { BLOCK, STORED_SIZE, STORED, COUNTS, LENGTH_LENGTHS, LENGTHS, CODES, ENDED, BROKEN };

struct place;

struct inflate_state {
    uint64_t bits; /* the next bits, the first of them lowest */
    unsigned count;
    enum phase phase;
    int last;        /* whether this block is */
    int fixed;       /* whether the tables are those of fixed codes */
    uint32_t stored; /* bytes left of a stored block */
    unsigned literals, distances, codes, index;
    size_t end; /* where the output of the call before ended */
    const uint8_t *last_in; /* when the last block began: the next byte of the input, and how many bits before it */
    unsigned last_count;    /* were not taken yet */
    uint8_t lengths[LITERALS + DISTANCES];
    uint32_t literal_table[LITERAL_ROOM];
    uint32_t distance_table[DISTANCE_ROOM];
    enum phase (*fast)(inflate_state *, struct place *); /* the best that this processor has */
};

typedef struct place {
    const uint8_t *in, *in_end;
    uint8_t *out, *out_end;
    const uint8_t *window; /* the first byte that a distance may lead to */
} place;

static const uint16_t LENGTH_BASE[31] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27, 31,
                                         35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258, 0,  0};
static const uint8_t LENGTH_EXTRA[31] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2,
                                         3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0, 0, 0};
static const uint16_t DISTANCE_BASE[30] = {1,   2,   3,   4,   5,   7,    9,    13,   17,   25,   33,   49,   65,    97,    129,
                                           193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
static const uint8_t LENGTH_ORDER[LENGTH_CODES] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};

/* Tables. */

enum alphabet { OF_LITERALS, OF_DISTANCES, OF_LENGTHS };

/* All of an entry but how many bits its code has. */
static uint32_t meaning(enum alphabet alphabet, unsigned symbol)
{
    if (alphabet == OF_LENGTHS)
        return (uint32_t)symbol << 16;
    if (alphabet == OF_DISTANCES) {
        unsigned extra = symbol < 4 ? 0 : symbol / 2 - 1;
        return symbol >= 30 ? SPECIAL : (uint32_t)DISTANCE_BASE[symbol] << 16 | extra;
    }
    if (symbol < END_OF_BLOCK)
        return (uint32_t)symbol << 16 | LITERAL;
    if (symbol == END_OF_BLOCK)
        return SPECIAL | END;
    if (symbol >= 286) /* take part in the fixed code, and mean nothing */
        return SPECIAL;
    return (uint32_t)LENGTH_BASE[symbol - 257] << 16 | LENGTH_EXTRA[symbol - 257];
}

static unsigned reverse(unsigned code, unsigned length)
{
    unsigned reversed = 0;
    for (; length > 0; length--, code >>= 1)
        reversed = reversed << 1 | (code & 1);
    return reversed;
}

/* How many bits index the subtable that begins with a code of `length` bits: enough for all codes that follow in it. */
static unsigned subtable_bits(const unsigned *left, unsigned length, unsigned root, unsigned longest)
{
    unsigned bits = length - root;
    int32_t room = (int32_t)1 << bits;
    while (bits + root < longest) {
        room -= (int32_t)left[bits + root];
        if (room <= 0)
            break;
        bits++;
        room <<= 1;
    }
    return bits;
}

/* Build the table of a code from the lengths of its symbols; 0 if they make no code (RFC 1951, 3.2.2). Like zlib, accept
 * an incomplete code only where it is a single one of one bit, or none at all. */
static int build(enum alphabet alphabet, const uint8_t *lengths, unsigned symbols, unsigned root, uint32_t *table,
                 size_t room)
{
    unsigned left[MAX_BITS + 1] = {0}, starts[MAX_BITS + 2] = {0}, longest = 0, length, i, code = 0;
    uint16_t sorted[LITERALS];
    size_t used = (size_t)1 << root;
    unsigned sub_prefix = ~0u, sub_bits = 0;
    size_t sub_start = 0;
    int32_t open = 1;
    for (i = 0; i < symbols; i++)
        left[lengths[i]]++;
    left[0] = 0;
    for (length = 1; length <= MAX_BITS; length++) {
        open = open * 2 - (int32_t)left[length];
        if (open < 0)
            return 0;
        if (left[length])
            longest = length;
        starts[length + 1] = starts[length] + left[length];
    }
    if (open > 0) {
        if (longest > 1 || (alphabet == OF_LENGTHS))
            return 0;
        for (i = 0; i < used; i++)
            table[i] = SPECIAL;
    }
    for (i = 0; i < symbols; i++)
        if (lengths[i])
            sorted[starts[lengths[i]]++] = (uint16_t)i;
    i = 0;
    for (length = 1; length <= longest; length++, code <<= 1) {
        unsigned of_this_length = left[length];
        for (; of_this_length > 0; of_this_length--, i++, code++) {
            unsigned reversed = reverse(code, length), step;
            uint32_t entry = meaning(alphabet, sorted[i]);
            uint32_t *target = table;
            size_t size = (size_t)1 << root, at = reversed;
            if (length > root) {
                unsigned prefix = reversed & ((1u << root) - 1);
                if (prefix != sub_prefix) {
                    sub_prefix = prefix;
                    sub_bits = subtable_bits(left, length, root, longest);
                    sub_start = used;
                    used += (size_t)1 << sub_bits;
                    if (used > room)
                        return 0;
                    table[prefix] = (uint32_t)sub_start << 16 | SPECIAL | SUBTABLE | sub_bits << 8 | root;
                }
                target = table + sub_start;
                size = (size_t)1 << sub_bits;
                at = reversed >> root;
            }
            step = length > root ? length - root : length;
            /* the low byte holds the extra bits so far; both are taken at once */
            entry = (entry & ~0xFFu) | step << 8 | (step + (entry & 0xFFu));
            for (; at < size; at += (size_t)1 << step)
                target[at] = entry;
            left[length]--;
        }
    }
    return 1;
}

static int build_fixed(inflate_state *s)
{
    if (s->fixed)
        return 1;
    memset(s->lengths, 8, 144);
    memset(s->lengths + 144, 9, 112);
    memset(s->lengths + 256, 7, 24);
    memset(s->lengths + 280, 8, 8);
    memset(s->lengths + LITERALS, 5, DISTANCES);
    s->fixed = 1;
    return build(OF_LITERALS, s->lengths, LITERALS, LITERAL_ROOT, s->literal_table, LITERAL_ROOM) &&
           build(OF_DISTANCES, s->lengths + LITERALS, DISTANCES, DISTANCE_ROOT, s->distance_table, DISTANCE_ROOM);
}

/* Bits. */

static uint64_t load(const uint8_t *p)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint64_t value;
    memcpy(&value, p, 8);
    return value;
#else
    uint64_t value = 0;
    int i;
    for (i = 7; i >= 0; i--)
        value = value << 8 | p[i];
    return value;
#endif
}

/* Take in whole bytes as long as there are any and they fit: 57 bits or more, if the input has them. */
static void fill(inflate_state *s, place *p)
{
    while (s->count <= 56 && p->in < p->in_end) {
        s->bits |= (uint64_t)*p->in++ << s->count;
        s->count += 8;
    }
}

static int has(inflate_state *s, place *p, unsigned count)
{
    if (s->count < count)
        fill(s, p);
    return s->count >= count;
}

static unsigned take(inflate_state *s, unsigned count)
{
    unsigned value = (unsigned)(s->bits & (((uint64_t)1 << count) - 1));
    s->bits >>= count;
    s->count -= count;
    return value;
}

/* Copying. */

static uint64_t load_as_is(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, 8);
    return word;
}

/* May write up to 39 bytes too many, which INFLATE_SLACK has room for: most matches are short, and five words are written
 * sooner than it is found out how many are needed. */
static inline ALWAYS uint8_t *copy(uint8_t *out, size_t distance, size_t length)
{
    const uint8_t *from = out - distance;
    uint8_t *end = out + length;
    uint64_t word;
    int i;
    if (distance >= 8) {
        for (i = 0; i < 5; i++, out += 8, from += 8) {
            word = load_as_is(from);
            memcpy(out, &word, 8);
        }
        while (out < end) {
            word = load_as_is(from);
            memcpy(out, &word, 8);
            out += 8;
            from += 8;
        }
    } else if (distance == 1) {
        memset(out, *from, length);
    } else {
        do { /* of each word the first `distance` bytes are right, and what follows them is written next */
            word = load_as_is(from);
            memcpy(out, &word, 8);
            out += distance;
            from += distance;
        } while (out < end);
    }
    return end;
}

/* The codes of a block. */

/* With plenty of input and room. Returns a phase: CODES where one of them is short.
 *
 * Of `count` only the lowest byte is a count: whole entries are subtracted, of which the lowest byte is what to take. The
 * next code is looked up before a copy is made, so that the processor can do both at once. */
static inline ALWAYS enum phase run_fast(inflate_state *s, place *p)
{
    const uint32_t *literals = s->literal_table, *distances = s->distance_table;
    const uint32_t literal_mask = (1u << LITERAL_ROOT) - 1, distance_mask = (1u << DISTANCE_ROOT) - 1;
    const uint8_t *in = p->in, *in_stop = p->in_end - FAST_INPUT;
    uint8_t *out = p->out, *out_stop = p->out_end - INFLATE_SLACK;
    uint64_t bits = s->bits, saved;
    uint32_t count = s->count, entry;
    enum phase phase = CODES;
    size_t length, distance;
    int more;
/* Bytes that are taken in twice are the same both times; `count` says which of them are there for good. */
#define REFILL()                                                                                                       \
    do {                                                                                                               \
        bits |= load(in) << (count & 63);                                                                              \
        in += 7 - (count >> 3 & 7);                                                                                    \
        count |= 56;                                                                                                   \
    } while (0)
#define DROP()                                                                                                         \
    do {                                                                                                               \
        saved = bits;                                                                                                  \
        bits >>= entry & 63;                                                                                           \
        count -= entry;                                                                                                \
    } while (0)
/* What the entry says, with its extra bits. */
#define EXTENDED() (VALUE(entry) + (size_t)((saved & (((uint64_t)1 << (entry & 63)) - 1)) >> CODE(entry)))
    more = in <= in_stop && out <= out_stop;
    if (more) {
        REFILL();
        entry = literals[bits & literal_mask];
    }
    while (more) {
        if (entry & LITERAL) { /* three of 11 bits at most leave enough for the next look */
            DROP();
            *out++ = (uint8_t)VALUE(entry);
            entry = literals[bits & literal_mask];
            if (entry & LITERAL) {
                DROP();
                *out++ = (uint8_t)VALUE(entry);
                entry = literals[bits & literal_mask];
                if (entry & LITERAL) {
                    DROP();
                    *out++ = (uint8_t)VALUE(entry);
                    goto next;
                }
            }
            REFILL();
        }
        DROP(); /* 20 at most; 36 are left, and a distance has 28 at most */
        if (entry & SPECIAL) {
            if (entry & SUBTABLE) {
                entry = literals[VALUE(entry) + (bits & ((1u << CODE(entry)) - 1))];
                DROP();
                if (entry & LITERAL) {
                    *out++ = (uint8_t)VALUE(entry);
                    goto next;
                }
            }
            if (entry & SPECIAL) {
                phase = entry & END ? BLOCK : BROKEN;
                break;
            }
        }
        length = EXTENDED();
        entry = distances[bits & distance_mask];
        DROP();
        if (entry & SPECIAL) {
            if (entry & SUBTABLE) {
                entry = distances[VALUE(entry) + (bits & ((1u << CODE(entry)) - 1))];
                DROP();
            }
            if (entry & SPECIAL) {
                phase = BROKEN;
                break;
            }
        }
        distance = EXTENDED();
        if (distance > (size_t)(out - p->window)) {
            phase = BROKEN;
            break;
        }
        more = in <= in_stop && out + length <= out_stop;
        if (more) {
            REFILL();
            entry = literals[bits & literal_mask];
        }
        out = copy(out, distance, length);
        continue;
    next:
        more = in <= in_stop && out <= out_stop;
        if (more) {
            REFILL();
            entry = literals[bits & literal_mask];
        }
    }
#undef REFILL
#undef DROP
#undef EXTENDED
    count &= 63;
    s->bits = bits & (((uint64_t)1 << count) - 1);
    s->count = count;
    p->in = in;
    p->out = out;
    return phase;
}

static enum phase run_fast_anywhere(inflate_state *s, place *p)
{
    return run_fast(s, p);
}

#ifdef HAS_BMI2
/* Shifts by a variable are one step instead of three with BMI2, which most x86-64 processors have. */
__attribute__((target("bmi2"))) static enum phase run_fast_bmi2(inflate_state *s, place *p)
{
    return run_fast(s, p);
}

static int processor_has_bmi2(void)
{
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 8 & 1);
}
#endif

/* Look a code up in a table. Returns 0 where the input ends inside of it or of its extra bits; else the bits of both. */
static unsigned look(const inflate_state *s, unsigned skip, const uint32_t *table, unsigned root, uint32_t *found)
{
    uint64_t bits = s->bits >> skip;
    unsigned taken = 0;
    uint32_t entry = table[bits & ((1u << root) - 1)];
    if ((entry & SPECIAL) && (entry & SUBTABLE)) {
        taken = TAKE(entry);
        entry = table[VALUE(entry) + ((bits >> taken) & ((1u << CODE(entry)) - 1))];
    }
    *found = entry;
    taken += TAKE(entry) ? TAKE(entry) : 1; /* a gap in an incomplete code: one bit shows it */
    return skip + taken <= s->count ? taken : 0;
}

static size_t extended(const inflate_state *s, unsigned end, uint32_t entry)
{
    unsigned extra = TAKE(entry) - CODE(entry);
    return VALUE(entry) + (size_t)((s->bits >> (end - extra)) & (((uint64_t)1 << extra) - 1));
}

/* One literal, or one length with its distance, each step checked. Returns an outcome, or -1 to go on. */
static int run_one(inflate_state *s, place *p)
{
    uint32_t entry;
    unsigned taken, end;
    size_t length, distance;
    fill(s, p);
    taken = look(s, 0, s->literal_table, LITERAL_ROOT, &entry);
    if (!taken)
        return INFLATE_INPUT;
    if (entry & LITERAL) {
        take(s, taken);
        *p->out++ = (uint8_t)VALUE(entry);
        return -1;
    }
    if (entry & SPECIAL) {
        if (!(entry & END))
            return INFLATE_DAMAGED;
        take(s, taken);
        s->phase = BLOCK;
        return -1;
    }
    length = extended(s, taken, entry);
    end = taken;
    taken = look(s, end, s->distance_table, DISTANCE_ROOT, &entry);
    if (!taken)
        return INFLATE_INPUT;
    if (entry & SPECIAL)
        return INFLATE_DAMAGED;
    end += taken;
    distance = extended(s, end, entry);
    if (distance > (size_t)(p->out - p->window))
        return INFLATE_DAMAGED;
    take(s, end);
    p->out = copy(p->out, distance, length);
    return -1;
}

static int run_codes(inflate_state *s, place *p)
{
    int outcome = -1;
    while (outcome < 0 && s->phase == CODES) {
        if ((size_t)(p->out_end - p->out) < INFLATE_SLACK)
            return INFLATE_OUTPUT;
        if (p->in_end - p->in >= FAST_INPUT) {
            s->phase = s->fast(s, p);
            if (s->phase == BROKEN)
                return INFLATE_DAMAGED;
        } else {
            outcome = run_one(s, p);
        }
    }
    return outcome;
}

/* What stands before the codes. */

static int run_block(inflate_state *s, place *p)
{
    unsigned kind;
    if (s->last) {
        s->phase = ENDED;
        return -1;
    }
    if (!has(s, p, 3))
        return INFLATE_INPUT;
    s->last_in = p->in;
    s->last_count = s->count;
    s->last = (int)take(s, 1);
    kind = take(s, 2);
    if (kind == 3)
        return INFLATE_DAMAGED;
    s->phase = kind == 0 ? STORED_SIZE : kind == 1 ? CODES : COUNTS;
    return kind == 1 && !build_fixed(s) ? INFLATE_DAMAGED : -1;
}

static int run_stored_size(inflate_state *s, place *p)
{
    unsigned size, check;
    take(s, s->count & 7);
    if (!has(s, p, 32))
        return INFLATE_INPUT;
    size = take(s, 16);
    check = take(s, 16);
    s->stored = size;
    s->phase = STORED;
    return size == (check ^ 0xFFFFu) ? -1 : INFLATE_DAMAGED;
}

static int run_stored(inflate_state *s, place *p)
{
    while (s->stored > 0) {
        size_t size = s->stored, left = (size_t)(p->in_end - p->in), room = (size_t)(p->out_end - p->out);
        if (room < INFLATE_SLACK)
            return INFLATE_OUTPUT;
        if (s->count >= 8) {
            *p->out++ = (uint8_t)take(s, 8);
            s->stored--;
            continue;
        }
        size = size < left ? size : left;
        size = size < room ? size : room;
        if (size == 0)
            return INFLATE_INPUT;
        memcpy(p->out, p->in, size);
        p->out += size;
        p->in += size;
        s->stored -= (uint32_t)size;
    }
    s->phase = BLOCK;
    return -1;
}

static int run_counts(inflate_state *s, place *p)
{
    if (!has(s, p, 14))
        return INFLATE_INPUT;
    s->literals = take(s, 5) + 257;
    s->distances = take(s, 5) + 1;
    s->codes = take(s, 4) + 4;
    s->index = 0;
    memset(s->lengths, 0, sizeof s->lengths);
    s->phase = LENGTH_LENGTHS;
    return s->literals > 286 || s->distances > 30 ? INFLATE_DAMAGED : -1;
}

/* The lengths of the codes for lengths; their table stands where that of distances will. */
static int run_length_lengths(inflate_state *s, place *p)
{
    for (; s->index < s->codes; s->index++) {
        if (!has(s, p, 3))
            return INFLATE_INPUT;
        s->lengths[LENGTH_ORDER[s->index]] = (uint8_t)take(s, 3);
    }
    s->fixed = 0;
    if (!build(OF_LENGTHS, s->lengths, LENGTH_CODES, LENGTH_ROOT, s->distance_table, DISTANCE_ROOM))
        return INFLATE_DAMAGED;
    memset(s->lengths, 0, sizeof s->lengths);
    s->index = 0;
    s->phase = LENGTHS;
    return -1;
}

static int run_lengths(inflate_state *s, place *p)
{
    static const uint8_t extra[3] = {2, 3, 7}, least[3] = {3, 3, 11};
    unsigned all = s->literals + s->distances;
    while (s->index < all) {
        uint32_t entry;
        unsigned taken, symbol, times = 1;
        uint8_t length = 0;
        fill(s, p);
        taken = look(s, 0, s->distance_table, LENGTH_ROOT, &entry);
        symbol = VALUE(entry);
        if (!taken || s->count < taken + (symbol >= 16 ? extra[symbol - 16] : 0u))
            return INFLATE_INPUT;
        if (symbol == 16 && s->index == 0)
            return INFLATE_DAMAGED;
        take(s, taken);
        if (symbol < 16)
            length = (uint8_t)symbol;
        else if (symbol == 16)
            length = s->lengths[s->index - 1];
        if (symbol >= 16)
            times = least[symbol - 16] + take(s, extra[symbol - 16]);
        if (times > all - s->index)
            return INFLATE_DAMAGED;
        memset(s->lengths + s->index, length, times);
        s->index += times;
    }
    s->phase = CODES;
    return s->lengths[END_OF_BLOCK] &&
                   build(OF_LITERALS, s->lengths, s->literals, LITERAL_ROOT, s->literal_table, LITERAL_ROOM) &&
                   build(OF_DISTANCES, s->lengths + s->literals, s->distances, DISTANCE_ROOT, s->distance_table,
                         DISTANCE_ROOM)
               ? -1
               : INFLATE_DAMAGED;
}

static int run(inflate_state *s, place *p)
{
    int outcome = -1;
    while (outcome < 0) {
        switch (s->phase) {
        case BLOCK: outcome = run_block(s, p); break;
        case STORED_SIZE: outcome = run_stored_size(s, p); break;
        case STORED: outcome = run_stored(s, p); break;
        case COUNTS: outcome = run_counts(s, p); break;
        case LENGTH_LENGTHS: outcome = run_length_lengths(s, p); break;
        case LENGTHS: outcome = run_lengths(s, p); break;
        case CODES: outcome = run_codes(s, p); break;
        case ENDED: outcome = INFLATE_END; break;
        case BROKEN: outcome = INFLATE_DAMAGED; break;
        }
    }
    return outcome;
}

int inflate_run(inflate_state *s, const uint8_t **in, size_t *size, uint8_t *out, size_t room, size_t *start,
                size_t *end)
{
    size_t kept = s->end < INFLATE_WINDOW ? s->end : INFLATE_WINDOW;
    place p;
    int outcome;
    memmove(out, out + s->end - kept, kept);
    p.in = *in;
    p.in_end = *in + *size;
    p.out = out + kept;
    p.out_end = out + room;
    p.window = out;
    outcome = run(s, &p);
    if (outcome == INFLATE_DAMAGED)
        s->phase = BROKEN;
    *in = p.in;
    *size = (size_t)(p.in_end - p.in);
    *start = kept;
    *end = s->end = (size_t)(p.out - out);
    return outcome;
}

unsigned inflate_unused(const inflate_state *s)
{
    return s->count >> 3;
}

inflate_state *inflate_new(void)
{
    inflate_state *s = calloc(1, sizeof(inflate_state));
    if (s)
        s->fast = run_fast_anywhere;
#ifdef HAS_BMI2
    if (s && processor_has_bmi2())
        s->fast = run_fast_bmi2;
#endif
    return s;
}

void inflate_free(inflate_state *s)
{
    free(s);
}

/* All but the tables, which are those of fixed codes if it says so: many a small stream wants just these again. */
void inflate_reset(inflate_state *s)
{
    int fixed = s->fixed;
    memset(s, 0, offsetof(inflate_state, lengths));
    s->fixed = fixed;
}

int inflate_last_block(const uint8_t *data, size_t size, uint64_t *begins, uint64_t *ends)
{
    enum { ROOM = 8 * INFLATE_WINDOW };
    inflate_state *s = inflate_new();
    uint8_t *out = s ? malloc(ROOM) : NULL;
    const uint8_t *in = data;
    size_t start, end;
    int outcome = -1;
    if (out) {
        do
            outcome = inflate_run(s, &in, &size, out, ROOM, &start, &end);
        while (outcome == INFLATE_OUTPUT);
        if (outcome == INFLATE_END) {
            *begins = 8 * (uint64_t)(s->last_in - data) - s->last_count;
            *ends = 8 * (uint64_t)(in - data) - s->count;
        }
    }
    free(out);
    inflate_free(s);
    return outcome;
}
