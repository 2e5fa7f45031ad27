/* One part of the library: as much code as a file of a real one, made by the preprocessor. */
#include "deps.h"
#include "version.h"

#define JOIN(a, b) a##b
#define NAME(a, b) JOIN(a, b)
#define STEP(n)                                                               \
    static unsigned long JOIN(step, n)(unsigned long x, unsigned long *t) {   \
        for (unsigned i = 0; i < 16 + n % 7; i++) {                           \
            x ^= x << (n % 13 + 1); x *= 0x9e3779b97f4a7c15ul + n;            \
            t[i & 7] += x >> (n % 29); x += t[(i + n) & 7] * (PART + 3);      \
            if (x & (1ul << n % 37)) x = ~x; else x -= t[n & 7];              \
        }                                                                     \
        switch (x % 9) {                                                      \
        case 0: return x + n; case 1: return x * 3; case 2: return x >> 3;    \
        case 3: return ~x; case 4: return x ^ n; case 5: return x / (n + 1);  \
        default: return x - t[n & 7];                                         \
        }                                                                     \
    }
#define TEN(n) STEP(n##0) STEP(n##1) STEP(n##2) STEP(n##3) STEP(n##4)         \
    STEP(n##5) STEP(n##6) STEP(n##7) STEP(n##8) STEP(n##9)
#define CALL(n) x = JOIN(step, n)(x, t);
#define CALLS(n) CALL(n##0) CALL(n##1) CALL(n##2) CALL(n##3) CALL(n##4)       \
    CALL(n##5) CALL(n##6) CALL(n##7) CALL(n##8) CALL(n##9)

TEN(1) TEN(2) TEN(3) TEN(4) TEN(5) TEN(6) TEN(7) TEN(8) TEN(9)

unsigned long NAME(part, PART)(unsigned long x) {
    unsigned long t[8] = {PART};
    CALLS(1) CALLS(2) CALLS(3) CALLS(4) CALLS(5) CALLS(6) CALLS(7) CALLS(8) CALLS(9)
    return x;
}
