/* Our inflater under libFuzzer, held against zlib: the same bytes, the same verdict, the same end, however input and
 * output are cut. The last bytes of the input say how they are; the rest is the stream. The stream is also a member of a
 * run, between others, whose places and sizes may lie; and checksums are held against zlib's, digests by the processor's
 * instructions against those by portable C. See README.md. */
#define _POSIX_C_SOURCE 200809L /* fileno */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "batch.h"
#include "crc32.h"
#include "inflate.h"
#include "member.h"
#include "sha256.h"

enum { TAIL = 4, MOST = 1 << 22, LEAST_ROOM = INFLATE_WINDOW + 2 * INFLATE_SLACK };

/* What became of a stream. Of one that is too large, only the first MOST bytes are looked at. */
enum verdict { WHOLE, DAMAGED, CUT_OFF, TOO_LARGE };

typedef struct {
    enum verdict verdict;
    size_t written;
    size_t used; /* of the input, where the stream is whole */
} outcome;

static uint8_t expected[MOST];

static void require(int condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "broken promise: %s\n", what);
        abort();
    }
}

static outcome run_zlib(const uint8_t *data, size_t size)
{
    outcome done = {WHOLE, 0, 0};
    z_stream stream;
    int code;
    memset(&stream, 0, sizeof stream);
    require(inflateInit2(&stream, -15) == Z_OK, "zlib is there");
    stream.next_in = (Bytef *)(uintptr_t)data;
    stream.avail_in = (uInt)size;
    stream.next_out = expected;
    stream.avail_out = MOST;
    do
        code = inflate(&stream, Z_NO_FLUSH);
    while (code == Z_OK && stream.avail_out > 0);
    done.written = stream.total_out;
    done.used = stream.total_in;
    done.verdict = code == Z_STREAM_END    ? WHOLE
                   : code == Z_DATA_ERROR  ? DAMAGED
                   : stream.avail_out == 0 ? TOO_LARGE
                                           : CUT_OFF;
    inflateEnd(&stream);
    return done;
}

/* The size of the next piece of the input: none of the fuzzer's choices takes more than a thousand. */
static size_t next_cut(const uint8_t *tail, size_t size, uint32_t *state)
{
    size_t least = size / 1000 + 1, cut = tail[0] % 4 == 0 ? size : (size_t)tail[0] / 4;
    *state = *state * 1664525u + 1013904223u;
    if (tail[0] % 4 == 2)
        cut = (*state >> 16) % (2 * cut + 2);
    else if (tail[0] % 4 == 3)
        cut = (*state >> 16) % (size + 1);
    return cut < least ? least : cut;
}

/* Every piece in memory of its own, so that a step beyond it is noticed; and an empty one now and then. */
static outcome run_ours(const uint8_t *data, size_t size, const uint8_t *tail)
{
    outcome done = {CUT_OFF, 0, 0};
    size_t room = LEAST_ROOM + (tail[1] % 4 == 0 ? 0u : tail[1] * 16u), position = 0;
    uint8_t *out = malloc(room);
    inflate_state *state = inflate_new();
    uint32_t chance = tail[2] | (uint32_t)tail[3] << 8;
    int code = INFLATE_INPUT;
    require(out && state, "memory");
    while (code == INFLATE_INPUT && position < size && done.written < MOST) {
        size_t cut = next_cut(tail, size, &chance), left, calls = 0;
        uint8_t *piece;
        const uint8_t *in;
        if (cut > size - position)
            cut = size - position;
        if (chance >> 28 == 0 && tail[0] % 2)
            cut = 0;
        piece = malloc(cut ? cut : 1);
        require(piece != NULL, "memory");
        memcpy(piece, data + position, cut);
        in = piece;
        left = cut;
        do {
            size_t start, end, before = left;
            code = inflate_run(state, &in, &left, out, room, &start, &end);
            require(code >= INFLATE_INPUT && code <= INFLATE_DAMAGED, "an outcome is one of four");
            require(start <= end && end <= room && left <= before, "a call stays inside of its buffers");
            require(code != INFLATE_INPUT || left == 0, "input is wanted where there is none");
            require(code != INFLATE_OUTPUT || end > start || before > left || ++calls < 3, "calls get somewhere");
            if (end - start > MOST - done.written)
                end = start + (MOST - done.written);
            require(memcmp(expected + done.written, out + start, end - start) == 0, "the same bytes");
            done.written += end - start;
        } while (code == INFLATE_OUTPUT && done.written < MOST);
        position += cut - left;
        free(piece);
    }
    if (code == INFLATE_END || code == INFLATE_DAMAGED)
        done.verdict = code == INFLATE_END ? WHOLE : DAMAGED;
    else if (done.written >= MOST)
        done.verdict = TOO_LARGE;
    done.used = position - inflate_unused(state);
    inflate_free(state);
    free(out);
    return done;
}

