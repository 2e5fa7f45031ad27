#ifndef DEPS_H
#define DEPS_H

/* Mixes the bits of a number, each part in its own way. */
unsigned long part0(unsigned long);

#endif
