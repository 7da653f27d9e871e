/* The binding: the facts of elfscan.c as plain tuples in the order of portable_backend.elf.ElfFacts.
 *
 * Only the limited API of Python 3.9 is used, so one file serves every later version. That version has no Py_buffer in
 * it; buffers are held by a memoryview, and asked for their address by the older function of the stable ABI.
 */
#if defined(__linux__)
#define _DEFAULT_SOURCE /* madvise, MAP_ANONYMOUS */
#include <sys/mman.h>
#include <unistd.h>
#endif
#include <pyconfig.h>
#ifdef Py_GIL_DISABLED /* free-threaded interpreters had no limited API at first */
#undef Py_LIMITED_API
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "archive_binding.h"
#include "elfedit.h"
#include "elfscan.h"
#include "hash_binding.h"
#include "hold.h"
#include "inflate_binding.h"
#include "lookup_binding.h"
#include "member_binding.h"
#include "pass_binding.h"
#include "search.h"

#ifdef Py_LIMITED_API
/* In the stable ABI for good, but no longer in every header, and called deprecated in the others. */
PyAPI_FUNC(int) PyObject_AsReadBuffer(PyObject *object, const void **start, Py_ssize_t *size);
#ifdef __GNUC__
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#endif
#endif

typedef struct {
    PyObject *elf_error;
    PyObject *edit_refused;
} module_state;

/* Store an item and steal it, NULL included; 0 if the tuple is lost. */
static int put(PyObject *tuple, Py_ssize_t index, PyObject *item)
{
    return item && PyTuple_SetItem(tuple, index, item) == 0;
}

static PyObject *share(PyObject *object)
{
    Py_INCREF(object);
    return object;
}

static PyObject *make_text(elfscan_text text)
{
    if (!text.start)
        return share(Py_None);
    return PyUnicode_DecodeUTF8((const char *)text.start, (Py_ssize_t)text.size, "surrogateescape");
}

static PyObject *make_texts(const elfscan_text *texts, size_t count)
{
    PyObject *tuple = PyTuple_New((Py_ssize_t)count);
    size_t i;
    for (i = 0; tuple && i < count; i++)
        if (!put(tuple, (Py_ssize_t)i, make_text(texts[i])))
            Py_CLEAR(tuple);
    return tuple;
}

static PyObject *make_need(const elfscan_facts *facts, const elfscan_need *need)
{
    PyObject *tuple = PyTuple_New(2);
    const elfscan_text *versions = facts->needed_versions.items;
    if (tuple && !(put(tuple, 0, make_text(need->library)) &&
                   put(tuple, 1, make_texts(versions + need->first, need->count))))
        Py_CLEAR(tuple);
    return tuple;
}

static PyObject *make_needs(const elfscan_facts *facts)
{
    const elfscan_need *needs = facts->needs.items;
    PyObject *tuple = PyTuple_New((Py_ssize_t)facts->needs.count);
    size_t i;
    for (i = 0; tuple && i < facts->needs.count; i++)
        if (!put(tuple, (Py_ssize_t)i, make_need(facts, needs + i)))
            Py_CLEAR(tuple);
    return tuple;
}

/* The library of a version index: the very object that is in `needs`, so that a long name exists once. */
static PyObject *find_library(const elfscan_slot *slot, PyObject *needs)
{
    if (slot->need == 0)
        return share(Py_None);
    return share(PyTuple_GetItem(PyTuple_GetItem(needs, (Py_ssize_t)slot->need - 1), 0));
}

/* The name and the library of each version index, made once and shared by all symbols: two objects an index. Index 0,
 * and every gap, is (None, None). */
static PyObject *make_slots(const elfscan_facts *facts, PyObject *needs)
{
    const elfscan_slot *slots = facts->slots.items;
    size_t count = facts->slots.count ? facts->slots.count : 1, i;
    PyObject *tuple = PyTuple_New((Py_ssize_t)(2 * count));
    for (i = 0; tuple && i < count; i++) {
        elfscan_slot slot = {{NULL, 0}, 0};
        if (i > 0)
            slot = slots[i];
        if (!(put(tuple, (Py_ssize_t)(2 * i), make_text(slot.version)) &&
              put(tuple, (Py_ssize_t)(2 * i + 1), find_library(&slot, needs))))
            Py_CLEAR(tuple);
    }
    return tuple;
}

