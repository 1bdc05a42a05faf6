// out[t][row] = W[row] . x[t] on tensor cores, for up to 8 TILES tokens and several weights of one FORMAT
// at once: more tokens than gemv.cu multiplies well, and fewer than fill a tile. `onto` adds to what is
// there. Q8_0 is multiplied as in whole.cuh, F16 and BF16 as in tf32.cuh.
//
// Weights come straight from memory. A warp takes a strip of 16 rows and, of `split` warps, its share of
// the stretches of columns, two of which are on their way, the first before the kernels in front have
// ended. A lane has eight columns of every block of 32, which lie side by side, from two of the rows and
// from one token of each tile. The parts of a strip are summed in shared memory.
//
// Blocks: strips of all weights (x), 8 TILES tokens (y). Bytes: the weights once per 8 TILES tokens, and
// activations, which the caches hold, once per strip.

#define WARPS (THREADS / WARP)
#define STRIP 16
#define STRETCH (FORMAT == 8 ? 128 : 64)
#define BLOCKS (STRETCH / 32)
#define AHEAD_OF_USE 2
// Rows of a token's parts, padded so that the lanes of a warp store to different banks.
#define PADDED (STRIP + 4)

// In all that follows, g = lane / 4 and q = lane % 4. A lane has rows g and g + 8 of a strip, token g of
// every tile as a factor, and sums[j]: rows g, g, g + 8, g + 8 with tokens 2 q and 2 q + 1 of tile j.

#if FORMAT == 8
struct Stretch {
    uint2 codes[BLOCKS][2];
    uint2 scales[2];  // of four blocks
};

// Reads what nobody reads again soon, with its neighbours up to 128 bytes into the second-level cache.
DEVICE uint2 passing(const void *at) {
    uint2 v;
    asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v2.u32 {%0, %1}, [%2];"
                 : "=r"(v.x), "=r"(v.y) : "l"(at));
    return v;
}

DEVICE void load(Stretch &to, const Matrix &w, const u32 (&rows)[2], u32 cols, u32 stretch) {
    u32 column = stretch * STRETCH + threadIdx.x % 4 * 8;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        u64 first = (u64)rows[h] * cols;
#pragma unroll
        for (int k = 0; k < BLOCKS; k++) to.codes[k][h] = passing(w.a + first + column + 32 * k);
        to.scales[h] = fixed((const uint2 *)w.b + (first / STRETCH + stretch));
    }
}

// The activations of a lane's tokens: codes of token g, steps of tokens 2 q and 2 q + 1.
template <int TILES>
struct Factors {
    const i8 *codes[TILES];
    const float *steps[TILES][2];

    // `line_of` says which row of `x` a token of a tile has.
    template <typename Line>
    __device__ __forceinline__ void take(const Given &x, u32 cols, Line line_of) {
        u32 g = threadIdx.x % WARP / 4, q = threadIdx.x % 4;
#pragma unroll
        for (int j = 0; j < TILES; j++) {
            codes[j] = x.codes + line_of(8 * j + g) * cols + 8 * q;
#pragma unroll
            for (int i = 0; i < 2; i++)
                steps[j][i] = x.steps + line_of(8 * j + 2 * q + i) * (cols / 32);
        }
    }
};

// The scale of block `k` of four.
DEVICE float scale_of(uint2 four, int k) {
    return half_to_float((u16)((k < 2 ? four.x : four.y) >> (16 * (k % 2))));
}

DEVICE float step_of(float4 four, int k) {
    return k == 0 ? four.x : k == 1 ? four.y : k == 2 ? four.z : four.w;
}

template <int TILES>
DEVICE void multiply_stretch(float (&sums)[TILES][4], const Stretch &w, const Factors<TILES> &of,
                             u32 stretch) {
    uint2 x[TILES][BLOCKS];
    float4 step[TILES][2];
#pragma unroll
    for (int j = 0; j < TILES; j++) {
#pragma unroll
        for (int k = 0; k < BLOCKS; k++)
            x[j][k] = *(const uint2 *)(of.codes[j] + stretch * STRETCH + 32 * k);
        step[j][0] = ((const float4 *)of.steps[j][0])[stretch];
        step[j][1] = ((const float4 *)of.steps[j][1])[stretch];
    }
#pragma unroll
    for (int k = 0; k < BLOCKS; k++) {
        u32 a[4] = {w.codes[k][0].x, w.codes[k][1].x, w.codes[k][0].y, w.codes[k][1].y};
        float scales[2] = {scale_of(w.scales[0], k), scale_of(w.scales[1], k)};
#pragma unroll
        for (int j = 0; j < TILES; j++) {
            u32 d[4];
            multiply(d, a, x[j][k].x, x[j][k].y);
#pragma unroll
            for (int e = 0; e < 4; e++)
                sums[j][e] += unshifted(d[e]) * (scales[e / 2] * step_of(step[j][e % 2], k));
        }
    }
}
#else
struct Stretch {
    uint4 numbers[BLOCKS][2];
};

// Reads what nobody reads again soon, with its neighbours up to 128 bytes into the second-level cache.
DEVICE uint4 passing(const void *at) {
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(at));
    return v;
}

DEVICE void load(Stretch &to, const Matrix &w, const u32 (&rows)[2], u32 cols, u32 stretch) {
    u32 column = stretch * STRETCH + threadIdx.x % 4 * 8;
#pragma unroll
    for (int h = 0; h < 2; h++)
#pragma unroll
        for (int k = 0; k < BLOCKS; k++)
            to.numbers[k][h] = passing((const u16 *)w.a + (u64)rows[h] * cols + column + 32 * k);
}

