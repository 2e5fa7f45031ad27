#include "queens.h"

static unsigned long place(unsigned all, unsigned columns, unsigned left, unsigned right) {
    unsigned long found = 0;
    if (columns == all) return 1;
    for (unsigned open = all & ~(columns | left | right); open; open &= open - 1) {
        unsigned bit = open & -open;
        found += place(all, columns | bit, (left | bit) << 1, (right | bit) >> 1);
    }
    return found;
}

unsigned long queens(unsigned n) { return place((1u << n) - 1, 0, 0, 0); }