static PyObject *make_symbol(const elfscan_symbol *symbol, PyObject *slots, int import)
{
    Py_ssize_t size = 0, place = 2 * (Py_ssize_t)symbol->version;
    PyObject *tuple = PyTuple_New(import ? 4 : 3);
    if (!tuple)
        return NULL;
    if (put(tuple, size++, make_text(symbol->name)) && put(tuple, size++, share(PyTuple_GetItem(slots, place))) &&
        (!import || put(tuple, size++, share(PyTuple_GetItem(slots, place + 1)))) &&
        put(tuple, size++, PyBool_FromLong(symbol->flag)))
        return tuple;
    Py_DECREF(tuple);
    return NULL;
}

static PyObject *make_symbols(const elfscan_list *list, PyObject *slots, int import)
{
    const elfscan_symbol *symbols = list->items;
    PyObject *tuple = PyTuple_New((Py_ssize_t)list->count);
    size_t i;
    for (i = 0; tuple && i < list->count; i++)
        if (!put(tuple, (Py_ssize_t)i, make_symbol(symbols + i, slots, import)))
            Py_CLEAR(tuple);
    return tuple;
}

/* Names of less are kept as they are; of more, so many at once are folded. */
enum { FOLDED = 4 << 20, FOLD = 1 << 20, PAGE = 64 << 10 }; /* the largest page that there is */

/* The names of some symbols, a zero after each. */
static PyObject *pack_names(const elfscan_symbol *symbols, size_t count, size_t size)
{
    PyObject *names = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    char *name = names ? PyBytes_AsString(names) : NULL;
    size_t i;
    for (i = 0; name && i < count; i++) {
        memcpy(name, symbols[i].name.start, symbols[i].name.size);
        name += symbols[i].name.size;
        *name++ = 0;
    }
    return names;
}

/* A list of what `fold` makes of the names, block by block, so that never all of them are there. */
static PyObject *fold_names(const elfscan_symbol *symbols, size_t count, PyObject *fold)
{
    PyObject *list = PyList_New(0);
    size_t first = 0;
    while (list && first < count) {
        size_t size = 0, next = first;
        PyObject *names, *folded;
        while (next < count && size < FOLD)
            size += symbols[next++].name.size + 1;
        names = pack_names(symbols + first, next - first, size);
        folded = names ? PyObject_CallFunctionObjArgs(fold, names, NULL) : NULL;
        if (!folded || PyList_Append(list, folded) < 0)
            Py_CLEAR(list);
        Py_XDECREF(names);
        Py_XDECREF(folded);
        first = next;
    }
    return list;
}

/* Symbols that become objects only where somebody looks at them: (names, codes, versions). `names` are bytes with a zero
 * after each, or a list of what `fold` made of them if they are many; `codes` an unsigned short for each, its version
 * index and, highest, its flag; `versions` the two objects of each version index. */
static PyObject *pack_symbols(const elfscan_list *list, PyObject *slots, PyObject *fold)
{
    const elfscan_symbol *symbols = list->items;
    size_t size = 0, i;
    PyObject *names, *codes;
    uint8_t *code;
    for (i = 0; i < list->count; i++)
        size += symbols[i].name.size + 1;
    names = size > FOLDED ? fold_names(symbols, list->count, fold) : pack_names(symbols, list->count, size);
    codes = names ? PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(2 * list->count)) : NULL;
    if (!codes) {
        Py_XDECREF(names);
        return NULL;
    }
    code = (uint8_t *)PyBytes_AsString(codes);
    for (i = 0; i < list->count; i++) {
        uint16_t value = (uint16_t)(symbols[i].version | (symbols[i].flag ? 0x8000u : 0));
        memcpy(code + 2 * i, &value, 2);
    }
    return Py_BuildValue("(NNO)", names, codes, slots);
}

