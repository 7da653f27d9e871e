/* The binding of member.c: a member in a capsule, read by one thread, or by two with a ring of buffers between them.
 *
 * Of each buffer of the ring, one lock is held while there is nothing in it to look at, another while there is. Threads
 * wait for them without the interpreter's lock, and never long: so that they notice when the other one gave up, and the
 * interpreter can act on signals. */
#include <pyconfig.h>
#ifdef Py_GIL_DISABLED /* free-threaded interpreters had no limited API at first */
#undef Py_LIMITED_API
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <pythread.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "member.h"
#include "member_binding.h"
#include "pass_binding.h"

static const char NAME[] = "portable_backend._native.member";

enum {
    RING = 8,               /* buffers at most */
    WAIT = 20000,           /* microseconds */
    MOST_AT_ONCE = 16 << 20 /* bytes of a call */
};

typedef struct {
    PyThread_type_lock empty, full; /* released when it is so */
    size_t start, end;
    int follows;
} slot;

typedef struct {
    member_source source;
    member_reader reader;
    slot ring[RING];
    size_t slots;
    size_t at;     /* of the ring, to look at next */
    int has;       /* whether the one at `at` is being looked at */
    int follows;   /* what followed the last piece that was looked at */
    volatile int over; /* nobody will look at any more */
} member;

static member *get(PyObject *capsule)
{
    return PyCapsule_GetPointer(capsule, NAME);
}

static void free_member(member *m)
{
    size_t i;
    for (i = 0; i < RING; i++) {
        if (m->ring[i].empty)
            PyThread_free_lock(m->ring[i].empty);
        if (m->ring[i].full)
            PyThread_free_lock(m->ring[i].full);
    }
    member_close(&m->source);
    free(m);
}

static void free_capsule(PyObject *capsule)
{
    free_member(get(capsule));
}

static int make_ring(member *m, size_t slots)
{
    size_t i;
    m->slots = slots;
    for (i = 0; slots > 1 && i < slots; i++) {
        m->ring[i].empty = PyThread_allocate_lock();
        m->ring[i].full = PyThread_allocate_lock();
        if (!m->ring[i].empty || !m->ring[i].full)
            return 0;
        PyThread_acquire_lock(m->ring[i].full, WAIT_LOCK);
    }
    return 1;
}

static PyObject *new_member(PyObject *module, PyObject *arguments)
{
    int file, stored, hashes, finds;
    unsigned long long offset, packed, size, crc;
    Py_ssize_t slots;
    PyObject *capsule;
    member *m;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "iKKpKKppn:new_member", &file, &offset, &packed, &stored, &size, &crc, &hashes, &finds,
                          &slots))
        return NULL;
    if (slots < 1 || slots > RING) {
        PyErr_SetString(PyExc_ValueError, "too many buffers, or none");
        return NULL;
    }
    m = calloc(1, sizeof *m);
    if (!m)
        return PyErr_NoMemory();
    if (!member_open(&m->source, file, offset, packed, stored) || !make_ring(m, (size_t)slots)) {
        free_member(m);
        return PyErr_NoMemory();
    }
    member_start(&m->reader, size, crc, hashes, finds);
    capsule = PyCapsule_New(m, NAME, free_capsule);
    if (!capsule)
        free_member(m);
    return capsule;
}

static size_t get_room(const member *m, PyObject *out)
{
    size_t room = (size_t)PyByteArray_Size(out) / m->slots;
    if (room >= MEMBER_LEAST)
        return room;
    PyErr_SetString(PyExc_ValueError, "too little room for the output");
    return 0;
}

/* What the thread does that makes the pieces. */
static void fill(member *m, uint8_t *out, size_t room)
{
    const uint8_t *before = NULL;
    size_t at = 0;
    int follows = MEMBER_MORE;
    while (follows == MEMBER_MORE && !m->over) {
        slot *to = m->ring + at;
        if (PyThread_acquire_lock_timed(to->empty, WAIT, 0) != PY_LOCK_ACQUIRED)
            continue;
        if (m->over)
            break;
        follows = member_next(&m->source, before, out + at * room, room, &to->start, &to->end);
        to->follows = follows;
        before = out + at * room;
        at = (at + 1) % m->slots;
        PyThread_release_lock(to->full);
    }
}

