#include <stdio.h>
#include "deps.h"
#include "version.h"

int main(void) {
    printf("%lx\n", part0(1));
    return 0;
}
