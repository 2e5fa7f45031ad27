/* Writes the kernels: for every m, n and k up to the limit one function that multiplies an m by k
 * with a k by n matrix, without a loop. Argument: the limit. */
#include <stdio.h>
#include <stdlib.h>

static void kernel(FILE *out, int m, int n, int k)
{
    fprintf(out, "void multiply_%d_%d_%d(const double *restrict a, const double *restrict b,\n"
                 "    double *restrict c)\n{\n", m, n, k);
    for (int row = 0; row < m; row++)
        for (int column = 0; column < n; column++) {
            fprintf(out, "    c[%d] =", row * n + column);
            for (int i = 0; i < k; i++)
                fprintf(out, "%s a[%d] * b[%d]", i ? " +" : "", row * k + i, i * n + column);
            fprintf(out, ";\n");
        }
    fprintf(out, "}\n\n");
}

int main(int count, char **arguments)
{
    int limit = count > 1 ? atoi(arguments[1]) : 0;
    if (limit < 1 || limit > 16)
        return 1;
    char name[64];
    for (int m = 1; m <= limit; m++) {
        snprintf(name, sizeof name, "kernels_%d.c", m);
        FILE *out = fopen(name, "w");
        if (!out)
            return 1;
        fprintf(out, "#include \"kernels.h\"\n\n");
        for (int n = 1; n <= limit; n++)
            for (int k = 1; k <= limit; k++)
                kernel(out, m, n, k);
        fclose(out);
    }
    FILE *header = fopen("kernels.h", "w");
    FILE *table = fopen("table.c", "w");
    if (!header || !table)
        return 1;
    fprintf(header, "#define LIMIT %d\n"
                    "typedef void multiply(const double *restrict, const double *restrict,\n"
                    "    double *restrict);\n"
                    "extern multiply *const kernels[LIMIT][LIMIT][LIMIT];\n", limit);
    fprintf(table, "#include \"kernels.h\"\n\nmultiply *const kernels[LIMIT][LIMIT][LIMIT] = {\n");
    for (int m = 1; m <= limit; m++)
        for (int n = 1; n <= limit; n++)
            for (int k = 1; k <= limit; k++) {
                fprintf(header, "multiply multiply_%d_%d_%d;\n", m, n, k);
                fprintf(table, "    [%d][%d][%d] = multiply_%d_%d_%d,\n",
                        m - 1, n - 1, k - 1, m, n, k);
            }
    fprintf(table, "};\n");
    return fclose(header) || fclose(table);
}
