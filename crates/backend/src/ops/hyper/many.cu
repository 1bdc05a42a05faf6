// From one half layer to the next, as hyper.cu does it, for many tokens of four streams in one pass:
// what the last half gave is spread over the streams, and the next one's input is read from them and
// normed. FORMAT is that of the matrix [24, 4 d], F16 or BF16; d is PIECES times 2048.
//
// Clusters of eight blocks stay on their processors and take eight tokens at a time. A block has an
// eighth of the channels, and holds its columns of the matrix in shared memory all the time. Each
// thread has four channels of one token at a time, in all streams, which it has copied to shared
// memory itself, so nobody waits for anybody to begin: as long as sums go around the cluster, the next
// tokens are on their way. What a thread has read stays in its registers until the gates are known.
// Sums are sent and counted where they come: a barrier would wait for what was written to memory.
//
// The product takes tokens as rows, high parts of numbers above low ones (see tf32.cuh): so both
// halves of a tile of 16 rows are of use. The norm's factor is known one turn later, with the sums of
// the next tokens. What is normed is stored as floats and as products of many tokens take it: in BF16
// (see bf16.cuh) and as two F16 (see twofold.cuh). The last warp makes the gates while others go on.

#define RANKS 8
#define WARPS 16
#define THREADS (WARPS * WARP)
#define TOGETHER 8
#define COEFFICIENTS 24
// The coefficients, and the sum of squares.
#define SUMS (COEFFICIENTS + 1)
// What is joined in a turn: for each token its sums, and of the turn before the mix's sum of squares and
// its largest magnitude with the norm's weights.
#define SQUARES (TOGETHER * SUMS)
#define LARGEST (SQUARES + TOGETHER)
#define JOINED (LARGEST + TOGETHER)
// Pieces that are on their way.
#define DEPTH 2
// Groups of four channels, of a token and of a block.
#define FOURS (PIECES * 512)
#define OWN (FOURS / RANKS)

#if __CUDA_ARCH__ >= 900
struct Pool {
    uint2 matrix[PIECES * 4 * 3][THREADS];
    float4 ring[DEPTH][5][THREADS];
    float parts[WARPS][JOINED];             // of this block's warps
    float collected[2][JOINED][RANKS];      // of all blocks, in turns
    u32 low[2][TOGETHER][OWN * 2];          // normed, in BF16, in turns
    float4 gates[2][TOGETHER][5];           // in turns
    float4 norm[OWN];
    float kept[WARP / 4][SUMS + 3];         // of this block's tokens, whose gates are not made yet
    float base[COEFFICIENTS], scale[4];     // the last has no use
    u64 coming[2];                          // count what has come
};

// What a thread has of the tokens' streams: four channels from `at` on, for each piece.
struct Streams {
    float4 *h;
    const float4 *y;
    u32 rows, cluster, clusters, turns, at;

    // This thread's token in a turn.
    __device__ __forceinline__ u32 token(u32 turn) const {
        return (cluster + turn * clusters) * TOGETHER + threadIdx.x % WARP / 4;
    }
    __device__ __forceinline__ u64 place(u32 token, u32 k, u32 piece) const {
        return ((u64)token * 4 + k) * FOURS + at + piece * 4;
    }
    // Begins to copy a piece; those that there are not are empty. Tokens beyond the last are zero.
    __device__ __forceinline__ void fetch(Pool &pool, u32 number) const {
        u32 turn = number / PIECES, piece = number % PIECES, t = token(turn);
        bool there = t < rows;
        if (!there) t = 0;
        if (turn < turns) {
#pragma unroll
            for (u32 k = 0; k < 4; k++)
                copy16(&pool.ring[number % DEPTH][k][threadIdx.x], h + place(t, k, piece), there);
            copy16(&pool.ring[number % DEPTH][4][threadIdx.x],
                   (y ? y : h) + (u64)t * FOURS + at + piece * 4, y && there);
        }
        copies_end();
    }
};

// All threads meet; the last warp does not stay, but says that it has left what it reads.
DEVICE void all_meet() {
    asm volatile("bar.sync %0, %1;" :: "r"(1), "n"(THREADS + WARP) : "memory");
}
DEVICE void last_has_read() {
    asm volatile("bar.arrive %0, %1;" :: "r"(1), "n"(THREADS + WARP) : "memory");
}

// Expects what is joined in a turn from all blocks. By one thread; nothing is expected there any more.
DEVICE void expect_joined(Pool &pool, u32 turn) {
    coming_expect(pool.coming + turn % 2, RANKS * JOINED * 4);
}
DEVICE void await_joined(Pool &pool, u32 turn) {
    coming_wait(pool.coming + turn % 2, turn / 2 % 2);
}

