#ifndef QUEENS_H
#define QUEENS_H

/* Number of ways to place n queens on an n by n board so that none attacks another. */
unsigned long queens(unsigned n);

#endif
