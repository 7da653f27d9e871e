/* See crc32.h.
 *
 * A string of bits is a polynomial over GF(2), its first bit the highest power; the checksum is its remainder, times
 * x^32, by the polynomial of RFC 1952. Bits of a byte come lowest first, so that all is mirrored: the lowest bit of a
 * word is its highest power.
 */
#include "crc32.h"

#include <string.h>

#if defined(__GNUC__) && defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#define HAS_X86
#elif defined(__GNUC__) && defined(__aarch64__) && defined(__AARCH64EL__)
#if defined(__ARM_FEATURE_CRC32)
#define HAS_ARM
#define FOR_ARM
#elif !defined(__clang__) && __GNUC__ >= 8
#define HAS_ARM
#define FOR_ARM __attribute__((target("+crc")))
#elif defined(__clang__) && __clang_major__ >= 16
#define HAS_ARM
#define FOR_ARM __attribute__((target("crc")))
#endif
#ifdef HAS_ARM
#include <arm_acle.h>
#ifdef __linux__
#include <sys/auxv.h>
#endif
#endif
#endif

enum { TABLES = 8 };

/* All below work on the register: the complement of the checksum. */
typedef uint32_t adder(uint32_t reg, const uint8_t *data, size_t size);

static uint32_t tables[TABLES][256];

/* tables[n][byte]: the remainder of a byte with n zero bytes behind it. */
static void make_tables(void)
{
    uint32_t byte;
    int i;
    for (byte = 0; byte < 256; byte++) {
        uint32_t reg = byte;
        for (i = 0; i < 8; i++)
            reg = reg & 1 ? reg >> 1 ^ 0xEDB88320u : reg >> 1;
        tables[0][byte] = reg;
    }
    for (byte = 0; byte < 256; byte++)
        for (i = 1; i < TABLES; i++)
            tables[i][byte] = tables[i - 1][byte] >> 8 ^ tables[0][tables[i - 1][byte] & 0xFF];
}

static uint32_t add_anywhere(uint32_t reg, const uint8_t *data, size_t size)
{
    for (; size >= 8; size -= 8, data += 8) {
        reg ^= (uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
        reg = tables[7][reg & 0xFF] ^ tables[6][reg >> 8 & 0xFF] ^ tables[5][reg >> 16 & 0xFF] ^ tables[4][reg >> 24] ^
              tables[3][data[4]] ^ tables[2][data[5]] ^ tables[1][data[6]] ^ tables[0][data[7]];
    }
    for (; size > 0; size--, data++)
        reg = reg >> 8 ^ tables[0][(reg ^ *data) & 0xFF];
    return reg;
}

#ifdef HAS_X86
/* Folding by carry-less multiplication (Gopal and others, Fast CRC Computation for Generic Polynomials Using PCLMULQDQ
 * Instruction, Intel 2009). 128 bits that have `d` more behind them may be replaced by what is congruent to them:
 * (high * x^(d+32) + low * x^(d-32)) mod P, mirrored and moved by one bit, because the product of mirrored factors is.
 * What is left of it at last, 16 bytes, goes through the tables. tests/unit/test_batch.py derives the constants. */
#define FOLD_512_HIGH 0x154442bd4LL
#define FOLD_512_LOW 0x1c6e41596LL
#define FOLD_128_HIGH 0x1751997d0LL
#define FOLD_128_LOW 0x0ccaa009eLL

#define AT(place) _mm_loadu_si128((const __m128i *)(place))
#define FOLD(x, by, with) \
    _mm_xor_si128(_mm_xor_si128(_mm_clmulepi64_si128(x, by, 0x00), _mm_clmulepi64_si128(x, by, 0x11)), with)

__attribute__((target("pclmul,sse2"))) static uint32_t add_x86(uint32_t reg, const uint8_t *data, size_t size)
{
    __m128i x0, x1, x2, x3, by;
    uint8_t rest[16];
    if (size < 128)
        return add_anywhere(reg, data, size);
    x0 = _mm_xor_si128(AT(data), _mm_cvtsi32_si128((int)reg));
    x1 = AT(data + 16);
    x2 = AT(data + 32);
    x3 = AT(data + 48);
    by = _mm_set_epi64x(FOLD_512_LOW, FOLD_512_HIGH);
    for (data += 64, size -= 64; size >= 64; data += 64, size -= 64) {
        x0 = FOLD(x0, by, AT(data));
        x1 = FOLD(x1, by, AT(data + 16));
        x2 = FOLD(x2, by, AT(data + 32));
        x3 = FOLD(x3, by, AT(data + 48));
    }
    by = _mm_set_epi64x(FOLD_128_LOW, FOLD_128_HIGH);
    x0 = FOLD(x0, by, x1);
    x0 = FOLD(x0, by, x2);
    x0 = FOLD(x0, by, x3);
    for (; size >= 16; data += 16, size -= 16)
        x0 = FOLD(x0, by, AT(data));
    _mm_storeu_si128((__m128i *)rest, x0);
    return add_anywhere(add_anywhere(0, rest, sizeof rest), data, size);
}

static adder *find_best(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && c & 1u << 1 ? add_x86 : add_anywhere;
}
#elif defined(HAS_ARM)
FOR_ARM static uint32_t add_arm(uint32_t reg, const uint8_t *data, size_t size)
{
    for (; size >= 8; size -= 8, data += 8) {
        uint64_t word;
        memcpy(&word, data, sizeof word);
        reg = __crc32d(reg, word);
    }
    for (; size > 0; size--, data++)
        reg = __crc32b(reg, *data);
    return reg;
}

static adder *find_best(void)
{
#if defined(__APPLE__)
    return add_arm;
#elif defined(__linux__)
    return getauxval(AT_HWCAP) & 1u << 7 ? add_arm : add_anywhere; /* HWCAP_CRC32 */
#else
    return add_anywhere;
#endif
}
#else
static adder *find_best(void)
{
    return add_anywhere;
}
#endif

/* Threads that come here at once write the same. */
static adder *volatile best;
static adder *volatile chosen;

void crc32_choose(int the_best)
{
    if (!best) {
        make_tables();
        best = find_best();
    }
    chosen = the_best ? best : add_anywhere;
}

uint32_t crc32_add(uint32_t crc, const uint8_t *data, size_t size)
{
    if (!chosen)
        crc32_choose(1);
    return ~chosen(~crc, data, size);
}
