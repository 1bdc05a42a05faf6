// out[t][row] = W[row] . x[t] for many tokens, in floats, for weights of float precision. FORMAT is the
// weight's. Tensor cores have too few bits for these.
//
// Blocks: 64 tokens (x), 64 rows (y); a thread has 4 x 4 sums, so that a value in shared memory is used
// four times per load. Columns go in stages of 32; a tile of rows is in one group.

#define TILE 64
#define DEPTH 32
#define THREADS 256
// Padding keeps the transposing stores apart.
#define ACROSS (TILE + 4)

// Four neighbouring columns of a row.
DEVICE float4 four(Planes w, u64 row, u32 cols, u32 col) {
#if FORMAT == 0
    return *(const float4 *)((const float *)w.a + row * cols + col);
#else
    uint2 v = *(const uint2 *)((const u16 *)w.a + row * cols + col);
    return make_float4(value_of(v.x & 0xffff), value_of(v.x >> 16), value_of(v.y & 0xffff),
                       value_of(v.y >> 16));
#endif
}

DEVICE void store(float (&to)[DEPTH][ACROSS], u32 depth, u32 at, float4 v) {
    to[depth][at] = v.x;
    to[depth + 1][at] = v.y;
    to[depth + 2][at] = v.z;
    to[depth + 3][at] = v.w;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    sgemm(const u8 *a, const u8 *b, const u8 *c, const float *x, float *out, u32 rows, u32 cols,
          u32 groups, u32 tokens) {
    begin();
    __shared__ __align__(16) float ws[2][DEPTH][ACROSS], xs[2][DEPTH][ACROSS];
    u32 first = blockIdx.x * TILE, first_row = blockIdx.y * TILE;
    // What a thread loads: twice four columns of a row and of a token. Those beyond the last repeat it.
    u32 at = threadIdx.x / 4, depth = threadIdx.x % 4 * 4;
    u64 row = min(first_row + at, rows - 1), token = min(first + at, tokens - 1);
    const float *line = x + (token * groups + first_row / (rows / groups)) * cols;
    // What it computes: four tokens of four rows. Sixteen threads side by side take the rows.
    u32 r = threadIdx.x % 16 * 4, t = threadIdx.x / 16 * 4;
    float sums[4][4] = {};
    Planes w = {a, b, c};
    float4 w0 = four(w, row, cols, depth), w1 = four(w, row, cols, depth + DEPTH / 2);
    float4 x0 = *(const float4 *)(line + depth), x1 = *(const float4 *)(line + depth + DEPTH / 2);
    for (u32 col = 0; col < cols; col += DEPTH) {
        u32 half = col / DEPTH % 2;
        store(ws[half], depth, at, w0);
        store(ws[half], depth + DEPTH / 2, at, w1);
        store(xs[half], depth, at, x0);
        store(xs[half], depth + DEPTH / 2, at, x1);
        __syncthreads();
        if (col + DEPTH < cols) {
            u32 next = col + DEPTH + depth, after = next + DEPTH / 2;
            w0 = four(w, row, cols, next);
            w1 = four(w, row, cols, after);
            x0 = *(const float4 *)(line + next);
            x1 = *(const float4 *)(line + after);
        }
#pragma unroll
        for (int k = 0; k < DEPTH; k++) {
            float4 u = *(const float4 *)&ws[half][k][r], v = *(const float4 *)&xs[half][k][t];
            float wv[4] = {u.x, u.y, u.z, u.w}, xv[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++) sums[i][j] += xv[i] * wv[j];
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (first + t + i < tokens && first_row + r + j < rows)
                out[(u64)(first + t + i) * rows + first_row + r + j] = sums[i][j];
}
