/* Adds `new_inflater` and `inflate` to a module; -1 with an exception set if that fails. */
#ifndef PORTABLE_BACKEND_INFLATE_BINDING_H
#define PORTABLE_BACKEND_INFLATE_BINDING_H

int inflate_add_to(PyObject *module);

#endif
