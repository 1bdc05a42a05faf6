// y[t] = sum over the experts k of token t of down[k] . inner[t, k]. A warp per value.
//
// Blocks: eight values (x) of one token (y). FORMAT is the matrices'.

#define WARPS 8

extern "C" __global__ void __launch_bounds__(WARPS *WARP)
    expert_down(const u8 *a, const u8 *b, const u8 *c, const i8 *codes, const float *steps,
                const float2 *halves, const float *floats, const u32 *picks, float *y, u32 rows,
                u32 cols, u32 used) {
    begin();
    u32 lane = threadIdx.x % WARP, row = blockIdx.x * WARPS + threadIdx.x / WARP, t = blockIdx.y;
    if (row >= rows) return;
    float sum = 0;
    u32 chunks = cols / CHUNK;
    // All experts' chunks in one sequence, so that loads do not wait for the end of an expert.
#pragma unroll 4
    for (u32 i = lane; i < used * chunks; i += WARP) {
        u32 k = i / chunks, at = i % chunks;
        u64 pair = (u64)t * used + k;
        Token x = token_at({codes, steps, halves, floats}, pair, cols);
        Chunk chunk;
        load(chunk, {a, b, c}, (u64)picks[pair] * rows + row, cols, at);
        sum += dot(chunk, x, at);
    }
    sum = warp_sum(sum);
    if (lane == 0) y[(u64)t * rows + row] = sum;
}
