/* The C core of the scanner under libFuzzer: no input may make it read outside of the bytes, leak, overflow, or give
 * back anything that is not inside of the bytes. And given in parts, a file has the facts and errors that it has as a
 * whole, after some questions for more that each ask for something new. Tables that pass by, in pieces, give the facts
 * of the whole file or none. See README.md. */
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

/* What is known of a file by way of parts: which of its bytes are given, by the byte. */
typedef struct {
    uint8_t *given;
    elfscan_part *parts;
    size_t count;
    uint32_t chance;
} pieces;

static size_t random_below(pieces *p, size_t limit)
{
    p->chance = p->chance * 1664525u + 1013904223u;
    return limit ? (p->chance >> 8) % limit : 0;
}

/* Every run of bytes that are given becomes a part, in memory of its own, so that a step beyond it is noticed. */
static void cut_parts(pieces *p)
{
    size_t start = 0, end;
    p->parts = NULL;
    p->count = 0;
    for (; start < length; start = end) {
        uint8_t *copy;
        for (end = start; end < length && p->given[end] == p->given[start]; end++)
            ;
        if (!p->given[start])
            continue;
        copy = malloc(end - start);
        p->parts = realloc(p->parts, (p->count + 1) * sizeof *p->parts);
        require(copy && p->parts, "memory");
        memcpy(copy, begin + start, end - start);
        p->parts[p->count].offset = start;
        p->parts[p->count].size = end - start;
        p->parts[p->count++].data = copy;
    }
}

static void free_parts(pieces *p)
{
    while (p->count > 0)
        free((void *)(uintptr_t)p->parts[--p->count].data);
    free(p->parts);
}

/* Each range is in the file, and together they hold a byte that is not there yet. */
static void give(pieces *p, const elfscan_list *missing)
{
    const elfscan_range *ranges = missing->items;
    int news = 0;
    size_t i;
    for (i = 0; i < missing->count; i++) {
        require(ranges[i].start < ranges[i].end && ranges[i].end <= length, "what is missing is in the file");
        news |= memchr(p->given + ranges[i].start, 0, (size_t)(ranges[i].end - ranges[i].start)) != NULL;
        memset(p->given + ranges[i].start, 1, (size_t)(ranges[i].end - ranges[i].start));
    }
    require(news, "a question asks for something new");
}

static void require_same_text(const elfscan_text *one, const elfscan_text *other)
{
    require(!one->start == !other->start && one->size == other->size, "the same texts");
    require(one->size == 0 || memcmp(one->start, other->start, one->size) == 0, "the same texts");
}

static void require_same_texts(const elfscan_list *one, const elfscan_list *other)
{
    const elfscan_text *mine = one->items, *theirs = other->items;
    size_t i;
    require(one->count == other->count, "as many texts");
    for (i = 0; i < one->count; i++)
        require_same_text(mine + i, theirs + i);
}

static void require_same_symbols(const elfscan_list *one, const elfscan_list *other)
{
    const elfscan_symbol *mine = one->items, *theirs = other->items;
    size_t i;
    require(one->count == other->count, "as many symbols");
    for (i = 0; i < one->count; i++) {
        require_same_text(&mine[i].name, &theirs[i].name);
        require(mine[i].version == theirs[i].version && mine[i].flag == theirs[i].flag, "the same symbols");
    }
}

static int same_symbol(const elfscan_symbol *one, const elfscan_symbol *other)
{
    return one->name.size == other->name.size && memcmp(one->name.start, other->name.start, one->name.size) == 0 &&
           one->version == other->version && one->flag == other->flag;
}

/* Of names that passed by there are digests, and those that are known are as they are. */
static void require_same_digests(const elfscan_facts *whole, const elfscan_facts *passed)
{
    const elfscan_symbol *symbols = whole->exports.items, *kept = passed->exports.items;
    const uint16_t *codes = passed->codes.items;
    size_t i, at = 0;
    require(whole->exports.count == passed->codes.count, "as many symbols passed by");
    for (i = 0; i < whole->exports.count; i++) {
        require(passed->digests[i] == elfpass_digest(symbols[i].name.start, symbols[i].name.size), "the same digest");
        require(codes[i] == (symbols[i].version | (symbols[i].flag ? 0x8000u : 0)), "the same code");
        if (at < passed->exports.count && same_symbol(symbols + i, kept + at))
            at++;
        else
            require(memcmp(symbols[i].name.start, "Py", 2) != 0, "known names are kept");
    }
    require(at == passed->exports.count, "names that are kept are among all");
}