static PyObject *fill_member(PyObject *module, PyObject *arguments)
{
    PyObject *capsule, *out, *hold;
    member *m;
    size_t room;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OO!:fill_member", &capsule, &PyByteArray_Type, &out))
        return NULL;
    m = get(capsule);
    if (!m || (room = get_room(m, out)) == 0)
        return NULL;
    if (m->slots < 2) {
        PyErr_SetString(PyExc_ValueError, "one thread does both");
        return NULL;
    }
    hold = PyMemoryView_FromObject(out); /* nobody can resize it meanwhile */
    if (!hold)
        return NULL;
    {
        uint8_t *start = (uint8_t *)PyByteArray_AsString(out);
        Py_BEGIN_ALLOW_THREADS
        fill(m, start, room);
        Py_END_ALLOW_THREADS
    }
    Py_DECREF(hold);
    Py_RETURN_NONE;
}

static PyObject *stop_member(PyObject *module, PyObject *capsule)
{
    member *m = get(capsule);
    (void)module;
    if (!m)
        return NULL;
    m->over = 1;
    Py_RETURN_NONE;
}

/* The next piece to look at, made here or by the other thread; 0 if that one has none yet. */
static int next_piece(member *m, uint8_t *out, size_t room)
{
    slot *from = m->ring + m->at;
    if (m->slots == 1) {
        from->follows = member_next(&m->source, m->has ? out : NULL, out, room, &from->start, &from->end);
        m->has = 1;
        return 1;
    }
    if (m->has) {
        m->has = 0;
        PyThread_release_lock(from->empty);
        m->at = (m->at + 1) % m->slots;
        from = m->ring + m->at;
    }
    m->has = PyThread_acquire_lock_timed(from->full, WAIT, 0) == PY_LOCK_ACQUIRED;
    return m->has;
}

static void look(member *m, uint8_t *out, size_t room, uint64_t stop, const member_range *wanted, size_t count,
                 elfpass *pass)
{
    const uint64_t begin = m->reader.position;
    while (m->follows == MEMBER_MORE && m->reader.position < stop && m->reader.position - begin < MOST_AT_ONCE) {
        slot *here;
        if (!next_piece(m, out, room))
            return;
        here = m->ring + m->at;
        m->follows =
            member_look(&m->reader, out + m->at * room, here->start, here->end, here->follows, wanted, count, pass);
    }
}

/* A (start, bytearray) of the tuple; the views keep their buffers as they are. 0 with an exception set. */
static int get_range(PyObject *pair, member_range *range, PyObject *views)
{
    unsigned long long start;
    PyObject *buffer, *view;
    int failed;
    if (!PyArg_ParseTuple(pair, "KO!:read_member", &start, &PyByteArray_Type, &buffer))
        return 0;
    view = PyMemoryView_FromObject(buffer);
    failed = !view || PyList_Append(views, view) < 0;
    Py_XDECREF(view);
    if (failed)
        return 0;
    range->start = start;
    range->end = start + (uint64_t)PyByteArray_Size(buffer);
    range->to = (uint8_t *)PyByteArray_AsString(buffer);
    if (range->end < range->start) {
        PyErr_SetString(PyExc_ValueError, "a range behind the end of all files");
        return 0;
    }
    return 1;
}

/* The ranges of a tuple, to be freed; NULL with an exception set. */
static member_range *get_ranges(PyObject *wanted, PyObject *views)
{
    Py_ssize_t count = PyTuple_Size(wanted), i;
    member_range *ranges;
    ranges = malloc(sizeof *ranges * ((size_t)count + 1));
    if (!ranges) {
        PyErr_NoMemory();
        return NULL;
    }
    for (i = 0; i < count; i++) {
        if (!PyTuple_Check(PyTuple_GetItem(wanted, i)) || !get_range(PyTuple_GetItem(wanted, i), ranges + i, views)) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_TypeError, "a range is a tuple");
            free(ranges);
            return NULL;
        }
    }
    return ranges;
}

