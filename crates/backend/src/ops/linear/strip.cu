// out[t][row] = W[row] . x[t] on tensor cores, for up to 8 TILES tokens and several weights of one FORMAT
// at once: more tokens than gemv.cu multiplies well, and fewer than fill a tile. `onto` adds to what is
// there. Q8_0 is multiplied as in whole.cuh, F16 and BF16 as in tf32.cuh.
//
// A warp takes a strip of 16 rows and, of `split` warps, its share of the stretches of columns. It has
// STAGES places of its own in shared memory, and copies stretches there, weights and activations, while
// it multiplies those that have come; the first weights are on their way before the kernels in front have
// ended. The parts of a strip are summed at the end.
//
// Blocks: strips of all weights (x), 8 TILES tokens (y). Bytes: the weights once per 8 TILES tokens, and
// activations, which the caches hold, once per strip.

#define WARPS (THREADS / WARP)
#define STRIP 16
// Bytes of a row's weights in a stretch, and its columns.
#define LINE 128
#define STRETCH (FORMAT == 8 ? LINE : LINE / 2)
// Rows of a token's parts, padded so that the lanes of a warp store to different banks.
#define PADDED (STRIP + 4)

extern __shared__ __align__(128) u8 pool[];

// In all that follows, g = lane / 4 and q = lane % 4: sums[j] has rows g, g, g + 8, g + 8 of the strip with
// tokens 2 q and 2 q + 1 of tile j.

// The byte at which unit `u` (16 bytes) of row `r` begins, where rows have so many.
DEVICE u32 unit_at(u32 r, u32 u, u32 units) { return swizzled(r, u, units) * 16; }

// Where a warp's stretch is in shared memory: weights, activations, and for Q8_0 the scales of four
// blocks of each row and the steps of four blocks of each token.
template <int TILES>
struct Place {
    static const u32 TOKENS = 8 * TILES, FACTORS = TOKENS * (FORMAT == 8 ? LINE : 2 * LINE);
    static const u32 SCALES = FORMAT == 8 ? STRIP * 8 : 0, STEPS = FORMAT == 8 ? TOKENS * 16 : 0;
    static const u32 BYTES = STRIP * LINE + FACTORS + SCALES + STEPS;
    u8 *weights;

    __device__ __forceinline__ u8 *factors() const { return weights + STRIP * LINE; }
    __device__ __forceinline__ u8 *scales() const { return factors() + FACTORS; }
    __device__ __forceinline__ u8 *steps() const { return scales() + SCALES; }
};

// What a lane copies of every stretch: units of four rows, and the scales of one.
struct Rows {
    const u8 *units[STRIP / 4], *scales;
};

DEVICE Rows rows_of(const Matrix &w, u32 first, u32 cols) {
    // Rows beyond the last repeat it; nobody stores their results.
    u32 lane = threadIdx.x % WARP, last = (u32)w.rows - 1;
    Rows from;
#pragma unroll
    for (int i = 0; i < STRIP / 4; i++) {
        u32 row = min(first + 4 * i + lane / 8, last);
        from.units[i] = w.a + (u64)row * cols / STRETCH * LINE + lane % 8 * 16;
    }
    if (FORMAT == 8) from.scales = w.b + (u64)min(first + lane % STRIP, last) * (cols / 32) * 2;
    return from;
}

template <int TILES>
DEVICE void copy_weights(const Place<TILES> &to, const Rows &from, u32 stretch) {
    u32 lane = threadIdx.x % WARP;
#pragma unroll
    for (int i = 0; i < STRIP / 4; i++)
        copy16(to.weights + unit_at(4 * i + lane / 8, lane % 8, 8), from.units[i] + stretch * LINE, true);
    if (FORMAT == 8 && lane < STRIP) copy8(to.scales() + lane * 8, from.scales + stretch * 8, true);
}

