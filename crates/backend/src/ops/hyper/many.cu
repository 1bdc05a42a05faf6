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
// the next tokens. The last warp makes the gates while the others go on.

#define RANKS 8
#define WARPS 16
#define THREADS (WARPS * WARP)
#define TOGETHER 8
#define COEFFICIENTS 24
// The coefficients, and the sum of squares.
#define SUMS (COEFFICIENTS + 1)
#define ALL_SUMS (TOGETHER * SUMS)
// Pieces that are on their way.
#define DEPTH 2
// Groups of four channels, of a token and of a block.
#define FOURS (PIECES * 512)
#define OWN (FOURS / RANKS)

#if __CUDA_ARCH__ >= 900
struct Pool {
    uint2 matrix[PIECES * 4 * 3][THREADS];
    float4 ring[DEPTH][5][THREADS];
    float parts[WARPS][ALL_SUMS];           // of this block's warps
    float squares[WARPS][TOGETHER];         // the same for the squares of the mix
    float collected[2][RANKS][ALL_SUMS];    // of all blocks, in turns
    float all_squares[2][RANKS][TOGETHER];
    float4 gates[TOGETHER][5];
    float4 pre[TOGETHER];
    float4 norm[OWN];
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

// The threads that have channels meet; in the second form, when the last warp has left what it reads.
DEVICE void workers_meet() { asm volatile("bar.sync %0, %1;" :: "r"(1), "n"(THREADS) : "memory"); }
DEVICE void all_meet() {
    asm volatile("bar.sync %0, %1;" :: "r"(2), "n"(THREADS + WARP) : "memory");
}
DEVICE void last_has_read() {
    asm volatile("bar.arrive %0, %1;" :: "r"(2), "n"(THREADS + WARP) : "memory");
}

// Expects the sums of a turn from all blocks. By one thread; nothing is expected there any more.
DEVICE void expect_sums(Pool &pool, u32 turn) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
                 :: "r"(shared_address(pool.coming + turn % 2)), "n"(RANKS * (ALL_SUMS + TOGETHER) * 4)
                 : "memory");
}
DEVICE void await_sums(Pool &pool, u32 turn) {
    u32 done;
    do {
        asm volatile("{ .reg .pred p;"
                     " mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2;"
                     " selp.u32 %0, 1, 0, p; }"
                     : "=r"(done) : "r"(shared_address(pool.coming + turn % 2)), "r"(turn / 2 % 2)
                     : "memory");
    } while (!done);
}

// Sends two values to where `at` is in the shared memory of every block of the cluster.
DEVICE void send_everywhere(const float *at, const u64 *coming, float a, float b) {
#pragma unroll
    for (u32 rank = 0; rank < RANKS; rank++)
        asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [%0], "
                     "{%1, %2}, [%3];"
                     :: "r"(address_in(at, rank)), "f"(a), "f"(b), "r"(address_in(coming, rank))
                     : "memory");
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

// The tokens of a turn: `now` are their streams after the spread, which are stored if there is one.
// This warp's part of their sums goes to shared memory.
DEVICE void take(Pool &pool, const Streams &in, u32 turn, float4 (&now)[PIECES][4]) {
    u32 i = threadIdx.x, lane = i % WARP, t = in.token(turn);
    float sums[3][4] = {}, squares = 0;
    bool stored = in.y && t < in.rows;
#pragma unroll
    for (u32 piece = 0; piece < PIECES; piece++) {
        u32 number = turn * PIECES + piece;
        copies_but<DEPTH - 1>();
        float4 v[4], y = pool.ring[number % DEPTH][4][i];
#pragma unroll
        for (u32 k = 0; k < 4; k++) v[k] = pool.ring[number % DEPTH][k][i];
#pragma unroll
        for (u32 k = 0; k < 4; k++) {
            float4 f = spread((const float *)pool.gates[lane / 4], v, y, k);
            if (stored) in.h[in.place(t, k, piece)] = f;
            squares += f.x * f.x + f.y * f.y + f.z * f.z + f.w * f.w;
            now[piece][k] = f;
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
            float4 f = now[piece][k];
            multiply_two(sums, f.x, f.y, first);
            multiply_two(sums, f.z, f.w, second);
        }
    }
    float *parts = pool.parts[i / WARP] + lane / 4 * SUMS;
#pragma unroll
    for (int n = 0; n < 3; n++) {
        parts[n * 8 + lane % 4 * 2] = sums[n][0] + sums[n][2];
        parts[n * 8 + lane % 4 * 2 + 1] = sums[n][1] + sums[n][3];
    }
    squares = sum_of_four(squares);
    if (lane % 4 == 0) parts[COEFFICIENTS] = squares;
}

