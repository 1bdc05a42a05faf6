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

// The weight that block `block` of those from number `which` on belongs to, each of whose blocks takes
// `at_once` rows; matrices have their blocks one after the other. `block` becomes its own number there.
DEVICE const Matrix &matrix_of(const Matrices &all, u32 which, u32 &block, u32 at_once) {
    for (;; which++) {
        u32 blocks = ((u32)all.of[which].rows + at_once - 1) / at_once;
        if (block < blocks) return all.of[which];
        block -= blocks;
    }
}

// Activations, rounded and as they are; those that a format does not take may be null.
struct Given {
    const i8 *codes;
    const float *steps;
    const float2 *halves;
    const float *floats;
};