static void check_sums(const uint8_t *data, size_t size, size_t cut)
{
    uint8_t digests[2][SHA256_DIGEST];
    uint32_t crc = (uint32_t)crc32(0, data, (uInt)size);
    int best;
    for (best = 0; best < 2; best++) {
        sha256_state state;
        crc32_choose(best);
        sha256_choose(best);
        sha256_start(&state);
        sha256_add(&state, data, cut);
        sha256_add(&state, data + cut, size - cut);
        sha256_end(&state, digests[best]);
        require(crc32_add(crc32_add(0, data, cut), data + cut, size - cut) == crc, "zlib's checksum");
    }
    require(memcmp(digests[0], digests[1], SHA256_DIGEST) == 0, "the same digest");
}

/* As RECORD writes it, of what portable C says. */
static void make_digest(const uint8_t *data, size_t size, char *to)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t bytes[SHA256_DIGEST + 1] = {0};
    sha256_state state;
    int i;
    sha256_choose(0);
    sha256_start(&state);
    sha256_add(&state, data, size);
    sha256_end(&state, bytes);
    sha256_choose(1);
    for (i = 0; i < BATCH_DIGEST; i++)
        to[i] = letters[(bytes[i * 6 / 8] << 8 | bytes[i * 6 / 8 + 1]) >> (10 - i * 6 % 8) & 63];
}

static batch_member stored(const uint8_t *data, size_t size)
{
    batch_member member = {0, size, size, (uint32_t)crc32(0, data, (uInt)size), 0};
    return member;
}

/* The stream as the second of four members, and as the last; `tail` tells in which way the archive lies about the second. */
static void run_batch(const uint8_t *data, size_t size, const uint8_t *tail, const outcome *theirs)
{
    enum { ROOM = (1 << 16) + BATCH_SLACK, COUNT = 4 };
    uint8_t *out = malloc(ROOM), *run = malloc(size ? size : 1);
    char(*digests)[BATCH_DIGEST] = malloc(COUNT * sizeof *digests), promised[COUNT][BATCH_DIGEST];
    inflate_state *state = inflate_new();
    batch_member members[COUNT] = {{0, 0, 0, 0, 0}, {0, 0, 0, 0, 8}, {0, 0, 0, 0, 0}, {0, 0, 0, 0, 0}};
    int whole = theirs->verdict == WHOLE && theirs->used == size && theirs->written <= 1 << 16, code, lie = tail[3] % 8;
    size_t done = 0, first = 0, length, part = size * tail[1] / 255, i;
    const uint8_t *content;
    require(out && run && digests && state, "memory");
    memcpy(run, data, size);
    members[0] = stored(data, part);
    make_digest(data, part, promised[0]);
    members[1].packed = size;
    members[1].size = theirs->written;
    members[1].crc = (uint32_t)crc32(0, expected, (uInt)theirs->written);
    make_digest(expected, theirs->written, promised[1]);
    members[2] = stored(data, size);
    make_digest(data, size, promised[2]);
    members[3] = whole ? members[1] : members[2];
    memcpy(promised[3], promised[whole ? 1 : 2], BATCH_DIGEST);
    if (lie == 1)
        members[1].size += tail[2] + 1u;
    else if (lie == 2)
        members[1].crc ^= tail[2] + 1u;
    else if (lie == 3)
        members[1].offset = size + 1u + tail[2];
    else if (lie == 4)
        members[1].packed = UINT64_MAX - tail[2];
    do {
        code = batch_read(state, run, size, members + first, COUNT - first, out, ROOM, digests, &done, &content, &length);
        require(done <= COUNT - first, "no more than there are");
        for (i = 0; i < done; i++)
            require(memcmp(digests[i], promised[first + i], BATCH_DIGEST) == 0, "the same digest in a run");
        first += done;
        require(code != BATCH_ELF || (done > 0 && length >= 4 && memcmp(content, "\177ELF", 4) == 0), "an ELF file");
    } while (code == BATCH_ELF);
    require((first == COUNT) == (code == BATCH_ALL), "an end or a reason");
    require(first < 2 || first == COUNT, "nothing is wrong with the last");
    require((first == COUNT) == (whole && (lie == 0 || lie > 4)), "the same verdict in a run");
    require(lie != 3 && lie != 4 ? code != BATCH_OUTSIDE : code == BATCH_OUTSIDE, "what lies outside is told");
    inflate_free(state);
    free(digests);
    free(run);
    free(out);
}