// The warps' parts of the sums of this turn, and of the mix's squares of the turn before, to all
// blocks. They have left what they were sent two turns before: since then each has sent something.
DEVICE void send_sums(Pool &pool, u32 turn) {
    u32 i = threadIdx.x, rank = blockIdx.x % RANKS;
    if (i >= (ALL_SUMS + TOGETHER) / 2) return;
    bool last = i >= ALL_SUMS / 2;
    u32 at = last ? i * 2 - ALL_SUMS : i * 2, width = last ? TOGETHER : ALL_SUMS;
    const float *parts = (last ? pool.squares[0] : pool.parts[0]) + at;
    float2 sum = {};
#pragma unroll
    for (u32 w = 0; w < WARPS; w++) {
        float2 v = *(const float2 *)(parts + w * width);
        sum = make_float2(sum.x + v.x, sum.y + v.y);
    }
    float *to = (last ? pool.all_squares[turn % 2][rank] : pool.collected[turn % 2][rank]) + at;
    send_everywhere(to, pool.coming + turn % 2, sum.x, sum.y);
}

// One of the sums of all blocks; see Pool.
DEVICE float total(const Pool &pool, u32 turn, u32 token, u32 r) {
    float sum = 0;
#pragma unroll
    for (u32 k = 0; k < RANKS; k++) sum += pool.collected[turn % 2][k][token * SUMS + r];
    return sum;
}
DEVICE float rms_of(float squares, float eps) { return 1.0f / sqrtf(squares / (16 * FOURS) + eps); }

// The mix of a turn's tokens, and this warp's part of its squares. By all threads that have channels.
DEVICE void read_streams(Pool &pool, const Streams &in, u32 turn, const float4 (&now)[PIECES][4],
                         float4 (&mixed)[PIECES], float4 *x, float eps, float rms_eps) {
    u32 i = threadIdx.x, lane = i % WARP, t = in.token(turn);
    if (i < TOGETHER * 4) {
        float rms = rms_of(total(pool, turn, i / 4, COEFFICIENTS), rms_eps);
        float m = total(pool, turn, i / 4, i % 4);
        ((float *)pool.pre)[i] = sigmoid(m * rms * pool.scale[0] + pool.base[i % 4]) + eps;
    }
    workers_meet();
    float4 pre = pool.pre[lane / 4];
    float squares = 0;
#pragma unroll
    for (u32 piece = 0; piece < PIECES; piece++) {
        float4 sum = {};
#pragma unroll
        for (u32 k = 0; k < 4; k++) {
            float4 v = now[piece][k];
            float w = (&pre.x)[k];
            sum = make_float4(sum.x + w * v.x, sum.y + w * v.y, sum.z + w * v.z, sum.w + w * v.w);
        }
        mixed[piece] = sum;
        if (t < in.rows) x[(u64)t * FOURS + in.at + piece * 4] = sum;
        squares += sum.x * sum.x + sum.y * sum.y + sum.z * sum.z + sum.w * sum.w;
    }
    squares = sum_of_four(squares);
    if (lane % 4 == 0) pool.squares[i / WARP][lane / 4] = squares;
}

// The normed mix of the turn before `turn`, in which its squares went around.
DEVICE void norm_mixed(const Pool &pool, const Streams &in, u32 turn, const float4 (&mixed)[PIECES],
                       float4 *normed, float eps) {
    u32 lane = threadIdx.x % WARP, t = in.token(turn - 1), rank = blockIdx.x % RANKS;
    float sum = 0;
#pragma unroll
    for (u32 k = 0; k < RANKS; k++) sum += pool.all_squares[turn % 2][k][lane / 4];
    float factor = 1.0f / sqrtf(sum / (4 * FOURS) + eps);
#pragma unroll
    for (u32 piece = 0; piece < PIECES; piece++) {
        u32 at = in.at + piece * 4;
        if (t < in.rows)
            normed[(u64)t * FOURS + at] = scaled(mixed[piece], factor, pool.norm[at - rank * OWN]);
    }
}

