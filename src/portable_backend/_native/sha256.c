/* See sha256.h. Names and numbers of sections are those of FIPS 180-4. */
#include "sha256.h"

#include <string.h>

#if defined(__GNUC__) && defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#define HAS_X86
#elif defined(__GNUC__) && defined(__aarch64__) && defined(__AARCH64EL__)
#if defined(__ARM_FEATURE_SHA2) || defined(__ARM_FEATURE_CRYPTO)
#define HAS_ARM
#define FOR_ARM
#elif defined(__clang__) && __clang_major__ >= 16
#define HAS_ARM
#define FOR_ARM __attribute__((target("sha2")))
#elif !defined(__clang__) && __GNUC__ >= 8
#define HAS_ARM
#define FOR_ARM __attribute__((target("+crypto")))
#endif
#ifdef HAS_ARM
#include <arm_neon.h>
#ifdef __linux__
#include <sys/auxv.h>
#endif
#endif
#endif

/* The first 32 bits of the fractional parts of the cube roots of the first 64 primes (4.2.2). */
static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

/* Take whole blocks. */
typedef void compressor(uint32_t words[8], const uint8_t *data, size_t blocks);
/* The same of two messages at once. */
typedef void twin(uint32_t words[8], const uint8_t *data, uint32_t others[8], const uint8_t *other, size_t blocks);

static uint32_t load_word(const uint8_t *from)
{
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

static void store_word(uint8_t *to, uint32_t word)
{
    to[0] = (uint8_t)(word >> 24);
    to[1] = (uint8_t)(word >> 16);
    to[2] = (uint8_t)(word >> 8);
    to[3] = (uint8_t)word;
}

#define ROTATE(word, by) ((word) >> (by) | (word) << (32 - (by)))

/* One round of 6.2.2, which leaves the new `a` in h and the new `e` in d: the next one names them so. */
#define ROUND(a, b, c, d, e, f, g, h, t)                                                                              \
    do {                                                                                                              \
        uint32_t first = h + (ROTATE(e, 6) ^ ROTATE(e, 11) ^ ROTATE(e, 25)) + (g ^ (e & (f ^ g))) + K[t] + w[t];      \
        d += first;                                                                                                   \
        h = first + (ROTATE(a, 2) ^ ROTATE(a, 13) ^ ROTATE(a, 22)) + ((a & b) ^ (c & (a ^ b)));                       \
    } while (0)

static void compress_anywhere(uint32_t words[8], const uint8_t *data, size_t blocks)
{
    for (; blocks > 0; blocks--, data += SHA256_BLOCK) {
        uint32_t a = words[0], b = words[1], c = words[2], d = words[3];
        uint32_t e = words[4], f = words[5], g = words[6], h = words[7];
        uint32_t w[64];
        unsigned t;
        for (t = 0; t < 16; t++)
            w[t] = load_word(data + 4 * t);
        for (; t < 64; t++) {
            uint32_t late = w[t - 2], early = w[t - 15];
            w[t] = (ROTATE(late, 17) ^ ROTATE(late, 19) ^ late >> 10) + w[t - 7] +
                   (ROTATE(early, 7) ^ ROTATE(early, 18) ^ early >> 3) + w[t - 16];
        }
        for (t = 0; t < 64; t += 8) {
            ROUND(a, b, c, d, e, f, g, h, t);
            ROUND(h, a, b, c, d, e, f, g, t + 1);
            ROUND(g, h, a, b, c, d, e, f, t + 2);
            ROUND(f, g, h, a, b, c, d, e, t + 3);
            ROUND(e, f, g, h, a, b, c, d, t + 4);
            ROUND(d, e, f, g, h, a, b, c, t + 5);
            ROUND(c, d, e, f, g, h, a, b, t + 6);
            ROUND(b, c, d, e, f, g, h, a, t + 7);
        }
        words[0] += a;
        words[1] += b;
        words[2] += c;
        words[3] += d;
        words[4] += e;
        words[5] += f;
        words[6] += g;
        words[7] += h;
    }
}

#ifdef HAS_X86
/* By the instructions of Intel's SHA extensions. A register holds four words, the earliest lowest; of the eight working
 * variables one register holds f, e, b, a and the other h, g, d, c. A lane is what one message needs of registers: two
 * messages at once take little longer than one, since each instruction waits for the result of the one before it. */
#define FOR_X86 __attribute__((target("sha,sse4.1,ssse3")))
#define INSIDE FOR_X86 static inline __attribute__((always_inline))

typedef struct {
    __m128i feba, hgdc, feba_before, hgdc_before;
    __m128i m0, m1, m2, m3; /* the last sixteen words of the schedule */
} lane;

INSIDE lane open_lane(const uint32_t words[8])
{
    lane l;
    __m128i badc = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)words), 0xB1);
    __m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(words + 4)), 0x1B);
    l.feba = _mm_alignr_epi8(badc, hgfe, 8);
    l.hgdc = _mm_blend_epi16(hgfe, badc, 0xF0);
    return l;
}

