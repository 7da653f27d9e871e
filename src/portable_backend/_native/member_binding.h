/* Adds what reads large members to a module; -1 with an exception set if that fails. */
#ifndef PORTABLE_BACKEND_MEMBER_BINDING_H
#define PORTABLE_BACKEND_MEMBER_BINDING_H

int member_add_to(PyObject *module);

#endif
