// y[t] = sum over the experts k of token t of down[k] . inner[t, k]. A warp per value.
//
// Blocks: eight values (x) of one token (y). FORMAT is the matrices'.

#define WARPS 8
// Experts whose rows are on their way at once.
#define AHEAD 6

extern "C" __global__ void __launch_bounds__(WARPS *WARP)
    expert_down(const u8 *a, const u8 *b, const u8 *c, const i8 *codes, const float *steps,
                const float2 *halves, const float *floats, const u32 *picks, float *y, u32 rows,
                u32 cols, u32 used) {
    begin();
    u32 lane = threadIdx.x % WARP, row = blockIdx.x * WARPS + threadIdx.x / WARP, t = blockIdx.y;
    if (row >= rows) return;
    picks += (u64)t * used;
    Token first = token_at({codes, steps, halves, floats}, (u64)t * used, cols);
    float sum = 0;
    for (u32 k = 0; k < used; k += AHEAD) {
        for (u32 at = lane; at < cols / CHUNK; at += WARP) {
            Chunk loaded[AHEAD];
#pragma unroll
            for (int i = 0; i < AHEAD; i++)
                if (k + i < used) load(loaded[i], {a, b, c}, (u64)picks[k + i] * rows + row, cols, at);
#pragma unroll
            for (int i = 0; i < AHEAD; i++)
                if (k + i < used) sum += dot(loaded[i], token_at(first, k + i, cols), at);
        }
    }
    sum = warp_sum(sum);
    if (lane == 0) y[(u64)t * rows + row] = sum;
}
