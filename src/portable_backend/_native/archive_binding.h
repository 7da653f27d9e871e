/* Adds `compare_files`, `read_archive` and `read_record` to a module; -1 with an exception set if that fails. */
#ifndef PORTABLE_BACKEND_ARCHIVE_BINDING_H
#define PORTABLE_BACKEND_ARCHIVE_BINDING_H

int archive_add_to(PyObject *module);

#endif