// This thread's columns of the matrix, and what is small. No kernel changes them.
DEVICE void hold_weights(Pool &pool, const u8 *matrix, const float *base, const float *scale,
                         const float *norm, u32 at, u32 rank) {
    u32 i = threadIdx.x, lane = i % WARP;
    if (i < COEFFICIENTS) pool.base[i] = fixed(base + i);
    if (i < 3) pool.scale[i] = fixed(scale + i);
    for (u32 j = i; norm && j < OWN; j += blockDim.x)
        pool.norm[j] = fixed((const float4 *)norm + rank * OWN + j);
    if (i >= THREADS) return;
#pragma unroll 4
    for (u32 j = 0; j < PIECES * 4 * 3; j++) {
        u32 row = j % 3 * 8 + lane / 4, k = j / 3 % 4, piece = j / 12;
        u64 from = ((u64)row * 4 + k) * FOURS + at + piece * 4;
        pool.matrix[j][i] = fixed((const uint2 *)matrix + from);
    }
}

// Four numbers of a token and stream, spread: post[k] y + sum over j of C[j][k] h[j].
DEVICE float4 spread(const float *gates, const float4 (&v)[4], float4 y, u32 k) {
    float post = gates[k];
    float4 sum = make_float4(post * y.x, post * y.y, post * y.z, post * y.w);
#pragma unroll
    for (int j = 0; j < 4; j++) {
        float c = gates[4 + j * 4 + k];
        sum = make_float4(sum.x + c * v[j].x, sum.y + c * v[j].y, sum.z + c * v[j].z,
                          sum.w + c * v[j].w);
    }
    return sum;
}

// sums += numbers times the matrix, for two of the four columns of each lane.
DEVICE void multiply_two(float (&sums)[3][4], float first, float second, const u32 (&w)[3]) {
    u32 a[4];
    split(first, a[0], a[1]);
    split(second, a[2], a[3]);
#pragma unroll
    for (int n = 0; n < 3; n++)
        multiply(sums[n], a, __float_as_uint(value_of(w[n] & 0xffff)),
                 __float_as_uint(value_of(w[n] >> 16)));
}

// A warp's sums of a turn: products with the matrix, and squares.
struct Sums {
    float products[3][4], squares;
};

// A piece of a turn: `now` are its streams after the spread, which are stored if there is one.
DEVICE void take(Pool &pool, const Streams &in, u32 turn, u32 piece, float4 (&now)[4], Sums &sums) {
    u32 i = threadIdx.x, t = in.token(turn), number = turn * PIECES + piece;
    bool stored = in.y && t < in.rows;
    const float *gates = (const float *)pool.gates[turn % 2][i % WARP / 4];
    copies_but<DEPTH - 1>();
    float4 v[4], y = pool.ring[number % DEPTH][4][i];
#pragma unroll
    for (u32 k = 0; k < 4; k++) v[k] = pool.ring[number % DEPTH][k][i];
#pragma unroll
    for (u32 k = 0; k < 4; k++) {
        float4 f = spread(gates, v, y, k);
        if (stored) in.h[in.place(t, k, piece)] = f;
        sums.squares += f.x * f.x + f.y * f.y + f.z * f.z + f.w * f.w;
        now[k] = f;
    }
    in.fetch(pool, number + DEPTH);
#pragma unroll
    for (u32 k = 0; k < 4; k++) {
        u32 first[3], second[3];
#pragma unroll
        for (int n = 0; n < 3; n++) {
            uint2 w = pool.matrix[(piece * 4 + k) * 3 + n][i];
            first[n] = w.x, second[n] = w.y;
        }
        multiply_two(sums.products, now[k].x, now[k].y, first);
        multiply_two(sums.products, now[k].z, now[k].w, second);
    }
}

// This warp's sums go to shared memory. What was there before has been sent: it has come back.
DEVICE void leave_sums(Pool &pool, Sums &sums) {
    u32 i = threadIdx.x, lane = i % WARP;
    float *parts = pool.parts[i / WARP] + lane / 4 * SUMS;
#pragma unroll
    for (int n = 0; n < 3; n++) {
        const float (&of)[4] = sums.products[n];
        parts[n * 8 + lane % 4 * 2] = of[0] + of[2];
        parts[n * 8 + lane % 4 * 2 + 1] = of[1] + of[3];
    }
    float squares = sum_of_four(sums.squares);
    if (lane % 4 == 0) parts[COEFFICIENTS] = squares;
    sums = {};
}

