// The same as gemv.cu for weights of two formats at once: the first `blocks` blocks have those of FORMAT,
// the others those of OTHER, which are weights number `which` and up.

#define PAIR(TOKENS)                                                                               \
    extern "C" __global__ void __launch_bounds__(THREADS)                                          \
        pair##TOKENS(Matrices all, const i8 *codes, const float *steps, const float2 *halves,      \
                     const float *floats, u32 cols, u32 tokens, u32 share_bits, u32 blocks,        \
                     u32 which, u32 other_bits) {                                                  \
        Given x = {codes, steps, halves, floats};                                                  \
        if (blockIdx.x < blocks)                                                                   \
            one::gemv<TOKENS>(all, 0, blockIdx.x, x, cols, 1, tokens, share_bits, 0);              \
        else                                                                                       \
            other::gemv<TOKENS>(all, which, blockIdx.x - blocks, x, cols, 1, tokens, other_bits, 0); \
    }

PAIR(1)
PAIR(2)
PAIR(4)
PAIR(8)
