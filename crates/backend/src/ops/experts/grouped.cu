// Products of experts with many tokens: pairs of one expert are computed together; see tile.cuh, and
// arrange.cu for the order of pairs and the tiles. FORMAT is that of the matrices.
//
// Blocks: rows (x), tiles of pairs (y), so that the tiles of one expert find its weights in the caches.

#define PAIRS 2

extern __shared__ __align__(16) u8 pool[];

// Values of a line of inner rows in shared memory, padded.
#define LINE (TILE_ROWS / 2 + 4)

// Row i of `to` = the inner row of pair order[i], rounded. A tile has 64 rows of both matrices: every
// warp sixteen of each, so that a thread holds both values of an activation.
extern "C" __global__ void __launch_bounds__(TILE_THREADS, 2)
    grouped_inner(const u8 *ga, const u8 *gb, const u8 *gc, const u8 *ua, const u8 *ub, const u8 *uc,
                  const i8 *codes, const float *steps, const float2 *halves, const float *shares,
                  const u32 *order, const Tile *tiles, i8 *to_codes, float *to_steps,
                  float2 *to_halves, u32 inner, u32 cols, u32 used, float clamp) {
    begin();
    __shared__ u32 lines[PAIRS * 32];
    Tile tile = tiles[blockIdx.y];
    if (tile.count == 0) return;
    order += tile.first;
    if (threadIdx.x < tile.count) lines[threadIdx.x] = order[threadIdx.x] / used;
    u32 first_row = blockIdx.x * (TILE_ROWS / 2);
    u64 base = (u64)tile.expert * inner;
    Part part = part_of({ga, gb, gc}, {ua, ub, uc}, base, first_row, inner, cols);
    Sums<PAIRS> sums;
    multiply_tile(sums, part, {codes, steps, halves, 0}, lines, tile.count, pool);
    // Nobody needs the stages any more: values go there, since 32 of one row are rounded together.
    __syncthreads();
    float *values = (float *)pool;
#pragma unroll
    for (u32 i = 0; i < PAIRS * 2 * 4; i++) {
        u32 j = i % PAIRS, n = i / PAIRS % 2, e = i / PAIRS / 2;
        u32 t = token_of(j, n, e), in_tile = row_of(0, e);
        if (t >= tile.count) continue;
        float value = activate(sums.of[0][j][n][e], sums.of[1][j][n][e], clamp);
        values[t * LINE + in_tile / 32 * 16 + in_tile % 32] = shares[order[t]] * value;
    }
    __syncthreads();
    for (u32 i = threadIdx.x; i < tile.count * (TILE_ROWS / 8); i += TILE_THREADS) {
        u32 t = i / (TILE_ROWS / 8), at = i % (TILE_ROWS / 8) * 4;
        if (first_row + at >= inner) continue;
        float4 v = *(const float4 *)(values + t * LINE + at);
        u64 four = ((u64)(tile.first + t) * inner + first_row + at) / 4;
        round_four(v, four, {to_codes, to_steps, to_halves});
    }
}

// out[order[i]] = down . x[i].
extern "C" __global__ void __launch_bounds__(TILE_THREADS, 2)
    grouped_down(const u8 *a, const u8 *b, const u8 *c, const i8 *codes, const float *steps,
                 const float2 *halves, const u32 *order, const Tile *tiles, float *out, u32 rows,
                 u32 cols) {
    begin();
    __shared__ u32 lines[PAIRS * 32];
    Tile tile = tiles[blockIdx.y];
    if (tile.count == 0) return;
    if (threadIdx.x < tile.count) lines[threadIdx.x] = tile.first + threadIdx.x;
    u32 first_row = blockIdx.x * TILE_ROWS;
    Part part = part_of({a, b, c}, (u64)tile.expert * rows, first_row, rows, cols);
    Sums<PAIRS> sums;
    multiply_tile(sums, part, {codes, steps, halves, 0}, lines, tile.count, pool);
    store_sums(sums, out, order, tile.first, tile.count, first_row, rows);
}