// The activations of a tile's tokens; `line_of` says which row of `x` one has.
template <int TILES, typename Line>
DEVICE void copy_factors(const Place<TILES> &to, const Given &x, u32 cols, Line line_of, u32 stretch) {
    u32 lane = threadIdx.x % WARP;
#if FORMAT == 8
#pragma unroll
    for (int i = 0; i < 2 * TILES; i++) {
        u32 t = 4 * i + lane / 8, u = lane % 8;
        copy16(to.factors() + unit_at(t, u, 8), x.codes + line_of(t) * cols + stretch * STRETCH + u * 16, true);
    }
    if (lane < 8 * TILES)
        copy16(to.steps() + lane * 16, x.steps + (line_of(lane) * (cols / STRETCH) + stretch) * 4, true);
#else
#pragma unroll
    for (int i = 0; i < 4 * TILES; i++) {
        u32 t = 2 * i + lane / 16, u = lane % 16;
        copy16(to.factors() + unit_at(t, u, 16), x.floats + line_of(t) * cols + stretch * STRETCH + u * 4, true);
    }
#endif
}

// Weights of units 2 k and 2 k + 1, as fragments have them.
template <int TILES>
DEVICE void take_weights(u32 (&a)[4], const Place<TILES> &at, u32 k) {
    u32 lane = threadIdx.x % WARP;
    load4(a, shared_address(at.weights + unit_at(lane % 16, 2 * k + lane / 16, 8)));
}

#if FORMAT == 8
// The scale of block `k` of four.
DEVICE float scale_of(uint2 four, int k) {
    return half_to_float((u16)((k < 2 ? four.x : four.y) >> (16 * (k % 2))));
}

DEVICE float step_of(float4 four, int k) {
    return k == 0 ? four.x : k == 1 ? four.y : k == 2 ? four.z : four.w;
}

template <int TILES>
DEVICE void multiply_stretch(float (&sums)[TILES][4], const Place<TILES> &at) {
    u32 lane = threadIdx.x % WARP, g = lane / 4, q = lane % 4;
    // Halves of a block's 32 codes, tile after tile, block after block: four at a time.
    u32 x[2 * TILES][4];
#pragma unroll
    for (int i = 0; i < 2 * TILES; i++) {
        u32 half = i * 4 + lane / 8, j = half / 2 % TILES, k = half / 2 / TILES;
        load4(x[i], shared_address(at.factors() + unit_at(8 * j + lane % 8, 2 * k + half % 2, 8)));
    }
    const uint2 *scales = (const uint2 *)at.scales();
    uint2 four[2] = {scales[g], scales[g + 8]};
    float4 steps[TILES][2];
#pragma unroll
    for (int j = 0; j < TILES; j++)
#pragma unroll
        for (int i = 0; i < 2; i++) steps[j][i] = ((const float4 *)at.steps())[8 * j + 2 * q + i];
#pragma unroll
    for (int k = 0; k < 4; k++) {
        u32 a[4];
        take_weights(a, at, k);
        float scale[2] = {scale_of(four[0], k), scale_of(four[1], k)};
#pragma unroll
        for (int j = 0; j < TILES; j++) {
            int half = 2 * (k * TILES + j);
            u32 d[4];
            multiply(d, a, x[half / 4][half % 4], x[half / 4][half % 4 + 1]);
#pragma unroll
            for (int e = 0; e < 4; e++)
                sums[j][e] += unshifted(d[e]) * (scale[e / 2] * step_of(steps[j][e % 2], k));
        }
    }
}
#else
template <int TILES>
DEVICE void multiply_stretch(float (&sums)[TILES][4], const Place<TILES> &at) {
    u32 g = threadIdx.x % WARP / 4, q = threadIdx.x % 4;
#pragma unroll
    for (int k = 0; k < 4; k++) {
        u32 two[4];
        take_weights(two, at, k);
#pragma unroll
        for (int i = 0; i < 2; i++) {
            // Columns 2 q and 2 q + 1 of a unit's eight stand for q and q + 4 of the product.
            u32 a[4];
#pragma unroll
            for (int e = 0; e < 4; e++) {
                u32 both = two[2 * i + e % 2];
                a[e] = __float_as_uint(value_of(e < 2 ? both & 0xffff : both >> 16));
            }
#pragma unroll
            for (int j = 0; j < TILES; j++) {
                u32 unit = 4 * k + 2 * i + q / 2, high[2], low[2];
                const u8 *from = at.factors() + unit_at(8 * j + g, unit, 16) + q % 2 * 8;
                float2 x = *(const float2 *)from;
                split(x.x, high[0], low[0]);
                split(x.y, high[1], low[1]);
                multiply(sums[j], a, low[0], low[1]);
                multiply(sums[j], a, high[0], high[1]);
            }
        }
    }
}
#endif

