// out[t][row] = W[row] . x[t], for a few tokens at a time. FORMAT is the weight's.
//
// SPLIT warps share a row, and add up what they found. Bytes: every plane of the weight once per
// TOKENS tokens, plus activations, which the caches hold.

#define WARPS 8
#define AHEAD 4

template <int TOKENS>
DEVICE void gemv(Planes w, const Token &all, float *out, u32 rows, u32 cols, u32 groups, u32 tokens,
                 u32 split) {
    __shared__ float parts[WARPS][TOKENS];
    u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, part = warp % split;
    u32 row = blockIdx.x * (WARPS / split) + warp / split;
    u32 first = blockIdx.y * TOKENS;
    float sums[TOKENS] = {};
    if (row < rows) {
        u32 group = row / (rows / groups), chunks = cols / CHUNK;
        Token x[TOKENS];
#pragma unroll
        for (int t = 0; t < TOKENS; t++) {
            // Tokens beyond the last repeat it; nobody stores their results.
            x[t] = token_at(all, (u64)min(first + t, tokens - 1) * groups + group, cols);
        }
        for (u32 c = part * WARP + lane; c < chunks; c += AHEAD * split * WARP) {
            Chunk loaded[AHEAD];
#pragma unroll
            for (int i = 0; i < AHEAD; i++) {
                u32 at = c + i * split * WARP;
                load(loaded[i], w, row, cols, at < chunks ? at : c);
            }
#pragma unroll
            for (int i = 0; i < AHEAD; i++) {
                u32 at = c + i * split * WARP;
                if (at >= chunks) break;
#pragma unroll
                for (int t = 0; t < TOKENS; t++) sums[t] += dot(loaded[i], x[t], at);
            }
        }
    }
#pragma unroll
    for (int t = 0; t < TOKENS; t++) {
        float sum = warp_sum(sums[t]);
        if (lane == 0) parts[warp][t] = sum;
    }
    __syncthreads();
    if (row < rows && part == 0 && lane < TOKENS && first + lane < tokens) {
        float sum = 0;
        for (u32 i = 0; i < split; i++) sum += parts[warp + i][lane];
        out[(u64)(first + lane) * rows + row] = sum;
    }
}

#define GEMV(TOKENS)                                                                               \
    extern "C" __global__ void __launch_bounds__(WARPS *WARP)                                      \
        gemv##TOKENS(const u8 *a, const u8 *b, const u8 *c, const i8 *codes, const float *steps,   \
                     const float2 *halves, const float *floats, float *out, u32 rows, u32 cols,    \
                     u32 groups, u32 tokens, u32 split) {                                          \
        gemv<TOKENS>({a, b, c}, {codes, steps, halves, floats}, out, rows, cols, groups, tokens,   \
                     split);                                                                       \
    }

GEMV(1)
GEMV(2)
GEMV(4)
GEMV(8)
