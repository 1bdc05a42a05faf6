// y[t] = sum over the experts k of token t of down[k] . inner[t, k], for few tokens. A warp per value.
//
// Blocks: some (x) for each token (y); warps take rows in turn. Quantized formats multiply with inner
// rows rounded to 8 bits, which lie in shared memory: if they are not ROUNDED, every block does that for
// its token. Weights are always one turn ahead, the first while that is done.
// FORMAT is the matrices', whose rows have COLS columns; a token has USED experts.

#define THREADS 512
// Experts whose rows are taken in one turn.
#define AHEAD (FORMAT == 10 ? 2 : 3)
// Groups of four values that a thread rounds at a time.
#define FOURS 6
#define FLOATS (FORMAT == 0 || FORMAT == 1 || FORMAT == 30)

extern __shared__ __align__(16) u8 pool[];

#if FORMAT == 10
// Q2_K takes most of a token's time here, so its rows lie in shared memory as its products want them:
// codes in units of sixteen, of which lanes that work together take different banks; steps; the sums of
// halves, those of first halves and then those of second ones. A vector holds what one chunk needs.
//
// Weights are not shifted: two bits at 2 j of a byte count 4^j times, and the steps of their columns
// have the inverse of that, which is exact.
struct Inner {
    const int4 *codes;
    const float4 *steps, *halves;
};

DEVICE u32 unit_at(u32 unit) { return unit ^ (unit / 8 & 3) * 2; }

DEVICE Inner inner_at(u8 *at, u32 count) {
    float4 *steps = (float4 *)(at + count);
    return {(int4 *)at, steps, steps + count / 128};
}

DEVICE void keep_block(const Inner &to, float step, float2 halves, u32 block, u32 count) {
    ((float *)to.steps)[block] = step * __uint_as_float(127 - 2 * (block % 4) << 23);
    ((float *)to.halves)[block] = halves.x;
    ((float *)to.halves)[count / 32 + block] = halves.y;
}

DEVICE void keep_four(const Inner &to, float4 v, u32 four, u32 count) {
    RoundedFour r = rounded(v);
    ((u32 *)to.codes)[unit_at(four / 4) * 4 + four % 4] = r.codes;
    if (four % 8 == 0) keep_block(to, r.step, r.halves, four / 8, count);
}

// Bytes without a sign, times those with one.
DEVICE int dot4(u32 w, int x, int sum) {
    asm("dp4a.u32.s32 %0, %1, %2, %0;" : "+r"(sum) : "r"(w), "r"(x));
    return sum;
}

DEVICE int byte_of(u32 word, u32 i) { return picked_bytes(word, 0, 0x4440 | i); }

// What `dot` says, with chunk `c` of the row of expert `k`.
DEVICE float dot_inner(const Chunk &w, const Inner &x, u32 k, u32 c) {
    u32 group = (k * (COLS / 64) + c) / 2, first = group * 8 + c % 2, turned = (group & 3) * 2;
    float4 steps = x.steps[group], halves = x.halves[c % 2 * (USED * COLS / 128) + group];
    int p[4];
#pragma unroll
    for (u32 j = 0; j < 4; j++) {
        u32 mask = 0x03030303u << (2 * j);
        int4 codes = x.codes[first + (2 * j ^ turned)];
        p[j] = dot4(w.w.x & mask, codes.x, 0);
        p[j] = dot4(w.w.y & mask, codes.y, p[j]);
        p[j] = dot4(w.w.z & mask, codes.z, p[j]);
        p[j] = dot4(w.w.w & mask, codes.w, p[j]);
    }
    u32 scales = w.scales & 0x0f0f0f0f, minima = w.scales >> 4 & 0x0f0f0f0f;
    float sum = steps.x * (float)(p[0] * byte_of(scales, 0));
    sum += steps.y * (float)(p[1] * byte_of(scales, 1));
    sum += steps.z * (float)(p[2] * byte_of(scales, 2));
    sum += steps.w * (float)(p[3] * byte_of(scales, 3));
    float low = halves.x * (float)byte_of(minima, 0) + halves.y * (float)byte_of(minima, 1)
              + halves.z * (float)byte_of(minima, 2) + halves.w * (float)byte_of(minima, 3);
    return half_to_float((u16)w.d) * sum - half_to_float((u16)(w.d >> 16)) * low;
}
#else
typedef Token Inner;

DEVICE Inner inner_at(u8 *at, u32 count) {
    return {(i8 *)at, (float *)(at + count + count / 4), (float2 *)(at + count), 0};
}

DEVICE u32 unit_at(u32 unit) { return unit; }

DEVICE void keep_block(const Inner &to, float step, float2 halves, u32 block, u32) {
    ((float *)to.steps)[block] = step;
    ((float2 *)to.halves)[block] = halves;
}

DEVICE void keep_four(const Inner &to, float4 v, u32 four, u32) {
    round_four(v, four, {(i8 *)to.codes, (float *)to.steps, (float2 *)to.halves});
}

DEVICE float dot_inner(const Chunk &w, const Inner &x, u32 k, u32 c) {
    return dot(w, token_at(x, k, COLS), c);
}
#endif

