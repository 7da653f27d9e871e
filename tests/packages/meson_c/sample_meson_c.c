#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

/* memcpy got a new version in glibc 2.14 on x86_64: a module built against a new glibc cannot be loaded by an old one. */
static PyObject *copy(PyObject *self, PyObject *argument) {
    char buffer[64];
    Py_ssize_t length;
    const char *text = PyUnicode_AsUTF8AndSize(argument, &length);
    (void)self;
    if (text == NULL)
        return NULL;
    if (length > (Py_ssize_t)sizeof buffer)
        length = (Py_ssize_t)sizeof buffer;
    memcpy(buffer, text, (size_t)length);
    return PyUnicode_FromStringAndSize(buffer, length);
}

static PyMethodDef methods[] = {{"copy", copy, METH_O, "Return the first 64 bytes of a text."}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "sample_meson_c", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_sample_meson_c(void) { return PyModule_Create(&module); }
