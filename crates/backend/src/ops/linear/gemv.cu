// out[t][row] = W[row] . x[t], for a few tokens at a time, and for several weights at once; see gemv.cuh.

#define GEMV(TOKENS)                                                                               \
    extern "C" __global__ void __launch_bounds__(THREADS)                                          \
        gemv##TOKENS(Matrices all, const i8 *codes, const float *steps, const float2 *halves,      \
                     const float *floats, u32 cols, u32 groups, u32 tokens, u32 share_bits,        \
                     u32 onto) {                                                                   \
        gemv<TOKENS>(all, 0, blockIdx.x, {codes, steps, halves, floats}, cols, groups, tokens,     \
                     share_bits, onto);                                                            \
    }

GEMV(1)
GEMV(2)
GEMV(4)
GEMV(8)
