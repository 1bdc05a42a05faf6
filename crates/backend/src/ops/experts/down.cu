// y[t] = sum over the experts k of token t of down[k] . inner[t, k], for few tokens. A warp per value.
//
// Blocks: some (x) for each token (y); warps take rows in turn. Quantized formats multiply with inner
// rows rounded to 8 bits: every block rounds its token's into shared memory, which is less than
// reading them rounded would cost. FORMAT is the matrices'.

#define THREADS 512
// Experts whose rows are on their way at once.
#define AHEAD 6
#define FLOATS (FORMAT == 0 || FORMAT == 1 || FORMAT == 30)

extern __shared__ __align__(16) u8 pool[];

// `count` values at `x`, rounded into shared memory if the format wants that.
DEVICE Token staged(const float *x, u32 count) {
#if FLOATS
    return {0, 0, 0, x};
#else
    Rounded to = {(i8 *)pool, (float *)(pool + count + count / 4), (float2 *)(pool + count)};
    for (u32 i = threadIdx.x; i < count / 4; i += THREADS) round_four(((const float4 *)x)[i], i, to);
    __syncthreads();
    return {to.codes, to.steps, to.halves, 0};
#endif
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
    expert_down(const u8 *a, const u8 *b, const u8 *c, const float *inner, const u32 *picks, float *y,
                u32 rows, u32 cols, u32 used) {
    begin();
    u32 lane = threadIdx.x % WARP, t = blockIdx.y, step = gridDim.x * (THREADS / WARP);
    picks += (u64)t * used;
    Token all = staged(inner + (u64)t * used * cols, used * cols);
    for (u32 row = blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP; row < rows; row += step) {
        float sum = 0;
        for (u32 k = 0; k < used; k += AHEAD) {
            for (u32 at = lane; at < cols / CHUNK; at += WARP) {
                Chunk loaded[AHEAD];
#pragma unroll
                for (int i = 0; i < AHEAD; i++)
                    if (k + i < used)
                        load(loaded[i], {a, b, c}, (u64)picks[k + i] * rows + row, cols, at);
#pragma unroll
                for (int i = 0; i < AHEAD; i++)
                    if (k + i < used) sum += dot(loaded[i], token_at(all, k + i, cols), at);
            }
        }
        sum = warp_sum(sum);
        if (lane == 0) y[(u64)t * rows + row] = sum;
    }
}
