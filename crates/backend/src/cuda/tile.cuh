// Products of a tile of weight rows with a tile of tokens, on tensor cores. A unit that includes this
// comes after weights.cuh, shared.cuh and whole.cuh, and is compiled for one quantized FORMAT.
//
// A block of 256 threads takes 128 weight rows and TOKENS tokens, through the columns in stages of 128.
// Every stage has its weights decoded to whole numbers of 8 bits in shared memory, once for all tokens,
// beside the tokens' rounded activations. Blocks of 32 columns are summed exactly by
// mma.m16n8k32 and accumulated as floats with their scales: the arithmetic of `dot`, see panel.rs.
//
// Memory is hidden twice: weights of the next stage wait in registers while this one is multiplied,
// and activations are copied asynchronously into the other half of shared memory. So one barrier per
// stage is enough.

#define TILE_ROWS 128
#define TILE_THREADS 256
#define STAGE 128
// Rows are padded so that eight of them, 16 bytes of each, are in different banks.
#define STRIDE (STAGE + 16)
#define BLOCKS (STAGE / 32)
// Chunks of a row, rows between those of one thread, and how many it has.
#define ACROSS (STAGE / CHUNK)
#define ROWS_APART (TILE_THREADS / ACROSS)
#define HELD (TILE_ROWS / ROWS_APART)
#define HAS_MINIMA (FORMAT == 10 || FORMAT == 12)

// What a stage has in shared memory.
template <int TOKENS>
struct Stage {
    i8 *weights;     // [TILE_ROWS][STRIDE]
    i8 *codes;       // [TOKENS][STRIDE]
    float *scales;   // [BLOCKS][TILE_ROWS]
    float *steps;    // [BLOCKS][TOKENS]
    float *minima;   // [2 BLOCKS][TILE_ROWS], negative
    float2 *halves;  // [BLOCKS][TOKENS]

    static const u32 BYTES = (TILE_ROWS + TOKENS) * (STRIDE + BLOCKS * 4)
                           + HAS_MINIMA * (TILE_ROWS + TOKENS) * BLOCKS * 8;

    __device__ __forceinline__ Stage(u8 *pool, u32 which) {
        weights = (i8 *)pool + which * BYTES;
        codes = weights + TILE_ROWS * STRIDE;
        scales = (float *)(codes + TOKENS * STRIDE);
        steps = scales + BLOCKS * TILE_ROWS;
        minima = steps + BLOCKS * TOKENS;
        halves = (float2 *)(minima + 2 * BLOCKS * TILE_ROWS);
    }
};

