/* The binding of inflate.c: a state in a capsule, and one function that runs it over bytes into a bytearray. */
#include <pyconfig.h>
#ifdef Py_GIL_DISABLED /* free-threaded interpreters had no limited API at first */
#undef Py_LIMITED_API
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "inflate.h"
#include "inflate_binding.h"

static const char NAME[] = "portable_backend._native.inflater";

static void free_state(PyObject *capsule)
{
    inflate_free(PyCapsule_GetPointer(capsule, NAME));
}

static PyObject *new_inflater(PyObject *module, PyObject *none)
{
    inflate_state *state = inflate_new();
    PyObject *capsule;
    (void)module;
    (void)none;
    if (!state)
        return PyErr_NoMemory();
    capsule = PyCapsule_New(state, NAME, free_state);
    if (!capsule)
        inflate_free(state);
    return capsule;
}

/* What lies behind the end of the stream counts as not used, even where it was in the same word as the end. */
static PyObject *run(inflate_state *state, const char *packed, Py_ssize_t size, Py_ssize_t offset, char *out,
                     Py_ssize_t room)
{
    const uint8_t *in = (const uint8_t *)packed + offset;
    size_t left = (size_t)(size - offset), start, end;
    int outcome;
    Py_BEGIN_ALLOW_THREADS
    outcome = inflate_run(state, &in, &left, (uint8_t *)out, (size_t)room, &start, &end);
    Py_END_ALLOW_THREADS
    if (outcome == INFLATE_END)
        left += inflate_unused(state);
    return Py_BuildValue("(innn)", outcome, size - (Py_ssize_t)left, (Py_ssize_t)start, (Py_ssize_t)end);
}

static PyObject *inflate(PyObject *module, PyObject *arguments)
{
    PyObject *capsule, *packed, *out, *hold, *result = NULL;
    inflate_state *state;
    Py_ssize_t offset, size;
    char *start;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OO!nO!:inflate", &capsule, &PyBytes_Type, &packed, &offset, &PyByteArray_Type, &out))
        return NULL;
    state = PyCapsule_GetPointer(capsule, NAME);
    if (!state || PyBytes_AsStringAndSize(packed, &start, &size) < 0)
        return NULL;
    if (offset < 0 || offset > size || PyByteArray_Size(out) < (Py_ssize_t)(INFLATE_WINDOW + 2 * INFLATE_SLACK)) {
        PyErr_SetString(PyExc_ValueError, "offset outside of the input, or too little room for the output");
        return NULL;
    }
    hold = PyMemoryView_FromObject(out); /* nobody can resize it meanwhile */
    if (!hold)
        return NULL;
    result = run(state, start, size, offset, PyByteArray_AsString(out), PyByteArray_Size(out));
    Py_DECREF(hold);
    return result;
}

/* Less than this is not worth letting other threads run meanwhile. */
enum { LONG = 16 << 10 };

static PyObject *inflate_whole(PyObject *module, PyObject *arguments)
{
    PyObject *capsule, *packed, *out, *hold;
    inflate_state *state;
    Py_ssize_t offset, length, size;
    char *start;
    const uint8_t *in;
    size_t left, begin = 0, end = 0;
    int outcome;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OO!nnO!:inflate_whole", &capsule, &PyBytes_Type, &packed, &offset, &length,
                          &PyByteArray_Type, &out))
        return NULL;
    state = PyCapsule_GetPointer(capsule, NAME);
    if (!state || PyBytes_AsStringAndSize(packed, &start, &size) < 0)
        return NULL;
    if (offset < 0 || length < 0 || offset > size || length > size - offset ||
        PyByteArray_Size(out) < (Py_ssize_t)(INFLATE_WINDOW + 2 * INFLATE_SLACK)) {
        PyErr_SetString(PyExc_ValueError, "a range outside of the input, or too little room for the output");
        return NULL;
    }
    hold = PyMemoryView_FromObject(out); /* nobody can resize it meanwhile */
    if (!hold)
        return NULL;
    in = (const uint8_t *)start + offset;
    left = (size_t)length;
    inflate_reset(state);
    if (length < LONG) {
        outcome = inflate_run(state, &in, &left, (uint8_t *)PyByteArray_AsString(out), (size_t)PyByteArray_Size(out),
                              &begin, &end);
    } else {
        uint8_t *room = (uint8_t *)PyByteArray_AsString(out);
        Py_ssize_t space = PyByteArray_Size(out);
        Py_BEGIN_ALLOW_THREADS
        outcome = inflate_run(state, &in, &left, room, (size_t)space, &begin, &end);
        Py_END_ALLOW_THREADS
    }
    Py_DECREF(hold);
    if (outcome == INFLATE_END && left + inflate_unused(state) > 0)
        outcome = INFLATE_INPUT; /* it is not all of this range */
    return Py_BuildValue("(in)", outcome, (Py_ssize_t)end);
}

static PyObject *last_block(PyObject *module, PyObject *packed)
{
    char *start;
    Py_ssize_t size;
    uint64_t begins, ends;
    int outcome;
    (void)module;
    if (PyBytes_AsStringAndSize(packed, &start, &size) < 0)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    outcome = inflate_last_block((const uint8_t *)start, (size_t)size, &begins, &ends);
    Py_END_ALLOW_THREADS
    if (outcome == INFLATE_END)
        return Py_BuildValue("KK", (unsigned long long)begins, (unsigned long long)ends);
    if (outcome < 0)
        return PyErr_NoMemory();
    PyErr_SetString(PyExc_ValueError, "not a whole deflate stream");
    return NULL;
}

PyDoc_STRVAR(last_block_doc, "last_block(packed, /)\n--\n\n"
                             "Where the last block of a deflate stream begins, and where its last code ends, in bits.");
PyDoc_STRVAR(new_inflater_doc, "new_inflater()\n--\n\nThe state of an inflater that has seen nothing yet.");
PyDoc_STRVAR(inflate_doc,
             "inflate(state, packed, offset, out, /)\n--\n\n"
             "Inflate packed[offset:] into out: (outcome, next offset, start, end) of what was written.\n"
             "out keeps the window between calls: it has to be the same, untouched. Outcomes: 0 wants more input, 1 has\n"
             "filled out, 2 reached the end of the stream, 3 found it damaged.");

PyDoc_STRVAR(inflate_whole_doc,
             "inflate_whole(state, packed, offset, length, out, /)\n--\n\n"
             "Inflate packed[offset:offset + length], all of one stream, to the beginning of out: (outcome, size).\n"
             "Outcomes: 2 is well, 0 says that the stream is incomplete or followed by others, 1 that it has more to\n"
             "say than out has room for, 3 that it is damaged.");

static PyMethodDef methods[] = {
    {"new_inflater", new_inflater, METH_NOARGS, new_inflater_doc},
    {"inflate", inflate, METH_VARARGS, inflate_doc},
    {"inflate_whole", inflate_whole, METH_VARARGS, inflate_whole_doc},
    {"last_block", last_block, METH_O, last_block_doc},
    {NULL, NULL, 0, NULL},
};

int inflate_add_to(PyObject *module)
{
    return PyModule_AddFunctions(module, methods);
}