/* Copy what is not looked at again, and let go of it by the way, lest there are two of it. */
static PyObject *move_bytes(const void *from, size_t size)
{
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    char *to = bytes ? PyBytes_AsString(bytes) : NULL;
    size_t at, step;
    for (at = 0; to && at < size; at += step) {
        step = size - at < FOLD ? size - at : FOLD;
        memcpy(to + at, (const char *)from + at, step);
#if defined(__linux__)
        {
            uintptr_t start = ((uintptr_t)from + at + PAGE - 1) & ~(uintptr_t)(PAGE - 1);
            uintptr_t end = ((uintptr_t)from + at + step) & ~(uintptr_t)(PAGE - 1);
            if (start < end)
                madvise((void *)start, end - start, MADV_DONTNEED);
        }
#endif
    }
    return bytes;
}

/* The same where the names passed by: (digests, codes, versions, names that are known). */
static PyObject *pack_passed(const elfscan_facts *facts, PyObject *slots)
{
    const elfscan_symbol *known = facts->exports.items;
    const size_t count = facts->codes.count;
    size_t size = 0, i;
    PyObject *names, *digests = NULL, *codes = NULL;
    for (i = 0; i < facts->exports.count; i++)
        size += known[i].name.size + 1;
    names = pack_names(known, facts->exports.count, size);
    if (names)
        digests = move_bytes(facts->digests, count * sizeof *facts->digests);
    if (digests)
        codes = PyBytes_FromStringAndSize(count ? (const char *)facts->codes.items : "",
                                          (Py_ssize_t)(count * sizeof(uint16_t)));
    if (codes)
        return Py_BuildValue("(NNON)", digests, codes, slots, names);
    Py_XDECREF(names);
    Py_XDECREF(digests);
    return NULL;
}

/* Packed where there is something to fold names with. */
static PyObject *give_symbols(const elfscan_list *list, PyObject *slots, int import, PyObject *fold)
{
    return fold ? pack_symbols(list, slots, fold) : make_symbols(list, slots, import);
}

static int fill_facts(PyObject *tuple, const elfscan_facts *facts, PyObject *needs, PyObject *slots, PyObject *fold)
{
    Py_ssize_t i = 0;
    return put(tuple, i++, PyLong_FromLong(facts->bits)) && put(tuple, i++, PyBool_FromLong(facts->little)) &&
           put(tuple, i++, PyLong_FromUnsignedLong(facts->machine)) &&
           put(tuple, i++, PyLong_FromUnsignedLong(facts->type)) &&
           put(tuple, i++, PyLong_FromUnsignedLong(facts->flags)) &&
           put(tuple, i++, make_text(facts->interpreter)) && put(tuple, i++, PyBool_FromLong(facts->dynamic)) &&
           put(tuple, i++, make_text(facts->soname)) &&
           put(tuple, i++, make_texts(facts->needed.items, facts->needed.count)) &&
           put(tuple, i++, make_text(facts->rpath)) && put(tuple, i++, make_text(facts->runpath)) &&
           put(tuple, i++, share(needs)) &&
           put(tuple, i++, make_texts(facts->definitions.items, facts->definitions.count)) &&
           put(tuple, i++, give_symbols(&facts->imports, slots, 1, fold)) &&
           put(tuple, i++,
               facts->passed ? pack_passed(facts, slots) : give_symbols(&facts->exports, slots, 0, fold)) &&
           put(tuple, i++, PyBool_FromLong(facts->executable_stack)) &&
           put(tuple, i++, PyBool_FromLong(facts->text_relocations)) &&
           put(tuple, i++, PyBool_FromLong(facts->relr)) && put(tuple, i++, PyBool_FromLong(facts->ifunc)) &&
           put(tuple, i++, PyLong_FromUnsignedLong(facts->isa_needed));
}

static PyObject *make_facts(const elfscan_facts *facts, PyObject *fold)
{
    PyObject *needs = make_needs(facts);
    PyObject *slots = needs ? make_slots(facts, needs) : NULL;
    PyObject *tuple = slots ? PyTuple_New(20) : NULL;
    if (tuple && !fill_facts(tuple, facts, needs, slots, fold))
        Py_CLEAR(tuple);
    Py_XDECREF(needs);
    Py_XDECREF(slots);
    return tuple;
}

static void raise_elf_error(PyObject *module, const elfscan_error *error)
{
    module_state *state = PyModule_GetState(module);
    PyObject *raised =
        PyObject_CallFunction(state->elf_error, "Ks", (unsigned long long)error->offset, (const char *)error->what);
    if (raised) {
        PyErr_SetObject(state->elf_error, raised);
        Py_DECREF(raised);
    }
}