static PyObject *tell(const member *m)
{
    if (m->follows == MEMBER_UNREADABLE) {
        errno = m->source.error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return Py_BuildValue("(iKnn)", m->follows, (unsigned long long)m->reader.position, (Py_ssize_t)m->at,
                         m->has ? (Py_ssize_t)m->ring[m->at].end : (Py_ssize_t)0);
}

static PyObject *read_member(PyObject *module, PyObject *arguments)
{
    PyObject *capsule, *out, *wanted, *views, *passing = Py_None, *result = NULL;
    unsigned long long stop;
    member_range *ranges;
    member *m;
    elfpass *pass;
    size_t room;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OO!KO!|O:read_member", &capsule, &PyByteArray_Type, &out, &stop, &PyTuple_Type, &wanted,
                          &passing))
        return NULL;
    m = get(capsule);
    if (!m || !pass_get(passing, &pass) || (room = get_room(m, out)) == 0)
        return NULL;
    views = PyList_New(0); /* nobody can resize the buffers meanwhile */
    if (!views)
        return NULL;
    ranges = get_ranges(wanted, views);
    if (ranges) {
        PyObject *hold = PyMemoryView_FromObject(out);
        if (hold) {
            uint8_t *start = (uint8_t *)PyByteArray_AsString(out);
            size_t count = (size_t)PyTuple_Size(wanted);
            Py_BEGIN_ALLOW_THREADS
            look(m, start, room, stop, ranges, count, pass);
            Py_END_ALLOW_THREADS
            Py_DECREF(hold);
            result = tell(m);
        }
        free(ranges);
    }
    Py_DECREF(views);
    return result;
}

static PyObject *end_member(PyObject *module, PyObject *capsule)
{
    member *m = get(capsule);
    sha256_state hash;
    uint8_t digest[SHA256_DIGEST];
    PyObject *names;
    size_t i;
    (void)module;
    if (!m)
        return NULL;
    hash = m->reader.hash;
    sha256_end(&hash, digest);
    names = PyList_New(0);
    for (i = 0; names && i < m->reader.names.count; i++) {
        PyObject *name = PyUnicode_FromString(m->reader.names.found[i]);
        if (!name || PyList_Append(names, name) < 0)
            Py_CLEAR(names);
        Py_XDECREF(name);
    }
    if (!names)
        return NULL;
    return Py_BuildValue("(y#N)", (const char *)digest, (Py_ssize_t)sizeof digest, names);
}

PyDoc_STRVAR(new_member_doc,
             "new_member(file, offset, packed, stored, size, crc, hashes, finds, slots, /)\n--\n\n"
             "A member of an archive, open as the descriptor `file`, that has `packed` bytes at `offset`, to be read once.\n"
             "hashes: whether its SHA-256 is wanted. finds: look for names of libraries, if it is an ELF file. slots: 1, or\n"
             "of how many buffers the ring is by which another thread, in fill_member, hands over what it inflates.");
PyDoc_STRVAR(fill_member_doc, "fill_member(member, out, /)\n--\n\n"
                              "Inflate all of it for another thread that is in read_member, until stop_member.");
PyDoc_STRVAR(stop_member_doc, "stop_member(member, /)\n--\n\nLet fill_member return soon.");
PyDoc_STRVAR(read_member_doc,
             "read_member(member, out, stop, wanted, pass=None, /)\n--\n\n"
             "Go on to the first end of a piece at or behind `stop`, or not quite as far: (what follows, position, in which\n"
             "slot of out the last piece lies, where it ends there). What came before it lies in front of it. Each (start,\n"
             "bytearray) that is wanted gets what comes by of it, and the pass all. What follows: 0 more, 1 nothing and all is well; damaged\n"
             "data (2), an incomplete stream or one followed by others (3), another size or checksum (4), the end of the\n"
             "archive (5).");
PyDoc_STRVAR(end_member_doc, "end_member(member, /)\n--\n\n"
                             "(SHA-256, names of libraries) of what was read.");

static PyMethodDef methods[] = {
    {"new_member", new_member, METH_VARARGS, new_member_doc},
    {"fill_member", fill_member, METH_VARARGS, fill_member_doc},
    {"stop_member", stop_member, METH_O, stop_member_doc},
    {"read_member", read_member, METH_VARARGS, read_member_doc},
    {"end_member", end_member, METH_O, end_member_doc},
    {NULL, NULL, 0, NULL},
};

int member_add_to(PyObject *module)
{
    return PyModule_AddFunctions(module, methods);
}
