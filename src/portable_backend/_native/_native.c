/* The binding: the facts of elfscan.c as plain tuples in the order of portable_backend.elf.ElfFacts.
 *
 * Only the limited API of Python 3.9 is used, so one file serves every later version. That version has no Py_buffer in
 * it; buffers are held by a memoryview, and asked for their address by the older function of the stable ABI.
 */
#if defined(__linux__)
#define _DEFAULT_SOURCE /* madvise */
#include <sys/mman.h>
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

#include "elfedit.h"
#include "elfscan.h"
#include "hash_binding.h"
#include "hold.h"
#include "inflate_binding.h"
#include "member_binding.h"
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

/* Symbols that become objects only where somebody looks at them: (names, codes, versions). `names` are bytes with a zero
 * after each; `codes` an unsigned short for each, its version index and, highest, its flag; `versions` the two objects of
 * each version index. */
static PyObject *pack_symbols(const elfscan_list *list, PyObject *slots)
{
    const elfscan_symbol *symbols = list->items;
    size_t size = 0, i;
    PyObject *names, *codes;
    char *name;
    uint8_t *code;
    for (i = 0; i < list->count; i++)
        size += symbols[i].name.size + 1;
    names = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    codes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(2 * list->count));
    if (!names || !codes) {
        Py_XDECREF(names);
        Py_XDECREF(codes);
        return NULL;
    }
    name = PyBytes_AsString(names);
    code = (uint8_t *)PyBytes_AsString(codes);
    for (i = 0; i < list->count; i++) {
        uint16_t value = (uint16_t)(symbols[i].version | (symbols[i].flag ? 0x8000u : 0));
        memcpy(name, symbols[i].name.start, symbols[i].name.size);
        name += symbols[i].name.size;
        *name++ = 0;
        memcpy(code + 2 * i, &value, 2);
    }
    return Py_BuildValue("(NNO)", names, codes, slots);
}

static PyObject *give_symbols(const elfscan_list *list, PyObject *slots, int import, int packed)
{
    return packed ? pack_symbols(list, slots) : make_symbols(list, slots, import);
}

static int fill_facts(PyObject *tuple, const elfscan_facts *facts, PyObject *needs, PyObject *slots, int packed)
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
           put(tuple, i++, give_symbols(&facts->imports, slots, 1, packed)) &&
           put(tuple, i++, give_symbols(&facts->exports, slots, 0, packed)) &&
           put(tuple, i++, PyBool_FromLong(facts->executable_stack)) &&
           put(tuple, i++, PyBool_FromLong(facts->text_relocations)) &&
           put(tuple, i++, PyBool_FromLong(facts->relr)) && put(tuple, i++, PyBool_FromLong(facts->ifunc)) &&
           put(tuple, i++, PyLong_FromUnsignedLong(facts->isa_needed));
}

static PyObject *make_facts(const elfscan_facts *facts, int packed)
{
    PyObject *needs = make_needs(facts);
    PyObject *slots = needs ? make_slots(facts, needs) : NULL;
    PyObject *tuple = slots ? PyTuple_New(20) : NULL;
    if (tuple && !fill_facts(tuple, facts, needs, slots, packed))
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
        result = make_facts(&facts, 0);
    else if (outcome == ELFSCAN_MALFORMED)
        raise_elf_error(module, &error);
    else
        PyErr_NoMemory();
    elfscan_free(&facts);
    Py_DECREF(held);
    return result;
}