// `expand` writes chunk `c` of a row's stage, the block's `in_block`: codes, scales of blocks of 32
// columns, minima. `scales` and `minima` are the row's, TILE_ROWS apart. Zeros if it is not `there`.
#if FORMAT == 8
DEVICE void expand(const Chunk &k, u32 c, u32, bool there, i8 *row, float *scales, float *,
                   const uint2 *) {
    *(int4 *)(row + c * 16) = k.w;
    if (c % 2 == 0) scales[c / 2 * TILE_ROWS] = there ? half_to_float(k.scale) : 0.0f;
}
#elif FORMAT == 10
DEVICE void expand(const Chunk &k, u32 c, u32, bool there, i8 *row, float *scales, float *minima,
                   const uint2 *) {
    float d = half_to_float((u16)k.d), dmin = half_to_float((u16)(k.d >> 16));
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int scale = k.scales >> (8 * i) & 15;
        // At most 45 in every byte: no carries.
        int4 v = field16(k.w, 2 * i, 0x03030303);
        *(int4 *)(row + 32 * i + 16 * c) =
            make_int4(v.x * scale, v.y * scale, v.z * scale, v.w * scale);
        if (c == 0) scales[i * TILE_ROWS] = there ? d : 0.0f;
        float minimum = dmin * (float)(k.scales >> (8 * i + 4) & 15);
        minima[(2 * i + c) * TILE_ROWS] = there ? -minimum : 0.0f;
    }
}
#elif FORMAT == 12
DEVICE void expand(const Chunk &k, u32 c, u32 in_block, bool there, i8 *row, float *scales,
                   float *minima, const uint2 *) {
    u32 words[3] = {k.head.y, k.head.z, k.head.w};
    float d = half_to_float((u16)k.head.x), dmin = half_to_float((u16)(k.head.x >> 16));
#pragma unroll
    for (int i = 0; i < 2; i++) {
        *(int4 *)(row + c / 2 * 64 + 32 * i + c % 2 * 16) = field16(k.w, 4 * i, 0x0f0f0f0f);
        if (c % 2 == 0) {
            u32 scale, minimum;
            scale_of(words, in_block / 2 * 2 + i, scale, minimum);
            scales[(c / 2 * 2 + i) * TILE_ROWS] = there ? d * (float)scale : 0.0f;
            minima[(c / 2 * 2 + i) * TILE_ROWS] = there ? -dmin * (float)minimum : 0.0f;
        }
    }
}
#elif FORMAT == 16
DEVICE void expand(const Chunk &k, u32 c, u32, bool there, i8 *row, float *scales, float *,
                   const uint2 *selectors) {
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
        u32 a = selectors[k.w.x >> (8 * i) & 0xff].x | selectors[k.w.y >> (8 * i) & 0xff].y;
        u32 b = selectors[k.w.x >> (8 * i + 8) & 0xff].x | selectors[k.w.y >> (8 * i + 8) & 0xff].y;
        *(int4 *)(row + c * 32 + 8 * i) = make_int4(four_values(a), four_values(a >> 16),
                                                    four_values(b), four_values(b >> 16));
    }
    scales[c * TILE_ROWS] = there ? lattice_scale(k) : 0.0f;
}
#elif FORMAT == 39
DEVICE void expand(const Chunk &k, u32 c, u32, bool there, i8 *row, float *scales, float *,
                   const uint2 *) {
    int4 l, h;
    twice(k.w.x, l.x, h.x);
    twice(k.w.y, l.y, h.y);
    twice(k.w.z, l.z, h.z);
    twice(k.w.w, l.w, h.w);
    *(int4 *)(row + c * 32) = l;
    *(int4 *)(row + c * 32 + 16) = h;
    scales[c * TILE_ROWS] = there ? half_factor(k.exponent) : 0.0f;
}
#endif

// What one thread decodes of a stage: chunk threadIdx.x % ACROSS of HELD rows, so that neighbours read
// what lies side by side. Rows ROWS_APART in the tile are `step` apart in the weight; those beyond the
// last repeat it, and nobody stores their results.
struct Part {
    Planes planes;
    u64 base;
    u32 row, step, rows, cols;
    Chunk held[HELD];

    __device__ __forceinline__ void fetch(u32 stage) {
        u32 c = stage * ACROSS + threadIdx.x % ACROSS;
        if (c >= cols / CHUNK) c = 0;
#pragma unroll
        for (int i = 0; i < HELD; i++)
            load(held[i], planes, base + min(row + i * step, rows - 1), cols, c);
    }

    template <int TOKENS>
    __device__ __forceinline__ void put(const Stage<TOKENS> &to, u32 stage, const uint2 *selectors) const {
        u32 c = threadIdx.x % ACROSS, whole = stage * ACROSS + c, at = threadIdx.x / ACROSS;
#pragma unroll
        for (int i = 0; i < HELD; i++, at += ROWS_APART)
            expand(held[i], c, whole % 8, whole < cols / CHUNK, to.weights + at * STRIDE,
                   to.scales + at, to.minima + at, selectors);
    }
};

// A part of 128 rows from `first` on of a matrix that begins at row `base`.
DEVICE Part part_of(Planes planes, u64 base, u32 first, u32 rows, u32 cols) {
    return {planes, base, first + threadIdx.x / ACROSS, ROWS_APART, rows, cols};
}

