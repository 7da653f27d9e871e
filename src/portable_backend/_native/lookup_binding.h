/* Adds `look_up`, `names_of_starts` and `names_in_groups` to a module; -1 with an exception set if that fails. */
#ifndef PORTABLE_BACKEND_LOOKUP_BINDING_H
#define PORTABLE_BACKEND_LOOKUP_BINDING_H

int lookup_add_to(PyObject *module);

#endif
