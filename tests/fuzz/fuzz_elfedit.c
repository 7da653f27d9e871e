/* The C core of the editor under libFuzzer. The last bytes of the input say which edits; the rest is the file. No
 * input may make it read or write outside of the bytes, leak or overflow. An accepted edit gives a file that the scanner
 * can read and that the same edit does not change any more. See README.md. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "elfedit.h"
#include "elfscan.h"

/* The zeroed memory that may go into a small file (docs/explanation/elf-editor.md). */
enum { TAIL = 8, MOST_ZEROED = 1 << 20 };

static void require(int condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "broken promise: %s\n", what);
        abort();
    }
}

static elfedit_name make_name(const char *text)
{
    elfedit_name name;
    name.start = (const uint8_t *)text;
    name.size = text ? strlen(text) : 0;
    return name;
}

/* Names as they are in the seeds, short and long; no choice of these can contradict itself, as Python sees to. */
static const char *const NEW_NAMES[] = {
    NULL, "a", "libb.so", "libb-0123abcd.so.1", "libnew-with-quite-a-long-name-that-fits-nowhere-0123abcd.so.1.2.3"};
static const char *const PATHS[] = {NULL, "", "$ORIGIN", "$ORIGIN/../some.libs:$ORIGIN/../a/much/longer/way/to/go"};

static elfedit_edits read_edits(const uint8_t *tail, elfedit_name *names)
{
    elfedit_edits edits;
    memset(&edits, 0, sizeof edits);
    edits.soname = make_name(NEW_NAMES[tail[0] % 5]);
    names[0] = make_name("libc.so.6");
    names[1] = make_name(NEW_NAMES[1 + tail[1] % 4]);
    names[2] = make_name("liba.so.1");
    names[3] = make_name(NEW_NAMES[1 + tail[2] % 4]);
    edits.renamed = names;
    edits.renamed_count = tail[3] % 3;
    names[4] = make_name("libz.so.1");
    names[5] = make_name("libm.so.6");
    edits.removed = names + 4;
    edits.removed_count = (tail[3] >> 2) % 3;
    names[6] = make_name("libadded.so.0");
    names[7] = make_name("so.6");
    names[8] = make_name("libadded-too.so.0");
    edits.added = names + 6;
    edits.added_count = (tail[3] >> 4) % 4;
    edits.path = make_name(PATHS[tail[4] % 4]);
    edits.path_tag = tail[4] & 4 ? 29 : 15;
    edits.clear_stack = tail[4] >> 3 & 1;
    edits.strip = tail[4] >> 4 & 1;
    return edits;
}

static int readable(const uint8_t *data, size_t size)
{
    elfscan_facts facts;
    elfscan_error error;
    int outcome = elfscan_read(data, size, &facts, &error);
    elfscan_free(&facts);
    return outcome == ELFSCAN_OK;
}

/* Exactly as much memory as there are bytes, so that a step beyond them is noticed. */
static uint8_t *copy(const uint8_t *data, size_t size)
{
    uint8_t *bytes = malloc(size ? size : 1);
    require(bytes != NULL, "memory");
    if (size)
        memcpy(bytes, data, size);
    return bytes;
}

typedef struct {
    const uint8_t *start, *end;
    uint8_t *made; /* see allocate */
} range;

/* What is let go must be the file's own bytes: the owner may take them away. */
static void passed(void *context, const uint8_t *start, size_t size)
{
    const range *file = context;
    require(start >= file->start && start <= file->end && size <= (size_t)(file->end - start), "only the file is let go");
}

/* What has the beginning of the file already, but for the last of it: it is to be filled up, and not to be relied on. */
static uint8_t *allocate(void *context, size_t size, size_t *same)
{
    range *file = context;
    require(!file->made, "the result is made once");
    require(*same <= size && *same <= (size_t)(file->end - file->start), "only what is there is the same");
    *same -= *same % 64;
    file->made = malloc(size ? size : 1);
    require(file->made != NULL, "memory");
    memset(file->made, 0xA5, size);
    memcpy(file->made, file->start, *same);
    return file->made;
}

static void same_again(range file, elfedit_edits edits, const uint8_t *wanted, size_t wanted_size)
{
    elfedit_error error;
    uint8_t *out;
    size_t size;
    file.made = NULL;
    edits.allocate = allocate;
    edits.context = &file;
    require(elfedit_apply(file.start, (size_t)(file.end - file.start), &edits, &out, &size, &error) == ELFEDIT_OK &&
                size == wanted_size && memcmp(out, wanted, size) == 0,
            "the result does not depend on who makes its memory");
    if (out != file.made)
        free(out);
    free(file.made);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    elfedit_name names[9];
    elfedit_edits edits;
    elfedit_error error;
    uint8_t *bytes, *out, *again;
    range file;
    size_t out_size, again_size;
    int outcome;
    if (size < TAIL)
        return 0;
    edits = read_edits(data + size - TAIL, names);
    size -= TAIL;
    bytes = copy(data, size);
    file.start = bytes;
    file.end = bytes + size;
    file.made = NULL;
    edits.passed = passed;
    edits.context = &file;
    memset(&error, 0, sizeof error);
    outcome = elfedit_apply(bytes, size, &edits, &out, &out_size, &error);
    if (outcome == ELFEDIT_OK) {
        require(out_size <= 3 * size + (1 << 12) + MOST_ZEROED, "growth is bounded");
        require(readable(out, out_size), "the result can be read");
        same_again(file, edits, out, out_size);
        file.start = out;
        file.end = out + out_size;
        outcome = elfedit_apply(out, out_size, &edits, &again, &again_size, &error);
        require(outcome == ELFEDIT_UNCHANGED || (outcome == ELFEDIT_OK && again_size == out_size &&
                                                 memcmp(again, out, out_size) == 0),
                "editing twice is editing once");
        free(again);
    } else {
        require(out == NULL, "no result without success");
        require(outcome == ELFEDIT_UNCHANGED || (error.what[0] && strlen(error.what) < sizeof error.what - 1),
                "a reason is told");
        require(outcome != ELFEDIT_MALFORMED || error.offset <= size, "an error is inside of the file");
    }
    free(out);
    free(bytes);
    return 0;
}
