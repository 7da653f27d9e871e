/* The binding of sha256.c: the state of a hash in a capsule. Whoever has OpenSSL's loaded needs none of this; loading it
 * takes longer than what a small wheel has to be hashed. */
#include <pyconfig.h>
#ifdef Py_GIL_DISABLED /* free-threaded interpreters had no limited API at first */
#undef Py_LIMITED_API
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdlib.h>

#include "hash_binding.h"
#include "hold.h"
#include "sha256.h"

static const char NAME[] = "portable_backend._native.sha256";

/* Less than this is hashed sooner than the interpreter's lock is let go and taken. */
enum { FEW = 2048 };

static void free_state(PyObject *capsule)
{
    free(PyCapsule_GetPointer(capsule, NAME));
}

static PyObject *new_sha256(PyObject *module, PyObject *none)
{
    sha256_state *state = malloc(sizeof *state);
    PyObject *capsule;
    (void)module;
    (void)none;
    if (!state)
        return PyErr_NoMemory();
    sha256_start(state);
    capsule = PyCapsule_New(state, NAME, free_state);
    if (!capsule)
        free(state);
    return capsule;
}

static PyObject *add_sha256(PyObject *module, PyObject *arguments)
{
    PyObject *capsule, *data, *held;
    sha256_state *state;
    const void *start;
    Py_ssize_t size;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OO:add_sha256", &capsule, &data))
        return NULL;
    state = PyCapsule_GetPointer(capsule, NAME);
    held = state ? hold_buffer(data, &start, &size) : NULL;
    if (!held)
        return NULL;
    if (size < FEW) {
        sha256_add(state, start, (size_t)size);
    } else {
        Py_BEGIN_ALLOW_THREADS
        sha256_add(state, start, (size_t)size);
        Py_END_ALLOW_THREADS
    }
    Py_DECREF(held);
    Py_RETURN_NONE;
}

static PyObject *end_sha256(PyObject *module, PyObject *capsule)
{
    sha256_state *state = PyCapsule_GetPointer(capsule, NAME), copy;
    uint8_t digest[SHA256_DIGEST];
    (void)module;
    if (!state)
        return NULL;
    copy = *state;
    sha256_end(&copy, digest);
    return PyBytes_FromStringAndSize((const char *)digest, sizeof digest);
}

PyDoc_STRVAR(new_sha256_doc, "new_sha256()\n--\n\nThe state of a hash that has seen nothing yet; for one thread at a time.");
PyDoc_STRVAR(add_sha256_doc, "add_sha256(state, data, /)\n--\n\nHash more bytes.");
PyDoc_STRVAR(end_sha256_doc, "end_sha256(state, /)\n--\n\nThe digest of all bytes so far; more may be added.");

static PyMethodDef methods[] = {
    {"new_sha256", new_sha256, METH_NOARGS, new_sha256_doc},
    {"add_sha256", add_sha256, METH_VARARGS, add_sha256_doc},
    {"end_sha256", end_sha256, METH_O, end_sha256_doc},
    {NULL, NULL, 0, NULL},
};

int hash_add_to(PyObject *module)
{
    return PyModule_AddFunctions(module, methods);
}
