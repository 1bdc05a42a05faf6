// Scores of the indexer on tensor cores, for packed rows; see mod.rs. Queries are rounded as rows are,
// so both are exact in BF16 and their products are sums of exact terms.
//
// A block takes TOKENS tokens; each of its warps takes 32 rows after the other. A warp decodes its rows
// straight from memory into the registers that tensor cores read: no row is in shared memory, and no
// barrier is in the loop. Thread `g` of four has the codes of group `g` of a row, one scale and 16
// bytes; which channels meet in one step does not matter as long as queries are in the same order:
//
//   channel 32 g + 8 j + 4 h + i    (g, j, i < 4, h < 2)    is value    32 j + 8 i + 2 g + h

#define TOKENS 4
#define THREADS 128
#define WARPS (THREADS / WARP)
#define ROWS 32
#define STEPS (WIDTH / 16)
#define CHUNKS (WIDTH / CHUNK)
// Heads at once.
#define HEADS 32

#if WIDTH != 128
#error "a row has four groups, one for each thread of four"
#endif

// A token of the block. `visible` is 0 if it is not scored; `limit` rows may be read for it and for
// the other tokens of its segment.
struct Token {
    u32 owner, visible, limit;
};

// 32 rows: two tiles of 16, by step.
typedef u32 Rows[2][STEPS][4];

// Codes i and i + 4 of eight, as BF16.
DEVICE u32 e2m1_pair(u32 codes, u32 i, u32 scale) {
    codes >>= 4 * i;
    // The exponent moved to its new place is 126 too small.
    u32 bits = (codes & 0x00070007) << 6 | (codes & 0x00080008) << 12;
    return pair_product(pair_product(bits, 0x7e807e80), scale);
}

DEVICE void load_rows(Rows &rows, const u8 *pages, u64 page_bytes, u64 offset, const u32 *table,
                      u32 per_page, u32 first, u32 limit) {
    u32 lane = threadIdx.x % WARP;
#pragma unroll
    for (u32 m = 0; m < 4; m++) {
        u32 row = first + 8 * m + lane / 4, exponent = 127;
        uint4 codes = {};
        if (row < limit) {
            const u8 *page = pages + table[row / per_page] * page_bytes + offset;
            RowPlace place = row_place(page, per_page, row % per_page);
            codes = ((const uint4 *)place.first)[lane % 4];
            exponent = place.second[lane % 4];
        }
        u32 words[4] = {codes.x, codes.y, codes.z, codes.w}, scale = scale_pair(exponent);
#pragma unroll
        for (u32 u = 0; u < 2 * STEPS; u++)
            rows[m / 2][u / 2][u % 2 * 2 + m % 2] = e2m1_pair(words[u / 4], u % 4, scale);
    }
}

// Queries of the block's tokens in the order of values, [TOKENS, padded, WIDTH] BF16, swizzled; beside
// them weights [TOKENS, padded]. Both are zero from `heads` on.
DEVICE void place_queries(u32 *words, float *to_weights, const float *q, const float *weights,
                          u32 tokens, u32 heads, u32 padded, float scale) {
#pragma unroll 4
    for (u32 i = threadIdx.x; i < tokens * padded * CHUNKS; i += THREADS) {
        u32 eight = i % CHUNKS, at = i / CHUNKS, head = at % padded;
        float4 v = {}, w = {};
        if (head < heads) {
            const float4 *from = (const float4 *)(q + ((u64)(at / padded) * heads + head) * WIDTH);
            v = from[2 * eight];
            w = from[2 * eight + 1];
        }
        u32 pairs[4] = {pair_of(v.x, w.x), pair_of(v.y, w.y), pair_of(v.z, w.z), pair_of(v.w, w.w)};
#pragma unroll
        for (u32 k = 0; k < 4; k++)
            words[swizzled(at, eight % 4 * 4 + k, CHUNKS) * 4 + eight / 4] = pairs[k];
    }
    for (u32 i = threadIdx.x; i < tokens * padded; i += THREADS) {
        u32 head = i % padded;
        to_weights[i] = head < heads ? weights[i / padded * heads + head] * scale : 0.0f;
    }
}

// NaN stays NaN.
DEVICE float relu(float x) { return x < 0 ? 0 : x; }