// The same for 64 rows of two matrices, sixteen of one beside sixteen of the other.
DEVICE Part part_of(Planes one, Planes other, u64 base, u32 first, u32 rows, u32 cols) {
    u32 at = threadIdx.x / ACROSS;
    Planes planes = at / 16 % 2 ? other : one;
    return {planes, base, first + at / 32 * 16 + at % 16, ROWS_APART / 2, rows, cols};
}

// Begins to copy a stage's activations of `count` tokens, whose rows of `x` are `lines`.
template <int TOKENS>
DEVICE void fetch_tokens(const Stage<TOKENS> &to, const Token &x, const u32 *lines, u32 count,
                         u32 cols, u32 stage) {
    for (u32 i = threadIdx.x; i < TOKENS * (STAGE / 16); i += TILE_THREADS) {
        u32 t = i / (STAGE / 16), piece = i % (STAGE / 16) * 16, column = stage * STAGE + piece;
        bool there = t < count && column < cols;
        copy16(to.codes + t * STRIDE + piece, x.codes + (there ? (u64)lines[t] * cols + column : 0),
               there);
    }
    for (u32 i = threadIdx.x; i < TOKENS * BLOCKS; i += TILE_THREADS) {
        u32 t = i / BLOCKS, k = i % BLOCKS, block = stage * BLOCKS + k;
        bool there = t < count && block < cols / 32;
        u64 at = there ? (u64)lines[t] * (cols / 32) + block : 0;
        copy4(to.steps + k * TOKENS + t, x.steps + at, there);
        if (HAS_MINIMA) copy8(to.halves + k * TOKENS + t, x.halves + at, there);
    }
}

// A warp's sums: 32 rows, as two times sixteen, and PAIRS times two times eight tokens. Where a sum
// belongs is said by `row_of` and `token_of`.
template <int PAIRS>
struct Sums {
    float of[2][PAIRS][2][4];
};

// Row in the tile of sum `e` of rows `m`; warps 0 to 3, and 4 to 7, share the rows.
DEVICE u32 row_of(u32 m, u32 e) {
    return threadIdx.x / WARP % 4 * 32 + m * 16 + threadIdx.x % WARP / 4 + e / 2 * 8;
}
// The first token of pair `j`: pairs go to the two halves of the warps in turn, so that both have
// work when tokens are few.
DEVICE u32 pair_of(u32 j) { return (2 * j + threadIdx.x / WARP / 4) * 16; }
DEVICE u32 token_of(u32 j, u32 n, u32 e) { return pair_of(j) + n * 8 + threadIdx.x % 4 * 2 + e % 2; }