template <int TILES>
DEVICE void strip(const Matrices &all, const Given &x, u32 cols, u32 groups, u32 tokens, u32 split_bits,
                  u32 onto) {
    typedef Place<TILES> Here;
    let_next_begin();
    u32 warp = threadIdx.x / WARP, g = threadIdx.x % WARP / 4, q = threadIdx.x % 4;
    u32 split = 1 << split_bits, at_once = WARPS / split * STRIP, block = blockIdx.x;
    const Matrix &w = matrix_of(all, 0, block, at_once);
    u32 rows = w.rows, first_row = block * at_once + warp / split * STRIP, stretches = cols / STRETCH;
    u8 *own = pool + warp * (STAGES * Here::BYTES);
    Rows from = rows_of(w, first_row, cols);
    u32 at = warp % split;
#pragma unroll
    for (int i = 0; i < STAGES - 1; i++)
        if (at + i * split < stretches)
            copy_weights(Here{own + i * Here::BYTES}, from, at + i * split);
    wait_for_inputs();

    u32 first = blockIdx.y * Here::TOKENS, group = min(first_row, rows - 1) / (rows / groups);
    // Tokens beyond the last repeat it.
    auto line_of = [&](u32 t) { return (u64)min(first + t, tokens - 1) * groups + group; };
#pragma unroll
    for (int i = 0; i < STAGES - 1; i++) {
        if (at + i * split < stretches)
            copy_factors(Here{own + i * Here::BYTES}, x, cols, line_of, at + i * split);
        copies_end();
    }
    float sums[TILES][4] = {};
    for (u32 stage = 0; at < stretches; at += split, stage = stage + 1 < STAGES ? stage + 1 : 0) {
        copies_but<STAGES - 2>();
        __syncwarp();
        // The place that was multiplied before is free.
        u32 next = at + (STAGES - 1) * split, free = stage > 0 ? stage - 1 : STAGES - 1;
        if (next < stretches) {
            copy_weights(Here{own + free * Here::BYTES}, from, next);
            copy_factors(Here{own + free * Here::BYTES}, x, cols, line_of, next);
        }
        copies_end();
        multiply_stretch(sums, Here{own + stage * Here::BYTES});
    }
    // Nobody reads this warp's places any more: its sums go there.
    __syncwarp();
    float(*parts)[PADDED] = (float(*)[PADDED])own;
#pragma unroll
    for (int j = 0; j < TILES; j++)
#pragma unroll
        for (int e = 0; e < 4; e++) parts[8 * j + 2 * q + e % 2][g + e / 2 * 8] = sums[j][e];
    __syncthreads();
    for (u32 i = threadIdx.x; i < at_once * Here::TOKENS; i += THREADS) {
        u32 r = i % at_once, t = i / at_once, row = block * at_once + r;
        if (row >= rows || first + t >= tokens) continue;
        float sum = 0;
        for (u32 part = r / STRIP * split; part < (r / STRIP + 1) * split; part++) {
            const u8 *there = pool + part * (STAGES * Here::BYTES);
            sum += ((const float(*)[PADDED])there)[t][r % STRIP];
        }
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