PyObject *hold_buffer(PyObject *object, const void **start, Py_ssize_t *size)
{
    PyObject *view;
    if (PyBytes_CheckExact(object)) {
        *start = PyBytes_AsString(object);
        *size = PyBytes_Size(object);
        return share(object);
    }
    view = PyMemoryView_FromObject(object);
    if (!view)
        return NULL;
#ifdef Py_LIMITED_API
    if (PyObject_AsReadBuffer(view, start, size) == 0)
        return view;
#else
    if (PyBuffer_IsContiguous(PyMemoryView_GET_BUFFER(view), 'C')) {
        *start = PyMemoryView_GET_BUFFER(view)->buf;
        *size = PyMemoryView_GET_BUFFER(view)->len;
        return view;
    }
    PyErr_SetString(PyExc_BufferError, "memoryview: underlying buffer is not C-contiguous");
#endif
    Py_DECREF(view);
    return NULL;
}

static PyObject *scan(PyObject *module, PyObject *data)
{
    PyObject *held, *result = NULL;
    elfscan_facts facts;
    elfscan_error error;
    const void *start;
    Py_ssize_t size;
    int outcome;
    held = hold_buffer(data, &start, &size);
    if (!held)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    outcome = elfscan_read(start, (size_t)size, &facts, &error);
    Py_END_ALLOW_THREADS
    if (outcome == ELFSCAN_OK)
        result = make_facts(&facts, NULL);
    else if (outcome == ELFSCAN_MALFORMED)
        raise_elf_error(module, &error);
    else
        PyErr_NoMemory();
    elfscan_free(&facts);
    Py_DECREF(held);
    return result;
}

/* A list of (start, end, kind). */
static PyObject *make_ranges(const elfscan_list *list)
{
    const elfscan_range *ranges = list->items;
    PyObject *result = PyList_New((Py_ssize_t)list->count);
    size_t i;
    for (i = 0; result && i < list->count; i++) {
        PyObject *pair = Py_BuildValue("(KKi)", (unsigned long long)ranges[i].start,
                                       (unsigned long long)ranges[i].end, ranges[i].kind);
        if (!pair || PyList_SetItem(result, (Py_ssize_t)i, pair) < 0)
            Py_CLEAR(result);
    }
    return result;
}

/* Fill `parts` out of a sequence of (offset, buffer), and `held` with what holds them. They are in order and apart. */
static int find_parts(PyObject *given, unsigned long long size, elfscan_part *parts, PyObject *held)
{
    Py_ssize_t count = PyTuple_Size(given), i;
    uint64_t free_from = 0;
    for (i = 0; i < count; i++) {
        unsigned long long offset;
        PyObject *buffer, *holder;
        const void *start;
        Py_ssize_t length;
        PyObject *pair = PyTuple_GetItem(given, i);
        if (!PyTuple_Check(pair) || !PyArg_ParseTuple(pair, "KO", &offset, &buffer)) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_TypeError, "a part is a tuple of an offset and a buffer");
            return -1;
        }
        holder = hold_buffer(buffer, &start, &length);
        if (!holder || PyList_Append(held, holder) < 0) {
            Py_XDECREF(holder);
            return -1;
        }
        Py_DECREF(holder);
        if (offset < free_from || offset > size || (unsigned long long)length > size - offset) {
            PyErr_SetString(PyExc_ValueError, "parts overlap, are in the wrong order, or lie outside of the file");
            return -1;
        }
        parts[i].offset = offset;
        parts[i].size = (uint64_t)length;
        parts[i].data = start;
        free_from = offset + (uint64_t)length;
    }
    return 0;
}

static PyObject *scan_found_parts(PyObject *module, unsigned long long size, const elfscan_part *parts, size_t count,
                                  PyObject *fold, elfpass *pass)
{
    PyObject *result = NULL;
    elfscan_facts facts;
    elfscan_error error;
    elfscan_list missing = {NULL, 0, 0};
    int outcome;
    Py_BEGIN_ALLOW_THREADS
    outcome = elfscan_read_parts(size, parts, count, pass, &facts, &error, &missing);
    Py_END_ALLOW_THREADS
    if (outcome == ELFSCAN_OK)
        result = make_facts(&facts, fold);
    else if (outcome == ELFSCAN_MISSING)
        result = make_ranges(&missing);
    else if (outcome == ELFSCAN_USELESS)
        result = share(Py_None);
    else if (outcome == ELFSCAN_MALFORMED)
        raise_elf_error(module, &error);
    else
        PyErr_NoMemory();
    elfscan_free(&facts);
    free(missing.items);
    return result;
}

