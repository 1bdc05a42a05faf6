// The inner rows of chosen experts: share * silu(min(gate, clamp)) * clamp(up, clamp).
//
// A warp computes one value of one (token, expert) pair from two rows of the expert's matrices.
// Blocks: eight values (x) of one pair (y). FORMAT is that of both matrices.

#define WARPS 8
#define AHEAD 2

extern "C" __global__ void __launch_bounds__(WARPS *WARP)
    expert_inner(const u8 *ga, const u8 *gb, const u8 *gc, const u8 *ua, const u8 *ub, const u8 *uc,
                 const i8 *codes, const float *steps, const float2 *halves, const float *floats,
                 const u32 *picks, const float *shares, float *out, u32 inner, u32 cols, u32 used,
                 float clamp) {
    begin();
    u32 lane = threadIdx.x % WARP, i = blockIdx.x * WARPS + threadIdx.x / WARP, pair = blockIdx.y;
    if (i >= inner) return;
    u64 row = (u64)picks[pair] * inner + i;
    Token x = token_at({codes, steps, halves, floats}, pair / used, cols);
    float gate = 0, up = 0;
    u32 chunks = cols / CHUNK;
    for (u32 c = lane; c < chunks; c += AHEAD * WARP) {
        Chunk g[AHEAD], u[AHEAD];
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            u32 there = c + k * WARP < chunks ? c + k * WARP : c;
            load(g[k], {ga, gb, gc}, row, cols, there);
            load(u[k], {ua, ub, uc}, row, cols, there);
        }
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            if (c + k * WARP >= chunks) break;
            gate += dot(g[k], x, c + k * WARP);
            up += dot(u[k], x, c + k * WARP);
        }
    }
    gate = warp_sum(gate);
    up = warp_sum(up);
    if (lane == 0) out[(u64)pair * inner + i] = shares[pair] * activate(gate, up, clamp);
}
