/* Compares every kernel with the three loops that it stands for. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels.h"

static double a[LIMIT * LIMIT], b[LIMIT * LIMIT], c[LIMIT * LIMIT];

static int differs(int m, int n, int k)
{
    kernels[m - 1][n - 1][k - 1](a, b, c);
    for (int row = 0; row < m; row++)
        for (int column = 0; column < n; column++) {
            double sum = 0;
            for (int i = 0; i < k; i++)
                sum += a[row * k + i] * b[i * n + column];
            if (fabs(sum - c[row * n + column]) > 1e-12 * LIMIT)
                return 1;
        }
    return 0;
}

int main(void)
{
    int tried = 0, wrong = 0;
    srand(1);
    for (int m = 1; m <= LIMIT; m++)
        for (int n = 1; n <= LIMIT; n++)
            for (int k = 1; k <= LIMIT; k++) {
                for (int i = 0; i < LIMIT * LIMIT; i++) {
                    a[i] = (double)rand() / RAND_MAX;
                    b[i] = (double)rand() / RAND_MAX;
                }
                tried++;
                wrong += differs(m, n, k);
            }
    printf("%d kernels checked, %d wrong\n", tried, wrong);
    return wrong != 0;
}