static PyObject *scan_parts(PyObject *module, PyObject *arguments)
{
    unsigned long long size;
    PyObject *given, *fold, *held, *passing = Py_None, *result = NULL;
    elfscan_part *parts;
    elfpass *pass;
    if (!PyArg_ParseTuple(arguments, "KO!O|O:scan_parts", &size, &PyTuple_Type, &given, &fold, &passing) ||
        !pass_get(passing, &pass))
        return NULL;
    parts = calloc((size_t)PyTuple_Size(given) + 1, sizeof *parts);
    held = PyList_New(0);
    if (!parts)
        PyErr_NoMemory();
    else if (held && find_parts(given, size, parts, held) == 0)
        result = scan_found_parts(module, size, parts, (size_t)PyTuple_Size(given), fold, pass);
    free(parts);
    Py_XDECREF(held);
    return result;
}

/* A name out of bytes; none out of None. The bytes must outlive it. */
static int get_name(PyObject *object, elfedit_name *name)
{
    char *start;
    Py_ssize_t size;
    name->start = NULL;
    name->size = 0;
    if (object == Py_None)
        return 1;
    if (PyBytes_AsStringAndSize(object, &start, &size) < 0)
        return 0;
    name->start = (const uint8_t *)start;
    name->size = (size_t)size;
    return 1;
}

/* The names of a tuple of bytes, or of a tuple of tuples of `width` bytes objects. To be released with PyMem_Free. */
static elfedit_name *get_names(PyObject *tuple, Py_ssize_t width, size_t *count)
{
    Py_ssize_t size = PyTuple_Size(tuple), i, j;
    elfedit_name *names = size < 0 ? NULL : PyMem_Calloc((size_t)(size * width + 1), sizeof *names);
    if (!names)
        return size < 0 ? NULL : (elfedit_name *)(void *)PyErr_NoMemory();
    *count = (size_t)size;
    for (i = 0; i < size; i++) {
        PyObject *item = PyTuple_GetItem(tuple, i);
        for (j = 0; item && j < width; j++) {
            PyObject *text = width == 1 ? item : PyTuple_GetItem(item, j);
            if (!text || !get_name(text, &names[i * width + j]) || !names[i * width + j].start)
                item = NULL;
        }
        if (!item) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_TypeError, "a name must be bytes");
            PyMem_Free(names);
            return NULL;
        }
    }
    return names;
}

static PyObject *raise_edit_error(PyObject *module, int outcome, const elfedit_error *error)
{
    module_state *state = PyModule_GetState(module);
    if (outcome == ELFEDIT_MALFORMED) {
        elfscan_error malformed;
        malformed.offset = error->offset;
        memcpy(malformed.what, error->what, sizeof malformed.what);
        raise_elf_error(module, &malformed);
    } else if (outcome == ELFEDIT_REFUSED) {
        PyObject *raised = PyObject_CallFunction(state->edit_refused, "s", (const char *)error->what);
        if (raised)
            PyErr_SetObject(state->edit_refused, raised);
        Py_XDECREF(raised);
    } else {
        PyErr_NoMemory();
    }
    return NULL;
}

/* The result of an edit in the making: a bytes object that the editor fills. */
typedef struct {
    PyThreadState *thread;
    PyObject *bytes;
    char *start;
} making;

/* Called by the editor, which runs without the interpreter's lock. */
static uint8_t *make_bytes(void *context, size_t size, size_t *same)
{
    making *result = context;
    *same = 0;
    PyEval_RestoreThread(result->thread);
    result->bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    result->start = result->bytes ? PyBytes_AsString(result->bytes) : NULL;
    PyErr_Clear();
    result->thread = PyEval_SaveThread();
    return (uint8_t *)result->start;
}

