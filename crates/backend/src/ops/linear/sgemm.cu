// out[t][row] = W[row] . x[t] for many tokens, with weights of float precision, on tensor cores. FORMAT
// is the weight's.
//
// Weights and activations meet as in tf32.cuh; F32 weights are split as activations are.
//
// A warp has 32 tokens and 32 rows, as two times four products of mma.m16n8k8. `sgemm` puts 4 x 2 warps
// side by side; `sgemm_narrow`, for few rows and many columns, lets eight warps take parts of the
// columns and adds up their sums. Memory is hidden as in tile.cuh, with one barrier per stage.

#define THREADS 256
#define WARPS (THREADS / WARP)

extern __shared__ __align__(16) float pool[];

// What is in shared memory per stage: x [TOKENS][STRIDE], then weights [ROWS][STRIDE], as floats. Padding
// lets the lanes of a fragment meet in no bank.
template <int ACROSS_TOKENS, int ACROSS_ROWS, int ACROSS_COLUMNS>
struct Tiling {
    static const u32 TOKENS = 32 * ACROSS_TOKENS, ROWS = 32 * ACROSS_ROWS;
    static const u32 DEPTH = ACROSS_COLUMNS == 1 ? 32 : 16 * ACROSS_COLUMNS;
    static const u32 STRIDE = DEPTH + 4, STAGE = (TOKENS + ROWS) * STRIDE;
    // Chunks of weights that a thread brings to a stage.
    static const u32 HELD = ROWS * DEPTH / CHUNK / THREADS;
};

// Writes a chunk of weights as floats.
DEVICE void put(const Chunk &k, bool there, float *to) {
#if FORMAT == 0
    *(float4 *)to = there ? k.w : make_float4(0, 0, 0, 0);
#else
    uint4 w = there ? k.w : make_uint4(0, 0, 0, 0);
    ((float4 *)to)[0] = make_float4(value_of(w.x & 0xffff), value_of(w.x >> 16),
                                    value_of(w.y & 0xffff), value_of(w.y >> 16));
    ((float4 *)to)[1] = make_float4(value_of(w.z & 0xffff), value_of(w.z >> 16),
                                    value_of(w.w & 0xffff), value_of(w.w >> 16));
#endif
}

// Eight columns: x at `x`, weights at `w`, both for this lane, to a warp's sums.
template <u32 STRIDE>
DEVICE void multiply_columns(float (&sums)[2][4][4], const float *x, const float *w) {
    u32 high[2][4], low[2][4];
#pragma unroll
    for (int i = 0; i < 8; i++)
        split(x[(i / 4 * 16 + i % 2 * 8) * STRIDE + i / 2 % 2 * 4], high[i / 4][i % 4], low[i / 4][i % 4]);
#pragma unroll
    for (int n = 0; n < 4; n++) {
        float first = w[n * 8 * STRIDE], second = w[n * 8 * STRIDE + 4];
#if FORMAT == 0
        u32 b[2], rest[2];
        split(first, b[0], rest[0]);
        split(second, b[1], rest[1]);
#pragma unroll
        for (int m = 0; m < 2; m++) multiply(sums[m][n], high[m], rest[0], rest[1]);
#else
        u32 b[2] = {__float_as_uint(first), __float_as_uint(second)};
#endif
#pragma unroll
        for (int m = 0; m < 2; m++) multiply(sums[m][n], low[m], b[0], b[1]);
#pragma unroll
        for (int m = 0; m < 2; m++) multiply(sums[m][n], high[m], b[0], b[1]);
    }
}

