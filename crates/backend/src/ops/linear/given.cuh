// What products for a few tokens are called with.

#define THREADS 256
#define AHEAD 4
#define MATRICES_MAX 8

struct Matrix {
    const u8 *a, *b, *c;
    float *out;
    u64 rows;
};

struct Matrices {
    Matrix of[MATRICES_MAX];
};

// Activations, rounded and as they are; those that a format does not take may be null.
struct Given {
    const i8 *codes;
    const float *steps;
    const float2 *halves;
    const float *floats;
};
