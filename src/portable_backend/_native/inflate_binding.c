/* The binding of inflate.c, batch.c, sha256.c and crc32.c: an inflater's state in a capsule, and functions that run it over
 * bytes into a bytearray. */
#include <pyconfig.h>
#ifdef Py_GIL_DISABLED /* free-threaded interpreters had no limited API at first */
#undef Py_LIMITED_API
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdlib.h>
#include <string.h>

#include "batch.h"
#include "crc32.h"
#include "inflate.h"
#include "inflate_binding.h"
#include "sha256.h"

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

static PyObject *make_digests(char (*digests)[BATCH_DIGEST], size_t count)
{
    PyObject *list = PyList_New((Py_ssize_t)count);
    size_t i;
    for (i = 0; list && i < count; i++) {
        PyObject *text = PyUnicode_FromStringAndSize(digests[i], BATCH_DIGEST);
        if (!text || PyList_SetItem(list, (Py_ssize_t)i, text) < 0)
            Py_CLEAR(list);
    }
    return list;
}

/* (outcome, digests, where the last content lies: in `out`, or in `data`, from where, to where). */
static PyObject *run_batch(inflate_state *state, const char *data, Py_ssize_t size, const char *table, size_t count,
                           char *out, Py_ssize_t room)
{
    batch_member *members = malloc(count * sizeof *members + 1); /* a copy, because `table` may lie anywhere */
    char(*digests)[BATCH_DIGEST] = malloc(count * sizeof *digests + 1);
    const uint8_t *content = (const uint8_t *)data, *base;
    size_t length = 0, done = 0;
    int outcome = BATCH_ALL;
    PyObject *list = NULL;
    if (!members || !digests) {
        PyErr_NoMemory();
    } else {
        memcpy(members, table, count * sizeof *members);
        Py_BEGIN_ALLOW_THREADS
        outcome = batch_read(state, (const uint8_t *)data, (size_t)size, members, count, (uint8_t *)out, (size_t)room,
                             digests, &done, &content, &length);
        Py_END_ALLOW_THREADS
        list = make_digests(digests, done);
        if (list && outcome == BATCH_OUTSIDE) {
            Py_CLEAR(list);
            PyErr_SetString(PyExc_ValueError, "a member outside of the data");
        }
        /* Of no member: nothing. */
        base = outcome == BATCH_ELF && members[done - 1].method != 0 ? (const uint8_t *)out : (const uint8_t *)data;
        if (outcome != BATCH_ELF)
            content = base, length = 0;
    }
    free(members);
    free(digests);
    if (!list)
        return NULL;
    return Py_BuildValue("(iNOnn)", outcome, list, base == (const uint8_t *)out ? Py_True : Py_False,
                         (Py_ssize_t)(content - base), (Py_ssize_t)(content - base) + (Py_ssize_t)length);
}

static PyObject *read_members(PyObject *module, PyObject *arguments)
{
    PyObject *capsule, *packed, *table, *out, *hold, *result;
    inflate_state *state;
    Py_ssize_t size, table_size, first;
    char *start, *table_start;
    const Py_ssize_t each = (Py_ssize_t)sizeof(batch_member);
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OO!O!nO!:read_members", &capsule, &PyBytes_Type, &packed, &PyBytes_Type, &table, &first,
                          &PyByteArray_Type, &out))
        return NULL;
    state = PyCapsule_GetPointer(capsule, NAME);
    if (!state || PyBytes_AsStringAndSize(packed, &start, &size) < 0 ||
        PyBytes_AsStringAndSize(table, &table_start, &table_size) < 0)
        return NULL;
    if (table_size % each != 0 || first < 0 || first > table_size / each ||
        PyByteArray_Size(out) < (Py_ssize_t)BATCH_SLACK) {
        PyErr_SetString(PyExc_ValueError, "no table of members, or too little room for the output");
        return NULL;
    }
    hold = PyMemoryView_FromObject(out); /* nobody can resize it meanwhile */
    if (!hold)
        return NULL;
    result = run_batch(state, start, size, table_start + first * each, (size_t)(table_size / each - first),
                       PyByteArray_AsString(out), PyByteArray_Size(out));
    Py_DECREF(hold);
    return result;
}

