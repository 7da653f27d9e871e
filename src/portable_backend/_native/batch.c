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

/* A member of which not all is hashed yet: it waits for the next one, because two at once take little more time than one. */
typedef struct {
    sha256_state state;
    const uint8_t *data;
    size_t left;
    char *digest; /* where it goes; NULL if nobody waits */
} waiting;

static void finish(waiting *member)
{
    uint8_t bytes[SHA256_DIGEST];
    if (!member->digest)
        return;
    sha256_add(&member->state, member->data, member->left);
    sha256_end(&member->state, bytes);
    write_digest(bytes, sizeof bytes, member->digest);
    member->digest = NULL;
    member->left = 0;
}

/* Hash one more beside the one that waits, as far as both go; what is left of the longer one waits. */
static void hash(waiting *before, const uint8_t *data, size_t size, char *digest)
{
    waiting fresh;
    size_t blocks = (before->left < size ? before->left : size) / SHA256_BLOCK;
    sha256_start(&fresh.state);
    sha256_add_two(&before->state, before->data, &fresh.state, data, blocks);
    before->data += blocks * SHA256_BLOCK;
    before->left -= blocks * SHA256_BLOCK;
    fresh.data = data + blocks * SHA256_BLOCK;
    fresh.left = size - blocks * SHA256_BLOCK;
    fresh.digest = digest;
    if (before->left > fresh.left) {
        finish(&fresh);
    } else {
        finish(before);
        *before = fresh;
    }
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

/* Where in `out` a member of this size may be inflated to, and in `*room` how much is there: beside what waits, or over it
 * when it has been hashed. */
static uint8_t *find_room(waiting *before, uint8_t *out, size_t *room, uint64_t size)
{
    uintptr_t start = (uintptr_t)before->data - (uintptr_t)out, end = start + before->left; /* in `out`, or beyond it */
    uint64_t needed = size + BATCH_SLACK;
    if (before->left == 0 || start >= *room)
        return out;
    if (needed <= *room - end) {
        *room -= end;
        return out + end;
    }
    if (needed <= start)
        *room = start;
    else
        finish(before);
    return out;
}

static int read_one(inflate_state *state, const uint8_t *data, size_t size, const batch_member *member, uint8_t *out,
                    size_t room, waiting *before, const uint8_t **content, size_t *length)
{
    int outcome = BATCH_ALL;
    if (member->offset > size || member->packed > size - member->offset)
        return BATCH_OUTSIDE;
    *content = data + member->offset;
    *length = (size_t)member->packed;
    if (member->method != 0 && member->size > room - BATCH_SLACK)
        return BATCH_ANOTHER;
    if (member->method != 0) {
        const uint8_t *packed = *content;
        size_t space = room;
        uint8_t *to = find_room(before, out, &space, member->size);
        outcome = inflate_one(state, packed, (size_t)member->packed, to, space, length);
        if (outcome == BATCH_ANOTHER && space < room) { /* it may be damaged as well: that must not depend on who waits */
            finish(before);
            to = out;
            outcome = inflate_one(state, packed, (size_t)member->packed, to, room, length);
        }
        *content = to;
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
    waiting before;
    memset(&before, 0, sizeof before);
    before.data = data;
    for (*done = 0; outcome == BATCH_ALL && *done < count;) {
        outcome = read_one(state, data, size, members + *done, out, room, &before, content, length);
        if (outcome == BATCH_ALL) {
            hash(&before, *content, *length, digests[*done]);
            ++*done;
            if (*length >= 4 && memcmp(*content, "\177ELF", 4) == 0)
                outcome = BATCH_ELF;
        }
    }
    finish(&before);
    return outcome;
}