// What the warps have left for this turn to all blocks. They have left what they were sent two turns
// before: since then each has sent something.
DEVICE void send_joined(Pool &pool, u32 turn) {
    u32 i = threadIdx.x;
    if (i >= JOINED) return;
    float sum = 0, largest = 0;
#pragma unroll
    for (u32 w = 0; w < WARPS; w++) {
        float v = pool.parts[w][i];
        sum += v;
        largest = fmaxf(largest, v);
    }
    const float *to = &pool.collected[turn % 2][i][blockIdx.x % RANKS];
#pragma unroll
    for (u32 rank = 0; rank < RANKS; rank++)
        send_to(to, pool.coming + turn % 2, rank, i < LARGEST ? sum : largest);
}

// What blocks have sent of number `at` of what is joined, summed or as the largest of them.
DEVICE float total(const Pool &pool, u32 turn, u32 at) {
    const float4 *of = (const float4 *)pool.collected[turn % 2][at];
    float4 a = of[0], b = of[1];
    return ((a.x + a.y) + (a.z + a.w)) + ((b.x + b.y) + (b.z + b.w));
}
DEVICE float largest_of(const Pool &pool, u32 turn, u32 at) {
    const float4 *of = (const float4 *)pool.collected[turn % 2][at];
    float4 a = of[0], b = of[1];
    return fmaxf(fmaxf(fmaxf(a.x, a.y), fmaxf(a.z, a.w)), fmaxf(fmaxf(b.x, b.y), fmaxf(b.z, b.w)));
}
DEVICE float rms_of(float squares, float eps) { return rsqrtf(squares / (16 * FOURS) + eps); }

// The mix of a turn's tokens, and this warp's part of what is said of it.
DEVICE void read_streams(Pool &pool, const Streams &in, u32 turn, const float4 (&now)[PIECES][4],
                         float4 (&mixed)[PIECES], float4 *x, float eps, float rms_eps) {
    const u32 lanes = 0xffffffff;
    u32 i = threadIdx.x, lane = i % WARP, t = in.token(turn), rank = blockIdx.x % RANKS;
    // Four lanes have a token: each finds the share of one stream.
    const u32 of = lane / 4 * SUMS;
    float rms = rms_of(total(pool, turn, of + COEFFICIENTS), rms_eps);
    float m = total(pool, turn, of + lane % 4) * rms * pool.scale[0] + pool.base[lane % 4];
    float share = __fdividef(1.0f, 1.0f + expf(-m)) + eps, squares = 0, largest = 0;
    float pre[4];
#pragma unroll
    for (u32 k = 0; k < 4; k++) pre[k] = __shfl_sync(lanes, share, lane / 4 * 4 + k);
#pragma unroll
    for (u32 piece = 0; piece < PIECES; piece++) {
        float4 sum = {};
#pragma unroll
        for (u32 k = 0; k < 4; k++) {
            float4 v = now[piece][k];
            float w = pre[k];
            sum = make_float4(sum.x + w * v.x, sum.y + w * v.y, sum.z + w * v.z, sum.w + w * v.w);
        }
        u32 at = in.at + piece * 4;
        mixed[piece] = sum;
        if (t < in.rows) x[(u64)t * FOURS + at] = sum;
        squares += sum.x * sum.x + sum.y * sum.y + sum.z * sum.z + sum.w * sum.w;
        float4 w = pool.norm[at - rank * OWN];
        largest = fmaxf(largest, fmaxf(fmaxf(fabsf(sum.x * w.x), fabsf(sum.y * w.y)),
                                       fmaxf(fabsf(sum.z * w.z), fabsf(sum.w * w.w))));
    }
    squares = sum_of_four(squares);
    largest = fmaxf(largest, __shfl_xor_sync(lanes, largest, 1));
    largest = fmaxf(largest, __shfl_xor_sync(lanes, largest, 2));
    if (lane % 4) return;
    pool.parts[i / WARP][SQUARES + lane / 4] = squares;
    pool.parts[i / WARP][LARGEST + lane / 4] = largest;
}

// Where the normed mix goes: floats, and what products of many tokens take.
struct Normed {
    float4 *floats;
    uint4 *bf16;
    uint2 *twofold;
    float *factors;
    float eps;
};

