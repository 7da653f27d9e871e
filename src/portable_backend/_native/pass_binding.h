/* The binding of elfpass.c: a pass in a capsule. Python.h is included before this. */
#ifndef PORTABLE_BACKEND_PASS_BINDING_H
#define PORTABLE_BACKEND_PASS_BINDING_H

#include "elfpass.h"

/* The pass of a capsule, NULL of None; 0 with an exception set if it is neither. */
int pass_get(PyObject *object, elfpass **pass);

int pass_add_to(PyObject *module);

#endif
