#include <stdio.h>
#include "queens.h"

int main(void) {
    printf("%s: %lu\n", "eight queens", queens(8));
    return 0;
}
