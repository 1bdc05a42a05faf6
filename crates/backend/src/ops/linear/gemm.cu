// out[t][row] = W[row] . x[t] for many tokens; see tile.cuh. Blocks: tokens (x), rows (y), so that the
// blocks that run together share weights. FORMAT is the weight's.
//
// A tile of rows is in one group: the caller sees to it.

extern __shared__ __align__(16) u8 pool[];

template <int PAIRS>
DEVICE void gemm(Planes w, Token x, float *out, u32 rows, u32 cols, u32 groups, u32 tokens) {
    __shared__ u32 lines[PAIRS * 32];
    u32 first = blockIdx.x * PAIRS * 32, first_row = blockIdx.y * TILE_ROWS;
    u32 count = min(tokens - first, PAIRS * 32u), group = first_row / (rows / groups);
    if (threadIdx.x < count) lines[threadIdx.x] = (first + threadIdx.x) * groups + group;
    Part part = part_of(w, 0, first_row, rows, cols);
    Sums<PAIRS> sums;
    multiply_tile(sums, part, x, lines, count, pool);
    store_sums(sums, out, 0, first, count, first_row, rows);
}

#define GEMM(TOKENS)                                                                               \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS, 2)                                  \
        gemm##TOKENS(const u8 *a, const u8 *b, const u8 *c, const i8 *codes, const float *steps,   \
                     const float2 *halves, float *out, u32 rows, u32 cols, u32 groups,             \
                     u32 tokens) {                                                                 \
        begin();                                                                                   \
        gemm<TOKENS / 32>({a, b, c}, {codes, steps, halves, 0}, out, rows, cols, groups, tokens);  \
    }

GEMM(64)
GEMM(128)