// The score of row `lane` of 32, for the queries [padded, WIDTH] at `queries`.
DEVICE float score_of(const Rows &rows, u32 queries, const float *weights, u32 padded) {
    u32 lane = threadIdx.x % WARP;
    float sums[4] = {};
    for (u32 first = 0; first < padded; first += HEADS) {
        float d[2][HEADS / 8][4] = {};
        u32 head = first + lane / 16 * 8 + lane % 8;
#pragma unroll
        for (u32 k = 0; k < STEPS; k++)
#pragma unroll
            for (u32 n = 0; n < HEADS / 16; n++) {
                u32 b[4];
                load4(b, queries + swizzled(head + 16 * n, 2 * k + lane / 8 % 2, CHUNKS) * 16);
#pragma unroll
                for (u32 m = 0; m < 2; m++) {
                    multiply(d[m][2 * n], rows[m][k], b[0], b[1]);
                    multiply(d[m][2 * n + 1], rows[m][k], b[2], b[3]);
                }
            }
#pragma unroll
        for (u32 n = 0; n < HEADS / 8; n++) {
            float2 weight = *(const float2 *)(weights + first + 8 * n + lane % 4 * 2);
#pragma unroll
            for (u32 m = 0; m < 4; m++) {
                sums[m] = fmaf(weight.x, relu(d[m / 2][n][m % 2 * 2]), sums[m]);
                sums[m] = fmaf(weight.y, relu(d[m / 2][n][m % 2 * 2 + 1]), sums[m]);
            }
        }
    }
#pragma unroll
    for (u32 m = 0; m < 4; m++) {
        sums[m] += __shfl_xor_sync(0xffffffff, sums[m], 1);
        sums[m] += __shfl_xor_sync(0xffffffff, sums[m], 2);
    }
    // Thread g of four has rows 8 m + lane / 4, for every m; row `lane` is wanted.
    float score = 0;
#pragma unroll
    for (u32 m = 0; m < 4; m++) {
        float other = __shfl_sync(0xffffffff, sums[m], lane % 8 * 4);
        if (lane / 8 == m) score = other;
    }
    return score;
}

// Blocks: stretches of rows (x), tokens (y). q [T, heads * WIDTH], weights [T, heads] -> scores
// [count, stride], for `count` tokens from `first` on.
extern "C" __global__ void __launch_bounds__(THREADS, 3)
    score_tile(const float *q, const float *weights, const u32 *positions, const u32 *owners,
               const u32 *page_table, u32 table_width, const u8 *pages, u64 page_bytes, u64 offset,
               u32 ratio, u32 heads, u32 top_k, float scale, float *scores, u32 stride, u32 first,
               u32 count) {
    begin();
    extern __shared__ __align__(128) u8 bytes[];
    __shared__ Token tokens[TOKENS];
    u32 offset_tokens = blockIdx.y * TOKENS, here = min(TOKENS, count - offset_tokens);
    first += offset_tokens;
    scores += (u64)offset_tokens * stride;
    if (threadIdx.x < here) {
        u32 t = first + threadIdx.x, visible = (positions[t] + 1) / ratio;
        tokens[threadIdx.x] = {owners[t], visible > top_k ? visible : 0, 0};
    }
    __syncthreads();
    u32 most = 0;
    for (u32 i = 0; i < here; i++) {
        most = max(most, tokens[i].visible);
        if (threadIdx.x < here && tokens[i].owner == tokens[threadIdx.x].owner)
            tokens[threadIdx.x].limit = max(tokens[threadIdx.x].limit, tokens[i].visible);
    }
    if (blockIdx.x * WARPS * ROWS >= most) return;
    u32 padded = (heads + HEADS - 1) / HEADS * HEADS, warp = threadIdx.x / WARP;
    float *own_weights = (float *)(bytes + TOKENS * padded * WIDTH * 2);
    place_queries((u32 *)bytes, own_weights, q + (u64)first * heads * WIDTH,
                  weights + (u64)first * heads, here, heads, padded, scale);
    __syncthreads();
    u32 queries = shared_address(bytes);
    for (u32 row = (blockIdx.x * WARPS + warp) * ROWS; row < most; row += gridDim.x * WARPS * ROWS) {
        Rows rows;
        u32 loaded = 0xffffffff;
        for (u32 i = 0; i < here; i++) {
            Token token = tokens[i];
            if (row >= token.visible) continue;
            if (token.owner != loaded) {
                const u32 *table = page_table + (u64)token.owner * table_width;
                load_rows(rows, pages, page_bytes, offset, table, 128 / ratio, row, token.limit);
                loaded = token.owner;
            }
            u32 at = i * padded;
            float score = score_of(rows, queries + at * WIDTH * 2, own_weights + at, padded);
            u32 own = row + threadIdx.x % WARP;
            if (own < token.visible) scores[(u64)i * stride + own] = score;
        }
    }
}