/* The stream as a member in a file, read piece by piece through a ring of buffers; `tail` tells how large they are. */
static void run_member(const uint8_t *data, size_t size, const uint8_t *tail, const outcome *theirs)
{
    const size_t slots = tail[0] % 3 + 1u, room = MEMBER_LEAST + tail[1] * 16u;
    uint8_t *rings[3] = {NULL, NULL, NULL}, *copy = malloc(MOST), *before = NULL;
    member_reader *reader = malloc(sizeof *reader);
    member_source source;
    member_range wanted = {tail[2] * 100u, MOST, copy};
    FILE *file = tmpfile();
    size_t at, start, end, written = 0;
    int follows = MEMBER_MORE, whole = theirs->verdict == WHOLE && theirs->used == size;
    require(copy && reader && file, "memory");
    require(fwrite(data, 1, size, file) == size && fflush(file) == 0, "a file");
    for (at = 0; at < slots; at++)
        require((rings[at] = malloc(room)) != NULL, "memory");
    require(member_open(&source, fileno(file), 0, size, 0), "memory");
    member_start(reader, theirs->written, crc32(0, expected, (uInt)theirs->written), 1, 1);
    for (at = 0; follows == MEMBER_MORE; at = (at + 1) % slots) {
        follows = member_next(&source, before, rings[at], room, &start, &end);
        require(start <= end && end <= room, "a piece stays inside of its buffer");
        follows = member_look(reader, rings[at], start, end, follows, &wanted, 1, NULL);
        require(reader->position <= theirs->written, "no more than the archive says");
        require(follows == MEMBER_ANOTHER || memcmp(expected + written, rings[at] + start, end - start) == 0, "the same");
        written = (size_t)reader->position;
        before = rings[at];
    }
    require(theirs->verdict == TOO_LARGE || (follows == MEMBER_END) == whole, "the same verdict of a member");
    require(wanted.start >= written || memcmp(copy, expected + wanted.start, written - wanted.start) == 0, "a copy");
    member_close(&source);
    fclose(file);
    for (at = 0; at < slots; at++)
        free(rings[at]);
    free(copy);
    free(reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    outcome theirs, ours;
    if (size < TAIL)
        return 0;
    size -= TAIL;
    theirs = run_zlib(data, size);
    check_sums(data, size, data[size] * size / 255);
    run_batch(data, size, data + size, &theirs);
    run_member(data, size, data + size, &theirs);
    memset(expected + theirs.written, 0xA5, theirs.written < MOST ? 1 : 0);
    ours = run_ours(data, size, data + size);
    if (theirs.verdict == TOO_LARGE) {
        require(ours.written == MOST, "as many bytes as are looked at");
        return 0;
    }
    /* Lengths that make no code are damage to us; zlib reads on with them, and finds the same only if there is more. */
    if (theirs.verdict == CUT_OFF && ours.verdict == DAMAGED) {
        require(ours.written <= theirs.written, "no bytes of its own");
        return 0;
    }
    require(ours.verdict == theirs.verdict, "the same verdict");
    require(ours.verdict == DAMAGED || ours.written == theirs.written, "the same number of bytes");
    require(ours.verdict != WHOLE || ours.used == theirs.used, "the same end");
    return 0;
}