// FULL: the tile has all its tokens, so that nothing stands between one product and the next. The four
// products of a pair are begun before the first is used: each takes longer than it takes to begin one.
template <int PAIRS, bool FULL>
DEVICE void multiply_stage(Sums<PAIRS> &sums, const Stage<PAIRS * 32> &s, u32 count) {
    const u32 tokens = PAIRS * 32;
    u32 lane = threadIdx.x % WARP, row = row_of(0, 0), token = token_of(0, 0, 0);
    const i8 *weights = s.weights + (row - lane / 4 + lane % 16) * STRIDE + lane / 16 * 16;
    const i8 *codes = s.codes + (pair_of(0) + lane / 16 * 8 + lane % 8) * STRIDE + lane / 8 % 2 * 16;
    const float *steps = s.steps + token;
#pragma unroll
    for (u32 k = 0; k < BLOCKS; k++) {
        u32 a[2][4];
        float scales[2][2];
#pragma unroll
        for (int m = 0; m < 2; m++) {
            load4(a[m], shared_address(weights + m * 16 * STRIDE + k * 32));
            scales[m][0] = s.scales[k * TILE_ROWS + row + m * 16];
            scales[m][1] = s.scales[k * TILE_ROWS + row + m * 16 + 8];
        }
#pragma unroll
        for (int j = 0; j < PAIRS; j++) {
            if (!FULL && pair_of(j) >= count) break;
            u32 b[4], d[2][2][4];
            load4(b, shared_address(codes + j * 32 * STRIDE + k * 32));
#pragma unroll
            for (int i = 0; i < 4; i++) multiply(d[i / 2][i % 2], a[i % 2], b[i / 2 * 2], b[i / 2 * 2 + 1]);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int n = i / 2, m = i % 2;
                float2 step = *(const float2 *)(steps + k * tokens + j * 32 + n * 8);
                float *to = sums.of[m][j][n];
#pragma unroll
                for (int e = 0; e < 4; e++)
                    to[e] += unshifted(d[n][m][e]) * (scales[m][e / 2] * (e % 2 ? step.y : step.x));
            }
#if HAS_MINIMA
#pragma unroll
            for (int i = 0; i < 8; i++) {
                int n = i / 4, m = i / 2 % 2, h = i % 2;
                float4 halves = *(const float4 *)(s.halves + k * tokens + token + j * 32 + n * 8);
                float *to = sums.of[m][j][n] + 2 * h;
                const float *minima = s.minima + row + m * 16 + h * 8;
#if FORMAT == 10
                float first = minima[2 * k * TILE_ROWS], other = minima[(2 * k + 1) * TILE_ROWS];
                to[0] += first * halves.x;
                to[0] += other * halves.y;
                to[1] += first * halves.z;
                to[1] += other * halves.w;
#else
                float minimum = minima[k * TILE_ROWS];
                to[0] += minimum * (halves.x + halves.y);
                to[1] += minimum * (halves.z + halves.w);
#endif
            }
#endif
        }
    }
}

// All stages. `part` is what this thread decodes; `lines` are in shared memory.
template <int PAIRS>
DEVICE void multiply_tile(Sums<PAIRS> &sums, Part &part, const Token &x, const u32 *lines, u32 count,
                          u8 *pool) {
    typedef Stage<PAIRS * 32> Here;
    uint2 *selectors = (uint2 *)(pool + 2 * Here::BYTES);
#if FORMAT == 16
    selectors[threadIdx.x] = make_uint2(LEVELS[threadIdx.x], sign_selectors(threadIdx.x));
#endif
    sums = {};
    // The selectors and the lines are there.
    __syncthreads();
    u32 cols = part.cols, stages = (cols + STAGE - 1) / STAGE;
    part.fetch(0);
    fetch_tokens(Here(pool, 0), x, lines, count, cols, 0);
    for (u32 stage = 0; stage < stages; stage++) {
        Here here(pool, stage % 2);
        part.put(here, stage, selectors);
        copies_done();
        __syncthreads();
        if (stage + 1 < stages) {
            part.fetch(stage + 1);
            fetch_tokens(Here(pool, (stage + 1) % 2), x, lines, count, cols, stage + 1);
        }
        if (count == PAIRS * 32)
            multiply_stage<PAIRS, true>(sums, here, count);
        else
            multiply_stage<PAIRS, false>(sums, here, count);
    }
}

// out[first + t][first_row + row] = the sums of a tile of `count` tokens; or out[order[first + t]].
template <int PAIRS>
DEVICE void store_sums(const Sums<PAIRS> &sums, float *out, const u32 *order, u32 first, u32 count,
                       u32 first_row, u32 rows) {
#pragma unroll
    for (u32 i = 0; i < 2 * PAIRS * 2 * 4; i++) {
        u32 m = i % 2, j = i / 2 % PAIRS, n = i / 2 / PAIRS % 2, e = i / 4 / PAIRS;
        u32 t = token_of(j, n, e), row = first_row + row_of(m, e);
        if (t >= count || row >= rows) continue;
        u64 line = order ? order[first + t] : first + t;
        out[line * rows + row] = sums.of[m][j][n][e];
    }
}
