// y[t] = sum over the experts k of token t of down[k] . inner[t, k], for few tokens. A warp per value.
//
// Blocks: some (x) for each token (y); warps take rows in turn. Quantized formats multiply with inner
// rows rounded to 8 bits: every block rounds its token's into shared memory, which is less than
// reading them rounded would cost. Weights are always one turn ahead, the first while that is done.
// FORMAT is the matrices'.

#define THREADS 512
// Experts whose rows are taken in one turn.
#define AHEAD 6
// Groups of four values that a thread rounds at a time.
#define FOURS 6
#define FLOATS (FORMAT == 0 || FORMAT == 1 || FORMAT == 30)

extern __shared__ __align__(16) u8 pool[];

// `count` values at `x`, rounded into shared memory if the format wants that.
DEVICE Token staged(const float *x, u32 count) {
#if FLOATS
    return {0, 0, 0, x};
#else
    Rounded to = {(i8 *)pool, (float *)(pool + count + count / 4), (float2 *)(pool + count)};
    u32 fours = count / 4;
    for (u32 first = threadIdx.x; first < fours; first += FOURS * THREADS) {
        float4 v[FOURS];
#pragma unroll
        for (u32 j = 0; j < FOURS; j++)
            if (first + j * THREADS < fours) v[j] = ((const float4 *)x)[first + j * THREADS];
#pragma unroll
        for (u32 j = 0; j < FOURS; j++)
            if (first + j * THREADS < fours) round_four(v[j], first + j * THREADS, to);
    }
    __syncthreads();
    return {to.codes, to.steps, to.halves, 0};
#endif
}

// What all turns share: a turn is 32 chunks of the rows of AHEAD experts.
struct Work {
    Planes planes;
    u32 rows, cols, used, across, turns;
    u32 pick;  // lane k has the k-th expert's
};

struct Turn {
    Chunk of[AHEAD];
};

DEVICE void load_turn(Turn &now, const Work &w, u32 row, u32 turn) {
    u32 at = turn % w.across * WARP + threadIdx.x % WARP, k = turn / w.across * AHEAD;
#pragma unroll
    for (u32 i = 0; i < AHEAD; i++) {
        u32 pick = __shfl_sync(0xffffffff, w.pick, (k + i) % WARP);
        if (k + i < w.used && at < w.cols / CHUNK && row < w.rows)
            load(now.of[i], w.planes, (u64)pick * w.rows + row, w.cols, at);
    }
}

DEVICE float dot_turn(const Turn &now, const Work &w, const Token &all, u32 turn) {
    u32 at = turn % w.across * WARP + threadIdx.x % WARP, k = turn / w.across * AHEAD;
    float sum = 0;
#pragma unroll
    for (u32 i = 0; i < AHEAD; i++)
        if (k + i < w.used && at < w.cols / CHUNK)
            sum += dot(now.of[i], token_at(all, k + i, w.cols), at);
    return sum;
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
    expert_down(const u8 *a, const u8 *b, const u8 *c, const float *inner, const u32 *picks, float *y,
                u32 rows, u32 cols, u32 used) {
    begin();
    u32 lane = threadIdx.x % WARP, t = blockIdx.y, step = gridDim.x * (THREADS / WARP);
    u32 across = (cols / CHUNK + WARP - 1) / WARP;
    Work w = {{a, b, c}, rows, cols, used, across, across * ((used + AHEAD - 1) / AHEAD), 0};
    if (lane < used) w.pick = picks[(u64)t * used + lane];
    u32 row = blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP, turn = 0;
    Turn now;
    load_turn(now, w, row, turn);
    Token all = staged(inner + (u64)t * used * cols, used * cols);
    float sum = 0;
    while (row < rows) {
        u32 next_turn = turn + 1 < w.turns ? turn + 1 : 0, next_row = next_turn ? row : row + step;
        Turn next;
        load_turn(next, w, next_row, next_turn);
        sum += dot_turn(now, w, all, turn);
        if (next_turn == 0) {
            sum = warp_sum(sum);
            if (lane == 0) y[(u64)t * rows + row] = sum;
            sum = 0;
        }
        now = next;
        row = next_row;
        turn = next_turn;
    }
}
