/* Adds `new_sha256`, `add_sha256` and `end_sha256` to a module; -1 with an exception set if that fails. */
#ifndef PORTABLE_BACKEND_HASH_BINDING_H
#define PORTABLE_BACKEND_HASH_BINDING_H

int hash_add_to(PyObject *module);

#endif
