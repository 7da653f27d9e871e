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
#define RARELY(condition) __builtin_expect(!!(condition), 0)
#if defined(__x86_64__)
#include <cpuid.h>
#define HAS_BMI2
#endif
#else
#define ALWAYS
#define RARELY(condition) (condition)
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
    MAX_DISTANCE_BITS = 28, /* 15 of the code, 13 behind it */
    FAST_INPUT = 16         /* two refills of eight bytes */
};

/* An entry: bits to take (0-7), of which code (8-13), or of a subtable, how many index it (8-11); what else it is (13-15);
 * value or base or subtable (16-30), and whether it is a literal, where it is asked for fastest (31). A shift takes six
 * bits, so that those of the code need no mask. */
#define LITERAL 0x80000000u
#define SPECIAL 0x4000u /* the end of the block, a subtable, or nothing */
#define SUBTABLE 0x8000u
#define END 0x2000u
#define TAKE(entry) ((entry)&0xFFu)
#define CODE(entry) ((entry) >> 8 & 0x3Fu)
#define INDEX(entry) ((entry) >> 8 & 0xFu)
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

/* The code of `length` bits that follows on this one, both as they are read: the first bit lowest. */
static unsigned next_code(unsigned code, unsigned length)
{
    unsigned bit = 1u << (length - 1);
#if defined(__GNUC__)
    unsigned zeros = code ^ (2 * bit - 1);
    bit = zeros ? 1u << (31 - __builtin_clz(zeros)) : 0;
#else
    while (code & bit)
        bit >>= 1;
#endif
    return (code & (bit - 1)) | bit;
}