INSIDE void close_lane(const lane *l, uint32_t words[8])
{
    __m128i abef = _mm_shuffle_epi32(l->feba, 0x1B), ghcd = _mm_shuffle_epi32(l->hgdc, 0xB1);
    _mm_storeu_si128((__m128i *)words, _mm_blend_epi16(abef, ghcd, 0xF0));
    _mm_storeu_si128((__m128i *)(words + 4), _mm_alignr_epi8(ghcd, abef, 8));
}

INSIDE void begin_block(lane *l, const uint8_t *data)
{
    const __m128i swap = _mm_set_epi64x(0x0C0D0E0F08090A0BLL, 0x0405060700010203LL);
    l->feba_before = l->feba;
    l->hgdc_before = l->hgdc;
    l->m0 = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)data), swap);
    l->m1 = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(data + 16)), swap);
    l->m2 = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(data + 32)), swap);
    l->m3 = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(data + 48)), swap);
}

INSIDE void end_block(lane *l)
{
    l->feba = _mm_add_epi32(l->feba, l->feba_before);
    l->hgdc = _mm_add_epi32(l->hgdc, l->hgdc_before);
}

/* Four rounds with the words `m`. */
INSIDE void four_rounds(lane *l, __m128i m, unsigned t)
{
    __m128i sum = _mm_add_epi32(m, _mm_loadu_si128((const __m128i *)(K + 4 * t)));
    l->hgdc = _mm_sha256rnds2_epu32(l->hgdc, l->feba, sum);
    l->feba = _mm_sha256rnds2_epu32(l->feba, l->hgdc, _mm_shuffle_epi32(sum, 0x0E));
}

/* The four words of the schedule that follow on these sixteen. */
INSIDE __m128i extend(__m128i m0, __m128i m1, __m128i m2, __m128i m3)
{
    return _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(m0, m1), _mm_alignr_epi8(m3, m2, 4)), m3);
}

/* The 64 rounds of a block; OF says for which lanes each step is made. */
#define SIXTEEN_ROUNDS(OF, t)                                \
    OF(l->m0 = extend(l->m0, l->m1, l->m2, l->m3));          \
    OF(four_rounds(l, l->m0, t));                            \
    OF(l->m1 = extend(l->m1, l->m2, l->m3, l->m0));          \
    OF(four_rounds(l, l->m1, (t) + 1));                      \
    OF(l->m2 = extend(l->m2, l->m3, l->m0, l->m1));          \
    OF(four_rounds(l, l->m2, (t) + 2));                      \
    OF(l->m3 = extend(l->m3, l->m0, l->m1, l->m2));          \
    OF(four_rounds(l, l->m3, (t) + 3))
#define ALL_ROUNDS(OF)            \
    OF(four_rounds(l, l->m0, 0)); \
    OF(four_rounds(l, l->m1, 1)); \
    OF(four_rounds(l, l->m2, 2)); \
    OF(four_rounds(l, l->m3, 3)); \
    SIXTEEN_ROUNDS(OF, 4);        \
    SIXTEEN_ROUNDS(OF, 8);        \
    SIXTEEN_ROUNDS(OF, 12)
#define OF_ONE(step)      \
    do {                  \
        lane *l = &first; \
        step;             \
    } while (0)
#define OF_BOTH(step)          \
    do {                       \
        lane *l = &first;      \
        step;                  \
        l = &second;           \
        step;                  \
    } while (0)

FOR_X86 static void compress_x86(uint32_t words[8], const uint8_t *data, size_t blocks)
{
    lane first = open_lane(words);
    for (; blocks > 0; blocks--, data += SHA256_BLOCK) {
        begin_block(&first, data);
        ALL_ROUNDS(OF_ONE);
        end_block(&first);
    }
    close_lane(&first, words);
}

FOR_X86 static void compress_two_x86(uint32_t words[8], const uint8_t *data, uint32_t others[8], const uint8_t *other,
                                     size_t blocks)
{
    lane first = open_lane(words), second = open_lane(others);
    for (; blocks > 0; blocks--, data += SHA256_BLOCK, other += SHA256_BLOCK) {
        begin_block(&first, data);
        begin_block(&second, other);
        ALL_ROUNDS(OF_BOTH);
        end_block(&first);
        end_block(&second);
    }
    close_lane(&first, words);
    close_lane(&second, others);
}

static compressor *find_best(void)
{
    unsigned a, b, c, d;
    const unsigned wanted = 1u << 9 | 1u << 19; /* SSSE3, SSE4.1; the operating system saves their registers anyway */
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & wanted) != wanted || !__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return compress_anywhere;
    return b & 1u << 29 ? compress_x86 : compress_anywhere;
}