static void require_same(const elfscan_facts *one, const elfscan_facts *other)
{
    size_t i;
    require(one->bits == other->bits && one->little == other->little && one->machine == other->machine &&
                one->type == other->type && one->flags == other->flags && one->dynamic == other->dynamic &&
                one->executable_stack == other->executable_stack && one->text_relocations == other->text_relocations &&
                one->relr == other->relr && one->ifunc == other->ifunc && one->isa_needed == other->isa_needed,
            "the same facts");
    require_same_text(&one->interpreter, &other->interpreter);
    require_same_text(&one->soname, &other->soname);
    require_same_text(&one->rpath, &other->rpath);
    require_same_text(&one->runpath, &other->runpath);
    require_same_texts(&one->needed, &other->needed);
    require_same_texts(&one->needed_versions, &other->needed_versions);
    require_same_texts(&one->definitions, &other->definitions);
    require_same_symbols(&one->imports, &other->imports);
    if (other->passed)
        require_same_digests(one, other);
    else
        require_same_symbols(&one->exports, &other->exports);
    require(one->needs.count == other->needs.count && one->slots.count == other->slots.count, "as many versions");
    for (i = 0; i < one->needs.count; i++) {
        const elfscan_need *mine = (const elfscan_need *)one->needs.items + i;
        const elfscan_need *theirs = (const elfscan_need *)other->needs.items + i;
        require_same_text(&mine->library, &theirs->library);
        require(mine->first == theirs->first && mine->count == theirs->count, "the same needs");
    }
    for (i = 0; i < one->slots.count; i++) {
        const elfscan_slot *mine = (const elfscan_slot *)one->slots.items + i;
        const elfscan_slot *theirs = (const elfscan_slot *)other->slots.items + i;
        require_same_text(&mine->version, &theirs->version);
        require(mine->need == theirs->need, "the same slots");
    }
}

/* Begin with some bytes, by chance (of the content, so that a finding can be seen again), and answer every question. */
static void check_parts(const elfscan_facts *whole, int outcome_of_whole, const elfscan_error *error_of_whole)
{
    pieces p;
    int outcome, extra;
    size_t i, questions = 0;
    p.given = calloc(1, length);
    require(p.given != NULL, "memory");
    p.chance = 2166136261u;
    for (i = 0; i < length; i++)
        p.chance = (p.chance ^ begin[i]) * 16777619u;
    memset(p.given, 1, 1 + random_below(&p, random_below(&p, 2) ? length : length < 128 ? length : 128));
    for (extra = (int)random_below(&p, 4); extra > 0; extra--) {
        size_t start = random_below(&p, length);
        memset(p.given + start, 1, random_below(&p, length - start));
    }
    do {
        elfscan_facts facts;
        elfscan_error error;
        elfscan_list missing = {NULL, 0, 0};
        memset(&error, 0, sizeof error);
        cut_parts(&p);
        outcome = elfscan_read_parts(length, p.parts, p.count, NULL, &facts, &error, &missing);
        if (outcome == ELFSCAN_MISSING) {
            give(&p, &missing);
            require(++questions < 10000, "questions come to an end");
        } else {
            require(outcome == outcome_of_whole, "the same outcome");
            if (outcome == ELFSCAN_OK)
                require_same(whole, &facts);
            else
                require(error.offset == error_of_whole->offset && strcmp(error.what, error_of_whole->what) == 0,
                        "the same error");
        }
        free(missing.items);
        elfscan_free(&facts);
        free_parts(&p);
    } while (outcome == ELFSCAN_MISSING);
    free(p.given);
}

/* Add a range that may pass by; those of relocations and hashes by chance. */
static void add_range(pieces *p, elfpass *pass, const elfscan_range *range)
{
    elfpass_relocations *table = pass->relocations + pass->relocation_count;
    if (range->kind == ELFSCAN_SYMBOLS) {
        pass->symbols_start = pass->symbols_at = range->start;
        pass->symbols_end = range->end;
    } else if (range->kind == ELFSCAN_STRINGS) {
        pass->strings_start = pass->strings_at = range->start;
        pass->strings_end = range->end;
    } else if (range->kind == ELFSCAN_HASH && random_below(p, 4)) {
        pass->hash.start = pass->hash.at = range->start;
        pass->hash.end = range->end;
    } else if ((range->kind == ELFSCAN_REL || range->kind == ELFSCAN_RELA) && random_below(p, 4) &&
               pass->relocation_count < ELFPASS_RELOCATIONS) {
        table->start = table->at = range->start;
        table->end = range->end;
        table->width = (unsigned)(pass->wide ? 8 : 4) * (range->kind == ELFSCAN_RELA ? 3 : 2);
        pass->relocation_count++;
    }
}

