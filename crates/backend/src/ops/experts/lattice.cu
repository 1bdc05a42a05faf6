// The inner rows of chosen experts, as inner.cu computes them, for IQ2_XXS and few tokens. Looking up
// points and signs is most of the work: both tables lie in shared memory sixteen times, so that the
// lanes of half a warp never meet in a bank. Activations stay in registers.
//
// Blocks: some (x) for each token (y); warps take rows in turn. HELD chunks of a row are one lane's;
// a row has 32 HELD chunks of 32 columns.

#define THREADS 512
#define COPIES 16

extern __shared__ __align__(16) uint2 tables[];

// A lane's part of a row of one matrix.
struct Line {
    Chunk of[HELD];
};

DEVICE void load_line(Line &line, Planes planes, u64 row, u32 lane) {
#pragma unroll
    for (int i = 0; i < HELD; i++) load(line.of[i], planes, row, HELD * 1024, i * WARP + lane);
}

// `points` and `signs` are this lane's copies: entries are COPIES apart.
DEVICE float dot_line(const Line &line, const int4 (&x)[HELD][2], const float (&steps)[HELD],
                      const uint2 *points, const uint2 *signs) {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < HELD; i++) {
        uint2 w = line.of[i].w;
        int v[8] = {x[i][0].x, x[i][0].y, x[i][0].z, x[i][0].w,
                    x[i][1].x, x[i][1].y, x[i][1].z, x[i][1].w};
        int all = 0, negative = 0;
#pragma unroll
        for (int k = 0; k < 4; k++) {
            uint2 point = points[(w.x >> (8 * k) & 0xff) * COPIES];
            uint2 mask = signs[(w.y >> (7 * k) & 127) * COPIES];
            all = __dp4a((int)point.x, v[2 * k], all);
            all = __dp4a((int)point.y, v[2 * k + 1], all);
            negative = __dp4a((int)(point.x & mask.x), v[2 * k], negative);
            negative = __dp4a((int)(point.y & mask.y), v[2 * k + 1], negative);
        }
        float scale = half_to_float(line.of[i].d) * (0.5f + (float)(w.y >> 28)) * 0.25f;
        sum += scale * steps[i] * (float)(all - 2 * negative);
    }
    return sum;
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
    lattice_inner(const u8 *ga, const u8 *gb, const u8 *gc, const u8 *ua, const u8 *ub, const u8 *uc,
                  const i8 *codes, const float *steps, const u32 *picks, const float *shares,
                  float *out, u32 inner, u32 used, float clamp) {
    let_next_begin();
    for (u32 i = threadIdx.x; i < 256 * COPIES; i += THREADS) tables[i] = GRID[i / COPIES];
    for (u32 i = threadIdx.x; i < 128 * COPIES; i += THREADS) {
        u32 s = signs_of(i / COPIES);
        tables[256 * COPIES + i] = make_uint2(sign_mask(s & 15), sign_mask(s >> 4));
    }
    __syncthreads();
    wait_for_inputs();
    u32 lane = threadIdx.x % WARP, t = blockIdx.y, rows = used * inner;
    const uint2 *points = tables + lane % COPIES, *signs = points + 256 * COPIES;
    Token all = token_at({codes, steps, 0, 0}, t, HELD * 1024);
    int4 x[HELD][2];
    float own[HELD];
#pragma unroll
    for (int i = 0; i < HELD; i++) {
        u32 c = i * WARP + lane;
        x[i][0] = ((const int4 *)all.codes)[2 * c];
        x[i][1] = ((const int4 *)all.codes)[2 * c + 1];
        own[i] = all.steps[c];
    }
    picks += (u64)t * used;
    shares += (u64)t * used;
    out += (u64)t * rows;
    u32 step = gridDim.x * (THREADS / WARP), i = blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP;
    if (i >= rows) return;
    Planes gates = {ga, gb, gc}, ups = {ua, ub, uc};
    u64 row = (u64)picks[i / inner] * inner + i % inner;
    Line gate, up;
    load_line(gate, gates, row, lane);
    load_line(up, ups, row, lane);
    while (true) {
        // The next row is on its way while this one is computed.
        u32 after = i + step, next = after < rows ? after : i;
        row = (u64)picks[next / inner] * inner + next % inner;
        Line next_gate, next_up;
        load_line(next_gate, gates, row, lane);
        load_line(next_up, ups, row, lane);
        float a = warp_sum(dot_line(gate, x, own, points, signs));
        float b = warp_sum(dot_line(up, x, own, points, signs));
        if (lane == 0) out[i] = shares[i / inner] * activate(a, b, clamp);
        if (after >= rows) return;
        gate = next_gate;
        up = next_up;
        i = after;
    }
}
