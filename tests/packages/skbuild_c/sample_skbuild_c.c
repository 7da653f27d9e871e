#include <Python.h>

/* What the build took the machine for, and what the compiler knows of it. */
static PyObject *describe(PyObject *self, PyObject *argument) {
    int one = 1;
    (void)self;
    (void)argument;
    return Py_BuildValue("siis", PROCESSOR, SIZEOF_VOID_P, SIZEOF_LONG, *(char *)&one ? "little" : "big");
}

static PyMethodDef methods[] = {{"describe", describe, METH_NOARGS, "Processor, word size, byte order."}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "sample_skbuild_c", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_sample_skbuild_c(void) { return PyModule_Create(&module); }