static elfpass *new_pass(pieces *p, const elfscan_list *missing)
{
    const elfscan_range *ranges = missing->items;
    int little = begin[5] == 1;
    elfpass *pass = elfpass_new(begin[4] == 2, little, elfscan_irelative(little ? begin[18] | (unsigned)begin[19] << 8
                                                                               : begin[19] | (unsigned)begin[18] << 8));
    size_t i;
    require(pass != NULL, "memory");
    for (i = 0; i < missing->count; i++)
        add_range(p, pass, ranges + i);
    if (!pass->symbols_end || !pass->strings_end)
        pass->symbols_start = pass->symbols_end = pass->symbols_at = pass->strings_start = pass->strings_end =
            pass->strings_at = 0;
    return pass;
}

/* Let a part of the file pass by, in pieces that are memory of their own. */
static void feed(pieces *p, elfpass *pass, size_t at, size_t end)
{
    while (at < end) {
        size_t size = 1 + random_below(p, random_below(p, 2) ? end - at : end - at < 40 ? end - at : 40);
        uint8_t *copy = malloc(size);
        require(copy != NULL, "memory");
        memcpy(copy, begin + at, size);
        elfpass_feed(pass, at, copy, size);
        free(copy);
        at += size;
    }
}

/* What passed by is not given, unless it is asked for. */
static void scan_passed(pieces *p, elfpass *pass, const elfscan_facts *whole, int outcome_of_whole)
{
    int outcome;
    size_t i;
    memset(p->given, 1, length);
    memset(p->given + pass->strings_start, 0, (size_t)(pass->strings_end - pass->strings_start));
    memset(p->given + pass->hash.start, 0, (size_t)(pass->hash.end - pass->hash.start));
    for (i = 0; i < pass->relocation_count; i++)
        memset(p->given + pass->relocations[i].start, 0, (size_t)(pass->relocations[i].end - pass->relocations[i].start));
    p->given[0] = 1;
    do {
        elfscan_facts facts;
        elfscan_error error;
        elfscan_list missing = {NULL, 0, 0};
        cut_parts(p);
        outcome = elfscan_read_parts(length, p->parts, p->count, pass, &facts, &error, &missing);
        require(outcome != ELFSCAN_MALFORMED, "what passed by does not tell what is wrong");
        if (outcome == ELFSCAN_MISSING)
            give(p, &missing);
        if (outcome == ELFSCAN_OK) {
            require(outcome_of_whole == ELFSCAN_OK, "nothing is wrong with the whole");
            require_same(whole, &facts);
        }
        free(missing.items);
        elfscan_free(&facts);
        free_parts(p);
    } while (outcome == ELFSCAN_MISSING);
}

/* Ask until the tables are known, then let them pass by. */
static void check_passing(const elfscan_facts *whole, int outcome_of_whole)
{
    pieces p;
    elfpass *pass = NULL;
    int outcome;
    size_t i;
    p.given = calloc(1, length);
    require(p.given != NULL, "memory");
    p.chance = 2166136261u;
    for (i = 0; i < length; i++)
        p.chance = (p.chance ^ begin[i]) * 16777619u;
    p.given[0] = 1;
    do {
        elfscan_facts facts;
        elfscan_error error;
        elfscan_list missing = {NULL, 0, 0};
        cut_parts(&p);
        outcome = elfscan_read_parts(length, p.parts, p.count, NULL, &facts, &error, &missing);
        for (i = 0; !pass && i < missing.count; i++)
            if (((elfscan_range *)missing.items)[i].kind == ELFSCAN_STRINGS)
                pass = new_pass(&p, &missing);
        if (outcome == ELFSCAN_MISSING)
            give(&p, &missing);
        free(missing.items);
        elfscan_free(&facts);
        free_parts(&p);
    } while (outcome == ELFSCAN_MISSING && !pass);
    if (pass) {
        int late = random_below(&p, 3) == 0;
        if (late) { /* as if they had come by before */
            feed(&p, pass, 0, (size_t)pass->strings_start);
            feed(&p, pass, (size_t)pass->strings_end, length);
            feed(&p, pass, (size_t)pass->strings_start, (size_t)pass->strings_end);
        } else {
            feed(&p, pass, 0, length);
        }
        scan_passed(&p, pass, whole, outcome_of_whole);
    }
    elfpass_free(pass);
    free(p.given);
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
    if (size > 0)
        check_parts(&facts, outcome, &error);
    if (size > 20)
        check_passing(&facts, outcome);
    elfscan_free(&facts);
    return 0;
}