// Gates of this block's token of a turn, by the last warp.
DEVICE void make_gates(const Pool &pool, u32 token, u32 turn, float *gates, u32 rows, u32 iterations,
                       float eps, float rms_eps) {
    const u32 lanes = 0xffffffff;
    u32 lane = threadIdx.x % WARP, rank = blockIdx.x % RANKS;
    float m = lane < SUMS ? total(pool, turn, rank, lane) : 0.0f;
    m *= rms_of(__shfl_sync(lanes, m, COEFFICIENTS), rms_eps);
    last_has_read();
    if (lane < COEFFICIENTS) m = m * pool.scale[lane < 8 ? 1 : 2] + pool.base[lane];
    float c = sinkhorn_of_four(__shfl_sync(lanes, m, 8 + lane % 16), iterations, eps);
    float post = 2.0f * sigmoid(__shfl_sync(lanes, m, 4 + lane % 4));
    if (token >= rows) return;
    gates += (u64)token * 20;
    if (lane < 4) gates[lane] = post;
    if (lane < 16) gates[4 + lane] = c;
}
#endif

// See hyper_mix and hyper_spread for the arguments; `y` is null if there is nothing to spread.
// Dynamic shared memory for a Pool.
extern "C" __global__ void CLUSTER __launch_bounds__(THREADS + WARP, 1)
    turn_many(const u8 *a, const float *base, const float *scale, float *h, const float *y,
              float *gates, float *x, u32 rows, u32 iterations, float eps, float rms_eps,
              const float *norm, float norm_eps, float *normed) {
    let_next_begin();
#if __CUDA_ARCH__ >= 900
    extern __shared__ __align__(16) u8 memory[];
    Pool &pool = *(Pool *)memory;
    u32 rank = blockIdx.x % RANKS, i = threadIdx.x, lane = i % WARP;
    if (i == 0) {
        for (u32 turn = 0; turn < 2; turn++) {
            asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;\n"
                         "fence.mbarrier_init.release.cluster;"
                         :: "r"(shared_address(pool.coming + turn)) : "memory");
            expect_sums(pool, turn);
        }
    }
    __syncwarp();
    cluster_arrive();
    u32 clusters = gridDim.x / RANKS, cluster = blockIdx.x / RANKS;
    u32 groups = (rows + TOGETHER - 1) / TOGETHER;
    u32 turns = (groups - cluster + clusters - 1) / clusters;
    Streams in = {(float4 *)h, (const float4 *)y, rows, cluster, clusters, turns,
                  rank * OWN + i / WARP * 4 * PIECES + lane % 4};
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
    if (i < TOGETHER * 5) pool.gates[i / 5][i % 5] = gates_of(0);
    if (i < THREADS)
        for (u32 number = 0; number < DEPTH; number++) in.fetch(pool, number);
    __syncthreads();
    // All blocks have begun, and their barriers too.
    cluster_wait();
    if (i >= THREADS) {
        last_has_read();
        for (u32 turn = 0; turn < turns; turn++) {
            await_sums(pool, turn);
            u32 token = (cluster + turn * clusters) * TOGETHER + rank;
            make_gates(pool, token, turn, gates, rows, iterations, eps, rms_eps);
        }
        return;
    }
    float4 now[PIECES][4], mixed[PIECES];
    for (u32 turn = 0; turn <= turns; turn++) {
        float4 next = gates_of(turn + 1);
        if (turn < turns) take(pool, in, turn, now);
        all_meet();
        if (i < TOGETHER * 5) pool.gates[i / 5][i % 5] = next;
        send_sums(pool, turn);
        await_sums(pool, turn);
        if (i == 0) expect_sums(pool, turn + 2);
        if (norm && turn > 0) norm_mixed(pool, in, turn, mixed, (float4 *)normed, norm_eps);
        if (turn < turns)
            read_streams(pool, in, turn, now, mixed, (float4 *)x, eps, rms_eps);
    }
#endif
}
