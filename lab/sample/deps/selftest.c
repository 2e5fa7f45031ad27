/* The library's own tests, which take most of the time of a build. */
#include <stdio.h>
#include <stdlib.h>
#include "queens.h"

static const unsigned long known[] = {
    1, 1, 0, 0, 2, 10, 4, 40, 92, 352, 724, 2680, 14200, 73712, 365596, 2279184, 14772512,
};

/* The same by the plain method, which is easy to see to be right. */
static unsigned long plainly(int n, int row, int *column) {
    unsigned long found = 0;
    if (row == n) return 1;
    for (column[row] = 0; column[row] < n; column[row]++) {
        int free = 1;
        for (int other = 0; other < row && free; other++) {
            int apart = column[row] - column[other];
            free = apart != 0 && abs(apart) != row - other;
        }
        if (free) found += plainly(n, row + 1, column);
    }
    return found;
}

int main(void) {
    int column[16];
    for (unsigned n = 1; n < sizeof known / sizeof *known; n++) {
        if (queens(n) != known[n] || (n < 15 && plainly(n, 0, column) != known[n])) {
            fprintf(stderr, "queens(%u) is wrong\n", n);
            return 1;
        }
    }
    puts("all results are right");
    return 0;
}