static PyObject *run_edits(PyObject *module, PyObject *data, elfedit_edits *edits)
{
    making made = {NULL, NULL, NULL};
    elfedit_error error;
    uint8_t *out;
    size_t out_size;
    const void *start;
    Py_ssize_t size;
    PyObject *result = NULL, *held = hold_buffer(data, &start, &size);
    int outcome;
    if (!held)
        return NULL;
    edits->allocate = make_bytes;
    edits->context = &made;
    made.thread = PyEval_SaveThread();
    outcome = elfedit_apply(start, (size_t)size, edits, &out, &out_size, &error);
    PyEval_RestoreThread(made.thread);
    if (outcome == ELFEDIT_UNCHANGED)
        result = PyBytes_CheckExact(data) ? share(data) : PyBytes_FromStringAndSize(start, size);
    else if (outcome == ELFEDIT_OK && (char *)out == made.start)
        result = share(made.bytes);
    else if (outcome == ELFEDIT_OK)
        result = PyBytes_FromStringAndSize((const char *)out, (Py_ssize_t)out_size);
    else
        raise_edit_error(module, outcome, &error);
    if ((char *)out != made.start)
        free(out);
    Py_XDECREF(made.bytes);
    Py_DECREF(held);
    return result;
}

#if defined(__linux__)
/* Pages of a mapped file need not stay in memory; they are read again where they are looked at again. */
static void let_go(void *context, const uint8_t *start, size_t size)
{
    (void)context;
    madvise((void *)((uintptr_t)start & ~(uintptr_t)4095), size, MADV_DONTNEED);
}

/* The result of an edit of a mapped file: the file mapped once more, whose pages become our own where they are written. */
typedef struct {
    int file;
    size_t page;
    uint8_t *start;
    size_t size;
    size_t shared; /* bytes at the beginning that are the file's until they are written */
    elfscan_list patches; /* elfscan_range: what is not as in the file */
} mapping;

static uint8_t *make_mapping(void *context, size_t size, size_t *same)
{
    mapping *result = context;
    void *start = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t shared = *same - *same % result->page;
    if (start == MAP_FAILED)
        return NULL;
    if (shared &&
        mmap(start, shared, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, result->file, 0) == MAP_FAILED) {
        munmap(start, size);
        return NULL;
    }
    result->start = start;
    result->size = size;
    *same = result->shared = shared;
    return start;
}

static int add_patch(mapping *made, size_t start, size_t end)
{
    elfscan_list *list = &made->patches;
    elfscan_range *ranges = list->items;
    if (list->count && ranges[list->count - 1].end == start) {
        ranges[list->count - 1].end = end;
        return 1;
    }
    if (list->count == list->room) {
        ranges = realloc(ranges, (2 * list->room + 16) * sizeof *ranges);
        if (!ranges)
            return 0;
        list->items = ranges;
        list->room = 2 * list->room + 16;
    }
    ranges[list->count].start = start;
    ranges[list->count++].end = end;
    return 1;
}

/* So much is compared before its pages are let go. */
enum { STEP = 1 << 20 };

/* Find the pages that were written, and let go of all others. 0 if there is no memory. */
static int find_patches(mapping *made, const uint8_t *data)
{
    const uint8_t *out = made->start;
    size_t at, alike = 0, page = made->page; /* from `alike` to `at` nothing differs */
    for (at = 0; at < made->shared; at += page) {
        int differs = memcmp(data + at, out + at, page) != 0;
        if (differs && !add_patch(made, at, at + page))
            return 0;
        if (differs || at - alike >= STEP) {
            let_go(NULL, out + alike, at - alike);
            let_go(NULL, data + alike, at - alike);
            alike = differs ? at + page : at;
        }
    }
    let_go(NULL, out + alike, at - alike);
    let_go(NULL, data + alike, at - alike);
    return made->shared == made->size || add_patch(made, made->shared, made->size);
}

/* A list of (offset, bytes): what of the result is not as in the file. What was copied is let go, for it may be much: all
 * debugging data behind what is loaded. */
