/* See batch.h. */
#include "batch.h"

#include <string.h>

#include "crc32.h"
#include "sha256.h"

static void write_digest(const uint8_t *bytes, size_t size, char *to)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t bits = 0;
    unsigned count = 0;
    for (; size > 0; size--, bytes++) {
        bits = bits << 8 | *bytes;
        for (count += 8; count >= 6; count -= 6)
            *to++ = letters[bits >> (count - 6) & 63];
    }
    if (count > 0)
        *to = letters[bits << (6 - count) & 63];
}

static void hash(const uint8_t *data, size_t size, char *digest)
{
    sha256_state state;
    uint8_t bytes[SHA256_DIGEST];
    sha256_start(&state);
    sha256_add(&state, data, size);
    sha256_end(&state, bytes);
    write_digest(bytes, sizeof bytes, digest);
}

static int inflate_one(inflate_state *state, const uint8_t *packed, size_t size, uint8_t *out, size_t room, size_t *length)
{
    size_t start;
    int outcome;
    inflate_reset(state);
    outcome = inflate_run(state, &packed, &size, out, room, &start, length);
    if (outcome == INFLATE_DAMAGED)
        return BATCH_DAMAGED;
    if (outcome == INFLATE_OUTPUT) /* more than any member that is right */
        return BATCH_ANOTHER;
    return outcome == INFLATE_END && size + inflate_unused(state) == 0 ? BATCH_ALL : BATCH_NOT_WHOLE;
}

static int read_one(inflate_state *state, const uint8_t *data, size_t size, const batch_member *member, uint8_t *out,
                    size_t room, const uint8_t **content, size_t *length)
{
    int outcome = BATCH_ALL;
    if (member->offset > size || member->packed > size - member->offset)
        return BATCH_OUTSIDE;
    *content = data + member->offset;
    *length = (size_t)member->packed;
    if (member->method != 0 && member->size > room - BATCH_SLACK)
        return BATCH_ANOTHER;
    if (member->method != 0) {
        outcome = inflate_one(state, *content, *length, out, room, length);
        *content = out;
    }
    if (outcome == BATCH_ALL && (*length != member->size || crc32_add(0, *content, *length) != member->crc))
        outcome = BATCH_ANOTHER;
    return outcome;
}

int batch_read(inflate_state *state, const uint8_t *data, size_t size, const batch_member *members, size_t count,
               uint8_t *out, size_t room, char (*digests)[BATCH_DIGEST], size_t *done, const uint8_t **content,
               size_t *length)
{
    int outcome = BATCH_ALL;
    for (*done = 0; *done < count;) {
        outcome = read_one(state, data, size, members + *done, out, room, content, length);
        if (outcome != BATCH_ALL)
            return outcome;
        hash(*content, *length, digests[*done]);
        ++*done;
        if (*length >= 4 && memcmp(*content, "\177ELF", 4) == 0)
            return BATCH_ELF;
    }
    return BATCH_ALL;
}
