/* Where the bytes of an object are. Python.h is included before this. */
#ifndef PORTABLE_BACKEND_HOLD_H
#define PORTABLE_BACKEND_HOLD_H

/* Returns what holds them there, to be released when they were used, or NULL with an exception set. */
PyObject *hold_buffer(PyObject *object, const void **start, Py_ssize_t *size);

#endif
