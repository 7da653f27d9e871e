/* Names of shared libraries among the strings of a file that comes by in pieces; auditing/strings.py says which and why.
 * No Python in here; bytes are hostile. */
#ifndef PORTABLE_BACKEND_NAMES_H
#define PORTABLE_BACKEND_NAMES_H

#include <stddef.h>
#include <stdint.h>

/* The same as in strings.py: names that are told, their longest with the zero behind it, endings that are looked at. */
enum { NAMES_MOST = 64, NAMES_LONGEST = 255, NAMES_TRIES = 1 << 16 };

typedef struct {
    unsigned tries; /* that are left */
    size_t count;
    char found[NAMES_MOST][NAMES_LONGEST];
} names_state;

void names_start(names_state *names);

/* Look through data[start:end]. What lies before `start` came by before: all of it if `all`, and else at least the last
 * NAMES_BEFORE bytes. Linear time. */
enum { NAMES_BEFORE = 2 * NAMES_LONGEST };
void names_look(names_state *names, const uint8_t *data, size_t start, size_t end, int all);

#endif