/* A list of (start, end). */
static PyObject *make_ranges(const elfscan_list *list)
{
    const elfscan_range *ranges = list->items;
    PyObject *result = PyList_New((Py_ssize_t)list->count);
    size_t i;
    for (i = 0; result && i < list->count; i++) {
        PyObject *pair = Py_BuildValue("(KK)", (unsigned long long)ranges[i].start, (unsigned long long)ranges[i].end);
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

static PyObject *scan_found_parts(PyObject *module, unsigned long long size, const elfscan_part *parts, size_t count)
{
    PyObject *result = NULL;
    elfscan_facts facts;
    elfscan_error error;
    elfscan_list missing = {NULL, 0, 0};
    int outcome;
    Py_BEGIN_ALLOW_THREADS
    outcome = elfscan_read_parts(size, parts, count, &facts, &error, &missing);
    Py_END_ALLOW_THREADS
    if (outcome == ELFSCAN_OK)
        result = make_facts(&facts, 1);
    else if (outcome == ELFSCAN_MISSING)
        result = make_ranges(&missing);
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
    PyObject *given, *held, *result = NULL;
    elfscan_part *parts;
    if (!PyArg_ParseTuple(arguments, "KO!:scan_parts", &size, &PyTuple_Type, &given))
        return NULL;
    parts = calloc((size_t)PyTuple_Size(given) + 1, sizeof *parts);
    held = PyList_New(0);
    if (!parts)
        PyErr_NoMemory();
    else if (held && find_parts(given, size, parts, held) == 0)
        result = scan_found_parts(module, size, parts, (size_t)PyTuple_Size(given));
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
static uint8_t *make_bytes(void *context, size_t size)
{
    making *result = context;
    PyEval_RestoreThread(result->thread);
    result->bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    result->start = result->bytes ? PyBytes_AsString(result->bytes) : NULL;
    PyErr_Clear();
    result->thread = PyEval_SaveThread();
    return (uint8_t *)result->start;
}

/* Pages of a mapped file need not stay in memory; they are read again where they are looked at again. */
static void let_go(void *context, const uint8_t *start, size_t size)
{
    (void)context;
#if defined(__linux__)
    madvise((void *)((uintptr_t)start & ~(uintptr_t)4095), size, MADV_DONTNEED);
#else
    (void)start;
    (void)size;
#endif
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

static PyObject *edit(PyObject *module, PyObject *args)
{
    PyObject *data, *soname, *renamed, *removed, *added, *path, *result = NULL;
    int mapped = 0;
    elfedit_name *names[3] = {NULL, NULL, NULL};
    unsigned long long path_tag;
    elfedit_edits edits;
    memset(&edits, 0, sizeof edits);
    if (!PyArg_ParseTuple(args, "OOO!O!O!KOpp|p:edit", &data, &soname, &PyTuple_Type, &renamed, &PyTuple_Type, &removed,
                          &PyTuple_Type, &added, &path_tag, &path, &edits.clear_stack, &edits.strip,
                          &mapped))
        return NULL;
    edits.passed = mapped ? let_go : NULL;
    edits.path_tag = path_tag;
    if (get_name(soname, &edits.soname) && get_name(path, &edits.path) &&
        (names[0] = get_names(renamed, 2, &edits.renamed_count)) &&
        (names[1] = get_names(removed, 1, &edits.removed_count)) &&
        (names[2] = get_names(added, 1, &edits.added_count))) {
        edits.renamed = names[0];
        edits.removed = names[1];
        edits.added = names[2];
        result = run_edits(module, data, &edits);
    }
    PyMem_Free(names[0]);
    PyMem_Free(names[1]);
    PyMem_Free(names[2]);
    return result;
}

PyDoc_STRVAR(edit_doc, "edit(data, soname, renamed, removed, added, path_tag, path, clear_stack, strip, mapped=False, /)\n--\n\n"
                       "Edit one ELF file: the same bytes and errors as portable_backend.elfedit.edit. Of a file that is\n"
                       "mapped, read-only, the pages that were copied are let go.");

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
             "scan_parts(size, parts, /)\n--\n\n"
             "Read the facts of an ELF file of `size` bytes out of parts of it, (offset, buffer) in order, the first at 0.\n"
             "Symbols are packed, see portable_backend.elf. A list of (start, end) says which bytes are wanted besides.");

static PyMethodDef methods[] = {
    {"scan", scan, METH_O, scan_doc},
    {"scan_parts", scan_parts, METH_VARARGS, scan_parts_doc},
    {"edit", edit, METH_VARARGS, edit_doc},
    {"find_ending", find_ending, METH_VARARGS, find_ending_doc},
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
    if (!state->edit_refused || hash_add_to(module) < 0 || inflate_add_to(module) < 0)
        return -1;
    return member_add_to(module);
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