// A token's inner rows, rounded in shared memory if the format wants that. Whoever takes them waits for
// all threads of the block, and for their copies.
DEVICE Inner staged(const float *x) {
#if FLOATS
    return {0, 0, 0, x};
#else
    const u32 COUNT = USED * COLS;
    Inner to = inner_at(pool, COUNT);
    for (u32 first = threadIdx.x; first < COUNT / 4; first += FOURS * THREADS) {
        float4 v[FOURS];
#pragma unroll
        for (u32 j = 0; j < FOURS; j++)
            if (first + j * THREADS < COUNT / 4) v[j] = ((const float4 *)x)[first + j * THREADS];
#pragma unroll
        for (u32 j = 0; j < FOURS; j++)
            if (first + j * THREADS < COUNT / 4) keep_four(to, v[j], first + j * THREADS, COUNT);
    }
    return to;
#endif
}

// The same if they are rounded: token `t`'s of all.
DEVICE Inner copied(const Rounded &all, u64 t) {
    const u32 COUNT = USED * COLS;
    Inner to = inner_at(pool, COUNT);
    const u8 *codes = (const u8 *)all.codes + t * COUNT;
    for (u32 u = threadIdx.x; u < COUNT / 16; u += THREADS)
        copy16((u8 *)to.codes + unit_at(u) * 16, codes + u * 16, true);
    u64 first = t * (COUNT / 32);
    for (u32 block = threadIdx.x; block < COUNT / 32; block += THREADS)
        keep_block(to, all.steps[first + block], all.halves[first + block], block, COUNT);
    return to;
}

// A turn is 32 chunks of the rows of AHEAD experts.
#define CHUNKS (COLS / CHUNK)
#define ACROSS ((CHUNKS + WARP - 1) / WARP)
#define TURNS (ACROSS * ((USED + AHEAD - 1) / AHEAD))

struct Turn {
    Chunk of[AHEAD];
};

// Whether this lane has a chunk of the `i`-th expert in a turn.
DEVICE bool has(u32 turn, u32 i) {
    return turn / ACROSS * AHEAD + i < USED && turn % ACROSS * WARP + threadIdx.x % WARP < CHUNKS;
}

// `mine`: lane k has the k-th expert's number. A row beyond the last is that one, and nobody takes it.
DEVICE void load_turn(Turn &now, Planes planes, u32 mine, u32 rows, u32 row, u32 turn) {
    row = min(row, rows - 1);
    u32 at = turn % ACROSS * WARP + threadIdx.x % WARP;
#pragma unroll
    for (u32 i = 0; i < AHEAD; i++) {
        u32 pick = __shfl_sync(0xffffffff, mine, (turn / ACROSS * AHEAD + i) % WARP);
        if (has(turn, i)) load(now.of[i], planes, (u64)pick * rows + row, COLS, at);
    }
}

DEVICE float dot_turn(const Turn &now, const Inner &all, u32 turn) {
    u32 at = turn % ACROSS * WARP + threadIdx.x % WARP;
    float sum = 0;
#pragma unroll
    for (u32 i = 0; i < AHEAD; i++)
        if (has(turn, i)) sum += dot_inner(now.of[i], all, turn / ACROSS * AHEAD + i, at);
    return sum;
}

// `inner` are the rows as they are, or, ROUNDED, `codes`, `steps` and `halves`. With `onto`, values are
// added to what is there.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    expert_down(const u8 *a, const u8 *b, const u8 *c, const float *inner, i8 *codes, float *steps,
                float2 *halves, const u32 *picks, float *y, u32 rows, u32 onto) {
    let_next_begin();
    u32 lane = threadIdx.x % WARP, t = blockIdx.y, step = gridDim.x * (THREADS / WARP), mine = 0;
    u32 row = blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP;
    y += (u64)t * rows;
    // One is multiplied while the other is on its way.
    Turn held[2];
    picks += (u64)t * USED + lane;
    // Behind the lattice, which lets the picks be inherited, the first turn need not wait for the last
    // inner row.
    if (ROUNDED) {
        if (lane < USED) mine = inherited(picks);
        load_turn(held[0], {a, b, c}, mine, rows, row, 0);
    }
    wait_for_inputs();
    if (!ROUNDED) {
        if (lane < USED) mine = *picks;
        load_turn(held[0], {a, b, c}, mine, rows, row, 0);
    }
    Inner all = ROUNDED ? copied({codes, steps, halves}, t) : staged(inner + (u64)t * USED * COLS);
    copies_done();
    __syncthreads();
    while (row < rows) {
        float sum = onto && lane == 0 ? y[row] : 0.0f;
#pragma unroll
        for (u32 turn = 0; turn < TURNS; turn++) {
            u32 next = (turn + 1) % TURNS;
            load_turn(held[(turn + 1) % 2], {a, b, c}, mine, rows, next ? row : row + step, next);
            sum += dot_turn(held[turn % 2], all, turn);
        }
        if (TURNS % 2) held[0] = held[1];
        sum = warp_sum(sum);
        if (lane == 0) y[row] = sum;
        row += step;
    }
}
