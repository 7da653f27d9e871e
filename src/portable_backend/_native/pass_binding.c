/* See pass_binding.h. */
#include <pyconfig.h>
#ifdef Py_GIL_DISABLED /* free-threaded interpreters had no limited API at first */
#undef Py_LIMITED_API
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <string.h>

#include "elfscan.h"
#include "hold.h"
#include "pass_binding.h"

static const char NAME[] = "portable_backend._native.pass";

int pass_get(PyObject *object, elfpass **pass)
{
    *pass = NULL;
    if (object == Py_None)
        return 1;
    *pass = PyCapsule_GetPointer(object, NAME);
    return *pass != NULL;
}

static void free_capsule(PyObject *capsule)
{
    elfpass_free(PyCapsule_GetPointer(capsule, NAME));
}

/* Add a range; 0 if it is none, or cannot come by like this. */
static int add_range(elfpass *pass, uint64_t start, uint64_t end, int kind)
{
    elfpass_relocations *table = pass->relocations + pass->relocation_count;
    if (start >= end)
        return 0;
    if (kind == ELFSCAN_SYMBOLS && !pass->symbols_end) {
        pass->symbols_start = pass->symbols_at = start;
        pass->symbols_end = end;
    } else if (kind == ELFSCAN_STRINGS && !pass->strings_end && end - start <= UINT32_MAX) {
        pass->strings_start = pass->strings_at = start;
        pass->strings_end = end;
    } else if ((kind == ELFSCAN_REL || kind == ELFSCAN_RELA) && pass->relocation_count < ELFPASS_RELOCATIONS) {
        table->start = table->at = start;
        table->end = end;
        table->width = (unsigned)(pass->wide ? 8 : 4) * (kind == ELFSCAN_RELA ? 3 : 2);
        pass->relocation_count++;
    } else if (kind == ELFSCAN_HASH && !pass->hash.end) {
        pass->hash.start = pass->hash.at = start;
        pass->hash.end = end;
    } else {
        return 0;
    }
    return 1;
}

static int add_ranges(elfpass *pass, PyObject *ranges)
{
    Py_ssize_t count = PyTuple_Size(ranges), i;
    for (i = 0; i < count; i++) {
        unsigned long long start, end;
        int kind;
        if (!PyTuple_Check(PyTuple_GetItem(ranges, i))) {
            PyErr_SetString(PyExc_TypeError, "a range is a tuple");
            return 0;
        }
        if (!PyArg_ParseTuple(PyTuple_GetItem(ranges, i), "KKi", &start, &end, &kind))
            return 0;
        if (!add_range(pass, start, end, kind)) {
            PyErr_SetString(PyExc_ValueError, "such a range cannot pass by");
            return 0;
        }
    }
    if (!pass->symbols_end == !pass->strings_end)
        return 1;
    PyErr_SetString(PyExc_ValueError, "symbols pass by with their names, and names with their symbols");
    return 0;
}

static PyObject *new_pass(PyObject *module, PyObject *arguments)
{
    PyObject *head, *ranges, *held, *capsule = NULL;
    const void *start;
    Py_ssize_t size;
    elfpass *pass = NULL;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OO!:new_pass", &head, &PyTuple_Type, &ranges))
        return NULL;
    held = hold_buffer(head, &start, &size);
    if (!held)
        return NULL;
    if (size < 20) {
        PyErr_SetString(PyExc_ValueError, "the header of the file is cut off");
    } else {
        const uint8_t *bytes = start;
        int little = bytes[5] == 1;
        pass = elfpass_new(bytes[4] == 2, little, elfscan_irelative(little ? bytes[18] | (unsigned)bytes[19] << 8
                                                                           : bytes[19] | (unsigned)bytes[18] << 8));
        if (!pass)
            PyErr_NoMemory();
        else if (add_ranges(pass, ranges))
            capsule = PyCapsule_New(pass, NAME, free_capsule);
        if (!capsule)
            elfpass_free(pass);
    }
    Py_DECREF(held);
    return capsule;
}

static PyObject *feed_pass(PyObject *module, PyObject *arguments)
{
    PyObject *capsule, *data, *held;
    unsigned long long position;
    const void *start;
    Py_ssize_t size;
    elfpass *pass;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OKO:feed_pass", &capsule, &position, &data))
        return NULL;
    pass = PyCapsule_GetPointer(capsule, NAME);
    held = pass ? hold_buffer(data, &start, &size) : NULL;
    if (!held)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    elfpass_feed(pass, position, start, (size_t)size);
    Py_END_ALLOW_THREADS
    Py_DECREF(held);
    Py_RETURN_NONE;
}

static PyObject *digest_names(PyObject *module, PyObject *names)
{
    const uint8_t *name, *end, *zero;
    char *start;
    Py_ssize_t size, count = 0;
    PyObject *digests;
    uint8_t *digest;
    (void)module;
    if (PyBytes_AsStringAndSize(names, &start, &size) < 0)
        return NULL;
    end = (const uint8_t *)start + size;
    for (name = (const uint8_t *)start; name < end && (zero = memchr(name, 0, (size_t)(end - name))); name = zero + 1)
        count++;
    digests = PyBytes_FromStringAndSize(NULL, count * (Py_ssize_t)sizeof(uint64_t));
    if (!digests)
        return NULL;
    digest = (uint8_t *)PyBytes_AsString(digests);
    for (name = (const uint8_t *)start; count-- > 0; name = zero + 1) {
        uint64_t each;
        zero = memchr(name, 0, (size_t)(end - name));
        each = elfpass_digest(name, (size_t)(zero - name));
        memcpy(digest, &each, sizeof each);
        digest += sizeof each;
    }
    return digests;
}

PyDoc_STRVAR(new_pass_doc, "new_pass(head, ranges, /)\n--\n\n"
                           "What is kept of large tables of a file while they pass by, see elfpass.h. head: its first bytes.\n"
                           "ranges: (start, end, kind) of tables, as scan_parts gives them.");
PyDoc_STRVAR(feed_pass_doc, "feed_pass(pass, position, data, /)\n--\n\n"
                            "Bytes of the file, those of each table in order.");
PyDoc_STRVAR(digest_names_doc, "digest_names(names, /)\n--\n\n"
                               "Of names with a zero after each the digests by which scan_parts tells those that passed by.");

static PyMethodDef methods[] = {
    {"new_pass", new_pass, METH_VARARGS, new_pass_doc},
    {"feed_pass", feed_pass, METH_VARARGS, feed_pass_doc},
    {"digest_names", digest_names, METH_O, digest_names_doc},
    {NULL, NULL, 0, NULL},
};

int pass_add_to(PyObject *module)
{
    return PyModule_AddFunctions(module, methods);
}
