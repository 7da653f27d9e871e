/* The C core of the scanner under libFuzzer: no input may make it read outside of the bytes, leak, overflow, or give
 * back anything that is not inside of the bytes. See README.md. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "elfscan.h"

static const uint8_t *begin;
static size_t length;

static void require(int condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "broken promise: %s\n", what);
        abort();
    }
}

/* A text lies inside of the bytes and is followed by its end mark. */
static void check_text(const elfscan_text *text)
{
    if (!text->start)
        return;
    require(text->start >= begin && text->size < length && text->start + text->size < begin + length, "text inside");
    require(text->start[text->size] == 0, "text ends");
    require(memchr(text->start, 0, text->size) == NULL, "text ends once");
}

static void check_symbols(const elfscan_facts *facts, const elfscan_list *list)
{
    const elfscan_symbol *symbols = list->items;
    size_t i;
    for (i = 0; i < list->count; i++) {
        check_text(&symbols[i].name);
        require(symbols[i].name.size > 0, "symbol has a name");
        require(symbols[i].version == 0 || symbols[i].version < facts->slots.count, "version is known");
        require(symbols[i].flag <= 1, "flag is a truth value");
    }
}

static void check_texts(const elfscan_list *list)
{
    const elfscan_text *texts = list->items;
    size_t i;
    for (i = 0; i < list->count; i++)
        check_text(&texts[i]);
}

static void check_facts(const elfscan_facts *facts)
{
    const elfscan_need *needs = facts->needs.items;
    const elfscan_slot *slots = facts->slots.items;
    size_t i;
    check_text(&facts->interpreter);
    check_text(&facts->soname);
    check_text(&facts->rpath);
    check_text(&facts->runpath);
    check_texts(&facts->needed);
    check_texts(&facts->needed_versions);
    check_texts(&facts->definitions);
    check_symbols(facts, &facts->imports);
    check_symbols(facts, &facts->exports);
    for (i = 0; i < facts->needs.count; i++) {
        check_text(&needs[i].library);
        require(needs[i].first + needs[i].count <= facts->needed_versions.count, "needed versions exist");
    }
    require(facts->slots.count <= 32768, "version indices have 15 bits");
    for (i = 0; i < facts->slots.count; i++) {
        check_text(&slots[i].version);
        require(slots[i].need <= facts->needs.count, "library of a version exists");
    }
    require(facts->imports.count + facts->exports.count <= length / 16, "symbols fit into the file");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    elfscan_facts facts;
    elfscan_error error;
    int outcome;
    begin = data;
    length = size;
    memset(&error, 0, sizeof error);
    outcome = elfscan_read(data, size, &facts, &error);
    if (outcome == ELFSCAN_OK)
        check_facts(&facts);
    else if (outcome == ELFSCAN_MALFORMED)
        require(error.offset <= size && error.what[0] && strlen(error.what) < sizeof error.what - 1, "error is told");
    elfscan_free(&facts);
    return 0;
}
