// The router, and beside it the expert that is always used, for few tokens: the choice waits for numbers
// to come and go, and leaves memory idle meanwhile. The last matrix of that expert has FORMAT,
// which is Q8_0, and COLS columns.
//
// Blocks: one for each token that chooses; then those of the product, each of which computes the
// activations of all tokens and rounds them to 8 bits in shared memory, while its first rows of weights
// are on their way. A warp per row, for all tokens.

#define THREADS 512
#define CHUNKS (COLS / CHUNK)
#define ACROSS ((CHUNKS + WARP - 1) / WARP)
// Codes and steps of a token.
#define TOKEN_BYTES ((COLS + COLS / 8 + 15) / 16 * 16)

extern __shared__ __align__(16) u8 pool[];

// A lane's part of a row.
struct Row {
    Chunk of[ACROSS];
};

// A row beyond the last is that one, and nobody takes it.
DEVICE void load_row(Row &now, Planes planes, u32 rows, u32 row) {
    row = min(row, rows - 1);
#pragma unroll
    for (u32 i = 0; i < ACROSS; i++) {
        u32 c = i * WARP + threadIdx.x % WARP;
        if (c < CHUNKS) load(now.of[i], planes, row, COLS, c);
    }
}

// `token`: codes, then steps.
DEVICE float dot_row(const Row &now, const u8 *token) {
    float sum = 0;
#pragma unroll
    for (u32 i = 0; i < ACROSS; i++) {
        u32 c = i * WARP + threadIdx.x % WARP;
        if (c < CHUNKS) sum += dot(now.of[i], {(const i8 *)token, (const float *)(token + COLS), 0, 0}, c);
    }
    return sum;
}

// The activations of `count` tokens, rounded into shared memory.
DEVICE void stage(const float4 *gate, const float4 *up, u32 count, float clamp) {
    for (u32 i = threadIdx.x; i < count * (COLS / 4); i += THREADS) {
        RoundedFour four = rounded(activated(gate[i], up[i], clamp));
        u8 *token = pool + i / (COLS / 4) * TOKEN_BYTES;
        u32 at = i % (COLS / 4);
        ((u32 *)token)[at] = four.codes;
        if (at % 8 == 0) ((float *)(token + COLS))[at / 8] = four.step;
    }
}

// All of them times the row, to out[t] of every token.
DEVICE void put_row(const Row &now, u32 count, float *out, u32 rows, u32 row) {
    u32 lane = threadIdx.x % WARP;
    float mine = 0;
    for (u32 t = 0; t < count; t++) {
        float sum = warp_sum(dot_row(now, pool + t * TOKEN_BYTES));
        if (lane == t) mine = sum;
    }
    if (lane < count) out[(u64)lane * rows + row] = mine;
}

// The choice as `route` makes it; out [count, rows] = W . act(gate, up), of at most 32 tokens.
extern "C" __global__ void __launch_bounds__(THREADS)
    route_always(const float *logits, const u32 *tokens, const u32 *table, const float *bias, u32 *picks,
                 float *shares, u32 experts, u32 used, float scale, const u8 *codes, const u8 *scales,
                 const float4 *gate, const float4 *up, float *out, u32 rows, u32 count, float clamp) {
    let_next_begin();
    u32 t = blockIdx.x, step = (gridDim.x - count) * (THREADS / WARP);
    bool chooses = t < count;
    u32 row = (t - count) * (THREADS / WARP) + threadIdx.x / WARP;
    Planes planes = {codes, scales, 0};
    Row now, next;
    if (chooses && bias) bring_near(bias, experts * 4);
    if (!chooses) {
        load_row(now, planes, rows, row);
        load_row(next, planes, rows, row + step);
    }
    wait_for_inputs();
    if (chooses) {
        const u32 *chosen = table ? table + (u64)tokens[t] * used : 0;
        return choose(logits + (u64)t * experts, chosen, bias, picks + (u64)t * used,
                      shares + (u64)t * used, experts, used, scale);
    }
    stage(gate, up, count, clamp);
    __syncthreads();
    for (; row < rows; row += step) {
        put_row(now, count, out, rows, row);
        now = next;
        if (row + 2 * step < rows) load_row(next, planes, rows, row + 2 * step);
    }
}