static twin *find_twin(compressor *single)
{
    return single == compress_x86 ? compress_two_x86 : NULL;
}
#elif defined(HAS_ARM)
/* By the instructions of ARMv8's cryptographic extension. */
FOR_ARM static void compress_arm(uint32_t words[8], const uint8_t *data, size_t blocks)
{
    uint32x4_t abcd = vld1q_u32(words), efgh = vld1q_u32(words + 4);
    for (; blocks > 0; blocks--, data += SHA256_BLOCK) {
        uint32x4_t abcd_before = abcd, efgh_before = efgh, m[4];
        unsigned t;
        for (t = 0; t < 4; t++)
            m[t] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(data + 16 * t)));
        for (t = 0; t < 16; t++) {
            uint32x4_t sum = vaddq_u32(m[t & 3], vld1q_u32(K + 4 * t)), abcd_now = abcd;
            abcd = vsha256hq_u32(abcd, efgh, sum);
            efgh = vsha256h2q_u32(efgh, abcd_now, sum);
            m[t & 3] = vsha256su1q_u32(vsha256su0q_u32(m[t & 3], m[(t + 1) & 3]), m[(t + 2) & 3], m[(t + 3) & 3]);
        }
        abcd = vaddq_u32(abcd, abcd_before);
        efgh = vaddq_u32(efgh, efgh_before);
    }
    vst1q_u32(words, abcd);
    vst1q_u32(words + 4, efgh);
}

static compressor *find_best(void)
{
#if defined(__APPLE__) /* has it in every 64-bit processor */
    return compress_arm;
#elif defined(__linux__)
    return getauxval(AT_HWCAP) & 1u << 6 ? compress_arm : compress_anywhere; /* HWCAP_SHA2 */
#else
    return compress_anywhere;
#endif
}
#else
static compressor *find_best(void)
{
    return compress_anywhere;
}
#endif

#ifndef HAS_X86
static twin *find_twin(compressor *single)
{
    (void)single;
    return NULL;
}
#endif

/* To ask the processor takes long in a virtual machine, so it is asked once; threads that ask at once get the same. */
static compressor *volatile best;
static compressor *volatile chosen;

static compressor *choice(void)
{
    if (!chosen)
        sha256_choose(1);
    return chosen;
}

void sha256_choose(int the_best)
{
    if (!best)
        best = find_best();
    chosen = the_best ? best : compress_anywhere;
}

int sha256_is_fast(void)
{
    return choice() != compress_anywhere;
}

/* 5.3.3: of the square roots of the first eight primes. */
void sha256_start(sha256_state *state)
{
    static const uint32_t initial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(state->words, initial, sizeof initial);
    state->size = 0;
}

void sha256_add(sha256_state *state, const uint8_t *data, size_t size)
{
    size_t waiting = (size_t)(state->size % SHA256_BLOCK), blocks;
    if (size == 0)
        return;
    state->size += size;
    if (waiting > 0) {
        size_t taken = SHA256_BLOCK - waiting < size ? SHA256_BLOCK - waiting : size;
        memcpy(state->block + waiting, data, taken);
        if (waiting + taken < SHA256_BLOCK)
            return;
        choice()(state->words, state->block, 1);
        data += taken;
        size -= taken;
    }
    blocks = size / SHA256_BLOCK;
    if (blocks > 0)
        choice()(state->words, data, blocks);
    memcpy(state->block, data + blocks * SHA256_BLOCK, size % SHA256_BLOCK);
}

void sha256_add_two(sha256_state *first, const uint8_t *data, sha256_state *second, const uint8_t *other, size_t blocks)
{
    twin *both = find_twin(choice());
    first->size += (uint64_t)blocks * SHA256_BLOCK;
    second->size += (uint64_t)blocks * SHA256_BLOCK;
    if (both) {
        both(first->words, data, second->words, other, blocks);
    } else {
        choice()(first->words, data, blocks);
        choice()(second->words, other, blocks);
    }
}

/* 5.1.1: a one, zeros, and the size in bits. */
void sha256_end(sha256_state *state, uint8_t digest[SHA256_DIGEST])
{
    static const uint8_t padding[SHA256_BLOCK] = {0x80};
    uint64_t bits = state->size * 8;
    size_t waiting = (size_t)(state->size % SHA256_BLOCK), i;
    uint8_t size[8];
    store_word(size, (uint32_t)(bits >> 32));
    store_word(size + 4, (uint32_t)bits);
    sha256_add(state, padding, (waiting < 56 ? 56 : 56 + SHA256_BLOCK) - waiting);
    sha256_add(state, size, sizeof size);
    for (i = 0; i < 8; i++)
        store_word(digest + 4 * i, state->words[i]);
}