/* The low byte holds the extra bits so far; both are taken at once. */
static uint32_t with_code(uint32_t entry, unsigned length)
{
    return entry + (length << 8 | length);
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

/* The codes that are longer than the root, of which `code` is the first, and `left` says how many have which length. */
static int build_subtables(const uint32_t *sorted, unsigned *left, unsigned code, unsigned root, unsigned longest,
                           uint32_t *table, size_t room)
{
    size_t used = (size_t)1 << root, start = 0, at;
    unsigned length, bits = 0, prefix = ~0u;
    for (length = root + 1; length <= longest; length++) {
        for (; left[length] > 0; left[length]--, sorted++, code = next_code(code, length)) {
            if ((code & ((1u << root) - 1)) != prefix) {
                prefix = code & ((1u << root) - 1);
                bits = subtable_bits(left, length, root, longest);
                start = used;
                used += (size_t)1 << bits;
                if (used > room)
                    return 0;
                table[prefix] = (uint32_t)start << 16 | SPECIAL | SUBTABLE | bits << 8 | root;
            }
            for (at = code >> root; at < (size_t)1 << bits; at += (size_t)1 << (length - root))
                table[start + at] = with_code(*sorted, length - root);
        }
    }
    return 1;
}

/* A code that has one symbol, of one bit, or none. */
static int build_incomplete(const uint32_t *sorted, unsigned symbols, unsigned root, uint32_t *table)
{
    size_t i;
    for (i = 0; i < (size_t)1 << root; i++)
        table[i] = symbols && i % 2 == 0 ? with_code(*sorted, 1) : SPECIAL;
    return 1;
}

/* Build the table of a code from the lengths of its symbols; 0 if they make no code (RFC 1951, 3.2.2). Like zlib, accept
 * an incomplete code only where it is a single one of one bit, or none at all.
 *
 * The table grows with the lengths: what its first 2^n entries say is true of the next as many, but for longer codes. */
static inline ALWAYS int build(enum alphabet alphabet, const uint8_t *lengths, unsigned symbols, unsigned root,
                               uint32_t *table, size_t room)
{
    unsigned left[MAX_BITS + 1] = {0}, starts[MAX_BITS + 2] = {0}, longest = MAX_BITS, length, i, code = 0;
    uint32_t sorted[LITERALS], *next = sorted;
    int32_t open = 1;
    for (i = 0; i < symbols; i++)
        left[lengths[i]]++;
    while (longest > 0 && left[longest] == 0)
        longest--;
    starts[1] = left[0]; /* symbols that are not used come first, so that none has to be asked whether it is */
    for (length = 1; length <= longest; length++) {
        open = open * 2 - (int32_t)left[length];
        if (open < 0)
            return 0;
        starts[length + 1] = starts[length] + left[length];
    }
    if (open > 0 && (longest > 1 || alphabet == OF_LENGTHS))
        return 0;
    for (i = 0; i < symbols; i++)
        sorted[starts[lengths[i]]++] = meaning(alphabet, i);
    next += left[0];
    if (open > 0)
        return build_incomplete(next, symbols - left[0], root, table);
    for (length = 1; length <= root; length++) {
        for (i = left[length]; i > 0; i--, code = next_code(code, length))
            table[code] = with_code(*next++, length);
        if (length < root)
            memcpy(table + ((size_t)1 << length), table, sizeof *table << length);
    }
    return longest <= root || build_subtables(next, left, code, root, longest, table, room);
}

static int build_literals(inflate_state *s, unsigned symbols)
{
    return build(OF_LITERALS, s->lengths, symbols, LITERAL_ROOT, s->literal_table, LITERAL_ROOM);
}

static int build_distances(inflate_state *s, const uint8_t *lengths, unsigned symbols)
{
    return build(OF_DISTANCES, lengths, symbols, DISTANCE_ROOT, s->distance_table, DISTANCE_ROOM);
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
    return build_literals(s, LITERALS) && build_distances(s, s->lengths + LITERALS, DISTANCES);
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

static inline ALWAYS void copy_word(uint8_t *to, const uint8_t *from)
{
    uint64_t word;
    memcpy(&word, from, 8);
    memcpy(to, &word, 8);
}

/* May write up to 39 bytes too many, which INFLATE_SLACK has room for: most matches are short, and five words are written
 * sooner than it is found out how many are needed. */
static inline ALWAYS uint8_t *copy(uint8_t *out, size_t distance, size_t length)
{
    const uint8_t *from = out - distance;
    uint8_t *end = out + length;
    if (!RARELY(distance < 8)) {
        do {
            copy_word(out, from);
            copy_word(out + 8, from + 8);
            copy_word(out + 16, from + 16);
            copy_word(out + 24, from + 24);
            copy_word(out + 32, from + 32);
            out += 40;
            from += 40;
        } while (RARELY(out < end));
    } else if (distance == 1) {
        memset(out, *from, length);
    } else {
        do { /* of each word the first `distance` bytes are right, and what follows them is written next */
            copy_word(out, from);
            out += distance;
            from += distance;
        } while (out < end);
    }
    return end;
}

/* The codes of a block. */

/* As many of the bits as the entry takes. BMI2 has an instruction for it, which compilers do not find in this loop. */
static inline ALWAYS uint64_t lowest(uint64_t bits, uint32_t entry, int bmi2)
{
#ifdef HAS_BMI2
    if (bmi2) {
        uint64_t result;
        __asm__("bzhi %2, %1, %0" : "=r"(result) : "r"(bits), "r"((uint64_t)entry) : "cc");
        return result;
    }
#endif
    (void)bmi2;
    return bits & (((uint64_t)1 << TAKE(entry)) - 1);
}

/* As long as there are FAST_INPUT bytes of input and INFLATE_SLACK of room, as there have to be at first. Returns a phase:
 * CODES where one of them is short.
 *
 * Of `count` only the lowest byte is a count: whole entries are subtracted, of which the lowest byte is what to take. Each
 * look waits for the one before it, and for nothing else: the next code is looked up among the bits that are left, before
 * more are taken in and a copy is made, so that the processor can do these meanwhile. */
static inline ALWAYS enum phase run_fast(inflate_state *s, place *p, int bmi2)
{
    const uint32_t *literals = s->literal_table, *distances = s->distance_table;
    const uint32_t literal_mask = (1u << LITERAL_ROOT) - 1, distance_mask = (1u << DISTANCE_ROOT) - 1;
    const uint8_t *in = p->in, *in_stop = p->in_end - FAST_INPUT, *window = p->window;
    uint8_t *out = p->out, *out_stop = p->out_end - INFLATE_SLACK;
    uint64_t bits = s->bits, saved;
    uint32_t count = s->count, entry;
    enum phase phase = CODES;
    size_t length, distance;
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
#define WRITE()                                                                                                        \
    do {                                                                                                               \
        DROP();                                                                                                        \
        *out++ = (uint8_t)VALUE(entry);                                                                                \
        entry = literals[bits & literal_mask];                                                                         \
    } while (0)
/* What the entry that was dropped last says, with its extra bits. */
#define EXTENDED() (VALUE(entry) + (size_t)(lowest(saved, entry, bmi2) >> CODE(entry)))
    REFILL();
    entry = literals[bits & literal_mask];
    while (in <= in_stop && out <= out_stop) { /* with 56 bits or more */
        if (entry & LITERAL) { /* three of 11 bits at most leave enough for the next look */
            WRITE();
            if (entry & LITERAL) {
                WRITE();
                if (entry & LITERAL) {
                    WRITE();
                    REFILL();
                    continue;
                }
            }
        }
        DROP(); /* 20 at most, with two literals 42: there are enough for the next look, if not for all of a distance */
        if (RARELY(entry & SPECIAL)) {
            if (entry & SUBTABLE) {
                entry = literals[VALUE(entry) + (bits & ((1u << INDEX(entry)) - 1))];
                DROP();
                if (entry & LITERAL) {
                    *out++ = (uint8_t)VALUE(entry);
                    entry = literals[bits & literal_mask];
                    REFILL();
                    continue;
                }
            }
            if (entry & SPECIAL) {
                phase = entry & END ? BLOCK : BROKEN;
                break;
            }
        }
        length = EXTENDED();
        if (RARELY(TAKE(count) < MAX_DISTANCE_BITS + LITERAL_ROOT))
            REFILL();
        entry = distances[bits & distance_mask];
        DROP();
        if (RARELY(entry & SPECIAL)) {
            if (entry & SUBTABLE) {
                entry = distances[VALUE(entry) + (bits & ((1u << INDEX(entry)) - 1))];
                DROP();
            }
            if (entry & SPECIAL) {
                phase = BROKEN;
                break;
            }
        }
        distance = EXTENDED();
        entry = literals[bits & literal_mask];
        REFILL();
        if (RARELY(distance > (size_t)(out - window))) {
            phase = BROKEN;
            break;
        }
        out = copy(out, distance, length);
    }
#undef REFILL
#undef DROP
#undef WRITE
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
    return run_fast(s, p, 0);
}

#ifdef HAS_BMI2
/* Shifts by a variable are one step instead of three with BMI2, which most x86-64 processors have. */
__attribute__((target("bmi2"))) static enum phase run_fast_bmi2(inflate_state *s, place *p)
{
    return run_fast(s, p, 1);
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
        entry = table[VALUE(entry) + ((bits >> taken) & ((1u << INDEX(entry)) - 1))];
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
    return s->lengths[END_OF_BLOCK] && build_literals(s, s->literals) &&
                   build_distances(s, s->lengths + s->literals, s->distances)
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
