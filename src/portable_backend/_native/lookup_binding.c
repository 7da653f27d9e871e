/* The binding of lookup.c, names that are looked up in vain and who has them nevertheless, and of packed.c. */
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
static int hold_bytes(PyObject *object, packed_bytes *bytes, PyObject *held)
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

static PyObject *run(const lookup_file *files, size_t count, packed_bytes watched)
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
    packed_bytes watched;
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

/* Add a name to a list; 0 with an exception set. */
static int add_name(PyObject *list, packed_bytes name)
{
    PyObject *text = PyUnicode_DecodeUTF8((const char *)name.start, (Py_ssize_t)name.size, "surrogateescape");
    int added = text && PyList_Append(list, text) == 0;
    Py_XDECREF(text);
    return added;
}

static PyObject *names_of_starts(PyObject *module, PyObject *arguments)
{
    packed_bytes rest, name, *starts;
    PyObject *names, *wanted, *held, *result = NULL;
    Py_ssize_t most, count, i = 0;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OO!n:names_of_starts", &names, &PyTuple_Type, &wanted, &most))
        return NULL;
    count = PyTuple_Size(wanted);
    held = PyList_New(0);
    starts = PyMem_Calloc((size_t)count + 1, sizeof *starts);
    if (!starts)
        PyErr_NoMemory();
    if (held && starts && hold_bytes(names, &rest, held)) {
        while (i < count && hold_bytes(PyTuple_GetItem(wanted, i), starts + i, held))
            i++;
        result = i == count ? PyList_New(0) : NULL;
    }
    while (result && PyList_Size(result) < most && packed_next_of(&rest, starts, (size_t)count, &name))
        if (!add_name(result, name))
            Py_CLEAR(result);
    PyMem_Free(starts);
    Py_XDECREF(held);
    return result;
}

static PyObject *names_in_groups(PyObject *module, PyObject *arguments)
{
    PyObject *given[3], *held, *result;
    packed_bytes parts[3], name; /* names, codes, groups */
    Py_ssize_t count, i;
    uint8_t group;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OOOn:names_in_groups", given, given + 1, given + 2, &count))
        return NULL;
    held = PyList_New(0);
    for (i = 0; held && i < 3; i++)
        if (!hold_bytes(given[i], parts + i, held))
            Py_CLEAR(held);
    result = held ? PyList_New(0) : NULL;
    for (i = 0; result && i < count; i++) {
        PyObject *list = PyList_New(0);
        if (!list || PyList_Append(result, list) < 0)
            Py_CLEAR(result);
        Py_XDECREF(list);
    }
    while (result && packed_next_in(parts, parts + 1, parts[2], &name, &group)) {
        if (group > count)
            PyErr_SetString(PyExc_ValueError, "there are not so many groups");
        if (group > count || !add_name(PyList_GetItem(result, group - 1), name))
            Py_CLEAR(result);
    }
    Py_XDECREF(held);
    return result;
}

PyDoc_STRVAR(names_of_starts_doc,
             "names_of_starts(names, starts, most, /)\n--\n\n"
             "Of names with a zero after each those that begin as one of some bytes, where a zero is the end of the name; no more\n"
             "than `most` of them.");
PyDoc_STRVAR(names_in_groups_doc,
             "names_in_groups(names, codes, groups, count, /)\n--\n\n"
             "Names with a zero after each by the groups of their version indices. codes: see scan_parts. groups: by version index\n"
             "the number of a group, from 1 to `count`, or 0 for none.");

static PyMethodDef methods[] = {
    {"look_up", look_up, METH_VARARGS, look_up_doc},
    {"names_of_starts", names_of_starts, METH_VARARGS, names_of_starts_doc},
    {"names_in_groups", names_in_groups, METH_VARARGS, names_in_groups_doc},
    {NULL, NULL, 0, NULL},
};

int lookup_add_to(PyObject *module)
{
    return PyModule_AddFunctions(module, methods);
}