static PyObject *give_patches(const mapping *made)
{
    const elfscan_range *ranges = made->patches.items;
    PyObject *list = PyList_New(0);
    size_t i, at, size;
    for (i = 0; list && i < made->patches.count; i++) {
        for (at = (size_t)ranges[i].start; list && at < ranges[i].end; at += size) {
            PyObject *patch;
            size = (size_t)ranges[i].end - at < STEP ? (size_t)ranges[i].end - at : STEP;
            patch = Py_BuildValue("(ny#)", (Py_ssize_t)at, (const char *)made->start + at, (Py_ssize_t)size);
            if (!patch || PyList_Append(list, patch) < 0)
                Py_CLEAR(list);
            Py_XDECREF(patch);
            let_go(NULL, made->start + at, size);
        }
    }
    return list;
}

static PyObject *run_patching(PyObject *module, PyObject *data, elfedit_edits *edits, int file)
{
    mapping made = {-1, 0, NULL, 0, 0, {NULL, 0, 0}};
    elfedit_error error;
    uint8_t *out;
    size_t out_size = 0;
    const void *start;
    Py_ssize_t size;
    PyObject *patches = NULL, *held = hold_buffer(data, &start, &size);
    int outcome;
    if (!held)
        return NULL;
    made.file = file;
    made.page = (size_t)sysconf(_SC_PAGESIZE);
    edits->allocate = make_mapping;
    edits->passed = let_go;
    edits->context = &made;
    Py_BEGIN_ALLOW_THREADS
    outcome = elfedit_apply(start, (size_t)size, edits, &out, &out_size, &error);
    if (outcome == ELFEDIT_OK && out == made.start && !find_patches(&made, start))
        outcome = ELFEDIT_NO_MEMORY;
    Py_END_ALLOW_THREADS
    if (outcome == ELFEDIT_UNCHANGED) {
        out_size = (size_t)size;
        patches = PyList_New(0);
    } else if (outcome == ELFEDIT_OK && out == made.start) {
        patches = give_patches(&made);
    } else if (outcome == ELFEDIT_OK) { /* stripped, and nothing else */
        patches = Py_BuildValue("[(iy#)]", 0, (const char *)out, (Py_ssize_t)out_size);
        free(out);
    } else {
        raise_edit_error(module, outcome, &error);
    }
    if (made.start)
        munmap(made.start, made.size);
    free(made.patches.items);
    Py_DECREF(held);
    return patches ? Py_BuildValue("(nN)", (Py_ssize_t)out_size, patches) : NULL;
}
#endif

static PyObject *edit(PyObject *module, PyObject *args)
{
    PyObject *data, *soname, *renamed, *removed, *added, *path, *result = NULL;
    int file = -1;
    elfedit_name *names[3] = {NULL, NULL, NULL};
    unsigned long long path_tag;
    elfedit_edits edits;
    memset(&edits, 0, sizeof edits);
    if (!PyArg_ParseTuple(args, "OOO!O!O!KOpp|i:edit", &data, &soname, &PyTuple_Type, &renamed, &PyTuple_Type, &removed,
                          &PyTuple_Type, &added, &path_tag, &path, &edits.clear_stack, &edits.strip, &file))
        return NULL;
    edits.path_tag = path_tag;
    if (get_name(soname, &edits.soname) && get_name(path, &edits.path) &&
        (names[0] = get_names(renamed, 2, &edits.renamed_count)) &&
        (names[1] = get_names(removed, 1, &edits.removed_count)) &&
        (names[2] = get_names(added, 1, &edits.added_count))) {
        edits.renamed = names[0];
        edits.removed = names[1];
        edits.added = names[2];
#if defined(__linux__)
        result = file < 0 ? run_edits(module, data, &edits) : run_patching(module, data, &edits, file);
#else
        result = run_edits(module, data, &edits);
#endif
    }
    PyMem_Free(names[0]);
    PyMem_Free(names[1]);
    PyMem_Free(names[2]);
    return result;
}

PyDoc_STRVAR(edit_doc, "edit(data, soname, renamed, removed, added, path_tag, path, clear_stack, strip, file=-1, /)\n--\n\n"
                       "Edit one ELF file: the same bytes and errors as portable_backend.elfedit.edit. Of a file that is\n"
                       "mapped, read-only, and whose descriptor is given, the size of the result and, as (offset, bytes),\n"
                       "what in it is not as in the file; pages that were looked at are let go.");

