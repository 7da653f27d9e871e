/* The binding of archive.c. Files are read without the interpreter's lock. */
#include <pyconfig.h>
#ifdef Py_GIL_DISABLED /* free-threaded interpreters had no limited API at first */
#undef Py_LIMITED_API
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "archive.h"
#include "archive_binding.h"

/* The names of the members, of a directory that was read. */
static PyObject *get_names(const char *directory, size_t size, size_t count)
{
    PyObject *names = PyList_New((Py_ssize_t)count);
    size_t at = 0, i, length;
    for (i = 0; names && at < size; i++) {
        const char *text = (const char *)archive_name((const uint8_t *)directory, &at, &length);
        PyObject *name = PyUnicode_FromStringAndSize(text, (Py_ssize_t)length);
        if (!name || PyList_SetItem(names, (Py_ssize_t)i, name) < 0)
            Py_CLEAR(names);
    }
    return names;
}

static PyObject *read_archive(PyObject *module, PyObject *arguments)
{
    PyObject *directory, *table, *names;
    archive_limits limits;
    unsigned long long begin, large, total, ratio;
    Py_ssize_t size, count;
    char *start;
    int file, plain;
    archive_member *members;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "iO!KnKKK:read_archive", &file, &PyBytes_Type, &directory, &begin, &count, &large, &total,
                          &ratio) ||
        PyBytes_AsStringAndSize(directory, &start, &size) < 0)
        return NULL;
    if (count < 0 || count > size / ARCHIVE_HEADER)
        Py_RETURN_NONE;
    limits.large = large;
    limits.total = total;
    limits.ratio = ratio;
    table = PyBytes_FromStringAndSize(NULL, count * (Py_ssize_t)sizeof *members);
    if (!table)
        return NULL;
    members = (archive_member *)(void *)PyBytes_AsString(table); /* nobody else knows of it yet */
    Py_BEGIN_ALLOW_THREADS
    plain = archive_read((const uint8_t *)start, (size_t)size, begin, &limits, members, (size_t)count) &&
            archive_check((const uint8_t *)start, (size_t)size, archive_read_file, &file);
    Py_END_ALLOW_THREADS
    if (!plain) {
        Py_DECREF(table);
        Py_RETURN_NONE;
    }
    names = get_names(start, (size_t)size, (size_t)count);
    if (!names) {
        Py_DECREF(table);
        return NULL;
    }
    return Py_BuildValue("(NN)", names, table);
}

static PyObject *compare_files(PyObject *module, PyObject *arguments)
{
    PyObject *table, *same;
    Py_ssize_t size, count;
    char *start;
    uint8_t *told;
    int one, other, done;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "iiO!:compare_files", &one, &other, &PyBytes_Type, &table) ||
        PyBytes_AsStringAndSize(table, &start, &size) < 0)
        return NULL;
    count = size / (Py_ssize_t)sizeof(archive_pair);
    same = PyBytes_FromStringAndSize(NULL, count);
    if (!same)
        return NULL;
    told = (uint8_t *)PyBytes_AsString(same); /* nobody else knows of it yet */
    Py_BEGIN_ALLOW_THREADS
    done = archive_compare(archive_read_file, &one, &other, (const archive_pair *)(const void *)start, (size_t)count, told);
    Py_END_ALLOW_THREADS
    if (done)
        return same;
    Py_DECREF(same);
    return PyErr_NoMemory();
}

/* The path of a line, as the object that the archive's member has already, if there is one; some wheels have thousands. */
static PyObject *get_path(const archive_line *line, PyObject *rows, PyObject *names)
{
    PyObject *path = PyUnicode_FromStringAndSize(line->path, (Py_ssize_t)line->path_length), *row, *name;
    Py_ssize_t at;
    if (!path)
        return NULL;
    row = PyDict_GetItemWithError(rows, path);
    at = row ? PyLong_AsSsize_t(row) : -1;
    if (at < 0) {
        if (!PyErr_Occurred())
            return path;
        Py_DECREF(path);
        return NULL;
    }
    name = PyList_GetItem(names, at);
    Py_XINCREF(name);
    Py_DECREF(path);
    return name;
}

/* What is said of a path: the algorithm, the digest and the size, or None. */
static PyObject *get_entry(const archive_line *line, PyObject *algorithm, PyObject *make)
{
    PyObject *values, *entry;
    if (!line->digest_length) {
        Py_INCREF(Py_None);
        return Py_None;
    }
    values = Py_BuildValue("(Os#K)", algorithm, line->digest, (Py_ssize_t)line->digest_length, (unsigned long long)line->size);
    entry = values ? PyObject_CallFunctionObjArgs(make, values, NULL) : NULL;
    Py_XDECREF(values);
    return entry;
}

/* 1 if the line was taken up, 0 if there was one of the same path, -1 with an exception set. */
static int take_line(const archive_line *line, PyObject *rows, PyObject *names, PyObject *algorithm, PyObject *make,
                     PyObject *record)
{
    const Py_ssize_t before = PyDict_Size(record);
    PyObject *path = get_path(line, rows, names), *entry = path ? get_entry(line, algorithm, make) : NULL;
    const int failed = !entry || PyDict_SetItem(record, path, entry) < 0;
    Py_XDECREF(path);
    Py_XDECREF(entry);
    return failed ? -1 : PyDict_Size(record) > before;
}

static PyObject *read_record(PyObject *module, PyObject *arguments)
{
    PyObject *text, *rows, *names, *algorithm, *make, *record;
    Py_ssize_t size;
    char *start;
    size_t at = 0;
    int taken = 1;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "O!O!O!UO:read_record", &PyBytes_Type, &text, &PyDict_Type, &rows, &PyList_Type, &names,
                          &algorithm, &make) ||
        PyBytes_AsStringAndSize(text, &start, &size) < 0)
        return NULL;
    record = PyDict_New();
    if (!record)
        return NULL;
    while (taken > 0 && at < (size_t)size) {
        archive_line line;
        taken = archive_record(start, (size_t)size, &at, &line);
        if (taken)
            taken = take_line(&line, rows, names, algorithm, make, record);
    }
    if (taken > 0)
        return record;
    Py_DECREF(record);
    if (taken < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(read_archive_doc,
             "read_archive(file, directory, start, count, large, total, ratio, /)\n--\n\n"
             "(names, table) of an archive, open as the descriptor `file`, that has the directory, of so many members, at\n"
             "`start`; None if it is not as plain as nearly all are, or may be a bomb. The table has six native numbers of 64\n"
             "bits for each: where its data begin, their size, its size, CRC-32, method, attributes.");
PyDoc_STRVAR(compare_files_doc,
             "compare_files(file, other, table, /)\n--\n\n"
             "Of each row of the table, a byte that is 1 if so many bytes of both files, open as these descriptors, are the same.\n"
             "A row is three native numbers of 64 bits: where they begin in the one, in the other, and how many they are.");
PyDoc_STRVAR(read_record_doc,
             "read_record(text, rows, names, algorithm, make, /)\n--\n\n"
             "A RECORD by path, where only the one algorithm is in use: make((algorithm, digest, size)), or None. None in all if\n"
             "it is not plain, or lists a path twice. Paths that are in `rows` are the objects in `names` there.");

static PyMethodDef methods[] = {
    {"compare_files", compare_files, METH_VARARGS, compare_files_doc},
    {"read_archive", read_archive, METH_VARARGS, read_archive_doc},
    {"read_record", read_record, METH_VARARGS, read_record_doc},
    {NULL, NULL, 0, NULL},
};

int archive_add_to(PyObject *module)
{
    return PyModule_AddFunctions(module, methods);
}