// The normed mix of the turn before `turn`, in which sums for it went around. In BF16 it waits in
// shared memory for those that have the columns between.
DEVICE void norm_mixed(Pool &pool, const Streams &in, u32 turn, const float4 (&mixed)[PIECES],
                       const Normed &to) {
    u32 lane = threadIdx.x % WARP, t = in.token(turn - 1), rank = blockIdx.x % RANKS;
    float norm = rsqrtf(total(pool, turn, SQUARES + lane / 4) / (4 * FOURS) + to.eps);
    int exponent = exponent_for(largest_of(pool, turn, LARGEST + lane / 4) * norm);
    float scale = power_of_two(exponent);
    if (rank == 0 && threadIdx.x < WARP && lane % 4 == 0 && t < in.rows)
        to.factors[t] = power_of_two(-exponent);
#pragma unroll
    for (u32 piece = 0; piece < PIECES; piece++) {
        u32 at = in.at + piece * 4, own = at - rank * OWN, place = place_of(own * 4 % UNIT_COLS);
        float4 v = scaled(mixed[piece], norm, pool.norm[own]);
        u32 *low = pool.low[turn % 2][lane / 4] + own / (UNIT_COLS / 4) * (UNIT_COLS / 2);
        low[place / 2] = bf16_pair(v.x, v.y);
        low[place / 2 + 4] = bf16_pair(v.z, v.w);
        if (t >= in.rows) continue;
        to.floats[(u64)t * FOURS + at] = v;
        v = make_float4(v.x * scale, v.y * scale, v.z * scale, v.w * scale);
        uint2 high = make_uint2(half_pair(v.x, v.y), half_pair(v.z, v.w));
        uint2 *parts = to.twofold + ((u64)t * FOURS + at / 16 * 16) * 2 + at % 16;
        parts[0] = high;
        parts[16] = make_uint2(half_rest(v.x, v.y, high.x), half_rest(v.z, v.w, high.y));
    }
}

// Stores what norm_mixed has left in BF16 in the turn before `turn`.
DEVICE void store_low(const Pool &pool, const Streams &in, u32 turn, const Normed &to) {
    u32 rank = blockIdx.x % RANKS;
    const uint4 *from = (const uint4 *)pool.low[(turn - 1) % 2];
    for (u32 j = threadIdx.x; j < TOGETHER * OWN / 2; j += THREADS) {
        u32 t = (in.cluster + (turn - 2) * in.clusters) * TOGETHER + j / (OWN / 2);
        if (t < in.rows) to.bf16[((u64)t * FOURS + rank * OWN) / 2 + j % (OWN / 2)] = from[j];
    }
}

// Sinkhorn by the four lanes of a group, each of which has a row of c, so that only columns are summed
// over lanes: what is waited for is a chain of such sums. See `sinkhorn` in hyper.cu.
DEVICE void sinkhorn_rows(float (&v)[4], u32 iterations, float eps) {
    float max = fmaxf(fmaxf(v[0], v[1]), fmaxf(v[2], v[3]));
#pragma unroll
    for (u32 k = 0; k < 4; k++) v[k] = expf(v[k] - max);
    for (u32 i = 0; i <= iterations; i++) {
        // Rows; the first time without eps, which is added to the values instead.
        float sum = (v[0] + v[1]) + (v[2] + v[3]);
        float inverse = __fdividef(1.0f, i == 0 ? sum : sum + eps);
#pragma unroll
        for (u32 k = 0; k < 4; k++) {
            if (i == 0) v[k] = v[k] * inverse + eps;
            if (i > 1) v[k] *= inverse;
        }
        if (i == 0) continue;
#pragma unroll
        for (u32 k = 0; k < 4; k++) v[k] = __fdividef(v[k], sum_of_four(v[k]) + eps);
    }
}

// Gates of this block's token of some turns from `first` on, by the last warp: four lanes have one.
DEVICE void make_gates(const Pool &pool, const Streams &in, u32 first, u32 count, float *gates,
                       u32 iterations, float eps, float rms_eps) {
    u32 lane = threadIdx.x % WARP, row = lane % 4, which = min(lane / 4, count - 1);
    u32 token = (in.cluster + (first + which) * in.clusters) * TOGETHER + blockIdx.x % RANKS;
    const float *m = pool.kept[which];
    float rms = rms_of(m[COEFFICIENTS], rms_eps), v[4];
    float post = 2.0f * sigmoid(m[4 + row] * rms * pool.scale[1] + pool.base[4 + row]);
#pragma unroll
    for (u32 k = 0; k < 4; k++) {
        u32 at = 8 + row * 4 + k;
        v[k] = m[at] * rms * pool.scale[2] + pool.base[at];
    }
    sinkhorn_rows(v, iterations, eps);
    if (lane / 4 >= count || token >= in.rows) return;
    gates += (u64)token * 20;
    gates[row] = post;
    *(float4 *)(gates + 4 + row * 4) = make_float4(v[0], v[1], v[2], v[3]);
}