/* glibc gives each thread a heap of its own, and after one large block was freed it cuts others of that size out of a heap
 * that shrinks no more: what threads have let go of adds up. */
static PyObject *spare_memory(PyObject *module, PyObject *none)
{
    (void)module;
    (void)none;
#ifdef __GLIBC__
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, 300 << 10); /* above what is read and inflated at once */
#endif
    Py_RETURN_NONE;
}

PyDoc_STRVAR(spare_memory_doc, "spare_memory()\n--\n\n"
                               "Give what is let go of back to the system, in a process that is this program's alone.");

static PyObject *find_ending(PyObject *module, PyObject *arguments)
{
    PyObject *data, *held;
    Py_ssize_t from, size;
    const void *start;
    size_t mark, end;
    int found;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "On:find_ending", &data, &from))
        return NULL;
    held = hold_buffer(data, &start, &size);
    if (!held)
        return NULL;
    if (from < 0 || from > size) {
        Py_DECREF(held);
        PyErr_SetString(PyExc_ValueError, "start outside of the data");
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    found = search_ending(start, (size_t)size, (size_t)from, &mark, &end);
    Py_END_ALLOW_THREADS
    Py_DECREF(held);
    if (found)
        return Py_BuildValue("(nn)", (Py_ssize_t)mark, (Py_ssize_t)end);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(find_ending_doc,
             "find_ending(data, start, /)\n--\n\n"
             "Where the first ending of a library's name, .so or .so.1, with a zero behind it, begins, and where its zero\n"
             "lies; None if there is none at or after `start`.");
PyDoc_STRVAR(scan_doc, "scan(data, /)\n--\n\n"
                       "Read the facts of one ELF file: the same values and errors as portable_backend.elfscan.scan.");
PyDoc_STRVAR(scan_parts_doc,
             "scan_parts(size, parts, fold, pass=None, /)\n--\n\n"
             "Read the facts of an ELF file of `size` bytes out of parts of it, (offset, buffer) in order, the first at 0.\n"
             "Symbols are packed, see portable_backend.elf; many names are given to `fold`, a part at a time. A list of (start,\n"
             "end, kind) says which bytes are wanted besides: plain ones (0), or a table that may pass by, symbols (1), strings\n"
             "(2), relocations (3, 4), hashes (5). None says that with this pass the file cannot be read.");

static PyMethodDef methods[] = {
    {"scan", scan, METH_O, scan_doc},
    {"scan_parts", scan_parts, METH_VARARGS, scan_parts_doc},
    {"edit", edit, METH_VARARGS, edit_doc},
    {"find_ending", find_ending, METH_VARARGS, find_ending_doc},
    {"spare_memory", spare_memory, METH_NOARGS, spare_memory_doc},
    {NULL, NULL, 0, NULL},
};

static int module_exec(PyObject *module)
{
    module_state *state = PyModule_GetState(module);
    PyObject *errors = PyImport_ImportModule("portable_backend.errors");
    if (!errors)
        return -1;
    state->elf_error = PyObject_GetAttrString(errors, "ElfError");
    state->edit_refused = state->elf_error ? PyObject_GetAttrString(errors, "EditRefused") : NULL;
    Py_DECREF(errors);
    if (!state->edit_refused || archive_add_to(module) < 0 || hash_add_to(module) < 0 || inflate_add_to(module) < 0)
        return -1;
    return member_add_to(module) < 0 || lookup_add_to(module) < 0 ? -1 : pass_add_to(module);
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    module_state *state = PyModule_GetState(module);
    if (state) {
        Py_VISIT(state->elf_error);
        Py_VISIT(state->edit_refused);
    }
    return 0;
}

static int module_clear(PyObject *module)
{
    module_state *state = PyModule_GetState(module);
    if (state) {
        Py_CLEAR(state->elf_error);
        Py_CLEAR(state->edit_refused);
    }
    return 0;
}

static void module_free(void *module)
{
    module_clear(module);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)module_exec},
/* The headers define these two only where the chosen API has them. */
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    "portable_backend._native._scan",
    "The compiled ELF scanner and editor.",
    sizeof(module_state),
    methods,
    slots,
    module_traverse,
    module_clear,
    module_free,
};

PyMODINIT_FUNC PyInit__scan(void)
{
    return PyModuleDef_Init(&definition);
}