template <int ACROSS_TOKENS, int ACROSS_ROWS, int ACROSS_COLUMNS>
DEVICE void product(Planes w, const float *x, float *out, u32 rows, u32 cols, u32 groups, u32 tokens) {
    typedef Tiling<ACROSS_TOKENS, ACROSS_ROWS, ACROSS_COLUMNS> Here;
    const u32 DEPTH = Here::DEPTH, STRIDE = Here::STRIDE, ACROSS = DEPTH / CHUNK;
    u32 first = blockIdx.x * Here::TOKENS, first_row = blockIdx.y * Here::ROWS;
    u32 group = first_row / (rows / groups), stages = (cols + DEPTH - 1) / DEPTH;
    Chunk held[Here::HELD];
    // Rows beyond the last repeat it; nobody stores their results. Tokens beyond the last are zero.
    auto fetch = [&](u32 stage) {
#pragma unroll
        for (int i = 0; i < Here::HELD; i++) {
            u32 at = i * THREADS + threadIdx.x, c = stage * ACROSS + at % ACROSS;
            load(held[i], w, min(first_row + at / ACROSS, rows - 1), cols, c < cols / CHUNK ? c : 0);
        }
        for (u32 i = threadIdx.x; i < Here::TOKENS * (DEPTH / 4); i += THREADS) {
            u32 t = i / (DEPTH / 4), piece = i % (DEPTH / 4) * 4, column = stage * DEPTH + piece;
            bool there = first + t < tokens && column < cols;
            u64 from = there ? ((u64)(first + t) * groups + group) * cols + column : 0;
            copy16(pool + stage % 2 * Here::STAGE + t * STRIDE + piece, x + from, there);
        }
    };
    u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    u32 part = warp % ACROSS_COLUMNS, side = warp / ACROSS_COLUMNS;
    u32 token = side % ACROSS_TOKENS * 32, row = side / ACROSS_TOKENS * 32;
    float sums[2][4][4] = {};
    fetch(0);
    for (u32 stage = 0; stage < stages; stage++) {
        float *xs = pool + stage % 2 * Here::STAGE, *ws = xs + Here::TOKENS * STRIDE;
#pragma unroll
        for (int i = 0; i < Here::HELD; i++) {
            u32 at = i * THREADS + threadIdx.x, c = at % ACROSS;
            put(held[i], stage * ACROSS + c < cols / CHUNK, ws + at / ACROSS * STRIDE + c * CHUNK);
        }
        copies_done();
        __syncthreads();
        if (stage + 1 < stages) fetch(stage + 1);
        const float *mine = xs + (token + lane / 4) * STRIDE + lane % 4;
        const float *weights = ws + (row + lane / 4) * STRIDE + lane % 4;
#pragma unroll
        for (u32 k = part; k < DEPTH / 8; k += ACROSS_COLUMNS)
            multiply_columns<STRIDE>(sums, mine + k * 8, weights + k * 8);
    }
    if (ACROSS_COLUMNS > 1) {
        // The warps have parts of the same sums: the first one gets them all.
        __syncthreads();
        float *parts = pool + threadIdx.x;
#pragma unroll
        for (int i = 0; i < 32; i++) parts[i * THREADS] = sums[i / 16][i / 4 % 4][i % 4];
        __syncthreads();
        if (part > 0) return;
#pragma unroll
        for (int i = 0; i < 32; i++)
            for (u32 k = 1; k < ACROSS_COLUMNS; k++)
                sums[i / 16][i / 4 % 4][i % 4] += parts[i * THREADS + k * WARP];
    }
#pragma unroll
    for (int i = 0; i < 32; i++) {
        u32 m = i / 16, n = i / 4 % 4, e = i % 4;
        u32 t = first + token + m * 16 + e / 2 * 8 + lane / 4;
        u32 r = first_row + row + n * 8 + lane % 4 * 2 + e % 2;
        if (t < tokens && r < rows) out[(u64)t * rows + r] = sums[m][n][e];
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    sgemm(const u8 *a, const u8 *b, const u8 *c, const float *x, float *out, u32 rows, u32 cols,
          u32 groups, u32 tokens) {
    begin();
    product<4, 2, 1>({a, b, c}, x, out, rows, cols, groups, tokens);
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
    sgemm_narrow(const u8 *a, const u8 *b, const u8 *c, const float *x, float *out, u32 rows, u32 cols,
                 u32 groups, u32 tokens) {
    begin();
    product<1, 1, WARPS>({a, b, c}, x, out, rows, cols, groups, tokens);
}
