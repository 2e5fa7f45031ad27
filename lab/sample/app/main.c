/* Reads "m n k", an m by k and a k by n matrix, and prints their product. */
#include <stdio.h>

#include "kernels.h"

#define RELEASE "1"

static int matrix(double *values, int count)
{
    for (int i = 0; i < count; i++)
        if (scanf("%lf", &values[i]) != 1)
            return 0;
    return 1;
}

int main(void)
{
    static double a[LIMIT * LIMIT], b[LIMIT * LIMIT], c[LIMIT * LIMIT];
    int m, n, k;

    printf("release %s\n", RELEASE);
    while (scanf("%d %d %d", &m, &n, &k) == 3) {
        if (m < 1 || n < 1 || k < 1 || m > LIMIT || n > LIMIT || k > LIMIT)
            return 1;
        if (!matrix(a, m * k) || !matrix(b, k * n))
            return 1;
        kernels[m - 1][n - 1][k - 1](a, b, c);
        for (int i = 0; i < m * n; i++)
            printf("%g%c", c[i], (i + 1) % n ? ' ' : '\n');
    }
    return 0;
}
