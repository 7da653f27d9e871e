/* Looks for what the name of a shared library ends in. No Python in here; bytes are hostile. */
#ifndef PORTABLE_BACKEND_SEARCH_H
#define PORTABLE_BACKEND_SEARCH_H

#include <stddef.h>
#include <stdint.h>

/* The first ending in data[from:size], as the expression "\.so(\.[0-9]{1,9}){0,6}\0" finds it: where it begins goes to
   `mark`, where its zero lies to `end`. 0 if there is none that is all within the data. Linear time. */
int search_ending(const uint8_t *data, size_t size, size_t from, size_t *mark, size_t *end);

#endif
