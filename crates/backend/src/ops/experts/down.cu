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

#if FORMAT == 10
// Q2_K takes most of a token's time here, so its rows lie in shared memory as its products want them:
// codes in units of sixteen, of which lanes that work together take different banks; steps; the sums of
// halves, those of first halves and then those of second ones. A vector holds what one chunk needs.
struct Inner {
    const int4 *codes;
    const float4 *steps, *halves;
    u32 blocks;  // of 32 values
};

DEVICE u32 unit_at(u32 unit) { return unit ^ (unit / 8 & 3) * 2; }

DEVICE Inner inner_at(u8 *at, u32 count) {
    u32 blocks = count / 32;
    float4 *steps = (float4 *)(at + count);
    return {(int4 *)at, steps, steps + blocks / 4, blocks};
}

DEVICE void keep_four(const Inner &to, float4 v, u32 four) {
    RoundedFour r = rounded(v);
    ((u32 *)to.codes)[unit_at(four / 4) * 4 + four % 4] = r.codes;
    if (four % 8) return;
    ((float *)to.steps)[four / 8] = r.step;
    ((float *)to.halves)[four / 8] = r.halves.x;
    ((float *)to.halves)[to.blocks + four / 8] = r.halves.y;
}

// What `dot` says, with chunk `c` of the row of expert `k`.
DEVICE float dot_inner(const Chunk &w, const Inner &x, u32 k, u32 cols, u32 c) {
    u32 group = (k * cols / 64 + c) / 2, first = group * 8 + c % 2, turned = (group & 3) * 2;
    float4 steps = x.steps[group], halves = x.halves[c % 2 * (x.blocks / 4) + group];
    int p[4];
#pragma unroll
    for (u32 j = 0; j < 4; j++)
        p[j] = dot16(field16(w.w, 2 * j, 0x03030303), x.codes[first + (2 * j ^ turned)], 0);
    u32 scales = w.scales & 0x0f0f0f0f, minima = w.scales >> 4 & 0x0f0f0f0f;
    float sum = steps.x * (float)(p[0] * (int)(scales & 0xff));
    sum += steps.y * (float)(p[1] * (int)(scales >> 8 & 0xff));
    sum += steps.z * (float)(p[2] * (int)(scales >> 16 & 0xff));
    sum += steps.w * (float)(p[3] * (int)(scales >> 24));
    float low = halves.x * (float)(minima & 0xff) + halves.y * (float)(minima >> 8 & 0xff)
              + halves.z * (float)(minima >> 16 & 0xff) + halves.w * (float)(minima >> 24);
    return half_to_float((u16)w.d) * sum - half_to_float((u16)(w.d >> 16)) * low;
}
#else
typedef Token Inner;

DEVICE Inner inner_at(u8 *at, u32 count) {
    return {(i8 *)at, (float *)(at + count + count / 4), (float2 *)(at + count), 0};
}

DEVICE void keep_four(const Inner &to, float4 v, u32 four) {
    round_four(v, four, {(i8 *)to.codes, (float *)to.steps, (float2 *)to.halves});
}

DEVICE float dot_inner(const Chunk &w, const Inner &x, u32 k, u32 cols, u32 c) {
    return dot(w, token_at(x, k, cols), c);
}
#endif

// `count` values at `x`, rounded into shared memory if the format wants that.
DEVICE Inner staged(const float *x, u32 count) {
#if FLOATS
    return {0, 0, 0, x};
#else
    Inner to = inner_at(pool, count);
    u32 fours = count / 4;
    for (u32 first = threadIdx.x; first < fours; first += FOURS * THREADS) {
        float4 v[FOURS];
#pragma unroll
        for (u32 j = 0; j < FOURS; j++)
            if (first + j * THREADS < fours) v[j] = ((const float4 *)x)[first + j * THREADS];
#pragma unroll
        for (u32 j = 0; j < FOURS; j++)
            if (first + j * THREADS < fours) keep_four(to, v[j], first + j * THREADS);
    }
    __syncthreads();
    return to;
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

DEVICE float dot_turn(const Turn &now, const Work &w, const Inner &all, u32 turn) {
    u32 at = turn % w.across * WARP + threadIdx.x % WARP, k = turn / w.across * AHEAD;
    float sum = 0;
#pragma unroll
    for (u32 i = 0; i < AHEAD; i++)
        if (k + i < w.used && at < w.cols / CHUNK)
            sum += dot_inner(now.of[i], all, k + i, w.cols, at);
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
    Inner all = staged(inner + (u64)t * used * cols, used * cols);
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