// The activations of token g.
template <int TILES>
struct Factors {
    const float *floats[TILES];

    template <typename Line>
    __device__ __forceinline__ void take(const Given &x, u32 cols, Line line_of) {
        u32 g = threadIdx.x % WARP / 4, q = threadIdx.x % 4;
#pragma unroll
        for (int j = 0; j < TILES; j++) floats[j] = x.floats + line_of(8 * j + g) * cols + 8 * q;
    }
};

// Number `i` of eight, as a TF32 number.
DEVICE u32 number_of(uint4 v, int i) {
    u32 two = i < 2 ? v.x : i < 4 ? v.y : i < 6 ? v.z : v.w;
    return __float_as_uint(value_of(i % 2 ? two >> 16 : two & 0xffff));
}

template <int TILES>
DEVICE void multiply_stretch(float (&sums)[TILES][4], const Stretch &w, const Factors<TILES> &of,
                             u32 stretch) {
    float4 x[TILES][BLOCKS][2];
#pragma unroll
    for (int j = 0; j < TILES; j++)
#pragma unroll
        for (int k = 0; k < 2 * BLOCKS; k++)
            x[j][k / 2][k % 2] = *(const float4 *)(of.floats[j] + stretch * STRETCH + k / 2 * 32 + k % 2 * 4);
#pragma unroll
    for (int i = 0; i < 4 * BLOCKS; i++) {
        // Two of a lane's columns at a time, which stand for columns q and q + 4 of the product.
        int k = i / 4, c = i % 4 * 2;
        u32 a[4] = {number_of(w.numbers[k][0], c), number_of(w.numbers[k][1], c),
                    number_of(w.numbers[k][0], c + 1), number_of(w.numbers[k][1], c + 1)};
#pragma unroll
        for (int j = 0; j < TILES; j++) {
            float4 four = x[j][k][c / 4];
            u32 high[2], low[2];
            split(c % 4 ? four.z : four.x, high[0], low[0]);
            split(c % 4 ? four.w : four.y, high[1], low[1]);
            multiply(sums[j], a, low[0], low[1]);
            multiply(sums[j], a, high[0], high[1]);
        }
    }
}
#endif

template <int TILES>
DEVICE void strip(const Matrices &all, const Given &x, u32 cols, u32 groups, u32 tokens, u32 split_bits,
                  u32 onto) {
    __shared__ float parts[WARPS][8 * TILES][PADDED];
    let_next_begin();
    u32 warp = threadIdx.x / WARP, g = threadIdx.x % WARP / 4, q = threadIdx.x % 4;
    u32 split = 1 << split_bits, at_once = WARPS / split * STRIP, block = blockIdx.x;
    const Matrix &w = matrix_of(all, 0, block, at_once);
    // Rows beyond the last repeat it, and so do tokens; nobody stores their results.
    u32 rows = w.rows, first_row = block * at_once + warp / split * STRIP, stretches = cols / STRETCH;
    u32 mine[2] = {min(first_row + g, rows - 1), min(first_row + g + 8, rows - 1)};
    u32 at = warp % split;
    Stretch held[AHEAD_OF_USE];
#pragma unroll
    for (int i = 0; i < AHEAD_OF_USE; i++)
        if (at + i * split < stretches) load(held[i], w, mine, cols, at + i * split);
    wait_for_inputs();

    u32 first = blockIdx.y * 8 * TILES, group = min(first_row, rows - 1) / (rows / groups);
    Factors<TILES> factors;
    factors.take(x, cols, [&](u32 t) { return (u64)min(first + t, tokens - 1) * groups + group; });
    float sums[TILES][4] = {};
    for (; at < stretches; at += AHEAD_OF_USE * split) {
#pragma unroll
        for (int i = 0; i < AHEAD_OF_USE; i++) {
            u32 here = at + i * split, next = here + AHEAD_OF_USE * split;
            if (here >= stretches) break;
            multiply_stretch(sums, held[i], factors, here);
            if (next < stretches) load(held[i], w, mine, cols, next);
        }
    }
#pragma unroll
    for (int j = 0; j < TILES; j++)
#pragma unroll
        for (int e = 0; e < 4; e++) parts[warp][8 * j + 2 * q + e % 2][g + e / 2 * 8] = sums[j][e];
    __syncthreads();
    for (u32 i = threadIdx.x; i < at_once * 8 * TILES; i += THREADS) {
        u32 r = i % at_once, t = i / at_once, row = block * at_once + r;
        if (row >= rows || first + t >= tokens) continue;
        float sum = 0;
        for (u32 part = r / STRIP * split; part < (r / STRIP + 1) * split; part++)
            sum += parts[part][t][r % STRIP];
        float *to = w.out + (u64)(first + t) * rows + row;
        *to = onto ? *to + sum : sum;
    }
}

#define STRIPS(TOKENS)                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS, 2)                                       \
        strip##TOKENS(Matrices all, const i8 *codes, const float *steps, const float2 *halves,     \
                      const float *floats, u32 cols, u32 groups, u32 tokens, u32 split_bits,       \
                      u32 onto) {                                                                  \
        strip<TOKENS / 8>(all, {codes, steps, halves, floats}, cols, groups, tokens, split_bits,   \
                          onto);                                                                   \
    }

STRIPS(8)
STRIPS(16)
