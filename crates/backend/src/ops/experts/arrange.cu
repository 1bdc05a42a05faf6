// Pairs of tokens and experts, put in order by expert and then by pair, and the sum over a token's
// pairs once they are computed. Nothing depends on the order in which threads run.
//
// Blocks of `count_pairs` and `place_pairs`: one for each expert; all of them look through all picks,
// which the caches hold.

#define THREADS 1024

extern "C" __global__ void __launch_bounds__(THREADS)
    count_pairs(const u32 *picks, u32 *counts, u32 pairs) {
    begin();
    __shared__ u32 total;
    if (threadIdx.x == 0) total = 0;
    __syncthreads();
    u32 mine = 0;
    for (u32 i = threadIdx.x; i < pairs; i += THREADS) mine += picks[i] == blockIdx.x;
    if (mine) atomicAdd(&total, mine);
    __syncthreads();
    if (threadIdx.x == 0) counts[blockIdx.x] = total;
}

// order [pairs]; tiles [tiles], those beyond the last with a count of zero.
extern "C" __global__ void __launch_bounds__(THREADS)
    place_pairs(const u32 *picks, const u32 *counts, u32 *order, Tile *tiles, u32 experts, u32 pairs,
                u32 tile, u32 all_tiles) {
    begin();
    __shared__ u32 before, tiles_before, found[2][THREADS / WARP];
    u32 e = blockIdx.x, warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (threadIdx.x == 0) before = tiles_before = 0;
    __syncthreads();
    for (u32 i = threadIdx.x; i < e; i += THREADS) {
        atomicAdd(&before, counts[i]);
        atomicAdd(&tiles_before, (counts[i] + tile - 1) / tile);
    }
    __syncthreads();
    u32 count = counts[e], own = (count + tile - 1) / tile;
    for (u32 i = threadIdx.x; i < own; i += THREADS)
        tiles[tiles_before + i] = {e, before + i * tile, min(tile, count - i * tile), 0};
    if (e == experts - 1)
        for (u32 i = tiles_before + own + threadIdx.x; i < all_tiles; i += THREADS)
            tiles[i] = {0, 0, 0, 0};
    u32 at = before;
    for (u32 first = 0, half = 0; first < pairs; first += THREADS, half ^= 1) {
        u32 pair = first + threadIdx.x;
        bool mine = pair < pairs && picks[pair] == e;
        u32 voted = __ballot_sync(0xffffffff, mine);
        if (lane == 0) found[half][warp] = __popc(voted);
        __syncthreads();
        // Every lane takes a warp's number; sums over lanes are cheaper than a loop.
        u32 number = found[half][lane];
        u32 earlier = __reduce_add_sync(0xffffffff, lane < warp ? number : 0);
        u32 all = __reduce_add_sync(0xffffffff, number);
        if (mine) order[at + earlier + __popc(voted & ((1u << lane) - 1))] = pair;
        at += all;
    }
}

// y[t] = sum over k of parts[t * used + k], by four columns.
extern "C" __global__ void sum_pairs(const float4 *parts, float4 *y, u32 fours, u32 used, u32 all) {
    begin();
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= all) return;
    const float4 *from = parts + (u64)(i / fours) * used * fours + i % fours;
    float4 sum = from[0];
    for (u32 k = 1; k < used; k++) {
        float4 v = from[(u64)k * fours];
        sum = make_float4(sum.x + v.x, sum.y + v.y, sum.z + v.z, sum.w + v.w);
    }
    y[i] = sum;
}