static PyObject *hashes_fast(PyObject *module, PyObject *none)
{
    (void)module;
    (void)none;
    return PyBool_FromLong(sha256_is_fast());
}

/* For tests: both the checksum and the digest of some bytes, by the portable code or by the best; what is chosen for other
 * calls is left alone only if nobody else is at work. */
static PyObject *checksums(PyObject *module, PyObject *arguments)
{
    PyObject *data;
    char *start;
    Py_ssize_t size, cut;
    uint32_t crc;
    int best;
    sha256_state state;
    uint8_t digest[SHA256_DIGEST];
    (void)module;
    if (!PyArg_ParseTuple(arguments, "O!np:checksums", &PyBytes_Type, &data, &cut, &best) ||
        PyBytes_AsStringAndSize(data, &start, &size) < 0)
        return NULL;
    if (cut < 0 || cut > size) {
        PyErr_SetString(PyExc_ValueError, "cut outside of the data");
        return NULL;
    }
    crc32_choose(best);
    sha256_choose(best);
    sha256_start(&state);
    sha256_add(&state, (const uint8_t *)start, (size_t)cut);
    sha256_add(&state, (const uint8_t *)start + cut, (size_t)(size - cut));
    sha256_end(&state, digest);
    crc = crc32_add(crc32_add(0, (const uint8_t *)start, (size_t)cut), (const uint8_t *)start + cut, (size_t)(size - cut));
    crc32_choose(1);
    sha256_choose(1);
    return Py_BuildValue("(ky#)", (unsigned long)crc, (const char *)digest, (Py_ssize_t)sizeof digest);
}

static PyObject *last_block(PyObject *module, PyObject *packed)
{
    char *start;
    Py_ssize_t size;
    uint64_t begins, ends;
    PyObject *hold;
    int outcome;
    (void)module;
    if (PyObject_TypeCheck(packed, &PyByteArray_Type)) {
        start = PyByteArray_AsString(packed);
        size = PyByteArray_Size(packed);
    } else if (PyBytes_AsStringAndSize(packed, &start, &size) < 0) {
        return NULL;
    }
    hold = PyMemoryView_FromObject(packed); /* nobody can resize it meanwhile */
    if (!hold)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    outcome = inflate_last_block((const uint8_t *)start, (size_t)size, &begins, &ends);
    Py_END_ALLOW_THREADS
    Py_DECREF(hold);
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

PyDoc_STRVAR(read_members_doc,
             "read_members(state, packed, table, first, out, /)\n--\n\n"
             "Read members of which the compressed bytes lie in `packed`, from the first on, up to one that begins like an ELF\n"
             "file: (outcome, digests of those that are well, whether the ELF file lies in `out` rather than in `packed`,\n"
             "start, end). `table` has five numbers of 64 bits for each: offset, compressed size, size, CRC-32, method.\n"
             "Outcomes: 0 is the end, 1 an ELF file, which is the last that has a digest; the next is damaged (2), incomplete\n"
             "or followed by others (3), of another size or checksum (4).");
PyDoc_STRVAR(hashes_fast_doc, "hashes_fast()\n--\n\nWhether the processor's instructions for SHA-256 are used.");
PyDoc_STRVAR(checksums_doc, "checksums(data, cut, best, /)\n--\n\n"
                            "(CRC-32, SHA-256) of bytes that are added in two parts; for tests, while nobody else hashes.");

static PyMethodDef methods[] = {
    {"new_inflater", new_inflater, METH_NOARGS, new_inflater_doc},
    {"inflate", inflate, METH_VARARGS, inflate_doc},
    {"inflate_whole", inflate_whole, METH_VARARGS, inflate_whole_doc},
    {"read_members", read_members, METH_VARARGS, read_members_doc},
    {"hashes_fast", hashes_fast, METH_NOARGS, hashes_fast_doc},
    {"checksums", checksums, METH_VARARGS, checksums_doc},
    {"last_block", last_block, METH_O, last_block_doc},
    {NULL, NULL, 0, NULL},
};

int inflate_add_to(PyObject *module)
{
    return PyModule_AddFunctions(module, methods);
}