// What the last warp does: gates are made when there are as many tokens as it can take at once.
DEVICE void make_all_gates(Pool &pool, const Streams &in, float *gates, u32 iterations, float eps,
                           float rms_eps) {
    u32 lane = threadIdx.x % WARP;
    last_has_read();
    for (u32 turn = 0; turn < in.turns; turn++) {
        const u32 most = WARP / 4;
        u32 first = turn / most * most, count = turn - first + 1;
        await_joined(pool, turn);
        if (lane < SUMS)
            pool.kept[turn % most][lane] = total(pool, turn, blockIdx.x % RANKS * SUMS + lane);
        last_has_read();
        __syncwarp();
        if (count == most || turn + 1 == in.turns)
            make_gates(pool, in, first, count, gates, iterations, eps, rms_eps);
        __syncwarp();
    }
}

// Counts of what comes begin.
DEVICE void begin_counts(Pool &pool) {
    if (threadIdx.x == 0)
        for (u32 turn = 0; turn < 2; turn++) {
            coming_begin(pool.coming + turn);
            expect_joined(pool, turn);
        }
    __syncwarp();
}
#endif

// See hyper_mix and hyper_spread for the arguments; `y` is null if there is nothing to spread, `norm`
// and what comes behind it if nothing is normed. Dynamic shared memory for a Pool.
extern "C" __global__ void CLUSTER __launch_bounds__(THREADS + WARP, 1)
    turn_many(const u8 *a, const float *base, const float *scale, float *h, const float *y,
              float *gates, float *x, u32 rows, u32 iterations, float eps, float rms_eps,
              const float *norm, float norm_eps, float *normed, u8 *bf16, u8 *twofold,
              float *factors) {
    let_next_begin();
#if __CUDA_ARCH__ >= 900
    extern __shared__ __align__(16) u8 memory[];
    Pool &pool = *(Pool *)memory;
    u32 rank = blockIdx.x % RANKS, i = threadIdx.x, lane = i % WARP;
    u32 clusters = gridDim.x / RANKS, cluster = blockIdx.x / RANKS;
    u32 groups = (rows + TOGETHER - 1) / TOGETHER;
    u32 turns = (groups - cluster + clusters - 1) / clusters;
    Streams in = {(float4 *)h, (const float4 *)y, rows, cluster, clusters, turns,
                  rank * OWN + i / WARP * 4 * PIECES + lane % 4};
    Normed to = {(float4 *)normed, (uint4 *)bf16, (uint2 *)twofold, factors, norm_eps};
    begin_counts(pool);
    cluster_arrive();
    hold_weights(pool, a, base, scale, norm, in.at, rank);
    wait_for_inputs();
    // Gates of the spread of a turn: four numbers by each of the first threads. If there is nothing
    // to spread, the streams stay what they are.
    auto gates_of = [&](u32 turn) {
        u32 t = (cluster + turn * clusters) * TOGETHER + i / 5, j = i % 5;
        if (!y) return make_float4(j == 1, j == 2, j == 3, j == 4);
        bool there = i < TOGETHER * 5 && turn < turns && t < rows;
        return there ? ((const float4 *)gates)[(u64)t * 5 + j] : make_float4(0, 0, 0, 0);
    };
    if (i < TOGETHER * 5) pool.gates[0][i / 5][i % 5] = gates_of(0);
    if (i < THREADS)
        for (u32 number = 0; number < DEPTH; number++) in.fetch(pool, number);
    __syncthreads();
    // All blocks have begun, and their counts too.
    cluster_wait();
    if (i >= THREADS) return make_all_gates(pool, in, gates, iterations, eps, rms_eps);
    float4 now[PIECES][4], mixed[PIECES];
    Sums sums = {};
    for (u32 turn = 0; turn <= turns; turn++) {
        float4 next = gates_of(turn + 1);
#pragma unroll
        for (u32 piece = 0; piece < PIECES; piece++)
            if (turn < turns) take(pool, in, turn, piece, now[piece], sums);
        leave_sums(pool, sums);
        if (i < TOGETHER * 5) pool.gates[(turn + 1) % 2][i / 5][i % 5] = next;
        all_meet();
        send_joined(pool, turn);
        if (norm && turn > 1) store_low(pool, in, turn, to);
        await_joined(pool, turn);
        if (i == 0) expect_joined(pool, turn + 2);
        if (norm && turn > 0) norm_mixed(pool, in, turn, mixed, to);
        if (turn < turns)
            read_streams(pool, in, turn, now, mixed, (float4 *)x, eps, rms_eps);
    }
    if (!norm) return;
    asm volatile("bar.sync %0, %1;" :: "r"(2), "n"(THREADS) : "memory");
    store_low(pool, in, turns + 1, to);
#endif
}
