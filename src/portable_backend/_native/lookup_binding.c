/* The binding of lookup.c: names that are looked up in vain, and who has them nevertheless. */
#include <pyconfig.h>
#ifdef Py_GIL_DISABLED /* free-threaded interpreters had no limited API at first */
#undef Py_LIMITED_API
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "hold.h"
#include "lookup.h"
#include "lookup_binding.h"

/* Where the bytes of an object are, which is held until the list is let go; 0 with an exception set. */
static int hold_bytes(PyObject *object, lookup_bytes *bytes, PyObject *held)
{
    const void *start;
    Py_ssize_t size;
    PyObject *holder = hold_buffer(object, &start, &size);
    int kept = holder && PyList_Append(held, holder) == 0;
    Py_XDECREF(holder);
    if (kept) {
        bytes->start = start;
        bytes->size = (size_t)size;
    }
    return kept;
}

static int hold_file(PyObject *given, lookup_file *file, PyObject *held)
{
    PyObject *imports, *codes, *counted, *exports, *scope;
    if (!PyTuple_Check(given)) {
        PyErr_SetString(PyExc_TypeError, "a file is a tuple");
        return 0;
    }
    return PyArg_ParseTuple(given, "OOOOO", &imports, &codes, &counted, &exports, &scope) &&
           hold_bytes(imports, &file->imports, held) && hold_bytes(codes, &file->codes, held) &&
           hold_bytes(counted, &file->counted, held) && hold_bytes(exports, &file->exports, held) &&
           hold_bytes(scope, &file->scope, held);
}

/* The text of each name that is to be told, the others NULL; -1 with an exception set. They are the caller's. */
static int make_texts(const lookup *found, PyObject **texts)
{
    const lookup_name *names = found->names.items;
    const lookup_use *watched = found->watched.items;
    size_t i;
    for (i = 0; i < found->names.count + found->watched.count; i++) {
        size_t place = i < found->names.count ? i : watched[i - found->names.count].name;
        const lookup_name *name = names + place;
        if (texts[place] || (i < found->names.count && !name->missed))
            continue;
        texts[place] = PyUnicode_DecodeUTF8((const char *)name->start, (Py_ssize_t)name->size, "surrogateescape");
        if (!texts[place])
            return -1;
    }
    return 0;
}

/* A list for each file of the names in `uses`. */
static PyObject *make_lists(const lookup_list *uses, size_t count, PyObject *const *texts)
{
    const lookup_use *use = uses->items;
    PyObject *lists = PyList_New((Py_ssize_t)count);
    size_t i;
    for (i = 0; lists && i < count; i++) {
        PyObject *list = PyList_New(0);
        if (!list || PyList_SetItem(lists, (Py_ssize_t)i, list) < 0)
            Py_CLEAR(lists);
    }
    for (i = 0; lists && i < uses->count; i++)
        if (PyList_Append(PyList_GetItem(lists, (Py_ssize_t)use[i].file), texts[use[i].name]) < 0)
            Py_CLEAR(lists);
    return lists;
}

/* By name that somebody misses, the numbers of the files that have it, if any. */
static PyObject *make_providers(const lookup *found, PyObject *const *texts)
{
    const lookup_name *names = found->names.items;
    const lookup_provider *providers = found->providers.items;
    PyObject *result = PyDict_New();
    size_t i;
    for (i = 0; result && i < found->names.count; i++) {
        uint32_t at = names[i].missed ? names[i].first : 0;
        PyObject *list = at ? PyList_New(0) : NULL;
        if (!at)
            continue;
        for (; list && at; at = providers[at - 1].next) {
            PyObject *number = PyLong_FromUnsignedLong(providers[at - 1].file);
            if (!number || PyList_Append(list, number) < 0)
                Py_CLEAR(list);
            Py_XDECREF(number);
        }
        if (!list || PyDict_SetItem(result, texts[i], list) < 0)
            Py_CLEAR(result);
        Py_XDECREF(list);
    }
    return result;
}

static PyObject *make_result(const lookup *found, size_t count)
{
    PyObject **texts = PyMem_Calloc(found->names.count + 1, sizeof *texts);
    PyObject *missing = NULL, *watched = NULL, *providers = NULL;
    size_t i;
    if (!texts)
        return PyErr_NoMemory();
    if (make_texts(found, texts) == 0 && (missing = make_lists(&found->missing, count, texts)) &&
        (watched = make_lists(&found->watched, count, texts)))
        providers = make_providers(found, texts);
    for (i = 0; i < found->names.count; i++)
        Py_XDECREF(texts[i]);
    PyMem_Free(texts);
    if (providers)
        return Py_BuildValue("(NNN)", missing, watched, providers);
    Py_XDECREF(missing);
    Py_XDECREF(watched);
    return NULL;
}

static PyObject *run(const lookup_file *files, size_t count, lookup_bytes watched)
{
    PyObject *result = NULL;
    lookup found;
    int outcome;
    Py_BEGIN_ALLOW_THREADS
    outcome = lookup_run(&found, files, count, watched);
    Py_END_ALLOW_THREADS
    if (outcome == LOOKUP_OK) {
        result = make_result(&found, count);
    } else if (outcome == LOOKUP_NO_MEMORY) {
        PyErr_NoMemory();
    } else {
        result = Py_None;
        Py_INCREF(result);
    }
    lookup_free(&found);
    return result;
}

static PyObject *look_up(PyObject *module, PyObject *arguments)
{
    PyObject *given, *wanted, *held, *result = NULL;
    lookup_bytes watched;
    lookup_file *files;
    Py_ssize_t count, i = 0;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "O!O:look_up", &PyTuple_Type, &given, &wanted))
        return NULL;
    count = PyTuple_Size(given);
    held = PyList_New(0);
    files = PyMem_Calloc((size_t)count + 1, sizeof *files);
    if (!files)
        PyErr_NoMemory();
    if (held && files && hold_bytes(wanted, &watched, held)) {
        while (i < count && hold_file(PyTuple_GetItem(given, i), files + i, held))
            i++;
        if (i == count)
            result = run(files, (size_t)count, watched);
    }
    PyMem_Free(files);
    Py_XDECREF(held);
    return result;
}

PyDoc_STRVAR(look_up_doc,
             "look_up(files, watched, /)\n--\n\n"
             "Which names no file that is loaded with a file has. files: of each its imports, their codes, by version index\n"
             "whether such are looked up by name, its exports, and the bits of the files that are loaded with it, see lookup.h.\n"
             "By file the names that it misses; by file those of the watched names that it refers to, whatever their version;\n"
             "by missed name the numbers of the files that have it. None if it would take too long.");

static PyMethodDef methods[] = {
    {"look_up", look_up, METH_VARARGS, look_up_doc},
    {NULL, NULL, 0, NULL},
};

int lookup_add_to(PyObject *module)
{
    return PyModule_AddFunctions(module, methods);
}
