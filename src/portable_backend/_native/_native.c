/* The binding: the facts of elfscan.c as plain tuples in the order of portable_backend.elf.ElfFacts.
 *
 * Only the limited API of Python 3.9 is used, so one file serves every later version. That version has no Py_buffer in
 * it; what is not bytes is copied to bytes through a memoryview.
 */
#include <pyconfig.h>
#ifdef Py_GIL_DISABLED /* free-threaded interpreters had no limited API at first */
#undef Py_LIMITED_API
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "elfscan.h"

typedef struct {
    PyObject *elf_error;
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

static int fill_facts(PyObject *tuple, const elfscan_facts *facts, PyObject *needs, PyObject *slots)
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
           put(tuple, i++, make_symbols(&facts->imports, slots, 1)) &&
           put(tuple, i++, make_symbols(&facts->exports, slots, 0)) &&
           put(tuple, i++, PyBool_FromLong(facts->executable_stack)) &&
           put(tuple, i++, PyBool_FromLong(facts->text_relocations)) &&
           put(tuple, i++, PyBool_FromLong(facts->relr)) && put(tuple, i++, PyBool_FromLong(facts->ifunc)) &&
           put(tuple, i++, PyLong_FromUnsignedLong(facts->isa_needed));
}

static PyObject *make_facts(const elfscan_facts *facts)
{
    PyObject *needs = make_needs(facts);
    PyObject *slots = needs ? make_slots(facts, needs) : NULL;
    PyObject *tuple = slots ? PyTuple_New(20) : NULL;
    if (tuple && !fill_facts(tuple, facts, needs, slots))
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

/* The whole of a buffer as bytes: itself where it is bytes already. */
static PyObject *as_bytes(PyObject *data)
{
    PyObject *view, *bytes;
    if (PyBytes_CheckExact(data))
        return share(data);
    view = PyMemoryView_FromObject(data);
    if (!view)
        return NULL;
    bytes = PyObject_CallMethod(view, "tobytes", NULL);
    Py_DECREF(view);
    return bytes;
}

static PyObject *scan(PyObject *module, PyObject *data)
{
    PyObject *bytes = as_bytes(data), *result = NULL;
    elfscan_facts facts;
    elfscan_error error;
    char *start;
    Py_ssize_t size;
    int outcome;
    if (!bytes)
        return NULL;
    if (PyBytes_AsStringAndSize(bytes, &start, &size) < 0) {
        Py_DECREF(bytes);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    outcome = elfscan_read((const uint8_t *)start, (size_t)size, &facts, &error);
    Py_END_ALLOW_THREADS
    if (outcome == ELFSCAN_OK)
        result = make_facts(&facts);
    else if (outcome == ELFSCAN_MALFORMED)
        raise_elf_error(module, &error);
    else
        PyErr_NoMemory();
    elfscan_free(&facts);
    Py_DECREF(bytes);
    return result;
}

PyDoc_STRVAR(scan_doc, "scan(data, /)\n--\n\n"
                       "Read the facts of one ELF file: the same values and errors as portable_backend.elfscan.scan.");

static PyMethodDef methods[] = {
    {"scan", scan, METH_O, scan_doc},
    {NULL, NULL, 0, NULL},
};

static int module_exec(PyObject *module)
{
    module_state *state = PyModule_GetState(module);
    PyObject *errors = PyImport_ImportModule("portable_backend.errors");
    if (!errors)
        return -1;
    state->elf_error = PyObject_GetAttrString(errors, "ElfError");
    Py_DECREF(errors);
    return state->elf_error ? 0 : -1;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    module_state *state = PyModule_GetState(module);
    if (state)
        Py_VISIT(state->elf_error);
    return 0;
}

static int module_clear(PyObject *module)
{
    module_state *state = PyModule_GetState(module);
    if (state)
        Py_CLEAR(state->elf_error);
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
    "The compiled ELF scanner.",
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
