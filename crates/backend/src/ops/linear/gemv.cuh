// One row of one of several weights of one FORMAT and width, for a few tokens at a time. With `onto`, it
// is added to what is there. A unit includes this once for each of its formats, in a namespace.
//
// SHARE threads take a row, AHEAD chunks of it at once; most rows need no second turn. Those chunks are
// on their way before the kernels in front have ended. Bytes: every plane of the weights once per
// TOKENS tokens, plus activations, which the caches hold.

// Block `block` of those of the weights from number `which` on.
template <int TOKENS>
DEVICE void gemv(const Matrices &all, u32 which, u32 block, const Given &given, u32 cols, u32 groups,
                 u32 tokens, u32 share_bits, u32 onto) {
    __shared__ float parts[THREADS / WARP][TOKENS];
    let_next_begin();
    u32 share = 1 << share_bits, lane = threadIdx.x % share, chunks = cols / CHUNK;
    u32 rows_bits = 8 - share_bits;
    const Matrix &w = matrix_of(all, which, block, 1 << rows_bits);
    Planes planes = {w.a, w.b, w.c};
    Token x = {given.codes, given.steps, given.halves, given.floats};
    u32 rows = w.rows, row = (block << rows_bits) + threadIdx.x / share, first = blockIdx.y * TOKENS;
    // Rows beyond the last repeat it, and so do tokens; nobody stores their results.
    u32 there = min(row, rows - 1), group = there / (rows / groups);
    Token tokens_at[TOKENS];
#pragma unroll
    for (int t = 0; t < TOKENS; t++)
        tokens_at[t] = token_at(x, (u64)min(first + t, tokens - 1) * groups + group, cols);
    float sums[TOKENS] = {};
    Chunk loaded[AHEAD];
#pragma unroll
    for (int i = 0; i < AHEAD; i++)
        if (lane + i * share < chunks) load(loaded[i], planes, there, cols, lane + i * share);
    wait_for_inputs();
    for (u32 c = lane;;) {
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
            u32 at = c + i * share;
            if (at >= chunks) break;
#pragma unroll
            for (int t = 0; t < TOKENS; t++) sums[t] += dot(loaded[i], tokens_at[t], at);
        }
        c += AHEAD * share;
        if (c >= chunks) break;
#pragma unroll
        for (int i = 0; i < AHEAD; i++)
            if (c + i * share < chunks) load(loaded[i], planes, there, cols, c + i * share);
    }
    __syncwarp();
#pragma unroll
    for (int t = 0; t < TOKENS; t++)
        for (int distance = min(share, WARP) / 2; distance > 0; distance /= 2)
            sums[t] += __shfl_xor_sync(0xffffffff, sums[t], distance);
    if (share > WARP) {
        u32 warp = threadIdx.x / WARP;
#pragma unroll
        for (int t = 0; t < TOKENS; t++)
            if (threadIdx.x % WARP == 0) parts[warp][t] = sums[t];
        __syncthreads();
        if (lane > 0) return;
#pragma unroll
        for (int t = 0; t < TOKENS; t++)
            for (u32 i = 1; i < share / WARP; i++) sums[t] += parts[warp + i][t];
    }
    if (lane > 0 || row >= rows) return;
#pragma unroll
    for (int t = 0; t < TOKENS; t++) {
        float *to = w.out + (u64)(first + t) * rows + row;
        if (first + t < tokens) *to = onto ? *to + sums[t] : sums[t];
    }
}
